"""rtnetlink sockets of pyroute2 that hear the kernel, and nobody else (kept.py). For the host package, and for whoever ends a
thread's work in a namespace.
"""

from pyroute2 import IPRoute

from sriov_xdp.host.kept import Kept, hear_the_kernel_only


def open_netlink() -> IPRoute:
    """In the namespace that the thread is in. Raises OSError."""
    netlink = IPRoute()
    try:
        hear_the_kernel_only(netlink.fileno())
    except OSError:
        netlink.close()
        raise
    return netlink


_kept = Kept(open_netlink)


def kept_netlink() -> IPRoute:
    """As open_netlink(), which takes 2 ms: what this thread opened in this namespace before. Raises OSError."""
    return _kept.get()


def close_kept() -> None:
    """Of this thread, which lets go of the namespace."""
    _kept.close()
