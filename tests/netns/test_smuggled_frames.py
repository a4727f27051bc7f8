"""Frames that a guest's own tc program redirects into the switch past the ordinary way: what they say of themselves is not
believed, and what they carry of the sender's host is forgotten."""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from sriov_xdp.datapath.abi import MAX_SEGMENTS
from sriov_xdp.lab import programs
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, wait_until

GROUPS = [
    {"name": "lan", "vlan": "none", "overrides_allowed": ["shaping"]},
    {"name": "web", "vlan": {"access": 200}, "overrides_allowed": ["shaping"]},
    {"name": "trunk", "vlan": {"trunk": [300]}, "overrides_allowed": ["shaping"]},
]
IPV4, EAPOL, PTP, PAUSE, TAG = 0x0800, 0x888E, 0x88F7, 0x8808, 0x8100
SO_RCVMARK, SO_RCVPRIORITY, SO_MARK, SO_PRIORITY, SO_TIMESTAMPNS = 75, 82, 36, 12, 35
SOL_PACKET, PACKET_VNET_HDR = 263, 15
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
        self.cuts_up = mode == "xdp"
        self.ifindex = int(json.loads(self.liar.ip("-j", "link", "show", "eth0"))[0]["ifindex"])

    def malformed(self) -> int:
        return int(self.daemon.vf_of(self.liar.name)["drops"].get("malformed", 0))

    def sent(self) -> int:
        return int(self.daemon.vf_of(self.liar.name)["counters"]["tx_packets"])

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


def is_offered(ear: socket.socket, option: int) -> bool:
    """Asks a socket to tell of a mark, which kernels do since 5.19, or 6.14; others tell nobody."""
    with contextlib.suppress(OSError):
        ear.setsockopt(socket.SOL_SOCKET, option, 1)
        return True
    return False


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
            ear.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            is_told = {mark: is_offered(ear, option) for mark, option in ((SO_MARK, SO_RCVMARK), (SO_PRIORITY, SO_RCVPRIORITY))}
            mouth.bind(("10.88.0.1", 0))
            sent_at = int(time.time())
            mouth.sendto(b"marked", ("10.88.0.2", 4000))
            data, ancillary, _flags, _address = ear.recvmsg(100, 200)
        told = {kind: value for _level, kind, value in ancillary}
        marks = {kind: struct.unpack("=I", told[kind])[0] for kind, is_offered in is_told.items() if is_offered}
        assert (b"marked", dict.fromkeys(marks, 0)) == (data, marks)
        received_at = struct.unpack("=qq", told[SO_TIMESTAMPNS])[0]
        assert sent_at <= received_at <= sent_at + 60, "the receiver's own clock, not the sender's word"


def super_frame(target: str, source: str, segment_bytes: int, segments: int) -> bytes:
    """TCP, behind a struct virtio_net_hdr that says how it is to be cut up."""
    payload = bytes(segment_bytes * segments)
    tcp = struct.pack("!HHIIBBHHH", 4000, 5000, 1, 1, 5 << 4, 0x10, 1024, 0, 0) + payload
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, socket.IPPROTO_TCP, 0, bytes(4), bytes(4))
    header = struct.pack("<BBHHHH", 1, 1, 54, segment_bytes, 34, 16)
    return header + bytes.fromhex((target + source).replace(":", "")) + b"\x08\0" + ip + tcp


@pytest.mark.parametrize("shaped", ["", "--shaping-ingress", "--shaping-egress"])
def test_a_super_frame_of_more_segments_than_a_stack_makes_is_malformed(scene: Scene, shaped: str) -> None:
    """Before it waits anywhere: who has a queue cuts it up under that queue's lock. No stack makes one, as devices say how many."""
    (link,) = json.loads(scene.liar.ip("-d", "-j", "link", "show", "eth0"))
    assert MAX_SEGMENTS == link["gso_max_segs"]
    victim = scene.liar if shaped == "--shaping-ingress" else scene.other
    address = scene.daemon.vf_of(victim.name)["address"]
    if shaped:
        scene.daemon.ask("port", "set", address, shaped, "average_kbps=1000000")
    with entered(scene.liar):
        outlet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        with outlet:
            outlet.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            outlet.bind(("eth0", 0))
            before, sent = scene.malformed(), scene.sent()
            outlet.send(super_frame(scene.other.mac(), scene.liar.mac(), 100, MAX_SEGMENTS - 1))
            outlet.send(super_frame(scene.other.mac(), scene.liar.mac(), 100, MAX_SEGMENTS + 1))
            wait_until(lambda: scene.malformed() == before + (0 if scene.cuts_up else 1), "one of the two is counted")
            if scene.cuts_up:
                wait_until(lambda: scene.sent() > sent + 100, "segments by its stack, as many as the ring of its device takes")
    finally:
        if shaped:
            scene.daemon.ask("port", "set", address, shaped, "inherit")
