"""Network devices through rtnetlink (pyroute2): the veth pair behind a VF, the uplink, and dumps of what is there.

One Links object a thread. Methods raise HostError with subject, observation and remedy; errno stays in __cause__.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError, LinkMissing
from sriov_xdp.host.netlink import LastingNetlink

ADDRGENMODE_NONE = 1
_IFF_UP = 1
_WITHOUT_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS: half of what the kernel says of a device
_IFF_PROMISC = 0x100
_VETH_MAX_MTU_BYTES = 65535
_IFF_LOOPBACK = 1 << 3
_IFF_LOWER_UP = 1 << 16
# uapi/linux/netlink.h, rtnetlink.h, if_link.h: nlmsghdr, ifinfomsg, an attribute of 32 bits, nlmsgerr's number.
_HEADER, _IFINFOMSG = struct.Struct("=IHHII"), struct.Struct("=BxHiII")
_ATTRIBUTE, _ERROR = struct.Struct("=HHI"), struct.Struct("=i")
_RTM_DELLINK, _IFLA_GROUP, _NLM_F_REQUEST, _NLM_F_ACK = 17, 27, 1, 4
_VLAN_DEVICES = Path("/proc/thread-self/net/vlan/config")
# Devices that the kernel makes by itself in each new namespace, where their modules are loaded (fb_tunnels_only_for_init_net), and
# of which kind they are: somebody else's device may well have such a name.
_MADE_BY_THE_KERNEL = {
    "lo": "",
    "sit0": "sit",
    "tunl0": "ipip",
    "ip6tnl0": "ip6tnl",
    "gre0": "gre",
    "gretap0": "gretap",
    "erspan0": "erspan",
    "ip6gre0": "ip6gre",
    "ip_vti0": "vti",
    "ip6_vti0": "vti6",
    "teql0": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One device as the kernel reports it. peer_ifindex: of a veth's other end, wherever that is (unique among our pairs, whose
    host ends have numbers of their own); master_ifindex: of the bridge or bond that it is a port of, 0 = none; permanent_mac: the
    hardware's, "" where there is none; had_carrier: at any time."""

    ifindex: int
    name: str
    mac: str
    permanent_mac: str
    mtu_bytes: int
    is_up: bool
    is_promiscuous: bool
    is_loopback: bool
    has_carrier: bool
    kind: str
    alias: str
    group: int
    peer_ifindex: int
    master_ifindex: int
    peer_runs_xdp: bool
    runs_generic_xdp: bool
    xdp_program_id: int
    address_mode: int | None
    had_carrier: bool = False

    @property
    def answers(self) -> bool:
        """Whether the host's IPv6 may answer on it, as Links.silence() did not end it, or it began anew since."""
        return self.address_mode not in (None, ADDRGENMODE_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class VethPair:
    """A pair to be made: the host end here, the guest end in another namespace. group marks both ends from their first moment."""

    host_name: str
    host_ifindex: int
    guest_namespace: str
    guest_name: str
    guest_mac: str
    group: int
    mtu_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipv6State:
    """How the host's IPv6 is on a device: the sysctl disable_ipv6 (None where there is no IPv6) and the mode of addresses."""

    is_disabled: str | None
    address_mode: int


def tells_of_peers_xdp(largest_mtu_bytes: int | None) -> bool:
    """Whether the other end of a veth has a native XDP program, seen from this end: the kernel lowers this end's largest MTU
    (IFLA_MAX_MTU) while one is there (veth_xdp_set), and says so in an event, so nobody needs to look into the other namespace."""
    return largest_mtu_bytes is not None and largest_mtu_bytes != _VETH_MAX_MTU_BYTES


def _own_xdp(message: Any, name: str) -> Any:
    """Of this end's own XDP program: how it runs, in pyroute2's words for XDP_ATTACHED_* of linux/if_link.h, or its id."""
    nested = message.get_attr("IFLA_XDP")
    return nested.get_attr(name) if nested else None


def _address_mode(message: Any) -> int | None:
    """How IPv6 makes addresses on a device, IN6_ADDR_GEN_MODE_* of linux/if_link.h; None where the device has no IPv6, as with an
    MTU below 1280."""
    families = message.get_attr("IFLA_AF_SPEC")
    ipv6 = families.get_attr("AF_INET6") if families else None
    mode = ipv6.get_attr("IFLA_INET6_ADDR_GEN_MODE") if ipv6 else None
    return None if mode is None else int(mode)


def _text(value: str | bytes | None) -> str:
    """A name or alias: any bytes may stand there, and pyroute2 leaves them as they are where they are no UTF-8."""
    return os.fsdecode(value) if isinstance(value, bytes) else value or ""


def _parse(message: Any) -> Link:
    flags = message["flags"]
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        ifindex=message["index"],
        name=_text(message.get_attr("IFLA_IFNAME")),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        permanent_mac=message.get_attr("IFLA_PERM_ADDRESS") or "",
        mtu_bytes=message.get_attr("IFLA_MTU") or 0,
        is_up=bool(flags & _IFF_UP),
        is_promiscuous=bool(flags & _IFF_PROMISC),
        is_loopback=bool(flags & _IFF_LOOPBACK),
        has_carrier=bool(flags & _IFF_LOWER_UP),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        alias=_text(message.get_attr("IFLA_IFALIAS")),
        group=message.get_attr("IFLA_GROUP") or 0,
        peer_ifindex=message.get_attr("IFLA_LINK") or 0,
        master_ifindex=message.get_attr("IFLA_MASTER") or 0,
        peer_runs_xdp=tells_of_peers_xdp(message.get_attr("IFLA_MAX_MTU")),
        runs_generic_xdp=_own_xdp(message, "IFLA_XDP_ATTACHED") == "xdpgeneric",
        xdp_program_id=_own_xdp(message, "IFLA_XDP_PROG_ID") or 0,
        address_mode=_address_mode(message),
        had_carrier=bool(message.get_attr("IFLA_CARRIER_UP_COUNT")),
    )


