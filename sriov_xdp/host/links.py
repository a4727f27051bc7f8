"""Network devices through rtnetlink (pyroute2): the veth pair behind a VF, the uplink, and dumps of what is there.

One Links object a thread. Methods raise HostError with subject, observation and remedy; errno stays in __cause__.
"""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError, LinkMissing

ADDRGENMODE_EUI64 = 0
ADDRGENMODE_NONE = 1
_IFF_UP = 1
_VETH_MAX_MTU_BYTES = 65535
_IFF_LOWER_UP = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One device as the kernel reports it."""

    ifindex: int
    name: str
    mac: str
    mtu_bytes: int
    is_up: bool
    has_carrier: bool
    kind: str
    alias: str
    peer_runs_xdp: bool
    runs_generic_xdp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VethPair:
    """A pair to be made: the host end here, the guest end in a named namespace."""

    host_name: str
    host_ifindex: int
    guest_namespace: str
    guest_name: str
    guest_mac: str
    guest_alias: str
    mtu_bytes: int


def tells_of_peers_xdp(largest_mtu_bytes: int | None) -> bool:
    """Whether the other end of a veth has a native XDP program, seen from this end: the kernel lowers this end's largest MTU
    (IFLA_MAX_MTU) while one is there (veth_xdp_set), and says so in an event, so nobody needs to look into the other namespace."""
    return largest_mtu_bytes is not None and largest_mtu_bytes != _VETH_MAX_MTU_BYTES


def _own_xdp(message: Any) -> str | None:
    """How this end's own XDP program runs, in pyroute2's words for XDP_ATTACHED_* of linux/if_link.h."""
    nested = message.get_attr("IFLA_XDP")
    return nested.get_attr("IFLA_XDP_ATTACHED") if nested else None


def _parse(message: Any) -> Link:
    flags = message["flags"]
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        ifindex=message["index"],
        name=message.get_attr("IFLA_IFNAME") or "",
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu_bytes=message.get_attr("IFLA_MTU") or 0,
        is_up=bool(flags & _IFF_UP),
        has_carrier=bool(flags & _IFF_LOWER_UP),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        alias=message.get_attr("IFLA_IFALIAS") or "",
        peer_runs_xdp=tells_of_peers_xdp(message.get_attr("IFLA_MAX_MTU")),
        runs_generic_xdp=_own_xdp(message) == "xdpgeneric",
    )


class Links:
    """Devices of the namespace in which the object was made."""

    def __init__(self) -> None:
        self._netlink = IPRoute()

    def close(self) -> None:
        """Ends the netlink socket."""
        self._netlink.close()

    def by_name(self, name: str) -> Link:
        """Raises LinkMissing."""
        try:
            return _parse(self._netlink.link("get", ifname=name)[0])
        except NetlinkError as error:
            raise LinkMissing(f"device {name}: not found; `ip link` lists what is there") from error

    def exists(self, name: str) -> bool:
        """Whether there is a device of that name; cheaper than a dump on a host with many."""
        return bool(self._netlink.link_lookup(ifname=name))

    def find(self, ifindex: int) -> Link | None:
        """The device with this ifindex, None when there is none. Raises HostError when the kernel does not say."""
        try:
            return _parse(self._netlink.link("get", index=ifindex)[0])
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise HostError(f"device with ifindex {ifindex}: {error}") from error

    def dump(self) -> list[Link]:
        """All devices."""
        return [_parse(message) for message in self._netlink.get_links()]

    def has_address(self, ifindex: int) -> bool:
        """Whether the host has an IP address on the device, IPv6 link-local ones aside; not on a device that is gone."""
        try:
            return any(message["scope"] == 0 for message in self._netlink.get_addr(index=ifindex))
        except NetlinkError:
            return False

    def create_pair(self, pair: VethPair) -> None:
        """Makes a veth pair, both ends still down. Raises HostError; FileExistsError as cause when a name or the ifindex
        is taken."""
        with namespaces.path_of(pair.guest_namespace).open("rb") as guest:
            peer = {"ifname": pair.guest_name, "net_ns_fd": guest.fileno(), "address": pair.guest_mac, "mtu": pair.mtu_bytes}
            try:
                self._netlink.link(
                    "add", ifname=pair.host_name, kind="veth", index=pair.host_ifindex, mtu=pair.mtu_bytes, peer=peer
                )
            except NetlinkError as error:
                cause = FileExistsError(errno.EEXIST, str(error)) if error.code == errno.EEXIST else error
                raise HostError(f"veth {pair.host_name}/{pair.guest_name}: {error}") from cause

    def change(self, ifindex: int, **settings: Any) -> None:
        """One `ip link set`. Raises HostError."""
        try:
            self._netlink.link("set", index=ifindex, **settings)
        except NetlinkError as error:
            raise HostError(f"device with ifindex {ifindex}: set {settings}: {error}") from error

    def delete(self, ifindex: int) -> None:
        """Removes a device, for a veth both ends. Absent is fine."""
        with contextlib.suppress(NetlinkError):
            self._netlink.link("del", index=ifindex)

    def silence(self, link_name: str, ifindex: int) -> None:
        """Takes a switch port out of the host's own networking: no IPv6 addresses, so nothing answers on it."""
        self._set_ipv6(link_name, ifindex, "1", ADDRGENMODE_NONE)

    def unsilence(self, link_name: str, ifindex: int) -> None:
        """Back to the kernel's defaults, for a device that is given back."""
        self._set_ipv6(link_name, ifindex, "0", ADDRGENMODE_EUI64)

    def _set_ipv6(self, link_name: str, ifindex: int, is_disabled: str, address_mode: int) -> None:
        setting = Path("/proc/sys/net/ipv6/conf") / link_name / "disable_ipv6"
        mode = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", address_mode)]})]}
        with contextlib.suppress(HostError):
            self.change(ifindex, IFLA_AF_SPEC=mode)
        with contextlib.suppress(OSError):
            setting.write_text(is_disabled)


@contextlib.contextmanager
def links_of(namespace: str) -> Iterator[Links]:
    """A Links object inside a named namespace, for short work; the thread is in that namespace meanwhile."""
    with namespaces.in_namespace(namespace):
        links = Links()
        try:
            yield links
        finally:
            links.close()


def boot_id() -> str:
    """Changes with every boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
