"""An independent VF driver: raw bytes on the mailbox socket, written from the protocol's description, not from our codec."""

import select
import socket
import struct
from types import TracebackType
from typing import Self

from sriov_xdp.lab.host import Namespace, entered

VERSION, RESET_VF, GET_VF_RESOURCES, ADD_ETH, DEL_ETH, GET_STATS, EVENT = 1, 2, 3, 10, 11, 15, 17
CONFIG_PROMISC = 14
OK, PARAM, ADMIN_QUEUE, NOT_SUPPORTED = 0, -5, -53, -64
LINK_CHANGE, RESET_IMPENDING = 1, 2
LEGACY, PRIMARY, EXTRA = 0, 1, 2
DESCRIPTOR = struct.Struct("<HHHHIiIIII")


class RawMailbox:
    """One connection. negotiate=False leaves it fresh."""

    def __init__(self, guest: Namespace, vf: str, *, negotiate: bool = True) -> None:
        with entered(guest):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(5)
        self.socket.connect(f"\0sriov-xdp/{vf}")
        self.events: list[tuple[int, int]] = []
        self.vsi = 0
        self.mac = ""
        if negotiate:
            self.negotiate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def negotiate(self) -> None:
        assert (OK, struct.pack("<II", 1, 1)) == self.ask(VERSION, struct.pack("<II", 1, 1))
        status, body = self.ask(GET_VF_RESOURCES, struct.pack("<I", 1))
        assert (status, len(body)) == (OK, 36)
        self.vsi = struct.unpack_from("<H", body, 20)[0]
        self.mac = body[30:36].hex(":")

    def send(self, opcode: int, payload: bytes = b"", *, claimed_bytes: int | None = None, aq_opcode: int = 0x0801) -> None:
        length = len(payload) if claimed_bytes is None else claimed_bytes
        self.socket.send(DESCRIPTOR.pack(0, aq_opcode, length & 0xFFFF, 0, opcode, 0, 0, 0, 0, 0) + payload)

    def receive(self) -> tuple[int, int, bytes]:
        """The next answer: opcode, status, payload. Events are kept aside."""
        while True:
            message = self.socket.recv(8192)
            if not message:
                raise ConnectionResetError("closed by the PF")
            _flags, aq_opcode, datalen, _retval, opcode, status, *_params = DESCRIPTOR.unpack_from(message)
            assert (0x0802, len(message) - 32) == (aq_opcode, datalen)
            if opcode != EVENT:
                return opcode, status, message[32:]
            code, _speed, link = struct.unpack_from("<iIB", message, 32)
            self.events.append((code, link))

    def ask(self, opcode: int, payload: bytes = b"", *, claimed_bytes: int | None = None) -> tuple[int, bytes]:
        """Status and payload of the answer."""
        self.send(opcode, payload, claimed_bytes=claimed_bytes)
        answered, status, body = self.receive()
        assert opcode == answered
        return status, body

    def event(self, seconds: float = 5) -> tuple[int, int]:
        """The next event: code, link."""
        if not self.events:
            assert select.select([self.socket], [], [], seconds)[0], "no event came"
            message = self.socket.recv(8192)
            assert DESCRIPTOR.unpack_from(message)[4] == EVENT
            code, _speed, link = struct.unpack_from("<iIB", message, 32)
            self.events.append((code, link))
        return self.events.pop(0)

    def is_silent(self, seconds: float = 0.1) -> bool:
        return not select.select([self.socket], [], [], seconds)[0]

    def addresses(self, opcode: int, *macs: str, kind: int = PRIMARY, vsi: int | None = None) -> int:
        """ADD_ETH_ADDR or DEL_ETH_ADDR; the status."""
        entries = b"".join(bytes.fromhex(mac.replace(":", "")) + bytes([kind, 0]) for mac in macs)
        head = struct.pack("<HH", self.vsi if vsi is None else vsi, len(macs))
        return self.ask(opcode, head + entries + bytes(8))[0]
