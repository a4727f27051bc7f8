"""Another build of this product beside this one: what a change does to the plain paths, in pairs, in one run.

Three daemons on one host: the former build, this one, and this one again, whose ratio tells what this machine's noise makes of no
difference at all. For developers; not part of the comparison with other products (runner).
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sriov_xdp.bench import streams, wire
from sriov_xdp.bench.arms import Arm
from sriov_xdp.bench.runner import Plan, Progress
from sriov_xdp.bench.statistics_of_pairs import Estimate, estimate, order_of, ratios
from sriov_xdp.bench.uplinks import wire_end
from sriov_xdp.bench.wire import WireArm
from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

FORMER, PRESENT, AGAIN = "former build", "this build", "this build again"
_TAG = "bb"
_MODES = ("tcx", "xdp")
_SOCKETS = (streams.STREAMS[0], streams.STREAMS[1], streams.SAME_CPU_TCP, streams.SMALL_PACKETS)
_TO_WIRE = (streams.STREAMS[1], streams.SMALL_PACKETS)
# What a guest's XDP program sends back reaches the wire only where the representor runs XDP too.
_WIRE = ((wire.STACK, "tcx"), (wire.STACK, "xdp"), (wire.DROPPING, "tcx"), (wire.DROPPING, "xdp"), (wire.HAIRPIN, "xdp"))
_FIRST_NETWORK = 70


@dataclass(frozen=True, slots=True)
class Build:
    """A daemon with two guests of each mode, and its wire."""

    daemon: Daemon
    wire: Namespace
    uplink: int
    guests: dict[str, tuple[Namespace, Namespace]]  # by mode


@dataclass(frozen=True, slots=True)
class Comparison:
    """Speed of this build by that of the former one; times are inverted, so that more is better. noise: of this one again."""

    workload: str
    change: Estimate
    noise: Estimate


def compare(former: Path, plan: Plan, progress: Progress) -> list[Comparison]:
    """former: the root of another checkout. Raises LabError."""
    with Lab(_TAG) as lab:
        progress("building")
        roots = {FORMER: former, PRESENT: None, AGAIN: None}
        builds = {name: _built(lab, number, root) for number, (name, root) in enumerate(roots.items())}
        endpoints = streams.Endpoints(lab.folder)
        found = [_sockets(builds, endpoints, plan, workload, place, progress) for workload, place in _socket_workloads()]
        for kind, mode in _WIRE:
            progress(f"wire to {kind}, {mode}")
            found.append(_from_wire(builds, plan, kind, mode))
        return found


def _built(lab: Lab, number: int, root: Path | None) -> Build:
    place, uplink = wire_end(lab, number)
    guests = {mode: (lab.namespace(f"{number}{mode}a"), lab.namespace(f"{number}{mode}b")) for mode in _MODES}
    adapters = [{"guest": guest.name, "port_group": "lan", "datapath": mode} for mode, pair in guests.items() for guest in pair]
    environment = {"PYTHONPATH": str(root)} if root else {}
    daemon = lab.daemon(host_config(uplink, adapters, [{"name": "lan"}]), environment=environment)
    daemon.settle()
    network = _FIRST_NETWORK + number
    ends = [(place, "w0"), *((guest, "eth0") for pair in guests.values() for guest in pair)]
    for host, (end, device) in enumerate(ends, 1):
        end.run("sysctl", "-qw", "net.ipv4.tcp_slow_start_after_idle=0")
        end.address(host, device, network=f"10.{network}.0", prefix6=f"fd{network}:")
    return Build(daemon=daemon, wire=place, uplink=wire.index_of(uplink), guests=guests)


def _socket_workloads() -> Iterator[tuple[streams.Workload, str]]:
    for mode in _MODES:
        yield from ((workload, mode) for workload in _SOCKETS)
        yield from ((workload, f"{mode} to wire") for workload in _TO_WIRE)


def _arm(name: str, number: int, build: Build, place: str) -> Arm:
    mode, _, target = place.partition(" to ")
    one, two = build.guests[mode]
    host = 1 if target else 3 + 2 * _MODES.index(mode)
    return Arm(name=name, one=one, two=build.wire if target else two, address=f"10.{_FIRST_NETWORK + number}.0.{host}")


def _sockets(
    builds: dict[str, Build],
    endpoints: streams.Endpoints,
    plan: Plan,
    workload: streams.Workload,
    place: str,
    progress: Progress,
) -> Comparison:
    name = f"{workload.name}, {place}"
    progress(name)
    with contextlib.ExitStack() as stack:
        blocks: dict[str, Callable[[float], float]] = {}
        for number, (build_name, build) in enumerate(builds.items()):
            session = stack.enter_context(endpoints.session(_arm(build_name, number, build, place), workload))
            blocks[build_name] = lambda seconds, session=session: session.block(seconds)[0]  # type: ignore[misc]
        return _compared(name, plan, blocks, is_time=workload.is_time)


def _from_wire(builds: dict[str, Build], plan: Plan, kind: str, mode: str) -> Comparison:
    with contextlib.ExitStack() as stack:
        blocks: dict[str, Callable[[float], float]] = {}
        for name, build in builds.items():
            arm = _wire_arm(stack, name, build, kind, mode)
            blocks[name] = lambda seconds, arm=arm: wire.rate(arm, kind, seconds)  # type: ignore[misc]
        return _compared(f"wire to {kind}, {mode}", plan, blocks, is_time=False)


def _wire_arm(stack: contextlib.ExitStack, name: str, build: Build, kind: str, mode: str) -> WireArm:
    guest = build.guests[mode][0]
    if kind in wire.GUEST_CODE:
        stack.enter_context(programs.attached(guest, "eth0", wire.GUEST_CODE[kind]))
        wait_until(lambda: build.daemon.vf_of(guest.name)["datapath"]["active"] == mode, "the VF keeps its mode")
    if kind == wire.HAIRPIN:
        stack.enter_context(programs.attached(build.wire, "w0", programs.swap_and_drop()))
    program = wire.uplink_program(build.daemon)
    stack.callback(os.close, program)
    return WireArm(name, build.wire, guest, build.uplink, program, guest.mac())


def _compared(name: str, plan: Plan, blocks: dict[str, Callable[[float], float]], *, is_time: bool) -> Comparison:
    values: dict[str, list[float]] = {build: [] for build in blocks}
    for number in range(-1, plan.rounds):  # one round to warm up
        for build in order_of(list(blocks), number):
            value = blocks[build](plan.block_seconds)
            if number >= 0:
                values[build].append(1 / value if is_time and value else value)
    return Comparison(
        workload=name,
        change=estimate(ratios(values[PRESENT], values[FORMER])),
        noise=estimate(ratios(values[AGAIN], values[PRESENT])),
    )
