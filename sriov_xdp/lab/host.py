"""A throw-away host: namespaces, a wire and a daemon of its own, all with names of this run and all removed at the end.

Driven only through what the product publishes (commands, configuration, mailbox). For the demonstration, the benchmark and
the tests; several labs, and a real daemon, can live on one machine at the same time.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from sriov_xdp.api.client import CommandFailed, call
from sriov_xdp.lab.launching import Process, launcher
from sriov_xdp.patience import patient

READY_SECONDS = 60
STOP_SECONDS = 15
SETTLED_SECONDS = 60
CACHE_VARIABLE = "SRIOV_XDP_CACHE_DIR"  # where it is set, daemons of all labs share what was compiled
_BIN = Path(sys.executable).parent
# Commands of which -j shows what the admin socket answers: its name there, and of what it is asked.
QUESTIONS: dict[tuple[str, ...], tuple[str, str]] = {
    ("vf", "list"): ("vf-list", ""),
    ("vf", "show"): ("vf-show", "vf"),
    ("pf", "list"): ("pf-list", ""),
    ("pf", "show"): ("pf-show", "name"),
    ("port", "list"): ("port-list", ""),
    ("port", "show"): ("port-show", "port"),
}


class LabError(Exception):
    """Something of the lab itself failed; the text has the command and its output."""


def run(*command: str, check: bool = True, timeout_seconds: float = 60) -> str:
    """Runs a command on the host, which finds no terminal to ask; returns its output. Raises LabError."""
    done = _run(command, timeout_seconds)
    if check and done.returncode:
        raise LabError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _run(command: Sequence[str], timeout_seconds: float) -> subprocess.CompletedProcess[str]:
    return launcher().run(command, patient(timeout_seconds))


def wait_until(holds: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """Waits for a condition; returns its value. Raises LabError when it does not come true in time."""
    deadline = time.monotonic() + patient(seconds)
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds} s in vain for: {what}")
        time.sleep(0.02)


class Namespace:
    """A guest's or the wire's network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: str, check: bool = True, timeout_seconds: float = 60) -> str:
        """Runs a command inside."""
        return run("ip", "netns", "exec", self.name, *command, check=check, timeout_seconds=timeout_seconds)

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Starts a process inside; the lab ends it at the latest."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], **pipes)

    def ip(self, *arguments: str, check: bool = True) -> str:
        """One command of iproute2 inside."""
        return run("ip", "-n", self.name, *arguments, check=check)

    def address(self, host: int, device: str = "eth0", network: str = "10.77.0", prefix6: str = "fd77:") -> None:
        """Gives the interface 10.77.0.HOST and fd77::HOST."""
        self.ip("link", "set", device, "up")
        self.ip("addr", "add", f"{network}.{host}/24", "dev", device)
        self.ip("-6", "addr", "add", f"{prefix6}:{host}/64", "dev", device, "nodad")

    def can_ping(self, address: str, count: int = 1, wait_seconds: int = 1) -> bool:
        """Whether an address answers."""
        command = ["ip", "netns", "exec", self.name, "ping", "-c", str(count), "-i", "0.05", "-W", str(wait_seconds), address]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def mac(self, device: str = "eth0") -> str:
        """What the guest's netdev says."""
        return str(json.loads(self.ip("-j", "link", "show", device))[0]["address"])

    def vf(self, *arguments: str, check: bool = True) -> Any:
        """Runs sriov-vf with -j inside; its result."""
        output = self.run(str(_BIN / "sriov-vf"), *arguments, "-j", check=check)
        return json.loads(output) if output.strip() else None


