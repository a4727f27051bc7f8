"""The VF driver asks for whatever its guest's interface is to receive, as a NIC's driver does: a guest with others behind it works
with the tools that are shipped, as far as its port's policy lets it."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

SRIOV_VF = str(Path(sys.executable).parent / "sriov-vf")
NESTED_MAC, BY_HAND, GROUP = "02:00:00:00:0b:01", "02:00:00:00:0b:02", "01:00:5e:01:02:03"
BEHIND = {"security": {"mac_changes": "accept", "forged_transmits": "accept"}, "deny_reply": "nack"}


class Scene:
    """outer has a VF in a bridge, behind which nested is; neighbour is a guest beside it."""

    def __init__(self, lab: Lab) -> None:
        self.outer, self.nested, self.neighbour = lab.namespace("outer"), lab.namespace("nested"), lab.namespace("n")
        guests = [{"guest": self.outer.name, "port_group": "behind"}, {"guest": self.neighbour.name, "port_group": "lan"}]
        groups = [{"name": "behind", "policy": BEHIND}, {"name": "lan"}]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, groups))
        self.neighbour.address(2)
        self.daemon.settle()
        self.vf = str(self.daemon.vf_of(self.outer.name)["address"])

    def filters(self) -> set[str]:
        return set(self.daemon.vf_of(self.outer.name)["filters"])

    def put_nested_behind_a_bridge(self) -> None:
        for command in (
            ("link", "add", "br0", "type", "bridge"),
            ("link", "set", "eth0", "master", "br0"),
            ("link", "add", "inner", "type", "veth", "peer", "name", "eth0", "netns", self.nested.name),
            ("link", "set", "inner", "master", "br0", "up"),
            ("link", "set", "br0", "up"),
        ):
            self.outer.ip(*command)
        self.nested.ip("link", "set", "eth0", "address", NESTED_MAC)
        self.nested.address(1)

    @contextlib.contextmanager
    def driver(self) -> Iterator[None]:
        watch = self.outer.start(SRIOV_VF, "watch")
        assert watch.stdout
        try:
            assert "connected" in watch.stdout.readline()
            yield
        finally:
            watch.terminate()
            watch.wait()
            watch.stdout.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("vd") as lab:
        yield Scene(lab)


def pings(guest: Namespace) -> bool:
    return bool(guest.can_ping("10.77.0.2"))


def test_who_is_behind_a_guests_bridge_is_reached_as_long_as_he_is_there(scene: Scene) -> None:
    scene.put_nested_behind_a_bridge()
    assert not pings(scene.nested), "nobody asked for its address"
    with scene.driver():
        wait_until(lambda: NESTED_MAC in scene.filters(), "the PF is asked")
        wait_until(lambda: pings(scene.nested), "it is reached")
        scene.daemon.ask("vf", "reset", scene.vf)
        wait_until(lambda: NESTED_MAC in scene.filters(), "it is asked anew after a reset")
        scene.daemon.kill()
        scene.daemon.start()
        scene.daemon.ask("vf", "reset", scene.vf)
        wait_until(lambda: NESTED_MAC in scene.filters(), "and by another daemon")
        scene.outer.ip("link", "del", "inner")
        wait_until(lambda: NESTED_MAC not in scene.filters(), "it is given back")


def test_what_is_said_by_hand_and_groups_are_asked_for_as_well(scene: Scene) -> None:
    with scene.driver():
        scene.outer.run("bridge", "fdb", "add", BY_HAND, "dev", "eth0", "self")
        scene.outer.ip("maddress", "add", GROUP, "dev", "eth0")
        wait_until(lambda: {BY_HAND, GROUP} <= scene.filters(), "the PF is asked")
        scene.outer.run("bridge", "fdb", "del", BY_HAND, "dev", "eth0", "self")
        wait_until(lambda: BY_HAND not in scene.filters(), "it is given back")


def test_what_the_policy_refuses_is_told_to_the_guest(scene: Scene) -> None:
    scene.daemon.ask("port-group", "set", "behind", "--mac-changes", "reject")
    watch = scene.outer.start(SRIOV_VF, "watch")
    assert watch.stdout
    scene.outer.run("bridge", "fdb", "add", BY_HAND, "dev", "eth0", "self")
    assert any(f"{BY_HAND}: the PF refused it" in line for line in watch.stdout)
    watch.terminate()
    watch.wait()
    watch.stdout.close()


def test_an_address_more_by_command(scene: Scene) -> None:
    assert "the PF said success" in scene.outer.run(SRIOV_VF, "add-mac", BY_HAND)
    assert {BY_HAND} <= scene.filters()
    assert "the PF said success" in scene.outer.run(SRIOV_VF, "del-mac", BY_HAND)
    assert BY_HAND not in scene.filters()


def test_the_driver_is_one_file_for_small_guests(scene: Scene, tmp_path: Path) -> None:
    """It needs Python and its standard library alone, and little memory."""
    alone = tmp_path / "sriov-vf"
    subprocess.run([sys.executable, Path(__file__).parents[2] / "deploy" / "vf-driver", alone], check=True)
    python = ("/usr/bin/python3", "-I", "-S", str(alone))
    assert [scene.vf] == json.loads(scene.outer.run(*python, "list", "-j"))
    assert "the PF said success" in scene.outer.run(*python, "set-mac", BY_HAND)
    assert BY_HAND == scene.outer.mac()
    watch = scene.outer.start(*python, "watch", "--kind", "iavf")
    assert watch.stdout
    try:
        assert "connected" in watch.stdout.readline()
        scene.outer.run("bridge", "fdb", "add", NESTED_MAC, "dev", "eth0", "self")
        wait_until(lambda: NESTED_MAC in scene.filters(), "the PF is asked")
        assert resident_kib(watch.pid) < 20 * 1024
    finally:
        watch.terminate()
        watch.wait()
        watch.stdout.close()


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "the following arguments are required: COMMAND"),
        (("set-mac",), 2, "the following arguments are required: MAC"),
        (("set-mac", "02:00"), 2, "'02:00': expected six hexadecimal bytes, as in 02:00:00:00:01:01"),
        (("--vf", "pf9vf9", "stats"), 1, "mailbox of pf9vf9: "),
        (("status", "--interface", "none0"), 1, "device none0: not found"),
    ],
)
def test_what_it_cannot_do_is_said(scene: Scene, words: tuple[str, ...], code: int, said: str) -> None:
    done = subprocess.run(
        ["ip", "netns", "exec", scene.outer.name, SRIOV_VF, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (code, True) == (done.returncode, said in done.stderr), done.stderr
    assert "" == done.stdout
