"""Who is root in a guest can keep its own adapter from coming, and nobody else's: a start serves the others, and says who is
missing."""

import contextlib
import itertools
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hostile import deleting

from sriov_xdp.api import config
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, wait_until

GROUPS = [{"name": "lan", "vlan": "none"}]


class Scene:
    """A daemon that was never started, for a guest that is in the way and two that are not."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.hostile: Namespace = lab.namespace("hostile")
        self.good = [lab.namespace("one"), lab.namespace("two")]
        guests = [{"guest": place.name, "port_group": "lan"} for place in (self.good[0], self.hostile, self.good[1])]
        (lab.folder / "d").mkdir()
        self.daemon = Daemon(lab.folder / "d", Path("/sys/fs/bpf") / lab.name("d"), host_config(None, guests, GROUPS))

    def served(self) -> set[str]:
        return {vf["guest"] for vf in self.daemon.ask("vf", "list") if vf["guest"]}

    def start_twice_with_a_command_between(self) -> str:
        """The command disables the first good guest's link. Returns its VF."""
        self.daemon.start()
        vf = str(self.daemon.vf_of(self.good[0].name)["address"])
        self.daemon.ask("vf", "set", vf, "--link-state", "disable")
        self.daemon.stop()
        self.daemon.start()
        return vf

    def assert_the_others_are_served(self) -> None:
        assert {place.name for place in self.good} == self.served()
        for number, place in enumerate(self.good, 1):
            place.address(number)
        assert self.good[0].can_ping("10.77.0.2")
        assert f"add adapter {self.hostile.name}/eth0: " in self.daemon.log()
        doctor = self.daemon.command("doctor")
        assert (1, True) == (doctor.returncode, "of the start is not applied" in doctor.stdout), doctor.stdout


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("gw") as lab:
        made = Scene(lab)
        try:
            yield made
        finally:
            made.daemon.teardown()


@contextlib.contextmanager
def mailboxes_names(*places: Namespace) -> Iterator[None]:
    """Somebody has the names of all mailboxes there."""
    with contextlib.ExitStack() as stack:
        for place, number in itertools.product(places, range(8)):
            with entered(place):
                squatter = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                squatter.bind(f"\0sriov-xdp/pf0vf{number}")
        yield


@contextlib.contextmanager
def device_of_the_name(scene: Scene) -> Iterator[None]:
    scene.hostile.ip("link", "add", "eth0", "type", "veth", "peer", "name", "mine")
    yield
    scene.hostile.ip("link", "del", "eth0")


def test_a_guest_that_has_its_mailboxs_name_gets_its_interface_at_a_start_and_keeps_it_when_it_is_moved(scene: Scene) -> None:
    other = scene.lab.namespace("other")
    with mailboxes_names(scene.hostile, other):
        scene.daemon.start()
        assert {*(place.name for place in scene.good), scene.hostile.name} == scene.served()
        vf = scene.daemon.vf_of(scene.hostile.name)
        wait_until(lambda: "the name is taken" in scene.daemon.ask("vf", "show", vf["address"])["datapath"]["reason"], "it is told")
        scene.hostile.address(7)
        scene.good[0].address(1)
        assert scene.good[0].can_ping("10.77.0.7")
        document = yaml.safe_load(scene.daemon.config_file.read_text())
        document["guests"][1]["netns"] = other.name
        scene.daemon.config_file.write_text(yaml.safe_dump(document))
        assert 0 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file), "--yes").returncode
        other.address(7)
        assert scene.good[0].can_ping("10.77.0.7")
    wait_until(lambda: other.vf("status", check=False), "the mailbox is there when its name is free")


def test_a_first_start_serves_the_others(scene: Scene) -> None:
    with device_of_the_name(scene):
        scene.daemon.start()
        scene.assert_the_others_are_served()
    assert 0 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file)).returncode
    assert {*(place.name for place in scene.good), scene.hostile.name} == scene.served()
    assert 0 == scene.daemon.command("diff", "-f", str(scene.daemon.config_file)).returncode