class Daemon:
    """A daemon process of the lab. host: the namespace that stands for its host, where it is not this one. program: what is
    started, for one that is to be another build or to die somewhere."""

    def __init__(self, folder: Path, bpffs: Path, config: dict[str, Any], *extra: str, host: Namespace | None = None) -> None:
        self._entrance = ["nsenter", f"--net=/run/netns/{host.name}"] if host else []
        self.program = [str(_BIN / "sriov-xdp")]
        self.folder = folder
        self.state_dir, self.run_dir, self.bpffs = folder / "state", folder / "run", bpffs
        self.config_file = folder / "host.yaml"
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))
        self.metrics_port = _free_port()
        self.options = list(extra)
        self.environment: dict[str, str] = {}
        self.ready_seconds = 0.0
        self.process: Process

    def start(self) -> None:
        """Returns when frames flow. Raises LabError."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self.folder / f"notify-{time.monotonic_ns()}"
        channel.bind(str(path))
        channel.settimeout(0.1)
        started = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            kept = {CACHE_VARIABLE: str(self.folder / "cache")}  # said so that another build, which may know of none, starts too
            environment = {**kept, **os.environ, **self.environment, "NOTIFY_SOCKET": str(path)}
            self.process = launcher().start(self._command(), environment, self.folder, log)
        while True:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in channel.recv(4096):
                    break
            if self.process.poll() is not None or time.monotonic() - started > patient(READY_SECONDS):
                self.process.kill()
                raise LabError(f"daemon: not ready:\n{self.log()[-2000:]}")
        channel.close()
        self.ready_seconds = time.monotonic() - started

    def _command(self) -> list[str]:
        places = ["--state-dir", str(self.state_dir), "--run-dir", str(self.run_dir), "--bpffs", str(self.bpffs)]
        metrics = ["--metrics", f"127.0.0.1:{self.metrics_port}"]
        daemon = [*self._entrance, *self.program, "daemon", "--config", str(self.config_file)]
        return [*daemon, *places, *metrics, *self.options]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs sriov-xdp against this daemon, whatever comes of it; it finds no terminal to ask."""
        command = [str(_BIN / "sriov-xdp"), "--run-dir", str(self.run_dir), *arguments]
        return _run(command, 120)

    def ask(self, *arguments: str) -> Any:
        """What sriov-xdp with -j says. Plain questions go to the admin socket as the command would put them, without the quarter of
        a second that it takes to start. Raises LabError."""
        command, key = QUESTIONS.get(arguments[:2], ("", ""))
        if command and len(arguments) == (3 if key else 2):
            try:
                return call(self.run_dir, command, {key: arguments[2]} if key else None)
            except CommandFailed as error:
                raise LabError(f"sriov-xdp {' '.join(arguments)}: exit {error.exit_code}: {error}") from error
        done = self.command(*arguments, "-j")
        if done.returncode:
            raise LabError(f"sriov-xdp {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def vf_of(self, guest: str) -> dict[str, Any]:
        """The VF of a guest with one adapter."""
        found = [vf for vf in self.ask("vf", "list") if vf["guest"] == guest]
        if not found:
            raise LabError(f"guest {guest}: has no VF")
        return dict(found[0])

    def settle(self) -> None:
        """Waits until every VF's programs are attached by the hooks that are meant. Raises LabError."""
        wait_until(lambda: all(is_settled(vf) for vf in self.ask("vf", "list")), "the VFs are settled", SETTLED_SECONDS)

    def log(self) -> str:
        """Everything logged so far."""
        return (self.folder / "log").read_text()

    def metrics(self) -> str:
        """One scrape."""
        return run("/usr/bin/python3", "-c", _SCRAPE, str(self.metrics_port))

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(patient(STOP_SECONDS))

    def teardown(self) -> None:
        """Removes everything of this daemon."""
        if hasattr(self, "process") and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        places = ["--state-dir", str(self.state_dir), "--run-dir", str(self.run_dir), "--bpffs", str(self.bpffs)]
        run(*self._entrance, str(_BIN / "sriov-xdp"), "teardown", *places)


def is_settled(vf: dict[str, Any]) -> bool:
    """Whether a VF is free, in its final hooks, or of an earlier build, which knows no other."""
    return vf["state"] == "free" or bool(vf["datapath"].get("settled", True))


_SCRAPE = """import sys, urllib.request
print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=10).read().decode(), end="")"""


class Lab:
    """Use as a context manager."""

    def __init__(self, tag: str = "lab") -> None:
        self.tag = f"{tag}{os.getpid() % 100000}"
        self._names: list[str] = []
        self._devices: list[str] = []
        self._daemons: list[Daemon] = []
        self.folder = Path(tempfile.mkdtemp(prefix="sriov-xdp-lab-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def name(self, short: str) -> str:
        """A name of this run."""
        return f"{self.tag}{short}"

    def namespace(self, short: str) -> Namespace:
        """Makes a namespace."""
        name = self.name(short)
        run("ip", "netns", "add", name)
        self._names.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return Namespace(name)

    def device(self, short: str) -> str:
        """A name for a device on the host that is made by the caller and removed at the end."""
        self._devices.append(self.name(short))
        return self._devices[-1]

    def adopt(self, name: str) -> Namespace:
        """A namespace that the daemon made; removed at the end when it is still there."""
        self._names.append(name)
        return Namespace(name)

    def remove(self, namespace: Namespace) -> None:
        """A namespace before the end, with what lives in it."""
        _end_processes(namespace.name)
        run("ip", "netns", "del", namespace.name, check=False)

    def wire(self, mtu_bytes: int = 1500, host: Namespace | None = None) -> tuple[Namespace, str]:
        """What is plugged into the uplink: a namespace with w0, and the uplink's name on the host, or in what stands for one."""
        wire, uplink = self.namespace("w"), self.name("u")
        at = ["ip", "-n", host.name] if host else ["ip"]
        ends = [[uplink, "mtu", str(mtu_bytes)], ["w0", "mtu", str(mtu_bytes), "netns", wire.name]]
        run(*at, "link", "add", *ends[0], "type", "veth", "peer", "name", *ends[1])
        if host is None:
            self._devices.append(uplink)
        run(*at, "link", "set", uplink, "up")
        wire.ip("link", "set", "w0", "up")
        # The wire computes its checksums and sends its tags in band, as a cable does.
        wire.run("ethtool", "-K", "w0", "gro", "on", "tx", "off", "txvlan", "off")
        return wire, uplink

    def daemon(
        self, config: dict[str, Any], *extra: str, host: Namespace | None = None, environment: dict[str, str] | None = None
    ) -> Daemon:
        """Starts a daemon with its own directories, on this host or in a namespace that stands for one."""
        folder = self.folder / f"d{len(self._daemons)}"
        folder.mkdir()
        bpffs = Path("/sys/fs/bpf") / f"{self.tag}d{len(self._daemons)}"
        daemon = Daemon(folder, bpffs, config, *extra, host=host)
        daemon.environment.update(environment or {})
        self._daemons.append(daemon)
        daemon.start()
        return daemon

    def first_daemon(self) -> Daemon:
        """The daemon started first."""
        return self._daemons[0]

    def close(self) -> None:
        """Removes everything; goes on after faults, and reports the first. Whoever presses Ctrl-C once more waits for the end."""
        with uninterrupted():
            self._remove_all()

    def _remove_all(self) -> None:
        faults: list[str] = []
        for daemon in self._daemons:
            try:
                daemon.teardown()
            except (LabError, OSError, subprocess.SubprocessError) as error:
                faults.append(str(error))
        for name in self._names:
            self.remove(Namespace(name))
        for device in self._devices:
            run("ip", "link", "del", device, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        if faults:
            raise LabError(faults[0])


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C means nothing meanwhile, neither here nor to the commands that are run; only in the main thread, whose it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _end_processes(namespace: str) -> None:
    for pid in run("ip", "netns", "pids", namespace, check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def host_config(uplink: str | None, guests: list[dict[str, Any]], groups: list[dict[str, Any]], **switch: Any) -> dict[str, Any]:
    """A configuration with one PF and one switch. guests: adapters with a guest name, namespace = name."""
    pf = {"name": "pf0", **({"uplink": uplink} if uplink else {}), "num_vfs": max(8, len(guests))}
    documents = []
    for guest in guests:
        adapter = {"name": "eth0", "kind": "vf", **{key: value for key, value in guest.items() if key != "guest"}}
        documents.append({"name": guest["guest"], "netns": guest["guest"], "adapters": [adapter]})
    return {
        "version": 1,
        "pfs": [pf],
        "switches": [{"name": "vSwitch0", "kind": "standard", "pf": "pf0", "port_groups": groups, **switch}],
        "guests": documents,
    }


@contextlib.contextmanager
def entered(namespace: Namespace) -> Iterator[None]:
    """This thread inside a namespace, for sockets made here."""
    from sriov_xdp.host.namespaces import in_namespace

    with in_namespace(namespace.name):
        yield
