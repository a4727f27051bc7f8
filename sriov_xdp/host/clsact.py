"""tc filters on the clsact qdisc: of kernels without tcx links (before 6.6), and of devices that have no link yet. The device holds
the program."""

import contextlib
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.tcmsg import sched_bpf

from sriov_xdp.host.errors import HostError
from sriov_xdp.host.netlink import kept_netlink

_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_ETH_P_ALL = 3
_PRIORITY = 1
_FILTER_HANDLE = 1
# The library reads a filter's attributes up to the flags; which program runs is said behind them (linux/pkt_cls.h).
sched_bpf.options.nla_map += (("TCA_BPF_FLAGS_GEN", "uint32"), ("TCA_BPF_TAG", "hex"), ("TCA_BPF_ID", "uint32"))


def attach(ifindex: int, program_fd: int, name: str, names: tuple[str, ...]) -> None:
    """Makes the program the ingress filter; replaces an earlier one atomically, if its name begins as one of names. Raises
    HostError, also where somebody else's filter has the first place."""
    netlink = kept_netlink()
    if not _is_new(netlink, ifindex):
        _require_first_place(netlink, ifindex, names)
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


def _is_new(netlink: IPRoute, ifindex: int) -> bool:
    """Makes the qdisc. False where there is one, which may have somebody's filters."""
    try:
        netlink.tc("add", "clsact", ifindex)
    except NetlinkError:  # what else is in the way, the filter meets as well
        return False
    return True


def _require_first_place(netlink: IPRoute, ifindex: int, names: tuple[str, ...]) -> None:
    with contextlib.suppress(NetlinkError):
        for message in _filters(netlink, ifindex, _INGRESS):
            is_first = (message["info"] >> 16, message["handle"]) == (_PRIORITY, _FILTER_HANDLE)
            if is_first and not _name_of(message).startswith(names):
                text = f"ifindex {ifindex}: somebody else's tc filter has priority {_PRIORITY} there"
                raise HostError(f"{text}; `tc filter show dev DEVICE ingress` shows it; move it behind")


def program_ids(ifindex: int) -> dict[str, int]:
    """Ids of the programs of the ingress filters, by their names; empty on a device that has none, or is gone."""
    try:
        found = [message.get_attr("TCA_OPTIONS") for message in kept_netlink().get_filters(index=ifindex, parent=_INGRESS)]
    except NetlinkError:
        return {}
    options = [nested for nested in found if nested and nested.get_attr("TCA_BPF_ID")]
    return {str(nested.get_attr("TCA_BPF_NAME")): int(nested.get_attr("TCA_BPF_ID")) for nested in options}


def detach(ifindex: int, names: tuple[str, ...]) -> None:
    """Removes the filter that holds a program whose name begins so, and the qdisc when nothing is left on it. Other people's
    filters, and a qdisc without ours, stay. Absent is fine. The device may lose frames that leave it just now: whenever a qdisc
    comes or goes the kernel stops all queues of an open device (qdisc_graft())."""
    netlink = kept_netlink()
    with contextlib.suppress(NetlinkError):
        were_ours = _remove_filters(netlink, ifindex, names)
        if were_ours and not _filters(netlink, ifindex, _INGRESS) and not _filters(netlink, ifindex, _EGRESS):
            netlink.tc("del", "clsact", ifindex)


def remove_filter(ifindex: int, names: tuple[str, ...]) -> None:
    """The filter only, so that no frame is lost: of a device that works, and takes the qdisc along when it goes. Absent is fine."""
    with contextlib.suppress(NetlinkError):
        _remove_filters(kept_netlink(), ifindex, names)


def _remove_filters(netlink: IPRoute, ifindex: int, names: tuple[str, ...]) -> bool:
    ours = [message for message in _filters(netlink, ifindex, _INGRESS) if _name_of(message).startswith(names)]
    for message in ours:
        priority = message["info"] >> 16
        netlink.tc("del-filter", "bpf", ifindex, message["handle"], parent=_INGRESS, prio=priority, protocol=_ETH_P_ALL)
    return bool(ours)


def _filters(netlink: IPRoute, ifindex: int, parent: int) -> list[Any]:
    """What stands on one side; the kernel tells of each chain and priority as well, which has no handle."""
    return [message for message in netlink.get_filters(index=ifindex, parent=parent) if message["handle"]]


def _name_of(message: Any) -> str:
    options = message.get_attr("TCA_OPTIONS")
    return str(options.get_attr("TCA_BPF_NAME") or "") if options and message.get_attr("TCA_KIND") == "bpf" else ""