def test_a_guest_that_deletes_what_it_gets_keeps_no_start_from_the_others(scene: Scene) -> None:
    with deleting(scene.hostile):
        scene.daemon.start()
        assert {place.name for place in scene.good} <= scene.served()


def test_what_is_set_by_command_stays_over_a_start_though_a_guest_is_missing(scene: Scene) -> None:
    with device_of_the_name(scene):
        vf = scene.start_twice_with_a_command_between()
        assert "disable" == scene.daemon.ask("vf", "show", vf)["link_state"]


def test_a_start_goes_on_with_a_guest_that_was_missing(scene: Scene) -> None:
    """As one whose namespace comes later in a boot: each start says so until it has its adapter, and undoes no command."""
    with device_of_the_name(scene):
        vf = scene.start_twice_with_a_command_between()
        assert "of the start is not applied" in scene.daemon.command("doctor").stdout
        assert scene.hostile.name not in scene.served()
    scene.daemon.kill()
    scene.daemon.start()
    assert {scene.hostile.name, *(place.name for place in scene.good)} == scene.served()
    assert "of the start is not applied" not in scene.daemon.command("doctor").stdout
    assert "disable" == scene.daemon.ask("vf", "show", vf)["link_state"]
    scene.daemon.ask("vf", "detach", scene.daemon.vf_of(scene.hostile.name)["address"])
    scene.daemon.stop()
    scene.daemon.start()
    assert scene.hostile.name not in scene.served(), "what was taken by command stays taken"


def test_the_only_guest_in_the_way_keeps_no_daemon_from_any_start(scene: Scene) -> None:
    document = host_config(None, [{"guest": scene.hostile.name, "port_group": "lan"}], GROUPS)
    scene.daemon.config_file.write_text(yaml.safe_dump(document))
    with device_of_the_name(scene):
        for _start in range(2):
            scene.daemon.start()
            assert set() == scene.served()
            scene.daemon.stop()


def cut_off(scene: Scene, fingerprint: str) -> None:
    """The daemon dies while a file is applied."""
    scene.daemon.kill()
    with contextlib.closing(sqlite3.connect(scene.daemon.state_dir / "state.db", isolation_level=None)) as database:
        database.execute("INSERT OR REPLACE INTO meta VALUES('applying', ?)", (fingerprint,))


def test_an_apply_that_the_daemon_did_not_survive_is_told_and_gone_on_with(scene: Scene) -> None:
    scene.daemon.start()
    scene.daemon.ask("vf", "detach", scene.daemon.vf_of(scene.good[0].name)["address"])
    cut_off(scene, config.load(scene.daemon.config_file)[1])
    for _start in range(2):
        scene.daemon.start()
        assert scene.good[0].name in scene.served()
        scene.daemon.stop()
    assert 1 == scene.daemon.log().count("did not come to its end")


def test_what_was_set_by_command_stays_over_a_start_though_the_apply_of_another_file_was_cut_off(scene: Scene) -> None:
    """Also a block: the file of the start, which knows nothing of it, counts already."""
    scene.daemon.start()
    vf = scene.daemon.vf_of(scene.good[0].name)["address"]
    scene.daemon.ask("vf", "set", vf, "--link-state", "disable")
    cut_off(scene, "another")
    for start in (1, 2):
        scene.daemon.start()
        assert "disable" == scene.daemon.ask("vf", "show", vf)["link_state"]
        assert start == scene.daemon.log().count("the apply of configuration another did not come to its end")
        doctor = scene.daemon.command("doctor")
        assert (1, True) == (doctor.returncode, "did not come to its end" in doctor.stdout), doctor.stdout
        scene.daemon.stop()
    scene.daemon.start()
    assert 0 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file)).returncode
    assert 0 == scene.daemon.command("doctor").returncode
