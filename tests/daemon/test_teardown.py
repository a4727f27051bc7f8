"""What goes with a teardown, what stays, and that it needs no state."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, OK, RawMailbox
from terminals import on_terminal

from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run

LAN = [{"name": "lan", "policy": {"security": {"mac_changes": "accept"}}}]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.wire, self.uplink = lab.wire()
        self.representors: list[int] = []
        self.before = self.host_as_it_is()
        self.guest: Namespace = lab.namespace("vm")
        self.made: Namespace = lab.adopt(lab.name("made"))
        guests = [{"guest": guest.name, "port_group": "lan"} for guest in (self.guest, self.made)]
        self.daemon: Daemon = lab.daemon(host_config(self.uplink, guests, LAN))

    def command(self, *options: str) -> list[str]:
        daemon = self.daemon
        places = ["--state-dir", str(daemon.state_dir), "--run-dir", str(daemon.run_dir), "--bpffs", str(daemon.bpffs)]
        return [*daemon.program, "teardown", *places, *options]

    def teardown(self, *options: str) -> str:
        done = subprocess.run(self.command(*options), capture_output=True, text=True, check=False, timeout=120)
        assert (0, "") == (done.returncode, done.stderr)
        return done.stdout

    def host_as_it_is(self) -> list[str]:
        """Numbers of representors that are there, and all of the uplink."""
        present = [link["ifindex"] for link in json.loads(run("ip", "-j", "link"))]
        devices = [str(number) for number in self.representors if number in present]
        sysctl = Path(f"/proc/sys/net/ipv6/conf/{self.uplink}/disable_ipv6").read_text()
        link = json.loads(run("ip", "-j", "-d", "link", "show", self.uplink))[0]
        flags = [str(link.get(key)) for key in ("promiscuity", "inet6_addr_gen_mode", "xdp", "mtu")] + sorted(link["flags"])
        return [*devices, sysctl, run("ethtool", "-k", self.uplink), *flags]

    def assert_all_is_gone(self) -> None:
        assert self.before == self.host_as_it_is()
        assert (False, False) == (self.daemon.bpffs.exists(), self.daemon.run_dir.exists())


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("tt") as lab:
        yield Scene(lab)


@pytest.fixture(autouse=True)
def stopped_daemon(scene: Scene) -> None:
    """With both guests attached."""
    if scene.daemon.process.poll() is not None:
        scene.daemon.start()
    vfs = [vf for vf in scene.daemon.ask("vf", "list") if vf["guest"]]
    assert [scene.guest.name, scene.made.name] == [vf["guest"] for vf in vfs]
    scene.representors = [json.loads(run("ip", "-j", "link", "show", vf["representor"]))[0]["ifindex"] for vf in vfs]
    scene.daemon.stop()


def test_while_a_daemon_runs_it_is_refused(scene: Scene) -> None:
    scene.daemon.start()
    done = subprocess.run(scene.command(), capture_output=True, text=True, check=False, timeout=60)
    assert (5, True) == (done.returncode, "another daemon runs" in done.stderr)
    assert [scene.guest.name, scene.made.name] == [vf["guest"] for vf in scene.daemon.ask("vf", "list") if vf["guest"]]


def test_one_who_names_its_run_directory_only_is_refused_too_and_nothing_is_made(scene: Scene, tmp_path: Path) -> None:
    scene.daemon.start()
    other = [str(tmp_path / "state"), "--bpffs", str(scene.daemon.bpffs.with_name("none"))]
    command = [*scene.daemon.program, "teardown", "--run-dir", str(scene.daemon.run_dir), "--state-dir", *other]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (5, True) == (done.returncode, "another daemon runs with this run directory" in done.stderr)
    assert [] == list(tmp_path.iterdir())
    assert [scene.guest.name, scene.made.name] == [vf["guest"] for vf in scene.daemon.ask("vf", "list") if vf["guest"]]


def test_a_run_directory_that_is_left_goes_and_no_state_is_made(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    places = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"), "--bpffs", str(tmp_path / "bpffs")]
    done = subprocess.run([*scene.daemon.program, "teardown", *places], capture_output=True, text=True, check=True, timeout=60)
    assert f"removed run directory {tmp_path / 'run'}\n" == done.stdout
    assert [] == list(tmp_path.iterdir())


def test_on_a_terminal_it_asks(scene: Scene) -> None:
    refused = on_terminal(scene.command(), "n")
    assert (1, True) == (refused.returncode, "all guests of this host lose their interfaces" in refused.stdout)
    assert scene.before != scene.host_as_it_is()
    assert 0 == on_terminal(scene.command(), "y").returncode
    scene.assert_all_is_gone()
    assert not (NAMED / scene.made.name).exists()


def test_audit_stays_and_the_next_start_is_as_a_first_one(scene: Scene) -> None:
    scene.daemon.start()
    with RawMailbox(scene.guest, "pf0vf0") as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, "02:00:00:00:0a:01")
    scene.daemon.ask("vf", "set", "pf0vf1", "--link-state", "disable")
    records = scene.daemon.ask("audit", "list")
    scene.daemon.stop()
    assert "audit and history stay" in scene.teardown()
    scene.assert_all_is_gone()
    scene.daemon.start()
    assert records == scene.daemon.ask("audit", "list")[: len(records)]
    first, second = (scene.daemon.ask("vf", "show", vf) for vf in ("pf0vf0", "pf0vf1"))
    assert (first["admin_mac"], "auto") == (first["effective_mac"], second["link_state"])
    assert 0 == scene.daemon.command("diff", "-f", str(scene.daemon.config_file)).returncode


def test_purge_removes_the_audit_too(scene: Scene) -> None:
    said = scene.teardown("--purge")
    assert f"removed state directory {scene.daemon.state_dir}" in said
    assert "audit and history stay" not in said
    scene.assert_all_is_gone()
    assert not scene.daemon.state_dir.exists()


def test_without_state_it_goes_by_marks(scene: Scene) -> None:
    for path in scene.daemon.state_dir.glob("state.db*"):
        path.unlink()
    said = scene.teardown()
    assert 2 == said.count("removed representor pf0vf")
    assert f"removed uplink {scene.uplink}, as it was before" in said
    scene.assert_all_is_gone()
    assert not (NAMED / scene.made.name).exists(), "the device told who made it"


def test_namespace_with_somebody_in_it_stays_and_is_named(scene: Scene) -> None:
    scene.lab.remove(scene.made)
    scene.daemon.start()
    scene.daemon.ask("vf", "attach", "pf0vf1", "--guest", scene.made.name, "--port-group", "lan")
    life = scene.made.start("sleep", "600")
    scene.daemon.stop()
    said = scene.teardown()
    life.kill()
    life.communicate()
    assert f"namespace {scene.made.name}, which was made for guest {scene.made.name}, as process {life.pid} lives in it" in said
    assert (NAMED / scene.made.name).exists()
    scene.assert_all_is_gone()


@pytest.mark.parametrize("lost", ["state", "row"])
def test_an_uplink_that_only_a_filter_knows_is_given_back(scene: Scene, lost: str) -> None:
    """No link is pinned for it: a driver without XDP, and a kernel without tcx links."""
    with Lab("tf") as lab:
        lower, upper = lab.device("lo"), lab.device("up")
        run("ip", "link", "add", lower, "type", "veth", "peer", "name", lab.device("pe"))
        run("ip", "link", "add", upper, "link", lower, "type", "macvlan", "mode", "passthru")
        for device in (lower, upper):
            run("ip", "link", "set", device, "up")
        daemon = lab.daemon(host_config(upper, [], LAN), "--tc", "clsact")
        daemon.kill()
        if lost == "state":
            shutil.rmtree(daemon.state_dir)
        else:
            with sqlite3.connect(daemon.state_dir / "state.db") as database:
                database.execute("UPDATE intent SET body = '{' WHERE kind = 'pf'")
            database.close()
        places = ["--state-dir", str(daemon.state_dir), "--run-dir", str(daemon.run_dir), "--bpffs", str(daemon.bpffs)]
        assert f"uplink {upper}" in run(*daemon.program, "teardown", *places)
        link = json.loads(run("ip", "-j", "-d", "link", "show", upper))[0]
        sysctl = Path(f"/proc/sys/net/ipv6/conf/{upper}/disable_ipv6").read_text().strip()
        assert (0, "0", "") == (link["promiscuity"], sysctl, run("tc", "filter", "show", "dev", upper, "ingress", check=False))


_DIES_BEFORE_THE_INTENT_GOES = """import os
import sriov_xdp.pf.process.teardown as teardown
from sriov_xdp.cli.main import run
teardown._forget_intent = lambda _places: os._exit(9)
run()
"""


def test_one_that_dies_half_way_leaves_no_host_without_guests(scene: Scene) -> None:
    """The next start applies its file, as after a whole one, though the guests' devices are gone and their rows are not."""
    guests = {scene.guest.name, scene.made.name}
    command = [str(Path(sys.executable)), "-c", _DIES_BEFORE_THE_INTENT_GOES, *scene.command()[1:]]
    assert 9 == subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True).returncode
    scene.daemon.start()
    assert guests == {vf["guest"] for vf in scene.daemon.ask("vf", "list") if vf["guest"]}
    assert 0 == scene.daemon.command("diff", "-f", str(scene.daemon.config_file)).returncode
