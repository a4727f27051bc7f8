"""The uplink of a PF: taking a netdev over, following its carrier, and giving it back as it was."""

import contextlib
import errno
import json
import logging

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.host import features
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link
from sriov_xdp.host.monitor import LinkChange
from sriov_xdp.pf import attachments
from sriov_xdp.pf.context import Context
from sriov_xdp.pf.errors import Conflict, Invalid, PfError
from sriov_xdp.pf.images import uplink_image
from sriov_xdp.pf.intent import PfSpec
from sriov_xdp.pf.inventory import PhysicalFunction, UplinkState, XdpMode
from sriov_xdp.pf.modes import xdp_problem
from sriov_xdp.vswitch.address import MacAddress

_log = logging.getLogger("sriov_xdp.pf")
_IFF_PROMISC = 0x100
_OCCUPIED = (errno.EBUSY, errno.EEXIST)
_OFFLOADS = {features.RX_VLAN: False, features.TX_VLAN: False}  # a tag taken off by hardware is lost behind XDP


def pf_to_text(pf: PhysicalFunction) -> str:
    """For the store; with what the uplink was like before, to give it back so."""
    before = pf.uplink.features_before if pf.uplink else {}
    document = {"number": pf.number, "uplink": pf.spec.uplink, "num_vfs": pf.spec.num_vfs, "features_before": before}
    return json.dumps(document)


def pf_from_text(name: str, text: str) -> tuple[PhysicalFunction, dict[str, bool]]:
    """The reverse: the PF, its uplink not yet taken, and the uplink's former features."""
    document = json.loads(text)
    spec = PfSpec(name=name, uplink=document["uplink"], num_vfs=document["num_vfs"])
    return PhysicalFunction(spec=spec, number=document["number"]), document["features_before"]


def link_name(pf: PhysicalFunction) -> str:
    """Of the uplink's pinned links."""
    return f"uplink{pf.number}"


def check(context: Context, spec: PfSpec, mtu_bytes: int) -> str | None:
    """Why a netdev cannot be this PF's uplink; None when it can."""
    if spec.uplink is None:
        return None
    try:
        link = context.links.by_name(spec.uplink)
    except HostError as error:
        return f"PF {spec.name}: uplink: {error}"
    for other in context.inventory.pfs.values():
        if other.spec.uplink == spec.uplink and other.spec.name != spec.name:
            return f"PF {spec.name}: uplink {spec.uplink} already belongs to PF {other.spec.name}; use another device"
    if link.mtu_bytes < mtu_bytes:
        need = f"`ip link set {spec.uplink} mtu {mtu_bytes}` or lower the switch's mtu"
        return f"PF {spec.name}: uplink {spec.uplink} has MTU {link.mtu_bytes}, its switch needs {mtu_bytes}; {need}"
    return None


def take(context: Context, pf: PhysicalFunction, features_before: dict[str, bool] | None = None) -> None:
    """Makes the configured netdev the PF's uplink. features_before: from the store when we had it already."""
    if pf.spec.uplink is None:
        _program(context, pf)
        return
    link = context.links.by_name(pf.spec.uplink)
    changed = features.write(link.name, _OFFLOADS)
    context.links.change(link.ifindex, state="up", flags=_IFF_PROMISC, change=_IFF_PROMISC)
    serves_host = context.links.has_address(link.ifindex)
    if not serves_host:
        context.links.silence(link.name, link.ifindex)
    pf.uplink = UplinkState(
        ifindex=link.ifindex,
        mac=MacAddress.parse(link.mac),
        mtu_bytes=link.mtu_bytes,
        has_carrier=link.has_carrier,
        serves_host=serves_host,
        is_silenced=not serves_host,
        xdp_mode=XdpMode.NATIVE if attachments.has_xdp(context, link_name(pf)) else XdpMode.NONE,  # until it is attached
        features_before=features_before or changed,
    )
    try:
        context.inventory.claim_uplink(pf)
        _program(context, pf)
        attachments.attach_tc(context, link_name(pf), f"tc_uplink_{pf.number}", link.ifindex)
        pf.uplink.xdp_mode = _attach_xdp(context, pf, link)
        _program(context, pf)
    except (HostError, DataPathError, PfError):
        give_back(context, pf)
        raise


