"""The life of a VF: attach, detach, unplugged by its guest, reset by the operator, and adopted after a restart.

Each step has its undo beside it; a failure half-way leaves the VF free and nothing on the host.
"""

import contextlib
import json
import logging
from dataclasses import replace
from pathlib import Path

from sriov_xdp.datapath.abi import MAX_FDB_ENTRIES
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.pf import attachments, representors, uplinks
from sriov_xdp.pf.context import Actor, Context, record_of
from sriov_xdp.pf.errors import Conflict, Invalid, PfError, Refused
from sriov_xdp.pf.images import member_lists, slot_of, vf_image
from sriov_xdp.pf.intent import (
    AdapterSpec,
    Attachment,
    Datapath,
    LinkState,
    VfAddress,
    attachment_to_text,
)
from sriov_xdp.pf.inventory import AttachedVf
from sriov_xdp.pf.modes import active_datapath, pinned_problem, xdp_problem
from sriov_xdp.store.audit import Outcome
from sriov_xdp.store.database import Change
from sriov_xdp.store.errors import StoreError
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import Device, admin_mac_problem

_log = logging.getLogger("sriov_xdp.pf")
_MACHINE_ID = Path("/etc/machine-id")
FAULTS = (HostError, DataPathError, PfError, StoreError, OSError)


def mode_of(context: Context, attached: AttachedVf) -> tuple[Datapath, str]:
    """The program kind that the VF should have now, and why."""
    return active_datapath(
        attached.attachment.spec.datapath,
        guest_runs_xdp=attached.guest_runs_xdp,
        mtu_bytes=context.inventory.mtu_bytes(attached.address.pf),
        jumbo=context.jumbo_xdp,
    )


def default_mac(spec: AdapterSpec) -> MacAddress:
    """The same for the same adapter on the same machine."""
    machine = _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else ""
    return MacAddress.stable_local(f"{machine}/{spec.guest}/{spec.interface}")


def attach(context: Context, spec: AdapterSpec, vf: VfAddress | None, actor: Actor) -> AttachedVf:
    """Gives a VF (a free one when none is named) to a guest. Raises PfError, HostError, DataPathError; then nothing
    changed."""
    switch, group = context.inventory.group(spec.port_group)
    vf = vf or context.inventory.free_vf(switch.pf)
    _validate(context, spec, vf, switch.pf)
    with contextlib.ExitStack() as undo:
        netns_is_ours = _ensure_namespace(context, spec.netns, undo)
        attachment = _plan_attachment(context, spec, vf, netns_is_ours)
        attached = _new_vf(context, attachment, None)
        _check_room(context, attached)
        _validate_mac(context, attached)
        mtu_bytes = context.inventory.mtu_bytes(vf.pf)
        representors.create(context.links, attachment, group.vlan, mtu_bytes, context.instance)
        undo.callback(context.links.delete, attachment.ifindex)
        record = record_of(str(vf), spec.guest, actor, f"attach {spec.interface}", Outcome.GRANTED, after=_describe(attachment))
        change = Change(kind="attachment", name=str(vf), body=attachment_to_text(attachment))
        context.database.write_intent([change], [record], {"generation": str(attachment.generation)})
        undo.callback(context.database.write_intent, [replace(change, body=None)], [])
        _enter_service(context, attached, undo)
        undo.pop_all()
    _log.info("%s attached: guest %s, %s in %s, port group %s", vf, spec.guest, spec.interface, spec.netns, spec.port_group)
    return attached


def _validate(context: Context, spec: AdapterSpec, vf: VfAddress, group_pf: str) -> None:
    context.inventory.require_vf(vf)
    if vf.pf != group_pf:
        raise Conflict(f"VF {vf}: port group {spec.port_group} is on the switch of PF {group_pf}; name one of its VFs")
    if vf in context.inventory.vfs:
        guest = context.inventory.vfs[vf].attachment.spec.guest
        raise Conflict(f"VF {vf}: attached to guest {guest}; detach it first or name a free one")
    other = context.inventory.adapter(spec.guest, spec.interface)
    if other:
        raise Conflict(f"adapter {spec.interface} of guest {spec.guest}: is VF {other.address} already; choose another --ifname")
    problem = pinned_problem(
        f"adapter {spec.interface} of guest {spec.guest}", spec.datapath, context.inventory.mtu_bytes(vf.pf), context.jumbo_xdp
    )
    if problem:
        raise Refused(problem)
    if namespaces.identity(spec.netns) is not None and namespaces.is_own(spec.netns):
        raise Invalid(f"namespace {spec.netns}: is the host's own; a guest needs its own namespace")


