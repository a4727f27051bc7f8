"""The mailbox's sockets: SEQPACKET listeners with abstract names, and connections. The only file of the package with IO.

An abstract name lives in the network namespace where the socket is made, so listen() must be called inside the guest's
namespace; who can connect there is the guest. Nothing here blocks: a peer that does not read its answers is cut off.

A guest could pass descriptors along, whose end is its choice of how long it takes: a TCP socket with SO_LINGER keeps whoever closes
it waiting for as long as it says. The kernel refuses them where it can (SO_PASSRIGHTS, since 6.16); elsewhere whatever may hold
one, which is also a socket with messages that were not read, is closed apart from the thread that serves the others.
"""

import array
import contextlib
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sriov_xdp.mailbox.codec import MAX_MESSAGE_BYTES

NAME_PREFIX = "sriov-xdp/"
BACKLOG = 8
MAX_CONNECTIONS = 8  # of one VF: a watching driver and a few commands
_BUFFER_BYTES = 64 * 1024
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_CREDENTIALS = struct.Struct("iII")
_SO_PASSRIGHTS = 83  # uapi/asm-generic/socket.h
_MOST_DESCRIPTORS = 253  # SCM_MAX_FD of net/scm.h: of one message


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who connected, as the kernel says; for the audit only, as everybody in the namespace may speak for the VF."""

    pid: int
    uid: int


def abstract_name(vf: str) -> str:
    """Socket address of a VF's mailbox, in its guest's namespace."""
    return f"\0{NAME_PREFIX}{vf}"


def _refuse_descriptors(listener: socket.socket) -> bool:
    """Also for what it accepts. False where the kernel cannot."""
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


@cache
def kernel_refuses_descriptors() -> bool:
    """Whether no descriptor can come by a mailbox here."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        return _refuse_descriptors(one)


def close_apart(descriptors: Iterable[int]) -> threading.Thread | None:
    """Closes them in a thread, which may take as long as the guest likes; None where that is done already, as it cannot."""
    numbers = list(descriptors)
    if kernel_refuses_descriptors():
        _close_all(numbers)
        return None
    thread = threading.Thread(target=_close_all, args=(numbers,), daemon=True)
    thread.start()
    return thread


def _close_all(numbers: list[int]) -> None:
    for number in numbers:
        os.close(number)


def listen(vf: str) -> socket.socket:
    """A listener in the namespace that the thread is in. Raises OSError (EADDRINUSE: somebody squats on the name)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _refuse_descriptors(listener)
        listener.bind(abstract_name(vf))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Connection:
    """The PF's end of one connection."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        pid, uid, _gid = _CREDENTIALS.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        self.peer = Peer(pid=pid, uid=uid)
        self.passed: list[int] = []
        self._socket = accepted
        self._room_bytes = 0 if kernel_refuses_descriptors() else socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def receive(self) -> bytes | None:
        """One message; b"" when there is none yet; None when the peer is gone. A message that is too long comes cut to one
        byte too many, which the codec refuses. Descriptors that came along are in `passed`, to be closed apart."""
        try:
            message, ancillary, _flags, _address = self._socket.recvmsg(MAX_MESSAGE_BYTES + 1, self._room_bytes)
        except BlockingIOError:
            return b""
        except OSError:
            return None
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.passed += array.array("i", data[: len(data) - len(data) % array.array("i").itemsize])
        return message or None

    def send(self, message: bytes) -> bool:
        """False when the peer is gone or does not read: the connection is of no more use."""
        try:
            self._socket.send(message, socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def close(self) -> threading.Thread | None:
        """Ends the connection, and what was passed by it."""
        return close_apart([*self.passed, self._socket.detach()])


def accept(listener: socket.socket) -> Connection | None:
    """The next connection, None when there is none. Raises OSError when there is one, but no descriptor or memory for it:
    the listener stays ready then, so the caller must look away for a while."""
    try:
        accepted, _address = listener.accept()
    except OSError as error:
        if error.errno in _NONE_LEFT:
            raise
        return None
    return Connection(accepted)


class Client:
    """The VF's end: blocking, for the driver in the guest. Raises OSError when the mailbox is not there."""

    def __init__(self, vf: str, timeout_seconds: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout_seconds)
        try:
            self._socket.connect(abstract_name(vf))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def send(self, message: bytes) -> None:
        """Raises OSError when the PF is gone."""
        self._socket.send(message)

    def receive(self) -> bytes:
        """Raises TimeoutError, ConnectionError."""
        message = self._socket.recv(MAX_MESSAGE_BYTES)
        if not message:
            raise ConnectionResetError("the PF closed the mailbox")
        return message

    def close(self) -> None:
        """Ends the connection."""
        with contextlib.suppress(OSError):
            self._socket.close()


def names_in_this_namespace() -> list[str]:
    """VFs whose mailboxes listen in the namespace of this process, from /proc/self/net/unix."""
    prefix = "@" + NAME_PREFIX
    with Path("/proc/self/net/unix").open(encoding="ascii", errors="replace") as table:
        names = {line.split()[-1].removeprefix(prefix) for line in table if prefix in line}
    return sorted(names)
