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

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

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
    scene.daemon.ask("vf", "set", scene.daemon.vf_of(scene.one.name)["address"], "--link-state", "disable")
    assert 0 == scene.daemon.command("confirm").returncode
    assert "is damaged in the state" not in scene.doctor()


def test_a_record_that_is_none_ends_no_start_and_its_trial(scene: Scene) -> None:
    scene.try_out(60)
    scene.daemon.kill()
    change_record(scene, lambda document: document.pop("due"))
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


def test_no_guest_is_granted_meanwhile_what_may_come_back(scene: Scene) -> None:
    """one goes to another VLAN; two, who stays and may have other addresses, asks for the address that one had there."""
    config = copy.deepcopy(scene.config)
    config["switches"][0]["port_groups"][0]["policy"] = {"security": {"mac_changes": "accept"}, "deny_reply": "nack"}
    assert 0 == scene.daemon.command("apply", "-f", scene.file(config)).returncode
    tried = copy.deepcopy(config)
    tried["guests"][0]["adapters"][0]["port_group"] = "web"
    mac = scene.daemon.vf_of(scene.one.name)["admin_mac"]
    scene.try_out(4, tried)
    refused = scene.two.run(str(SRIOV_VF), "set-mac", mac, check=False)
    assert mac != scene.daemon.vf_of(scene.two.name)["effective_mac"], refused
    wait_until(lambda: is_back(scene), "what was before")
    assert mac == scene.daemon.vf_of(scene.one.name)["effective_mac"]
