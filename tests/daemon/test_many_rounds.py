"""Guests that come and go without end, a wire that flaps, and more changes of devices than can be told of: nothing grows, others
lose no frame, and what holds in the end is what is."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, OK, RawMailbox
from neighbours import losing_nothing

from sriov_xdp.api.client import call
from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

ROUNDS, VFS = 50, 8
FLAPS = 50
PAIRS = 600  # of devices: each makes kilobytes of news, and there is room for some hundred
_GROWTH_KIB = 4 << 10  # two kilobytes for each device


class Scene:
    """On a host of its own, whose devices are its own. one and two go on without the wire, three follows it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: Namespace = lab.namespace("h")
        self.wire: Namespace = lab.namespace("w")
        self.host.ip("link", "add", "u0", "up", "type", "veth", "peer", "name", "w0", "netns", self.wire.name)
        self.wire.ip("link", "set", "w0", "up")
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        self.three: Namespace = lab.namespace("three")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "link_state": "enable", "datapath": "xdp"},
            {"guest": self.two.name, "port_group": "lan", "link_state": "enable", "datapath": "tcx"},
            {"guest": self.three.name, "port_group": "lan"},
        ]
        config = host_config("u0", guests, [{"name": "lan", "policy": {"security": {"mac_changes": "accept"}}}])
        config["pfs"][0]["num_vfs"] = VFS + len(guests)
        self.daemon: Daemon = lab.daemon(config, host=self.host)
        self.daemon.settle()
        for guest, number in ((self.one, 1), (self.two, 2), (self.three, 3)):
            guest.address(number)

    def devices(self) -> list[str]:
        return sorted(link["ifname"] for link in json.loads(run("ip", "-n", self.host.name, "-j", "link")))

    def namespaces(self) -> list[str]:
        return sorted(path.name for path in NAMED.iterdir() if path.name.startswith(self.lab.tag))

    def pins(self) -> list[str]:
        """But for the mark that counts changes."""
        found = [str(path.relative_to(self.daemon.bpffs)) for path in self.daemon.bpffs.rglob("*")]
        return sorted(name for name in found if not name.startswith("revision-"))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.daemon.process.pid}/fd").iterdir()))

    def memory_kib(self) -> int:
        """What is its own, resident: neither files nor maps."""
        lines = Path(f"/proc/{self.daemon.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    def held(self) -> tuple[list[str], list[str], list[str]]:
        return self.devices(), self.namespaces(), self.pins()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("mr") as lab:
        yield Scene(lab)


@pytest.fixture
def neighbours(scene: Scene) -> Iterator[None]:
    """Of whom nobody loses a frame."""
    with losing_nothing((scene.one, scene.two, "10.77.0.2"), (scene.two, scene.one, "10.77.0.1")):
        yield


def come_and_go(scene: Scene, rounds: int) -> None:
    """Two guests, in namespaces that are made for them and go with them; a guest's first adapter asks for another address."""
    guests = [scene.lab.adopt(scene.lab.name(f"g{number}")) for number in range(2)]
    adapters = [(guest.name, f"eth{number}") for guest in guests for number in range(VFS // 2)]
    run_dir = scene.daemon.run_dir
    for number in range(rounds):
        wanted = [{"guest": guest, "interface": name, "port_group": "lan"} for guest, name in adapters]
        vfs = [call(run_dir, "vf-attach", document)["address"] for document in wanted]
        with RawMailbox(guests[0], vfs[0]) as mailbox:
            assert OK == mailbox.addresses(ADD_ETH, f"02:00:00:00:35:{number:02x}")
        for vf in vfs:
            call(run_dir, "vf-detach", {"vf": vf})


def test_guests_that_come_and_go_leave_nothing(scene: Scene) -> None:
    """The first rounds fill what is kept for later ones."""
    come_and_go(scene, 2)
    wait_until(lambda: not [name for name in scene.namespaces() if name.startswith(scene.lab.name("g"))], "they are gone")
    before, descriptors = scene.held(), scene.descriptors()
    come_and_go(scene, ROUNDS)
    wait_until(lambda: before == scene.held(), "devices, namespaces and pins are those that were")
    wait_until(lambda: scene.descriptors() <= descriptors, "and so many descriptors")
    assert [None] * VFS == [vf["guest"] for vf in scene.daemon.ask("vf", "list") if vf["state"] == "free"]


@pytest.mark.usefixtures("neighbours")
def test_a_wire_that_flaps_is_followed_when_it_rests_and_those_that_do_not_follow_it_go_on(scene: Scene) -> None:
    def of_three() -> tuple[str, bool]:
        vf = scene.daemon.vf_of(scene.three.name)
        return vf["link"], "NO-CARRIER" not in scene.three.ip("link", "show", "eth0")

    def addresses() -> list[tuple[str, str, list[str]]]:
        return [(vf["admin_mac"], vf["effective_mac"], vf["filters"]) for vf in scene.daemon.ask("vf", "list") if vf["guest"]]

    before, descriptors = (addresses(), scene.held()), scene.descriptors()
    flaps = ["link set w0 down", "link set w0 up"] * FLAPS
    scene.wire.run("sh", "-c", 'echo "$0" | ip -batch -', "\n".join([*flaps, "link set w0 down"]))
    wait_until(lambda: of_three() == ("down", False), "the loss is followed", 30)
    assert [("up", ""), ("up", "")] == [
        (vf["link"], vf["link_reason"]) for vf in map(scene.daemon.vf_of, (scene.one.name, scene.two.name))
    ]
    scene.wire.run("sh", "-c", 'echo "$0" | ip -batch -', "\n".join([*flaps, "link set w0 up"]))
    wait_until(lambda: of_three() == ("up", True), "the wire is back", 30)
    wait_until(lambda: scene.three.can_ping("10.77.0.1"), "and with it the guest")
    assert before == (addresses(), scene.held())
    wait_until(lambda: scene.descriptors() <= descriptors, "no descriptor is left")


@pytest.mark.usefixtures("neighbours")
def test_when_news_of_devices_are_lost_all_is_looked_at(scene: Scene) -> None:
    """Thousands come and go elsewhere on the host, while the daemon hears nothing, and with them a guest goes."""
    gone = scene.lab.namespace("gone")
    vf = scene.daemon.ask("vf", "attach", "--guest", gone.name, "--port-group", "lan")["address"]
    before, memory_kib = scene.devices(), scene.memory_kib()
    pid = scene.daemon.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        pairs = "\n".join(f"link add a{number} type veth peer name b{number}" for number in range(PAIRS))
        scene.host.run("sh", "-c", 'echo "$0" | ip -batch -', pairs, timeout_seconds=120)
        gone.ip("link", "del", "eth0")
        scene.three.ip("link", "set", "eth0", "down")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: scene.daemon.ask("vf", "show", vf)["state"] == "free", "the guest that went is noticed", 60)
    wait_until(lambda: scene.daemon.vf_of(scene.three.name)["link"] == "down", "and what else was lost", 60)
    scene.three.ip("link", "set", "eth0", "up")
    wait_until(lambda: scene.daemon.vf_of(scene.three.name)["link"] == "up", "later news are heard", 60)
    pairs = "\n".join(f"link del a{number}" for number in range(PAIRS))
    scene.host.run("sh", "-c", 'echo "$0" | ip -batch -', pairs, timeout_seconds=120)
    assert scene.devices() == [name for name in before if name in scene.devices()]
    assert memory_kib + _GROWTH_KIB > scene.memory_kib()
    assert scene.one.can_ping("10.77.0.3")
