"""Bytes ↔ messages. A message is a 32-byte AdminQ descriptor and a payload, in one SEQPACKET datagram.

Lengths are exact (virtchnl_vc_validate_vf_msg): each opcode has one length or one family base + n·element, n ≥ 1; the bases
of address and VLAN lists carry one spare element's remainder, a scar of the old one-element arrays. All little-endian.
"""

import struct
from dataclasses import dataclass
from operator import attrgetter

from sriov_xdp.mailbox.messages import (
    AddAddressList,
    AddressType,
    DelAddressList,
    EtherAddress,
    Event,
    EventCode,
    GetResources,
    GetStats,
    Opcode,
    Reply,
    Request,
    Reset,
    Resources,
    Stats,
    Status,
    Version,
)

DESCRIPTOR = struct.Struct("<HHHHIiIIII")  # flags, opcode, datalen, retval, cookie_high, cookie_low, params
MAX_PAYLOAD_BYTES = 4096  # an AdminQ buffer is one page
MAX_MESSAGE_BYTES = DESCRIPTOR.size + MAX_PAYLOAD_BYTES
AQ_TO_PF = 0x0801
AQ_TO_VF = 0x0802

_VERSION = struct.Struct("<II")
_CAPABILITIES = struct.Struct("<I")
_RESOURCES = struct.Struct("<HHHHIIIHHiH6s")
_LIST_HEAD = struct.Struct("<HH")
_ETHER_ADDRESS = struct.Struct("<6sBx")
_QUEUE_SELECT = struct.Struct("<HHII")
_STATS = struct.Struct("<12Q")
_in_wire_order = attrgetter(*Stats.__slots__)
_ADDRESS_TYPES = tuple(sorted(AddressType))
_EVENT = struct.Struct("<iIB3xi")
_VSI_TYPE_SRIOV = 6
_QUEUE_PAIRS = 1
_VECTORS = 1
_SEVERITY_INFO = 0
_SEVERITY_DOOM = 255


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


