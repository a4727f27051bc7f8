"""A daemon that hangs, and one that died when a change was stored and no map was told of it: frames go on as they were, whoever
asks hears in time that nobody answers, and the next start makes the rest of what was stored."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, GET_STATS, OK, RawMailbox

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

GROUPS = [
    {"name": "lan", "policy": {"security": {"mac_changes": "accept"}}, "overrides_allowed": ["vlan"]},
    {"name": "tagged", "vlan": {"access": 77}},
]
ADMIN, GRANTED = "02:00:00:00:31:01", "02:00:00:00:31:72"
FRAMES = 3000  # some seconds of them
_IMPATIENT = """from sriov_xdp.api import client
client.ANSWER_SECONDS = 1.0
from sriov_xdp.cli.main import run
run()
"""
_DIES = """import os, signal, sys
from sriov_xdp.store.database import Database
trigger, real = sys.argv.pop(1), Database.write_intent
def dies(*arguments, **named):
    real(*arguments, **named)
    if os.path.exists(trigger):
        os.kill(os.getpid(), signal.SIGKILL)
Database.write_intent = dies
from sriov_xdp.cli.main import run
run()
"""


class Scene:
    """one has an admin MAC, and may change it; two and three exchange frames all the while."""

    def __init__(self, lab: Lab) -> None:
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        self.three: Namespace = lab.namespace("three")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "mac": ADMIN},
            {"guest": self.two.name, "port_group": "lan", "datapath": "xdp"},
            {"guest": self.three.name, "port_group": "lan", "datapath": "tcx"},
        ]
        watched = {"WATCHDOG_USEC": "200000"}
        self.daemon: Daemon = lab.daemon(host_config(None, guests, GROUPS), environment=watched)
        self.program = self.daemon.program
        self.trigger = lab.folder / "die"
        for guest, host in ((self.one, 1), (self.two, 2), (self.three, 3)):
            guest.address(host)

    @contextlib.contextmanager
    def streams(self) -> Iterator[list[frames.Stream]]:
        """Of which nothing is lost."""
        made = [frames.Stream(self.two, self.three, "10.77.0.3"), frames.Stream(self.three, self.two, "10.77.0.2")]
        try:
            wait_until(lambda: min(stream.sent for stream in made) > 100, "the streams run")
            yield made
        finally:
            lost = [stream.stop() for stream in made]
        assert [[], []] == lost

    def service_manager(self) -> socket.socket:
        """Hears what the daemon tells its service manager from now on."""
        path = max(self.daemon.folder.glob("notify-*"))
        path.unlink()
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        channel.bind(str(path))
        channel.settimeout(10)
        return channel

    def restart(self, *program: str) -> None:
        if self.daemon.process.poll() is None:
            self.daemon.stop()
        self.daemon.program = [*program] or self.program
        self.daemon.start()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("hh") as lab:
        yield Scene(lab)


def test_while_it_hangs_frames_go_on_and_who_asks_is_told(scene: Scene) -> None:
    pid = scene.daemon.process.pid
    with RawMailbox(scene.one, "pf0vf0") as mailbox, scene.service_manager() as manager, scene.streams() as streams:
        assert b"WATCHDOG=1" == manager.recv(4096)
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "T", "it hangs")
            at_stop = [stream.sent for stream in streams]
            mailbox.send(GET_STATS, struct.pack("<HHII", mailbox.vsi, 0, 0, 0))
            manager.setblocking(False)
            drained(manager)
            command = [sys.executable, "-c", _IMPATIENT, "--run-dir", str(scene.daemon.run_dir), "vf", "list"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            wait_until(
                lambda: min(now.sent - then for now, then in zip(streams, at_stop, strict=True)) > FRAMES, "frames go on", 60
            )
            assert [] == drained(manager), "nothing keeps the service manager from ending it"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (6, "") == (done.returncode, done.stdout)
        assert f"daemon: no answer at {scene.daemon.run_dir}/admin.sock within 1 s: it hangs" in done.stderr
        assert (GET_STATS, OK) == mailbox.receive()[:2]
        manager.settimeout(10)
        assert b"WATCHDOG=1" == manager.recv(4096)
    assert "attached" == scene.daemon.ask("vf", "show", "pf0vf0")["state"]


def drained(channel: socket.socket) -> list[bytes]:
    """What is there now."""
    found = []
    while True:
        try:
            found.append(channel.recv(4096))
        except BlockingIOError:
            return found


@pytest.mark.parametrize(
    ("command", "key", "value"),
    [
        (("vf", "set", "pf0vf0", "--port-group", "tagged"), "port_group", "tagged"),
        (("vf", "set", "pf0vf0", "--link-state", "disable"), "link_state", "disable"),
        (("port", "set", "pf0vf0", "--vlan", "access:77"), "vlan", {"access": 77}),
        (("port-group", "set", "lan", "--mac-changes", "reject"), "effective_mac", ADMIN),
    ],
    ids=["another group", "no link", "another VLAN", "a policy that ends a grant"],
)
def test_what_was_stored_is_made_whole_at_the_next_start(scene: Scene, command: tuple[str, ...], key: str, value: object) -> None:
    """Until then all maps say what they said, so the guest is where it was."""
    exported = scene.daemon.command("export").stdout
    with RawMailbox(scene.one, "pf0vf0") as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, GRANTED)
    scene.one.ip("link", "set", "eth0", "address", GRANTED)
    scene.restart(sys.executable, "-c", _DIES, str(scene.trigger))
    assert scene.one.can_ping("10.77.0.2")
    with scene.streams():
        scene.trigger.touch()
        done = scene.daemon.command(*command)
        scene.daemon.process.wait(10)
        scene.trigger.unlink()
        assert (6, -signal.SIGKILL) == (done.returncode, scene.daemon.process.returncode)
        assert scene.one.can_ping("10.77.0.2")
        scene.restart()
        assert value == scene.daemon.ask("vf", "show", "pf0vf0")[key]
        assert not scene.one.can_ping("10.77.0.2")
    scene.one.ip("link", "set", "eth0", "address", ADMIN)
    path = scene.daemon.folder / "before.yaml"
    path.write_text(exported)
    applied = scene.daemon.command("apply", "-f", str(path))
    assert 0 == applied.returncode, applied.stderr
    scene.daemon.ask("vf", "reset", "pf0vf0")
    wait_until(lambda: scene.one.can_ping("10.77.0.2"), "the guest is back")
