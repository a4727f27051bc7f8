"""What the control path costs: mailbox round trips, attaching, applying, policy changes, starts, scrapes, memory."""

import contextlib
import json
import os
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sriov_xdp.api.client import call
from sriov_xdp.guest.driver import VfDriver
from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config
from sriov_xdp.lab.traffic import Tap, frame, octets, tapped

_GROUPS = [{"name": "lan", "vlan": "none"}]
_FORGED = "02:66:66:66:66:66"
_HEADER_BYTES = 14
_SETTLE_SECONDS = 0.15
_SOAK_READINGS = 10


def timed(work: Callable[[], Any]) -> float:
    """Seconds that work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _config(guest: Namespace, count: int) -> dict[str, Any]:
    config = host_config(None, [], _GROUPS)
    config["pfs"][0]["num_vfs"] = 256
    adapters = [{"name": f"e{number}", "port_group": "lan"} for number in range(count)]
    config["guests"] = [{"name": guest.name, "adapters": adapters}] if count else []
    return config


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def mailbox_round_trips(tag: str, count: int) -> dict[str, float]:
    """GET_STATS from a guest, p50 and p99 in microseconds; the client and the daemon on one CPU and on two. The bare echo of
    the same size is the limit of a Python peer."""
    results: dict[str, float] = {}
    with Lab(tag) as lab:
        guest = lab.namespace("g")
        daemon = lab.daemon(host_config(None, [{"guest": guest.name, "port_group": "lan"}], _GROUPS))
        daemon.settle()
        with entered(guest):
            driver = VfDriver(str(daemon.vf_of(guest.name)["address"]))
        for name, cpu in (("same CPU", 0), ("two CPUs", 1)):
            pin_all_threads(daemon.process.pid, cpu)
            with pinned(0):
                samples = sorted(timed(driver.stats) * 1e6 for _ in range(count))
            results[f"mailbox, {name}, p50 µs"] = samples[count // 2]
            results[f"mailbox, {name}, p99 µs"] = samples[count * 99 // 100]
        driver.close()
    results["bare echo, p50 µs"] = _bare_echo(count)
    return results


@contextlib.contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """This process on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin_all_threads(pid: int, cpu: int) -> None:
    """Another process on one CPU."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})


def _bare_echo(count: int) -> float:
    """p50 in microseconds between two blocking Python processes on one CPU."""
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        one.close()
        os.sched_setaffinity(0, {0})
        while message := two.recv(4096):
            two.send(message)
        os._exit(0)
    two.close()
    with pinned(0), one:
        samples = sorted(timed(lambda: (one.send(bytes(44)), one.recv(4096))) * 1e6 for _ in range(count))
    os.waitpid(child, 0)
    return samples[count // 2]


def starts(tag: str, rounds: int = 5) -> dict[str, float]:
    """Cold: compiles. Warm: 64 VFs adopted after a kill."""
    results = {}
    with Lab(tag) as lab:
        guest = lab.namespace("g")
        empty = lab.daemon(_config(guest, 0))
        results["cold start s"] = empty.ready_seconds
        daemon = lab.daemon(_config(guest, 64))
        samples = []
        for _round in range(rounds):
            daemon.kill()
            daemon.start()
            samples.append(daemon.ready_seconds)
        results["warm start with 64 VFs s"] = statistics.median(samples)
        results["resident memory with 64 VFs MiB"] = _resident_mib(daemon.process.pid)
    return results


def attaching(tag: str) -> dict[str, float]:
    """64 and 256 VFs one command each, without the command line's own start; then a configuration with 256 from nothing."""
    results = {}
    with Lab(tag) as lab:
        guest = lab.namespace("g")
        daemon = lab.daemon(_config(guest, 0))
        for count in (64, 256):
            samples = _attach(daemon, guest, count)
            results[f"attach of {count} VFs s"] = sum(samples)
            results["attach of a VF, p50 ms"] = statistics.median(samples) * 1e3
            for vf in call(daemon.run_dir, "vf-list"):
                if vf["state"] == "attached":
                    call(daemon.run_dir, "vf-detach", {"vf": vf["address"]})
        text = json.dumps(_config(guest, 256))
        results["apply of 256 VFs from nothing s"] = timed(lambda: call(daemon.run_dir, "apply", {"text": text}))
        results.update(_with_256(daemon, guest))
    return results


def _attach(daemon: Daemon, guest: Namespace, count: int) -> list[float]:
    """One after the other; seconds of each."""
    adapters = [{"guest": guest.name, "port_group": "lan", "interface": f"e{number}"} for number in range(count)]
    return [timed(lambda adapter=adapter: call(daemon.run_dir, "vf-attach", adapter)) for adapter in adapters]  # type: ignore[misc]


def _with_256(daemon: Daemon, guest: Namespace) -> dict[str, float]:
    commands, obeyed = [], []
    with tapped((guest, "e255"), (guest, "e0")) as (last, first):
        for round_number in range(10):
            command, until = _policy_change(daemon, "accept" if round_number % 2 == 0 else "reject", last, first, guest.mac("e0"))
            commands.append(command * 1e3)
            obeyed.append(until * 1e3)
    scrapes = [timed(lambda: _scrape(daemon.metrics_port)) for _round in range(10)]
    return {
        "policy change of 256 ports, command ms": statistics.median(commands),
        "policy change until the last of 256 ports obeys ms": statistics.median(obeyed),
        "scrape with 256 VFs ms": statistics.median(scrapes) * 1e3,
        "resident memory with 256 VFs MiB": _resident_mib(daemon.process.pid),
    }


