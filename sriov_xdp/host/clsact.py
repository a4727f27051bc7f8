"""tc filters on the clsact qdisc, for kernels without tcx links (before 6.6). The device holds the program then."""

import contextlib

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.tcmsg import sched_bpf

from sriov_xdp.host.errors import HostError

_INGRESS = 0xFFFFFFF2
_ETH_P_ALL = 3
_PRIORITY = 1
_FILTER_HANDLE = 1
# The library reads a filter's attributes up to the flags; which program runs is said behind them (linux/pkt_cls.h).
sched_bpf.options.nla_map += (("TCA_BPF_FLAGS_GEN", "uint32"), ("TCA_BPF_TAG", "hex"), ("TCA_BPF_ID", "uint32"))


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


def program_ids(ifindex: int) -> dict[str, int]:
    """Ids of the programs of the ingress filters, by their names; empty on a device that has none, or is gone."""
    with IPRoute() as netlink:
        try:
            found = [message.get_attr("TCA_OPTIONS") for message in netlink.get_filters(index=ifindex, parent=_INGRESS)]
        except NetlinkError:
            return {}
    options = [nested for nested in found if nested and nested.get_attr("TCA_BPF_ID")]
    return {str(nested.get_attr("TCA_BPF_NAME")): int(nested.get_attr("TCA_BPF_ID")) for nested in options}


def detach(ifindex: int) -> None:
    """Removes the qdisc with its filters. Absent is fine."""
    with IPRoute() as netlink, contextlib.suppress(NetlinkError):
        netlink.tc("del", "clsact", ifindex)
