"""A whole configuration: checked as a whole, planned, and carried out.

    1  what goes          adapters are detached, then PFs, one by one: they free VFs, addresses and uplinks
    2  PFs                come and change, one by one (their uplinks are devices of the host)
    3  what changes       switches, groups, and adapters in place: one change, all or nothing
    4  what comes         adapters are attached, one by one
Mailbox requests are served in between. Where a step fails, the error says what is done and what is not; the same file goes on
from there, as a plan is always made from what is. For the pf package and the admin API.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.pf.errors import FAULTS, Conflict, Invalid, PfError
from sriov_xdp.pf.hands import damaged, uplinks
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import Actor, Context, Steps, record_of
from sriov_xdp.pf.hands.publish import withdraw_uplink
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, HostIntent, PfSpec, VfAddress
from sriov_xdp.pf.state.inventory import Change, PfEntry
from sriov_xdp.pf.state.modes import pinned_problem
from sriov_xdp.pf.state.plan import Action, Step, plan
from sriov_xdp.pf.state.validation import problems
from sriov_xdp.pf.verbs import lifecycle, operate
from sriov_xdp.store.audit import AuditRecord, Outcome
from sriov_xdp.vswitch.policy import Switch

_log = logging.getLogger("sriov_xdp.pf")
_LEAVING = (Action.REMOVE, Action.REATTACH)


def check(context: Context, wanted: HostIntent) -> list[Step]:
    """The steps that wanted needs. Raises Invalid with all problems when it cannot be had, Conflict when something that is there
    is in the way: what can be foreseen is, before anything is taken away."""
    damaged.require_none(context, "configuration")
    found = problems(wanted)
    if not found:
        found = [*_uplink_problems(context, wanted), *_pinned_problems(context, wanted)]
    if found:
        raise Invalid("\n".join(found))
    steps = plan(context.inventory.intent(), wanted)
    going = {step.before.key for step in steps if isinstance(step.before, AdapterSpec) and step.action in _LEAVING}
    in_the_way = [*_shrink_problems(context, wanted, going), *_name_problems(context, steps, going)]
    if in_the_way:
        raise Conflict("\n".join(in_the_way))
    return steps


def _shrink_problems(context: Context, wanted: HostIntent, going: set[tuple[str, str]]) -> list[str]:
    """VFs that stay attached and that their PF would have no more."""
    staying = [vf for vf in context.inventory.vfs.values() if vf.attachment.spec.key not in going]
    return [
        f"PF {pf.name}: num_vfs {pf.num_vfs}: {vf.address} is attached to guest {vf.attachment.spec.guest}; detach it first"
        for pf in wanted.pfs
        for vf in staying
        if vf.address.pf == pf.name and vf.address.index >= pf.num_vfs
    ]


def _name_problems(context: Context, steps: list[Step], going: set[tuple[str, str]]) -> list[str]:
    """Interfaces that their namespaces have already, of others; and namespaces that no guest can have."""
    found = []
    for step in steps:
        spec = step.after
        if not isinstance(spec, AdapterSpec) or step.action not in (Action.ADD, Action.REATTACH):
            continue
        try:
            lifecycle.validate_namespace(spec.netns)
            number = namespaces.interface_number(spec.netns, spec.interface) if namespaces.identity(spec.netns) else None
        except (Invalid, HostError) as error:
            found.append(f"guests: {spec.guest}: {error}")
            continue
        if number and number not in _guest_ends(context, namespaces.identity(spec.netns), going):
            text = f"guests: {spec.guest}: adapter {spec.interface}: namespace {spec.netns} has a device of that name"
            found.append(f"{text}; choose another name")
    return found


def _guest_ends(context: Context, place: tuple[int, int] | None, going: set[tuple[str, str]]) -> set[int]:
    """Numbers of interfaces that leave a namespace with what goes, whatever their guests call them."""
    attachments = [vf.attachment for vf in context.inventory.vfs.values() if vf.attachment.netns_id == place]
    links = [context.links.find(attachment.ifindex) for attachment in attachments if attachment.spec.key in going]
    return {link.peer_ifindex for link in links if link}


def _uplink_problems(context: Context, wanted: HostIntent) -> list[str]:
    mtu = {switch.pf: switch.mtu_bytes for switch in wanted.switches}
    staying = {pf.name for pf in wanted.pfs}
    found = (uplinks.check(context, pf, mtu.get(pf.name, 0), staying) for pf in wanted.pfs)
    return [problem for problem in found if problem]


def _pinned_problems(context: Context, wanted: HostIntent) -> list[str]:
    mtu_of_group = {group.name: switch.mtu_bytes for switch in wanted.switches for group in switch.port_groups}
    found = (
        pinned_problem(
            f"guests: {spec.guest}: adapter {spec.interface}", spec.datapath, mtu_of_group[spec.port_group], context.jumbo_xdp
        )
        for spec in wanted.adapters
    )
    return [problem for problem in found if problem]


def apply(context: Context, wanted: HostIntent, actor: Actor) -> Steps[list[Step]]:
    """Makes the host what wanted says. Raises PfError."""
    if context.is_applying:
        raise Conflict("apply: another configuration is being applied; try again when it is done")
    steps = check(context, wanted)
    context.is_applying = True
    done: list[Step] = []
    try:
        for part in parts_of(steps):
            try:
                yield from context.turns.take(_carry_out(context, part, actor))
            except FAULTS as error:
                raise _explained(error, done, part, len(steps)) from error
            done += part
            yield None
    finally:
        context.is_applying = False
    context.unapplied = ""
    return steps


def parts_of(steps: list[Step]) -> list[list[Step]]:
    """What is done at once: each device for itself, all that changes in place together."""
    in_place = [step for step in steps if is_in_place(step)]
    first = [step for step in steps if step.action in (Action.REMOVE, Action.REATTACH) and step.kind == "adapter"]
    pfs = [step for step in steps if step.kind == "pf" and step.action is not Action.REMOVE]
    last = [step for step in steps if step.kind == "adapter" and step.action in (Action.ADD, Action.REATTACH)]
    gone = [step for step in steps if step.kind == "pf" and step.action is Action.REMOVE]
    removals = [[replace(step, action=Action.REMOVE)] for step in first]
    additions = [[replace(step, action=Action.ADD)] for step in last]
    return [*removals, *([step] for step in gone), *([step] for step in pfs), *([in_place] if in_place else []), *additions]


def is_in_place(step: Step) -> bool:
    """Whether a step needs no device to come or go."""
    return step.kind == "switch" or (step.kind == "adapter" and step.action is Action.CHANGE)


def _explained(error: Exception, done: list[Step], failed: list[Step], count: int) -> Exception:
    """The same kind of fault, with where the plan stands."""
    if not done:
        return error
    names = ", ".join(f"{step.action} {step.kind} {step.name}" for step in done[-3:])
    what = ", ".join(f"{step.action} {step.kind} {step.name}" for step in failed[:3])
    text = f"{what}: {error}\napply: {len(done)} of {count} steps are done (last: {names}); the rest is not"
    kind = type(error) if isinstance(error, PfError) else PfError
    return kind(f"{text}; mend the cause and apply the same file again, it goes on from here")


def _carry_out(context: Context, steps: list[Step], actor: Actor) -> Steps[None]:
    step = steps[0]
    if is_in_place(step):
        yield from _change_in_place(context, steps, actor)
    elif step.kind == "pf" and step.action is Action.REMOVE:
        yield from _remove_pf(context, step.name, actor)
    elif step.kind == "pf":
        assert isinstance(step.after, PfSpec)
        yield from _put_pf(context, step.after, actor)
    elif step.action is Action.REMOVE:
        assert isinstance(step.before, AdapterSpec)
        attached = context.inventory.adapter(*step.before.key)
        if attached:
            yield from lifecycle.detach(context, attached.address, actor)
    else:
        assert isinstance(step.after, AdapterSpec)
        yield from lifecycle.attach(context, step.after, None, actor)


def _change_in_place(context: Context, steps: list[Step], actor: Actor) -> Steps[None]:
    """One change of all switches and adapters, so that what is exchanged between them meets nothing half done."""
    switches: dict[str, Switch | None] = {}
    records: list[AuditRecord] = []
    for step in steps:
        if step.kind == "switch":
            before, after = context.inventory.switches.get(step.name), step.after
            assert after is None or isinstance(after, Switch)
            switches[step.name] = after
            records.append(operate.switch_record(context, before, after, actor))
    present = [switch for switch in switches.values() if switch]
    _check_groups(context, switches, steps)
    mtus = {switch.pf: context.inventory.mtu_bytes(switch.pf) for switch in present}
    vlans = operate.vlans_of_ports(context)
    former = {vf.address: (vf.attachment, vf.device) for vf in context.inventory.vfs.values()}
    attachments = _changed_attachments(context, steps, switches)
    records += [operate.adapter_record(context, former[vf][0], after, actor, "apply") for vf, after in attachments.items()]
    yield from operate.leave_xdp_for(context, present)
    commit(context, Change(switches=switches, attachments=attachments), records)
    yield from operate.settle_ports(context, vlans, {**mtus})
    yield from _carry_out_changes(context, [former[vf] for vf in attachments], actor)


def _carry_out_changes(context: Context, formers: list[operate.Before], actor: Actor) -> Steps[None]:
    """The devices' part of each adapter. One that cannot follow goes back to what it was, and is named; the others go on. Raises
    PfError."""
    faults = []
    for former in formers:
        attached = context.inventory.vfs.get(former[0].vf)
        try:
            if attached:
                yield from operate.carry_out_change(context, attached, former, actor, "apply")
        except FAULTS as error:
            spec = former[0].spec
            faults.append(f"adapter {spec.guest}/{spec.interface} ({former[0].vf}): {error}")
    if faults:
        raise PfError("\n".join(faults))


def _changed_attachments(context: Context, steps: list[Step], switches: Mapping[str, Switch | None]) -> dict[VfAddress, Attachment]:
    """Seen with the switches as they will be, which may have the groups that adapters move to."""
    seen = context.inventory.install(Change(switches=switches))
    try:
        found = {}
        for step in steps:
            attached = context.inventory.adapter(*step.after.key) if isinstance(step.after, AdapterSpec) else None
            if attached and isinstance(step.after, AdapterSpec):
                found[attached.address] = operate.changed_attachment(context, attached, step.after)
        return found
    finally:
        context.inventory.restore(seen)


def _check_groups(context: Context, switches: Mapping[str, Switch | None], steps: list[Step]) -> None:
    """No port may lose its group. Raises Conflict."""
    after = {**context.inventory.switches, **switches}
    groups = {group.name: switch.pf for switch in after.values() if switch for group in switch.port_groups}
    moved = {step.after.key: step.after.port_group for step in steps if isinstance(step.after, AdapterSpec)}
    for address, vf in sorted(context.inventory.vfs.items()):
        spec = vf.attachment.spec
        name = moved.get(spec.key, spec.port_group)
        if groups.get(name) != address.pf:
            raise Conflict(f"port group {name}: VF {address} is connected; detach it or keep the group on PF {address.pf}")


def _put_pf(context: Context, spec: PfSpec, actor: Actor) -> Steps[None]:
    """Stored first, then the device; on a fault both are what they were."""
    inventory = context.inventory
    present = inventory.pfs.get(spec.name)
    former = present.entry if present else None
    if present:
        _shrink_check(context, spec)
    wire = f"uplink {spec.uplink or 'none'}, own sources from the wire: {spec.wire_own_source}"
    request = f"set PF {spec.name}: {wire}, {spec.num_vfs} VFs"
    record = record_of(context, "", "", actor, request, Outcome.GRANTED)
    number = former.number if former else inventory.free_pf_number()
    if former and former.spec.uplink == spec.uplink:
        commit(context, Change(pfs={spec.name: replace(former, spec=spec)}), [record])
        return
    link = context.links.by_name(spec.uplink) if spec.uplink else None
    found = uplinks.as_found(context.links, link) if link else None
    if present:
        uplinks.give_back(context, present)
    try:
        commit(context, Change(pfs={spec.name: PfEntry(spec=spec, number=number, found=found)}), [record])
        yield None
        if link:
            uplinks.connect(context, inventory.pf(spec.name), link)
    except FAULTS:
        undone = record_of(context, "", "", actor, f"{request}: undone", Outcome.FAILED)
        commit(context, Change(pfs={spec.name: former}), [undone])
        _return_uplink(context, former)
        raise


def _return_uplink(context: Context, former: PfEntry | None) -> None:
    """The uplink that a PF had before a change that failed."""
    if former is None or former.spec.uplink is None:
        return
    pf = context.inventory.pf(former.spec.name)
    link = uplinks.resolve(context.links, pf)
    if link:
        uplinks.connect(context, pf, link)


def _shrink_check(context: Context, spec: PfSpec) -> None:
    beyond = [vf.address for vf in context.inventory.vfs_of_pf(spec.name) if vf.address.index >= spec.num_vfs]
    if beyond:
        raise Conflict(f"PF {spec.name}: num_vfs {spec.num_vfs}: {beyond[0]} is attached; detach it first")


def _remove_pf(context: Context, name: str, actor: Actor) -> Steps[None]:
    pf = context.inventory.pf(name)
    for vf in context.inventory.vfs_of_pf(name):
        yield from lifecycle.detach(context, vf.address, actor)
    uplinks.give_back(context, pf)
    record = record_of(context, "", "", actor, f"remove PF {name}", Outcome.GRANTED)
    commit(context, Change(pfs={name: None}), [record])
    withdraw_uplink(context, pf)
