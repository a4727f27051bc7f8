"""What is done about each kind of object that a configuration names, a row each; what is known of them is in state/kinds.py.

What changes in place is one change of all kinds together (apply), of which each gives its part. For apply.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sriov_xdp.pf.hands.context import Actor, Context, Steps
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.intent import HostIntent
from sriov_xdp.pf.state.kinds import ADAPTER, PF, SWITCH, Kind
from sriov_xdp.pf.state.plan import Step
from sriov_xdp.pf.verbs import adapters, pfs, switches
from sriov_xdp.store.audit import AuditRecord

Part = Callable[[Context, Change, list[Step], Actor], tuple[Change, list[AuditRecord]]]
Deed = Callable[[Context, Any, Actor], Steps[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deeds:
    """problems: why a configuration cannot be had on this host; obstacles: what of the host is in the way of its steps; both a line
    each. put: a spec comes, or is another than it was; remove: it goes; None where everything of the kind is in place. change:
    what its steps in place change, seen with what the kinds before it do, and their audit records; None where nothing of the kind
    is in place."""

    problems: Callable[[Context, HostIntent], list[str]] = lambda _context, _wanted: []
    obstacles: Callable[[Context, HostIntent, list[Step]], list[str]] = lambda _context, _wanted, _steps: []
    put: Deed | None = None
    remove: Deed | None = None
    change: Part | None = None


DEEDS: Mapping[Kind, Deeds] = {
    PF: Deeds(problems=pfs.problems, obstacles=pfs.obstacles, put=pfs.put, remove=pfs.remove),
    SWITCH: Deeds(change=switches.change),
    ADAPTER: Deeds(
        problems=adapters.problems,
        obstacles=adapters.obstacles,
        put=adapters.put,
        remove=adapters.remove,
        change=adapters.change,
    ),
}
