"""What a quiet guest notices of the others: its round trips while another guest, or the operator, does the worst that it can.

The quiet guest and the daemon share one CPU, the attacker has the other; so what is measured is the writer's fairness, not a
fight for a CPU. Each attack is judged against the quiet guest's own p99 just before it.
"""

import contextlib
import mmap
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sriov_xdp.api.client import call
from sriov_xdp.bench.control import pin_all_threads, pinned
from sriov_xdp.bench.targets import UNDER_ATTACK
from sriov_xdp.guest.driver import VfDriver
from sriov_xdp.guest.errors import VfDriverError
from sriov_xdp.host.links import Links
from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, run, wait_until
from sriov_xdp.mailbox import codec
from sriov_xdp.mailbox.messages import AddAddressList, AddressType, EtherAddress, Reset, Version

_ALLOWED_US, _ALLOWED_TIMES = 5000.0, 10.0
_PERIOD_SECONDS = 0.002  # between requests of the quiet guest
_GUEST_CPU, _ATTACKER_CPU = 0, 1
_MANY_DEVICES = 1000
_ROUND_SECONDS = 60
_MACS_IN_A_MESSAGE = 500
_ATTACKERS_VFS = 20
_ACCEPT = {"security": {"mac_changes": "accept"}}


@dataclass(slots=True)
class Scene:
    """A quiet guest, an attacker, and their daemon."""

    lab: Lab
    daemon: Daemon
    quiet: Namespace
    attacker: Namespace
    vfs: list[str]  # the attacker's

    @property
    def vf(self) -> str:
        """Its first."""
        return self.vfs[0]


Attack = Callable[[Scene], None]  # one round of it; called again and again in a process of its own


def _invalid_messages(scene: Scene) -> None:
    with entered(scene.attacker), contextlib.closing(_connected(scene.vf)) as client:
        for _message in range(1000):
            client.send(struct.pack("<HHHHIiIIII", 0, 0x0801, 4, 0, 10, 0, 0, 0, 0, 0) + b"\xff" * 4)
            with contextlib.suppress(BlockingIOError):
                client.recv(4096, socket.MSG_DONTWAIT)


def _granted_changes(scene: Scene) -> None:
    with _driver(scene) as driver:
        for number in range(200):
            driver.add_address(bytes([2, 0, 0, 0xAA, 0, number % 2]), AddressType.PRIMARY)


def _resets(scene: Scene) -> None:
    for _reset in range(50):
        with _driver(scene) as driver:
            driver.reset()


def _resets_of_many(scene: Scene) -> None:
    """Without waiting for what comes of one."""
    with entered(scene.attacker), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(_connected(vf))) for vf in scene.vfs]
        for client in clients:
            client.send(codec.encode_request(Version(major=1, minor=1)))
        for _reset in range(50):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(codec.encode_request(Reset()), socket.MSG_DONTWAIT)
                    client.recv(4096, socket.MSG_DONTWAIT)


def _huge_messages(scene: Scene) -> None:
    with _driver(scene) as driver:
        addresses = tuple(
            EtherAddress(mac=b"\x02\xbb" + number.to_bytes(4, "big"), type=AddressType.EXTRA)
            for number in range(_MACS_IN_A_MESSAGE)
        )
        message = codec.encode_request(AddAddressList(vsi_id=driver.resources.vsi_id, addresses=addresses))
        with contextlib.closing(_connected(scene.vf)) as client:
            for _message in range(200):
                client.send(message)
                with contextlib.suppress(BlockingIOError):
                    client.recv(4096, socket.MSG_DONTWAIT)


def _flapping_link(scene: Scene) -> None:
    with entered(scene.attacker), contextlib.closing(Links()) as links:
        ifindex = links.by_name("eth0").ifindex
        for number in range(400):
            links.change(ifindex, state="down" if number % 2 == 0 else "up")


def _programs_that_come_and_go(scene: Scene) -> None:
    for _round in range(20):
        with programs.attached(scene.attacker, "eth0", programs.constant(programs.XDP_PASS)):
            pass