def _check_room(context: Context, attached: AttachedVf) -> None:
    """Flood lists need no check: a host has no more VLANs in use than ports, and a PF no more VFs than a list holds."""
    if not context.tables.has_room_for(len(attached.device.unicast)):
        raise Conflict(f"FDB: all {MAX_FDB_ENTRIES} entries of this host are in use; detach a VF or remove filters")


def _validate_mac(context: Context, attached: AttachedVf) -> None:
    owners = context.inventory.pf(attached.address.pf).owners
    vlan = context.inventory.vlan(attached)
    problem = admin_mac_problem(attached.device.admin_mac, str(attached.address), vlan, owners)
    if problem:
        raise Conflict(f"VF {attached.address}: admin MAC: {problem}")


def _ensure_namespace(context: Context, name: str, undo: contextlib.ExitStack) -> bool:
    """Whether the namespace is ours to remove: made now, or for another adapter of the guest before."""
    if namespaces.identity(name) is not None:
        others = [vf.attachment for vf in context.inventory.vfs.values() if vf.attachment.spec.netns == name]
        return any(other.netns_is_ours for other in others)
    namespaces.create(name)
    undo.callback(namespaces.remove, name)
    return True


def _plan_attachment(context: Context, spec: AdapterSpec, vf: VfAddress, netns_is_ours: bool) -> Attachment:
    used = frozenset(slot_of(other) for other in context.inventory.vfs.values())
    generation = int(context.database.meta("generation") or 0) + 1
    netns_id = namespaces.identity(spec.netns)
    if netns_id is None:
        raise HostError(f"namespace {spec.netns}: was removed meanwhile")
    return Attachment(
        vf=vf,
        spec=spec,
        admin_mac=spec.mac or default_mac(spec),
        generation=generation,
        representor=representors.choose_name(context.links, vf),
        ifindex=representors.choose_ifindex(context.links, used),
        netns_is_ours=netns_is_ours,
        netns_id=netns_id,
    )


def _new_vf(context: Context, attachment: Attachment, device: Device | None) -> AttachedVf:
    fresh = Device(admin_mac=attachment.admin_mac, effective_mac=attachment.admin_mac)
    attached = AttachedVf(attachment=attachment, device=device or fresh, active=Datapath.TCX, active_reason="")
    attached.active, attached.active_reason = mode_of(context, attached)
    return attached


def _enter_service(context: Context, attached: AttachedVf, undo: contextlib.ExitStack) -> None:
    """From a pair with a stored attachment to a working VF: maps, programs, mailbox."""
    vf, attachment = attached.address, attached.attachment
    context.inventory.vfs[vf] = attached
    undo.callback(_leave_inventory, context, attached)
    context.inventory.claim(attached)
    context.tables.zero_counters(slot_of(attached))
    undo.callback(_program_members, context, vf.pf)
    undo.callback(context.tables.clear_port, slot_of(attached))
    undo.callback(context.inventory.vfs.pop, vf, None)
    context.tables.put_port(slot_of(attached), vf_image(context.inventory, attached))
    _program_members(context, vf.pf)
    undo.callback(attachments.detach_all, context, str(vf), attachment.ifindex)
    _attach_programs(context, attached)
    apply_link_state(context, attached)
    context.mailboxes.open(vf, attachment.spec.netns)
    undo.callback(context.mailboxes.close, vf)


def _attach_programs(context: Context, attached: AttachedVf) -> None:
    attachments.attach_vf_tc(context, attached.address, attached.attachment.ifindex)
    if attached.active is Datapath.XDP:
        _enter_xdp(context, attached)


def _leave_inventory(context: Context, attached: AttachedVf) -> None:
    context.inventory.vfs.pop(attached.address, None)
    context.inventory.pf(attached.address.pf).owners.release(str(attached.address))


