"""The difference between two host intents, as steps in the order in which they can be done. Pure.

Removals come first (they free VFs, addresses and uplinks), then changes, then what is new.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from sriov_xdp.pf.intent import AdapterSpec, HostIntent, PfSpec, switch_to_json
from sriov_xdp.vswitch.policy import Switch

T = TypeVar("T")


class Action(StrEnum):
    """What a step does."""

    REMOVE = "remove"
    CHANGE = "change"
    ADD = "add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One object to be removed, changed or added. before and after are the specs; the missing one is None."""

    action: Action
    kind: str
    name: str
    before: PfSpec | Switch | AdapterSpec | None
    after: PfSpec | Switch | AdapterSpec | None


def plan(current: HostIntent, wanted: HostIntent) -> list[Step]:
    """Empty when there is nothing to do."""
    pfs = _compare("pf", {pf.name: pf for pf in current.pfs}, {pf.name: pf for pf in wanted.pfs})
    switches = _compare("switch", {s.name: s for s in current.switches}, {s.name: s for s in wanted.switches})
    adapters = _new_attachments(_compare("adapter", _adapters(current.adapters), _adapters(wanted.adapters)), current, wanted)
    downwards = [*adapters, *switches, *pfs]
    upwards = [*pfs, *switches, *adapters]
    return [
        *(step for step in downwards if step.action is Action.REMOVE),
        *(step for step in upwards if step.action is Action.CHANGE),
        *(step for step in upwards if step.action is Action.ADD),
    ]


def _home(intent: HostIntent, group: str) -> tuple[str, str] | None:
    """The switch and the PF that a port group is on."""
    return next(((switch.name, switch.pf) for switch in intent.switches if switch.group(group)), None)


def _new_attachments(steps: list[Step], current: HostIntent, wanted: HostIntent) -> list[Step]:
    """Only its kind of data path changes in place. Any other change of an adapter, and a group that moves to another switch,
    is a removal and an addition, so that what is swapped between guests is free before it is taken."""
    done: list[Step] = []
    for step in steps:
        if step.action is Action.CHANGE and fields_that_differ(step) != ["datapath"]:
            done.append(Step(action=Action.REMOVE, kind=step.kind, name=step.name, before=step.before, after=None))
            done.append(Step(action=Action.ADD, kind=step.kind, name=step.name, before=None, after=step.after))
        else:
            done.append(step)
    touched = {step.name for step in steps if step.action is not Action.CHANGE or fields_that_differ(step) != ["datapath"]}
    for name, spec in _adapters(wanted.adapters).items():
        if name not in touched and _home(current, spec.port_group) != _home(wanted, spec.port_group):
            done = [step for step in done if step.name != name]
            done.append(Step(action=Action.REMOVE, kind="adapter", name=name, before=spec, after=None))
            done.append(Step(action=Action.ADD, kind="adapter", name=name, before=None, after=spec))
    return done


def _adapters(specs: Iterable[AdapterSpec]) -> dict[str, AdapterSpec]:
    return {f"{spec.guest}/{spec.interface}": spec for spec in specs}


def _compare(kind: str, current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Step]:
    steps = [
        Step(action=Action.REMOVE, kind=kind, name=name, before=current[name], after=None) for name in current if name not in wanted
    ]
    for name, after in wanted.items():
        before = current.get(name)
        if before is None:
            steps.append(Step(action=Action.ADD, kind=kind, name=name, before=None, after=after))
        elif before != after:
            steps.append(Step(action=Action.CHANGE, kind=kind, name=name, before=before, after=after))
    return steps


def describe(spec: PfSpec | Switch | AdapterSpec | None) -> dict[str, Any] | None:
    """One side of a step as a document, for `diff`."""
    match spec:
        case None:
            return None
        case PfSpec(name=name, uplink=uplink, num_vfs=num_vfs, wire_own_source=own_source):
            return {"name": name, "uplink": uplink, "num_vfs": num_vfs, "wire_own_source": own_source.value}
        case Switch():
            return switch_to_json(spec)
        case AdapterSpec():
            mac = str(spec.mac) if spec.mac else None
            head = {"guest": spec.guest, "netns": spec.netns, "name": spec.interface}
            return {**head, "port_group": spec.port_group, "mac": mac, "datapath": spec.datapath.value}


def fields_that_differ(step: Step) -> list[str]:
    """Names of what changes, for people."""
    before, after = describe(step.before) or {}, describe(step.after) or {}
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]
