"""A guest's request and the VF that it was asked of, as the audit keeps them, so that decide() can be asked again under another
policy.

Pure. For who records requests, and for what-if.
"""

import json

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import AddAddresses, AddressRole, ConfigurationRequest, RemoveAddresses, ResetDevice, VfState

_MOST_CHARACTERS = 1024  # a request that names more than some forty addresses is not kept


def text_of(request: ConfigurationRequest, state: VfState) -> str:
    """Empty for one that is too long to be kept."""
    document: dict[str, object] = {
        "admin": str(state.admin_mac),
        "effective": str(state.effective_mac),
        "filters": sorted(map(str, state.filters)),
    }
    match request:
        case AddAddresses(addresses):
            document["add"] = [[str(address), role.name.lower()] for address, role in addresses]
        case RemoveAddresses(addresses):
            document["remove"] = list(map(str, addresses))
        case ResetDevice():
            document["reset"] = True
    text = json.dumps(document, separators=(",", ":"))
    return text if len(text) <= _MOST_CHARACTERS else ""


def read(text: str) -> tuple[ConfigurationRequest, VfState]:
    """The reverse. Raises ValueError, KeyError, TypeError."""
    document = json.loads(text)
    state = VfState(
        admin_mac=MacAddress.parse(document["admin"]),
        effective_mac=MacAddress.parse(document["effective"]),
        filters=frozenset(map(MacAddress.parse, document["filters"])),
    )
    request: ConfigurationRequest = ResetDevice()
    if "add" in document:
        pairs = ((MacAddress.parse(address), AddressRole[role.upper()]) for address, role in document["add"])
        request = AddAddresses(tuple(pairs))
    elif "remove" in document:
        request = RemoveAddresses(tuple(map(MacAddress.parse, document["remove"])))
    return request, state
