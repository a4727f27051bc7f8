"""The life of a VF: attach, detach, unplugged, and made anew after a boot.

Verbs are steps: what makes the kernel wait runs beside the writer, and one verb at a time (Turns). Intent is stored before
anything is made, what is made is marked in the same call, and a port comes up last; so a process that dies anywhere leaves what
the next start finishes or removes, and no moment in which frames enter the host past the programs. Each step has its undo
beside it.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from sriov_xdp.datapath.abi import MAX_FDB_ENTRIES, SLOT_MASK
from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links
from sriov_xdp.host.namespaces import NewNamespace
from sriov_xdp.pf.errors import Conflict, Invalid, Refused
from sriov_xdp.pf.hands import damaged, hops, leaving, live, representors
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import SELF, Actor, Context, Steps, record_of
from sriov_xdp.pf.hands.hooks import VF_TC
from sriov_xdp.pf.hands.plugs import plug_of
from sriov_xdp.pf.hands.publish import publish_ports, start_counters, withdraw_port
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.device_marks import group_of, is_of
from sriov_xdp.pf.state.images import slot_of
from sriov_xdp.pf.state.intent import NAMESPACE_NAME, AdapterSpec, Attachment, VfAddress
from sriov_xdp.pf.state.intent_text import MOST_GENERATION
from sriov_xdp.pf.state.modes import pinned_problem
from sriov_xdp.pf.verbs import connecting, ports
from sriov_xdp.store.audit import Outcome
from sriov_xdp.store.errors import StoreError
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import address_form_problem
from sriov_xdp.vswitch.ports import PortName, port_mtu_bytes

_log = logging.getLogger("sriov_xdp.pf")
_MACHINE_ID = Path("/etc/machine-id")


def default_mac(spec: AdapterSpec) -> MacAddress:
    """The same for the same adapter on the same machine."""
    machine = _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else ""
    return MacAddress.stable_local(f"{machine}/{spec.guest}/{spec.interface}")


def attach(
    context: Context, spec: AdapterSpec, vf: VfAddress | None, actor: Actor, *, needs_mailbox: bool = True
) -> Steps[AttachedVf]:
    """Gives a VF (a free one when none is named) to a guest. needs_mailbox False: where its name is taken in the guest, that is
    tried again. Raises PfError, HostError, DataPathError, StoreError; then nothing changed."""
    switch, _group = context.inventory.group(spec.port_group)
    lost = damaged.vfs(context)
    vf = vf or context.inventory.free_vf(switch.pf, lost)
    if vf in lost:
        damaged.require_none(context, f"VF {vf}")
    spec = connecting.placed(context.inventory, spec)
    _validate(context, spec, vf, switch.pf)
    with _new_namespace(spec.netns) as new_namespace, contextlib.ExitStack() as undo:
        attachment = _plan_attachment(context, spec, vf, new_namespace)
        record = record_of(
            context,
            str(vf),
            spec.guest,
            actor,
            f"attach {spec.interface}",
            Outcome.GRANTED,
            after=_describe(attachment),
            port=str(PortName(switch.name, spec.number or 0)),
        )
        commit(context, Change(attachments={vf: attachment}), [record], {"generation": str(attachment.generation)})
        undo.callback(_forget, context, vf, actor)
        attached = context.inventory.attached(vf)
        yield from _plug_in(context, attached, new_namespace, undo, needs_mailbox=needs_mailbox)
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
    subject = f"adapter {spec.interface} of guest {spec.guest}"
    switch, group = context.inventory.group(spec.port_group)
    mtu_bytes = port_mtu_bytes(switch, group, spec.overrides_in(group))
    problem = pinned_problem(subject, spec.datapath, mtu_bytes, context.jumbo_xdp)
    if problem:
        raise Refused(problem)
    check_admin_mac(subject, spec.mac)
    ports.check_overrides(group, subject, spec.overrides)
    validate_namespace(spec.netns)
    if not context.tables.has_room_for(1):
        raise Conflict(f"FDB: all {MAX_FDB_ENTRIES} entries of this host are in use; detach a VF or remove filters")


def validate_namespace(netns: str) -> None:
    """Raises Invalid for one that no guest can have."""
    identity = namespaces.identity(netns)
    if identity is None and netns.startswith("/"):
        raise Invalid(f"namespace {netns}: not found; a path must be that of a namespace that lives")
    if identity is None and netns.isdigit():
        raise Invalid(f"namespace {netns}: no such name in {namespaces.NAMED}; a process's namespace is named by --pid {netns}")
    if identity is not None and not namespaces.is_network(netns):
        raise Invalid(f"namespace {netns}: what is there is no network namespace; name one, or a process by --pid")
    if identity is not None and namespaces.is_own(netns):
        raise Invalid(f"namespace {netns}: is the host's own; a guest needs its own namespace")


def check_admin_mac(subject: str, mac: MacAddress | None) -> None:
    """Raises Conflict for one that no interface can have."""
    problem = address_form_problem(mac) if mac else None
    if problem:
        raise Conflict(f"{subject}: admin MAC: {problem}")


@contextlib.contextmanager
def _new_namespace(name: str) -> Iterator[NewNamespace | None]:
    """One without a name yet, when there is none of that name; it stays when it got one meanwhile."""
    if namespaces.identity(name) is not None:
        yield None
        return
    made = NewNamespace()
    try:
        yield made
    finally:
        made.close()


def _plan_attachment(context: Context, spec: AdapterSpec, vf: VfAddress, new_namespace: NewNamespace | None) -> Attachment:
    """Asks the kernel for nothing: name and number are free but for a rare chance, which create() meets."""
    used = frozenset(slot_of(other) for other in context.inventory.vfs.values()) | damaged.slots(context)
    used |= {ifindex & SLOT_MASK for ifindex in context.leftovers}
    generation = _next_generation(context)
    netns_id = new_namespace.identity if new_namespace else namespaces.identity(spec.netns)
    if netns_id is None:
        raise HostError(f"namespace {spec.netns}: was removed meanwhile")
    others = [other.attachment for other in context.inventory.vfs.values() if other.attachment.netns_id == netns_id]
    ours = [other.netns_cookie for other in others if other.netns_is_ours]
    if new_namespace:
        ours.append(new_namespace.cookie)
    return Attachment(
        vf=vf,
        spec=spec,
        admin_mac=spec.mac or default_mac(spec),
        generation=generation,
        representor=str(vf),
        ifindex=representors.choose_ifindex(used, context.instance, generation),
        netns_is_ours=bool(ours),
        netns_id=netns_id,
        netns_cookie=ours[0] if ours else 0,
    )


def _next_generation(context: Context) -> int:
    """Where what was stored of the last one cannot be read, behind those that are in use."""
    said = context.database.meta("generation") or ""
    stored = int(said) if said.isdecimal() and int(said) < MOST_GENERATION else 0
    return max([stored, *(vf.attachment.generation for vf in context.inventory.vfs.values())]) + 1


def _plug_in(
    context: Context,
    attached: AttachedVf,
    new_namespace: NewNamespace | None,
    undo: contextlib.ExitStack,
    *,
    needs_mailbox: bool = True,
) -> Steps[None]:
    """From a stored attachment to a working VF: namespace, pair, maps, mailbox, programs, and only then up."""
    attachment, inventory = attached.attachment, context.inventory
    if new_namespace:
        new_namespace.give_name(attachment.spec.netns)
        undo.callback(leaving.remove_unused, attachment)
    vlan, mtu_bytes = inventory.vlan(attached), inventory.port_mtu_bytes(attached)
    group = group_of(context.instance, inventory.pf(attached.address.pf).number)

    def make(links: Links) -> str:
        name = plug_of(attachment).create(links, attachment, group, mtu_bytes)
        representors.prepare(plug_of(attachment), links, attachment, context.instance, vlan)
        return name

    undo.callback(_remove_pair, context, attachment)
    name = yield from live.beside(context, make)
    if name != attachment.representor:
        _log.info("%s: another device is called %s; its representor is %s", attached.address, attachment.representor, name)
        commit(context, Change(attachments={attached.address: replace(attachment, representor=name)}), [])
    undo.callback(_unplug, context, attached)
    attached.stage = Stage.CHANGING
    start_counters(context, attached.address)
    publish_ports(context, [attached])  # flood lists have it since the commit
    if inventory.egress_queue(attached):
        yield from live.keep_to_rate(context, attached)
    if inventory.ingress_queue(attached):
        yield from live.keep_to_hop(context, attached)
    undo.callback(context.mailboxes.close, attached.address)
    with contextlib.nullcontext() if needs_mailbox else contextlib.suppress(Conflict):
        context.mailboxes.open(attached.address, attachment.spec.netns)
    yield from live.put_in_service(context, attached)


def _unplug(context: Context, attached: AttachedVf) -> None:
    """The undo of a port that was published: planned again, as after a boot, with nothing of it in the maps."""
    attached.stage, attached.hop = Stage.PLANNED, None
    withdraw_port(context, attached)


def take_up_name(context: Context, attached: AttachedVf, name: str) -> None:
    """A representor with another name than the one that is stored is still the representor. Raises StoreError."""
    former = attached.attachment
    if name == former.representor:
        return
    _log.warning("representor %s of %s: is called %s now; the VF follows", former.representor, attached.address, name)
    commit(context, Change(attachments={attached.address: replace(former, representor=name)}), [])


def _forget(context: Context, vf: VfAddress, actor: Actor) -> None:
    """The undo of a stored attachment; says so in the audit."""
    if vf not in context.inventory.vfs:
        return
    spec = context.inventory.vfs[vf].attachment.spec
    record = record_of(context, str(vf), spec.guest, actor, f"attach {spec.interface}: undone", Outcome.FAILED)
    commit(context, Change(attachments={vf: None}), [record])


def _remove_pair(context: Context, attachment: Attachment) -> None:
    _remove_devices(context.links, attachment, context.instance)
    context.hooks.forget(str(attachment.vf))


def detach(context: Context, vf: VfAddress, actor: Actor, request: str = "detach", *, is_declared: bool = False) -> Steps[None]:
    """Takes a VF back from its guest, with its interface; the VF is free again. is_declared: as connecting.left_by(). Raises
    PfError, StoreError; then it is as it was."""
    attached = context.inventory.attached(vf)
    attachment, spec = attached.attachment, attached.attachment.spec
    record = record_of(context, str(vf), spec.guest, actor, request, Outcome.GRANTED, before=_describe(attachment))
    left = connecting.left_by(context, attached, is_declared=is_declared)
    commit(context, replace(left, attachments={vf: None}), [record], leaving.note(attachment))
    context.mailboxes.close(vf)
    try:
        yield from live.beside(context, partial(_remove_own, context, attachment=attachment))
    except HostError as error:  # nothing enters by it any more; it is tried again
        _log.error("%s: %s", vf, error)
        context.leftovers[attachment.ifindex] = attachment
        return
    yield from _end(context, attachment)
    _log.info("%s detached from guest %s: %s", vf, spec.guest, request)


def is_own(context: Context, link: Link, attachment: Attachment) -> bool:
    """Whether a device is the one that was made for an attachment: by its group, its alias, or our program on it, of which somebody
    may have changed two. Any other that has its number is somebody's."""
    if not plug_of(attachment).is_representor(link):
        return False
    return is_of(context.instance, link) or context.hooks.is_held(str(attachment.vf), VF_TC, link.ifindex)


