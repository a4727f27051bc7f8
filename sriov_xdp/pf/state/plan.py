"""The difference between two host intents, as steps, what each costs whom, and in which order they can be done. Pure.

plan() tells people: what goes, what changes, what is new. parts_of() is how it is done. What can change in place does; an
adapter that cannot (another namespace, a group on another PF) is attached anew, and its step says so. What is to be known of a
kind of object is in its row (kinds.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent
from sriov_xdp.pf.state.kinds import KINDS, Action, Document, Kind, Spec

_LEAVING = (Action.REMOVE, Action.REATTACH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One object to be removed, changed or added. before and after are the specs; the missing one is None."""

    action: Action
    kind: Kind
    name: str
    before: Spec | None
    after: Spec | None

    def __str__(self) -> str:
        return f"{self.action} {self.kind} {self.name}"

    @property
    def consequence(self) -> str | None:
        """What somebody loses by it; None when nobody loses anything."""
        return self.kind.loss(self.action, self.before, self.after)

    @property
    def documents(self) -> tuple[Document | None, Document | None]:
        """What was and what shall be, for `diff`."""
        before, after = (self.kind.show(spec) if spec else None for spec in (self.before, self.after))
        return before, after

    @property
    def is_in_place(self) -> bool:
        """Whether it needs no device to come or go."""
        return self.action in self.kind.in_place

    @property
    def is_one_guests(self) -> bool:
        """Whether it only gives a guest something, on which nothing else rests."""
        return self.action is Action.ADD and isinstance(self.after, AdapterSpec)

    @property
    def is_leaving(self) -> bool:
        """Whether what is there goes, for good or to come back."""
        return self.action in _LEAVING


def plan(current: HostIntent, wanted: HostIntent) -> list[Step]:
    """Empty when there is nothing to do."""
    upwards = [step for kind in KINDS for step in _compare(kind, current, wanted)]
    downwards = [step for kind in reversed(KINDS) for step in upwards if step.kind is kind]
    return [
        *(step for step in downwards if step.is_leaving),
        *(step for step in upwards if step.action is Action.CHANGE),
        *(step for step in upwards if step.action is Action.ADD),
    ]


def _compare(kind: Kind, current: HostIntent, wanted: HostIntent) -> Iterator[Step]:
    present, asked = kind.specs(current), kind.specs(wanted)
    for name in present:
        if name not in asked:
            yield Step(action=Action.REMOVE, kind=kind, name=name, before=present[name], after=None)
    for name, after in asked.items():
        before = present.get(name)
        if before is None:
            yield Step(action=Action.ADD, kind=kind, name=name, before=None, after=after)
        elif kind.is_moved(current, wanted, before, after):
            yield Step(action=Action.REATTACH, kind=kind, name=name, before=before, after=after)
        elif before != after:
            yield Step(action=Action.CHANGE, kind=kind, name=name, before=before, after=after)


def parts_of(steps: list[Step]) -> list[list[Step]]:
    """What is done at once: each device for itself, all that changes in place together, when what it rests on is there and before
    what rests on it."""
    in_place = [step for step in steps if step.is_in_place]
    devices = [step for step in steps if not step.is_in_place]
    coming = [replace(step, action=Action.ADD) if step.is_leaving else step for step in devices if step.after]
    coming.sort(key=_rank)
    first = min(map(_rank, in_place), default=len(KINDS))
    return [
        *([replace(step, action=Action.REMOVE)] for step in devices if step.is_leaving),
        *([step] for step in coming if _rank(step) < first),
        *([in_place] if in_place else []),
        *([step] for step in coming if _rank(step) >= first),
    ]


def _rank(step: Step) -> int:
    return KINDS.index(step.kind)


def leaving_adapters(steps: list[Step]) -> set[tuple[str, str]]:
    """Keys of the adapters that go, for good or to come back."""
    return {step.before.key for step in steps if isinstance(step.before, AdapterSpec) and step.is_leaving}