def _half_requests(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        for _connection in range(200):
            with contextlib.suppress(OSError):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", scene.daemon.metrics_port), 1))
                sock.sendall(b"GET /metrics HTTP/1.1\r\nX: ")


def _connects(scene: Scene) -> None:
    with entered(scene.attacker):
        for _connection in range(500):
            with contextlib.suppress(OSError), contextlib.closing(_connected(scene.vf)):
                pass


def _large_files(scene: Scene) -> None:
    """What an operator's mistake looks like: a file of megabytes of values."""
    text = "version: 1\nguests:\n" + "- {name: g, adapters: [{name: e, port_group: x}]}\n" * 40_000
    with contextlib.suppress(Exception):
        call(scene.daemon.run_dir, "diff", {"text": text})


def _attachments(scene: Scene) -> None:
    """The operator gives VFs to other guests and takes them back."""
    document = {"guest": "other", "netns": scene.attacker.name, "port_group": "lan", "interface": "extra"}
    vf = call(scene.daemon.run_dir, "vf-attach", document)
    call(scene.daemon.run_dir, "vf-detach", {"vf": vf["address"]})


ATTACKS: dict[str, Attack] = {
    "invalid messages": _invalid_messages,
    "granted changes of MAC": _granted_changes,
    "resets": _resets,
    f"resets of {_ATTACKERS_VFS} VFs of a guest": _resets_of_many,
    f"messages of {_MACS_IN_A_MESSAGE} addresses": _huge_messages,
    "connects to its mailbox": _connects,
    "a link that flaps": _flapping_link,
    f"XDP programs that come and go beside {_MANY_DEVICES} devices": _programs_that_come_and_go,
    "half requests for metrics": _half_requests,
    "a file of megabytes": _large_files,
    "attach and detach by the operator": _attachments,
}


def under_attack(tag: str, seconds: float) -> dict[str, float]:
    """p99 in microseconds, quiet and under each attack, and the worst of them as a part of what is allowed."""
    results: dict[str, float] = {}
    worst = 0.0
    with _scene(tag) as scene, entered(scene.quiet):
        driver = VfDriver(str(scene.daemon.vf_of(scene.quiet.name)["address"]))
        for name, attack in ATTACKS.items():
            quiet = _p99_us(driver, seconds / 4)
            with _running(scene, attack):
                attacked = _p99_us(driver, seconds)
            results[f"quiet guest, p99 µs under {name}"] = attacked
            results[f"quiet guest, p99 µs before {name}"] = quiet
            worst = max(worst, attacked / max(_ALLOWED_US, _ALLOWED_TIMES * quiet))
        driver.close()
    return {**results, UNDER_ATTACK: worst}


@contextlib.contextmanager
def _scene(tag: str) -> Iterator[Scene]:
    with Lab(tag) as lab:
        quiet, attacker = lab.namespace("q"), lab.namespace("a")
        guests = [{"guest": place.name, "port_group": "lan"} for place in (quiet, attacker)]
        config = host_config(None, guests, [{"name": "lan", "vlan": "none"}], policy=_ACCEPT)
        config["pfs"][0]["num_vfs"] = 2 * _ATTACKERS_VFS
        adapters = [{"name": f"eth{number}", "port_group": "lan"} for number in range(_ATTACKERS_VFS)]
        config["guests"][1]["adapters"] = adapters
        daemon = lab.daemon(config)
        daemon.settle()
        lines = "".join(f"link add d{number} type veth\n" for number in range(_MANY_DEVICES // 2))
        run("ip", "-n", attacker.name, "-batch", _file(lab, lines))
        pin_all_threads(daemon.process.pid, _GUEST_CPU)
        yield Scene(
            lab=lab,
            daemon=daemon,
            quiet=quiet,
            attacker=attacker,
            vfs=[vf["address"] for vf in daemon.ask("vf", "list") if vf["guest"] == attacker.name],
        )


def _file(lab: Lab, text: str) -> str:
    path = lab.folder / "batch"
    path.write_text(text)
    return str(path)


@contextlib.contextmanager
def _running(scene: Scene, attack: Attack) -> Iterator[None]:
    """The attack, over and over, in a process on the other CPU. Raises LabError when not one round of it works."""
    with mmap.mmap(-1, mmap.PAGESIZE) as begun, mmap.mmap(-1, mmap.PAGESIZE) as done:
        child = os.fork()
        if child == 0:
            os.sched_setaffinity(0, {_ATTACKER_CPU})
            while True:
                begun[0] = 1
                with contextlib.suppress(Exception):
                    attack(scene)
                    done[0] = 1
        try:
            wait_until(lambda: begun[0] == 1, "the attack begins")
            yield
            wait_until(lambda: done[0] == 1, f"a round of {attack.__name__.strip('_')} comes to its end", _ROUND_SECONDS)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _p99_us(driver: VfDriver, seconds: float) -> float:
    """A request every so often, each from when it was due: were the next one sent when the last is answered, a wait of half a
    second would be one sample among thousands."""
    samples: list[float] = []
    start = time.perf_counter()
    with pinned(_GUEST_CPU):
        for number in range(int(seconds / _PERIOD_SECONDS)):
            due = start + number * _PERIOD_SECONDS
            time.sleep(max(0.0, due - time.perf_counter()))
            driver.stats()
            samples.append((time.perf_counter() - due) * 1e6)
    return sorted(samples)[len(samples) * 99 // 100]


@contextlib.contextmanager
def _driver(scene: Scene) -> Iterator[VfDriver]:
    with entered(scene.attacker):
        driver = VfDriver(scene.vf)
        try:
            yield driver
        except VfDriverError:
            return
        finally:
            driver.close()


def _connected(vf: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(1)
    client.connect(f"\0sriov-xdp/{vf}")
    return client
