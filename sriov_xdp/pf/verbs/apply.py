"""A whole configuration: checked as a whole, planned, and carried out.

    1  what goes          adapters are detached, then PFs, one by one: they free VFs, addresses and uplinks
    2  PFs                come and change, one by one (their uplinks are devices of the host)
    3  what changes       switches, groups, and adapters in place: one change, all or nothing; then what the devices need for it
    4  what comes         adapters are attached, one by one
Mailbox requests are served in between. Where a step fails, the error says what is done and what is not; the same file goes on
from there, as a plan is always made from what is. A guest that cannot be given its adapter, or whose interface cannot follow a
change, keeps no other from anything: who is root in a namespace can have the device's name, move it, or delete it as soon as it
comes. For the pf package and the admin API.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from sriov_xdp.pf.errors import FAULTS, Conflict, Incomplete, Invalid, PfError
from sriov_xdp.pf.hands import damaged
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import Actor, Context, Steps
from sriov_xdp.pf.hands.publish import start_counters
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent
from sriov_xdp.pf.state.kinds import ADAPTER, KINDS
from sriov_xdp.pf.state.plan import Step, parts_of, plan
from sriov_xdp.pf.state.port_numbers import with_numbers
from sriov_xdp.pf.state.stored import merged
from sriov_xdp.pf.state.validation import problems
from sriov_xdp.pf.verbs import adapters, connecting, operate
from sriov_xdp.pf.verbs.kinds import DEEDS
from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.store.errors import StoreError

_log = logging.getLogger("sriov_xdp.pf")


def check(context: Context, wanted: HostIntent, *, is_start: bool = False) -> list[Step]:
    """The steps that wanted needs, as checked() finds them."""
    return checked(context, wanted, is_start=is_start)[1]


def checked(context: Context, wanted: HostIntent, *, is_start: bool = False) -> tuple[HostIntent, list[Step]]:
    """What is wanted, with the numbers that its ports get, and the steps that it needs. Raises Invalid with all problems when it
    cannot be had, Conflict when something that is there is in the way: what can be foreseen is, before anything is taken away.
    is_start: what is in the way of one guest that has nothing yet is no reason, as nobody is there to mend it."""
    damaged.require_none(context, "configuration")
    found = problems(wanted)
    if found:
        raise Invalid("\n".join(found))
    current = context.inventory.intent()
    wanted, ports_in_the_way = with_numbers(current, wanted)
    found = [problem for deeds in DEEDS.values() for problem in deeds.problems(context, wanted)]
    if found:
        raise Invalid("\n".join(found))
    if ports_in_the_way:
        raise Conflict("\n".join(ports_in_the_way))
    steps = plan(current, wanted)
    asked = [step for step in steps if not (is_start and step.is_one_guests)]
    in_the_way = [obstacle for deeds in DEEDS.values() for obstacle in deeds.obstacles(context, wanted, asked)]
    if in_the_way:
        raise Conflict("\n".join(in_the_way))
    return wanted, steps


def apply(
    context: Context,
    wanted: HostIntent,
    actor: Actor,
    begin: Callable[[list[Step]], None] = lambda _steps: None,
    *,
    is_start: bool = False,
) -> Steps[list[Step]]:
    """Makes the host what wanted says. Raises PfError; Incomplete when all is done but for some guests. begin: is told the steps
    before the first, when those who came before are done and nobody else comes between; what it raises ends it. is_start: as in
    check()."""
    if context.is_applying:
        raise Conflict("apply: another configuration is being applied; try again when it is done")
    check(context, wanted, is_start=is_start)
    context.is_applying = True
    try:
        steps = yield from context.turns.take(_planned(context, wanted, is_start=is_start))
        begin(steps)
        yield from _carry_out_all(context, parts_of(steps), actor)
    finally:
        context.is_applying = False
    context.unapplied = ""
    return steps


def _planned(context: Context, wanted: HostIntent, *, is_start: bool) -> Steps[list[Step]]:
    yield None
    return check(context, wanted, is_start=is_start)


def _carry_out_all(context: Context, parts: list[list[Step]], actor: Actor) -> Steps[None]:
    done, failed = list[Step](), list[tuple[Step, Exception]]()
    for part in parts:
        try:
            yield from context.turns.take(_carry_out(context, part, actor))
        except _DevicesOfGuests as error:
            failed += error.faults
            kept = [step for step, _fault in error.faults]
            done += [step for step in part if step not in kept]
        except FAULTS as error:
            if not part[0].is_one_guests or isinstance(error, StoreError):  # a full disk is no guest's fault
                raise _explained(error, done, part, sum(map(len, parts))) from error
            failed.append((part[0], error))
        else:
            done += part
        yield None
    if failed:
        raise _incomplete(failed, done)


class _DevicesOfGuests(PfError):
    """What changed in place holds, but for adapters whose devices their guests keep from it."""

    def __init__(self, faults: list[tuple[Step, Exception]]) -> None:
        super().__init__("\n".join(f"{step}: {fault}" for step, fault in faults))
        self.faults = faults


def go_on(context: Context, wanted: HostIntent, names: Sequence[str], actor: Actor) -> Steps[list[tuple[str, Exception]]]:
    """At a start with a file that counts already: gives their adapters to guests that it was kept from. names: theirs. One that has
    its adapter by now, or is in the file no more, is done. Returns those that are missing still, and why; raises nothing."""
    missing = list[tuple[str, Exception]]()
    numbered, _problems = with_numbers(context.inventory.intent(), wanted)
    specs = {name: spec for name, spec in ADAPTER.specs(numbered).items() if name in names}
    for name, spec in specs.items():
        if context.inventory.adapter(*spec.key):
            continue
        try:
            yield from context.turns.take(adapters.put(context, spec, actor))
        except FAULTS as error:
            missing.append((name, error))
    return missing


def _incomplete(failed: list[tuple[Step, Exception]], done: list[Step]) -> Exception:
    """What is missing, and that the rest is there."""
    exit_code = getattr(failed[0][1], "exit_code", PfError.exit_code)
    missing = tuple(step.name for step, _error in failed)
    lines = [f"{step}: {error}" for step, error in failed]
    if not done and len(failed) == 1:
        return Incomplete(lines[0], exit_code, missing)
    stands = f"apply: {len(done)} of {len(done) + len(failed)} steps are done"
    text = f"{stands}; mend the cause and apply the same file again, it goes on from here"
    return Incomplete("\n".join([*lines, text]), exit_code, missing)


def _explained(error: Exception, done: list[Step], failed: list[Step], count: int) -> Exception:
    """The same kind of fault, with where the plan stands."""
    if not done:
        return error
    names, what = ", ".join(map(str, done[-3:])), ", ".join(map(str, failed[:3]))
    text = f"{what}: {error}\napply: {len(done)} of {count} steps are done (last: {names}); the rest is not"
    kind = type(error) if isinstance(error, PfError) else PfError
    return kind(f"{text}; mend the cause and apply the same file again, it goes on from here")


def _carry_out(context: Context, steps: list[Step], actor: Actor) -> Steps[None]:
    step = steps[0]
    if step.is_in_place:
        yield from _change_in_place(context, steps, actor)
        return
    deeds = DEEDS[step.kind]
    deed, spec = (deeds.remove, step.before) if step.is_leaving else (deeds.put, step.after)
    if deed is None:
        raise NotImplementedError(f"{step}: nothing is known of how that is done")
    yield from deed(context, spec, actor)


def _change_in_place(context: Context, steps: list[Step], actor: Actor) -> Steps[None]:
    """One change of all objects, so that what is exchanged between them meets nothing half done; then what devices need."""
    change, records = _whole_change(context, steps, actor)
    _check_groups(context, change)
    as_it_was = operate.as_ports_are(context)
    former = {vf.address: (vf.attachment, vf.state) for vf in context.inventory.vfs.values()}
    yield from operate.leave_xdp_for(context, change)
    commit(context, change, records)
    for vf, attachment in change.attachments.items():
        if attachment and connecting.has_moved(former[vf][0].spec, attachment.spec):
            start_counters(context, vf)  # what was counted is the port's that it left
    installed = {vf: context.inventory.vfs[vf].state for vf in change.attachments}
    befores = [operate.Before(attachment=former[vf][0], state=former[vf][1], installed=state) for vf, state in installed.items()]
    yield from operate.settle_ports(context, as_it_was)
    steps_of = {step.after.key: step for step in steps if isinstance(step.after, AdapterSpec)}
    yield from _carry_out_changes(context, befores, steps_of, actor)


def _whole_change(context: Context, steps: list[Step], actor: Actor) -> tuple[Change, list[AuditRecord]]:
    """Kind by kind, as what a later one needs may be part of what an earlier one changes."""
    change, records = Change(), list[AuditRecord]()
    for kind in KINDS:
        of_kind = [step for step in steps if step.kind is kind]
        if not of_kind:
            continue
        part_of = DEEDS[kind].change
        if part_of is None:
            raise NotImplementedError(f"{of_kind[0]}: nothing is known of how that is done in place")
        part, told = part_of(context, change, of_kind, actor)
        change, records = merged(change, part), [*records, *told]
    return change, records


def _carry_out_changes(
    context: Context, befores: list[operate.Before], steps_of: Mapping[tuple[str, str], Step], actor: Actor
) -> Steps[None]:
    """The devices' part of each adapter. One that cannot follow goes back to what it was, and is named; the others go on. Raises
    _DevicesOfGuests, StoreError."""
    faults = list[tuple[Step, Exception]]()
    for before in befores:
        attached = context.inventory.vfs.get(before.attachment.vf)
        try:
            if attached:
                yield from operate.carry_out_change(context, attached, before, actor, "apply")
        except StoreError:
            raise
        except FAULTS as error:
            faults.append((steps_of[before.attachment.spec.key], error))
    if faults:
        raise _DevicesOfGuests(faults)


def _check_groups(context: Context, change: Change) -> None:
    """No port may lose its group. Raises Conflict."""
    after = {**context.inventory.switches, **change.switches}
    groups = {group.name: switch.pf for switch in after.values() if switch for group in switch.port_groups}
    for address, vf in sorted(context.inventory.vfs.items()):
        name = (change.attachments.get(address) or vf.attachment).spec.port_group
        if groups.get(name) != address.pf:
            raise Conflict(f"port group {name}: VF {address} is connected; detach it or keep the group on PF {address.pf}")
