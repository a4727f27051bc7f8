"""Frames that a guest's own tc program redirects into the switch past the ordinary way: what they say of themselves is not
believed, and what they carry of the sender's host is forgotten."""

import json
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import programs
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, wait_until

GROUPS = [{"name": "lan", "vlan": "none"}, {"name": "web", "vlan": {"access": 200}}, {"name": "trunk", "vlan": {"trunk": [300]}}]
IPV4, EAPOL, PTP, PAUSE, TAG = 0x0800, 0x888E, 0x88F7, 0x8808, 0x8100
SO_RCVMARK, SO_RCVPRIORITY, SO_MARK, SO_PRIORITY, SO_TIMESTAMPNS = 75, 82, 36, 12, 35
FROM, INTO = "x1", "x0"  # a pair inside the guest; the program runs on what comes in by the second


class Scene:
    """liar's eth0 is in the group; others are in the same one."""

    def __init__(self, lab: Lab, group: str, mode: str) -> None:
        self.wire, uplink = lab.wire()
        self.liar: Namespace = lab.namespace("liar")
        self.other: Namespace = lab.namespace("other")
        guests = [{"guest": self.liar.name, "port_group": group, "datapath": mode}, {"guest": self.other.name, "port_group": group}]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, GROUPS))
        self.liar.ip("link", "add", FROM, "type", "veth", "peer", "name", INTO)
        for device in (FROM, INTO):
            self.liar.ip("link", "set", device, "addrgenmode", "none")  # nothing but the frame of a test goes through it
            self.liar.ip("link", "set", device, "up", "promisc", "on")
        self.liar.address(1)
        self.other.address(2)
        self.ifindex = int(json.loads(self.liar.ip("-j", "link", "show", "eth0"))[0]["ifindex"])

    def malformed(self) -> int:
        return int(self.daemon.vf_of(self.liar.name)["drops"].get("malformed", 0))

    def heard(self, sent: bytes, payload: bytes, code: bytes) -> dict[str, list[bytes]]:
        """Who hears a frame that goes through the program; waits until the switch counted it."""
        before = self.malformed()
        places = {"wire": (self.wire, "w0"), "other": (self.other, "eth0")}
        with programs.attached_to_tc(self.liar, INTO, code), frames.tapped(*places.values(), (self.liar, FROM)) as taps:
            taps[-1].send(sent)
            wait_until(lambda: self.malformed() == before + 1, "it is counted")
            found = {name: tap.seen(payload=payload, seconds=0.05) for name, tap in zip(places, taps, strict=False)}
        return {name: data for name, data in found.items() if data}


@pytest.fixture(scope="module", params=[("lan", "tcx"), ("lan", "xdp"), ("web", "auto"), ("trunk", "auto")], ids="-".join)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("sf") as lab:
        yield Scene(lab, *request.param)


@pytest.mark.parametrize("hidden", [EAPOL, PTP, PAUSE], ids=hex)
@pytest.mark.parametrize("to", ["other", "everybody"])
def test_bytes_that_say_another_type_than_the_kernel_believes(scene: Scene, hidden: int, to: str) -> None:
    destination = scene.other.mac() if to == "other" else frames.BROADCAST
    payload = struct.pack("!HH", 777, IPV4) + b"hidden"
    sent = frames.frame(destination, scene.liar.mac(), payload, ether_type=hidden)
    assert {} == scene.heard(sent, b"hidden", programs.smuggle(scene.ifindex, ether_type=IPV4))


@pytest.mark.parametrize("outer", [0, 300])
@pytest.mark.parametrize("hidden", [TAG, EAPOL], ids=hex)
def test_a_tag_under_a_tag_that_is_made_to_look_like_data(scene: Scene, outer: int, hidden: int) -> None:
    """The kernel took the first one off; taking it away would bring the second one to light."""
    payload = struct.pack("!HH", 777, IPV4) + b"below"
    sent = frames.frame(frames.BROADCAST, scene.liar.mac(), payload, tags=(outer,), ether_type=hidden)
    assert {} == scene.heard(sent, b"below", programs.smuggle(scene.ifindex, ether_type=IPV4))


def test_marks_of_one_guest_mean_nothing_to_another() -> None:
    with Lab("sm") as lab:
        scene = Scene(lab, "lan", "tcx")
        scene.liar.ip("addr", "add", "10.88.0.1/24", "dev", FROM)
        scene.liar.ip("link", "set", FROM, "address", scene.liar.mac())
        scene.liar.ip("neigh", "add", "10.88.0.2", "lladdr", scene.other.mac(), "dev", FROM)
        scene.other.ip("addr", "add", "10.88.0.2/24", "dev", "eth0")
        with entered(scene.other):
            ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with entered(scene.liar):
            mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        code = programs.smuggle(scene.ifindex, mark=0x4001, priority=0x77, tstamp=1_000_000_000 * 10**9)
        with ear, mouth, programs.attached_to_tc(scene.liar, INTO, code):
            ear.bind(("10.88.0.2", 4000))
            ear.settimeout(5)
            for option in (SO_RCVMARK, SO_RCVPRIORITY, SO_TIMESTAMPNS):
                ear.setsockopt(socket.SOL_SOCKET, option, 1)
            mouth.bind(("10.88.0.1", 0))
            sent_at = int(time.time())
            mouth.sendto(b"marked", ("10.88.0.2", 4000))
            data, ancillary, _flags, _address = ear.recvmsg(100, 200)
        told = {kind: value for _level, kind, value in ancillary}
        marks = {kind: struct.unpack("=I", told[kind])[0] for kind in (SO_MARK, SO_PRIORITY)}
        assert (b"marked", {SO_MARK: 0, SO_PRIORITY: 0}) == (data, marks)
        received_at = struct.unpack("=qq", told[SO_TIMESTAMPNS])[0]
        assert sent_at <= received_at <= sent_at + 60, "the receiver's own clock, not the sender's word"
