"""The uplink of a PF: whose it is, taking a netdev over, following it, and giving it back as it was found.

How a netdev is known again: found_uplinks.py. Its name is the operator's word for it, and is taken up when it changes. For the pf
package; writer thread only.
"""

import errno
import logging
from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.host import features
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links, boot_id
from sriov_xdp.pf.errors import Conflict, PfError
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.hands.found_uplinks import OFFLOADS, as_found, found_again, is_same, resolve, restore
from sriov_xdp.pf.hands.publish import publish_ports, publish_uplink
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.device_marks import is_marked
from sriov_xdp.pf.state.intent import PfSpec
from sriov_xdp.pf.state.modes import xdp_problem
from sriov_xdp.pf.state.physical_function import PhysicalFunction, UplinkState, XdpMode
from sriov_xdp.pf.state.uplink_text import found_to_mark
from sriov_xdp.pf.state.uplink_troubles import troubles
from sriov_xdp.vswitch.address import MacAddress

_log = logging.getLogger("sriov_xdp.pf")
_OCCUPIED = (errno.EBUSY, errno.EEXIST)


@dataclass(frozen=True, slots=True, kw_only=True)
class UseByHost:
    """What the host itself has on an uplink: an IP address, and VLANs with devices of their own."""

    has_address: bool
    vlans: frozenset[int]


def link_name(pf: PhysicalFunction) -> str:
    """Of the uplink's pinned links."""
    return f"uplink{pf.number}"


def programs(pf: PhysicalFunction) -> tuple[str, str]:
    """Names of its tc and its XDP program."""
    return f"tc_uplink_{pf.number}", f"xdp_uplink_{pf.number}"


def check(context: Context, spec: PfSpec, mtu_bytes: int, staying: Container[str]) -> str | None:
    """Why a netdev cannot be this PF's uplink; None when it can. staying: names of the PFs that do not go first. Changes nothing.
    Raises Conflict when it serves another daemon, or something else of the host."""
    if spec.uplink is None:
        return None
    present = context.inventory.pfs.get(spec.name)
    try:
        link = context.links.by_name(spec.uplink)
    except HostError as error:
        return f"PF {spec.name}: uplink: {error}"
    for other in context.inventory.pfs.values():
        if other.spec.uplink != spec.uplink or other.spec.name == spec.name:
            continue
        if other.spec.name in staying:
            return f"PF {spec.name}: uplink {spec.uplink} already belongs to PF {other.spec.name}; use another device"
        present = other  # its programs on the device go with it
    if link.is_loopback:
        return f"PF {spec.name}: uplink {spec.uplink} is the host's loopback; use a device that leads to a wire"
    owner = _foreign_owner(context, link_name(present) if present else "", link) or _other_use(context, present, link)
    if owner:
        raise Conflict(f"PF {spec.name}: {owner}")
    if link.mtu_bytes < mtu_bytes:
        need = f"`ip link set {spec.uplink} mtu {mtu_bytes}` or lower the switch's mtu"
        return f"PF {spec.name}: uplink {spec.uplink} has MTU {link.mtu_bytes}, its switch needs {mtu_bytes}; {need}"
    return None


def _foreign_owner(context: Context, name: str, link: Link) -> str | None:
    """Another daemon's uplink, or a port of a switch, whoever's: proved by what is on the device, before anything is touched."""
    if is_marked(link):
        return f"uplink {link.name}: is a representor ({link.alias[:60]}); use another device"
    program = context.hooks.foreign_owner(name, link.ifindex, link.xdp_program_id)
    if program is None:
        return None
    return f"uplink {link.name}: another daemon serves it, whose {program} is on it; end that one with `sriov-xdp teardown` first"


