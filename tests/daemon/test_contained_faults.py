"""One guest's mischief, one device's refusal, one wrong configuration: contained, undone or tried again."""

import json
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, GET_STATS, OK, RawMailbox

from sriov_xdp.lab import programs
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, run, wait_until

GROUPS = [{"name": "lan", "vlan": "none", "policy": {"security": {"mac_changes": "accept", "forged_transmits": "accept"}}}]
MAC_ONE, MAC_TWO = "02:00:00:00:01:01", "02:00:00:00:01:02"


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "mac": MAC_ONE},
            {"guest": self.two.name, "port_group": "lan", "mac": MAC_TWO},
        ]
        self.config = host_config(None, guests, GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)
        self.address()

    def address(self) -> None:
        self.one.address(1)
        self.two.address(2)

    def apply(self, document: dict) -> subprocess.CompletedProcess[str]:
        path = self.lab.folder / "given.json"
        path.write_text(json.dumps(document))
        return self.daemon.command("apply", "-f", str(path))

    def changed(self) -> dict:
        return json.loads(json.dumps(self.config))


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("cf") as lab:
        yield Scene(lab)


def test_state_that_cannot_be_written_does_not_let_a_guest_end_the_daemon(scene: Scene) -> None:
    lock = sqlite3.connect(scene.daemon.state_dir / "state.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        with RawMailbox(scene.one, "pf0vf0") as mailbox:
            mailbox.socket.send(b"\0")
            mailbox.addresses(ADD_ETH, "02:00:00:00:09:09")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    assert MAC_ONE == scene.daemon.vf_of(scene.one.name)["effective_mac"]
    with RawMailbox(scene.one, "pf0vf0") as mailbox:
        assert OK == mailbox.ask(GET_STATS, bytes([mailbox.vsi, 0]) + bytes(10))[0]


def test_a_message_with_hundreds_of_addresses_is_recorded_in_a_few_words(scene: Scene) -> None:
    macs = [f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}" for number in range(500)]
    with RawMailbox(scene.one, "pf0vf0") as mailbox:
        mailbox.addresses(ADD_ETH, *macs, kind=2)
    record = scene.daemon.ask("audit", "list", "--vf", "pf0vf0")[-1]
    assert record["request"].endswith("and 496 more")
    assert "quotas: macs=16" in record["rule"]


def test_renamed_switch_with_a_stricter_policy_is_obeyed(scene: Scene) -> None:
    changed = scene.changed()
    changed["switches"][0]["name"] = "vSwitch9"
    changed["switches"][0]["port_groups"][0]["policy"]["security"]["forged_transmits"] = "reject"
    done = scene.apply(changed)
    assert (0, "") == (done.returncode, done.stderr)
    with frames.tapped((scene.one, "eth0"), (scene.two, "eth0")) as (one, two):
        one.send(frames.frame(MAC_TWO, "02:66:66:66:66:66", b"forged"))
        assert [] == two.seen(payload=b"forged", seconds=0.1)
    assert "vSwitch9" == scene.daemon.vf_of(scene.one.name)["switch"]


def test_switch_and_group_can_be_renamed_together(scene: Scene) -> None:
    changed = scene.changed()
    changed["switches"][0]["name"] = "vSwitch9"
    changed["switches"][0]["port_groups"][0]["name"] = "net"
    for guest in changed["guests"]:
        guest["adapters"][0]["port_group"] = "net"
    assert 0 == scene.apply(changed).returncode
    assert scene.one.can_ping("10.77.0.2")
    scene.daemon.kill()
    scene.daemon.start()
    assert scene.one.can_ping("10.77.0.2")


def test_two_guests_can_exchange_their_addresses(scene: Scene) -> None:
    changed = scene.changed()
    for guest, mac in zip(changed["guests"], (MAC_TWO, MAC_ONE), strict=True):
        guest["adapters"][0]["mac"] = mac
    done = scene.apply(changed)
    assert (0, "") == (done.returncode, done.stderr)
    assert [MAC_TWO, MAC_ONE] == [scene.daemon.vf_of(guest.name)["effective_mac"] for guest in (scene.one, scene.two)]
    assert [MAC_TWO, MAC_ONE] == [guest.mac() for guest in (scene.one, scene.two)]
    assert scene.one.can_ping("10.77.0.2")


def test_a_vf_unplugged_while_the_daemon_is_away_takes_nothing_else_along(scene: Scene) -> None:
    name = scene.lab.name("pair")
    pair = scene.lab.adopt(name)
    for interface in ("eth0", "eth1"):
        scene.daemon.ask("vf", "attach", "--guest", name, "--port-group", "lan", "--ifname", interface)
    stream = frames.Stream(scene.one, scene.two, "10.77.0.2")
    wait_until(lambda: stream.sent > 100, "the stream runs")
    scene.daemon.kill()
    pair.ip("link", "del", "eth0")
    scene.daemon.start()
    at_start = stream.sent
    wait_until(lambda: stream.sent > at_start + 100, "the stream goes on")
    assert [] == stream.stop()
    assert ["eth1"] == [vf["interface"] for vf in scene.daemon.ask("vf", "list") if vf["guest"] == name]
    assert Path(f"/run/netns/{name}").exists()


def test_daemon_with_another_state_but_the_same_pins_is_refused(scene: Scene, tmp_path: Path) -> None:
    command = scene.daemon._command()
    command[command.index("--state-dir") + 1] = str(tmp_path / "state")
    command[command.index("--run-dir") + 1] = str(tmp_path / "run")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert 5 == done.returncode
    assert "another daemon runs with this bpffs folder" in done.stderr
    assert scene.one.can_ping("10.77.0.2")


def test_mailbox_squatted_at_the_restart_opens_when_the_name_is_free(scene: Scene) -> None:
    scene.daemon.kill()
    with entered(scene.one):
        squatter = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    squatter.bind("\0sriov-xdp/pf0vf0")
    scene.daemon.start()
    assert "not in service yet" in scene.daemon.log()
    representor = scene.daemon.ask("vf", "show", "pf0vf0")["representor"]
    scene.daemon.ask("vf", "set", "pf0vf0", "--link-state", "disable")
    assert "UP" not in _flags(representor), "who squats its mailbox is held to the rest"
    scene.daemon.ask("vf", "set", "pf0vf0", "--link-state", "auto")
    pin = scene.daemon.bpffs / "links" / "pf0vf0_tc"
    scene.daemon.settle()
    pin.unlink()
    wait_until(pin.exists, "its program is attached again")
    wait_until(lambda: "UP" in _flags(representor), "and the port open")
    squatter.close()
    wait_until(lambda: scene.one.vf("list") == ["pf0vf0"], "the mailbox opens")
    assert scene.one.vf("status")["agree"]


def _flags(device: str) -> list[str]:
    return list(json.loads(run("ip", "-j", "link", "show", device))[0]["flags"])


def test_uplink_that_cannot_be_taken_is_left_as_it_was(scene: Scene) -> None:
    """Another program is on the device already."""
    _wire, uplink = scene.lab.wire()
    changed = scene.changed()
    changed["pfs"][0]["uplink"] = uplink
    with programs.on_host_device(uplink, programs.constant(programs.XDP_PASS)):
        before = _settings(uplink)
        done = scene.apply(changed)
        assert 5 == done.returncode
        assert "which is not ours; take it off" in done.stderr
        assert before == _settings(uplink)
        assert scene.daemon.ask("pf", "show", "pf0")["uplink"] is None
        assert scene.one.can_ping("10.77.0.2")
    assert 0 == scene.apply(changed).returncode


def _settings(device: str) -> list[str]:
    sysctl = Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").read_text()
    return [run("ip", "-d", "link", "show", device), run("ethtool", "-k", device), sysctl]


def test_uplinks_new_address_is_followed(scene: Scene) -> None:
    _wire, uplink = scene.lab.wire()
    changed = scene.changed()
    changed["pfs"][0]["uplink"] = uplink
    assert 0 == scene.apply(changed).returncode
    run("ip", "link", "set", uplink, "address", "02:00:00:00:0f:0f")
    wait_until(lambda: scene.daemon.ask("pf", "show", "pf0")["mac"] == "02:00:00:00:0f:0f", "the new address is seen")


def test_a_guest_that_cannot_change_its_mtu_keeps_no_other_from_it(scene: Scene) -> None:
    changed = scene.changed()
    changed["switches"][0]["mtu"] = 9000
    code = programs.constant(programs.XDP_PASS)
    with programs.attached(scene.one, "eth0", code, is_multi_buffer=False):
        assert 0 == scene.apply(changed).returncode
        assert "mtu 9000 " in scene.two.ip("link", "show", "eth0")
        assert "pf0vf0: its device does not follow its port yet: " in scene.daemon.log()
        assert "mtu 9000" in scene.daemon.log()
