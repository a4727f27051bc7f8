"""The frames that end a host whose kernel lacks the page_pool fix: only ever sent inside a virtual machine.

A veth that runs XDP copies a frame above one buffer into pieces of 3,520, then 4,096 bytes. A last piece of odd length makes
the head of the next frame odd, of which veth takes the lowest bit for a flag of its own.
"""

import errno
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass

from sriov_xdp.lab.host import Namespace, entered
from sriov_xdp.lab.traffic import TEST_TYPE, Tap, frame, octets, tapped
from sriov_xdp.patience import patient

PIECES = (3520, 4096, 1327)
SHORT_BYTES = 60
_HEADER_BYTES = 14
_ROUNDS_AT_ONCE = 10  # what a tap's buffer holds
_ARRIVAL_SECONDS = 2
BOTH, ONLY_SHORT, NONE = frozenset({"long", "short"}), frozenset({"short"}), frozenset[str]()  # of the kinds of frames

_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_NEEDS_CSUM, _GSO_TCPV4, _GSO_UDP_L4 = 1, 1, 5  # struct virtio_net_hdr, linux/virtio_net.h
_TCP_ACK = 0x10
_PORT = 4791

Sent = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Place:
    """An interface of a namespace."""

    namespace: Namespace
    device: str = "eth0"

    @property
    def mac(self) -> str:
        return self.namespace.mac(self.device)


def _answer(tap: socket.socket | Tap, data: bytes) -> str:
    try:
        tap.send(data)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def _marked(target: str, source: str, number: int, size: int) -> bytes:
    mark = struct.pack("!I", number)
    return frame(target, source, mark + bytes([number % 251]) * (size - _HEADER_BYTES - 2 * len(mark)) + mark)


def run(sender: Place, receiver: Place, rounds: int, *, awaited: frozenset[str] = BOTH) -> dict[str, object]:
    """Sends a frame of these pieces and a short one, rounds times. sent: by kind of frame, how often send() answered what;
    arrived: frames that came whole, by kind, and others by length. awaited: the kinds that are waited for."""
    sent: Sent = {"long": {}, "short": {}}
    arrived = Counter[str]()
    source, target = sender.mac, receiver.mac
    with tapped((sender.namespace, sender.device), (receiver.namespace, receiver.device)) as (tap, seen):
        for first in range(0, rounds, _ROUNDS_AT_ONCE):
            expected: dict[bytes, str] = {}
            for number in range(first, min(first + _ROUNDS_AT_ONCE, rounds)):
                for kind, size in (("long", sum(PIECES)), ("short", SHORT_BYTES)):
                    data = _marked(target, source, number, size)
                    answer = _answer(tap, data)
                    sent[kind][answer] = sent[kind].get(answer, 0) + 1
                    if answer == "ok":
                        expected[data] = kind
            arrived.update(_collect(seen, expected, awaited))
    return {"sent": sent, "arrived": dict(arrived)}


def flood(sender: Place, receiver: Place, is_over: threading.Event) -> None:
    """Sends the same frames until it is over, whatever becomes of them."""
    source, target = sender.mac, receiver.mac
    long, short = (_marked(target, source, 0, size) for size in (sum(PIECES), SHORT_BYTES))
    with tapped((sender.namespace, sender.device)) as (tap,):
        while not is_over.is_set():
            _answer(tap, long)
            _answer(tap, short)


def _collect(seen: Tap, expected: dict[bytes, str], awaited: frozenset[str]) -> Counter[str]:
    """What comes until nothing that is awaited is missing, or the time is over."""
    found, missing = Counter[str](), dict(expected)
    deadline = time.monotonic() + patient(_ARRIVAL_SECONDS)
    while True:
        for data in seen.drain():
            if data[12:14] == TEST_TYPE.to_bytes(2):
                found[missing.pop(data, None) or f"other of {len(data)} bytes"] += 1
        if not awaited.intersection(missing.values()) or time.monotonic() > deadline:
            return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperFrame:
    """What a packet socket's vnet header lets a guest ask for: payload bytes in one frame, to be cut into gso_size each."""

    protocol: str
    gso_size: int
    payload_bytes: int

    def data(self, target: str, source: str) -> bytes:
        """struct virtio_net_hdr, then the frame. Checksums are left to the kernel."""
        if self.protocol == "tcp":
            transport = struct.pack("!HHIIBBHHH", _PORT, _PORT, 1, 1, 5 << 4, _TCP_ACK, 1024, 0, 0)
            number, gso, checksum_at = socket.IPPROTO_TCP, _GSO_TCPV4, 16
        else:
            transport = struct.pack("!HHHH", _PORT, _PORT, 8 + self.payload_bytes, 0)
            number, gso, checksum_at = socket.IPPROTO_UDP, _GSO_UDP_L4, 6
        body = transport + bytes(self.payload_bytes)
        start = _HEADER_BYTES + 20
        vnet = struct.pack("<BBHHHH", _NEEDS_CSUM, gso, start + len(transport), self.gso_size, start, checksum_at)
        return vnet + octets(target) + octets(source) + b"\x08\0" + _ipv4(number, len(body)) + body


def _ipv4(protocol: int, length: int) -> bytes:
    """A header with its checksum (RFC 791)."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 1, 0, 64, protocol, 0, b"\x0a\x4d\0\1", b"\x0a\x4d\0\2")
    total = sum(struct.unpack("!10H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", total ^ 0xFFFF) + header[12:]


def run_gso(sender: Place, receiver: Place, rounds: int, super_frame: SuperFrame) -> dict[str, object]:
    """Sends super frames, each followed by a short one. sent: what send() answered; arrived: what it became, by length."""
    sent, arrived = Counter[str](), Counter[str]()
    data = super_frame.data(receiver.mac, sender.mac)
    with entered(sender.namespace):
        outlet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with outlet, tapped((sender.namespace, sender.device), (receiver.namespace, receiver.device)) as (tap, seen):
        outlet.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        outlet.bind((sender.device, 0))
        for number in range(rounds):
            sent[_answer(outlet, data)] += 1
            short = _marked(receiver.mac, sender.mac, number, SHORT_BYTES)
            tap.send(short)
            arrived.update(_lengths_until(seen, short))
    return {"sent": dict(sent), "arrived": dict(arrived)}


def _lengths_until(seen: Tap, last: bytes) -> Counter[str]:
    """Of the pieces of a super frame, until the last frame came or the time is over."""
    found = Counter[str]()
    deadline = time.monotonic() + patient(_ARRIVAL_SECONDS)
    while time.monotonic() < deadline:
        for data in seen.drain():
            if data == last:
                return found
            if data[12:14] == b"\x08\0" and data[34:36] == _PORT.to_bytes(2):
                found[str(len(data))] += 1
    found["no short frame after it"] += 1
    return found
