"""datapath: auto follows the guest: XDP while the guest runs an XDP program, tcx otherwise; its program sees every frame."""

import json
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import programs
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

OFFLOADS = ("tx-checksumming", "tx-vlan-offload", "tcp-segmentation-offload", "generic-receive-offload")


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.wire, uplink = lab.wire()
        self.vnf: Namespace = lab.namespace("vnf")
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [{"guest": guest.name, "port_group": "lan"} for guest in (self.vnf, self.one, self.two)]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, [{"name": "lan", "vlan": "none"}]))
        for guest, host in ((self.vnf, 1), (self.one, 2), (self.two, 3)):
            guest.address(host)
        self.wire.address(99, "w0")
        self.vf = self.daemon.vf_of(self.vnf.name)["address"]

    def active(self) -> str:
        return str(self.daemon.ask("vf", "show", self.vf)["datapath"]["active"])

    def offloads(self) -> dict[str, str]:
        lines = [line.partition(":") for line in self.vnf.run("ethtool", "-k", "eth0").splitlines()]
        return {name.strip(): value.split()[0] for name, _, value in lines if name.strip() in OFFLOADS}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("au") as lab:
        yield Scene(lab)


def test_vf_follows_the_guests_program_there_and_back_without_loss_for_others(scene: Scene) -> None:
    before = scene.offloads()
    stream = frames.Stream(scene.one, scene.two, "10.77.0.3")
    with programs.attached(scene.vnf, "eth0", programs.constant(programs.XDP_PASS)):
        wait_until(lambda: scene.active() == "xdp", "the VF is in XDP mode")
        shown = scene.daemon.ask("vf", "show", scene.vf)["datapath"]
        assert (shown["mode"], shown["reason"]) == ("auto", "auto: the guest runs an XDP program")
        assert {
            "tx-checksumming": "off",
            "tx-vlan-offload": "off",
            "generic-receive-offload": "on",
        }.items() <= scene.offloads().items()
        payload = bytes(range(256)) * 1000
        for other, host in ((scene.one, 2), (scene.wire, 99)):
            assert payload == frames.send_tcp(scene.vnf, other, f"10.77.0.{host}", payload)
            assert payload == frames.send_tcp(other, scene.vnf, "10.77.0.1", payload)
    wait_until(lambda: scene.active() == "tcx", "the VF is back in tcx mode")
    assert stream.stop() == []
    assert before == scene.offloads()
    assert scene.vnf.can_ping("10.77.0.2")
    assert f'sriovxdp_vf_datapath_switches_total{{pf="pf0",vf="{scene.vf}"}} 2.0' in scene.daemon.metrics()


@pytest.mark.parametrize("mode", ["auto", "tcx", "xdp"])
def test_no_frame_passes_by_the_guests_program_in_any_mode(scene: Scene, mode: str) -> None:
    """A program that drops everything: nothing may reach the stack behind it, from guests and from the wire."""
    scene.daemon.ask("vf", "set", scene.vf, "--datapath", mode)
    assert scene.one.can_ping("10.77.0.1")
    with programs.attached(scene.vnf, "eth0", programs.constant(programs.XDP_DROP)):
        wait_until(lambda: scene.daemon.ask("vf", "show", scene.vf)["datapath"]["guest_runs_xdp"], "the program is seen")
        with frames.tapped((scene.vnf, "eth0"), (scene.one, "eth0"), (scene.wire, "w0")) as (vnf, one, wire):
            for number in range(20):
                one.send(frames.frame(scene.vnf.mac(), scene.one.mac(), b"past the program %d" % number))
                wire.send(frames.frame(scene.vnf.mac(), scene.wire.mac("w0"), b"past the program %d" % number))
            assert [data for data in vnf.drain() if b"past the program" in data] == []
        assert not scene.one.can_ping("10.77.0.1")
    wait_until(lambda: scene.one.can_ping("10.77.0.1"), "the guest is reachable without its program")
    scene.daemon.ask("vf", "set", scene.vf, "--datapath", "auto")


def test_frames_that_a_guests_program_sends_back_are_whole(scene: Scene) -> None:
    """A hairpin through the guest: from the wire, and from another guest."""
    with programs.attached(scene.vnf, "eth0", programs.hairpin()):
        wait_until(lambda: scene.active() == "xdp", "the VF is in XDP mode")
        for place in ((scene.wire, "w0"), (scene.one, "eth0")):
            with frames.tapped(place) as (tap,):
                own, vnf_mac = place[0].mac(place[1]), scene.daemon.vf_of(scene.vnf.name)["effective_mac"]
                tap.send(frames.frame(vnf_mac, own, b"there and back"))
                assert [frames.frame(own, vnf_mac, b"there and back")] == tap.seen(payload=b"there and back")
    wait_until(lambda: scene.active() == "tcx", "the VF is back in tcx mode")


def test_restart_while_the_guests_program_runs_keeps_the_mode(scene: Scene) -> None:
    with programs.attached(scene.vnf, "eth0", programs.constant(programs.XDP_PASS)):
        wait_until(lambda: scene.active() == "xdp", "the VF is in XDP mode")
        scene.daemon.kill()
        scene.daemon.start()
        assert scene.active() == "xdp"
        assert scene.vnf.can_ping("10.77.0.2")
    wait_until(lambda: scene.active() == "tcx", "the VF is back in tcx mode")
    offloads = json.loads(json.dumps(scene.offloads()))
    assert offloads["tx-checksumming"] == "on"


def test_a_guest_that_keeps_changing_its_program_is_followed_once_it_rests(scene: Scene) -> None:
    """Each change costs the PF work that other guests wait for, so a loop of them is not followed; XDP serves both."""

    def is_waited_for() -> bool:
        for _time in range(30):
            with programs.attached(scene.vnf, "eth0", programs.constant(programs.XDP_PASS)):
                pass
        shown = scene.daemon.ask("vf", "show", scene.vf)["datapath"]
        return (shown["active"], shown["reason"]) == ("xdp", "auto: the guest's XDP program comes and goes")

    wait_until(is_waited_for, "the PF follows no more")
    assert scene.vnf.can_ping("10.77.0.2")
    wait_until(lambda: scene.active() == "tcx", "the VF is back in tcx mode")
    assert scene.vnf.can_ping("10.77.0.2")
