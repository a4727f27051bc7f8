"""A netdev is given back as it was found, whatever it was like and however it goes."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Daemon, Lab, host_config, run

LAN = [{"name": "lan"}]
BEFORE = {
    "as devices are": [],
    "promiscuous": [["ip", "link", "set", "DEVICE", "promisc", "on"]],
    "down": [["ip", "link", "set", "DEVICE", "down"]],
    "without IPv6": [["sysctl", "-qw", "net.ipv6.conf.DEVICE.disable_ipv6=1"]],
    "with IPv6, no addresses of its own": [["ip", "link", "set", "DEVICE", "addrgenmode", "none"]],
    "offloads off": [["ethtool", "-K", "DEVICE", "rxvlan", "off"]],
    "offloads on": [["ethtool", "-K", "DEVICE", "rxvlan", "on", "txvlan", "on"]],
    "all at once": [
        ["ip", "link", "set", "DEVICE", "promisc", "on"],
        ["ethtool", "-K", "DEVICE", "txvlan", "off", "rxvlan", "on"],
        ["sysctl", "-qw", "net.ipv6.conf.DEVICE.disable_ipv6=1"],
        ["ip", "link", "set", "DEVICE", "down"],
    ],
}


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.number = 0
        self.config = host_config(None, [], LAN)
        self.daemon: Daemon = lab.daemon(self.config)

    def device(self, before: str) -> str:
        self.number += 1
        name = self.lab.device(f"x{self.number}")
        run("ip", "link", "add", name, "type", "veth", "peer", "name", self.lab.device(f"y{self.number}"))
        for device in (name, self.lab.name(f"y{self.number}")):
            run("ip", "link", "set", device, "up")
        for command in BEFORE[before]:
            run(*(word.replace("DEVICE", name) for word in command))
        return name

    def with_uplink(self, name: str) -> dict[str, Any]:
        document = copy.deepcopy(self.config)
        document["pfs"][0]["uplink"] = name
        return document

    def apply(self, document: dict[str, Any]) -> int:
        path = self.lab.folder / "given.yaml"
        path.write_text(yaml.safe_dump(document))
        return self.daemon.command("apply", "-f", str(path), "--yes").returncode


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("gb") as lab:
        yield Scene(lab)


def as_it_is(device: str) -> list[Any]:
    link = json.loads(run("ip", "-j", "-d", "link", "show", device))[0]
    sysctl = Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").read_text()
    shown = [link.get(key) for key in ("promiscuity", "inet6_addr_gen_mode", "mtu", "xdp", "address")]
    filters = run("tc", "filter", "show", "dev", device, "ingress", check=False)
    return [*shown, sorted(link["flags"]), sysctl, run("ethtool", "-k", device), filters]


@pytest.mark.parametrize("before", BEFORE)
def test_by_a_file_that_does_not_name_it_any_more(scene: Scene, before: str) -> None:
    device = scene.device(before)
    found = as_it_is(device)
    assert 0 == scene.apply(scene.with_uplink(device))
    assert found != as_it_is(device)
    scene.daemon.kill()
    scene.daemon.start()
    assert device == scene.daemon.ask("pf", "show", "pf0")["uplink"]
    assert 0 == scene.apply(scene.config)
    assert found == as_it_is(device)


@pytest.mark.parametrize("before", BEFORE)
def test_one_that_is_somebody_elses_is_refused_before_anything_is_touched(scene: Scene, before: str) -> None:
    """Another program is on the device already."""
    device = scene.device(before)
    with programs.on_host_device(device, programs.constant(programs.XDP_PASS)):
        found = as_it_is(device)
        assert 5 == scene.apply(scene.with_uplink(device))
        assert found == as_it_is(device)


def test_by_another_uplink_of_the_same_pf(scene: Scene) -> None:
    first, second = scene.device("all at once"), scene.device("promiscuous")
    found = [as_it_is(first), as_it_is(second)]
    assert [0, 0, 0] == [scene.apply(document) for document in (scene.with_uplink(first), scene.with_uplink(second), scene.config)]
    assert found == [as_it_is(first), as_it_is(second)]


def test_by_a_pf_that_gives_way_to_another(scene: Scene) -> None:
    device = scene.device("promiscuous")
    found = as_it_is(device)
    assert 0 == scene.apply(scene.with_uplink(device))
    other = scene.with_uplink(device)
    other["pfs"][0]["name"] = other["switches"][0]["pf"] = "pf7"
    assert 0 == scene.apply(other)
    assert device == scene.daemon.ask("pf", "show", "pf7")["uplink"]
    assert 0 == scene.apply(scene.config)
    assert found == as_it_is(device)


@pytest.mark.parametrize("before", ["all at once", "promiscuous"])
def test_by_teardown(scene: Scene, before: str) -> None:
    device = scene.device(before)
    found = as_it_is(device)
    assert 0 == scene.apply(scene.with_uplink(device))
    scene.daemon.teardown()
    assert found == as_it_is(device)
    scene.daemon.start()


@pytest.mark.parametrize("how", ["teardown", "recover"])
def test_though_the_state_is_lost(scene: Scene, how: str) -> None:
    device = scene.device("all at once")
    found = as_it_is(device)
    assert 0 == scene.apply(scene.with_uplink(device))
    scene.daemon.kill()
    for path in scene.daemon.state_dir.glob("state.db*"):
        path.unlink()
    if how == "recover":
        daemon = scene.daemon
        places = ("--state-dir", str(daemon.state_dir), "--run-dir", str(daemon.run_dir), "--bpffs", str(daemon.bpffs))
        run(*daemon.program, "recover", *places)
    scene.daemon.teardown()
    assert found == as_it_is(device)
    scene.daemon.start()
