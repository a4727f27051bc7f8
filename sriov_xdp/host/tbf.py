"""Token bucket filters at the root of devices (sch_tbf): the kernel's queue for a port that is limited. By hand-written
messages, as pyroute2 knows no peak rate, and asks for the queues of all devices. For the pf package.
"""

import contextlib
import errno
import struct
from dataclasses import dataclass

from sriov_xdp.host.errors import HostError
from sriov_xdp.host.rtnl import HEADER, NUMBER, Flag, Kind, attribute, attributes, kept_rtnl

# linux/rtnetlink.h, pkt_sched.h
_TCMSG = struct.Struct("=BxxxiIII")
_RATESPEC = struct.Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, rate
_ROOT, _HANDLE = 0xFFFFFFFF, 0x10000
_KIND, _OPTIONS, _STATS, _STATS_QUEUE = 1, 2, 7, 3
_QUEUE = struct.Struct("=IIIII")  # struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits
_ABSENT = (errno.ENODEV, errno.ENOENT)
_PARMS, _BURST, _PBURST = 1, 6, 7
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET: no table of rates is asked for
_NS_A_TICK = 64
_CHILD_HANDLE = 0x20000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Bytes a second, and bytes. peak 0: none; longest: of a frame, where there is a peak."""

    rate: int
    peak: int
    burst: int
    limit: int
    longest: int


def put(ifindex: int, bucket: Bucket) -> None:
    """Makes it the device's queue, or changes the one that is there, whose frames stay. Below it flows get their turns, where the
    kernel has fq_codel. Raises HostError."""
    unused = _RATESPEC.pack(0, 0, 0, 0, 0, 0)
    rate = _RATESPEC.pack(0, _ETHERNET, 0, 0, 0, bucket.rate)
    peak = _RATESPEC.pack(0, _ETHERNET, 0, 0, 0, bucket.peak) if bucket.peak else unused
    options = [
        attribute(_PARMS, rate + peak + struct.pack("=III", bucket.limit, 0, 0)),
        attribute(_BURST, NUMBER.pack(bucket.burst)),
    ]
    if bucket.peak:
        options.append(attribute(_PBURST, NUMBER.pack(bucket.longest)))
    _change(Kind.NEWQDISC, ifindex, _ROOT, _HANDLE, b"tbf\0", attribute(_OPTIONS, *options))
    with contextlib.suppress(HostError):
        if (_ask(ifindex, _HANDLE | 1) or {}).get(_KIND) != b"fq_codel\0":
            _change(Kind.NEWQDISC, ifindex, _HANDLE | 1, _CHILD_HANDLE, b"fq_codel\0")


def remove(ifindex: int) -> None:
    """The device's queue is the kernel's default again; what waited is lost. Absent is fine. Raises HostError."""
    if read(ifindex) is not None:
        _change(Kind.DELQDISC, ifindex, _ROOT, _HANDLE, b"tbf\0")


def read(ifindex: int) -> Bucket | None:
    """The device's, None where another queue is at its root, or the device is gone. peak's longest frame is not told."""
    found = _root(ifindex)
    if found is None:
        return None
    parms = dict(attributes(found.get(_OPTIONS, b""), 0)).get(_PARMS, b"")
    rate, peak = (_RATESPEC.unpack_from(parms, at)[-1] for at in (0, _RATESPEC.size))
    limit, ticks, _longest = struct.unpack_from("=III", parms, 2 * _RATESPEC.size)
    return Bucket(rate=rate, peak=peak, burst=round(ticks * _NS_A_TICK * rate / 1e9), limit=limit, longest=0)


def has(ifindex: int, wanted: Bucket | None) -> bool:
    """Whether a device is held to this. The kernel keeps a burst as a time, in ticks of 64 ns."""
    found = read(ifindex)
    if found is None or wanted is None:
        return found is wanted
    is_alike = (found.rate, found.peak, found.limit) == (wanted.rate, wanted.peak, wanted.limit)
    return is_alike and abs(found.burst - wanted.burst) <= burst_step_bytes(wanted.rate)


def burst_step_bytes(rate: int) -> float:
    """How exactly a burst is kept."""
    return 1 + rate * _NS_A_TICK / 1e9


def drops(ifindex: int) -> int:
    """Frames that found the queue full since it was made, or were given up in it."""
    found = _root(ifindex) or {}
    queue = dict(attributes(found.get(_STATS, b""), 0)).get(_STATS_QUEUE, b"")
    return int(_QUEUE.unpack(queue)[2]) if len(queue) == _QUEUE.size else 0


def _root(ifindex: int) -> dict[int, bytes] | None:
    """Attributes of a token bucket filter at the root of a device. One question: a dump tells of every device of the host."""
    found = _ask(ifindex, _ROOT)
    return found if found and found.get(_KIND) == b"tbf\0" else None


def _ask(ifindex: int, parent: int) -> dict[int, bytes] | None:
    try:
        messages = kept_rtnl().ask(Kind.GETQDISC, _TCMSG.pack(0, ifindex, 0, parent, 0))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise HostError(f"ifindex {ifindex}: its queue could not be asked for: {error.strerror}") from error
    return dict(attributes(messages[0], HEADER.size + _TCMSG.size)) if messages else None


def _change(kind: Kind, ifindex: int, parent: int, handle: int, name: bytes, options: bytes = b"") -> None:
    flags = Flag.CREATE | Flag.REPLACE if kind is Kind.NEWQDISC else 0
    try:
        kept_rtnl().change(kind, _TCMSG.pack(0, ifindex, handle, parent, 0) + attribute(_KIND, name) + options, flags)
    except OSError as error:
        if error.errno not in _ABSENT or kind is Kind.NEWQDISC:
            raise HostError(f"ifindex {ifindex}: qdisc {name.decode().rstrip(chr(0))}: {error.strerror}") from error
