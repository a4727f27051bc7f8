"""A configuration on trial comes to nothing unless somebody says in time that it stays, whatever becomes of the daemon."""

import contextlib
import copy
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

SRIOV_VF = Path(sys.executable).parent / "sriov-vf"
GROUPS = [{"name": "lan", "overrides_allowed": ["vlan"]}, {"name": "web", "vlan": {"access": 100}}]


class Scene:
    """one and two meet in lan; the configuration that is tried takes one elsewhere, two away, and has a third."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        self.third: Namespace = lab.namespace("third")
        self.config = host_config(None, [{"guest": place.name, "port_group": "lan"} for place in (self.one, self.two)], GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)
        self.one.address(1)
        self.tried = copy.deepcopy(self.config)
        self.tried["guests"][0]["adapters"][0]["port_group"] = "web"
        self.tried["guests"][1] = {"name": self.third.name, "adapters": [{"name": "eth0", "port_group": "web"}]}

    def file(self, document: dict[str, Any]) -> str:
        path = self.lab.folder / "tried.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return str(path)

    def try_out(self, seconds: int, document: dict[str, Any] | None = None) -> None:
        done = self.daemon.command("apply", "-f", self.file(document or self.tried), "--yes", "--confirm-timeout", str(seconds))
        assert (0, True) == (done.returncode, f"comes back in {seconds} s" in done.stdout), done.stderr

    def differs(self, document: dict[str, Any]) -> bool:
        return self.daemon.command("diff", "-f", self.file(document)).returncode != 0

    def groups(self) -> dict[str, str]:
        return {vf["guest"]: vf["port_group"] for vf in self.daemon.ask("vf", "list") if vf["guest"]}

    def doctor(self) -> str:
        return self.daemon.command("doctor").stdout


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("cf") as lab:
        yield Scene(lab)


def is_back(scene: Scene) -> bool:
    return scene.groups() == {scene.one.name: "lan", scene.two.name: "lan"}


def test_nobody_says_a_word(scene: Scene) -> None:
    """What is set meanwhile would go with it, so it is refused; guests ask on."""
    number = scene.one.ip("-o", "link", "show", "eth0").split(":")[0]
    scene.try_out(4)
    assert {scene.one.name: "web", scene.third.name: "web"} == scene.groups()
    assert "is on trial: what was before comes back in" in scene.doctor()
    vf = scene.daemon.vf_of(scene.one.name)["address"]
    for command in (("vf", "set", vf, "--link-state", "disable"), ("apply", "-f", scene.file(scene.config), "--yes")):
        refused = scene.daemon.command(*command)
        assert (5, True) == (refused.returncode, "is on trial for" in refused.stderr), refused.stderr
    assert "status" not in scene.one.vf("reset")
    wait_until(lambda: is_back(scene), "what was before")
    wait_until(lambda: not scene.differs(scene.config), "all of it")
    assert number == scene.one.ip("-o", "link", "show", "eth0").split(":")[0]
    assert "was taken back, as nobody confirmed it in time" in scene.doctor()
    assert ["configuration taken back"] == [record["request"] for record in scene.daemon.ask("audit", "list")][-1:]
    scene.daemon.stop()
    scene.daemon.config_file.write_text(Path(scene.file(scene.tried)).read_text())
    scene.daemon.options.append("--yes")
    scene.daemon.start()
    assert is_back(scene), "the file that was taken back counts as done, also where the next start is made with it"
    assert "was taken back, as nobody confirmed it in time" in scene.doctor()
    assert 0 == scene.daemon.command("apply", "-f", scene.file(scene.tried), "--yes").returncode
    assert {scene.one.name: "web", scene.third.name: "web"} == scene.groups()
    assert "taken back" not in scene.doctor()


def test_one_that_is_taken_back_makes_no_start_apply_its_own_file_again(scene: Scene) -> None:
    """What was applied from elsewhere, and set by command, is not undone by it."""
    applied = copy.deepcopy(scene.config)
    applied["guests"][0]["adapters"][0]["link_state"] = "disable"
    assert 0 == scene.daemon.command("apply", "-f", scene.file(applied), "--yes").returncode
    scene.daemon.ask("port", "set", scene.daemon.vf_of(scene.two.name)["address"], "--block", "true")
    before = scene.daemon.command("export").stdout
    scene.try_out(1)
    wait_until(lambda: is_back(scene), "what was before")
    wait_until(lambda: before == scene.daemon.command("export").stdout, "all of it")
    for _start in range(2):
        scene.daemon.stop()
        scene.daemon.start()
        assert before == scene.daemon.command("export").stdout


def test_somebody_confirms(scene: Scene) -> None:
    early = scene.daemon.command("confirm")
    assert (3, True) == (early.returncode, "no configuration is on trial" in early.stderr)
    scene.try_out(3600)
    scene.daemon.kill()
    scene.daemon.start()
    assert "is on trial" in scene.doctor(), "the time goes on"
    scene.daemon.ask("confirm")
    assert not scene.differs(scene.tried)
    assert "is on trial" not in scene.doctor()
    scene.daemon.ask("vf", "set", scene.daemon.vf_of(scene.one.name)["address"], "--link-state", "disable")
    scene.daemon.stop()
    scene.daemon.start()
    assert {scene.one.name: "web", scene.third.name: "web"} == scene.groups()


def test_a_daemon_that_dies_is_followed_by_one_that_takes_it_back(scene: Scene) -> None:
    scene.try_out(2)
    scene.daemon.kill()
    scene.daemon.start()
    wait_until(lambda: is_back(scene), "what was before")
    assert not scene.differs(scene.config)


def change_record(scene: Scene, change: Callable[[dict[str, Any]], object]) -> None:
    """Of a trial, in the state of a daemon that does not run."""
    with contextlib.closing(sqlite3.connect(scene.daemon.state_dir / "state.db")) as state, state:
        (body,) = state.execute("SELECT body FROM intent WHERE kind='trial'").fetchone()
        document = json.loads(body)
        change(document)
        state.execute("UPDATE intent SET body=? WHERE kind='trial'", (json.dumps(document),))


def test_a_record_that_does_not_tell_what_was_before_ends_no_start(scene: Scene) -> None:
    """Half of what was before would take from guests what is theirs, so the operator has the word."""
    scene.try_out(2)
    scene.daemon.kill()
    change_record(scene, lambda document: document["former"].append(["switch", "vSwitch9", "{"]))
    scene.daemon.start()
    wait_until(lambda: "is damaged in the state" in scene.doctor(), "doctor says it")
    assert not scene.differs(scene.tried)
    vf = scene.daemon.vf_of(scene.one.name)["address"]
    refused = scene.daemon.command("vf", "set", vf, "--link-state", "disable")
    assert (5, True) == (refused.returncode, "say `sriov-xdp confirm` to keep it" in refused.stderr), refused.stderr
    assert 0 == scene.daemon.command("confirm").returncode
    assert "is damaged in the state" not in scene.doctor()
    scene.daemon.ask("vf", "set", vf, "--link-state", "disable")


@pytest.mark.parametrize("damage", [{"due": None}, {"due": float("nan")}, {"due": float("inf")}, {"counts": []}], ids=str)
def test_a_record_that_is_none_ends_no_start_and_its_trial(scene: Scene, damage: dict[str, Any]) -> None:
    scene.try_out(60)
    scene.daemon.kill()
    change_record(scene, lambda document: document.update(damage))
    scene.daemon.start()
    assert "its record is damaged: it stays" in scene.daemon.log()
    scene.daemon.stop()
    scene.daemon.start()
    assert (False, 1) == (scene.differs(scene.tried), scene.daemon.log().count("its record is damaged"))


def test_one_that_cannot_be_had_is_on_no_trial(scene: Scene) -> None:
    wrong = copy.deepcopy(scene.tried)
    wrong["guests"][0]["adapters"][0]["port_group"] = "nowhere"
    done = scene.daemon.command("apply", "-f", scene.file(wrong), "--yes", "--confirm-timeout", "60")
    assert 1 == done.returncode
    assert is_back(scene)
    refused = scene.daemon.command("apply", "-f", scene.file(scene.tried), "--confirm-timeout", "60")
    assert 4 == refused.returncode, "what takes something away asks all the same"
    scene.daemon.ask("vf", "set", scene.daemon.vf_of(scene.one.name)["address"], "--link-state", "disable")


@pytest.mark.parametrize("seconds", ["0", "86401", "x", "-1"])
def test_a_time_that_is_none(scene: Scene, seconds: str) -> None:
    done = scene.daemon.command("apply", "-f", scene.file(scene.tried), "--yes", "--confirm-timeout", seconds)
    assert (2, True) == (done.returncode, is_back(scene))


def test_a_guest_that_is_in_its_own_way_keeps_nobody_from_what_was_before(scene: Scene) -> None:
    """It lets its interface go meanwhile, and has another of that name."""
    config = copy.deepcopy(scene.config)
    config["switches"][0]["port_groups"][0]["vlan"] = {"access": 20}
    scene.try_out(3, config)
    vf = scene.daemon.vf_of(scene.two.name)["address"]
    scene.two.ip("link", "del", "eth0")
    scene.two.ip("link", "add", "eth0", "type", "veth", "peer", "name", "zz")
    wait_until(lambda: scene.daemon.ask("vf", "show", vf)["state"] == "free", "it is unplugged")
    wait_until(lambda: scene.daemon.vf_of(scene.one.name)["vlan"] == "none", "the other is where it was")
    wait_until(lambda: "is on trial" not in scene.doctor(), "nothing is on trial any more")
    scene.daemon.ask("vf", "set", scene.daemon.vf_of(scene.one.name)["address"], "--link-state", "auto")


def test_what_a_guest_was_granted_meanwhile_is_not_in_the_way_of_what_was_before(scene: Scene) -> None:
    """one goes to another VLAN; two asks for the address that one had where both were, and loses it when one is back."""
    config = with_policy(scene.config, {"security": {"mac_changes": "accept"}})
    assert 0 == scene.daemon.command("apply", "-f", scene.file(config)).returncode
    tried = copy.deepcopy(config)
    tried["guests"][0]["adapters"][0]["port_group"] = "web"
    mac = scene.daemon.vf_of(scene.one.name)["admin_mac"]
    scene.try_out(3, tried)
    assert "status" not in scene.two.run(str(SRIOV_VF), "set-mac", mac)
    assert mac == scene.daemon.vf_of(scene.two.name)["effective_mac"]
    wait_until(lambda: is_back(scene), "what was before")
    shown = {name: scene.daemon.vf_of(name) for name in (scene.one.name, scene.two.name)}
    assert [mac, shown[scene.two.name]["admin_mac"]] == [vf["effective_mac"] for vf in shown.values()]


def test_what_two_guests_were_granted_is_in_nobodys_way(scene: Scene) -> None:
    """Of an address that none of them has of an operator, once their VLANs are one again."""
    config = with_policy(scene.config, {"security": {"mac_changes": "accept"}})
    assert 0 == scene.daemon.command("apply", "-f", scene.file(config)).returncode
    tried = copy.deepcopy(config)
    tried["guests"][0]["adapters"][0]["port_group"] = "web"
    scene.try_out(4, tried)
    for guest in (scene.one, scene.two):
        guest.run(str(SRIOV_VF), "set-mac", "02:00:00:00:00:77")
    wait_until(lambda: is_back(scene), "what was before")
    kept = {scene.daemon.vf_of(guest.name)["effective_mac"] for guest in (scene.one, scene.two)}
    assert (2, True) == (len(kept), "02:00:00:00:00:77" in kept)


def with_policy(config: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    for group in changed["switches"][0]["port_groups"]:
        group["policy"] = policy
    return changed


def test_a_guest_whose_interface_cannot_follow_keeps_nobody_from_what_was_before(scene: Scene) -> None:
    config = copy.deepcopy(scene.config)
    config["guests"][0]["adapters"][0]["datapath"] = "xdp"
    config["guests"].append({"name": scene.third.name, "adapters": [{"name": "eth0", "port_group": "lan"}]})
    assert 0 == scene.daemon.command("apply", "-f", scene.file(config)).returncode
    tried = copy.deepcopy(scene.config)
    tried["guests"][0]["adapters"][0]["datapath"] = "tcx"
    scene.try_out(3, tried)
    scene.one.ip("link", "set", "eth0", "netns", scene.lab.namespace("inner").name)
    wait_until(lambda: scene.third.name in scene.groups(), "the one that went is back")
    wait_until(lambda: "is on trial" not in scene.doctor(), "nothing is on trial any more")


class Wired:
    """A guest on a PF with an uplink, and what is tried out on it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        _wire, self.uplink = lab.wire()
        self.guest = lab.namespace("g")
        self.config = host_config(self.uplink, [{"guest": self.guest.name, "port_group": "lan"}], GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)

    def apply(self, document: dict[str, Any], *options: str) -> int:
        path = self.lab.folder / "wired.yaml"
        path.write_text(yaml.safe_dump(document))
        return self.daemon.command("apply", "-f", str(path), "--yes", *options).returncode

    def group(self) -> str:
        return str(self.daemon.vf_of(self.guest.name)["port_group"])

    def in_web(self, *, uplink: str | None) -> dict[str, Any]:
        document = copy.deepcopy(self.config)
        document["guests"][0]["adapters"][0]["port_group"] = "web"
        document["pfs"][0] = {"name": "pf0", "num_vfs": 8, **({"uplink": uplink} if uplink else {})}
        return document


