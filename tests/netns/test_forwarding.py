"""Real traffic between guests in every mode, and the wire."""

import itertools
import threading
from collections.abc import Iterator
from typing import Self

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config

HOSTS = {"xdp1": 1, "tcx1": 2, "auto1": 3, "xdp2": 4, "tcx2": 5, "wire": 99}
MODES = {"xdp1": "xdp", "tcx1": "tcx", "auto1": "auto", "xdp2": "xdp", "tcx2": "tcx"}
# Every pair of modes, both directions, without repeating what auto shares with tcx.
PAIRS = [
    *itertools.permutations(["xdp1", "tcx1", "wire"], 2),
    ("xdp1", "xdp2"),
    ("tcx1", "tcx2"),
    ("auto1", "xdp1"),
    ("xdp1", "auto1"),
    ("auto1", "wire"),
    ("wire", "auto1"),
]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        wire, uplink = lab.wire()
        self.ends: dict[str, Namespace] = {"wire": wire, **{name: lab.namespace(name) for name in MODES}}
        guests = [{"guest": self.ends[name].name, "port_group": "lan", "datapath": mode} for name, mode in MODES.items()]
        config = host_config(uplink, guests, [{"name": "lan", "vlan": "none"}])
        config["pfs"][0]["num_vfs"] = 16
        self.daemon: Daemon = lab.daemon(config)
        for name, host in HOSTS.items():
            self.ends[name].address(host, "w0" if name == "wire" else "eth0")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("fw") as lab:
        yield Scene(lab)


@pytest.mark.parametrize(("sender", "receiver"), PAIRS)
@pytest.mark.parametrize("address", ["10.77.0.{}", "fd77::{}"], ids=["v4", "v6"])
def test_tcp_arrives_whole_and_in_order(scene: Scene, sender: str, receiver: str, address: str) -> None:
    payload = bytes(range(256)) * 4096
    assert payload == frames.send_tcp(scene.ends[sender], scene.ends[receiver], address.format(HOSTS[receiver]), payload)


@pytest.mark.parametrize(("sender", "receiver"), PAIRS)
@pytest.mark.parametrize("address", ["10.77.0.{}", "fd77::{}"], ids=["v4", "v6"])
def test_udp_of_every_size_arrives(scene: Scene, sender: str, receiver: str, address: str) -> None:
    largest = 1452 if ":" in address else 1472
    payloads = [bytes([size % 251]) * size for size in (1, 2, 18, 63, 64, 500, 1000, 1400, largest)]
    assert payloads == frames.send_udp(scene.ends[sender], scene.ends[receiver], address.format(HOSTS[receiver]), payloads)


@pytest.mark.parametrize("sender", list(HOSTS))
@pytest.mark.parametrize("destination", [frames.BROADCAST, "01:00:5e:01:02:03", "33:33:00:00:00:55"])
def test_floods_reach_everybody_else_once_and_never_the_sender(scene: Scene, sender: str, destination: str) -> None:
    names = list(HOSTS)
    with frames.tapped(*((scene.ends[name], "w0" if name == "wire" else "eth0") for name in names)) as taps:
        by_name = dict(zip(names, taps, strict=True))
        payload = f"flood from {sender} to {destination}".encode()
        sent = frames.frame(destination, scene.ends[sender].mac("w0" if sender == "wire" else "eth0"), payload)
        by_name[sender].send(sent)
        arrived = {name: by_name[name].seen(payload=payload) for name in names if name != sender}
        again = {name: by_name[name].seen(payload=payload, seconds=0.05) for name in names}
    assert arrived == {name: [sent] for name in names if name != sender}
    assert again == {name: [] for name in names}


