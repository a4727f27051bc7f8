"""tc filters on the clsact qdisc, for kernels without tcx links (before 6.6). The device holds the program then."""

import contextlib

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from sriov_xdp.host.errors import HostError

_INGRESS = 0xFFFFFFF2
_ETH_P_ALL = 3
_PRIORITY = 1
_FILTER_HANDLE = 1


def attach(ifindex: int, program_fd: int, name: str) -> None:
    """Makes the program the ingress filter; replaces an earlier one atomically. Raises HostError."""
    with IPRoute() as netlink:
        with contextlib.suppress(NetlinkError):
            netlink.tc("add", "clsact", ifindex)
        try:
            netlink.tc(
                "replace-filter",
                "bpf",
                ifindex,
                _FILTER_HANDLE,
                fd=program_fd,
                name=name,
                parent=_INGRESS,
                prio=_PRIORITY,
                direct_action=True,
                classid=1,
                protocol=_ETH_P_ALL,
            )
        except NetlinkError as error:
            raise HostError(f"ifindex {ifindex}: clsact filter {name}: {error}") from error


def detach(ifindex: int) -> None:
    """Removes the qdisc with its filters. Absent is fine."""
    with IPRoute() as netlink, contextlib.suppress(NetlinkError):
        netlink.tc("del", "clsact", ifindex)
