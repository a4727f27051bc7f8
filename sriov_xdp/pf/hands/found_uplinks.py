"""Uplinks as they were found: knowing a device again, and making it what it was.

A netdev is known by its kernel object: ifindex within a boot, the hardware's address beyond it. For the pf package.
"""

from collections.abc import Callable
from dataclasses import replace

from sriov_xdp.host import features
from sriov_xdp.host.errors import HostError, LinkMissing
from sriov_xdp.host.links import Ipv6State, Link, Links, boot_id
from sriov_xdp.pf.state.intent import PfSpec
from sriov_xdp.pf.state.physical_function import FoundUplink, PhysicalFunction

OFFLOADS = {features.RX_VLAN: False, features.TX_VLAN: False}  # a tag taken off by hardware is lost behind XDP


def resolve(links: Links, pf: PhysicalFunction, is_held: Callable[[int], bool]) -> Link | None:
    """The netdev behind a PF whose uplink was taken before: the same device under whatever name; None when it is gone. is_held:
    whether the PF's programs are on the device of a number."""
    found = pf.found
    if found is None or pf.spec.uplink is None:
        return None
    if found.boot_id == boot_id():
        link = links.find(found.ifindex)
        return link if link and is_same(pf.spec, found, link, is_held) else None
    if found.permanent_mac:
        return next((link for link in links.dump() if link.permanent_mac == found.permanent_mac), None)
    try:
        return links.by_name(pf.spec.uplink)
    except LinkMissing:
        return None


def is_same(spec: PfSpec, found: FoundUplink, link: Link, is_held: Callable[[int], bool]) -> bool:
    """Whether the device of the number is the one that was found. Where the hardware says nothing (a veth), our programs on it say
    that it is, as they end with a device; or the operator's word for it does."""
    if link.permanent_mac != found.permanent_mac:
        return False
    return bool(link.permanent_mac) or link.name == spec.uplink or is_held(link.ifindex)


def found_again(before: FoundUplink | None, now: FoundUplink) -> FoundUplink:
    """What to keep of a device that was just looked at: how it was before us, where it is as we made it. That is one of an earlier
    version, or one that went to another namespace in this boot and came back with another number."""
    if before is None:
        return now
    came_back = before.boot_id == now.boot_id and _address(before) == _address(now)
    if before.boot_id and not came_back:
        return now
    return replace(before, boot_id=now.boot_id, ifindex=now.ifindex, permanent_mac=now.permanent_mac, mac=now.mac)


def _address(found: FoundUplink) -> tuple[str, str]:
    """Of the hardware, or else the device's."""
    return found.permanent_mac, "" if found.permanent_mac else found.mac


def as_found(links: Links, link: Link) -> FoundUplink:
    """How a netdev is before we touch it."""
    ipv6 = links.ipv6_state(link)
    return FoundUplink(
        boot_id=boot_id(),
        ifindex=link.ifindex,
        permanent_mac=link.permanent_mac,
        mac=link.mac,
        was_up=link.is_up,
        was_promiscuous=link.is_promiscuous,
        ipv6_is_disabled=ipv6.is_disabled,
        ipv6_address_mode=ipv6.address_mode,
        features=features.read(link.name, tuple(OFFLOADS)),
    )


def restore(links: Links, link: Link, found: FoundUplink) -> None:
    """The one way back, of take() that failed, of a PF that goes, and of teardown. Goes on after a fault and raises the first."""
    faults: list[HostError] = []
    ipv6 = Ipv6State(is_disabled=found.ipv6_is_disabled, address_mode=found.ipv6_address_mode)
    for step in (
        lambda: links.set_promiscuous(link.ifindex, is_on=found.was_promiscuous),
        lambda: links.restore_ipv6(link.name, link.ifindex, ipv6),
        lambda: features.write(link.name, found.features),
        lambda: links.change(link.ifindex, state="up" if found.was_up else "down"),
    ):
        try:
            step()
        except HostError as error:
            faults.append(error)
    if faults:
        raise faults[0]
