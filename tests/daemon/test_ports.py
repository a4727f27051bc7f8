"""Ports live on their own: a static group's are there before anybody is connected, and keep what is set and counted there."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

GROUPS = [
    {"name": "loose", "overrides_allowed": ["security"]},
    {
        "name": "web",
        "binding": "static",
        "ports": 4,
        "overrides_allowed": ["security", "vlan", "mtu"],
        "port_settings": {3: {"policy": {"block": True}}},
    },
    {"name": "short", "binding": "static", "ports": 1, "reset_at_disconnect": True, "overrides_allowed": ["security"]},
]


class Scene:
    """One guest in loose, which sends; first, second, third come and go in the static groups."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.sender = lab.namespace("sender")
        self.guests: list[Namespace] = [lab.namespace(name) for name in ("first", "second", "third")]
        self.config = host_config(None, [{"guest": self.sender.name, "port_group": "loose"}], GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)
        self.sender.address(1)

    def attach(self, guest: Namespace, *options: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.daemon.ask("vf", "attach", "--guest", guest.name, *options)
        self.daemon.settle()
        return shown

    def detach_all(self) -> None:
        for vf in self.daemon.ask("vf", "list"):
            if vf["guest"] in {guest.name for guest in self.guests}:
                self.daemon.ask("vf", "detach", vf["address"])

    def port(self, name: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.daemon.ask("port", "show", name)
        return shown

    def ports(self) -> dict[str, str | None]:
        return {port["port"]: port["vf"] for port in self.daemon.ask("port", "list")}

    def path_of(self, document: dict[str, Any]) -> str:
        path = self.lab.folder / "given.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return str(path)


@pytest.fixture(scope="module")
def whole_scene() -> Iterator[Scene]:
    with Lab("pt") as lab:
        yield Scene(lab)


@pytest.fixture
def scene(whole_scene: Scene) -> Iterator[Scene]:
    """Each test finds the file in force, and nobody in the static groups."""
    yield whole_scene
    whole_scene.detach_all()
    done = whole_scene.daemon.command("apply", "--yes", "-f", whole_scene.path_of(whole_scene.config))
    assert 0 == done.returncode, done.stderr


def test_ports_of_a_static_group_are_there_before_anybody_and_all_have_names(scene: Scene) -> None:
    first, second, _third = scene.guests
    shown = scene.attach(first, "--port-group", "web")
    assert ("web", "vSwitch0/0") == (shown["port_group"], shown["port"])
    assert "vSwitch0/3" == scene.attach(second, "--port", "vSwitch0/3")["port"]
    ports = scene.ports()
    assert ["vSwitch0/0", "vSwitch0/1", "vSwitch0/2", "vSwitch0/3", "vSwitch0/4", "vSwitch0/5"] == list(ports)
    assert scene.daemon.vf_of(first.name)["address"] == ports["vSwitch0/0"]
    names = ("vSwitch0/0", ports["vSwitch0/0"], f"{first.name}/eth0")
    assert [scene.port("vSwitch0/0")] * 3 == [scene.port(str(name)) for name in names]
    assert {"value": True, "set_by": f"port {ports['vSwitch0/3']}"} == scene.port("vSwitch0/3")["policy"]["block"]
    empty = scene.port("vSwitch0/2")
    assert (None, None, "web", "static") == (empty["vf"], empty["guest"], empty["port_group"], empty["binding"])


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--port", "vSwitch0/1"), 5, "port vSwitch0/1: VF pf0vf1 is connected there"),
        (("--port", "vSwitch0/99"), 3, "port vSwitch0/99: no static port group has it"),
        (("--port", "nowhere/1"), 3, "port nowhere/1: switch nowhere is not configured"),
        (("--port", "vSwitch0/2", "--port-group", "loose"), 5, "port vSwitch0/2: is port group web's, not loose's"),
        (("--port-group", "short"), 0, ""),
        (("--port", "3"), 2, "expected a switch's name and a number, as in vSwitch0/3"),
        ((), 2, "nowhere to connect it: give --port-group or --port"),
    ],
)
def test_a_port_that_cannot_be_had_is_refused(scene: Scene, options: tuple[str, ...], code: int, said: str) -> None:
    scene.attach(scene.guests[0], "--port", "vSwitch0/1")
    done = scene.daemon.command("vf", "attach", "--guest", scene.guests[1].name, *options)
    if (code == 5 and "no static" in said) or "not configured" in said:
        assert done.returncode != 0
    else:
        assert code == done.returncode, done.stderr
    assert said in done.stderr


