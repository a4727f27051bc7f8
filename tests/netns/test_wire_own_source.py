"""Frames that a VF or the host sent and that come back from the wire, in every mode: dropped as loop, or taken where the PF says
so; and what leaves and what other stations send is untouched by that."""

import json
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

GROUPS = [
    {"name": "plain", "vlan": "none"},
    {"name": "web", "vlan": {"access": 100}},
    {"name": "both", "vlan": {"trunk": [100, 200]}},
]
GUESTS = {"a": "plain", "b": "plain", "w1": "web", "r": "both"}


class Scene:
    def __init__(self, lab: Lab, mode: str) -> None:
        self.lab = lab
        self.wire, self.uplink = lab.wire()
        self.guests: dict[str, Namespace] = {name: lab.namespace(name) for name in GUESTS}
        adapters = [{"guest": self.guests[name].name, "port_group": group, "datapath": mode} for name, group in GUESTS.items()]
        self.setting = "drop"
        self.config = host_config(self.uplink, adapters, GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)
        self.taps = {name: frames.Tap(guest) for name, guest in self.guests.items()}
        self.taps["wire"] = frames.Tap(self.wire, "w0")
        self.macs = {name: guest.mac() for name, guest in self.guests.items()} | {"wire": self.wire.mac("w0")}
        self.macs["uplink"] = self.daemon.ask("pf", "show", "pf0")["mac"]

    def set_own_source(self, setting: str) -> None:
        if setting == self.setting:
            return
        self.setting = setting
        changed = json.loads(json.dumps(self.config))
        changed["pfs"][0]["wire_own_source"] = setting
        path = self.lab.folder / "given.json"
        path.write_text(json.dumps(changed))
        self.daemon.ask("apply", "-f", str(path))

    def loops(self) -> int:
        return int(self.daemon.ask("pf", "show", "pf0")["drops"].get("loop", 0))

    def receivers(self, sent: bytes, payload: bytes) -> set[str]:
        self.taps["wire"].send(sent)
        return {name for name, tap in self.taps.items() if tap.seen(payload=payload, seconds=0.1)}


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("os") as lab:
        made = Scene(lab, request.param)
        yield made
        for tap in made.taps.values():
            tap.close()


# Source, destination, tags, and who hears it where own sources are accepted.
REFLECTED = {
    "unicast of a VF": ("a", "b", (), {"b"}),
    "unicast of the uplink": ("uplink", "b", (), {"b"}),
    "broadcast of a VF": ("a", frames.BROADCAST, (), {"a", "b"}),
    "broadcast of the uplink": ("uplink", frames.BROADCAST, (), {"a", "b"}),
    "multicast of a VF": ("b", "01:00:5e:01:02:03", (), {"a", "b"}),
    "unicast in a VLAN": ("w1", "r", (100,), {"r"}),
    "broadcast in a VLAN": ("w1", frames.BROADCAST, (100,), {"w1", "r"}),
    "broadcast of a trunk": ("r", frames.BROADCAST, (200,), {"r"}),
}


@pytest.mark.parametrize("name", REFLECTED)
@pytest.mark.parametrize("setting", ["drop", "accept"])
def test_what_comes_back_from_the_wire_is_as_the_pf_says(scene: Scene, setting: str, name: str) -> None:
    source, destination, tags, hearers = REFLECTED[name]
    scene.set_own_source(setting)
    before = scene.loops()
    payload = f"{name}, {setting}".encode()
    sent = frames.frame(scene.macs.get(destination, destination), scene.macs[source], payload, tags=tags)
    wanted = (set[str](), 1) if setting == "drop" else (hearers, 0)
    assert wanted == (scene.receivers(sent, payload), scene.loops() - before)


@pytest.mark.parametrize("setting", ["drop", "accept"])
def test_another_station_is_heard_either_way(scene: Scene, setting: str) -> None:
    scene.set_own_source(setting)
    before = scene.loops()
    for number in range(3):  # the second and third as remembered
        payload = f"station {number}, {setting}".encode()
        assert {"b"} == scene.receivers(frames.frame(scene.macs["b"], scene.macs["wire"], payload), payload)
    foreign_vlan = frames.frame(scene.macs["w1"], scene.macs["a"], b"a's address in VLAN 100 " + setting.encode(), tags=(100,))
    assert {"w1"} == scene.receivers(foreign_vlan, b"a's address in VLAN 100 " + setting.encode())
    assert 0 == scene.loops() - before


def test_the_setting_is_shown_exported_and_kept(scene: Scene) -> None:
    scene.set_own_source("accept")
    scene.daemon.kill()
    scene.daemon.start()
    assert "accept" == scene.daemon.ask("pf", "show", "pf0")["wire_own_source"]
    assert "accept" == scene.daemon.ask("export")["pfs"][0]["wire_own_source"]
    payload = b"after the restart"
    assert {"b"} == scene.receivers(frames.frame(scene.macs["b"], scene.macs["a"], payload), payload)
    scene.set_own_source("drop")
    before = scene.loops()
    assert set() == scene.receivers(frames.frame(scene.macs["b"], scene.macs["a"], payload), payload)
    assert 1 == scene.loops() - before


def test_guests_and_the_wire_reach_each_other_as_ever(scene: Scene) -> None:
    scene.set_own_source("drop")
    for place, device, host in ((scene.guests["a"], "eth0", 1), (scene.guests["b"], "eth0", 2), (scene.wire, "w0", 99)):
        place.address(host, device)
    for address in ("10.77.0.2", "10.77.0.99", "fd77::99"):
        wait_until(lambda address=address: scene.guests["a"].can_ping(address), f"{address} answers")
    assert scene.wire.can_ping("10.77.0.1")