def _remove_own(context: Context, links: Links, attachment: Attachment) -> None:
    link = links.find(attachment.ifindex)
    if link and not is_own(context, link, attachment):
        _log.warning("device %s: has the number of %s's, and is another one; it stays", link.name, attachment.vf)
    else:
        _remove_devices(links, attachment, context.instance)


def _remove_devices(links: Links, attachment: Attachment, instance: str) -> None:
    """Of an attachment: nothing comes any more, then nothing waits."""
    plug_of(attachment).remove(links, attachment)
    hops.remove(links, attachment.ifindex, attachment.vf, instance)


def remove_leftovers(context: Context) -> Steps[None]:
    """Pairs of former VFs that the kernel would not let go."""
    for attachment in list(context.leftovers.values()):
        yield from live.beside(context, partial(_remove_own, context, attachment=attachment))
        del context.leftovers[attachment.ifindex]
        yield from _end(context, attachment)


def _end(context: Context, attachment: Attachment) -> Steps[None]:
    """What goes after a pair."""
    if attachment.vf not in context.inventory.vfs:
        context.hooks.forget(str(attachment.vf))
    yield from leaving.remove_namespace(context, attachment)


def follow_namespace(context: Context, attached: AttachedVf) -> Steps[None]:
    """The name of a guest's namespace stands for it no more: it may have another, and is the same one then. A path that is gone is
    the end, as of a process or a container."""
    attachment = attached.attachment
    if context.inventory.vfs.get(attached.address) is not attached:
        return
    if not take_up_namespace(context, attached):
        yield from unplugged(context, attached, "namespace removed")
    elif attached.attachment != attachment:
        yield from live.follow_port(context, attached)


