"""Which addresses devices receive for, and which ones bridges learned: the kernel's forwarding entries (rtnetlink, AF_BRIDGE), of
the namespace of the calling thread. Numbers are those of uapi/linux/neighbour.h and rtnetlink.h.
"""

import struct
from dataclasses import dataclass

from sriov_xdp.host.errors import HostError
from sriov_xdp.host.rtnl import HEADER, NUMBER, Kind, attributes, kept_rtnl

_NDMSG = struct.Struct("=BxHiHBB")
_AF_BRIDGE, _LLADDR, _MASTER = 7, 2, 9
_SELF, _PERMANENT = 0x02, 0x80
_MAC_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """is_self: of the device itself, which receives for the address beside its own; else of the bridge with number
    master_ifindex, by whose port ifindex the address is found. is_permanent: of a bridge: its own, or a port's, or said by hand."""

    mac: bytes
    ifindex: int
    master_ifindex: int
    is_self: bool
    is_permanent: bool


def entries() -> list[Entry]:
    """All of them. Raises HostError."""
    try:
        found = kept_rtnl().dump(_NDMSG.pack(_AF_BRIDGE, 0, 0, 0, 0, 0), Kind.GETNEIGH)
    except OSError as error:
        raise HostError(f"forwarding entries: {error.strerror}") from error
    return [entry for entry in map(_entry, found) if entry]


def _entry(message: bytes) -> Entry | None:
    _family, _pad, ifindex, state, flags, _type = _NDMSG.unpack_from(message, HEADER.size)
    told = dict(attributes(message, HEADER.size + _NDMSG.size))
    mac = told.get(_LLADDR, b"")
    if len(mac) != _MAC_BYTES:
        return None
    return Entry(
        mac=mac,
        ifindex=ifindex,
        master_ifindex=NUMBER.unpack(told[_MASTER])[0] if _MASTER in told else 0,
        is_self=bool(flags & _SELF),
        is_permanent=bool(state & _PERMANENT),
    )
