"""The virtchnl opcodes, a row each: how long a request may be, in which state it is allowed, and its form as bytes. Rows without a
form are known, and answered NOT_SUPPORTED. A request that has a vsi_id names the VSI that it is about.

Lengths are exact (virtchnl_vc_validate_vf_msg): each opcode has one length or one family base + n·element, n ≥ 1; the bases of
address and VLAN lists carry one spare element's remainder, a scar of the old one-element arrays. All little-endian. Pure. For
codec and session; the session says when a row is asked for, the PF what is done about it.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sriov_xdp.mailbox.messages import (
    AddAddressList,
    AddressType,
    AddVlanList,
    AddVlanTags,
    Capability,
    ConfigPromiscuousMode,
    DelAddressList,
    DelVlanList,
    DelVlanTags,
    EtherAddress,
    GetResources,
    GetStats,
    GetVlanCaps,
    Opcode,
    Request,
    Reset,
    Status,
    Version,
)

VERSION = struct.Struct("<II")
_CAPABILITIES = struct.Struct("<I")
_LIST_HEAD = struct.Struct("<HH")
_ETHER_ADDRESS = struct.Struct("<6sBx")
_QUEUE_SELECT = struct.Struct("<HHII")
_VLAN = struct.Struct("<H")
_MOST_VLAN = 0xFFF
_MASKS = (0, _MOST_VLAN, 0xFFFF)  # of a whole number; ice knows no other
INNER_TPID, OUTER_TPID = 0x8100, 0x88A8
_V2_HEAD = struct.Struct("<HH4x")
_V2_FILTER = struct.Struct("<HHHxxHHHxx16x")  # TCI, mask and TPID of an inner tag, then of an outer one
_ADDRESS_TYPES = tuple(sorted(AddressType))


_NONE = Capability(0)


class State(Enum):
    """How far the negotiation of a connection is."""

    FRESH = "fresh"
    NEGOTIATED = "negotiated"
    ACTIVE = "active"


ALWAYS, WHEN_ACTIVE = frozenset(State), frozenset({State.ACTIVE})
WHEN_NEGOTIATED = WHEN_ACTIVE | {State.NEGOTIATED}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Payload lengths an opcode accepts: base + n·element, 1 ≤ n; element 0 = exactly base (or one of also)."""

    base: int
    element: int = 0
    also: tuple[int, ...] = ()

    def accept(self, length_bytes: int) -> bool:
        """Whether a payload of this many bytes can be this opcode's."""
        if length_bytes in self.also:
            return True
        if not self.element:
            return length_bytes == self.base
        extra = length_bytes - self.base
        return extra >= self.element and extra % self.element == 0

    def of(self, count: int) -> int:
        """The length with so many elements."""
        return self.base + self.element * count


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a payload is. decode: of an accepted length; None when a field contradicts the length, or has no meaning. encode: the
    reverse. too_early: the answer in a state that is not among states; capability: what must have been negotiated as well."""

    request: type[Request]
    states: frozenset[State]
    too_early: Status = Status.ERR_NOT_SUPPORTED
    decode: Callable[[bytes], Request | None]
    encode: Callable[[Any], bytes]
    capability: Capability = _NONE


@dataclass(frozen=True, slots=True)
class Row:
    """One opcode."""

    lengths: Lengths
    form: Form | None = None


def _version(payload: bytes) -> Version:
    major, minor = VERSION.unpack(payload)
    return Version(major=major, minor=minor)


def _resources(payload: bytes) -> GetResources:
    return GetResources(capabilities=_CAPABILITIES.unpack(payload)[0] if payload else None)


def _resources_bytes(request: GetResources) -> bytes:
    return b"" if request.capabilities is None else _CAPABILITIES.pack(request.capabilities)


_ADDRESSES = Lengths(12, 8)


def _addresses(kind: type[AddAddressList] | type[DelAddressList]) -> Callable[[bytes], Request | None]:
    def decode(payload: bytes) -> Request | None:
        vsi_id, count = _LIST_HEAD.unpack_from(payload)
        if _ADDRESSES.of(count) != len(payload):
            return None
        entries = payload[_LIST_HEAD.size : _LIST_HEAD.size + count * _ETHER_ADDRESS.size]
        try:
            addresses = tuple(EtherAddress(mac, _ADDRESS_TYPES[kind & 3]) for mac, kind in _ETHER_ADDRESS.iter_unpack(entries))
        except IndexError:
            return None
        return kind(vsi_id=vsi_id, addresses=addresses)

    return decode


def _addresses_bytes(request: AddAddressList | DelAddressList) -> bytes:
    entries = b"".join(_ETHER_ADDRESS.pack(entry.mac, entry.type) for entry in request.addresses)
    return _LIST_HEAD.pack(request.vsi_id, len(request.addresses)) + entries + bytes(_ADDRESSES.base - _LIST_HEAD.size)


def _address_list(kind: type[AddAddressList] | type[DelAddressList]) -> Row:
    return Row(_ADDRESSES, Form(request=kind, states=WHEN_ACTIVE, decode=_addresses(kind), encode=_addresses_bytes))


_VLANS = Lengths(6, 2)


def _vlan_list(kind: type[AddVlanList] | type[DelVlanList]) -> Row:
    def decode(payload: bytes) -> Request | None:
        vsi_id, count = _LIST_HEAD.unpack_from(payload)
        if _VLANS.of(count) != len(payload):
            return None
        vlans = tuple(vlan for (vlan,) in _VLAN.iter_unpack(payload[_LIST_HEAD.size : _LIST_HEAD.size + count * _VLAN.size]))
        return None if any(vlan > _MOST_VLAN for vlan in vlans) else kind(vsi_id=vsi_id, vlans=vlans)

    def encode(request: AddVlanList | DelVlanList) -> bytes:
        entries = b"".join(map(_VLAN.pack, request.vlans))
        return _LIST_HEAD.pack(request.vsi_id, len(request.vlans)) + entries + bytes(_VLANS.base - _LIST_HEAD.size)

    return Row(_VLANS, Form(request=kind, states=WHEN_ACTIVE, decode=decode, encode=encode, capability=Capability.VLAN))


_V2_LISTS = Lengths(8, 32)


def _tag_of(inner: tuple[int, ...], outer: tuple[int, ...]) -> tuple[int, int] | None:
    """TPID and VLAN of a filter that says exactly one tag: 802.1Q's as an inner one, 802.1ad's as an outer one; and no priority, of
    which filters know nothing."""
    (tci, mask, tpid), other, right = (inner, outer, INNER_TPID) if inner[2] else (outer, inner, OUTER_TPID)
    return (tpid, tci) if tpid == right and not any(other) and mask in _MASKS and tci <= _MOST_VLAN else None


def _vlan_tags(kind: type[AddVlanTags] | type[DelVlanTags]) -> Row:
    def decode(payload: bytes) -> Request | None:
        vsi_id, count = _V2_HEAD.unpack_from(payload)
        if _V2_LISTS.of(count) != len(payload):
            return None
        tags = [_tag_of(words[:3], words[3:]) for words in _V2_FILTER.iter_unpack(payload[_V2_HEAD.size :])]
        whole = [tag for tag in tags if tag is not None]
        kinds = {tpid for tpid, _vlan in whole}
        if len(whole) != count or len(kinds) != 1:
            return None
        return kind(vsi_id=vsi_id, tpid=kinds.pop(), vlans=tuple(vlan for _tpid, vlan in whole))

    def encode(request: AddVlanTags | DelVlanTags) -> bytes:
        head, none = _V2_HEAD.pack(request.vsi_id, len(request.vlans)), (0, 0, 0)
        tags = ((vlan, 0, request.tpid) for vlan in request.vlans)
        pairs = ((none, tag) if request.tpid == OUTER_TPID else (tag, none) for tag in tags)
        return head + b"".join(_V2_FILTER.pack(*inner, *outer) for inner, outer in pairs)

    form = Form(request=kind, states=WHEN_ACTIVE, decode=decode, encode=encode, capability=Capability.VLAN_V2)
    return Row(_V2_LISTS, form)


_UNICAST, _MULTICAST = 1 << 0, 1 << 1


def _promiscuous_mode(payload: bytes) -> ConfigPromiscuousMode | None:
    vsi_id, flags = _LIST_HEAD.unpack(payload)
    if flags & ~(_UNICAST | _MULTICAST):
        return None
    return ConfigPromiscuousMode(vsi_id=vsi_id, unicast=bool(flags & _UNICAST), multicast=bool(flags & _MULTICAST))


def _promiscuous_mode_bytes(request: ConfigPromiscuousMode) -> bytes:
    return _LIST_HEAD.pack(request.vsi_id, request.unicast * _UNICAST | request.multicast * _MULTICAST)


OPCODES: dict[Opcode, Row] = {
    Opcode.VERSION: Row(
        Lengths(8),
        Form(request=Version, states=ALWAYS, decode=_version, encode=lambda request: VERSION.pack(request.major, request.minor)),
    ),
    Opcode.RESET_VF: Row(
        Lengths(0), Form(request=Reset, states=ALWAYS, decode=lambda _payload: Reset(), encode=lambda _request: b"")
    ),
    Opcode.GET_VF_RESOURCES: Row(
        Lengths(0, also=(4,)),
        Form(
            request=GetResources,
            states=WHEN_NEGOTIATED,
            too_early=Status.ERR_PARAM,
            decode=_resources,
            encode=_resources_bytes,
        ),
    ),
    Opcode.CONFIG_TX_QUEUE: Row(Lengths(24)),
    Opcode.CONFIG_RX_QUEUE: Row(Lengths(40)),
    Opcode.CONFIG_VSI_QUEUES: Row(Lengths(72, 64)),
    Opcode.CONFIG_IRQ_MAP: Row(Lengths(14, 12)),
    Opcode.ENABLE_QUEUES: Row(Lengths(12)),
    Opcode.DISABLE_QUEUES: Row(Lengths(12)),
    Opcode.ADD_ETH_ADDR: _address_list(AddAddressList),
    Opcode.DEL_ETH_ADDR: _address_list(DelAddressList),
    Opcode.ADD_VLAN: _vlan_list(AddVlanList),
    Opcode.DEL_VLAN: _vlan_list(DelVlanList),
    Opcode.CONFIG_PROMISCUOUS_MODE: Row(
        Lengths(4),
        Form(request=ConfigPromiscuousMode, states=WHEN_ACTIVE, decode=_promiscuous_mode, encode=_promiscuous_mode_bytes),
    ),
    Opcode.GET_STATS: Row(
        Lengths(12),
        Form(
            request=GetStats,
            states=WHEN_ACTIVE,
            decode=lambda payload: GetStats(vsi_id=_QUEUE_SELECT.unpack(payload)[0]),
            encode=lambda request: _QUEUE_SELECT.pack(request.vsi_id, 0, 0, 0),
        ),
    ),
    Opcode.CONFIG_RSS_HFUNC: Row(Lengths(8)),
    Opcode.CONFIG_RSS_KEY: Row(Lengths(5, 1)),
    Opcode.CONFIG_RSS_LUT: Row(Lengths(5, 1)),
    Opcode.GET_RSS_HASHCFG_CAPS: Row(Lengths(0)),
    Opcode.SET_RSS_HASHCFG: Row(Lengths(8)),
    Opcode.ENABLE_VLAN_STRIPPING: Row(Lengths(0)),
    Opcode.DISABLE_VLAN_STRIPPING: Row(Lengths(0)),
    Opcode.REQUEST_QUEUES: Row(Lengths(2)),
    Opcode.ADD_CLOUD_FILTER: Row(Lengths(272)),
    Opcode.DEL_CLOUD_FILTER: Row(Lengths(272)),
    Opcode.GET_SUPPORTED_RXDIDS: Row(Lengths(0)),
    Opcode.GET_OFFLOAD_VLAN_V2_CAPS: Row(
        Lengths(0),
        Form(
            request=GetVlanCaps,
            states=WHEN_ACTIVE,
            decode=lambda _payload: GetVlanCaps(),
            encode=lambda _request: b"",
            capability=Capability.VLAN_V2,
        ),
    ),
    Opcode.ADD_VLAN_V2: _vlan_tags(AddVlanTags),
    Opcode.DEL_VLAN_V2: _vlan_tags(DelVlanTags),
    Opcode.ENABLE_VLAN_STRIPPING_V2: Row(Lengths(16)),
    Opcode.DISABLE_VLAN_STRIPPING_V2: Row(Lengths(16)),
    Opcode.ENABLE_VLAN_INSERTION_V2: Row(Lengths(16)),
    Opcode.DISABLE_VLAN_INSERTION_V2: Row(Lengths(16)),
    Opcode.GET_QOS_CAPS: Row(Lengths(0)),
    Opcode.CONFIG_QUEUE_BW: Row(Lengths(4, 12)),
}
FORMS: dict[Opcode, Form] = {opcode: row.form for opcode, row in OPCODES.items() if row.form}
OPCODE_OF: dict[type[Request], Opcode] = {form.request: opcode for opcode, form in FORMS.items()}
