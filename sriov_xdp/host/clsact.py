"""tc filters on the clsact qdisc: of kernels without tcx links (before 6.6), and of devices that have no link yet. The device holds
the program."""

import contextlib
import errno
import socket
import struct
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.tcmsg import sched_bpf

from sriov_xdp.host.errors import HostError
from sriov_xdp.host.netlink import kept_netlink
from sriov_xdp.host.rtnl import NUMBER, Flag, Kind, Rtnl, attribute, kept_rtnl

_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_ETH_P_ALL = 3
_PRIORITY = 1
_FILTER_HANDLE = 1
_CLSACT, _QDISC_HANDLE = 0xFFFFFFF1, 0xFFFF0000
# linux/pkt_sched.h, rtnetlink.h, pkt_cls.h: tcmsg, its attributes, and those of a bpf filter.
_TCMSG = struct.Struct("=BxxxiIII")
_KIND, _OPTIONS = 1, 2
_BPF_CLASSID, _BPF_FD, _BPF_NAME, _BPF_FLAGS, _ACT_DIRECT = 3, 6, 7, 8, 1
# The library reads a filter's attributes up to the flags; which program runs is said behind them (linux/pkt_cls.h).
sched_bpf.options.nla_map += (("TCA_BPF_FLAGS_GEN", "uint32"), ("TCA_BPF_TAG", "hex"), ("TCA_BPF_ID", "uint32"))


def attach(ifindex: int, program_fd: int, name: str, names: tuple[str, ...]) -> None:
    """Makes the program the ingress filter that comes first; replaces an earlier one atomically, if its name begins as one of
    names. Somebody else's filters stay behind it. Raises HostError, also where those of another kind have its priority."""
    rtnl = kept_rtnl()
    others = [] if _is_new(rtnl, ifindex) else _others_before(ifindex, names)
    # The kernel puts a new filter before those of its priority, and one that takes the place of another stays where that one was.
    handle = max([_FILTER_HANDLE, *others]) + 1 if others else _FILTER_HANDLE
    options = (
        attribute(_BPF_CLASSID, NUMBER.pack(1)),
        attribute(_BPF_FD, NUMBER.pack(program_fd)),
        attribute(_BPF_NAME, name.encode() + b"\0"),
        attribute(_BPF_FLAGS, NUMBER.pack(_ACT_DIRECT)),
    )
    message = _TCMSG.pack(0, ifindex, handle, _INGRESS, _PRIORITY << 16 | socket.htons(_ETH_P_ALL))
    try:
        rtnl.change(Kind.NEWTFILTER, message + attribute(_KIND, b"bpf\0") + attribute(_OPTIONS, *options), Flag.CREATE)
    except OSError as error:
        text = f"ifindex {ifindex}: clsact filter {name}: {error.strerror}"
        if error.errno == errno.EINVAL:
            text = f"{text}; somebody else's tc filter of another kind has priority {_PRIORITY} there"
            text = f"{text}: `tc filter show dev DEVICE ingress` shows it, move it behind"
        raise HostError(text) from error
    if others:
        _remove_others_of_ours(ifindex, names, handle)


def _others_before(ifindex: int, names: tuple[str, ...]) -> list[int]:
    """Handles of all filters of our kind, where somebody else's come before ours, or ours is not there and theirs may have its
    handle; empty where ours is first, or nobody's is there."""
    with contextlib.suppress(NetlinkError):
        found = [message for message in _filters(kept_netlink(), ifindex, _INGRESS) if message.get_attr("TCA_KIND") == "bpf"]
        if found and not _name_of(found[0]).startswith(names):
            return [message["handle"] for message in found if message["info"] >> 16 == _PRIORITY]
    return []


def _remove_others_of_ours(ifindex: int, names: tuple[str, ...], handle: int) -> None:
    """What the new one, which is first, stands for."""
    with contextlib.suppress(NetlinkError):
        _remove_filters(kept_netlink(), ifindex, names, but=handle)


def first(ifindex: int) -> tuple[str, int] | None:
    """Name and program's id of the ingress filter that comes first, where it is a program; one behind somebody else's judges only
    what that one lets pass. None on a device that has none, or is gone."""
    try:
        found = _filters(kept_netlink(), ifindex, _INGRESS)
    except NetlinkError:
        return None
    name = _name_of(found[0]) if found else ""
    return (name, int(found[0].get_attr("TCA_OPTIONS").get_attr("TCA_BPF_ID") or 0)) if name else None


def _is_new(rtnl: Rtnl, ifindex: int) -> bool:
    """Makes the qdisc. False where there is one, which may have somebody's filters."""
    message = _TCMSG.pack(0, ifindex, _QDISC_HANDLE, _CLSACT, 0)
    try:
        rtnl.change(Kind.NEWQDISC, message + attribute(_KIND, b"clsact\0"), Flag.CREATE | Flag.EXCL)
    except OSError:  # what else is in the way, the filter meets as well
        return False
    return True


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


def _remove_filters(netlink: IPRoute, ifindex: int, names: tuple[str, ...], but: int = 0) -> bool:
    """but: the handle of one that stays."""
    found = (message for message in _filters(netlink, ifindex, _INGRESS) if message["handle"] != but)
    ours = [message for message in found if _name_of(message).startswith(names)]
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
