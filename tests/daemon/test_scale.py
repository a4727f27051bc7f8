"""256 VFs on one PF, several PFs on a host, and one past each limit."""

import json
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config

COUNT = 256


class Scene:
    """All VFs of pf0 in one namespace, pf1 with a switch of its own."""

    def __init__(self, lab: Lab) -> None:
        self.guest: Namespace = lab.namespace("many")
        self.other: Namespace = lab.namespace("other")
        adapters = [
            {"name": f"e{index}", "kind": "vf", "port_group": "lan", "mac": f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}"}
            for index in range(COUNT)
        ]
        config = host_config(None, [], [{"name": "lan", "vlan": "none"}])
        config["pfs"] = [{"name": "pf0", "num_vfs": COUNT}, {"name": "pf1", "num_vfs": 4}]
        config["switches"].append({"name": "vSwitch1", "pf": "pf1", "port_groups": [{"name": "far", "vlan": "none"}]})
        config["guests"] = [
            {"name": self.guest.name, "adapters": adapters},
            {"name": self.other.name, "adapters": [{"name": "eth0", "port_group": "far", "mac": "02:00:00:00:00:05"}]},
        ]
        self.config = config
        self.daemon: Daemon = lab.daemon(config)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("sc") as lab:
        yield Scene(lab)


def test_all_are_attached_and_the_first_reaches_the_last(scene: Scene) -> None:
    assert sum(vf["state"] == "attached" for vf in scene.daemon.ask("vf", "list")) == COUNT + 1
    with frames.tapped((scene.guest, "e0"), (scene.guest, f"e{COUNT - 1}")) as (first, last):
        sent = frames.frame("02:00:00:00:00:ff", "02:00:00:00:00:00", b"first to last")
        first.send(sent)
        assert [sent] == last.seen(payload=b"first to last")


def test_a_flood_reaches_every_vf_of_its_pf_once_and_no_other_pf(scene: Scene) -> None:
    before = {vf["address"]: vf["counters"].get("rx_packets", 0) for vf in scene.daemon.ask("vf", "list")}
    with frames.tapped((scene.guest, "e7"), (scene.guest, f"e{COUNT - 1}"), (scene.other, "eth0")) as (sender, last, other):
        sent = frames.frame(frames.BROADCAST, "02:00:00:00:00:07", b"to all")
        sender.send(sent)
        assert [sent] == last.seen(payload=b"to all")
        assert other.seen(payload=b"to all", seconds=0.1) == []
    after = {vf["address"]: vf["counters"].get("rx_packets", 0) for vf in scene.daemon.ask("vf", "list")}
    assert sum(after[vf] > before[vf] for vf in after) >= COUNT - 1
    assert before["pf1vf0"] == after["pf1vf0"]


def test_the_same_address_may_be_on_another_pf(scene: Scene) -> None:
    macs = [vf["effective_mac"] for vf in scene.daemon.ask("vf", "list") if vf["effective_mac"] == "02:00:00:00:00:05"]
    assert macs == ["02:00:00:00:00:05"] * 2


def test_policy_of_the_whole_group_changes_at_once(scene: Scene) -> None:
    scene.daemon.ask("port-group", "set", "lan", "--forged-transmits", "accept")
    with frames.tapped((scene.guest, "e255"), (scene.guest, "e0")) as (last, first):
        sent = frames.frame("02:00:00:00:00:00", "02:66:66:66:66:66", b"forged")
        last.send(sent)
        assert [sent] == first.seen(payload=b"forged")
        scene.daemon.ask("port-group", "set", "lan", "--forged-transmits", "reject")
        last.send(sent)
        assert first.seen(payload=b"forged", seconds=0.1) == []


def test_one_vf_too_many_is_refused(scene: Scene) -> None:
    before = scene.daemon.ask("export")
    done = scene.daemon.command("vf", "attach", "--guest", "x", "--port-group", "lan")
    assert done.returncode == 5
    assert "PF pf0: all 256 VFs are attached; detach one or raise num_vfs" in done.stderr
    assert before == scene.daemon.ask("export")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda config: config["pfs"][0].update(num_vfs=257), "pfs[0].num_vfs: 257"),
        (lambda config: config["pfs"].extend({"name": f"p{n}", "num_vfs": 1} for n in range(15)), "a host has at most 16"),
        (lambda config: config["pfs"][0].update(num_vfs=255), "but 256 adapters are on this PF"),
        (lambda config: config["switches"][0].update(mtu=9217), "expected a number from 68 to 9216"),
    ],
)
def test_configuration_one_past_a_limit_changes_nothing(scene: Scene, change, text: str) -> None:  # noqa: ANN001
    bad = json.loads(json.dumps(scene.config))
    change(bad)
    path = scene.daemon.folder / "limit.json"
    path.write_text(json.dumps(bad))
    before = scene.daemon.ask("export")
    done = scene.daemon.command("apply", "-f", str(path))
    assert done.returncode == 1
    assert text in done.stderr
    assert before == scene.daemon.ask("export")
