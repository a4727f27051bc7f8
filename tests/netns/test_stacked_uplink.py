"""An uplink whose driver knows no XDP, and below which the kernel takes tags off: a macvlan on the device that the wire is at."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import AttachType
from sriov_xdp.lab import programs
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

GROUPS = [{"name": "plain"}, {"name": "web", "vlan": {"access": 100}}, {"name": "router", "vlan": {"trunk": [100]}}]
GUESTS = {"p": "plain", "a": "web", "b": "web", "r": "router"}
XDP_FLAGS_SKB_MODE = 1 << 1
Seen = dict[str, list[bytes]]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.wire, lower = lab.wire()
        self.uplink = uplink = lab.device("m")
        run("ip", "link", "add", uplink, "link", lower, "type", "macvlan", "mode", "passthru")
        run("ip", "link", "set", uplink, "up")
        self.guests: dict[str, Namespace] = {name: lab.namespace(name) for name in GUESTS}
        adapters = [{"guest": self.guests[name].name, "port_group": group} for name, group in GUESTS.items()]
        self.daemon: Daemon = lab.daemon(host_config(uplink, adapters, GROUPS))
        self.taps = {name: frames.Tap(guest) for name, guest in self.guests.items()}
        self.taps["w"] = frames.Tap(self.wire, "w0")
        self.macs = {name: guest.mac() for name, guest in self.guests.items()} | {"w": self.wire.mac("w0")}

    def fate(self, sender: str, destination: str, payload: bytes, tags: tuple[int, ...] = ()) -> Seen:
        self.taps[sender].send(self.frame(sender, destination, payload, tags))
        return {name: got for name, tap in self.taps.items() if (got := tap.seen(payload=payload, seconds=0.15))}

    def frame(self, sender: str, destination: str, payload: bytes, tags: tuple[int, ...] = ()) -> bytes:
        return frames.frame(self.macs.get(destination, destination), self.macs[sender], payload, tags=tags)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("su") as lab:
        made = Scene(lab)
        yield made
        for tap in made.taps.values():
            tap.close()


def test_that_tc_serves_it_alone_is_shown_and_survives_a_restart(scene: Scene) -> None:
    assert "none" == scene.daemon.ask("pf", "show", "pf0")["xdp"]
    scene.daemon.kill()
    scene.daemon.start()
    assert "none" == scene.daemon.ask("pf", "show", "pf0")["xdp"]


def test_generic_xdp_that_an_earlier_version_left_is_taken_off(scene: Scene) -> None:
    scene.daemon.kill()
    [programs_of_build] = scene.daemon.bpffs.glob("*/progs")
    program = libbpf.open_pin(programs_of_build / "xdp_uplink_0")
    ifindex = int(Path(f"/sys/class/net/{scene.uplink}/ifindex").read_text())
    link = libbpf.create_link(program, ifindex, AttachType.XDP, flags=XDP_FLAGS_SKB_MODE)
    libbpf.pin(link, scene.daemon.bpffs / "links" / "uplink0_xdp")
    for fd in (link, program):
        os.close(fd)
    assert "xdpgeneric" in run("ip", "link", "show", scene.uplink)
    scene.daemon.start()
    assert "none" == scene.daemon.ask("pf", "show", "pf0")["xdp"]
    wait_until(lambda: "xdpgeneric" not in run("ip", "link", "show", scene.uplink), "the program is off the device")


def test_floods_from_the_wire_stay_in_their_vlan(scene: Scene) -> None:
    untagged, tagged = (scene.frame("w", frames.BROADCAST, b"to all", tags) for tags in ((), (100,)))
    assert {"p": [untagged]} == scene.fate("w", frames.BROADCAST, b"to all")
    assert {"a": [untagged], "b": [untagged], "r": [tagged]} == scene.fate("w", frames.BROADCAST, b"to all", (100,))


def test_unicast_from_the_wire_is_found_in_its_vlan_only(scene: Scene) -> None:
    assert {"p": [scene.frame("w", "p", b"to p")]} == scene.fate("w", "p", b"to p")
    assert {"a": [scene.frame("w", "a", b"to a")]} == scene.fate("w", "a", b"to a", (100,))
    assert {} == scene.fate("w", "p", b"to p in another VLAN", (100,))
    assert {} == scene.fate("w", "a", b"to a in no VLAN")


def test_guests_reach_the_wire_with_their_tags(scene: Scene) -> None:
    assert {"w": [scene.frame("p", "w", b"from p")]} == scene.fate("p", "w", b"from p")
    assert {"w": [scene.frame("a", "w", b"from a", (100,))]} == scene.fate("a", "w", b"from a")


def test_a_guest_in_xdp_mode_reaches_the_wire_too(scene: Scene) -> None:
    with programs.attached(scene.guests["p"], "eth0", programs.constant(programs.XDP_PASS)):
        vf = scene.daemon.vf_of(scene.guests["p"].name)["address"]
        wait_until(lambda: scene.daemon.ask("vf", "show", vf)["datapath"]["active"] == "xdp", "the VF is in XDP mode")
        assert {"w": [scene.frame("p", "w", b"from p in XDP")]} == scene.fate("p", "w", b"from p in XDP")
