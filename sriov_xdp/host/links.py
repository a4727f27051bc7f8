"""Network devices through rtnetlink: the veth pair behind a VF, the uplink, and dumps of what is there.

One Links object a thread. Methods raise HostError with subject, observation and remedy; errno stays in __cause__.
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError, LinkMissing
from sriov_xdp.host.rtnl import HEADER, IFINFOMSG, NUMBER, Flag, Kind, Rtnl, attribute, attributes, is_missing

ADDRGENMODE_NONE = 1
_IFF_UP = 1
_WITHOUT_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS: half of what the kernel says of a device
_IFF_PROMISC = 0x100
_VETH_MAX_MTU_BYTES = 65535
_IFF_LOOPBACK = 1 << 3
_IFF_LOWER_UP = 1 << 16
_VLAN_DEVICES = Path("/proc/thread-self/net/vlan/config")
_XDP_ATTACHED_SKB = 2
_AF_INET6 = 10
# Attributes in others: of a kind of device, of its XDP program, of IPv6 on it, of a veth's other end.
_INFO_KIND, _INFO_DATA, _XDP_ATTACHED, _XDP_PROG_ID, _INET6_ADDR_GEN_MODE, _VETH_INFO_PEER = 1, 2, 2, 4, 8, 1

_IFADDRMSG, _SCOPE_UNIVERSE = struct.Struct("=BBBBI"), 0  # linux/if_addr.h, rtnetlink.h


class Ifla(IntEnum):
    """Attributes of a device (linux/if_link.h)."""

    ADDRESS = 1
    IFNAME = 3
    MTU = 4
    LINK = 5
    MASTER = 10
    LINKINFO = 18
    IFALIAS = 20
    AF_SPEC = 26
    GROUP = 27
    NET_NS_FD = 28
    EXT_MASK = 29
    LINK_NETNSID = 37
    GSO_MAX_SEGS = 40
    XDP = 43
    MAX_MTU = 51
    PERM_ADDRESS = 54


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
    hardware's, "" where there is none."""

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

    @property
    def answers(self) -> bool:
        """Whether the host's IPv6 may answer on it, as Links.silence() did not end it, or it began anew since."""
        return self.address_mode not in (None, ADDRGENMODE_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class VethPair:
    """A pair to be made: the host end here, the guest end in another namespace. group marks both ends from their first moment;
    most_segments: of a super-frame that the guest's stack sends."""

    host_name: str
    host_ifindex: int
    guest_namespace: str
    guest_name: str
    guest_mac: str
    group: int
    mtu_bytes: int
    most_segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipv6State:
    """How the host's IPv6 is on a device: the sysctl disable_ipv6 (None where there is no IPv6) and the mode of addresses."""

    is_disabled: str | None
    address_mode: int


def tells_of_peers_xdp(largest_mtu_bytes: int | None) -> bool:
    """Whether the other end of a veth has a native XDP program, seen from this end: the kernel lowers this end's largest MTU
    (IFLA_MAX_MTU) while one is there (veth_xdp_set), and says so in an event, so nobody needs to look into the other namespace."""
    return largest_mtu_bytes is not None and largest_mtu_bytes != _VETH_MAX_MTU_BYTES


def _number(value: bytes | None) -> int:
    return int(NUMBER.unpack_from(value)[0]) if value else 0


def _text(value: bytes) -> str:
    """A name or alias: any bytes may stand there."""
    return os.fsdecode(value.rstrip(b"\0"))


def _nested(values: dict[int, bytes], kind: int) -> dict[int, bytes]:
    return dict(attributes(values.get(kind, b""), 0))


def _address_mode(values: dict[int, bytes]) -> int | None:
    """How IPv6 makes addresses on a device, IN6_ADDR_GEN_MODE_* of linux/if_link.h; None where the device has no IPv6, as with an
    MTU below 1280."""
    mode = _nested(_nested(values, Ifla.AF_SPEC), _AF_INET6).get(_INET6_ADDR_GEN_MODE)
    return mode[0] if mode else None


def _parse(message: bytes) -> Link:
    _family, _type, ifindex, flags, _changed = IFINFOMSG.unpack_from(message, HEADER.size)
    values = dict(attributes(message, HEADER.size + IFINFOMSG.size))
    xdp = _nested(values, Ifla.XDP)
    return Link(
        ifindex=ifindex,
        name=_text(values.get(Ifla.IFNAME, b"")),
        mac=values.get(Ifla.ADDRESS, b"").hex(":"),
        permanent_mac=values.get(Ifla.PERM_ADDRESS, b"").hex(":"),
        mtu_bytes=_number(values.get(Ifla.MTU)),
        is_up=bool(flags & _IFF_UP),
        is_promiscuous=bool(flags & _IFF_PROMISC),
        is_loopback=bool(flags & _IFF_LOOPBACK),
        has_carrier=bool(flags & _IFF_LOWER_UP),
        kind=_text(_nested(values, Ifla.LINKINFO).get(_INFO_KIND, b"")),
        alias=_text(values.get(Ifla.IFALIAS, b"")),
        group=_number(values.get(Ifla.GROUP)),
        peer_ifindex=_number(values.get(Ifla.LINK)),
        master_ifindex=_number(values.get(Ifla.MASTER)),
        peer_runs_xdp=tells_of_peers_xdp(_number(values[Ifla.MAX_MTU]) if Ifla.MAX_MTU in values else None),
        runs_generic_xdp=xdp.get(_XDP_ATTACHED, b"\0")[0] == _XDP_ATTACHED_SKB,
        xdp_program_id=_number(xdp.get(_XDP_PROG_ID)),
        address_mode=_address_mode(values),
    )


def _named(kind: int, text: str) -> bytes:
    return attribute(kind, os.fsencode(text) + b"\0")


def _of(ifindex: int, *settings: bytes, flags: int = 0, changed: int = 0) -> bytes:
    """A message about a device, 0 for one that its settings name."""
    return IFINFOMSG.pack(0, 0, ifindex, flags, changed) + b"".join(settings)


_SHORT = attribute(Ifla.EXT_MASK, NUMBER.pack(_WITHOUT_STATISTICS))


class Links:
    """Devices of the namespace in which the object was made."""

    def __init__(self) -> None:
        self._rtnl = Rtnl()

    def close(self) -> None:
        """Ends the netlink socket."""
        self._rtnl.close()

    def by_name(self, name: str) -> Link:
        """Raises LinkMissing."""
        try:
            return _parse(self._rtnl.get(_of(0, _named(Ifla.IFNAME, name), _SHORT)))
        except (OSError, ValueError) as error:
            raise LinkMissing(f"device {name}: not found; `ip link` lists what is there") from error

    def exists(self, name: str) -> bool:
        """Whether there is a device of that name; cheaper than a dump on a host with many."""
        try:
            self.by_name(name)
        except LinkMissing:
            return False
        return True

    def find(self, ifindex: int) -> Link | None:
        """The device with this ifindex, None when there is none, as for the number of a device that is gone, 0. Raises HostError
        when the kernel does not say."""
        if ifindex <= 0:
            return None
        try:
            return _parse(self._rtnl.get(_of(ifindex, _SHORT)))
        except OSError as error:
            if is_missing(error):
                return None
            raise HostError(f"device with ifindex {ifindex}: {error.strerror}") from error

    def dump(self) -> list[Link]:
        """All devices. Raises HostError."""
        try:
            return [_parse(message) for message in self._rtnl.dump(_of(0, _SHORT))]
        except OSError as error:
            raise HostError(f"devices: could not be listed: {error.strerror}") from error

    def has_address(self, ifindex: int) -> bool:
        """Whether there is an IP address on the device, IPv6 link-local ones aside; not on a device that is gone. Raises
        HostError."""
        try:
            found = self._rtnl.dump(_IFADDRMSG.pack(0, 0, 0, 0, 0), Kind.GETADDR)
        except OSError as error:
            raise HostError(f"addresses: could not be listed: {error.strerror}") from error
        told = (_IFADDRMSG.unpack_from(message, HEADER.size) for message in found)
        return any((scope, index) == (_SCOPE_UNIVERSE, ifindex) for _family, _bits, _flags, scope, index in told)

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
        marked = [attribute(Ifla.MTU, NUMBER.pack(pair.mtu_bytes)), attribute(Ifla.GROUP, NUMBER.pack(pair.group))]
        with guest:
            address = attribute(Ifla.ADDRESS, bytes.fromhex(pair.guest_mac.replace(":", "")))
            place = attribute(Ifla.NET_NS_FD, NUMBER.pack(guest.fileno()))
            segments = attribute(Ifla.GSO_MAX_SEGS, NUMBER.pack(pair.most_segments))
            peer = attribute(_VETH_INFO_PEER, _of(0, _named(Ifla.IFNAME, pair.guest_name), place, address, segments, *marked))
            info = attribute(Ifla.LINKINFO, _named(_INFO_KIND, "veth"), attribute(_INFO_DATA, peer))
            body = _of(pair.host_ifindex, _named(Ifla.IFNAME, pair.host_name), *marked, info)
            try:
                self._rtnl.change(Kind.NEWLINK, body, Flag.CREATE | Flag.EXCL)
            except OSError as error:
                raise HostError(f"veth {pair.host_name}/{pair.guest_name}: {error.strerror}") from error

    def create_hop(self, near: str, far: str, far_ifindex: int, group: int) -> None:
        """Makes a veth pair both of whose ends are here, down and marked, and take frames of any length. Raises HostError."""
        marked = [attribute(Ifla.MTU, NUMBER.pack(_VETH_MAX_MTU_BYTES)), attribute(Ifla.GROUP, NUMBER.pack(group))]
        peer = attribute(_VETH_INFO_PEER, _of(0, _named(Ifla.IFNAME, near), *marked))
        info = attribute(Ifla.LINKINFO, _named(_INFO_KIND, "veth"), attribute(_INFO_DATA, peer))
        try:
            self._rtnl.change(Kind.NEWLINK, _of(far_ifindex, _named(Ifla.IFNAME, far), *marked, info), Flag.CREATE | Flag.EXCL)
        except OSError as error:
            raise HostError(f"veth {near}/{far}: {error.strerror}") from error

    def change(
        self,
        ifindex: int,
        *,
        state: Literal["up", "down"] | None = None,
        mtu: int | None = None,
        ifalias: str | None = None,
        address: str | None = None,
        group: int | None = None,
        address_mode: int | None = None,
    ) -> None:
        """One `ip link set`. Raises HostError."""
        settings = [
            *(attribute(kind, NUMBER.pack(value)) for kind, value in ((Ifla.MTU, mtu), (Ifla.GROUP, group)) if value is not None),
            *([_named(Ifla.IFALIAS, ifalias)] if ifalias is not None else []),
            *([attribute(Ifla.ADDRESS, bytes.fromhex(address.replace(":", "")))] if address is not None else []),
        ]
        if address_mode is not None:
            mode = attribute(_INET6_ADDR_GEN_MODE, bytes([address_mode]))
            settings.append(attribute(Ifla.AF_SPEC, attribute(_AF_INET6, mode)))
        said = {"state": state, "mtu": mtu, "alias": ifalias, "address": address, "group": group, "addrgenmode": address_mode}
        words = ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)
        self._set(ifindex, words, *settings, flags=_IFF_UP if state == "up" else 0, changed=_IFF_UP if state else 0)

    def _set(self, ifindex: int, words: str, *settings: bytes, flags: int = 0, changed: int = 0) -> None:
        try:
            self._rtnl.change(Kind.NEWLINK, _of(ifindex, *settings, flags=flags, changed=changed))
        except OSError as error:
            raise HostError(f"device with ifindex {ifindex}: set {words}: {error.strerror}") from error

    def set_promiscuous(self, ifindex: int, *, is_on: bool) -> None:
        """Alone in its message: the kernel loses a state that comes with flags. Raises HostError."""
        self._set(ifindex, f"promisc {'on' if is_on else 'off'}", flags=_IFF_PROMISC if is_on else 0, changed=_IFF_PROMISC)

    def delete(self, ifindex: int) -> None:
        """Removes a device, for a veth both ends: down first, so that no frame enters while its programs go with it. Absent is
        fine. Raises HostError."""
        try:
            self._rtnl.change(Kind.NEWLINK, _of(ifindex, changed=_IFF_UP))
            self._rtnl.change(Kind.DELLINK, _of(ifindex))
        except OSError as error:
            if not is_missing(error):
                raise HostError(f"device with ifindex {ifindex}: could not be removed: {error.strerror}") from error

    def delete_group(self, group: int) -> None:
        """Removes all devices of a group at once, for veths both ends, with their programs: the kernel closes them all before it
        takes anything off (unregister_netdevice_many), and waits once for all. Raises HostError; ValueError for the group in which
        every other device is."""
        if group <= 0:
            raise ValueError(f"group {group}: is everybody's")
        try:
            self._rtnl.change(Kind.DELLINK, _of(0, attribute(Ifla.GROUP, NUMBER.pack(group))))
        except OSError as error:
            if not is_missing(error):
                raise HostError(f"devices of group {group}: could not be removed: {error.strerror}") from error

    def silence(self, link_name: str, ifindex: int) -> None:
        """Takes a switch port out of the host's own networking: no IPv6 addresses, so nothing answers on it."""
        self.restore_ipv6(link_name, ifindex, Ipv6State(is_disabled="1", address_mode=ADDRGENMODE_NONE))

    def ipv6_state(self, link: Link) -> Ipv6State:
        """To be put back later."""
        setting = _disable_ipv6(link.name)
        return Ipv6State(is_disabled=setting.read_text().strip() if setting.exists() else None, address_mode=link.address_mode or 0)

    def restore_ipv6(self, link_name: str, ifindex: int, state: Ipv6State) -> None:
        """Best effort: a kernel without IPv6 has neither setting."""
        with contextlib.suppress(HostError):
            self.change(ifindex, address_mode=state.address_mode)
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