def _program_members(context: Context, pf_name: str) -> None:
    """Flood lists and the PF's own port, which depend on all its VFs."""
    pf = context.inventory.pf(pf_name)
    context.tables.put_members(pf.number, member_lists(context.inventory, pf))
    uplinks.refresh(context, pf)


def program_all_of(context: Context, attached: AttachedVf) -> None:
    """After a change of VLAN or membership of one port."""
    context.inventory.claim(attached)
    context.tables.put_port(slot_of(attached), vf_image(context.inventory, attached))
    _program_members(context, attached.address.pf)
    representors.set_guest_alias(attached.attachment, context.inventory.vlan(attached))


def detach(context: Context, vf: VfAddress, actor: Actor, request: str = "detach") -> None:
    """Takes a VF back from its guest, with its interface; the VF is free again. Raises PfError, StoreError."""
    attached = context.inventory.attached(vf)
    spec = attached.attachment.spec
    record = record_of(str(vf), spec.guest, actor, request, Outcome.GRANTED, before=_describe(attached.attachment))
    context.database.write_intent([Change(kind="attachment", name=str(vf), body=None)], [record])
    context.database.write_granted(str(vf), None, None)
    context.mailboxes.close(vf)
    context.tables.clear_port(slot_of(attached))
    _leave_inventory(context, attached)
    _program_members(context, vf.pf)
    attachments.detach_all(context, str(vf), attached.attachment.ifindex)
    context.links.delete(attached.attachment.ifindex)
    is_shared = any(other.attachment.spec.netns == spec.netns for other in context.inventory.vfs.values())
    if attached.attachment.netns_is_ours and not is_shared and namespaces.identity(spec.netns) == attached.attachment.netns_id:
        namespaces.remove(spec.netns)
    _log.info("%s free: %s by guest %s", vf, request, spec.guest)


def reset(context: Context, attached: AttachedVf) -> None:
    """Effective := admin, guest-made filters gone, every connection starts over. The record is the caller's."""
    attached.device = attached.device.after_reset()
    context.inventory.claim(attached)
    context.tables.put_port(slot_of(attached), vf_image(context.inventory, attached))
    context.mailboxes.reset(attached.address)


def apply_link_state(context: Context, attached: AttachedVf) -> None:
    """A disabled VF's guest sees no carrier."""
    is_up = attached.attachment.link_state is not LinkState.DISABLE
    context.links.change(attached.attachment.ifindex, state="up" if is_up else "down")


def follow_mtu(context: Context, attached: AttachedVf) -> None:
    """Both ends of a working VF take the switch's MTU. A guest that cannot (its own XDP program may forbid it) keeps the
    others from nothing; it is asked again when all devices are looked at. XDP goes before a larger MTU comes."""
    mtu_bytes = context.inventory.mtu_bytes(attached.address.pf)
    if attached.active is Datapath.XDP and xdp_problem(mtu_bytes, context.jumbo_xdp):
        set_active(context, attached, *mode_of(context, attached))
    try:
        context.links.change(attached.attachment.ifindex, mtu=mtu_bytes)
        representors.set_guest_mtu(attached.attachment, mtu_bytes)
    except HostError as error:
        _log.warning("%s: MTU %d cannot be set yet: %s", attached.address, mtu_bytes, error)
    set_active(context, attached, *mode_of(context, attached))


def guest_xdp_changed(context: Context, attached: AttachedVf, *, guest_runs_xdp: bool) -> None:
    """The guest attached a program to its end, or took it off. First of all its frames must pass through the program, in
    every mode; then an automatic VF changes its own."""
    attached.guest_runs_xdp = guest_runs_xdp
    context.tables.put_port(slot_of(attached), vf_image(context.inventory, attached))
    representors.set_checksum_for_guest_program(attached.attachment, is_needed=guest_runs_xdp)
    set_active(context, attached, *mode_of(context, attached))


def set_active(context: Context, attached: AttachedVf, active: Datapath, reason: str) -> None:
    """Moves a working VF to the other kind of program. The tc program stays throughout, so no frame finds the port
    without a policy; at most those in flight are lost."""
    if attached.active is active:
        attached.active_reason = reason
        return
    vf = attached.address
    if active is Datapath.XDP:
        _enter_xdp(context, attached)
    else:
        attachments.detach_xdp(context, str(vf))
        representors.leave_xdp(attached)
    attached.active, attached.active_reason = active, reason
    context.mode_switches[vf] = context.mode_switches.get(vf, 0) + 1
    _log.info("%s: data path is %s now: %s", vf, active, reason)


