"""Bytes ↔ messages. A message is a 32-byte AdminQ descriptor and a payload, in one SEQPACKET datagram. All little-endian.

What a request's payload is, its opcode's row says (opcodes.py); replies and events are here.
"""

import struct
from dataclasses import dataclass
from operator import attrgetter

from sriov_xdp.mailbox.messages import Event, EventCode, Opcode, Reply, Request, Resources, Stats, Status, Version, VlanCaps
from sriov_xdp.mailbox.opcodes import FORMS, INNER_TPID, OPCODE_OF, OPCODES, OUTER_TPID, VERSION

DESCRIPTOR = struct.Struct("<HHHHIiIIII")  # flags, opcode, datalen, retval, cookie_high, cookie_low, params
MAX_PAYLOAD_BYTES = 4096  # an AdminQ buffer is one page
MAX_MESSAGE_BYTES = DESCRIPTOR.size + MAX_PAYLOAD_BYTES
AQ_TO_PF = 0x0801
AQ_TO_VF = 0x0802

_RESOURCES = struct.Struct("<HHHHIIIHHiH6s")
_STATS = struct.Struct("<12Q")
_VLAN_CAPS = struct.Struct("<IIIHxxIIIIIB3x")  # filters: outer, inner, first type, how many; offloads: none of them works here
_TPID_BITS = {INNER_TPID: 1 << 0, OUTER_TPID: 1 << 1}
_in_wire_order = attrgetter(*Stats.__slots__)
_EVENT = struct.Struct("<iIB3xi")
_VSI_TYPE_SRIOV = 6
_QUEUE_PAIRS = 1
_VECTORS = 1
_SEVERITY_INFO = 0
_SEVERITY_DOOM = 255


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
    row = OPCODES.get(envelope.opcode)  # type: ignore[call-overload]  # an int key finds its IntEnum
    return row is not None and row.lengths.accept(len(envelope.payload))


def decode_request(opcode: Opcode, payload: bytes) -> Request | None:
    """A request of well-formed length; None when a field contradicts the length, or the opcode is not offered."""
    form = FORMS.get(opcode)
    return form.decode(payload) if form else None


def encode_request(request: Request) -> bytes:
    """A whole message of the VF."""
    opcode = OPCODE_OF[type(request)]
    return join(AQ_TO_PF, opcode, 0, FORMS[opcode].encode(request))


def encode_reply(opcode: int, status: Status, reply: Reply | None = None) -> bytes:
    """A whole answer of the PF."""
    return join(AQ_TO_VF, opcode, status, b"" if reply is None else _reply_payload(reply))


def _reply_payload(reply: Reply) -> bytes:
    match reply:
        case Version(major=major, minor=minor):
            return VERSION.pack(major, minor)
        case Stats():
            return _STATS.pack(*_in_wire_order(reply))
        case VlanCaps(tpid=tpid, most_filters=most):
            inner, outer = (_TPID_BITS[tpid] if tpid == one else 0 for one in (INNER_TPID, OUTER_TPID))
            return _VLAN_CAPS.pack(outer, inner, outer | inner, most, 0, 0, 0, 0, 0, 0)
        case Resources(vsi_id=vsi_id, mac=mac, max_mtu_bytes=mtu, capabilities=capabilities):
            head = (1, _QUEUE_PAIRS, _VECTORS, mtu, capabilities, 0, 0)
            return _RESOURCES.pack(*head, vsi_id, _QUEUE_PAIRS, _VSI_TYPE_SRIOV, 0, mac)


def decode_reply(opcode: int, payload: bytes) -> Reply | None:
    """The payload of a successful answer; None for opcodes that answer with a status only, or a wrong length."""
    if opcode == Opcode.VERSION and len(payload) == VERSION.size:
        major, minor = VERSION.unpack(payload)
        return Version(major=major, minor=minor)
    if opcode == Opcode.GET_STATS and len(payload) == _STATS.size:
        return Stats(**dict(zip(Stats.__slots__, _STATS.unpack(payload), strict=True)))
    if opcode == Opcode.GET_OFFLOAD_VLAN_V2_CAPS and len(payload) == _VLAN_CAPS.size:
        outer, inner, _first, most, *_offloads = _VLAN_CAPS.unpack(payload)
        found = (tpid for tpid, bit in _TPID_BITS.items() if (outer | inner) & bit)
        return VlanCaps(tpid=next(found, 0), most_filters=most)
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