LENGTHS: dict[Opcode, Lengths] = {
    Opcode.VERSION: Lengths(8),
    Opcode.RESET_VF: Lengths(0),
    Opcode.GET_VF_RESOURCES: Lengths(0, also=(4,)),
    Opcode.CONFIG_TX_QUEUE: Lengths(24),
    Opcode.CONFIG_RX_QUEUE: Lengths(40),
    Opcode.CONFIG_VSI_QUEUES: Lengths(72, 64),
    Opcode.CONFIG_IRQ_MAP: Lengths(14, 12),
    Opcode.ENABLE_QUEUES: Lengths(12),
    Opcode.DISABLE_QUEUES: Lengths(12),
    Opcode.ADD_ETH_ADDR: Lengths(12, 8),
    Opcode.DEL_ETH_ADDR: Lengths(12, 8),
    Opcode.ADD_VLAN: Lengths(6, 2),
    Opcode.DEL_VLAN: Lengths(6, 2),
    Opcode.CONFIG_PROMISCUOUS_MODE: Lengths(4),
    Opcode.GET_STATS: Lengths(12),
    Opcode.CONFIG_RSS_HFUNC: Lengths(8),
    Opcode.CONFIG_RSS_KEY: Lengths(5, 1),
    Opcode.CONFIG_RSS_LUT: Lengths(5, 1),
    Opcode.GET_RSS_HASHCFG_CAPS: Lengths(0),
    Opcode.SET_RSS_HASHCFG: Lengths(8),
    Opcode.ENABLE_VLAN_STRIPPING: Lengths(0),
    Opcode.DISABLE_VLAN_STRIPPING: Lengths(0),
    Opcode.REQUEST_QUEUES: Lengths(2),
    Opcode.ADD_CLOUD_FILTER: Lengths(272),
    Opcode.DEL_CLOUD_FILTER: Lengths(272),
    Opcode.GET_SUPPORTED_RXDIDS: Lengths(0),
    Opcode.GET_OFFLOAD_VLAN_V2_CAPS: Lengths(0),
    Opcode.ADD_VLAN_V2: Lengths(8, 32),
    Opcode.DEL_VLAN_V2: Lengths(8, 32),
    Opcode.ENABLE_VLAN_STRIPPING_V2: Lengths(16),
    Opcode.DISABLE_VLAN_STRIPPING_V2: Lengths(16),
    Opcode.ENABLE_VLAN_INSERTION_V2: Lengths(16),
    Opcode.DISABLE_VLAN_INSERTION_V2: Lengths(16),
    Opcode.GET_QOS_CAPS: Lengths(0),
    Opcode.CONFIG_QUEUE_BW: Lengths(4, 12),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message split into descriptor fields and payload, not yet validated beyond the descriptor."""

    aq_opcode: int
    opcode: int
    status: int
    claimed_bytes: int
    payload: bytes


def split(message: bytes) -> Envelope | None:
    """None when there is not even a descriptor."""
    if len(message) < DESCRIPTOR.size:
        return None
    _flags, aq_opcode, datalen, _retval, opcode, status, *_params = DESCRIPTOR.unpack_from(message)
    return Envelope(aq_opcode=aq_opcode, opcode=opcode, status=status, claimed_bytes=datalen, payload=message[DESCRIPTOR.size :])


def join(aq_opcode: int, opcode: int, status: int, payload: bytes) -> bytes:
    """One message."""
    return DESCRIPTOR.pack(0, aq_opcode, len(payload), 0, opcode, status, 0, 0, 0, 0) + payload


def is_well_formed(envelope: Envelope) -> bool:
    """Direction, declared length and the opcode's exact length. Unknown opcodes and EVENT are never well formed."""
    if envelope.aq_opcode != AQ_TO_PF or envelope.claimed_bytes != len(envelope.payload):
        return False
    if len(envelope.payload) > MAX_PAYLOAD_BYTES:
        return False
    lengths = LENGTHS.get(envelope.opcode)  # type: ignore[call-overload]  # an int key finds its IntEnum
    return lengths is not None and lengths.accept(len(envelope.payload))


def decode_request(opcode: Opcode, payload: bytes) -> Request | None:
    """A request of well-formed length; None when a field contradicts the length."""
    match opcode:
        case Opcode.VERSION:
            major, minor = _VERSION.unpack(payload)
            return Version(major=major, minor=minor)
        case Opcode.GET_VF_RESOURCES:
            return GetResources(capabilities=_CAPABILITIES.unpack(payload)[0] if payload else None)
        case Opcode.RESET_VF:
            return Reset()
        case Opcode.GET_STATS:
            return GetStats(vsi_id=_QUEUE_SELECT.unpack(payload)[0])
        case Opcode.ADD_ETH_ADDR | Opcode.DEL_ETH_ADDR:
            return _decode_addresses(opcode, payload)
        case _:
            return None


def _decode_addresses(opcode: Opcode, payload: bytes) -> Request | None:
    vsi_id, count = _LIST_HEAD.unpack_from(payload)
    if LENGTHS[opcode].base + LENGTHS[opcode].element * count != len(payload):
        return None
    entries = payload[_LIST_HEAD.size : _LIST_HEAD.size + count * _ETHER_ADDRESS.size]
    try:
        addresses = tuple(EtherAddress(mac, _ADDRESS_TYPES[kind & 3]) for mac, kind in _ETHER_ADDRESS.iter_unpack(entries))
    except IndexError:
        return None
    if opcode is Opcode.ADD_ETH_ADDR:
        return AddAddressList(vsi_id=vsi_id, addresses=addresses)
    return DelAddressList(vsi_id=vsi_id, addresses=addresses)


def encode_request(request: Request) -> bytes:
    """A whole message of the VF."""
    opcode, payload = _request_payload(request)
    return join(AQ_TO_PF, opcode, 0, payload)


def _request_payload(request: Request) -> tuple[Opcode, bytes]:
    match request:
        case Version(major=major, minor=minor):
            return Opcode.VERSION, _VERSION.pack(major, minor)
        case GetResources(capabilities=capabilities):
            return Opcode.GET_VF_RESOURCES, b"" if capabilities is None else _CAPABILITIES.pack(capabilities)
        case Reset():
            return Opcode.RESET_VF, b""
        case GetStats(vsi_id=vsi_id):
            return Opcode.GET_STATS, _QUEUE_SELECT.pack(vsi_id, 0, 0, 0)
        case AddAddressList(vsi_id=vsi_id, addresses=addresses):
            return Opcode.ADD_ETH_ADDR, _address_list(vsi_id, addresses)
        case DelAddressList(vsi_id=vsi_id, addresses=addresses):
            return Opcode.DEL_ETH_ADDR, _address_list(vsi_id, addresses)


def _address_list(vsi_id: int, addresses: tuple[EtherAddress, ...]) -> bytes:
    entries = b"".join(_ETHER_ADDRESS.pack(entry.mac, entry.type) for entry in addresses)
    spare = bytes(LENGTHS[Opcode.ADD_ETH_ADDR].base - _LIST_HEAD.size)
    return _LIST_HEAD.pack(vsi_id, len(addresses)) + entries + spare


def encode_reply(opcode: int, status: Status, reply: Reply | None = None) -> bytes:
    """A whole answer of the PF."""
    return join(AQ_TO_VF, opcode, status, b"" if reply is None else _reply_payload(reply))


def _reply_payload(reply: Reply) -> bytes:
    match reply:
        case Version(major=major, minor=minor):
            return _VERSION.pack(major, minor)
        case Stats():
            return _STATS.pack(*_in_wire_order(reply))
        case Resources(vsi_id=vsi_id, mac=mac, max_mtu_bytes=mtu, capabilities=capabilities):
            head = (1, _QUEUE_PAIRS, _VECTORS, mtu, capabilities, 0, 0)
            return _RESOURCES.pack(*head, vsi_id, _QUEUE_PAIRS, _VSI_TYPE_SRIOV, 0, mac)


def decode_reply(opcode: int, payload: bytes) -> Reply | None:
    """The payload of a successful answer; None for opcodes that answer with a status only, or a wrong length."""
    if opcode == Opcode.VERSION and len(payload) == _VERSION.size:
        major, minor = _VERSION.unpack(payload)
        return Version(major=major, minor=minor)
    if opcode == Opcode.GET_STATS and len(payload) == _STATS.size:
        return Stats(**dict(zip(Stats.__slots__, _STATS.unpack(payload), strict=True)))
    if opcode == Opcode.GET_VF_RESOURCES and len(payload) == _RESOURCES.size:
        _vsis, _pairs, _vectors, mtu, capabilities, _key, _lut, vsi_id, _vsi_pairs, _type, _qset, mac = _RESOURCES.unpack(payload)
        return Resources(vsi_id=vsi_id, mac=mac, max_mtu_bytes=mtu, capabilities=capabilities)
    return None


def encode_event(event: Event) -> bytes:
    """A whole EVENT message."""
    severity = _SEVERITY_DOOM if event.code is EventCode.RESET_IMPENDING else _SEVERITY_INFO
    payload = _EVENT.pack(event.code, event.link_speed_mbps, int(event.link_is_up), severity)
    return join(AQ_TO_VF, Opcode.EVENT, Status.SUCCESS, payload)


def decode_event(payload: bytes) -> Event | None:
    """None for another length or code."""
    if len(payload) != _EVENT.size:
        return None
    code, speed, link, _severity = _EVENT.unpack(payload)
    if code not in EventCode.__members__.values():
        return None
    return Event(code=EventCode(code), link_is_up=bool(link), link_speed_mbps=speed)
