"""Runs the benchmark: which parts, in what order, how many rounds. Results are a plain document for the report."""

import contextlib
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sriov_xdp.bench import arms as arms_of
from sriov_xdp.bench import attacks, control, cost, streams, uplinks, wire
from sriov_xdp.bench.arms import AUTO, BARE, BRIDGE, CABLE, MACVLAN, NOISE, Arm
from sriov_xdp.bench.statistics_of_pairs import Estimate, estimate, order_of, ratios
from sriov_xdp.bench.targets import WORST

_QUICK_ARMS = (CABLE, NOISE, MACVLAN, BRIDGE, BARE, AUTO)
# Who is compared is measured side by side in a round: a shared machine is another one after half a second.
_SIDE_BY_SIDE = (NOISE, CABLE, AUTO, BARE, MACVLAN, BRIDGE)
REFERENCES = (CABLE, MACVLAN, BRIDGE, BARE)
_TAG = "bn"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long it may take. cost_rounds: of the program's cost; flood_seconds: a block of a broadcast."""

    rounds: int
    block_seconds: float
    cost_rounds: int
    flood_seconds: float
    is_quick: bool


QUICK = Plan(rounds=6, block_seconds=0.05, cost_rounds=0, flood_seconds=0, is_quick=True)
FULL = Plan(rounds=50, block_seconds=0.05, cost_rounds=10, flood_seconds=0.3, is_quick=False)


@dataclass(slots=True)
class Results:
    """values: workload → arm → a value a round; seconds: the second value (p99, loss), medians; single: key → number."""

    host: dict[str, str]
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    units: dict[str, tuple[str, bool]] = field(default_factory=dict)  # unit, is_time
    single: dict[str, float] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)  # key of single → what a reader must know of it
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # key of single → 95 %, where there is one
    took_seconds: float = 0.0

    def reference_of(self, workload: str) -> str:
        """What a workload's arms are compared with first: the cable, else the bridge, where it passes anything at all."""
        measured = self.values[workload]
        return next(name for name in (CABLE, BRIDGE, BARE) if any(measured.get(name, ())))

    def ratio(self, workload: str, arm: str, reference: str) -> Estimate:
        """Of an arm to a reference, round by round."""
        measured = self.values[workload]
        return estimate(ratios(measured[arm], measured[reference]))