def _policy_change(daemon: Daemon, forged_transmits: str, sender: Tap, receiver: Tap, receiver_mac: str) -> tuple[float, float]:
    """How long the command took, and how long after its start the port of the sender, which sends forged frames all the while,
    let the first one pass, or the last one: a frame carries the time at which it was sent."""
    is_over = threading.Event()

    def send() -> None:
        while not is_over.wait(0.0002):
            sender.send(frame(receiver_mac, _FORGED, struct.pack("<d", time.perf_counter())))

    thread = threading.Thread(target=send)
    thread.start()
    time.sleep(_SETTLE_SECONDS)
    policy = {"name": "lan", "policy": {"security": {"forged_transmits": forged_transmits}}}
    started = time.perf_counter()
    command = timed(lambda: call(daemon.run_dir, "port-group-set", policy))
    time.sleep(_SETTLE_SECONDS)
    is_over.set()
    thread.join()
    passed = [struct.unpack_from("<d", data, _HEADER_BYTES)[0] for data in receiver.drain() if data[6:12] == octets(_FORGED)]
    since = [sent - started for sent in passed if sent > started]
    if forged_transmits == "accept":
        return command, min(since)
    return command, max(since, default=0.0)


def _scrape(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        chunks = []
        while chunk := connection.recv(1 << 16):
            chunks.append(chunk)
    return b"".join(chunks)


def automatic_mode(tag: str, rounds: int) -> dict[str, float]:
    """From a guest attaching a program that drops everything until the last frame that passed by it, and until the VF is in
    XDP mode; milliseconds, medians. A neighbour sends all the while."""
    passed, switched = [], []
    with Lab(tag) as lab:
        guest, neighbour = lab.namespace("g"), lab.namespace("n")
        guests = [{"guest": place.name, "port_group": "lan"} for place in (guest, neighbour)]
        daemon = lab.daemon(host_config(None, guests, _GROUPS))
        guest.address(1)
        neighbour.address(2)
        neighbour.can_ping("10.77.0.1")
        vf = daemon.vf_of(guest.name)["address"]
        for _round in range(rounds):
            late, until = _one_switch(daemon, guest, neighbour, vf)
            passed.append(late * 1e3)
            switched.append(until * 1e3)
            _wait_active(daemon, vf, "tcx")
            neighbour.can_ping("10.77.0.1", count=2)
    return {
        "auto: last frame past the guest's program ms": statistics.median(passed),
        "auto: in XDP mode ms": statistics.median(switched),
    }


def _one_switch(daemon: Daemon, guest: Namespace, neighbour: Namespace, vf: str) -> tuple[float, float]:
    with entered(guest):
        inlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with entered(neighbour):
        outlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inlet.bind(("10.77.0.1", 0))
    inlet.settimeout(0.3)
    target, is_over = inlet.getsockname(), threading.Event()
    arrivals: list[float] = []

    def send() -> None:
        while not is_over.wait(0.0002):
            outlet.sendto(struct.pack("<d", time.perf_counter()), target)

    def take() -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                arrivals.append(struct.unpack("<d", inlet.recv(64))[0])

    threads = [threading.Thread(target=send), threading.Thread(target=take)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    with programs.attached(guest, "eth0", programs.constant(programs.XDP_DROP)):
        at = time.perf_counter()
        until = _wait_active(daemon, vf, "xdp") - at
        time.sleep(0.2)
    is_over.set()
    for thread in threads:
        thread.join()
    inlet.close()
    outlet.close()
    after_program = [sent for sent in arrivals if at < sent < at + 0.2]
    return (max(after_program) - at if after_program else 0.0), until


def _wait_active(daemon: Daemon, vf: str, active: str) -> float:
    while True:
        if call(daemon.run_dir, "vf-show", {"vf": vf})["datapath"]["active"] == active:
            return time.perf_counter()


def soak(tag: str, seconds: float) -> dict[str, float]:
    """Resident memory in MiB of a daemon with 64 VFs under constant requests, scrapes and attachments, at each tenth of the
    time."""
    with Lab(tag) as lab:
        guest = lab.namespace("g")
        daemon = lab.daemon(_config(guest, 64))
        with entered(guest):
            driver = VfDriver("pf0vf0")
        started, found = time.monotonic(), dict[str, float]()
        while (elapsed := time.monotonic() - started) < seconds:
            if elapsed >= (len(found) + 1) * seconds / _SOAK_READINGS:
                found[f"{elapsed:.0f} s"] = _resident_mib(daemon.process.pid)
            for _request in range(200):
                driver.stats()
            _scrape(daemon.metrics_port)
            vf = call(daemon.run_dir, "vf-attach", {"guest": guest.name, "port_group": "lan", "interface": "extra"})
            call(daemon.run_dir, "vf-detach", {"vf": vf["address"]})
        driver.close()
        return {**found, f"{seconds:.0f} s": _resident_mib(daemon.process.pid)}