def test_a_full_group_takes_nobody_until_it_has_a_port_more(scene: Scene) -> None:
    first, second, _third = scene.guests
    scene.attach(first, "--port-group", "short")
    refused = scene.daemon.command("vf", "attach", "--guest", second.name, "--port-group", "short")
    assert (5, True) == (refused.returncode, "port group short: all of its 1 ports are connected" in refused.stderr)
    made = scene.daemon.ask("port", "create", "--port-group", "short")
    assert ("vSwitch0/6", "short") == (made["port"], made["port_group"])
    assert "vSwitch0/6" == scene.attach(second, "--port-group", "short")["port"]
    in_use = scene.daemon.command("port", "delete", "vSwitch0/6")
    assert (5, True) == (in_use.returncode, "is connected there" in in_use.stderr)
    scene.daemon.ask("vf", "detach", scene.daemon.vf_of(second.name)["address"])
    scene.daemon.ask("port", "delete", "vSwitch0/6")
    assert "vSwitch0/6" not in scene.ports()
    loose = scene.daemon.command("port", "create", "--port-group", "loose")
    assert (4, True) == (loose.returncode, "port group loose: is ephemeral" in loose.stderr)


def test_what_is_set_for_a_port_waits_for_who_comes_next(scene: Scene) -> None:
    """Set while nobody is connected, in force from the first frame, and there for the next guest."""
    first, second, _third = scene.guests
    scene.daemon.ask("port", "set", "vSwitch0/2", "--mtu", "1000", "--mac-changes", "accept")
    for guest in (first, second):
        shown = scene.attach(guest, "--port", "vSwitch0/2")
        assert 1000 == shown["mtu"]
        assert "mtu 1000 " in guest.ip("link", "show", "eth0")
        policy = scene.port("vSwitch0/2")["policy"]
        assert {"value": "accept", "set_by": f"port {shown['address']}"} == policy["mac_changes"]
        scene.daemon.ask("vf", "detach", shown["address"])
    scene.daemon.ask("port", "set", "vSwitch0/2", "--mtu", "inherit")
    assert 1500 == scene.attach(first, "--port", "vSwitch0/2")["mtu"]
    asked = scene.daemon.command("port", "set", "vSwitch0/2", "--trust", "true")
    assert (4, True) == (asked.returncode, "does not let its ports override trust" in asked.stderr)
    assert "refused" == scene.daemon.ask("audit", "list", "--port", "vSwitch0/2")[-1]["outcome"]


def test_what_is_set_at_a_guest_that_is_connected_is_its_ports(scene: Scene) -> None:
    first, second, _third = scene.guests
    vf = scene.attach(first, "--port", "vSwitch0/1")["address"]
    scene.daemon.ask("port", "set", vf, "--forged-transmits", "accept")
    scene.daemon.ask("vf", "detach", vf)
    assert {"policy": {"security": {"forged_transmits": "accept"}}} == scene.port("vSwitch0/1")["overrides"]
    scene.attach(second, "--port", "vSwitch0/1")
    assert "accept" == scene.port(f"{second.name}/eth0")["policy"]["forged_transmits"]["value"]


def test_a_group_that_resets_forgets_with_its_adapter(scene: Scene) -> None:
    first, second, _third = scene.guests
    vf = scene.attach(first, "--port-group", "short")["address"]
    name = scene.daemon.vf_of(first.name)["port"]
    scene.daemon.ask("port", "set", name, "--promiscuous", "accept")
    assert "accept" == scene.port(name)["policy"]["promiscuous"]["value"]
    scene.daemon.ask("vf", "detach", vf)
    assert ({}, 0) == (scene.port(name)["overrides"], scene.port(name)["counters"]["tx_packets"])
    scene.attach(second, "--port-group", "short")
    assert "reject" == scene.port(name)["policy"]["promiscuous"]["value"]


def sent(scene: Scene, guest: Namespace, count: int) -> None:
    """Frames that the sender hears."""
    with frames.tapped((guest, "eth0"), (scene.sender, "eth0")) as (own, tap):
        for _frame in range(count):
            own.send(frames.frame(frames.BROADCAST, guest.mac(), b"counted"))
        assert count == len(tap.seen(payload=b"counted", count=count))


