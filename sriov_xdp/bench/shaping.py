"""How well a port keeps its rate, and what its guest's traffic makes of it: `shaping.ingress` by rate and mode, between two guests.

UDP is counted as frames at the receiver's device, which gets each by itself; of TCP, which comes in super-frames, what arrived in
the socket counts, and its frames are reckoned. For the benchmark.
"""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO

from sriov_xdp.bench.arms import Arm
from sriov_xdp.bench.streams import Endpoints, Session, packets
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, entered, host_config
from sriov_xdp.vswitch.shaping import IngressShaping, ShapingMode

RATES_KBPS = (1_000, 10_000, 100_000, 1_000_000)
KINDS = ((ShapingMode.SHAPE, "tcx"), (ShapingMode.POLICE, "tcx"), (ShapingMode.POLICE, "xdp"))
_UDP_FRAME_BYTES, _TCP_FRAME_BYTES, _TCP_PAYLOAD_BYTES = 1442, 1514, 1448
_MTU_BYTES, _CHUNK_BYTES = 1500, 1 << 17
_SAMPLE_SECONDS = 0.05
_RX_BYTES = re.compile(r"\beth0:\s*(\d+)")
_LOSS, _WORST = re.compile(r"([\d.]+)% packet loss"), re.compile(r"= [\d.]+/[\d.]+/([\d.]+)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Of one rate by one mode. Percent of the rate in frames: of UDP after the burst, of TCP by one flow and by four; worst_second:
    of UDP, burst included, against the rate; most_second: what it may be; ping_lost_percent, ping_worst_ms: beside one TCP flow;
    unshaped: how many times the rate the path has room for by UDP."""

    mode: str
    datapath: str
    kbps: int
    udp_percent: float
    tcp_one_percent: float
    tcp_four_percent: float
    worst_second: float
    most_second: float
    ping_lost_percent: float
    ping_worst_ms: float
    unshaped: float


@dataclass(frozen=True, slots=True)
class Times:
    """Of each measurement, behind what is let pass first, so that bursts are over."""

    measured: float = 4.0
    settling: float = 1.5


_USUAL = Times()


def measure(
    tag: str, rates_kbps: tuple[int, ...] = RATES_KBPS, kinds: Sequence[tuple[ShapingMode, str]] = KINDS, times: Times = _USUAL
) -> Iterator[Kept]:
    """A row a rate and mode."""
    for number, datapath in enumerate(dict.fromkeys(datapath for _mode, datapath in kinds)):
        with Lab(f"{tag}{number}") as lab:
            arm, daemon = _arm(lab, datapath)
            endpoints = Endpoints(lab.folder)
            free = _frames_of_udp(endpoints, arm, times).mean_kbps
            for mode in (mode for mode, of in kinds if of == datapath):
                for kbps in rates_kbps:
                    with _held(daemon, arm, mode, kbps):
                        yield _kept(endpoints, arm, (mode, datapath, kbps), times, free / kbps)


def _arm(lab: Lab, datapath: str) -> tuple[Arm, Daemon]:
    one, two = lab.namespace("a"), lab.namespace("b")
    guests = [{"guest": place.name, "port_group": "lan", "datapath": datapath} for place in (one, two)]
    daemon = lab.daemon(host_config(None, guests, [{"name": "lan", "overrides_allowed": ["shaping"]}]))
    daemon.settle()
    for host, place in enumerate((one, two), 1):
        place.address(host, network="10.9.0", prefix6="fd09:")
    one.can_ping("10.9.0.2", count=3)
    return Arm(name=f"vf {datapath}", one=one, two=two, address="10.9.0.2"), daemon


@contextlib.contextmanager
def _held(daemon: Daemon, arm: Arm, mode: ShapingMode, kbps: int) -> Iterator[None]:
    vf = daemon.vf_of(arm.one.name)["address"]
    daemon.ask("port", "set", vf, "--shaping-ingress", f"average_kbps={kbps},mode={mode}")
    try:
        yield
    finally:
        daemon.ask("port", "set", vf, "--shaping-ingress", "inherit")


def _kept(endpoints: Endpoints, arm: Arm, what: tuple[ShapingMode, str, int], times: Times, unshaped: float) -> Kept:
    mode, datapath, kbps = what
    udp = _frames_of_udp(endpoints, arm, times)
    one, four = (_tcp_kbps(arm, flows, times) for flows in (1, 4))
    lost, worst_ms = _ping(arm, times)
    said = IngressShaping(average_kbps=kbps, mode=mode)
    bucket = said.queue(_MTU_BYTES) or said.policer(_MTU_BYTES)
    burst_bytes = bucket.burst_bytes if bucket else 0
    return Kept(
        mode=mode.value,
        datapath=datapath,
        kbps=kbps,
        udp_percent=100 * udp.mean_kbps / kbps,
        tcp_one_percent=100 * one / kbps,
        tcp_four_percent=100 * four / kbps,
        worst_second=udp.worst_second_kbps / kbps,
        most_second=1.01 + burst_bytes * 8 / (kbps * 1000),
        ping_lost_percent=lost,
        ping_worst_ms=worst_ms,
        unshaped=unshaped,
    )


@dataclass(frozen=True, slots=True)
class _Rates:
    mean_kbps: float
    worst_second_kbps: float


@contextlib.contextmanager
def _running(session: Session, seconds: float) -> Iterator[threading.Thread]:
    """A block of the session, beside what is done meanwhile."""
    thread = threading.Thread(target=session.block, args=(seconds,))
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


def _frames_of_udp(endpoints: Endpoints, arm: Arm, times: Times) -> _Rates:
    """As the receiver's device counts them; what its socket has no room for counts too."""
    samples: list[tuple[float, int]] = []
    with (
        _counter_of(arm.two) as counter,
        endpoints.session(arm, packets(_UDP_FRAME_BYTES)) as session,
        _running(session, times.settling + times.measured) as thread,
    ):
        while thread.is_alive():
            samples.append((time.monotonic(), _rx_bytes(counter)))
            time.sleep(_SAMPLE_SECONDS)
    begin = samples[0][0]
    settled = [sample for sample in samples if 0 <= sample[0] - begin - times.settling <= times.measured]
    return _Rates(_kbps(settled[0], settled[-1]), max(_seconds_from(samples), default=0.0))


def _seconds_from(samples: list[tuple[float, int]]) -> Iterator[float]:
    """The rate of each second, from each sample on."""
    for first, (at, _bytes) in enumerate(samples):
        last = next((number for number in range(first, len(samples)) if samples[number][0] - at >= 1.0), None)
        if last is not None:
            yield _kbps(samples[first], samples[last])


def _kbps(first: tuple[float, int], last: tuple[float, int]) -> float:
    return (last[1] - first[1]) * 8 / (last[0] - first[0]) / 1000


@contextlib.contextmanager
def _counter_of(place: Namespace) -> Iterator[IO[str]]:
    """An open file goes on telling of the namespace that it was opened in."""
    with entered(place):
        counter = open("/proc/thread-self/net/dev", encoding="ascii")  # noqa: SIM115, PTH123
    with counter:
        yield counter


def _rx_bytes(counter: IO[str]) -> int:
    counter.seek(0)
    found = _RX_BYTES.search(counter.read())
    if not found:
        raise LabError("shaping: the receiver's device is gone")
    return int(found[1])


class _Flows:
    """TCP flows from one guest to the other that take all that there is. By cubic, whatever the host's default is."""

    def __init__(self, arm: Arm, count: int) -> None:
        self.arrived = [0] * count
        self._sockets: list[socket.socket] = []
        with _tcp_socket(arm.two) as listener:
            listener.bind((arm.address, 0))
            listener.listen(count)
            for number in range(count):
                sender = _tcp_socket(arm.one)
                sender.connect(listener.getsockname())
                receiver, _peer = listener.accept()
                self._sockets += [sender, receiver]
                for work in (partial(self._send, sender), partial(self._take, receiver, number)):
                    threading.Thread(target=work, daemon=True).start()

    @staticmethod
    def _send(sender: socket.socket) -> None:
        payload = bytes(_CHUNK_BYTES)
        with contextlib.suppress(OSError):
            while True:
                sender.sendall(payload)

    def _take(self, receiver: socket.socket, number: int) -> None:
        buffer = bytearray(_CHUNK_BYTES)
        with contextlib.suppress(OSError):
            while got := receiver.recv_into(buffer):
                self.arrived[number] += got

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _tcp_socket(place: Namespace) -> socket.socket:
    with entered(place):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    return made


def _tcp_kbps(arm: Arm, count: int, times: Times) -> float:
    """In frames, as full segments have them."""
    with contextlib.closing(_Flows(arm, count)) as flows:
        time.sleep(times.settling)
        began, before = time.monotonic(), sum(flows.arrived)
        time.sleep(times.measured)
        arrived, took = sum(flows.arrived) - before, time.monotonic() - began
    return arrived * 8 / took / 1000 * _TCP_FRAME_BYTES / _TCP_PAYLOAD_BYTES


def _ping(arm: Arm, times: Times) -> tuple[float, float]:
    """Percent lost, and milliseconds of the slowest, while one TCP flow takes all that there is."""
    count = max(3, int(times.measured * 10))
    with contextlib.closing(_Flows(arm, 1)):
        time.sleep(times.settling)
        said = arm.one.run("ping", "-q", "-c", str(count), "-i", "0.1", "-W", "1", arm.address, check=False)
    lost, worst = _LOSS.search(said), _WORST.search(said)
    if not lost:
        raise LabError(f"shaping: ping: {said}")
    return float(lost[1]), float(worst[1]) if worst else 0.0