def host_facts() -> dict[str, str]:
    """What it ran on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        "?",
    )
    cpus = str(len(list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*"))))
    return {"kernel": platform.release(), "cpu": cpu, "cpus": cpus, "python": platform.python_version()}


def run(plan: Plan, progress: Progress) -> Results:
    """Everything of the plan."""
    started = time.monotonic()
    results = Results(host=host_facts())
    _socket_workloads(results, plan, progress, 1500, streams.QUICK if plan.is_quick else streams.ALL_1500)
    if not plan.is_quick:
        _socket_workloads(results, plan, progress, 9000, streams.STREAMS)
        _to_the_wire(results, plan, progress)
    _wire_workloads(results, plan, progress)
    if not plan.is_quick:
        for receivers in (2, 16, 64):
            _floods(results, plan, receivers, progress)
    if not plan.is_quick:
        _program_cost(results, plan, progress)
    _control(results, plan, progress)
    _worst_against_bare(results)
    results.took_seconds = time.monotonic() - started
    return results


def _socket_workloads(
    results: Results, plan: Plan, progress: Progress, mtu_bytes: int, workloads: tuple[streams.Workload, ...]
) -> None:
    with arms_of.built(f"{_TAG}{mtu_bytes // 1000}", mtu_bytes) as bench:
        endpoints = streams.Endpoints(bench.lab.folder)
        arms = {name: arm for name, arm in bench.arms.items() if not plan.is_quick or name in _QUICK_ARMS}
        for workload in workloads:
            name = workload.name if mtu_bytes == 1500 else f"{workload.name}, MTU {mtu_bytes}"
            progress(name)
            _measure(results, plan, name, workload, endpoints, arms)


def _to_the_wire(results: Results, plan: Plan, progress: Progress) -> None:
    with uplinks.built(f"{_TAG}u") as (lab, arms):
        endpoints = streams.Endpoints(lab.folder)
        for workload in (streams.STREAMS[0], streams.SMALL_PACKETS):
            name = f"{workload.name}, VF to wire"
            progress(name)
            _measure(results, plan, name, workload, endpoints, arms)


def _measure(
    results: Results, plan: Plan, name: str, workload: streams.Workload, endpoints: streams.Endpoints, arms: dict[str, Arm]
) -> None:
    values: dict[str, list[float]] = {arm: [] for arm in arms}
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    with contextlib.ExitStack() as stack:
        sessions = {arm: stack.enter_context(endpoints.session(place, workload)) for arm, place in arms.items()}
        for number in range(-1, plan.rounds):  # one round to warm up
            for arm in order_of(_side_by_side(arms), number):
                value, second = sessions[arm].block(plan.block_seconds)
                if number >= 0:
                    values[arm].append(value)
                    seconds[arm].append(second)
    results.values[name] = values
    results.units[name] = (workload.unit, workload.is_time)
    if workload.second:
        results.seconds[name] = {arm: statistics.median(column) for arm, column in seconds.items()}


def _side_by_side(arms: Iterable[str]) -> list[str]:
    return sorted(arms, key=lambda arm: _SIDE_BY_SIDE.index(arm) if arm in _SIDE_BY_SIDE else len(_SIDE_BY_SIDE))


def _wire_workloads(results: Results, plan: Plan, progress: Progress) -> None:
    for kind in wire.KINDS:
        name = f"wire to {kind}"
        progress(name)
        with wire.built(f"{_TAG}w", kind) as built:
            found = {arm: place for arm, place in built.items() if not plan.is_quick or arm in _QUICK_ARMS}
            values: dict[str, list[float]] = {arm: [] for arm in found}
            for number in range(-1, plan.rounds):
                for arm in order_of(_side_by_side(found), number):
                    value = wire.rate(found[arm], kind, plan.block_seconds)
                    if number >= 0:
                        values[arm].append(value)
        results.values[name] = values
        results.units[name] = ("Mpps", False)


def _floods(results: Results, plan: Plan, receivers: int, progress: Progress) -> None:
    name = f"wire broadcast to {receivers}"
    progress(name)
    values: dict[str, list[float]] = {}
    for _round in range(3):
        for arm, value in wire.broadcast_rate(receivers, plan.flood_seconds, f"{_TAG}f").items():
            values.setdefault(arm, []).append(value)
    results.values[name] = values
    results.units[name] = ("kpps each", False)


def _program_cost(results: Results, plan: Plan, progress: Progress) -> None:
    progress("program cost")
    costs = cost.program_cost(f"{_TAG}c", plan.cost_rounds)
    for vfs, entries in cost.SIZES:
        results.single[f"program ns, {vfs} VFs, {entries} entries"] = statistics.median(costs[vfs, entries])
    results.single["program ns, flow remembered"] = statistics.median(costs[cost.REMEMBERED])
    results.single["program cost"] = estimate(ratios(costs[256, 16384], costs[2, 16])).median


def _control(results: Results, plan: Plan, progress: Progress) -> None:
    progress("mailbox")
    results.single.update(control.mailbox_round_trips(f"{_TAG}m", 2000 if plan.is_quick else 20000))
    progress("starts")
    results.single.update(control.starts(f"{_TAG}s", 2 if plan.is_quick else 5))
    progress("a quiet guest under attack")
    results.single.update(attacks.under_attack(f"{_TAG}q", 1 if plan.is_quick else 3))
    progress("automatic mode")
    results.single.update(control.automatic_mode(f"{_TAG}a", 3 if plan.is_quick else 9))
    if not plan.is_quick:
        progress("attach and apply")
        results.single.update(control.attaching(f"{_TAG}t"))


def _worst_against_bare(results: Results) -> None:
    """The workload in which automatic mode is furthest behind the limit of the approach; times count inverted."""
    behind, interval = {}, {}
    for name, measured in results.values.items():
        if BARE in measured and AUTO in measured:
            found = results.ratio(name, AUTO, BARE)
            bounds = (found.low, found.median, found.high)
            low, behind[name], high = sorted(1 / bound if results.units[name][1] else bound for bound in bounds)
            interval[name] = low, high
    worst = min(behind, key=lambda name: behind[name])
    results.single[WORST] = behind[worst]
    results.intervals[WORST] = interval[worst]
    results.remarks[WORST] = f"{worst}, {interval[worst][0]:.2f} to {interval[worst][1]:.2f}"


def document(results: Results) -> dict[str, Any]:
    """The results as JSON."""
    tables: dict[str, Any] = {}
    for name, measured in results.values.items():
        unit, is_time = results.units[name]
        tables[name] = {"unit": unit, "lower_is_better": is_time, "arms": {}}
        for arm, column in measured.items():
            entry: dict[str, Any] = {"median": statistics.median(column), "values": column}
            for reference in REFERENCES:
                if reference != arm and any(measured.get(reference, ())):
                    found = results.ratio(name, arm, reference)
                    entry[f"vs {reference}"] = {"median": found.median, "low": found.low, "high": found.high, "rounds": found.count}
            if name in results.seconds:
                entry["second"] = results.seconds[name][arm]
            tables[name]["arms"][arm] = entry
    return {
        "host": results.host,
        "took_seconds": results.took_seconds,
        "workloads": tables,
        "single": results.single,
        "remarks": results.remarks,
    }
