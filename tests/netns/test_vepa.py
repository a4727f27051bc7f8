"""A PF that leaves switching to the wire: what a guest sends goes there, whoever it is for, and comes back to whom it is for."""

import json
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run


class Scene:
    """The wire's end stands for a bridge that gives back what is for another VF, when a test says so."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.lab = lab
        self.wire, uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [{"guest": place.name, "port_group": "lan", "datapath": mode} for place in (self.one, self.two)]
        self.config = host_config(uplink, guests, [{"name": "lan"}])
        self.config["pfs"][0]["switching"] = "vepa"
        self.daemon: Daemon = lab.daemon(self.config)
        self.daemon.settle()

    def apply(self, switching: str) -> None:
        pf = {**self.config["pfs"][0], "switching": switching}
        path = self.lab.folder / f"{switching}.json"
        path.write_text(json.dumps({**self.config, "pfs": [pf]}))
        done = self.daemon.command("apply", "-f", str(path))
        assert 0 == done.returncode, done.stderr


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("ve") as lab:
        yield Scene(lab, request.param)


@pytest.mark.parametrize("destination", ["two", frames.BROADCAST, "01:00:5e:01:02:03"])
def test_it_goes_to_the_wire_and_comes_back_to_whom_it_is_for(scene: Scene, destination: str) -> None:
    mac = scene.two.mac() if destination == "two" else destination
    payload = f"there and back to {destination}".encode()
    sent = frames.frame(mac, scene.one.mac(), payload)
    with frames.tapped((scene.one, "eth0"), (scene.two, "eth0"), (scene.wire, "w0")) as (one, two, wire):
        one.send(sent)
        assert [sent] == wire.seen(payload=payload)
        assert [] == two.seen(payload=payload, seconds=0.1)
        one.drain()
        wire.send(sent)
        assert [sent] == two.seen(payload=payload)
        assert [] == one.seen(payload=payload, seconds=0.1)


def test_a_stranger_on_the_wire_reaches_all(scene: Scene) -> None:
    payload = b"from a stranger"
    sent = frames.frame(frames.BROADCAST, scene.wire.mac("w0"), payload)
    with frames.tapped((scene.one, "eth0"), (scene.two, "eth0"), (scene.wire, "w0")) as (one, two, wire):
        wire.send(sent)
        assert [sent] == one.seen(payload=payload)
        assert [sent] == two.seen(payload=payload)


def test_nobody_speaks_as_another_all_the_same(scene: Scene) -> None:
    before = scene.daemon.vf_of(scene.one.name)["drops"].get("spoof_mac", 0)
    payload = b"as two"
    with frames.tapped((scene.one, "eth0"), (scene.wire, "w0")) as (one, wire):
        one.send(frames.frame(scene.wire.mac("w0"), scene.two.mac(), payload))
        assert [] == wire.seen(payload=payload, seconds=0.1)
    assert before + 1 == scene.daemon.vf_of(scene.one.name)["drops"]["spoof_mac"]


@pytest.mark.parametrize("has_file", [True, False])
def test_guests_do_not_meet_after_a_recovery_whatever_the_file_says(scene: Scene, has_file: bool) -> None:
    scene.daemon.kill()
    for path in scene.daemon.state_dir.glob("state.db*"):
        path.unlink()
    document = {**scene.config, "pfs": [{**scene.config["pfs"][0], "switching": "veb"}]}
    path = scene.lab.folder / "other.json"
    path.write_text(json.dumps(document))
    daemon = scene.daemon
    places = ["--state-dir", str(daemon.state_dir), "--run-dir", str(daemon.run_dir), "--bpffs", str(daemon.bpffs)]
    run(*daemon.program, "recover", *places, *(["-f", str(path)] if has_file else []))
    daemon.start()
    assert "vepa" == daemon.ask("pf", "show", "pf0")["switching"]
    payload = b"after the recovery"
    sent = frames.frame(scene.two.mac(), scene.one.mac(), payload)
    with frames.tapped((scene.one, "eth0"), (scene.two, "eth0"), (scene.wire, "w0")) as (one, two, wire):
        one.send(sent)
        assert [sent] == wire.seen(payload=payload)
        assert [] == two.seen(payload=payload, seconds=0.1)
    scene.apply("vepa")
    daemon.settle()


def test_it_is_changed_in_place_and_shown(scene: Scene) -> None:
    payload = b"by the PF itself"
    sent = frames.frame(scene.two.mac(), scene.one.mac(), payload)
    assert "vepa" == scene.daemon.ask("pf", "show", "pf0")["switching"]
    assert "vepa" == scene.daemon.ask("export")["pfs"][0]["switching"]
    scene.apply("veb")
    with frames.tapped((scene.one, "eth0"), (scene.two, "eth0"), (scene.wire, "w0")) as (one, two, wire):
        one.send(sent)
        assert [sent] == two.seen(payload=payload)
        assert [] == wire.seen(payload=payload, seconds=0.1)
    scene.apply("vepa")
    assert "vepa" == scene.daemon.ask("pf", "show", "pf0")["switching"]
