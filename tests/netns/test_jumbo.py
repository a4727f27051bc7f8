"""MTU 9000 in every mode, and frames beyond the port's MTU."""

import itertools
from collections.abc import Iterator

import pytest

from sriov_xdp.bench import traffic as frames
from sriov_xdp.bench.lab import Daemon, Lab, Namespace, host_config

HOSTS = {"xdp1": 1, "tcx1": 2, "xdp2": 3, "wire": 99}
MODES = {"xdp1": "xdp", "tcx1": "tcx", "xdp2": "xdp"}


class Scene:
    def __init__(self, lab: Lab) -> None:
        wire, uplink = lab.wire(9000)
        self.ends: dict[str, Namespace] = {"wire": wire, **{name: lab.namespace(name) for name in MODES}}
        guests = [{"guest": self.ends[name].name, "port_group": "lan", "datapath": mode} for name, mode in MODES.items()]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, [{"name": "lan", "vlan": "none"}], mtu=9000))
        for name, host in HOSTS.items():
            self.ends[name].address(host, self.device(name))

    @staticmethod
    def device(name: str) -> str:
        return "w0" if name == "wire" else "eth0"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("jb") as lab:
        yield Scene(lab)


@pytest.mark.parametrize(("sender", "receiver"), list(itertools.permutations(HOSTS, 2)))
def test_jumbo_frames_arrive_whole(scene: Scene, sender: str, receiver: str) -> None:
    one, two, address = scene.ends[sender], scene.ends[receiver], f"10.77.0.{HOSTS[receiver]}"
    payloads = [bytes([size % 251]) * size for size in (1472, 3464, 3465, 4096, 8000, 8972)]
    assert payloads == frames.send_udp(one, two, address, payloads)
    payload = bytes(range(256)) * 4000
    assert payload == frames.send_tcp(one, two, address, payload)


@pytest.mark.parametrize("sender", list(HOSTS))
def test_jumbo_broadcast_reaches_everybody_whole(scene: Scene, sender: str) -> None:
    names = list(HOSTS)
    with frames.tapped(*((scene.ends[name], scene.device(name)) for name in names)) as taps:
        by_name = dict(zip(names, taps, strict=True))
        payload = bytes(range(1, 256)) * 35 + sender.encode()
        sent = frames.frame(frames.BROADCAST, scene.ends[sender].mac(scene.device(sender)), payload)
        by_name[sender].send(sent)
        assert {name: [sent] for name in names if name != sender} == {
            name: by_name[name].seen(payload=payload) for name in names if name != sender
        }


@pytest.mark.parametrize("sender", ["xdp1", "tcx1"])
def test_a_guest_that_raises_its_mtu_gains_nothing(scene: Scene, sender: str) -> None:
    guest, target = scene.ends[sender], scene.ends["xdp2"]
    guest.ip("link", "set", "eth0", "mtu", "12000")
    address = scene.daemon.vf_of(guest.name)["address"]
    before = scene.daemon.ask("vf", "show", address)["drops"].get("oversize", 0)
    with frames.tapped((guest, "eth0"), (target, "eth0")) as (tap, seen):
        largest = frames.frame(target.mac(), guest.mac(), b"\1" * 8995 + b"fits!")
        tap.send(largest, frames.frame(target.mac(), guest.mac(), b"\1" * 8996 + b"large"))
        assert [largest] == seen.seen(payload=b"fits!")
        assert seen.seen(payload=b"large", seconds=0.1) == []
    guest.ip("link", "set", "eth0", "mtu", "9000")
    assert before + 1 == scene.daemon.ask("vf", "show", address)["drops"]["oversize"]


def test_mtu_changes_live(scene: Scene) -> None:
    exported = scene.daemon.ask("export")
    for mtu_bytes in (1500, 9000):
        exported["switches"][0]["mtu"] = mtu_bytes
        path = scene.daemon.folder / "mtu.yaml"
        path.write_text(str(exported))
        scene.daemon.ask("apply", "-f", str(path))
        assert f"mtu {mtu_bytes} " in scene.ends["xdp1"].ip("link", "show", "eth0")
        size = mtu_bytes - 28
        assert [b"m" * size] == frames.send_udp(scene.ends["xdp1"], scene.ends["tcx1"], "10.77.0.2", [b"m" * size])
