"""What changes on the host while we run: devices and their addresses (rtnetlink multicast), and folders (inotify):
names of namespaces, pins.

Both are plain file descriptors for a selector; drain() reads without blocking. After an overrun the caller must dump again.
"""

import contextlib
import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2.inotify.inotify_fd import Inotify
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from sriov_xdp.host.links import peer_runs_xdp

_RTMGRP_LINK, _RTMGRP_TC, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x8, 0x10, 0x100
_RTM_DELLINK = 17
_LINK_MESSAGES = (16, _RTM_DELLINK)
_ADDRESS_MESSAGES = (20, 21)
_FILTER_REMOVALS = (37, 45)  # RTM_DELQDISC, RTM_DELTFILTER
_RECEIVE_BYTES = 1 << 16
_SOCKET_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """A device was changed or went away."""

    ifindex: int
    name: str
    is_gone: bool
    is_up: bool
    has_carrier: bool
    mac: str
    mtu_bytes: int
    peer_runs_xdp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChange:
    """A device got or lost an IP address."""

    ifindex: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRemoval:
    """A device lost a qdisc or a filter, perhaps the one that held a program of ours."""

    ifindex: int


Change = LinkChange | AddressChange | FilterRemoval


class LinkMonitor:
    """Changes of devices, of their addresses and filters, in the namespace where the object is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_TC | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
        self._marshal = MarshalRtnl()

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def drain(self) -> list[Change] | None:
        """What is there to read, in order; None after an overrun, when changes were lost."""
        changes: list[Change] = []
        while True:
            try:
                packet = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return changes
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            messages = self._marshal.parse(packet)
            changes += [change for message in messages if (change := _parse(message))]

    def close(self) -> None:
        """Ends the socket."""
        self._socket.close()


def _parse(message: Any) -> Change | None:
    if message["header"]["type"] in _FILTER_REMOVALS:
        return FilterRemoval(ifindex=message["index"])
    if message["header"]["type"] in _ADDRESS_MESSAGES:
        return AddressChange(ifindex=message["index"])
    return _link_change(message) if message["header"]["type"] in _LINK_MESSAGES else None


def _link_change(message: Any) -> LinkChange:
    return LinkChange(
        ifindex=message["index"],
        name=message.get_attr("IFLA_IFNAME") or "",
        is_gone=message["header"]["type"] == _RTM_DELLINK,
        is_up=bool(message["flags"] & 1),
        has_carrier=bool(message["flags"] & 1 << 16),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu_bytes=message.get_attr("IFLA_MTU") or 0,
        peer_runs_xdp=peer_runs_xdp(message),
    )


class FolderMonitor:
    """Changes of what a folder holds: of the names of namespaces (a listener that we hold inside a namespace keeps it alive after
    its name is gone), of pins that somebody else removes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._inotify = Inotify(path=[str(folder)])
        self._inotify.bind()
        os.set_blocking(self._inotify.fd, False)

    def fileno(self) -> int:
        """For a selector."""
        return int(self._inotify.fd)

    def drain(self) -> None:
        """Discards the events: the caller compares what is there with what it holds, as a burst may have lost some."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._inotify.fd, _RECEIVE_BYTES):
                pass

    def close(self) -> None:
        """Ends the watch."""
        self._inotify.close()
