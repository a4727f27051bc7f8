"""A guest that sends to the host's own address at full speed, whatever is done to its VF meanwhile and wherever the daemon dies:
the host's stack hears nothing."""

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Iterator

import pytest
from floods import Flood, Listener, datagram

from sriov_xdp.api.client import CommandFailed, call
from sriov_xdp.datapath.pins import remove_tree
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, run, wait_until

MAC = "02:00:00:00:01:01"
LAN = [{"name": "lan", "policy": {"security": {"mac_changes": "accept", "forged_transmits": "accept", "promiscuous": "accept"}}}]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: Namespace = lab.namespace("h")
        self.guest: Namespace = lab.namespace("vm")
        self.listener = Listener(self.host)
        guests = [{"guest": self.guest.name, "port_group": "lan", "mac": MAC}]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, LAN), host=self.host)
        self.flood = Flood(lab, self.guest, MAC)

    def close(self) -> None:
        self.flood.close()
        self.listener.close()

    def attach(self) -> None:
        self.call("vf-attach", vf="pf0vf0", guest=self.guest.name, port_group="lan", mac=MAC)

    def detach(self) -> None:
        self.call("vf-detach", vf="pf0vf0")

    def call(self, verb: str, **document: str) -> None:
        """As the command line does, without the time that it takes to start one."""
        call(self.daemon.run_dir, verb, document)

    def is_attached(self) -> bool:
        return self.daemon.ask("vf", "show", "pf0vf0")["state"] == "attached"

    def wait_for_frames(self) -> None:
        """The guest's frames go through the programs, many of them."""
        before = self.frames()
        wait_until(lambda: self.frames() > before + 500, "the guest's frames pass the switch")

    def frames(self) -> int:
        """All are dropped: there is nobody else who could hear them."""
        return int(self.daemon.ask("vf", "show", "pf0vf0")["drops"].get("no_target", 0))

    def wait_for_tries(self) -> None:
        """The guest goes on sending, whether anything comes of it or not."""
        before = self.flood.tries()
        wait_until(lambda: self.flood.tries() > before + 5000, "the guest goes on sending")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("ng") as lab:
        made = Scene(lab)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(autouse=True)
def host_hears_nothing(scene: Scene) -> Iterator[None]:
    if scene.daemon.process.poll() is not None:
        scene.daemon.start()
    if not scene.is_attached():
        scene.attach()
    scene.wait_for_frames()
    scene.listener.heard()
    yield
    scene.wait_for_tries()
    assert 0 == scene.listener.heard()


def test_the_host_would_hear_it_from_a_state_without_programs(scene: Scene) -> None:
    """Otherwise the other tests would show nothing."""
    run("ip", "-n", scene.host.name, "link", "add", "open0", "type", "veth", "peer", "name", "open1", "netns", scene.guest.name)
    scene.host.ip("link", "set", "open0", "up")
    scene.guest.ip("link", "set", "open1", "up")
    with entered(scene.guest):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.bind(("open1", 0))
    with sender:
        wait_until(lambda: sender.send(datagram(MAC)) and scene.listener.heard(), "the host hears the guest")
    scene.host.ip("link", "del", "open0")
    scene.listener.heard()


def test_ten_attaches_and_detaches(scene: Scene) -> None:
    for _round in range(10):
        scene.detach()
        scene.attach()
        scene.wait_for_frames()


def test_attach_that_is_refused_late(scene: Scene) -> None:
    """The mailbox's name is taken: the pair is there by then."""
    scene.detach()
    with entered(scene.guest):
        squatter = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    squatter.bind("\0sriov-xdp/pf0vf0")
    with squatter, pytest.raises(CommandFailed, match="the name is taken"):
        scene.attach()
    assert not scene.is_attached()


@pytest.mark.parametrize("verb", ["vf-attach", "vf-detach"])
def test_daemon_killed_at_any_moment(scene: Scene, verb: str) -> None:
    """Five moments, spread over the time that the verb takes."""
    for moment in range(5):
        if (verb == "vf-attach") is scene.is_attached():
            scene.attach() if verb == "vf-detach" else scene.detach()
        killer = threading.Timer(moment * 0.016, scene.daemon.process.kill)
        killer.start()
        with contextlib.suppress(CommandFailed):
            scene.attach() if verb == "vf-attach" else scene.detach()
        killer.join()
        scene.daemon.process.wait()
        scene.wait_for_tries()
        scene.daemon.start()


def test_changes_of_link_and_mode(scene: Scene) -> None:
    for _round in range(3):
        for settings in ({"link_state": "disable"}, {"datapath": "xdp"}, {"link_state": "enable"}, {"datapath": "auto"}):
            scene.call("vf-set", vf="pf0vf0", **settings)
        scene.wait_for_frames()


def test_boot_that_makes_the_pairs_anew(scene: Scene) -> None:
    """The guest's namespace is there already, and whoever lives in it sends from the first moment."""
    scene.daemon.kill()
    scene.host.ip("link", "del", "pf0vf0")
    remove_tree(scene.daemon.bpffs)
    with sqlite3.connect(scene.daemon.state_dir / "state.db") as database:
        database.execute("UPDATE meta SET value='an earlier boot' WHERE key='boot_id'")
    database.close()
    scene.daemon.start()
    assert scene.is_attached()
    scene.wait_for_frames()


def test_teardown(scene: Scene) -> None:
    scene.daemon.teardown()
    scene.wait_for_tries()
    scene.daemon.start()
