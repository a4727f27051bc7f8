"""A guest's request and the VF that it was asked of, as the audit keeps them, so that decide() can be asked again under another
policy.

Pure. For who records requests, and for what-if.
"""

import json

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import AddAddresses, AddressRole, ConfigurationRequest, RemoveAddresses, ResetDevice, VfState

_MOST_CHARACTERS = 256  # as of each text of a guest's row; a request that names more than some ten addresses is not kept


def text_of(request: ConfigurationRequest, state: VfState) -> str:
    """Empty for one that is too long to be kept."""
    document: dict[str, object] = {"admin": _short(state.admin_mac)}
    if state.effective_mac != state.admin_mac:
        document["effective"] = _short(state.effective_mac)
    if state.filters:
        document["filters"] = sorted(map(_short, state.filters))
    match request:
        case AddAddresses(addresses):
            document["add"] = [[_short(address), role.value] for address, role in addresses]
        case RemoveAddresses(addresses):
            document["remove"] = list(map(_short, addresses))
        case ResetDevice():
            document["reset"] = True
    text = json.dumps(document, separators=(",", ":"))
    return text if len(text) <= _MOST_CHARACTERS else ""


def read(text: str) -> tuple[ConfigurationRequest, VfState]:
    """The reverse. Raises ValueError, KeyError, TypeError."""
    document = json.loads(text)
    admin_mac = _long(document["admin"])
    state = VfState(
        admin_mac=admin_mac,
        effective_mac=_long(document["effective"]) if "effective" in document else admin_mac,
        filters=frozenset(map(_long, document.get("filters", ()))),
    )
    request: ConfigurationRequest = ResetDevice()
    if "add" in document:
        pairs = ((_long(address), AddressRole(role)) for address, role in document["add"])
        request = AddAddresses(tuple(pairs))
    elif "remove" in document:
        request = RemoveAddresses(tuple(map(_long, document["remove"])))
    return request, state


def _short(address: MacAddress) -> str:
    """Guests' rows are many."""
    return address.octets.hex()


def _long(text: str) -> MacAddress:
    return MacAddress(bytes.fromhex(text))
