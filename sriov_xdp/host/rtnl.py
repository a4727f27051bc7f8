"""rtnetlink by hand: the few messages about devices that every attach, start and event asks for.

pyroute2 takes about 0.5 ms of CPU for a question and 2 ms for a socket, which was two thirds of what 1,000 attachments cost; here
both are a tenth of a millisecond, and most of that the kernel's. What is asked seldom (addresses, lists of filters, features) is
pyroute2's. Numbers are those of uapi/linux/netlink.h, rtnetlink.h, if_link.h. For the host package only.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum

from sriov_xdp.host.kept import Kept, hear_the_kernel_only

HEADER, IFINFOMSG = struct.Struct("=IHHII"), struct.Struct("=BxHiII")
NUMBER = struct.Struct("=I")
_ATTRIBUTE, _ERROR = struct.Struct("=HH"), struct.Struct("=i")
_ATTRIBUTE_TYPE = (1 << 14) - 1  # without the flags for nested ones and byte order
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_NLMSGERR_ATTR_MSG = 1
_RECEIVE_BYTES = 1 << 18
_MOST_TRIES = 8


class Kind(IntEnum):
    """Of messages."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    GETADDR = 22
    GETNEIGH = 30
    NEWQDISC = 36
    DELQDISC = 37
    GETQDISC = 38
    NEWTFILTER = 44


class Flag(IntEnum):
    """Of messages; DUMP_INTR of answers."""

    REQUEST = 0x1
    ACK = 0x4
    ECHO = 0x8
    DUMP_INTR = 0x10
    REPLACE = 0x100
    EXCL = 0x200
    DUMP = 0x300
    CREATE = 0x400


def attribute(kind: int, *parts: bytes) -> bytes:
    """One, with others in it or with plain bytes."""
    value = b"".join(parts)
    packed = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return packed.ljust((len(packed) + 3) & ~3, b"\0")


def attributes(message: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each; those that are cut off are left out."""
    while offset + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _ATTRIBUTE_TYPE, message[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


class Rtnl:
    """A socket to the kernel, of the namespace in which it was made."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        try:
            hear_the_kernel_only(self._socket.fileno())
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Of the socket."""
        return self._socket.fileno()

    def close(self) -> None:
        """Ends it."""
        self._socket.close()

    def get(self, body: bytes) -> bytes:
        """What the kernel says of one device. Raises OSError with the kernel's number."""
        return next(self._answers(Kind.GETLINK, Flag.REQUEST, body))

    def dump(self, body: bytes, kind: Kind = Kind.GETLINK) -> list[bytes]:
        """What it says of all; made again where some came or went meanwhile. Raises OSError."""
        for _try in range(_MOST_TRIES):
            found = list(self._answers(kind, Flag.REQUEST | Flag.DUMP, body))
            if not any(HEADER.unpack_from(message)[2] & Flag.DUMP_INTR for message in found):
                break
        return found

    def ask(self, kind: Kind, body: bytes) -> list[bytes]:
        """What the kernel says of one thing, nothing where it is not worth a word. Some it tells those alone who want an echo.
        Raises OSError with the kernel's number."""
        return list(self._answers(kind, Flag.REQUEST | Flag.ACK | Flag.ECHO, body))

    def change(self, kind: Kind, body: bytes, flags: int = 0) -> None:
        """Returns when it is done. Raises OSError with the kernel's number and words."""
        for _answer in self._answers(kind, Flag.REQUEST | Flag.ACK | flags, body):
            pass

    def _answers(self, kind: Kind, flags: int, body: bytes) -> Iterator[bytes]:
        """Messages with their headers, up to what ends them: an acknowledgement, the end of a dump, or the one answer."""
        self._sequence += 1
        self._socket.send(HEADER.pack(HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        while True:
            for message in _messages(self._socket.recv(_RECEIVE_BYTES)):
                _length, answer, _flags, sequence, _port = HEADER.unpack_from(message)
                if sequence != self._sequence:
                    continue  # of a question that was given up
                if answer in (_NLMSG_ERROR, _NLMSG_DONE):
                    _require_success(message)
                    return
                yield message
                if not flags & (Flag.DUMP | Flag.ACK):
                    return


def _messages(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + HEADER.size <= len(data):
        length = HEADER.unpack_from(data, at)[0]
        if length < HEADER.size:
            return
        yield data[at : at + length]
        at += (length + 3) & ~3


def _require_success(message: bytes) -> None:
    """Raises OSError for an error, with what the kernel says of it where it says something."""
    if len(message) < HEADER.size + _ERROR.size:
        return
    number = -_ERROR.unpack_from(message, HEADER.size)[0]
    if number == 0:
        return
    said = dict(attributes(message, HEADER.size + _ERROR.size + HEADER.size)).get(_NLMSGERR_ATTR_MSG, b"")
    words = said.rstrip(b"\0").decode(errors="replace")
    text = f"{os.strerror(number)}{f' ({words})' if words else ''}"
    raise OSError(number, text)


def is_missing(error: OSError) -> bool:
    """Whether there is no such device."""
    return error.errno == errno.ENODEV


_kept = Kept(Rtnl)


def kept_rtnl() -> Rtnl:
    """What this thread opened in this namespace before: one for all that is asked and said by hand. Raises OSError."""
    return _kept.get()
