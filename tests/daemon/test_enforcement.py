"""Programs that somebody takes off, and pins that somebody removes: the port is closed, said, and held to its programs again."""

import contextlib
import ctypes
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.pins import remove_tree
from sriov_xdp.host import monitor
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

LAN = [{"name": "lan", "policy": {"security": {"mac_changes": "accept"}}}]
WITHIN_SECONDS = 10
_BPF_SYSCALL, _LINK_DETACH = 321, 34
_RTMGRP_LINK, _SO_RCVBUFFORCE = 1, 33


class Scene:
    def __init__(self, lab: Lab, *extra: str) -> None:
        self.lab = lab
        self.wire, self.uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "datapath": "tcx"},
            {"guest": self.two.name, "port_group": "lan", "datapath": "xdp"},
        ]
        self.daemon: Daemon = lab.daemon(host_config(self.uplink, guests, LAN), *extra)
        self.daemon.settle()
        for place, host, device in ((self.one, 1, "eth0"), (self.two, 2, "eth0"), (self.wire, 99, "w0")):
            place.address(host, device)

    @property
    def links(self) -> Path:
        return self.daemon.bpffs / "links"

    def build(self) -> Path:
        return next(path for path in self.daemon.bpffs.iterdir() if (path / "progs").is_dir())

    def errors(self, text: str) -> list[str]:
        lines = [json.loads(line) for line in self.daemon.log().splitlines()]
        return [line["message"] for line in lines if line["level"] == "error" and text in line["message"]]

    def assert_all_reach_all(self) -> None:
        payload = b"z" * 100_000
        for sender, receiver, host in ((self.one, self.two, 2), (self.two, self.wire, 99), (self.wire, self.one, 1)):
            assert payload == frames.send_tcp(sender, receiver, f"10.77.0.{host}", payload)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("en") as lab:
        yield Scene(lab)


class Ear:
    """Hears every change of a link by itself: the daemon's own monitor takes several of one device together."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        self._socket.bind((0, _RTMGRP_LINK))

    def closed_ports(self) -> set[str]:
        """Names of the devices that were down since the ear was made."""
        found = set()
        with self._socket, contextlib.suppress(BlockingIOError):
            while True:
                change = monitor.parse(self._socket.recv(1 << 16))
                if isinstance(change, monitor.LinkChange) and not change.is_up:
                    found.add(change.name)
        return found


def detach_by_admin(pin: Path) -> None:
    """As `bpftool link detach`: the pin stays, its program is on no device any more."""
    fd = libbpf.open_pin(pin)
    attributes = ctypes.create_string_buffer(struct.pack("=I", fd), 128)
    result = ctypes.CDLL(None, use_errno=True).syscall(_BPF_SYSCALL, _LINK_DETACH, attributes, 128)
    os.close(fd)
    assert 0 == result, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize("pin", ["pf0vf0_tc", "pf0vf1_xdp", "pf0vf1_tc"])
def test_pin_of_a_port_that_is_removed(scene: Scene, pin: str) -> None:
    vf = pin.partition("_")[0]
    representor, before = scene.daemon.ask("vf", "show", vf)["representor"], len(scene.errors(vf))
    ear = Ear()
    (scene.links / pin).unlink()
    wait_until((scene.links / pin).exists, "the pin is back", WITHIN_SECONDS)
    wait_until(lambda: "UP" in run("ip", "link", "show", representor), "the port is open again")
    assert representor in ear.closed_ports()
    (line,) = scene.errors(vf)[before:]
    assert "was not on its representor any more; the port is closed until it is attached again" in line
    scene.assert_all_reach_all()


@pytest.mark.parametrize("pin", ["uplink0_tc", "uplink0_xdp"])
def test_pin_of_the_uplink_that_is_removed(scene: Scene, pin: str) -> None:
    before = len(scene.errors("uplink"))
    (scene.links / pin).unlink()
    wait_until((scene.links / pin).exists, "the pin is back", WITHIN_SECONDS)
    (line,) = wait_until(lambda: scene.errors("uplink")[before:], "it is told", WITHIN_SECONDS)
    assert "was not on it any more; attached again" in line
    scene.assert_all_reach_all()


@pytest.mark.parametrize("pin", ["pf0vf0_tc", "pf0vf1_xdp", "uplink0_xdp"])
def test_program_taken_off_while_its_pin_stays(scene: Scene, pin: str) -> None:
    """The kernel tells nobody; any look at the hooks finds it: each minute, or when something happens in the folder of pins."""
    owner = "uplink" if pin.startswith("uplink") else pin.partition("_")[0]
    before = len(scene.errors(owner))
    detach_by_admin(scene.links / pin)
    (scene.links / "news").mkdir()
    (scene.links / "news").rmdir()
    wait_until(lambda: len(scene.errors(owner)) > before, "it is noticed", WITHIN_SECONDS)
    wait_until(lambda: is_attached(scene.links / pin), "the program is back", WITHIN_SECONDS)
    scene.assert_all_reach_all()


def is_attached(pin: Path) -> bool:
    if not pin.exists():
        return False
    fd = libbpf.open_pin(pin)
    ifindex = libbpf.link_info(fd).ifindex
    os.close(fd)
    return ifindex != 0


@pytest.mark.parametrize("lost", ["progs/tc_vf", "progs/xdp_uplink_0", "maps/fdb", ""])
def test_pins_of_the_build_that_are_lost_while_the_daemon_is_away(scene: Scene, lost: str) -> None:
    """The build is made anew and the links move to it; what runs meanwhile goes on."""
    streams = [frames.Stream(scene.one, scene.two, "10.77.0.2"), frames.Stream(scene.wire, scene.one, "10.77.0.1")]
    scene.daemon.stop()
    build = scene.build()
    if lost:
        (build / lost).unlink()
    else:
        remove_tree(build)
    scene.daemon.start()
    at_start = streams[0].sent
    wait_until(lambda: streams[0].sent > at_start + 100, "frames go with the new daemon")
    assert [[], []] == [stream.stop() for stream in streams]
    assert build == scene.build()
    scene.assert_all_reach_all()


@pytest.mark.parametrize("pin", ["pf0vf0_tc", "pf0vf1_xdp", "uplink0_tc"])
def test_pin_that_is_removed_while_the_daemon_is_away(scene: Scene, pin: str) -> None:
    scene.daemon.stop()
    (scene.links / pin).unlink()
    scene.daemon.start()
    scene.assert_all_reach_all()
    scene.daemon.settle()
    assert is_attached(scene.links / pin)
    scene.assert_all_reach_all()


def test_filter_of_clsact_that_is_removed() -> None:
    with Lab("ec") as lab:
        scene = Scene(lab, "--tc", "clsact")
        representor = scene.daemon.ask("vf", "show", "pf0vf0")["representor"]
        for device in (representor, scene.uplink):
            run("tc", "qdisc", "del", "dev", device, "clsact")
            wait_until(lambda device=device: has_filter(device), f"the filter of {device} is back", WITHIN_SECONDS)
        assert scene.errors("pf0vf0: tc_vf was not on its representor")
        scene.assert_all_reach_all()


def has_filter(device: str) -> bool:
    return "tc_" in run("tc", "filter", "show", "dev", device, "ingress", check=False)
