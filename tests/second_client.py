"""A second VF driver, written from docs/mailbox.md alone.

It shares no code with the product. It shows that the document is enough for a driver in another language.
"""

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

SOCKET_NAME = "\0sriov-xdp/{vf}"
ANSWER_TIMEOUT = 5.0  # seconds
PAYLOAD_MAX = 4096
TO_THE_PF, TO_THE_VF = 0x0801, 0x0802
CAPABILITY_L2, CAPABILITY_ADV_LINK_SPEED, CAPABILITY_VLAN_V2, CAPABILITY_VLAN = 0x1, 0x80, 0x8000, 0x10000
PROMISCUOUS_UNICAST, PROMISCUOUS_MULTICAST = 1, 2
TPID_INNER, TPID_OUTER = 0x8100, 0x88A8
LEGACY, PRIMARY, EXTRA = 0, 1, 2  # types of an address
LINK_CHANGE, RESET_IMPENDING, PF_DRIVER_CLOSE = 1, 2, 3  # events

DESCRIPTOR = struct.Struct("<HHHHIi16x")  # flags, opcode, datalen, retval, cookie_high, cookie_low, params
VERSION = struct.Struct("<II")  # major, minor
CAPABILITIES = struct.Struct("<I")
RESOURCES = struct.Struct("<HHHHIIIHHIH6s")  # in the order of Resources
ADDRESS_LIST = struct.Struct("<HH")  # vsi_id, num_elements
ADDRESS = struct.Struct("<6sBx")  # addr, type, pad
ADDRESS_LIST_END = bytes(8)
PROMISCUOUS = struct.Struct("<HH")  # vsi_id, flags
VLAN_LIST = struct.Struct("<HH")  # vsi_id, num_elements
VLAN = struct.Struct("<H")  # vlan_id
VLAN_LIST_END = bytes(2)
VLAN_TAG_LIST = struct.Struct("<HHI")  # vport_id, num_elements, pad
VLAN_TAG = struct.Struct("<HHHHHHHH16x")  # tci, tci_mask, tpid, pad of the inner tag, then of the outer one
VLAN_CAPS = struct.Struct("<IIIH2xIIIIIB3x")  # in the order of VlanCaps, and zeros
QUEUE_SELECT = struct.Struct("<HxxII")  # vsi_id, pad, rx_queues, tx_queues
EVENT = struct.Struct("<iIB3xI")  # event, link_speed, link_status, pad, severity

STATS_FIELDS = (
    *("rx_bytes", "rx_unicast", "rx_multicast", "rx_broadcast", "rx_discards", "rx_unknown_protocol"),
    *("tx_bytes", "tx_unicast", "tx_multicast", "tx_broadcast", "tx_discards", "tx_errors"),
)
STATS = struct.Struct(f"<{len(STATS_FIELDS)}Q")


class Opcode(IntEnum):
    """What this driver sends, and the EVENT."""

    VERSION = 1
    RESET_VF = 2
    GET_VF_RESOURCES = 3
    ADD_ETH_ADDR = 10
    DEL_ETH_ADDR = 11
    ADD_VLAN = 12
    DEL_VLAN = 13
    CONFIG_PROMISCUOUS_MODE = 14
    GET_STATS = 15
    EVENT = 17
    GET_OFFLOAD_VLAN_V2_CAPS = 51
    ADD_VLAN_V2 = 52
    DEL_VLAN_V2 = 53


class Status(IntEnum):
    """The status of an answer."""

    SUCCESS = 0
    ERR_PARAM = -5
    ERR_NO_MEMORY = -18
    ERR_ADMIN_QUEUE = -53
    ERR_NOT_SUPPORTED = -64


@dataclass(frozen=True, slots=True)
class Event:
    """An EVENT of the PF."""

    event: int
    link_speed: int
    link_status: int
    severity: int


@dataclass(frozen=True, slots=True)
class Resources:
    """The answer to GET_VF_RESOURCES. The document has `num_queue_pairs` twice: the second one is the VSI's."""

    num_vsis: int
    num_queue_pairs: int
    max_vectors: int
    max_mtu: int
    vf_cap_flags: int
    rss_key_size: int
    rss_lut_size: int
    vsi_id: int
    vsi_num_queue_pairs: int
    vsi_type: int
    qset_handle: int
    default_mac_addr: bytes


@dataclass(frozen=True, slots=True)
class VlanCaps:
    """The answer to GET_OFFLOAD_VLAN_V2_CAPS: which filters are offered."""

    outer: int
    inner: int
    ethertype_init: int
    max_filters: int


class ProtocolError(Exception):
    """The PF sent what the document does not have."""


class RefusedError(Exception):
    """An answer that is no success, where a caller wants its payload."""

    def __init__(self, opcode: int, status: int) -> None:
        super().__init__(f"opcode {opcode}: status {status}")
        self.status = status