def test_a_port_goes_on_counting_over_its_guests_and_over_restarts(scene: Scene) -> None:
    first, second, _third = scene.guests
    before = scene.port("vSwitch0/2")["counters"]["tx_packets"]
    for number, guest in enumerate((first, second), 1):
        vf = scene.attach(guest, "--port", "vSwitch0/2")["address"]
        quiet = scene.port("vSwitch0/2")["counters"]["tx_packets"]
        sent(scene, guest, 7)
        counted = scene.port("vSwitch0/2")["counters"]["tx_packets"]
        assert counted >= max(before + 7 * number, quiet + 7)
        scene.daemon.ask("vf", "detach", vf)
        assert scene.port("vSwitch0/2")["counters"]["tx_packets"] >= counted
    counters = scene.port("vSwitch0/2")["counters"]
    scene.daemon.kill()
    scene.daemon.start()
    assert counters == scene.port("vSwitch0/2")["counters"]
    history = scene.daemon.ask("audit", "list", "--port", "vSwitch0/2")
    assert [first.name, second.name] == [record["guest"] for record in history if record["request"] == "detach"][-2:]


def test_ports_settings_and_numbers_come_back_with_the_daemon_and_from_the_export(scene: Scene) -> None:
    first, second, third = scene.guests
    for guest, place in ((first, "vSwitch0/0"), (second, "vSwitch0/4"), (third, "vSwitch0/2")):
        scene.attach(guest, "--port", place)
    scene.daemon.ask("port", "set", "vSwitch0/1", "--vlan", "access:7")
    scene.daemon.ask("port", "set", "vSwitch0/2", "--promiscuous", "accept")
    ports = {port["port"]: (port["vf"], port["vlan"], port["overrides"]) for port in scene.daemon.ask("port", "list")}
    scene.daemon.kill()
    scene.daemon.start()

    def shown() -> dict[str, Any]:
        return {port["port"]: (port["vf"], port["vlan"], port["overrides"]) for port in scene.daemon.ask("port", "list")}

    assert ports == shown()
    exported = scene.daemon.ask("export")
    assert {first.name: 0, second.name: 4, third.name: 2} == {
        guest["name"]: guest["adapters"][0]["port"] for guest in exported["guests"] if "port" in guest["adapters"][0]
    }
    assert 0 == scene.daemon.command("diff", "-f", scene.path_of(exported)).returncode
    scene.detach_all()
    done = scene.daemon.command("apply", "-f", scene.path_of(exported))
    assert 0 == done.returncode, done.stderr
    assert {name: said[1:] for name, said in ports.items()} == {name: said[1:] for name, said in shown().items()}
    scene.daemon.ask("port", "set", "vSwitch0/1", "--vlan", "inherit")
    scene.daemon.ask("port", "set", "vSwitch0/2", "--promiscuous", "inherit")


def test_a_guest_changes_its_port_and_keeps_its_interface(scene: Scene) -> None:
    first = scene.guests[0]
    vf = scene.attach(first, "--port", "vSwitch0/1")["address"]
    number = json.loads(first.ip("-j", "link", "show", "eth0"))[0]["ifindex"]
    first.address(2)
    assert scene.sender.can_ping("10.77.0.2")
    scene.daemon.ask("vf", "set", vf, "--port", "vSwitch0/3")
    assert not scene.sender.can_ping("10.77.0.2")
    moved = scene.daemon.vf_of(first.name)
    assert ("vSwitch0/3", number) == (moved["port"], json.loads(first.ip("-j", "link", "show", "eth0"))[0]["ifindex"])
    scene.daemon.ask("vf", "set", vf, "--port-group", "loose")
    assert "vSwitch0/6" == scene.daemon.vf_of(first.name)["port"]
    wait_until(lambda: scene.sender.can_ping("10.77.0.2"), "the guest in the loose group")


def test_a_file_that_declares_ports_says_all_that_is_set_for_them(scene: Scene) -> None:
    """An apply that takes a guest away from a port that would be reset leaves what the file says of the port."""
    document = json.loads(json.dumps(scene.config))
    web = document["switches"][0]["port_groups"][1]
    web["port_settings"] = {"2": {"policy": {"security": {"promiscuous": "accept"}}}, "3": {"policy": {"block": True}}}
    web["reset_at_disconnect"] = True
    document["guests"].append({"name": scene.guests[0].name, "adapters": [{"name": "eth0", "port_group": "web", "port": 2}]})
    assert 0 == scene.daemon.command("apply", "-f", scene.path_of(document)).returncode
    assert "vSwitch0/2" == scene.daemon.vf_of(scene.guests[0].name)["port"]
    document["guests"].pop()
    assert 0 == scene.daemon.command("apply", "--yes", "-f", scene.path_of(document)).returncode
    assert 0 == scene.daemon.command("diff", "-f", scene.path_of(document)).returncode
    assert "accept" == scene.port("vSwitch0/2")["policy"]["promiscuous"]["value"]