def _other_use(context: Context, pf: PhysicalFunction | None, link: Link) -> str | None:
    """Why a netdev is no wire for us to take; one that a PF of ours serves already goes on."""
    if pf and context.hooks.is_held(link_name(pf), programs(pf)[0], link.ifindex):
        return None
    master = _master_of(context, link)
    if master:
        text = f"uplink {link.name}: is a port of {master}, which would get none of its frames any more"
        return f"{text}; use {master} as uplink, or release it with `ip link set {link.name} nomaster`"
    program = context.hooks.foreign_xdp(link_name(pf) if pf else "", link.xdp_program_id)
    if program:
        return f"uplink {link.name}: runs {program}, which is not ours; take it off with `ip link set {link.name} xdp off`"
    return None


def _master_of(context: Context, link: Link) -> str | None:
    """The bridge or bond that takes a netdev's frames; a VRF takes none but the host's."""
    master = context.links.find(link.master_ifindex) if link.master_ifindex else None
    return master.name if master and master.kind != "vrf" else None


def is_held(context: Context, pf: PhysicalFunction) -> Callable[[int], bool]:
    """For resolve(): by the pins."""
    return lambda ifindex: context.hooks.is_held(link_name(pf), programs(pf)[0], ifindex)


def take(context: Context, pf: PhysicalFunction, link: Link) -> None:
    """Makes a netdev the PF's uplink. pf.found says how it was before us, and is in the store by now. Raises PfError, HostError,
    DataPathError; then the device is as it was."""
    pf.is_awaited = False
    try:
        if pf.found:
            context.marks.write_found(pf.number, found_to_mark(pf.found))
        changed = features.write(link.name, OFFLOADS)
        context.links.set_promiscuous(link.ifindex, is_on=True)
        context.links.change(link.ifindex, state="up")
        use = use_by_host(context.links, link)
        if not use.has_address:
            context.links.silence(link.name, link.ifindex)
        _log.debug("uplink %s: offloads changed: %s", link.name, changed)
        pf.uplink = UplinkState(
            ifindex=link.ifindex,
            mac=MacAddress.parse(link.mac),
            mtu_bytes=link.mtu_bytes,
            has_carrier=link.has_carrier,
            serves_host=use.has_address,
            host_vlans=use.vlans,
            is_silenced=not use.has_address,
            xdp_mode=XdpMode.NATIVE if context.hooks.has_xdp(link_name(pf)) else XdpMode.NONE,  # until it is attached
        )
        _claim_address(context, pf)
        publish_uplink(context, pf)
        context.hooks.settle(link_name(pf), programs(pf)[0], link.ifindex, is_ours=False)
        pf.uplink.xdp_mode = _attach_xdp(context, pf, link)
        publish_uplink(context, pf)
        _note_troubles(context, pf, context.links.find(link.ifindex) or link)
        owner = _foreign_owner(context, link_name(pf), link)  # somebody who started at the same time
        if owner:
            raise Conflict(owner)
    except (HostError, DataPathError, PfError):
        give_back(context, pf)
        raise


def connect(context: Context, pf: PhysicalFunction, link: Link) -> None:
    """take(), of a netdev that is not yet known to have been found, or was found in an earlier boot. Raises as take() does, and
    StoreError."""
    owner = _foreign_owner(context, link_name(pf), link) or _other_use(context, pf, link)
    if link.is_loopback:
        owner = f"uplink {link.name}: is the host's loopback"
    if owner:
        raise Conflict(owner)
    if pf.found is None or (pf.found.boot_id, pf.found.ifindex) != (boot_id(), link.ifindex):
        found = found_again(pf.found, as_found(context.links, link))
        commit(context, Change(pfs={pf.spec.name: replace(pf.entry, found=found)}), [])
    take(context, pf, link)


def give_back(context: Context, pf: PhysicalFunction) -> None:
    """Takes our programs off the netdev and makes it what it was; the PF goes on without a wire."""
    link = resolve(context.links, pf, is_held(context, pf))
    context.hooks.detach_all(link_name(pf), link.ifindex if link else 0)
    pf.uplink, pf.is_awaited = None, False
    context.inventory.claim_uplink(pf)
    publish_uplink(context, pf)
    if link and pf.found:
        try:
            restore(context.links, link, pf.found)
        except HostError as error:
            _log.warning("uplink %s of %s: could not be made all that it was: %s", link.name, pf.spec.name, error)
    context.marks.forget_found(pf.number)


