"""The guest's own netdev of a VF: found by the alias that the host gave it, and what it is asked to receive."""

from sriov_xdp.guest.errors import VfDriverError
from sriov_xdp.host import fdb
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links

ALIAS_PREFIX = "sriov-xdp "


def find(links: Links, vf: str, interface: str | None) -> Link:
    """By name when the guest renamed away the alias. Raises VfDriverError."""
    if interface:
        try:
            return links.by_name(interface)
        except HostError as error:
            raise VfDriverError(str(error)) from error
    for link in links.dump():
        if link.alias.startswith(f"{ALIAS_PREFIX}{vf} "):
            return link
    raise VfDriverError(f"{vf}: no device with alias '{ALIAS_PREFIX}{vf} ...' in this guest; name it with --interface")


def vlan_of(link: Link) -> str:
    """The port's VLAN as the host put it into the alias; unknown when the guest changed that."""
    return link.alias.partition(" vlan ")[2] or "unknown"


def wanted(link: Link) -> frozenset[bytes]:
    """Addresses beside its own that a netdev is asked to receive for: those of devices above it (macvlan, VRRP), multicast groups,
    what was said by hand (`bridge fdb add ... self`); and where it is a bridge's port, whoever is behind the bridge's other ports.
    Raises HostError."""
    own = bytes.fromhex(link.mac.replace(":", ""))
    return frozenset(entry.mac for entry in fdb.entries() if _concerns(entry, link)) - {own}


def _concerns(entry: fdb.Entry, link: Link) -> bool:
    is_own = entry.ifindex == link.ifindex
    if entry.is_self:
        return is_own
    is_of_bridge = link.master_ifindex != 0 and entry.master_ifindex == link.master_ifindex
    return is_of_bridge and (not is_own or entry.is_permanent)


def set_mac(links: Links, link: Link, mac: bytes) -> None:
    """Makes the netdev say what the device says. Raises VfDriverError."""
    if link.mac == mac.hex(":"):
        return
    try:
        links.change(link.ifindex, address=mac.hex(":"))
    except HostError as error:
        raise VfDriverError(f"{link.name}: MAC {mac.hex(':')}: {error}") from error
