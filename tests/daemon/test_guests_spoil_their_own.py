"""What a guest does to its interface, and what an administrator of the host does to a guest's port, is between the two: others lose
no frame, and what cannot be delivered is dropped and counted."""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from neighbours import losing_nothing

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import ProgramType
from sriov_xdp.lab import programs
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

ADDRESSES = 300
FORGED = "02:00:00:00:34:66"


class Scene:
    """bad does what it likes; one and two send to each other all the while."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.bad: Namespace = lab.namespace("bad")
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.bad.name, "port_group": "lan", "mac": "02:00:00:00:34:01"},
            {"guest": self.one.name, "port_group": "lan", "datapath": "xdp"},
            {"guest": self.two.name, "port_group": "lan", "datapath": "tcx"},
        ]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, [{"name": "lan"}]))
        self.daemon.settle()
        for guest, host in ((self.bad, 1), (self.one, 2), (self.two, 3)):
            guest.address(host)

    def vf(self) -> dict:
        return self.daemon.ask("vf", "show", "pf0vf0")

    def set_mode(self, mode: str) -> None:
        self.daemon.ask("vf", "set", "pf0vf0", "--datapath", mode)

    def is_back(self) -> bool:
        return self.bad.can_ping("10.77.0.2") and self.bad.can_ping("10.77.0.3")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("go") as lab:
        yield Scene(lab)


@pytest.fixture(autouse=True)
def neighbours(scene: Scene) -> Iterator[None]:
    with losing_nothing((scene.one, scene.two, "10.77.0.3"), (scene.two, scene.one, "10.77.0.2")):
        yield


def batch(guest: Namespace, *lines: str) -> None:
    guest.run("sh", "-c", 'echo "$0" | ip -batch -', "\n".join(lines))


def many_addresses(scene: Scene) -> None:
    places = [f"10.78.{number >> 8}.{number & 255}/32" for number in range(1, ADDRESSES)]
    batch(scene.bad, *(f"addr add {place} dev eth0" for place in places))
    batch(scene.bad, *(f"addr del {place} dev eth0" for place in places))


def devices_above(scene: Scene) -> None:
    batch(scene.bad, *(f"link add link eth0 name m{number} up type macvlan mode bridge" for number in range(20)))
    batch(scene.bad, *(f"link del m{number}" for number in range(20)))


def own_qdisc(scene: Scene) -> None:
    """Which drops all that it sends."""
    scene.bad.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "8bit", "burst", "10", "limit", "1")
    assert not scene.bad.can_ping("10.77.0.2")
    scene.bad.run("tc", "qdisc", "del", "dev", "eth0", "root")


def own_program_of_tc(scene: Scene) -> None:
    with programs.attached_to_tc(scene.bad, "eth0", programs.constant(2)):
        assert not scene.bad.can_ping("10.77.0.2")


def down_and_up(scene: Scene) -> None:
    batch(scene.bad, *["link set eth0 down", "link set eth0 up"] * 20)
    scene.bad.ip("addr", "replace", "10.77.0.1/24", "dev", "eth0")


def other_names(scene: Scene) -> None:
    names = ["eth0", *(f"n{number}" for number in range(20)), "eth0"]
    for former, name in itertools.pairwise(names):
        scene.bad.ip("link", "set", former, "name", name)


def another_namespace(scene: Scene) -> None:
    """And back."""
    inner = scene.lab.namespace("inner")
    scene.bad.ip("link", "set", "eth0", "netns", inner.name)
    inner.ip("link", "set", "eth0", "netns", scene.bad.name)
    scene.bad.address(1)
    scene.lab.remove(inner)


def another_mtu(scene: Scene) -> None:
    for mtu in (1280, 9000, 68, 1500):
        scene.bad.ip("link", "set", "eth0", "mtu", str(mtu))
    scene.bad.ip("addr", "replace", "10.77.0.1/24", "dev", "eth0")


def another_mac(scene: Scene) -> None:
    """It asks nobody; its frames are dropped and counted."""
    scene.bad.ip("link", "set", "eth0", "address", FORGED)
    before = scene.vf()["drops"].get("forged_source", 0)
    with frames.tapped((scene.bad, "eth0"), (scene.one, "eth0")) as (bad, one):
        bad.send(*[frames.frame(scene.one.mac(), FORGED, b"forged")] * 5)
        wait_until(lambda: scene.vf()["drops"].get("forged_source", 0) >= before + 5, "they are counted")
        assert [] == [data for data in one.drain() if b"forged" in data]
    scene.bad.ip("link", "set", "eth0", "address", "02:00:00:00:34:01")


DEEDS = [
    many_addresses,
    devices_above,
    own_qdisc,
    own_program_of_tc,
    down_and_up,
    other_names,
    another_namespace,
    another_mtu,
    another_mac,
]


@pytest.mark.parametrize("mode", ["xdp", "tcx"])
def test_it_harms_itself_alone_and_is_back_when_it_is_over(scene: Scene, mode: str) -> None:
    scene.set_mode(mode)
    for deed in DEEDS:
        deed(scene)
        wait_until(scene.is_back, f"the guest is back after {deed.__name__}", 30)
        assert mode == scene.vf()["datapath"]["active"]


def test_frames_to_a_guest_that_takes_none_from_xdp_are_counted_and_doctor_says_why(scene: Scene) -> None:
    """Without GRO its end has no NAPI, and the kernel nowhere to put them."""
    scene.set_mode("xdp")
    assert scene.one.can_ping("10.77.0.1")
    scene.bad.run("ethtool", "-K", "eth0", "gro", "off")
    before, sent = (
        scene.vf()["drops"].get("redirect_error", 0),
        frames.frame(scene.bad.mac(), scene.one.mac(), b"to one without NAPI"),
    )
    with frames.tapped((scene.bad, "eth0"), (scene.one, "eth0")) as (bad, one):
        one.send(*[sent] * 10)
        wait_until(lambda: scene.vf()["drops"].get("redirect_error", 0) >= before + 10, "they are counted")
        assert [] == [data for data in bad.drain() if b"without NAPI" in data]
        problems = [check for check in json.loads(scene.daemon.command("doctor", "-j").stdout) if not check["is_ok"]]
        assert ["guest end of pf0vf0"] == [problem["subject"] for problem in problems]
        assert f"nsenter --net=/run/netns/{scene.bad.name} ethtool -K eth0 gro on" in problems[0]["remedy"]
        scene.bad.run("ethtool", "-K", "eth0", "gro", "on")
        one.send(sent)
        assert [sent] == bad.seen(payload=b"to one without NAPI")
    wait_until(scene.is_back, "the guest is back")


@contextlib.contextmanager
def another_program_in_the_link(pin: Path) -> Iterator[None]:
    """As `bpftool link update`: the link stays, and passes everything to the host."""
    kind, hook, passes = (
        (ProgramType.XDP, libbpf.AttachType.XDP, 2)
        if pin.name.endswith("xdp")
        else (
            ProgramType.SCHED_CLS,
            libbpf.AttachType.TCX_INGRESS,
            0,
        )
    )
    flags = libbpf.BPF_F_XDP_HAS_FRAGS if kind is ProgramType.XDP else 0
    program = libbpf.load_program(kind, "theirs", programs.constant(passes), attach=hook, flags=flags)
    with libbpf.opened_pin(pin) as link:
        libbpf.update_link(link, program)
    yield
    os.close(program)


def test_a_program_that_was_put_into_the_place_of_ours_is_replaced(scene: Scene) -> None:
    """The kernel tells nobody; each look at the hooks finds it."""
    scene.set_mode("xdp")
    scene.daemon.settle()
    links = scene.daemon.bpffs / "links"
    for hook in ("tc", "xdp"):
        with another_program_in_the_link(links / f"pf0vf0_{hook}"):
            (links / "news").mkdir()
            (links / "news").rmdir()
            line = f"pf0vf0: {hook}_vf was not on its representor any more; the port is closed"
            wait_until(lambda line=line: line in scene.daemon.log(), "it is noticed")
        wait_until(scene.is_back, "the guest is back", 30)
    assert 0 == scene.daemon.command("doctor").returncode


def test_a_representor_that_is_deleted_frees_the_vf_and_what_gets_its_number_gets_no_frame(scene: Scene) -> None:
    representor, mac = scene.vf()["representor"], scene.bad.mac()
    number = json.loads(run("ip", "-j", "link", "show", representor))[0]["ifindex"]
    run("ip", "link", "del", representor)
    theirs, far = scene.lab.device("t"), scene.lab.namespace("far")
    run("ip", "link", "add", theirs, "index", str(number), "type", "veth", "peer", "name", "f0", "netns", far.name)
    Path(f"/proc/sys/net/ipv6/conf/{theirs}/disable_ipv6").write_text("1")
    run("ip", "link", "set", theirs, "up")
    far.run("ethtool", "-K", "f0", "gro", "on")
    far.ip("link", "set", "f0", "up")
    wait_until(lambda: scene.vf()["state"] == "free", "the VF is free")
    assert "unplugged: interface deleted" == scene.daemon.ask("audit", "list", "--vf", "pf0vf0")[-1]["request"]
    with frames.tapped((far, "f0"), (scene.one, "eth0"), (scene.two, "eth0")) as (stranger, one, two):
        for sender, guest in ((one, scene.one), (two, scene.two)):
            sender.send(*(frames.frame(target, guest.mac(), b"not for strangers") for target in (mac, frames.BROADCAST)))
        assert 1 == len(two.seen(payload=b"not for strangers"))
        assert [] == [data for data in stranger.drain() if b"not for strangers" in data]
    assert number == json.loads(run("ip", "-j", "link", "show", theirs))[0]["ifindex"]
    scene.daemon.ask("vf", "attach", "pf0vf0", "--guest", scene.bad.name, "--port-group", "lan")
    scene.bad.address(1)
    wait_until(scene.is_back, "the guest has another")