class Floods:
    """Numbered broadcast frames of a guest, at a pace that no storm guard minds."""

    def __init__(self, sender: Namespace) -> None:
        self.sent: list[bytes] = []
        self._sender, self._source = sender, sender.mac()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        with frames.tapped((self._sender, "eth0")) as (tap,):
            while not self._is_over.wait(0.0005):
                number = b"flood %d" % len(self.sent)
                self.sent.append(frames.frame(frames.BROADCAST, self._source, number))
                tap.send(self.sent[-1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._is_over.set()
        self._thread.join()


def test_no_copy_is_lost_while_ports_get_their_links(scene: Scene) -> None:
    """A qdisc that went with the filter would stop its device for a moment."""
    late = [scene.lab.namespace(f"late{number}") for number in range(6)]
    for guest in late:
        scene.daemon.ask("vf", "attach", "--guest", guest.name, "--port-group", "lan", "--datapath", "tcx")
    with frames.tapped(*((guest, "eth0") for guest in late)) as taps:
        with Floods(scene.ends["tcx1"]) as floods:
            scene.daemon.settle()
        wanted = set(floods.sent)
        arrived = [[frame for frame in tap.drain() if frame in wanted] for tap in taps]
    for guest in late:
        scene.daemon.ask("vf", "detach", scene.daemon.vf_of(guest.name)["address"])
    assert [floods.sent] * len(late) == arrived


def test_unknown_unicast_of_a_guest_goes_to_the_wire_only(scene: Scene) -> None:
    names = ["wire", "xdp1", "tcx2"]
    with frames.tapped(*((scene.ends[name], "w0" if name == "wire" else "eth0") for name in names)) as (wire, xdp1, tcx2):
        with frames.tapped((scene.ends["tcx1"], "eth0")) as (sender,):
            sent = frames.frame("02:99:99:99:99:99", scene.ends["tcx1"].mac(), b"to nobody")
            sender.send(sent)
        assert [sent] == wire.seen(payload=b"to nobody")
        assert xdp1.seen(payload=b"to nobody", seconds=0.05) == []
        assert tcx2.seen(payload=b"to nobody", seconds=0.05) == []


def test_unknown_unicast_from_the_wire_goes_nowhere_and_is_counted(scene: Scene) -> None:
    before = scene.daemon.ask("pf", "show", "pf0")["drops"].get("no_target", 0)
    with frames.tapped((scene.ends["wire"], "w0"), (scene.ends["xdp1"], "eth0")) as (wire, xdp1):
        wire.send(frames.frame("02:99:99:99:99:99", scene.ends["wire"].mac("w0"), b"unknown"))
        assert xdp1.seen(payload=b"unknown", seconds=0.1) == []
    assert before + 1 == scene.daemon.ask("pf", "show", "pf0")["drops"]["no_target"]


@pytest.mark.parametrize("sender", ["xdp1", "tcx1"])
def test_what_enters_is_what_leaves_and_what_is_dropped(scene: Scene, sender: str) -> None:
    """A mix of good and bad frames: each is in exactly one counter of its port."""
    guest, neighbour = scene.ends[sender], scene.ends["tcx2"].mac()
    own = guest.mac()
    bad = [
        frames.frame(neighbour, "02:66:66:66:66:66", b"forged"),
        frames.frame(neighbour, scene.ends["xdp2"].mac(), b"spoofed"),
        frames.frame(neighbour, own, b"tagged", tags=(100,)),
        frames.frame(neighbour, own, b"double", tags=(100, 200)),
        frames.frame("01:80:c2:00:00:00", own, b"bpdu"),
        frames.frame(own, own, b"to myself"),
        frames.frame(neighbour, "03:00:00:00:00:01", b"group source"),
    ]
    good = [frames.frame(neighbour, own, b"good"), frames.frame(frames.BROADCAST, own, b"all")]
    address = scene.daemon.vf_of(guest.name)["address"]

    def counted() -> dict[str, int]:
        vf = scene.daemon.ask("vf", "show", address)
        return {**vf["drops"], "accepted": vf["counters"]["tx_packets"]}

    before = counted()
    with frames.tapped((guest, "eth0"), (scene.ends["tcx2"], "eth0")) as (tap, target):
        tap.send(*bad, *good)
        assert [good[0]] == target.seen(payload=b"good")
        assert [good[1]] == target.seen(payload=b"all")
    after = counted()
    wanted = dict.fromkeys(["forged_source", "spoof_mac", "spoof_vlan", "double_tag", "control_frame", "hairpin", "malformed"], 1)
    changed = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert changed.pop("accepted") >= len(good)  # the guest's own stack also speaks now and then
    assert wanted == changed


def test_a_guest_cannot_speak_as_the_uplink(scene: Scene) -> None:
    uplink_mac = scene.daemon.ask("pf", "show", "pf0")["mac"]
    with frames.tapped((scene.ends["xdp1"], "eth0"), (scene.ends["tcx1"], "eth0")) as (sender, target):
        sender.send(frames.frame(scene.ends["tcx1"].mac(), uplink_mac, b"as the uplink"))
        assert target.seen(payload=b"as the uplink", seconds=0.1) == []
    assert scene.daemon.vf_of(scene.ends["xdp1"].name)["drops"]["spoof_mac"] >= 1


def test_counters_are_the_guests_view(scene: Scene) -> None:
    """rx of one guest is what another sent to it, in Prometheus too."""
    sender, receiver = scene.ends["tcx1"], scene.ends["auto1"]
    before = scene.daemon.vf_of(receiver.name)["counters"]
    sent = frames.frame(receiver.mac(), sender.mac(), b"counted" + bytes(93))
    with frames.tapped((sender, "eth0"), (receiver, "eth0")) as (tap, target):
        tap.send(*[sent] * 10)
        assert [sent] * 10 == target.seen(payload=b"counted" + bytes(93), count=10)
    after = scene.daemon.vf_of(receiver.name)
    assert after["counters"]["rx_packets"] - before["rx_packets"] >= 10
    assert after["counters"]["rx_bytes"] - before["rx_bytes"] >= 10 * len(sent)
    line = f'sriovxdp_vf_receive_packets_total{{pf="pf0",vf="{after["address"]}"}}'
    assert line in scene.daemon.metrics()
