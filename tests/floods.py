"""A namespace that stands for a host, whose stack listens, and a guest that sends to it at full speed."""

import contextlib
import mmap
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sriov_xdp.lab.host import Lab, Namespace, entered, run
from sriov_xdp.lab.traffic import BROADCAST, frame

ADDRESS, PORT = "10.9.9.9", 5000
_GUESTS_ADDRESS = "10.9.9.1"
_SO_RCVBUFFORCE = 33
_ETH_P_IP, _UDP = 0x0800, 17
_FLOODS = """import mmap, os, socket, struct, sys
os.nice(10)  # all that others leave, on a machine that others need too
with open(sys.argv[2], "r+b") as file:
    count = mmap.mmap(file.fileno(), 8)
sender, tries = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0), 0
while True:
    try:
        sender.sendto(bytes.fromhex(sys.argv[1]), ("eth0", 0x0800))
    except OSError:
        pass
    tries += 1
    struct.pack_into("=Q", count, 0, tries)
"""


def _checksum(header: bytes) -> int:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def datagram(source_mac: str) -> bytes:
    """To the listener's address, as a broadcast frame, so that any stack that hears it takes it."""
    length = 20 + 8 + 8
    addresses = socket.inet_aton(_GUESTS_ADDRESS) + socket.inet_aton(ADDRESS)
    head = struct.pack("!BBHHHBB", 0x45, 0, length, 1, 0, 64, _UDP)
    header = head + struct.pack("!H", _checksum(head + b"\0\0" + addresses)) + addresses
    return frame(BROADCAST, source_mac, header + struct.pack("!HHHH", 999, PORT, 16, 0) + b"FROM INS", ether_type=_ETH_P_IP)


class Listener:
    """What the host's own stack hears of guests."""

    def __init__(self, host: Namespace) -> None:
        run("ip", "-n", host.name, "link", "add", "own0", "type", "veth", "peer", "name", "own1")
        for command in (
            ("link", "set", "own0", "up"),
            ("link", "set", "own1", "up"),
            ("addr", "add", f"{ADDRESS}/24", "dev", "own0"),
        ):
            host.ip(*command)
        with entered(host):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        self._socket.bind((ADDRESS, PORT))

    def heard(self) -> int:
        """Datagrams since the last call."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(100):
                count += 1
        return count

    def close(self) -> None:
        self._socket.close()


class Flood:
    """A guest that sends the datagram all the time, whenever it has an eth0."""

    def __init__(self, lab: Lab, guest: Namespace, source_mac: str) -> None:
        file = Path(lab.folder) / f"tries-{guest.name}"
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._count = mmap.mmap(opened.fileno(), 8)
        command = [sys.executable, "-c", _FLOODS, datagram(source_mac).hex(), str(file)]
        self._process: subprocess.Popen[str] = guest.start(*command)

    def tries(self) -> int:
        return int(struct.unpack("=Q", self._count[:8])[0])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._count.close()


@contextlib.contextmanager
def flooding(lab: Lab, guest: Namespace, source_mac: str) -> Iterator[Flood]:
    flood = Flood(lab, guest, source_mac)
    try:
        yield flood
    finally:
        flood.close()