def _attach_xdp(context: Context, pf: PhysicalFunction, link: Link) -> XdpMode:
    """A driver without XDP is served by tc alone: generic XDP is slower than tc, and does not see a tag that the kernel took off
    below the device, so that a tagged frame would pass for an untagged one. Nor does a veth whose MTU allows frames that XDP
    must not take on this kernel."""
    hooks, name = context.hooks, link_name(pf)
    problem = xdp_problem(link.mtu_bytes, context.jumbo_xdp) if link.kind == "veth" else None
    if problem:
        hooks.detach_xdp(name)
        _log.warning("uplink %s of %s: no XDP: %s; its frames take tc, which is slower", link.name, pf.spec.name, problem)
        return XdpMode.NONE
    try:
        hooks.attach_xdp(name, programs(pf)[1], link.ifindex)
    except DataPathError as error:
        if libbpf.error_number(error) in _OCCUPIED:
            text = f"uplink {link.name} of {pf.spec.name}: XDP cannot be attached: {error}"
            raise Conflict(f"{text}; `ip link show {link.name}` tells whether another program is there") from error
        hooks.detach_xdp(name)  # an earlier build's program may still be there, with its own maps
        _log.warning("uplink %s of %s: no native XDP (%s); its frames take tc, which is slower", link.name, pf.spec.name, error)
        return XdpMode.NONE
    attached = context.links.find(link.ifindex)
    if attached and attached.runs_generic_xdp:  # by an earlier version, and a link keeps its mode
        hooks.detach_xdp(name)
        return XdpMode.NONE
    return XdpMode.NATIVE


def missing_hooks(context: Context, pf: PhysicalFunction) -> list[str]:
    """Programs that must run on the uplink and do not, as the kernel says. Raises DataPathError, HostError."""
    assert pf.uplink is not None
    tc_program, xdp_program = programs(pf)
    wanted_xdp = xdp_program if pf.uplink.xdp_mode is XdpMode.NATIVE else None
    return context.hooks.missing(link_name(pf), tc_program, wanted_xdp, pf.uplink.ifindex)


def enforce(context: Context, pf: PhysicalFunction) -> None:
    """Puts back what somebody took off the uplink. Raises DataPathError, HostError, PfError."""
    assert pf.uplink is not None
    tc_program = programs(pf)[0]
    missing, xdp_program = missing_hooks(context, pf), programs(pf)[1] if pf.uplink.xdp_mode is XdpMode.NATIVE else None
    link = context.links.find(pf.uplink.ifindex) if missing else None
    if link:
        context.hooks.settle(link_name(pf), tc_program, link.ifindex, is_ours=False)
        pf.uplink.xdp_mode = _attach_xdp(context, pf, link)
        publish_uplink(context, pf)
        text = "uplink %s of %s: %s was not on it any more; attached again"
        _log.error(text, pf.spec.uplink, pf.spec.name, " and ".join(missing))
    elif not missing:
        context.hooks.pin_again(link_name(pf), tc_program, xdp_program, pf.uplink.ifindex)


def follow(context: Context, pf: PhysicalFunction, link: Link | None) -> None:
    """The netdev as it is now, as the kernel says: an event only says that something changed."""
    assert pf.uplink is not None
    if link is None or (pf.found and pf.found.boot_id and not is_same(pf.spec, pf.found, link, is_held(context, pf))):
        lost(context, pf)  # a device that was made with its number is another one
        return
    if link.name != pf.spec.uplink:
        take_up_name(context, pf, link.name)
    if link.mtu_bytes != pf.uplink.mtu_bytes:
        pf.uplink.mtu_bytes = link.mtu_bytes
        if link.kind == "veth":  # its MTU decides whether XDP may run on it
            pf.uplink.xdp_mode = _attach_xdp(context, pf, link)
        publish_uplink(context, pf)
    if link.answers and pf.uplink.is_silenced:  # IPv6 begins anew on a device whose MTU was below 1280
        context.links.silence(link.name, link.ifindex)
    if not link.is_promiscuous:
        _log.warning("uplink %s of %s: was made deaf to all but its own address; it hears all again", link.name, pf.spec.name)
        context.links.set_promiscuous(link.ifindex, is_on=True)
    _note_troubles(context, pf, link)
    mac = MacAddress.parse(link.mac) if link.mac else pf.uplink.mac
    if (pf.uplink.has_carrier, pf.uplink.mac) != (link.has_carrier, mac):
        has_other_mac = pf.uplink.mac != mac
        pf.uplink.has_carrier, pf.uplink.mac = link.has_carrier, mac
        if has_other_mac:
            _claim_address(context, pf)
        publish_uplink(context, pf)