class SecondClient:
    """One connection to the mailbox of a VF, made in the network namespace of the calling thread."""

    def __init__(self, vf: str) -> None:
        self.events: list[Event] = []
        self._vsi_id = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(ANSWER_TIMEOUT)
        try:
            self._socket.connect(SOCKET_NAME.format(vf=vf))
        except OSError:
            self._socket.close()
            raise

    def version(self, major: int, minor: int) -> tuple[int, int]:
        """Negotiate. The PF's version."""
        answer_major, answer_minor = VERSION.unpack(self._payload(Opcode.VERSION, VERSION.pack(major, minor)))
        return answer_major, answer_minor

    def resources(self, capabilities: int | None) -> Resources:
        """What the VF has. None is for a driver of version 1.0."""
        asked = b"" if capabilities is None else CAPABILITIES.pack(capabilities)
        found = Resources(*RESOURCES.unpack(self._payload(Opcode.GET_VF_RESOURCES, asked)))
        self._vsi_id = found.vsi_id
        return found

    def add(self, mac: bytes, kind: int) -> int:
        """Ask for an address. The status."""
        return self.send_raw(Opcode.ADD_ETH_ADDR, self._addresses(mac, kind))

    def remove(self, mac: bytes, kind: int) -> int:
        """Give an address back. The status."""
        return self.send_raw(Opcode.DEL_ETH_ADDR, self._addresses(mac, kind))

    def promiscuous(self, flags: int) -> int:
        """Ask for frames that are for others, for all multicast, for both or for none. The status."""
        return self.send_raw(Opcode.CONFIG_PROMISCUOUS_MODE, PROMISCUOUS.pack(self._vsi_id, flags))

    def vlans(self, opcode: Opcode, *vlans: int) -> int:
        """Ask for VLANs, or give them back, without VLAN_V2. The status."""
        named = b"".join(map(VLAN.pack, vlans))
        return self.send_raw(opcode, VLAN_LIST.pack(self._vsi_id, len(vlans)) + named + VLAN_LIST_END)

    def vlan_caps(self) -> VlanCaps:
        """What VLAN_V2 offers."""
        return VlanCaps(*VLAN_CAPS.unpack(self._payload(Opcode.GET_OFFLOAD_VLAN_V2_CAPS, b""))[:4])

    def tags(self, opcode: Opcode, tpid: int, *vlans: int) -> int:
        """Ask for VLANs, or give them back, with VLAN_V2. The status."""
        words = {TPID_INNER: lambda vlan: (vlan, 0, tpid, 0, 0, 0, 0, 0), TPID_OUTER: lambda vlan: (0, 0, 0, 0, vlan, 0, tpid, 0)}
        named = b"".join(VLAN_TAG.pack(*words[tpid](vlan)) for vlan in vlans)
        return self.send_raw(opcode, VLAN_TAG_LIST.pack(self._vsi_id, len(vlans), 0) + named)

    def stats(self) -> dict[str, int]:
        """The counters of the VF, by the names of the document."""
        found = STATS.unpack(self._payload(Opcode.GET_STATS, QUEUE_SELECT.pack(self._vsi_id, 0, 0)))
        return dict(zip(STATS_FIELDS, found, strict=True))

    def reset(self) -> None:
        """Reset the VF. Returns when the PF says so; the connection is fresh then."""
        self._send(Opcode.RESET_VF, b"")
        while self.next_event().event != RESET_IMPENDING:
            pass

    def next_event(self) -> Event:
        """Wait for one more event. It is in `events` too."""
        opcode, _, payload = self._receive()
        if opcode != Opcode.EVENT:
            raise ProtocolError(f"opcode {opcode} answers no request")
        return self._seen(payload)

    def send_raw(self, opcode: int, payload: bytes) -> int:
        """Send any request that has an answer. Its status."""
        return self._ask(opcode, payload)[0]

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _addresses(self, mac: bytes, kind: int) -> bytes:
        return ADDRESS_LIST.pack(self._vsi_id, 1) + ADDRESS.pack(mac, kind) + ADDRESS_LIST_END

    def _payload(self, opcode: int, payload: bytes) -> bytes:
        status, answer = self._ask(opcode, payload)
        if status != Status.SUCCESS:
            raise RefusedError(opcode, status)
        return answer

    def _ask(self, opcode: int, payload: bytes) -> tuple[int, bytes]:
        self._send(opcode, payload)
        answered, status, answer = self._receive()
        while answered == Opcode.EVENT and status == Status.SUCCESS:  # else it answers an EVENT that this driver sent
            self._seen(answer)
            answered, status, answer = self._receive()
        if answered != opcode:
            raise ProtocolError(f"opcode {answered} came, and {opcode} was asked")
        return status, answer

    def _seen(self, payload: bytes) -> Event:
        event = Event(*EVENT.unpack(payload))
        self.events.append(event)
        return event

    def _send(self, opcode: int, payload: bytes) -> None:
        self._socket.send(DESCRIPTOR.pack(0, TO_THE_PF, len(payload), 0, opcode, 0) + payload)

    def _receive(self) -> tuple[int, int, bytes]:
        message = self._socket.recv(DESCRIPTOR.size + PAYLOAD_MAX)
        if not message:
            raise ConnectionError("the PF ended the connection")
        _, direction, length, _, opcode, status = DESCRIPTOR.unpack_from(message)
        payload = message[DESCRIPTOR.size :]
        if direction != TO_THE_VF or length != len(payload):
            raise ProtocolError(f"descriptor of opcode {opcode}: direction {direction:#x}, datalen {length}, {len(payload)} came")
        return opcode, status, payload
