"""The wire is lost: ports whose link state is auto are without a carrier, or go on among themselves, as their PF says."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sriov_xdp.api.client import call
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

LAN = [{"name": "lan"}]
GUESTS = {"one": {}, "two": {"datapath": "xdp"}, "three": {"link_state": "enable"}, "four": {"link_state": "enable"}}
HOSTS = {name: number for number, name in enumerate(GUESTS, start=1)}


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.wire: Namespace
        self.wire, self.uplink = lab.wire()
        self.guests = {name: lab.namespace(name) for name in GUESTS}
        adapters = [{"guest": self.guests[name].name, "port_group": "lan", **settings} for name, settings in GUESTS.items()]
        self.config = host_config(self.uplink, adapters, LAN)
        self.daemon: Daemon = lab.daemon(self.config)
        for name, number in HOSTS.items():
            self.guests[name].address(number)
        self.wire.address(99, "w0")

    def pings(self, sender: str, receiver: str) -> bool:
        return self.guests[sender].can_ping(f"10.77.0.{HOSTS[receiver]}")

    def sees_carrier(self, name: str) -> bool:
        return "NO-CARRIER" not in self.guests[name].ip("link", "show", "eth0")

    def link(self, name: str) -> tuple[str, str]:
        vf = self.daemon.vf_of(self.guests[name].name)
        return vf["link"], vf["link_reason"]

    def cut(self) -> None:
        self.wire.ip("link", "set", "w0", "down")

    def join(self) -> None:
        self.wire.ip("link", "set", "w0", "up")
        wait_until(lambda: all(self.link(name)[0] == "up" for name in GUESTS), "all links are up")

    def apply(self, uplink_loss: str) -> None:
        document: dict[str, Any] = {**self.config, "pfs": [{**self.config["pfs"][0], "uplink_loss": uplink_loss}]}
        path = self.lab.folder / "given.yaml"
        path.write_text(json.dumps(document))
        done = self.daemon.command("apply", "-f", str(path))
        assert 0 == done.returncode, done.stderr


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("ul") as lab:
        yield Scene(lab)


@pytest.fixture
def lost(scene: Scene) -> Iterator[None]:
    scene.cut()
    wait_until(lambda: scene.link("one")[0] == "down" and not scene.sees_carrier("two"), "the loss is seen")
    yield
    scene.join()


LOST = ("down", "the uplink of pf0 has no carrier")


def test_with_the_wire_all_reach_all(scene: Scene) -> None:
    assert [("up", "")] * 4 == [scene.link(name) for name in GUESTS]
    assert all(scene.pings(sender, receiver) for sender in GUESTS for receiver in GUESTS if sender != receiver)


@pytest.mark.usefixtures("lost")
def test_ports_that_follow_it_are_isolated_and_those_that_do_not_go_on(scene: Scene) -> None:
    wait_until(lambda: [LOST, LOST] == [scene.link(name) for name in ("one", "two")], "both say why")
    assert [("up", ""), ("up", "")] == [scene.link(name) for name in ("three", "four")]
    assert [False, False, True, True] == [scene.sees_carrier(name) for name in GUESTS]
    assert (True, False) == (scene.pings("three", "four"), scene.pings("three", "one"))
    links = [line.split()[-1] for line in scene.daemon.metrics().splitlines() if line.startswith("sriovxdp_vf_link_up{")]
    assert ["0.0", "0.0", "1.0", "1.0"] == links


@pytest.mark.usefixtures("lost")
def test_what_is_for_the_wire_meanwhile_is_counted_as_that(scene: Scene) -> None:
    sender = scene.guests["three"]
    before = scene.daemon.vf_of(sender.name)["drops"].get("uplink_lost", 0)
    with frames.tapped((sender, "eth0")) as (own,):
        own.send(frames.frame("02:00:00:00:77:77", sender.mac(), b"for the wire"))
        wait_until(lambda: scene.daemon.vf_of(sender.name)["drops"].get("uplink_lost", 0) == before + 1, "it is counted")


@pytest.mark.usefixtures("lost")
def test_a_restart_meanwhile_changes_nothing(scene: Scene) -> None:
    scene.daemon.kill()
    scene.daemon.start()
    assert [LOST, LOST, ("up", ""), ("up", "")] == [scene.link(name) for name in GUESTS]
    assert scene.pings("three", "four")
    findings = [finding["subject"] for finding in call(scene.daemon.run_dir, "host-health")]
    assert [f"uplink {scene.uplink} of pf0"] == findings


@pytest.mark.usefixtures("lost")
def test_one_that_is_enabled_meanwhile_goes_on(scene: Scene) -> None:
    vf = scene.daemon.vf_of(scene.guests["one"].name)["address"]
    scene.daemon.ask("vf", "set", vf, "--link-state", "enable")
    wait_until(lambda: scene.pings("one", "three"), "it is served")
    scene.daemon.ask("vf", "set", vf, "--link-state", "auto")
    assert LOST == scene.link("one")


@pytest.mark.usefixtures("lost")
def test_a_state_that_is_recovered_meanwhile_says_of_each_link_what_it_is_and_not_why(scene: Scene) -> None:
    """One that follows the wire goes on to; one that was enabled since the file was written is enabled."""
    vf = scene.daemon.vf_of(scene.guests["two"].name)["address"]
    scene.daemon.ask("vf", "set", vf, "--link-state", "enable")
    scene.daemon.kill()
    for path in scene.daemon.state_dir.glob("state.db*"):
        path.unlink()
    daemon = scene.daemon
    places = ["--state-dir", str(daemon.state_dir), "--run-dir", str(daemon.run_dir), "--bpffs", str(daemon.bpffs)]
    run(*daemon.program, "recover", *places, "-f", str(daemon.config_file))
    daemon.start()
    said = {name: daemon.vf_of(scene.guests[name].name)["link_state"] for name in GUESTS}
    assert {"one": "auto", "two": "enable", "three": "enable", "four": "enable"} == said
    daemon.ask("vf", "set", vf, "--link-state", "auto")


def test_with_the_wire_back_all_reach_all(scene: Scene) -> None:
    wait_until(lambda: all(scene.pings(sender, receiver) for sender in GUESTS for receiver in GUESTS if sender != receiver), "so")
    assert scene.guests["one"].can_ping("10.77.0.99")


def test_a_pf_that_keeps_what_is_local(scene: Scene) -> None:
    scene.cut()
    wait_until(lambda: scene.link("one") == LOST, "isolated")
    scene.apply("keep_local")
    assert [("up", "")] * 4 == [scene.link(name) for name in GUESTS]
    assert scene.pings("one", "two")
    scene.apply("isolate")
    assert LOST == scene.link("one")
    scene.join()


def test_a_guest_that_is_down_is_said_to_be(scene: Scene) -> None:
    scene.guests["one"].ip("link", "set", "eth0", "down")
    wait_until(lambda: scene.link("one") == ("down", "the guest's interface is down"), "it is seen")
    scene.guests["one"].ip("link", "set", "eth0", "up")
    wait_until(lambda: scene.link("one") == ("up", ""), "it is over")