def test_an_adapter_of_an_earlier_version_gets_a_number(scene: Scene) -> None:
    scene.daemon.stop()
    with closing(sqlite3.connect(scene.daemon.state_dir / "state.db", isolation_level=None)) as database:
        database.execute("UPDATE intent SET body = json_remove(body, '$.number', '$.port') WHERE kind = 'attachment'")
    scene.daemon.start()
    assert "vSwitch0/5" == scene.daemon.vf_of(scene.sender.name)["port"]
    scene.daemon.kill()
    scene.daemon.start()
    assert "vSwitch0/5" == scene.daemon.vf_of(scene.sender.name)["port"]


def test_who_moves_away_leaves_a_port_as_one_who_is_detached_does(scene: Scene) -> None:
    """Settings end where the group says so, and what was counted stays where it was counted."""
    first, second, _third = scene.guests
    vf = scene.attach(first, "--port-group", "short")["address"]
    name = scene.daemon.vf_of(first.name)["port"]
    scene.daemon.ask("port", "set", name, "--forged-transmits", "accept")
    sent(scene, first, 5)
    counted = scene.port(name)["counters"]["tx_packets"]
    before = scene.port("vSwitch0/2")["counters"]["tx_packets"]
    scene.daemon.ask("vf", "set", vf, "--port", "vSwitch0/2", "spoofchk", "off")
    assert ({}, 0) == (scene.port(name)["overrides"], scene.port(name)["counters"]["tx_packets"])
    assert {"policy": {"security": {"forged_transmits": "accept"}}} == scene.port("vSwitch0/2")["overrides"]
    assert before + counted > scene.port("vSwitch0/2")["counters"]["tx_packets"]
    scene.attach(second, "--port", name)
    assert "reject" == scene.port(name)["policy"]["forged_transmits"]["value"]
    sent(scene, first, 5)
    kept = scene.port("vSwitch0/2")["counters"]["tx_packets"]
    scene.daemon.ask("vf", "set", vf, "--port", "vSwitch0/1")
    assert scene.port("vSwitch0/2")["counters"]["tx_packets"] >= kept
    scene.daemon.ask("port", "set", "vSwitch0/2", "--forged-transmits", "inherit")


def test_what_is_a_ports_is_the_ports_after_a_recovery_too(scene: Scene) -> None:
    first = scene.guests[0]
    scene.daemon.ask("port", "set", "vSwitch0/1", "--vlan", "access:30", "--mtu", "1300")
    vf = scene.attach(first, "--port", "vSwitch0/1")["address"]
    export = scene.path_of(scene.daemon.ask("export"))
    scene.daemon.kill()
    for path in scene.daemon.state_dir.glob("state.db*"):
        path.unlink()
    daemon = scene.daemon
    places = ["--state-dir", str(daemon.state_dir), "--run-dir", str(daemon.run_dir), "--bpffs", str(daemon.bpffs)]
    run(*daemon.program, "recover", *places, "-f", export)
    daemon.start()
    assert 0 == daemon.command("diff", "-f", export).returncode
    scene.daemon.ask("vf", "set", vf, "--port", "vSwitch0/2")
    moved = scene.daemon.vf_of(first.name)
    assert ("none", 1500) == (moved["vlan"], moved["mtu"])
    scene.daemon.ask("port", "set", "vSwitch0/1", "--vlan", "inherit", "--mtu", "inherit")


