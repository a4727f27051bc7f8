"""Socket workloads between the two guests of an arm: streams, round trips, small packets. Sender on CPU 0.

One block is one short run; the caller decides order and number.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sriov_xdp.bench.arms import Arm
from sriov_xdp.bench.lab import LabError, run

PORT = 6001
_TAKER_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """unit: of the value; higher is better unless is_time. second: name of a second value, p99 or loss."""

    name: str
    unit: str
    is_time: bool
    measure: Callable[["Endpoints", Arm, float], tuple[float, float]]
    second: str = ""


class Endpoints:
    """The compiled endpoint program."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "endpoint"
        source = Path(__file__).with_name("endpoint.c")
        run("clang", "-O2", "-o", str(self._program), str(source))

    def block(
        self, arm: Arm, roles: tuple[str, str], cpus: tuple[int, int], seconds: float, size: int, flows: int
    ) -> tuple[dict, dict]:  # type: ignore[type-arg]
        """Runs taker (in guest two) and sender; both results."""
        tail = [arm.address, str(PORT), str(seconds), str(size), str(flows)]
        taker = arm.two.start(str(self._program), roles[1], str(cpus[1]), *tail, stderr=subprocess.PIPE)
        assert taker.stdout
        if taker.stdout.readline() != "ready\n":
            taker.kill()
            raise LabError(f"{arm.name}: {roles[1]}: {taker.communicate()[1]}")
        sent = arm.one.run(str(self._program), roles[0], str(cpus[0]), *tail)
        taken, _errors = taker.communicate(timeout=_TAKER_SECONDS)
        return json.loads(sent), json.loads(taken)


def stream(flows: int) -> Callable[[Endpoints, Arm, float], tuple[float, float]]:
    """TCP bulk, Gbit/s received."""

    def measure(endpoints: Endpoints, arm: Arm, seconds: float) -> tuple[float, float]:
        _sent, taken = endpoints.block(arm, ("stream-send", "stream-take"), (0, 1), seconds, 0, flows)
        return taken["bits_per_second"] / 1e9, 0.0

    return measure


def round_trip(kind: str, cpus: tuple[int, int]) -> Callable[[Endpoints, Arm, float], tuple[float, float]]:
    """p50 and p99 in microseconds of a 14-byte question and answer."""

    def measure(endpoints: Endpoints, arm: Arm, seconds: float) -> tuple[float, float]:
        asked, _answered = endpoints.block(arm, (f"ask-{kind}", f"answer-{kind}"), cpus, seconds, 14, 1)
        return asked["p50_ns"] / 1e3, asked["p99_ns"] / 1e3

    return measure


def packets(frame_bytes: int) -> Callable[[Endpoints, Arm, float], tuple[float, float]]:
    """UDP as fast as it goes: thousands delivered a second, and the share that was lost. frame_bytes with its headers."""

    def measure(endpoints: Endpoints, arm: Arm, seconds: float) -> tuple[float, float]:
        size = max(1, frame_bytes - 42)
        sent, taken = endpoints.block(arm, ("blast", "sink"), (0, 1), seconds, size, 1)
        return taken["arrived"] / sent["seconds"] / 1e3, 1 - taken["arrived"] / max(1, sent["sent"])

    return measure


STREAMS = (
    Workload(name="TCP stream, 1 flow", unit="Gbit/s", is_time=False, measure=stream(1)),
    Workload(name="TCP stream, 4 flows", unit="Gbit/s", is_time=False, measure=stream(4)),
)
SAME_CPU_TCP = Workload(
    name="TCP round trip, same CPU", unit="µs", is_time=True, measure=round_trip("tcp", (0, 0)), second="p99 µs"
)
SMALL_PACKETS = Workload(name="UDP 64 B", unit="kpps", is_time=False, measure=packets(64), second="loss")
ALL_1500 = (
    *STREAMS,
    SAME_CPU_TCP,
    Workload(name="TCP round trip, two CPUs", unit="µs", is_time=True, measure=round_trip("tcp", (0, 1)), second="p99 µs"),
    Workload(name="UDP round trip, same CPU", unit="µs", is_time=True, measure=round_trip("udp", (0, 0)), second="p99 µs"),
    Workload(name="UDP round trip, two CPUs", unit="µs", is_time=True, measure=round_trip("udp", (0, 1)), second="p99 µs"),
    SMALL_PACKETS,
    Workload(name="UDP 512 B", unit="kpps", is_time=False, measure=packets(512), second="loss"),
    Workload(name="UDP 1400 B", unit="kpps", is_time=False, measure=packets(1400), second="loss"),
)
QUICK = (STREAMS[0], SAME_CPU_TCP, SMALL_PACKETS)
