"""A guest's request and the VF that it was asked of, as the audit keeps them, so that decide() can be asked again under another
policy.

Pure. For who records requests, and for what-if.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import replace

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import (
    AddAddresses,
    AddressRole,
    AddVlans,
    ConfigurationRequest,
    RemoveAddresses,
    RemoveVlans,
    ResetDevice,
    SetPromiscuity,
    VfState,
)
from sriov_xdp.vswitch.ranges import of_range, to_ranges
from sriov_xdp.vswitch.vlan import LAST_VLAN, Proto

_MOST_CHARACTERS = 256  # as of each text of a guest's row; at the default quota one that names five addresses is kept
_CHARACTERS = 8  # an address's six octets in base64, as guests' rows are many


def text_of(request: ConfigurationRequest, state: VfState) -> str:
    """Empty for one that is too long to be kept."""
    document = {"admin": _texts([state.admin_mac])}
    if state.effective_mac != state.admin_mac:
        document["effective"] = _texts([state.effective_mac])
    if state.filters:
        document["filters"] = _texts(sorted(state.filters))
    if state.vlans is not None:
        document["vlans"] = _numbers(state.vlans)
    if state.is_promiscuous is not None:
        document["heard"] = _wish(state.is_promiscuous, state.has_all_groups)
    match request:
        case AddAddresses(addresses):
            document["add"] = _texts(address for address, _role in addresses)
            document["roles"] = "".join(str(role.value) for _address, role in addresses)
        case RemoveAddresses(addresses):
            document["remove"] = _texts(addresses)
        case AddVlans(vlans, proto):
            document |= {"add_vlans": _numbers(vlans), "proto": proto.value}
        case RemoveVlans(vlans, proto):
            document |= {"remove_vlans": _numbers(vlans), "proto": proto.value}
        case SetPromiscuity(unicast, multicast):
            document["hear"] = _wish(unicast, multicast)
        case ResetDevice():
            document["reset"] = ""
    text = json.dumps(document, separators=(",", ":"))
    return text if len(text) <= _MOST_CHARACTERS else ""


def read(text: str) -> tuple[ConfigurationRequest, VfState]:
    """The reverse. Raises ValueError, KeyError, TypeError."""
    document = json.loads(text)
    (admin_mac,) = _addresses(document["admin"])
    (effective_mac,) = _addresses(document.get("effective", document["admin"]))
    filters = frozenset(_addresses(document.get("filters", "")))
    vlans = frozenset(_vlans(document["vlans"])) if "vlans" in document else None
    state = VfState(admin_mac=admin_mac, effective_mac=effective_mac, filters=filters, vlans=vlans)
    if "heard" in document:
        unicast, multicast = _said(document["heard"])
        state = replace(state, is_promiscuous=unicast, has_all_groups=multicast)
    if "add" in document:
        roles = (AddressRole(int(role)) for role in document["roles"])
        return AddAddresses(tuple(zip(_addresses(document["add"]), roles, strict=True))), state
    if "remove" in document:
        return RemoveAddresses(_addresses(document["remove"])), state
    if "add_vlans" in document:
        return AddVlans(_vlans(document["add_vlans"]), Proto(document["proto"])), state
    if "remove_vlans" in document:
        return RemoveVlans(_vlans(document["remove_vlans"]), Proto(document["proto"])), state
    if "hear" in document:
        return SetPromiscuity(*_said(document["hear"])), state
    return ResetDevice(), state


def _wish(unicast: bool, multicast: bool) -> str:
    return f"{unicast:d}{multicast:d}"


def _said(text: str) -> tuple[bool, bool]:
    return text[:1] == "1", text[1:] == "1"


def _numbers(vlans: Iterable[int]) -> str:
    return ",".join(map(str, to_ranges(vlans)))


def _vlans(text: str) -> tuple[int, ...]:
    return tuple(vlan for part in text.split(",") if part for vlan in of_range(part, "VLAN", 0, LAST_VLAN))


def _texts(addresses: Iterable[MacAddress]) -> str:
    return "".join(b64encode(address.octets).decode() for address in addresses)


def _addresses(text: str) -> tuple[MacAddress, ...]:
    pieces = (text[start : start + _CHARACTERS] for start in range(0, len(text), _CHARACTERS))
    return tuple(MacAddress(b64decode(piece, validate=True)) for piece in pieces)
