"""Pins of links and the state are lost while no daemon runs: guests have no program in front of them then. A start that cannot go
on closes their ports, and a recovery from an export gives back the host that was."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from sriov_xdp.host.links import Links
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until


class Scene:
    """one is pinned to XDP, two is not; the uplink is renamed while the daemon runs."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.wire, uplink = lab.wire()
        self.uplink = lab.device("v")
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "datapath": "xdp"},
            {"guest": self.two.name, "port_group": "lan"},
        ]
        self.as_found = flags_of(uplink)
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, [{"name": "lan", "overrides_allowed": ["shaping"]}]))
        self.one.address(1)
        self.two.address(2)
        self.daemon.settle()
        self.export = lab.folder / "export.yaml"
        self.export.write_text(self.daemon.command("export").stdout)
        run("ip", "link", "set", uplink, "down")
        run("ip", "link", "set", uplink, "name", self.uplink, "up")
        self.representors = [vf["representor"] for vf in self.daemon.ask("vf", "list") if vf["guest"]]
        wait_until(lambda: all(flags_of(device)[0] for device in self.representors), "their links follow the uplink's")

    def lose(self) -> None:
        self.daemon.kill()
        shutil.rmtree(self.daemon.bpffs / "links")
        for path in self.daemon.state_dir.glob("state.db*"):
            path.unlink()

    def command(self, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        places = ["--state-dir", self.daemon.state_dir, "--run-dir", self.daemon.run_dir, "--bpffs", self.daemon.bpffs]
        command = [*self.daemon.program, verb, *map(str, places), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def flags_of(device: str) -> tuple[bool, bool]:
    """Up, promiscuous."""
    links = Links()
    try:
        link = links.by_name(device)
        return link.is_up, link.is_promiscuous
    finally:
        links.close()


@pytest.fixture
def whole() -> Iterator[Scene]:
    with Lab("ps") as lab:
        yield Scene(lab)


@pytest.fixture
def scene(whole: Scene) -> Scene:
    """Without pins of links, and without a state."""
    whole.lose()
    return whole


def test_a_start_that_is_refused_closes_ports_without_programs(scene: Scene) -> None:
    assert [True, True] == [flags_of(device)[0] for device in scene.representors], "they lead to the host"
    done = subprocess.run(scene.daemon._command(), capture_output=True, text=True, check=False, timeout=120)
    assert 5 == done.returncode
    assert "ports with programs serve on, others are down" in done.stderr
    assert [False, False] == [flags_of(device)[0] for device in scene.representors]


def test_recovered_from_an_export_it_is_the_host_that_was(scene: Scene) -> None:
    assert 0 == scene.command("recover", "-f", str(scene.export)).returncode
    scene.daemon.start()
    scene.daemon.settle()
    expected = yaml.safe_load(scene.export.read_text())
    expected["pfs"][0]["uplink"] = scene.uplink
    assert expected == yaml.safe_load(scene.daemon.command("export").stdout)
    assert scene.one.can_ping("10.77.0.2")


def test_a_teardown_gives_the_uplink_back_as_it_was(scene: Scene) -> None:
    done = scene.command("teardown")
    assert (0, True) == (done.returncode, f"uplink {scene.uplink}, as it was before" in done.stdout), done.stdout
    assert scene.as_found == flags_of(scene.uplink)


def test_a_start_that_is_refused_lets_ports_with_programs_go_on(whole: Scene) -> None:
    """Also one that is held to a rate by a hop, of which nothing comes out of the near end, so that it has no program."""
    whole.daemon.ask("port", "set", "pf0vf1", "--shaping-ingress", "average_kbps=50000")
    whole.daemon.settle()
    whole.daemon.kill()
    for path in whole.daemon.state_dir.glob("state.db*"):
        path.unlink()
    done = subprocess.run(whole.daemon._command(), capture_output=True, text=True, check=False, timeout=120)
    assert 5 == done.returncode
    assert whole.two.can_ping("10.77.0.1")
    assert whole.one.can_ping("10.77.0.2")