def take_up_namespace(context: Context, attached: AttachedVf) -> bool:
    """Whether the guest's namespace is still there: under its name, or under another one, which is taken up. Raises StoreError."""
    attachment = attached.attachment
    if namespaces.identity(attachment.spec.netns) == attachment.netns_id:
        return True
    name = namespaces.name_of(attachment.netns_id) if namespaces.is_named(attachment.spec.netns) else None
    if name is None:
        return False
    _log.warning("%s: namespace %s is called %s now; the VF follows", attached.address, attachment.spec.netns, name)
    place = name if NAMESPACE_NAME.fullmatch(name) else str(namespaces.path_of(name))  # as a configuration can say it
    renamed = replace(attachment, spec=replace(attachment.spec, netns=place))
    commit(context, Change(attachments={attached.address: renamed}), [])
    return True


def unplugged(context: Context, attached: AttachedVf, why: str) -> Steps[None]:
    """What an event said, when the kernel says it too and the VF is still of that attachment."""
    is_there = yield from is_plugged(context, attached)
    if context.inventory.vfs.get(attached.address) is not attached or is_there:
        return
    try:
        yield from detach(context, attached.address, SELF, f"unplugged: {why}")
    except StoreError as error:
        attached.stage, attached.active_reason = Stage.CHANGING, f"unplugged: {why}; not written down yet: {error}"
        raise  # it is tried again with all that is not in service


