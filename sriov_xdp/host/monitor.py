"""What changes on the host while we run: devices and their addresses (rtnetlink multicast), and folders (inotify):
names of namespaces, pins.

Both are plain file descriptors for a selector that reports them as long as there is something to read; drain() reads a bounded
part of it without blocking, as a guest can make events as fast as it likes. After an overrun the caller must look at everything.

Messages are decoded here and not by pyroute2, which takes 0.3 ms for one (measured): only what is asked for is looked at.
"""

import errno
import socket
import struct
from dataclasses import dataclass

from sriov_xdp.host.links import Ifla, tells_of_peers_xdp
from sriov_xdp.host.rtnl import HEADER, IFINFOMSG, NUMBER, Kind, attributes

MOST_MESSAGES = 64  # of one drain()
MOST_DEVICES = 8
_RTMGRP_LINK, _RTMGRP_TC, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x8, 0x10, 0x100
_LINK_MESSAGES = (Kind.NEWLINK, Kind.DELLINK)
_ADDRESS_MESSAGES = (20, 21)
_FILTER_MESSAGES = (37, 44, 45)  # RTM_DELQDISC, RTM_NEWTFILTER, RTM_DELTFILTER
_RECEIVE_BYTES = 1 << 16
_SOCKET_BUFFER_BYTES = 1 << 20
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h: above net.core.rmem_max, which holds a hundred changes where nobody raised it
_MOST_DISCARDED = 1 << 11  # more than the buffer holds
# Behind the header come ifinfomsg, ifaddrmsg or tcmsg, all with the device's index in their bytes 4 to 7.
_INDEX = struct.Struct("=i")
_INDEX_AT = HEADER.size + 4
_IFF_UP, _IFF_LOWER_UP = 1, 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """A device was changed or went away. lower_ifindex: of the device of this namespace that it stands on, as a VLAN's does; 0 for
    any other."""

    ifindex: int
    name: str
    is_gone: bool
    is_up: bool
    has_carrier: bool
    mac: str
    mtu_bytes: int
    peer_runs_xdp: bool
    lower_ifindex: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChange:
    """A device got or lost an IP address."""

    ifindex: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterChange:
    """A device lost a qdisc or a filter, perhaps the one that held a program of ours; or got one, perhaps before that."""

    ifindex: int


Change = LinkChange | AddressChange | FilterChange


class LinkMonitor:
    """Changes of devices, of their addresses and filters, in the namespace where the object is made. own_filters: how the names of
    filters begin whose coming is no news, as each attached port tells of one."""

    def __init__(self, own_filters: tuple[str, ...] = ()) -> None:
        self._own_filters = tuple(name.encode() for name in own_filters)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _SOCKET_BUFFER_BYTES)
        except PermissionError:  # a driver in a guest with a user namespace of its own
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_TC | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def drain(self) -> list[Change] | None:
        """The next changes, in order, of at most MOST_DEVICES devices and with several of one device taken together; None after
        an overrun, when changes were lost. What is left stays to be read."""
        messages: list[bytes] = []
        devices: set[int] = set()
        try:
            for _message in range(MOST_MESSAGES):
                devices.add(_ifindex(self._socket.recv(_INDEX_AT + _INDEX.size, socket.MSG_PEEK)))
                if len(devices) > MOST_DEVICES:
                    break
                message = self._socket.recv(_RECEIVE_BYTES)
                if not _is_of_a_bridge(message) and not self._is_own(message):
                    messages.append(message)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._discard()
            return None
        return [change for message in latest(messages) if (change := parse(message))]

    def _is_own(self, message: bytes) -> bool:
        return _kind(message) == Kind.NEWTFILTER and any(name in message for name in self._own_filters)

    def _discard(self) -> None:
        """What waits is older than what was lost; followed now, it would put the past above the present."""
        for _message in range(_MOST_DISCARDED):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def close(self) -> None:
        """Ends the socket."""
        self._socket.close()


def latest(messages: list[bytes]) -> list[bytes]:
    """Messages without those that a later one of the same device and kind makes pointless, in the order of the later ones. The
    end of a device is never left out, nor is what came before it: a number may be given to another device."""
    kept: dict[tuple[int, int, int], bytes] = {}
    ends: dict[int, int] = {}
    for message in messages:
        ifindex, kind = _ifindex(message), _kind(message)
        if kind == Kind.DELLINK:
            ends[ifindex] = ends.get(ifindex, 0) + 1
        family = next((kinds[0] for kinds in (_ADDRESS_MESSAGES, _FILTER_MESSAGES) if kind in kinds), kind)
        key = (ifindex, family, ends.get(ifindex, 0))
        kept.pop(key, None)
        kept[key] = message
    return list(kept.values())


def _is_of_a_bridge(message: bytes) -> bool:
    """What a bridge says of its port: a "deleted" one has left the bridge only."""
    return _kind(message) in _LINK_MESSAGES and message[HEADER.size] == socket.AF_BRIDGE


def _kind(message: bytes) -> int:
    return int(HEADER.unpack_from(message)[1])


def _ifindex(message: bytes) -> int:
    """Of a message of any kind that we listen for; 0 for one that is too short to be one."""
    return int(_INDEX.unpack_from(message, _INDEX_AT)[0]) if len(message) >= _INDEX_AT + _INDEX.size else 0


def parse(message: bytes) -> Change | None:
    """One message of the kernel; None when it is of another kind."""
    kind = _kind(message)
    if kind in _FILTER_MESSAGES:
        return FilterChange(ifindex=_ifindex(message))
    if kind in _ADDRESS_MESSAGES:
        return AddressChange(ifindex=_ifindex(message))
    if kind not in _LINK_MESSAGES:
        return None
    _family, _type, ifindex, flags, _changed = IFINFOMSG.unpack_from(message, HEADER.size)
    values = dict(attributes(message, HEADER.size + IFINFOMSG.size))
    largest, mtu = values.get(Ifla.MAX_MTU), values.get(Ifla.MTU)
    lower = None if Ifla.LINK_NETNSID in values else values.get(Ifla.LINK)
    return LinkChange(
        ifindex=ifindex,
        name=values.get(Ifla.IFNAME, b"").rstrip(b"\0").decode(errors="surrogateescape"),
        is_gone=kind == Kind.DELLINK,
        is_up=bool(flags & _IFF_UP),
        has_carrier=bool(flags & _IFF_LOWER_UP),
        mac=values.get(Ifla.ADDRESS, b"").hex(":"),
        mtu_bytes=NUMBER.unpack(mtu)[0] if mtu else 0,
        peer_runs_xdp=tells_of_peers_xdp(NUMBER.unpack(largest)[0] if largest else None),
        lower_ifindex=NUMBER.unpack(lower)[0] if lower else 0,
    )
