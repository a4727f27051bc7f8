"""A second daemon, with folders of its own, on the uplink of the first: refused before anything is touched."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

LAN = [{"name": "lan"}]
OTHER = [{"name": "other", "vlan": {"access": 5}}]


class Scene:
    def __init__(self, lab: Lab, kind: str) -> None:
        self.lab = lab
        self.wire, self.uplink = lab.wire()
        if kind == "tc alone":
            lower, self.uplink = self.uplink, lab.device("m")
            run("ip", "link", "add", self.uplink, "link", lower, "type", "macvlan", "mode", "passthru")
            run("ip", "link", "set", self.uplink, "up")
        self.guest: Namespace = lab.namespace("vm")
        extra = ["--tc", "clsact"] if kind == "clsact" else []
        self.first: Daemon = lab.daemon(host_config(self.uplink, [{"guest": self.guest.name, "port_group": "lan"}], LAN), *extra)
        self.guest.address(1)
        self.wire.address(99, "w0")
        folder = lab.folder / "second"
        folder.mkdir()
        bpffs = self.first.bpffs.with_name(f"{self.first.bpffs.name}s")
        self.second = Daemon(folder, bpffs, host_config(None, [], OTHER), *extra)

    def uplink_as_it_is(self) -> list[str]:
        sysctl = Path(f"/proc/sys/net/ipv6/conf/{self.uplink}/disable_ipv6").read_text()
        filters = run("tc", "filter", "show", "dev", self.uplink, "ingress", check=False)
        return [run("ip", "-d", "link", "show", self.uplink), run("ethtool", "-k", self.uplink), sysctl, filters]


@pytest.fixture(scope="module", params=["native XDP", "tc alone", "clsact"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("sd") as lab:
        made = Scene(lab, request.param)
        try:
            yield made
        finally:
            made.second.teardown()


def test_a_start_beside_it_leaves_its_hops_alone_whether_it_runs_or_not(scene: Scene) -> None:
    """The end of a hop that frames go into has no program, and is no stray all the same."""
    scene.second.config_file.write_text(yaml.safe_dump(host_config(None, [], OTHER)))
    scene.first.ask("port-group", "set", "lan", "--shaping-ingress", "average_kbps=50000")
    try:
        assert scene.guest.can_ping("10.77.0.99")
        scene.first.kill()
        scene.second.start()
        assert scene.guest.can_ping("10.77.0.99")
        assert "is a representor of a daemon that is gone" not in scene.second.log()
        scene.first.start()
        assert scene.guest.can_ping("10.77.0.99")
    finally:
        scene.second.stop()
        scene.first.ask("port-group", "set", "lan", "--shaping-ingress", "inherit")


def test_start_on_the_others_uplink(scene: Scene) -> None:
    scene.second.config_file.write_text(yaml.safe_dump(host_config(scene.uplink, [], OTHER)))
    before, stream = scene.uplink_as_it_is(), frames.Stream(scene.guest, scene.wire, "10.77.0.99")
    done = subprocess.run(scene.second._command(), capture_output=True, text=True, check=False, timeout=120)
    assert 5 == done.returncode, done.stderr
    assert f"uplink {scene.uplink}: another daemon serves it, whose program " in done.stderr
    assert before == scene.uplink_as_it_is()
    assert [] == stream.stop()


def test_apply_on_the_others_uplink(scene: Scene) -> None:
    scene.second.config_file.write_text(yaml.safe_dump(host_config(None, [], OTHER)))
    scene.second.start()
    scene.second.config_file.write_text(yaml.safe_dump(host_config(scene.uplink, [], OTHER)))
    before, stream = scene.uplink_as_it_is(), frames.Stream(scene.guest, scene.wire, "10.77.0.99")
    done = scene.second.command("apply", "-f", str(scene.second.config_file))
    assert 5 == done.returncode, done.stderr
    assert "another daemon serves it" in done.stderr
    assert before == scene.uplink_as_it_is()
    assert [] == stream.stop()
    scene.second.stop()


def test_a_guests_port_of_the_other_is_no_uplink(scene: Scene) -> None:
    representor = scene.first.ask("vf", "show", "pf0vf0")["representor"]
    scene.second.config_file.write_text(yaml.safe_dump(host_config(None, [], OTHER)))
    scene.second.start()
    scene.second.config_file.write_text(yaml.safe_dump(host_config(representor, [], OTHER)))
    done = scene.second.command("apply", "-f", str(scene.second.config_file))
    assert 5 == done.returncode, done.stderr
    assert "is a representor" in done.stderr
    wait_until(lambda: scene.guest.can_ping("10.77.0.99"), "the guest goes on")
    scene.second.stop()


def test_a_start_with_the_others_run_directory_is_refused(scene: Scene) -> None:
    """Its commands would go to the new one."""
    scene.second.config_file.write_text(yaml.safe_dump(host_config(None, [], OTHER)))
    own = scene.second.run_dir
    scene.second.run_dir = scene.first.run_dir
    try:
        done = subprocess.run(scene.second._command(), capture_output=True, text=True, check=False, timeout=120)
    finally:
        scene.second.run_dir = own
    assert (5, True) == (done.returncode, "another daemon runs with this run directory" in done.stderr), done.stderr
    assert scene.guest.name == scene.first.ask("vf", "show", "pf0vf0")["guest"]


def test_the_hosts_loopback_is_no_uplink(scene: Scene) -> None:
    scene.second.config_file.write_text(yaml.safe_dump(host_config(None, [], OTHER)))
    scene.second.start()
    scene.second.config_file.write_text(yaml.safe_dump(host_config("lo", [], OTHER)))
    done = scene.second.command("apply", "-f", str(scene.second.config_file))
    assert (1, True) == (done.returncode, "uplink lo is the host's loopback" in done.stderr), done.stderr
    scene.second.stop()


@pytest.mark.parametrize("scene", ["native XDP", "tc alone"], indirect=True)
def test_somebody_elses_clsact_stays_over_a_restart(scene: Scene) -> None:
    """A daemon takes off its own filters, and a qdisc that it made for them."""
    run("tc", "qdisc", "add", "dev", scene.uplink, "clsact")
    try:
        scene.first.stop()
        scene.first.start()
        assert "clsact" in run("tc", "qdisc", "show", "dev", scene.uplink)
    finally:
        run("tc", "qdisc", "del", "dev", scene.uplink, "clsact")


@pytest.mark.parametrize("scene", ["clsact"], indirect=True)
def test_a_restart_on_an_uplink_that_another_got_meanwhile_touches_nothing(scene: Scene) -> None:
    """The second had the device before; its state still says so."""
    scene.first.stop()
    scene.first.teardown()
    scene.second.options = []
    scene.second.config_file.write_text(yaml.safe_dump(host_config(scene.uplink, [], OTHER)))
    scene.second.start()
    scene.second.kill()
    for pin in (scene.second.bpffs / "links").glob("uplink*"):
        pin.unlink()
    scene.first.start()
    before = scene.uplink_as_it_is()
    scene.second.start()
    assert "another daemon serves it" in scene.second.log()
    assert before == scene.uplink_as_it_is()
    scene.second.stop()