class Links:
    """Devices of the namespace in which the object was made."""

    def __init__(self) -> None:
        self._lasting = LastingNetlink()

    def close(self) -> None:
        """Ends the netlink socket."""
        self._lasting.close()

    @property
    def _netlink(self) -> IPRoute:
        return self._lasting.socket()

    def by_name(self, name: str) -> Link:
        """Raises LinkMissing."""
        try:
            return _parse(self._netlink.link("get", ifname=name, ext_mask=_WITHOUT_STATISTICS)[0])
        except NetlinkError as error:
            raise LinkMissing(f"device {name}: not found; `ip link` lists what is there") from error

    def exists(self, name: str) -> bool:
        """Whether there is a device of that name; cheaper than a dump on a host with many."""
        return bool(self._netlink.link_lookup(ifname=name))

    def find(self, ifindex: int) -> Link | None:
        """The device with this ifindex, None when there is none, as for the number of a device that is gone, 0. Raises HostError
        when the kernel does not say."""
        if ifindex <= 0:
            return None
        try:
            return _parse(self._netlink.link("get", index=ifindex, ext_mask=_WITHOUT_STATISTICS)[0])
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise HostError(f"device with ifindex {ifindex}: {error}") from error

    def dump(self) -> list[Link]:
        """All devices."""
        return [_parse(message) for message in self._netlink.get_links(ext_mask=_WITHOUT_STATISTICS)]

    def has_address(self, ifindex: int) -> bool:
        """Whether the host has an IP address on the device, IPv6 link-local ones aside; not on a device that is gone."""
        try:
            return any(message["scope"] == 0 for message in self._netlink.get_addr(index=ifindex))
        except NetlinkError:
            return False

    @staticmethod
    def vlans_above(name: str) -> frozenset[int]:
        """VLANs of which this namespace has a device above the one of that name; a kernel without VLAN devices has none."""
        try:
            lines = _VLAN_DEVICES.read_text(errors="surrogateescape").splitlines()
        except OSError:
            return frozenset()
        rows = [[column.strip() for column in line.split("|")] for line in lines]
        return frozenset(int(row[1]) for row in rows if len(row) == 3 and row[2] == name and row[1].isdigit())

    def strangers(self) -> list[str]:
        """Names of the devices that are not of the kernel's own making, to be shown: what is no text in them is escaped."""
        names = (link.name for link in self.dump() if _MADE_BY_THE_KERNEL.get(link.name) != link.kind)
        return sorted(os.fsencode(name).decode(errors="backslashreplace") for name in names)

    def create_pair(self, pair: VethPair) -> None:
        """Makes a veth pair, both ends down and marked. Raises HostError; FileExistsError as cause when a name or the ifindex
        is taken."""
        try:
            guest = namespaces.path_of(pair.guest_namespace).open("rb")
        except OSError as error:
            raise HostError(f"namespace {pair.guest_namespace}: {error}") from error
        with guest:
            marked = {"mtu": pair.mtu_bytes, "group": pair.group}
            peer = {"ifname": pair.guest_name, "net_ns_fd": guest.fileno(), "address": pair.guest_mac, **marked}
            try:
                self._netlink.link("add", ifname=pair.host_name, kind="veth", index=pair.host_ifindex, peer=peer, **marked)
            except NetlinkError as error:
                cause = FileExistsError(errno.EEXIST, str(error)) if error.code == errno.EEXIST else error
                raise HostError(f"veth {pair.host_name}/{pair.guest_name}: {error}") from cause

    def change(self, ifindex: int, **settings: Any) -> None:
        """One `ip link set`. Raises HostError."""
        try:
            self._netlink.link("set", index=ifindex, **settings)
        except NetlinkError as error:
            raise HostError(f"device with ifindex {ifindex}: set {settings}: {error}") from error

    def set_promiscuous(self, ifindex: int, *, is_on: bool) -> None:
        """Alone in its message: the kernel loses a state that comes with flags. Raises HostError."""
        self.change(ifindex, flags=_IFF_PROMISC if is_on else 0, change=_IFF_PROMISC)

    def delete(self, ifindex: int) -> None:
        """Removes a device, for a veth both ends: down first, so that no frame enters while its programs go with it. Absent is
        fine. Raises HostError."""
        try:
            self._netlink.link("set", index=ifindex, state="down")
            self._netlink.link("del", index=ifindex)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise HostError(f"device with ifindex {ifindex}: could not be removed: {error}") from error

    @staticmethod
    def delete_group(group: int) -> None:
        """Removes all devices of a group at once, for veths both ends, with their programs: the kernel closes them all before it
        takes anything off (unregister_netdevice_many), and waits once for all. Written by hand, as pyroute2 only deletes what it
        can look up. Raises HostError; ValueError for the group in which every other device is."""
        if group <= 0:
            raise ValueError(f"group {group}: is everybody's")
        body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _ATTRIBUTE.pack(_ATTRIBUTE.size, _IFLA_GROUP, group)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
            netlink.send(_HEADER.pack(_HEADER.size + len(body), _RTM_DELLINK, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0) + body)
            number = -_ERROR.unpack_from(netlink.recv(4096), _HEADER.size)[0]
        if number not in (0, errno.ENODEV):
            raise HostError(f"devices of group {group}: could not be removed: {os.strerror(number)}")

    def silence(self, link_name: str, ifindex: int) -> None:
        """Takes a switch port out of the host's own networking: no IPv6 addresses, so nothing answers on it."""
        self.restore_ipv6(link_name, ifindex, Ipv6State(is_disabled="1", address_mode=ADDRGENMODE_NONE))

    def ipv6_state(self, link: Link) -> Ipv6State:
        """To be put back later."""
        setting = _disable_ipv6(link.name)
        return Ipv6State(is_disabled=setting.read_text().strip() if setting.exists() else None, address_mode=link.address_mode or 0)

    def restore_ipv6(self, link_name: str, ifindex: int, state: Ipv6State) -> None:
        """Best effort: a kernel without IPv6 has neither setting."""
        mode = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", state.address_mode)]})]}
        with contextlib.suppress(HostError):
            self.change(ifindex, IFLA_AF_SPEC=mode)
        with contextlib.suppress(OSError):
            if state.is_disabled is not None:
                _disable_ipv6(link_name).write_text(state.is_disabled)


def _disable_ipv6(link_name: str) -> Path:
    return Path("/proc/sys/net/ipv6/conf") / link_name / "disable_ipv6"


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