def _attach_xdp(context: Context, pf: PhysicalFunction, link: Link) -> XdpMode:
    """A driver without XDP is served by tc alone: generic XDP is slower than tc, and does not see a tag that the kernel took off
    below the device, so that a tagged frame would pass for an untagged one. Nor does a veth whose MTU allows frames that XDP
    must not take on this kernel."""
    problem = xdp_problem(link.mtu_bytes, context.jumbo_xdp) if link.kind == "veth" else None
    if problem:
        attachments.detach_xdp(context, link_name(pf))
        _log.warning("uplink %s of %s: no XDP: %s; its frames take tc, which is slower", link.name, pf.spec.name, problem)
        return XdpMode.NONE
    try:
        attachments.attach_xdp(context, link_name(pf), f"xdp_uplink_{pf.number}", link.ifindex)
    except DataPathError as error:
        if libbpf.error_number(error) in _OCCUPIED:
            text = f"uplink {link.name} of {pf.spec.name}: XDP cannot be attached: {error}"
            raise Conflict(f"{text}; `ip link show {link.name}` tells whether another program is there") from error
        attachments.detach_xdp(context, link_name(pf))  # an earlier build's program may still be there, with its own maps
        _log.warning("uplink %s of %s: no native XDP (%s); its frames take tc, which is slower", link.name, pf.spec.name, error)
        return XdpMode.NONE
    attached = context.links.find(link.ifindex)
    if attached and attached.runs_generic_xdp:  # by an earlier version, and a link keeps its mode
        attachments.detach_xdp(context, link_name(pf))
        return XdpMode.NONE
    return XdpMode.NATIVE


def _program(context: Context, pf: PhysicalFunction) -> None:
    context.tables.put_port(pf.number, uplink_image(context.inventory, pf))


def refresh(context: Context, pf: PhysicalFunction) -> None:
    """After a change of what the uplink's port says."""
    _program(context, pf)


def give_back(context: Context, pf: PhysicalFunction) -> None:
    """Takes our programs off the netdev and restores what we changed."""
    if pf.uplink is None:
        context.tables.clear_port(pf.number)
        return
    attachments.detach_all(context, link_name(pf), pf.uplink.ifindex)
    context.tables.clear_port(pf.number)
    with contextlib.suppress(HostError):
        context.links.change(pf.uplink.ifindex, flags=0, change=_IFF_PROMISC)
        if pf.spec.uplink and pf.uplink.is_silenced:
            context.links.unsilence(pf.spec.uplink, pf.uplink.ifindex)
        if pf.spec.uplink and pf.uplink.features_before:
            features.write(pf.spec.uplink, pf.uplink.features_before)
    pf.uplink = None
    context.inventory.claim_uplink(pf)


def follow(context: Context, pf: PhysicalFunction, change: LinkChange) -> None:
    """Carrier and address of the netdev as they are now."""
    assert pf.uplink is not None
    if change.mtu_bytes != pf.uplink.mtu_bytes:
        _follow_mtu(context, pf)
    mac = MacAddress.parse(change.mac) if change.mac else pf.uplink.mac
    if (pf.uplink.has_carrier, pf.uplink.mac) != (change.has_carrier, mac):
        pf.uplink.has_carrier, pf.uplink.mac = change.has_carrier, mac
        context.inventory.claim_uplink(pf)
        _program(context, pf)


def _follow_mtu(context: Context, pf: PhysicalFunction) -> None:
    """A veth's MTU decides whether XDP may run on it; what tells is the device as it is now, not the event."""
    assert pf.uplink is not None
    link = context.links.find(pf.uplink.ifindex)
    if link is None:
        return
    pf.uplink.mtu_bytes = link.mtu_bytes
    if link.kind == "veth":
        pf.uplink.xdp_mode = _attach_xdp(context, pf, link)
        _program(context, pf)


def follow_addresses(context: Context, pf: PhysicalFunction) -> None:
    """The host got its first address on the netdev, or lost its last: it hears floods from the wire while it has one. What the
    host does with IPv6 there stays as it was when the uplink was taken."""
    assert pf.uplink is not None
    serves_host = context.links.has_address(pf.uplink.ifindex)
    if serves_host != pf.uplink.serves_host:
        pf.uplink.serves_host = serves_host
        _program(context, pf)


def lost(context: Context, pf: PhysicalFunction) -> None:
    """The netdev was deleted. VF to VF goes on; the PF waits for a device of that name."""
    _log.warning(
        "uplink %s of %s: the device is gone; frames to the wire are dropped until it is back", pf.spec.uplink, pf.spec.name
    )
    ifindex = pf.uplink.ifindex if pf.uplink else 0
    pf.uplink = None
    attachments.detach_all(context, link_name(pf), ifindex)
    context.tables.clear_port(pf.number)
    context.inventory.claim_uplink(pf)
    _program(context, pf)


def found(context: Context, pf: PhysicalFunction) -> None:
    """A device of the uplink's name appeared."""
    try:
        take(context, pf)
        _log.info("uplink %s of %s: taken", pf.spec.uplink, pf.spec.name)
    except (HostError, DataPathError, PfError, Invalid) as error:
        _log.warning("uplink %s of %s: cannot be taken: %s", pf.spec.uplink, pf.spec.name, error)