def _enter_xdp(context: Context, attached: AttachedVf) -> None:
    """Refuses while the representor's MTU, which is what keeps longer frames out, is still too large for it."""
    ifindex = attached.attachment.ifindex
    link = context.links.find(ifindex)
    problem = xdp_problem(link.mtu_bytes, context.jumbo_xdp) if link else None
    if problem:
        raise HostError(f"representor {attached.attachment.representor}: no XDP yet: {problem}")
    representors.enter_xdp(attached)
    try:
        attachments.attach_vf_xdp(context, attached.address, ifindex)
    except DataPathError:
        representors.leave_xdp(attached)
        raise


def adopt(context: Context, attachment: Attachment, granted: str | None, is_after_boot: bool) -> bool:
    """Takes up a stored attachment: as it stands after a restart, made anew after a boot. False: its guest unplugged it
    meanwhile, and it is to be detached once all others are in service, which it must not disturb."""
    attached = _new_vf(context, attachment, _device_from_text(attachment, granted))
    context.inventory.vlan(attached)  # a group that is missing is found out before the VF is anybody's
    if is_after_boot:
        _restore(context, attached)
        return True
    context.inventory.vfs[attachment.vf] = attached
    context.inventory.claim(attached)
    link = context.links.find(attachment.ifindex)
    if link is None or link.name != attachment.representor or namespaces.identity(attachment.spec.netns) != attachment.netns_id:
        return False
    attached.has_carrier = link.has_carrier
    attached.guest_runs_xdp = link.peer_runs_xdp
    attached.active, attached.active_reason = mode_of(context, attached)
    return True


def _restore(context: Context, attached: AttachedVf) -> None:
    """After a boot the namespace and the pair are made anew; the VF starts from its admin settings."""
    spec = attached.attachment.spec
    with contextlib.ExitStack() as undo:
        is_ours = _ensure_namespace(context, spec.netns, undo)
        fresh = _plan_attachment(context, spec, attached.address, is_ours)
        kept = attached.attachment
        attachment = replace(fresh, admin_mac=kept.admin_mac, link_state=kept.link_state, overrides=kept.overrides)
        attached.attachment = attachment
        mtu_bytes = context.inventory.mtu_bytes(attached.address.pf)
        representors.create(context.links, attachment, context.inventory.vlan(attached), mtu_bytes, context.instance)
        undo.callback(context.links.delete, attachment.ifindex)
        change = Change(kind="attachment", name=str(attached.address), body=attachment_to_text(attachment))
        context.database.write_intent([change], [], {"generation": str(attachment.generation)})
        context.inventory.vfs[attached.address] = attached
        context.inventory.claim(attached)
        undo.pop_all()


def resume(context: Context, attached: AttachedVf) -> None:
    """The second half of adoption, once maps and uplinks are there: mailbox and programs. May be tried again."""
    if not context.mailboxes.is_open(attached.address):
        context.mailboxes.open(attached.address, attached.attachment.spec.netns)
    _attach_programs(context, attached)
    if attached.active is not Datapath.XDP:
        attachments.detach_xdp(context, str(attached.address))
    apply_link_state(context, attached)


def device_to_text(device: Device) -> str:
    """What a guest was granted, for the store."""
    return json.dumps({"effective_mac": str(device.effective_mac), "filters": sorted(str(mac) for mac in device.filters)})


def _device_from_text(attachment: Attachment, text: str | None) -> Device | None:
    if text is None:
        return None
    document = json.loads(text)
    return Device(
        admin_mac=attachment.admin_mac,
        effective_mac=MacAddress.parse(document["effective_mac"]),
        filters=frozenset(MacAddress.parse(mac) for mac in document["filters"]),
    )


def _describe(attachment: Attachment) -> str:
    spec = attachment.spec
    return f"{spec.guest}/{spec.interface} in {spec.port_group}, MAC {attachment.admin_mac}, datapath {spec.datapath}"