def _note_troubles(context: Context, pf: PhysicalFunction, link: Link) -> None:
    """What is new is told, and what is over."""
    assert pf.uplink is not None
    found = troubles(link, _master_of(context, link), context.inventory.mtu_bytes(pf.spec.name))
    for trouble in found:
        if trouble not in pf.uplink.troubles:
            _log.warning("uplink %s of %s: %s; %s", link.name, pf.spec.name, trouble.observed, trouble.remedy)
    for trouble in pf.uplink.troubles:
        if trouble not in found:
            _log.info("uplink %s of %s: is in order again; it was told that it %s", link.name, pf.spec.name, trouble.observed)
    pf.uplink.troubles = found


def _claim_address(context: Context, pf: PhysicalFunction) -> None:
    """The uplink's address is the host's, whoever of the guests was granted it while it was free: commit() ends such a grant. An
    admin MAC that is the same stays, is told, and gets no frames."""
    assert pf.uplink is not None
    context.inventory.claim_uplink(pf)
    vfs = context.inventory.vfs_of_pf(pf.spec.name)
    for vf in vfs:
        if pf.uplink.mac == vf.state.admin_mac:
            text = "%s: its admin MAC %s is the address of uplink %s now, whose frames are the host's; give it another"
            _log.error(text, vf.address, vf.state.admin_mac, pf.spec.uplink)
    if any(pf.uplink.mac in vf.state.unicast - {vf.state.admin_mac} for vf in vfs):
        commit(context, Change(pfs={pf.spec.name: pf.entry}), [])
    publish_ports(context, vfs)


def take_up_name(context: Context, pf: PhysicalFunction, name: str) -> None:
    """The netdev was renamed; it is still the uplink."""
    _log.warning("uplink %s of %s: is called %s now; the PF follows", pf.spec.uplink, pf.spec.name, name)
    commit(context, Change(pfs={pf.spec.name: replace(pf.entry, spec=replace(pf.spec, uplink=name))}), [])


def use_by_host(links: Links, link: Link | None) -> UseByHost:
    """Of an uplink; a device that is gone is of no use."""
    if link is None:
        return UseByHost(has_address=False, vlans=frozenset())
    return UseByHost(has_address=links.has_address(link.ifindex), vlans=links.vlans_above(link.name))


def follow_host(context: Context, pf: PhysicalFunction, use: UseByHost) -> None:
    """The host got its first address on the netdev, or lost its last: it hears floods from the wire while it has one. Or a VLAN
    device came or went above it. What the host does with IPv6 there stays as it was when the uplink was taken."""
    assert pf.uplink is not None
    if use != UseByHost(has_address=pf.uplink.serves_host, vlans=pf.uplink.host_vlans):
        pf.uplink.serves_host, pf.uplink.host_vlans = use.has_address, use.vlans
        publish_uplink(context, pf)


def lost(context: Context, pf: PhysicalFunction) -> None:
    """The netdev was deleted. VF to VF goes on; the PF waits for a device of that name."""
    _log.warning(
        "uplink %s of %s: the device is gone; frames to the wire are dropped until it is back", pf.spec.uplink, pf.spec.name
    )
    ifindex = pf.uplink.ifindex if pf.uplink else 0
    pf.uplink = None
    context.hooks.detach_all(link_name(pf), ifindex)
    context.tables.clear_port(pf.number)
    context.inventory.claim_uplink(pf)
    publish_uplink(context, pf)
