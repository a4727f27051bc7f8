"""Socket workloads between the two guests of an arm: streams, round trips, small packets. Sender on CPU 0.

A session is a pair of processes that lasts over all blocks of an arm; one block is one short run. The caller decides order and
number.
"""

import contextlib
import json
import select
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sriov_xdp.bench.arms import Arm
from sriov_xdp.lab.host import LabError, run

PORT = 6001
_PATIENCE_SECONDS = 0.3  # a taker reports milliseconds after the last of a block came; when nothing came, it does not
_NOTHING = {"arrived": 0, "bits_per_second": 0}
Pair = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a pair of endpoints does (roles: sender, taker) and what is read from a block: value, and a second one.

    unit: of the value; higher is better unless is_time. second: name of the second value, p99 or loss. size: payload bytes."""

    name: str
    unit: str
    is_time: bool
    roles: tuple[str, str]
    cpus: tuple[int, int]
    read: Callable[[Pair], tuple[float, float]]
    size: int = 0
    flows: int = 1
    second: str = ""

    @property
    def taker_reports(self) -> bool:
        """Whether the taker prints a result for each block too."""
        return not self.roles[0].startswith("ask")


class Session:
    """A running pair of endpoints."""

    def __init__(self, arm: Arm, workload: Workload, sender: subprocess.Popen[Any], taker: subprocess.Popen[Any]) -> None:
        self._arm, self._workload, self._sender, self._taker = arm, workload, sender, taker

    def block(self, seconds: float) -> tuple[float, float]:
        """One block; the workload's two values. Raises LabError."""
        assert self._sender.stdin
        while self._reports_within(0):  # the machine stood still in the last block, which the taker took for two
            self._line(self._taker)
        self._sender.stdin.write(f"{seconds}\n".encode())
        sent = self._line(self._sender)
        if not self._workload.taker_reports:
            return self._workload.read((sent, {}))
        return self._workload.read((sent, self._line(self._taker) if self._reports_within(_PATIENCE_SECONDS) else _NOTHING))

    def _reports_within(self, seconds: float) -> bool:
        assert self._taker.stdout
        return bool(select.select([self._taker.stdout], [], [], seconds)[0])

    def _line(self, process: subprocess.Popen[Any]) -> dict[str, Any]:
        assert process.stdout
        text = process.stdout.readline()
        if not text:
            raise LabError(f"{self._arm.name}: {self._workload.name}: an endpoint ended early: {process.communicate()[1]}")
        return dict(json.loads(text))


class Endpoints:
    """The compiled endpoint program."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "endpoint"
        source = Path(__file__).with_name("endpoint.c")
        run("clang", "-O2", "-o", str(self._program), str(source))

    @contextlib.contextmanager
    def session(self, arm: Arm, workload: Workload) -> Iterator[Session]:
        """Both ends of a workload on an arm, the taker in guest two."""
        pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": False, "bufsize": 0}
        tail = [arm.address, str(PORT), str(workload.size), str(workload.flows)]
        taker: subprocess.Popen[Any] = arm.two.start(str(self._program), workload.roles[1], str(workload.cpus[1]), *tail, **pipes)
        try:
            assert taker.stdout
            if taker.stdout.readline() != b"ready\n":
                raise LabError(f"{arm.name}: {workload.roles[1]}: {taker.communicate()[1]}")
            sender = arm.one.start(str(self._program), workload.roles[0], str(workload.cpus[0]), *tail, **pipes)
            try:
                yield Session(arm, workload, sender, taker)
            finally:
                sender.kill()
                sender.communicate()
        finally:
            taker.kill()
            taker.communicate()


def stream(flows: int, cpus: tuple[int, int] = (0, 1)) -> Workload:
    """TCP bulk, Gbit/s received. On one CPU it is the cost of a byte at both ends and in between; on two the receiver spins, as
    wake-ups from CPU to CPU differ from block to block by more than the arms do."""

    def read(results: Pair) -> tuple[float, float]:
        return results[1]["bits_per_second"] / 1e9, 0.0

    is_shared = cpus[0] == cpus[1]
    name = f"TCP stream, {flows} flow{'s' if flows > 1 else ''}{', same CPU' if is_shared else ''}"
    roles = ("stream-send", "stream-take" if is_shared else "stream-spin")
    return Workload(name=name, unit="Gbit/s", is_time=False, roles=roles, cpus=cpus, flows=flows, read=read)


def round_trip(kind: str, cpus: tuple[int, int]) -> Workload:
    """p50 and p99 in microseconds of a 14-byte question and answer."""

    def read(results: Pair) -> tuple[float, float]:
        return results[0]["p50_ns"] / 1e3, results[0]["p99_ns"] / 1e3

    name = f"{kind.upper()} round trip, {'same CPU' if cpus[0] == cpus[1] else 'two CPUs'}"
    roles = (f"ask-{kind}", f"answer-{kind}")
    return Workload(name=name, unit="µs", is_time=True, roles=roles, cpus=cpus, size=14, second="p99 µs", read=read)


def packets(frame_bytes: int) -> Workload:
    """UDP as fast as it goes: thousands delivered a second, and the share that was lost. frame_bytes with its headers."""

    def read(results: Pair) -> tuple[float, float]:
        sent, taken = results
        return taken["arrived"] / sent["seconds"] / 1e3, 1 - taken["arrived"] / max(1, sent["sent"])

    size = max(1, frame_bytes - 42)
    return Workload(
        name=f"UDP {frame_bytes} B",
        unit="kpps",
        is_time=False,
        roles=("blast", "sink"),
        cpus=(0, 1),
        size=size,
        second="loss",
        read=read,
    )


STREAMS = (stream(1), stream(1, (0, 0)), stream(4))
SAME_CPU_TCP = round_trip("tcp", (0, 0))
SMALL_PACKETS = packets(64)
ALL_1500 = (
    *STREAMS,
    SAME_CPU_TCP,
    round_trip("tcp", (0, 1)),
    round_trip("udp", (0, 0)),
    round_trip("udp", (0, 1)),
    SMALL_PACKETS,
    packets(512),
    packets(1400),
)
QUICK = (*STREAMS[:2], SAME_CPU_TCP, SMALL_PACKETS)