def is_plugged(context: Context, attached: AttachedVf) -> Steps[bool]:
    """Whether the kernel has this attachment's device and its guest's namespace still has its name."""
    attachment = attached.attachment
    link = yield from live.beside(context, lambda links: links.find(attachment.ifindex))
    is_ours = link is not None and is_own(context, link, attachment)
    return is_ours and namespaces.identity(attachment.spec.netns) == attachment.netns_id


def restored(attachment: Attachment, fresh: Attachment) -> Attachment:
    """After a boot: a new pair for the same adapter, with its admin MAC."""
    return replace(fresh, admin_mac=attachment.admin_mac)


def restore(context: Context, attachment: Attachment) -> Steps[AttachedVf]:
    """After a boot the namespace and the pair are made anew; the VF starts from its admin settings."""
    spec, vf = attachment.spec, attachment.vf
    validate_namespace(spec.netns)
    with _new_namespace(spec.netns) as new_namespace, contextlib.ExitStack() as undo:
        fresh = restored(attachment, _plan_attachment(context, spec, vf, new_namespace))
        commit(context, Change(attachments={vf: fresh}, states={vf: None}), [], {"generation": str(fresh.generation)})
        attached = context.inventory.attached(vf)
        yield from _plug_in(context, attached, new_namespace, undo)
        undo.pop_all()
    return attached


def _describe(attachment: Attachment) -> str:
    spec = attachment.spec
    place = f"{spec.guest}/{spec.interface} in {spec.port_group}, port {spec.number}"
    return f"{place}, MAC {attachment.admin_mac}, datapath {spec.datapath}"
