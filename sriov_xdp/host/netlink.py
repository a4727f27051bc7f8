"""rtnetlink sockets that hear the kernel, and nobody else.

A process may send netlink messages to any socket of its namespace whose port it knows, and a guest is root in its own: what it
sends to a socket that we open there would be read as the kernel's answers, or fill the queue so that those are lost. A
connected netlink socket takes messages of its peer only (netlink_getsockbyportid() of net/netlink/af_netlink.c), and the
kernel's port is 0. For the host package, and for whoever ends a thread's work in a namespace.
"""

import contextlib
import os
import socket
import threading

from pyroute2 import IPRoute

from sriov_xdp.host.namespaces import Identity, own_identity

_KERNEL = (0, 0)  # port, groups
_MOST_BYTES = 1 << 16


def open_netlink() -> IPRoute:
    """In the namespace that the thread is in. Raises OSError."""
    netlink = IPRoute()
    try:
        hear_the_kernel_only(netlink.fileno())
    except OSError:
        netlink.close()
        raise
    return netlink


class _Kept(threading.local):
    """A socket of each thread, and the namespace in which it was opened."""

    netlink: IPRoute | None = None
    place: Identity | None = None


_kept = _Kept()


def kept_netlink() -> IPRoute:
    """As open_netlink(), which takes 2 ms: what this thread opened in this namespace before. Not to be closed. Raises OSError."""
    place = own_identity()
    if _kept.netlink is None or _kept.place != place:
        close_kept()
        _kept.netlink, _kept.place = open_netlink(), place
    return _kept.netlink


def close_kept() -> None:
    """Of this thread, which lets go of the namespace. A thread that ends need not."""
    if _kept.netlink is not None:
        _kept.netlink.close()
        _kept.netlink = None


def hear_the_kernel_only(descriptor: int) -> None:
    """What came before is thrown away: nothing was asked yet."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.connect(_KERNEL)
        with contextlib.suppress(BlockingIOError):
            while True:
                same.recv(_MOST_BYTES, socket.MSG_DONTWAIT)