def test_a_change_is_asked_of_every_port_before_anything_is_done() -> None:
    """Two are pinned to XDP, which frames that long must not meet on a kernel that is not known to bear them."""
    with Lab("pb") as lab:
        places = [lab.namespace(name) for name in ("first", "second", "third")]
        modes = ("xdp", "xdp", "tcx")
        guests = [{"guest": place.name, "port_group": "lan", "datapath": mode} for place, mode in zip(places, modes, strict=True)]
        groups = [{"name": "lan", "policy": {"mtu": 1500}}]
        daemon = lab.daemon(host_config(None, guests, groups, mtu=9000), "--jumbo-xdp", "refuse")
        daemon.settle()
        before = daemon.ask("export")
        refused = daemon.command("port-group", "set", "lan", "--mtu", "9000")
        assert 5 == refused.returncode
        pinned = [daemon.vf_of(place.name)["address"] for place in places[:2]]
        assert [f"VF {vf}" for vf in pinned] == [line.split(": ")[0] for line in refused.stderr.splitlines()]
        assert before == daemon.ask("export")
        assert ["xdp", "xdp"] == [daemon.vf_of(place.name)["datapath"]["active"] for place in places[:2]]


def test_the_port_that_is_named_goes_and_the_last_one_only_with_its_group(scene: Scene) -> None:
    scene.daemon.ask("port-group", "create", "pair", "--switch", "vSwitch0", "--binding", "static", "--ports", "3")
    names = [name for name in scene.ports() if scene.port(name)["port_group"] == "pair"]
    scene.daemon.ask("port", "set", names[1], "--vlan", "inherit")
    scene.daemon.ask("port", "delete", names[1])
    assert ["set switch vSwitch0"] * 2 == [one["request"] for one in scene.daemon.ask("audit", "list", "--port", names[1])]
    assert [names[0], names[2]] == [name for name in scene.ports() if scene.port(name)["port_group"] == "pair"]
    scene.daemon.ask("port", "delete", names[0])
    refused = scene.daemon.command("port", "delete", names[2])
    assert (4, True) == (refused.returncode, "`sriov-xdp port-group delete` removes the group" in refused.stderr), refused.stderr
    scene.daemon.ask("port-group", "delete", "pair")


def test_numbers_of_static_ports_come_back_from_the_export(scene: Scene) -> None:
    """Also where they were given out in turns, and nobody is connected."""
    for group in ("a", "b"):
        scene.daemon.ask("port-group", "create", group, "--switch", "vSwitch0", "--binding", "static", "--ports", "2")
    for group in ("a", "b", "a"):
        scene.daemon.ask("port", "create", "--port-group", group)
    before = {name: scene.port(name)["port_group"] for name in scene.ports()}
    exported = yaml.safe_load(scene.daemon.command("export").stdout)
    with Lab("pu") as other:
        for guest in exported["guests"]:
            guest["netns"] = other.namespace("x").name
        fresh = other.daemon(exported)
        assert before == {port["port"]: port["port_group"] for port in fresh.ask("port", "list")}
        assert 0 == fresh.command("diff", "-f", str(fresh.config_file)).returncode
    moved = yaml.safe_load(scene.daemon.command("export").stdout)
    groups = {group["name"]: group for group in moved["switches"][0]["port_groups"]}
    groups["a"]["numbers"] = [*groups["a"]["numbers"][:-1], 900]
    assert 7 == scene.daemon.command("diff", "-f", scene.path_of(moved)).returncode
    assert 0 == scene.daemon.command("apply", "-f", scene.path_of(moved)).returncode
    assert "a" == scene.port("vSwitch0/900")["port_group"]


def test_a_trace_takes_every_name_of_a_port(scene: Scene) -> None:
    vf = scene.daemon.vf_of(scene.sender.name)["address"]
    names = (vf, scene.port(vf)["port"], f"{scene.sender.name}/eth0")
    traced = [scene.daemon.ask("trace", "--from", name, "--to", "ff:ff:ff:ff:ff:ff") for name in names]
    assert 1 == len({json.dumps(one) for one in traced})
    nobody = scene.daemon.command("trace", "--from", "vSwitch0/3", "--to", "ff:ff:ff:ff:ff:ff")
    assert (5, True) == (nobody.returncode, "nobody is connected there" in nobody.stderr), nobody.stderr


def test_a_count_that_cannot_be_read_costs_nothing_but_itself(scene: Scene) -> None:
    scene.attach(scene.guests[0], "--port", "vSwitch0/1")
    scene.detach_all()
    scene.daemon.kill()
    with closing(sqlite3.connect(scene.daemon.state_dir / "state.db")) as state, state:
        assert 1 == state.execute("UPDATE intent SET body='{' WHERE kind='port' AND name='vSwitch0/1'").rowcount
    scene.daemon.start()
    assert "what was counted there cannot be read" in scene.daemon.log()
    assert (0, 0) == (scene.daemon.command("export").returncode, scene.daemon.command("doctor").returncode)
