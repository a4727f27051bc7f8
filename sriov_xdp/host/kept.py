"""rtnetlink sockets that are kept, and hear the kernel, and nobody else.

A process may send netlink messages to any socket of its namespace whose port it knows, and a guest is root in its own: what it
sends to a socket that we open there would be read as the kernel's answers, or fill the queue so that those are lost. A
connected netlink socket takes messages of its peer only (netlink_getsockbyportid() of net/netlink/af_netlink.c), and the
kernel's port is 0. Standard library only. For the host package.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from sriov_xdp.host.namespaces import Identity, own_identity

_KERNEL = (0, 0)  # port, groups
_MOST_BYTES = 1 << 16


class _Closes(Protocol):
    def close(self) -> None:
        """Ends it."""


T = TypeVar("T", bound=_Closes)


class Kept(threading.local, Generic[T]):
    """A socket of each thread, in the namespace that it is in; another one when it is in another. Who uses it does not close it; a
    thread that ends lets go of it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._kept: T | None = None
        self._place: Identity | None = None

    def get(self) -> T:
        """Raises what making it raises."""
        place = own_identity()
        if self._kept is None or self._place != place:
            self.close()
            self._kept, self._place = self._make(), place
        return self._kept

    def close(self) -> None:
        """This thread's."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def hear_the_kernel_only(descriptor: int) -> None:
    """What came before is thrown away: nothing was asked yet."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.connect(_KERNEL)
        with contextlib.suppress(BlockingIOError):
            while True:
                same.recv(_MOST_BYTES, socket.MSG_DONTWAIT)
