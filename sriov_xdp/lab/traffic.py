"""Frames on real interfaces: AF_PACKET taps inside namespaces, and sockets for real TCP and UDP between them.

For the demonstration, the benchmark and the tests.
"""

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator

from sriov_xdp.lab.host import Namespace, entered

BROADCAST = "ff:ff:ff:ff:ff:ff"
TEST_TYPE = 0x88B5  # IEEE 802 local experimental EtherType 1
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 263, 8, 23
_AUXDATA = struct.Struct("=IIIHHHH")
_SO_RCVBUFFORCE = 33
_TP_STATUS_VLAN_VALID, _TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6


def octets(mac: str) -> bytes:
    """Six bytes from text."""
    return bytes.fromhex(mac.replace(":", ""))


def frame(
    destination: str,
    source: str,
    payload: bytes,
    *,
    tags: tuple[int, ...] = (),
    ether_type: int = TEST_TYPE,
    tpid: int = 0x8100,
    service_tci: int | None = None,
) -> bytes:
    """An Ethernet frame; tags are VLAN numbers (or whole TCIs), outermost first; service_tci: of a tag of 802.1ad before them."""
    tagging = b"".join(struct.pack("!HH", tpid, tag) for tag in tags)
    if service_tci is not None:
        tagging = struct.pack("!HH", 0x88A8, service_tci) + tagging
    return octets(destination) + octets(source) + tagging + struct.pack("!H", ether_type) + payload


class Tap:
    """Sends and sees raw frames on one interface of a namespace. Received frames have their tag in band again, where the
    kernel took it off."""

    def __init__(self, namespace: Namespace, device: str = "eth0") -> None:
        with entered(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
            self._socket.bind((device, 0))

    def close(self) -> None:
        """Ends the tap."""
        self._socket.close()

    def send(self, *frames: bytes) -> None:
        """Sends frames as they are."""
        for one in frames:
            self._socket.send(one)

    def _read(self) -> bytes:
        data, ancillary, _flags, _address = self._socket.recvmsg(65536, socket.CMSG_SPACE(_AUXDATA.size))
        for level, kind, value in ancillary:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, _length, _snap, _mac, _net, tci, tpid = _AUXDATA.unpack(value[: _AUXDATA.size])
                if status & _TP_STATUS_VLAN_VALID:
                    tpid = tpid if status & _TP_STATUS_VLAN_TPID_VALID else 0x8100
                    data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        return data

    def seen(self, *, payload: bytes, seconds: float = 1.0, count: int = 1) -> list[bytes]:
        """Frames with this payload, until count of them came or the time is over (then fewer)."""
        found: list[bytes] = []
        deadline = time.monotonic() + seconds
        while len(found) < count and (left := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                data = self._read()
                if data.rstrip(b"\0").endswith(payload.rstrip(b"\0")):
                    found.append(data)
        return found

    def until(self, *, payload: bytes, seconds: float = 5.0) -> list[bytes]:
        """All frames that come until one has this payload, or the time is over."""
        found: list[bytes] = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not (found and payload in found[-1]):
            if select.select([self._socket], [], [], left)[0]:
                found.append(self._read())
        return found

    def drain(self) -> list[bytes]:
        """All that is there now."""
        found = []
        while select.select([self._socket], [], [], 0)[0]:
            found.append(self._read())
        return found


@contextlib.contextmanager
def tapped(*places: tuple[Namespace, str]) -> Iterator[list[Tap]]:
    """Taps for a while."""
    taps = [Tap(namespace, device) for namespace, device in places]
    try:
        yield taps
    finally:
        for tap in taps:
            tap.close()


def _socket_in(namespace: Namespace, family: int, kind: int) -> socket.socket:
    with entered(namespace):
        made = socket.socket(family, kind)
    made.settimeout(10)
    return made


def family_of(address: str) -> int:
    """AF_INET or AF_INET6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def send_tcp(sender: Namespace, receiver: Namespace, address: str, payload: bytes) -> bytes:
    """Sends a payload over TCP from one namespace to another; what arrived."""
    arrived = bytearray()
    with _socket_in(receiver, family_of(address), socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen(1)

        def receive() -> None:
            connection, _peer = listener.accept()
            connection.settimeout(10)
            with connection:
                while chunk := connection.recv(1 << 16):
                    arrived.extend(chunk)

        thread = threading.Thread(target=receive)
        thread.start()
        with _socket_in(sender, family_of(address), socket.SOCK_STREAM) as client:
            client.connect((address, listener.getsockname()[1]))
            client.sendall(payload)
        thread.join(15)
    return bytes(arrived)


def send_udp(sender: Namespace, receiver: Namespace, address: str, payloads: list[bytes]) -> list[bytes]:
    """Sends datagrams one by one; what arrived, in order."""
    arrived = []
    with (
        _socket_in(receiver, family_of(address), socket.SOCK_DGRAM) as server,
        _socket_in(sender, family_of(address), socket.SOCK_DGRAM) as client,
    ):
        server.bind((address, 0))
        for payload in payloads:
            client.sendto(payload, (address, server.getsockname()[1]))
            with contextlib.suppress(TimeoutError):
                arrived.append(server.recv(65536))
    return arrived


class Stream:
    """A sequence-numbered UDP stream between two namespaces; stop() tells what was lost."""

    def __init__(self, sender: Namespace, receiver: Namespace, address: str) -> None:
        with entered(receiver):
            self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with entered(sender):
            self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._in.bind((address, 0))
        self._in.settimeout(1)
        self._target = (address, self._in.getsockname()[1])
        self._is_over = threading.Event()
        self.sent = 0
        self._arrived: list[int] = []
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._is_over.wait(0.0005):
            self._out.sendto(struct.pack("<Q", self.sent), self._target)
            self.sent += 1

    def _receive(self) -> None:
        while True:
            try:
                self._arrived.append(struct.unpack("<Q", self._in.recv(64))[0])
            except TimeoutError:  # before the end it is the sender that was held up
                if self._is_over.is_set():
                    return

    def stop(self) -> list[int]:
        """Numbers that did not arrive."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._in.close()
        self._out.close()
        return sorted(set(range(self.sent)) - set(self._arrived))
