"""What commands print for people: tables, plans, the audit, and names that a shell completes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config

SRIOV_XDP = str(Path(sys.executable).parent / "sriov-xdp")
GROUPS = [{"name": "lan", "vlan": "none"}, {"name": "web", "vlan": {"access": 100}, "overrides_allowed": ["security"]}]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [{"guest": self.one.name, "port_group": "lan"}, {"guest": self.two.name, "port_group": "web"}]
        self.config = host_config(None, guests, GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)

    def lines(self, *arguments: str) -> list[str]:
        done = self.daemon.command(*arguments)
        assert (0, "") == (done.returncode, done.stderr)
        return done.stdout.splitlines()

    def completed(self, *words: str) -> set[str]:
        """What bash offers for the last word."""
        environment = {
            **os.environ,
            "_SRIOV_XDP_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["sriov-xdp", *words]),
            "COMP_CWORD": str(len(words)),
            "SRIOV_XDP_RUN_DIR": str(self.daemon.run_dir),
        }
        done = subprocess.run([SRIOV_XDP], env=environment, capture_output=True, text=True, check=True)
        return {line.removeprefix("plain,") for line in done.stdout.splitlines() if line}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("ws") as lab:
        yield Scene(lab)


def test_in_a_pipe_a_table_has_all_columns_and_a_line_an_object(scene: Scene) -> None:
    head, *rows = scene.lines("vf", "list")
    assert ["VF", "STATE", "GUEST", "INTERFACE", "GROUP", "VLAN", "ADMIN", "MAC"] == head.split()[:8]
    assert [f"pf0vf{number}" for number in range(8)] == [row.split()[0] for row in rows]


@pytest.mark.parametrize(
    ("options", "vfs"),
    [
        (["--attached"], ["pf0vf0", "pf0vf1"]),
        (["--guest", "{two}"], ["pf0vf1"]),
        (["--pf", "pf0", "--attached", "--guest", "{one}"], ["pf0vf0"]),
        (["--guest", "nobody"], []),
    ],
)
def test_vfs_are_listed_that_are_asked_for(scene: Scene, options: list[str], vfs: list[str]) -> None:
    named = [option.format(one=scene.one.name, two=scene.two.name) for option in options]
    assert vfs == [line.split()[0] for line in scene.lines("vf", "list", *named)[1:]]
    assert vfs == [vf["address"] for vf in scene.daemon.ask("vf", "list", *named)]


@pytest.mark.parametrize("command", [("vf", "list"), ("port", "show", "pf0vf0"), ("export",), ("audit", "list"), ("doctor",)])
def test_the_run_directory_may_stand_behind_the_command(scene: Scene, command: tuple[str, ...]) -> None:
    elsewhere = {**os.environ, "SRIOV_XDP_RUN_DIR": "/nowhere"}
    done = subprocess.run(
        [SRIOV_XDP, *command, "--run-dir", str(scene.daemon.run_dir)], env=elsewhere, capture_output=True, text=True, check=False
    )
    assert "not reachable" not in done.stdout + done.stderr
    assert "" == done.stderr


def test_a_port_is_shown_with_a_line_a_setting(scene: Scene) -> None:
    scene.daemon.ask("port", "set", "pf0vf1", "--mac-changes", "accept")
    lines = scene.lines("port", "show", "pf0vf1")
    start = next(number for number, line in enumerate(lines) if line.startswith("SETTING"))
    settings = {line.split()[0]: line.split(None, 2)[1:] for line in lines[start + 1 :]}
    assert ["accept", "port pf0vf1"] == settings["mac_changes"]
    assert ["10000", "default"] == settings["storm_broadcast_pps"]
    scene.daemon.ask("port", "set", "pf0vf1", "--mac-changes", "inherit")


def test_the_audit_tells_what_changed(scene: Scene) -> None:
    scene.daemon.ask("port-group", "set", "web", "--vlan", "access:200")
    head, *lines = scene.lines("audit", "list", "--limit", "1")
    at = head.index("CHANGE")
    assert ["port_groups.web.vlan.access: 100 -> 200"] == [line[at:] for line in lines]
    scene.daemon.ask("port-group", "set", "web", "--vlan", "access:100")


def test_a_plan_is_shown_as_what_goes_and_comes_in_the_file(scene: Scene) -> None:
    document = yaml.safe_load(scene.daemon.command("export").stdout)
    document["switches"][0]["mtu"] = 1400
    document["guests"] = document["guests"][:1]
    path = scene.lab.folder / "other.yaml"
    path.write_text(yaml.safe_dump(document))
    done = scene.daemon.command("diff", "-f", str(path))
    assert 7 == done.returncode
    blocks = done.stdout.split("\nchange ")
    assert f"remove adapter {scene.two.name}/eth0" == blocks[0].splitlines()[0]
    assert f"  -guest: {scene.two.name}" in blocks[0].splitlines()
    assert "switch vSwitch0" == blocks[1].splitlines()[0]
    assert ["  -mtu: 1500", "  +mtu: 1400"] == [line for line in blocks[1].splitlines() if line[2:3] in ("-", "+")]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("vf", "detach", ""), {"pf0vf0", "pf0vf1"}),
        (("vf", "show", "pf0vf7"), {"pf0vf7"}),
        (("vf", "list", "--guest", ""), {"{one}", "{two}"}),
        (("port-group", "show", "w"), {"web"}),
        (("switch", "set", ""), {"vSwitch0"}),
        (("pf", "show", ""), {"pf0"}),
    ],
)
def test_names_are_completed(scene: Scene, words: tuple[str, ...], offered: set[str]) -> None:
    assert {name.format(one=scene.one.name, two=scene.two.name) for name in offered} == scene.completed(*words)


def test_without_a_daemon_nothing_is_completed(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.daemon, "run_dir", tmp_path)
    assert set() == scene.completed("vf", "show", "")