@pytest.fixture
def wired() -> Iterator[Wired]:
    with Lab("cw") as lab:
        yield Wired(lab)


def test_an_uplink_that_was_renamed_meanwhile_is_the_same_one(wired: Wired) -> None:
    assert 0 == wired.apply(wired.in_web(uplink=wired.uplink), "--confirm-timeout", "3")
    run("ip", "link", "set", wired.uplink, "name", f"{wired.uplink}r")
    wait_until(lambda: wired.group() == "lan", "what was before")
    assert f"{wired.uplink}r" == wired.daemon.ask("pf", "show", "pf0")["uplink"]


def test_what_cannot_come_back_gives_way_to_another_configuration_and_to_no_command(wired: Wired) -> None:
    assert 0 == wired.apply(wired.in_web(uplink=None), "--confirm-timeout", "1")
    run("ip", "link", "del", wired.uplink)
    wait_until(lambda: "could not be yet" in wired.daemon.command("doctor").stdout, "it cannot come back")
    vf = wired.daemon.vf_of(wired.guest.name)["address"]
    refused = wired.daemon.command("vf", "set", vf, "--link-state", "disable")
    assert (5, True) == (refused.returncode, "could not be done yet" in refused.stderr)
    meant = wired.in_web(uplink=None)
    meant["guests"][0]["adapters"][0]["link_state"] = "enable"
    assert 0 == wired.apply(meant)
    assert "could not be yet" not in wired.daemon.command("doctor").stdout
    wired.daemon.ask("vf", "set", vf, "--link-state", "disable")
    wired.daemon.stop()
    wired.daemon.start()
    assert ("web", "disable") == (wired.group(), wired.daemon.vf_of(wired.guest.name)["link_state"])
