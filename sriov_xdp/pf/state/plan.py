"""The difference between two host intents, as steps in the order in which they can be done, and what each costs whom. Pure.

Removals come first (they free VFs, addresses and uplinks), then changes, then what is new. What can change in place does; an
adapter that cannot (another namespace, a group on another PF) is attached anew, and its step says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent, PfSpec, adapter_to_json, switch_to_json
from sriov_xdp.vswitch.policy import Switch

T = TypeVar("T")


class Action(StrEnum):
    """What a step does."""

    REMOVE = "remove"
    REATTACH = "reattach"
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

    @property
    def consequence(self) -> str | None:
        """What somebody loses by it; None when nobody loses anything."""
        match self.kind, self.action:
            case "adapter", Action.REMOVE:
                return "the guest loses the interface, with its addresses"
            case "adapter", Action.REATTACH:
                return "the guest loses the interface, with its addresses, and gets a new one"
            case "pf", Action.REMOVE:
                return "the uplink goes back to the host"
            case "pf", Action.CHANGE if self._loses_its_uplink():
                return "its guests lose the wire that they have, and the uplink goes back to the host"
            case ("pf", Action.CHANGE | Action.ADD) | ("switch", _) | ("adapter", Action.CHANGE | Action.ADD):
                return None
            case kind, action:
                raise NotImplementedError(f"{action} {kind}: it is not known what anybody loses by it")

    def _loses_its_uplink(self) -> bool:
        before, after = self.before, self.after
        return (
            isinstance(before, PfSpec) and isinstance(after, PfSpec) and before.uplink is not None and before.uplink != after.uplink
        )


def plan(current: HostIntent, wanted: HostIntent) -> list[Step]:
    """Empty when there is nothing to do."""
    pfs = _compare("pf", {pf.name: pf for pf in current.pfs}, {pf.name: pf for pf in wanted.pfs})
    switches = _compare("switch", {s.name: s for s in current.switches}, {s.name: s for s in wanted.switches})
    adapters = _compare("adapter", _adapters(current.adapters), _adapters(wanted.adapters))
    adapters = _with_reattachments(adapters, current, wanted)
    downwards = [*adapters, *switches, *pfs]
    upwards = [*pfs, *switches, *adapters]
    return [
        *(step for step in downwards if step.action in (Action.REMOVE, Action.REATTACH)),
        *(step for step in upwards if step.action is Action.CHANGE),
        *(step for step in upwards if step.action is Action.ADD),
    ]


def _pf_of(intent: HostIntent, group: str) -> str | None:
    """The PF that a port group is on."""
    return next((switch.pf for switch in intent.switches if switch.group(group)), None)


def _with_reattachments(steps: list[Step], current: HostIntent, wanted: HostIntent) -> list[Step]:
    """An adapter keeps its interface while its namespace and its PF stay; a group may take its adapters to another PF."""
    before = _adapters(current.adapters)
    named = {step.name: step for step in steps}
    for name, after in _adapters(wanted.adapters).items():
        present = before.get(name)
        if present is None:
            continue
        moves = _pf_of(current, present.port_group) != _pf_of(wanted, after.port_group)
        if moves or present.netns != after.netns:
            step = Step(action=Action.REATTACH, kind="adapter", name=name, before=present, after=after)
            named[name] = replace(named.get(name, step), action=Action.REATTACH)
    return list(named.values())


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
            head = {"guest": spec.guest, "netns": spec.netns}
            document = {**head, **adapter_to_json(spec)}
            del document["kind"]
            return document
