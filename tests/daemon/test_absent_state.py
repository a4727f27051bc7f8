"""A state that is gone, empty, another's, old or damaged: the start is refused with a remedy, traffic goes on, and recover makes
it what it was."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from mailbox_wire import ADD_ETH, DEL_ETH, EXTRA, OK, RawMailbox
from neighbours import losing_nothing

from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, host_config, run
from sriov_xdp.lab.traffic import BROADCAST, frame, tapped
from sriov_xdp.vswitch.policy import Override

ADMIN, GRANTED = "02:00:00:00:04:02", "02:00:00:00:04:72"
ACCEPTS = {"security": {"mac_changes": "accept"}}
GROUPS = [
    {"name": "web", "vlan": {"access": 100}, "policy": ACCEPTS, "overrides_allowed": ["security", "deny_reply"]},
    {"name": "plain"},
]
KEPT = ("address", "guest", "netns", "interface", "port_group", "vlan", "admin_mac", "effective_mac", "generation", "representor")


class Scene:
    """one and two are in VLAN 100; two has an address that it was granted, and one overrides its group."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.wire, uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        self.three: Namespace = lab.namespace("three")
        guests = [
            {"guest": self.one.name, "port_group": "web", "mac": "02:00:00:00:04:01", "policy": {"deny_reply": "nack"}},
            {"guest": self.two.name, "port_group": "web", "mac": ADMIN, "datapath": "xdp"},
            {"guest": self.three.name, "port_group": "plain", "link_state": "disable"},
        ]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, GROUPS))
        self.one.address(1)
        self.two.address(2)
        with RawMailbox(self.two, "pf0vf1") as mailbox:
            assert OK == mailbox.addresses(ADD_ETH, GRANTED)
        self.two.ip("link", "set", "eth0", "address", GRANTED)
        self.export = lab.folder / "export.yaml"
        self.export.write_text(self.daemon.command("export").stdout)
        self.vfs = self.vf_list()
        self.ports = self.daemon.ask("port", "list")
        self.copies = lab.folder / "copies"

    @property
    def state(self) -> Path:
        return self.daemon.state_dir / "state.db"

    def vf_list(self) -> list[dict]:
        return [{key: vf[key] for key in KEPT} for vf in self.daemon.ask("vf", "list") if vf["guest"]]

    def modes(self) -> list[tuple[str, str, int]]:
        """Configured, active, and how often a port changed its kind of program since the daemon started: such a change may take
        frames along."""
        datapaths = [vf["datapath"] for vf in self.daemon.ask("vf", "list") if vf["guest"]]
        return [(datapath["mode"], datapath["active"], datapath["switches"]) for datapath in datapaths]

    def keep_copy(self) -> None:
        shutil.rmtree(self.copies, ignore_errors=True)
        shutil.copytree(self.daemon.state_dir, self.copies)

    def recover(self, *options: str) -> subprocess.CompletedProcess[str]:
        daemon = self.daemon
        places = ["--state-dir", str(daemon.state_dir), "--run-dir", str(daemon.run_dir), "--bpffs", str(daemon.bpffs)]
        command = [*daemon.program, "recover", *places, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def refused_start(self) -> str:
        done = subprocess.run(self.daemon._command(), capture_output=True, text=True, check=False, timeout=120)
        assert (5, False) == (done.returncode, "Traceback" in done.stderr), done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("ab") as lab:
        yield Scene(lab)


@pytest.fixture(autouse=True)
def traffic(scene: Scene) -> Iterator[None]:
    """Goes on, whatever is done to the state; two sends with the address that it was granted."""
    assert scene.vfs == scene.vf_list()
    with losing_nothing((scene.one, scene.two, "10.77.0.2"), (scene.two, scene.one, "10.77.0.1")):
        yield


def _delete(scene: Scene) -> None:
    for path in scene.daemon.state_dir.glob("state.db*"):
        path.unlink()


def _truncate(scene: Scene) -> None:
    _delete(scene)
    scene.state.touch()


def _replace_by_garbage(scene: Scene) -> None:
    _delete(scene)
    scene.state.write_bytes(b"not a database" * 1000)


def _give_another_instance(scene: Scene) -> None:
    with sqlite3.connect(scene.state) as database:
        database.execute("UPDATE meta SET value = '0badcafe' WHERE key = 'instance'")
    database.close()


def _put_an_older_copy(scene: Scene) -> None:
    """As where the WAL is lost: a valid file, of before the last thing that the operator said."""
    for path in scene.copies.iterdir():
        shutil.copy(path, scene.daemon.state_dir / path.name)


DAMAGES = {
    "deleted": (_delete, "is not there"),
    "empty": (_truncate, "is empty"),
    "garbage": (_replace_by_garbage, "file is not a database"),
    "another's": (_give_another_instance, "is the state of instance 0badcafe"),
    "older": (_put_an_older_copy, "its WAL is lost, or it is a copy"),
}


def _damage(scene: Scene, name: str, *, while_it_runs: bool = False) -> str:
    damage, text = DAMAGES[name]
    scene.daemon.stop()
    scene.keep_copy()
    scene.daemon.start()
    scene.daemon.ask("port-group", "set", "plain", "--deny-reply", "nack")
    scene.daemon.ask("port-group", "set", "plain", "--deny-reply", "inherit")
    if not while_it_runs:
        scene.daemon.stop()
    damage(scene)
    if while_it_runs:
        scene.daemon.kill()
    return text


@pytest.mark.parametrize("damage", DAMAGES)
def test_refused_and_recovered_from_an_export(scene: Scene, damage: str) -> None:
    text = _damage(scene, damage)
    said = scene.refused_start()
    assert text in said
    assert "sriov-xdp recover" in said
    done = scene.recover("-f", str(scene.export))
    assert (0, "") == (done.returncode, done.stderr)
    scene.daemon.start()
    assert scene.vfs == scene.vf_list()
    assert scene.ports == scene.daemon.ask("port", "list")
    assert yaml.safe_load(scene.export.read_text()) == scene.daemon.ask("export")


def test_deleted_under_the_daemon(scene: Scene) -> None:
    assert _damage(scene, "deleted", while_it_runs=True) in scene.refused_start()
    assert 0 == scene.recover("-f", str(scene.export)).returncode
    scene.daemon.start()
    assert scene.vfs == scene.vf_list()


def test_recovered_from_what_works_alone(scene: Scene) -> None:
    """Without a file: who is where, with which addresses and VLANs. The daemon's file then says the rest again."""
    modes = scene.modes()
    _damage(scene, "deleted")
    done = scene.recover()
    assert (0, "") == (done.returncode, done.stderr)
    assert "policy" in done.stdout
    scene.daemon.start()
    assert scene.vfs == scene.vf_list()
    assert modes == scene.modes()
    assert "disable" == scene.daemon.ask("vf", "show", "pf0vf2")["link_state"]
    assert 0 == scene.daemon.command("apply", "-f", str(scene.export)).returncode
    assert scene.ports == scene.daemon.ask("port", "list")


@pytest.mark.parametrize("has_file", [True, False], ids=["with an older export", "without a file"])
def test_what_is_in_force_stays_whatever_the_file_says(scene: Scene, has_file: bool) -> None:
    """Set by command since the file was written."""
    ask = scene.daemon.ask
    ask("port-group", "set", "plain", "--forged-transmits", "accept")
    group_before = yaml.safe_load(scene.export.read_text())
    group_before["switches"][0]["port_groups"][0]["overrides_allowed"] = ["security", "deny_reply", "vlan", "guards"]
    given = scene.lab.folder / "given.yaml"
    given.write_text(yaml.safe_dump(group_before))
    assert 0 == scene.daemon.command("apply", "-f", str(given)).returncode
    ask("vf", "set", "pf0vf2", "--mac", "02:00:00:00:04:93")
    ask("vf", "set", "pf0vf2", "--port-group", "web")
    ask("port", "set", "pf0vf2", "--vlan", "access:77", "--forged-transmits", "reject", "--storm-broadcast-pps", "7")
    ask("port", "set", "pf0vf2", "--promiscuous", "accept")
    seen = ("vlan", "admin_mac", "effective_mac", "port_group", "link_state")
    before = [{key: vf[key] for key in seen} for vf in ask("vf", "list") if vf["guest"]]
    policies = [_in_force(port) for port in ask("port", "list")]
    scene.daemon.kill()
    _delete(scene)
    done = scene.recover(*(["-f", str(scene.export)] if has_file else []))
    assert (0, "") == (done.returncode, done.stderr)
    scene.daemon.start()
    try:
        assert before == [{key: vf[key] for key in seen} for vf in ask("vf", "list") if vf["guest"]]
        assert policies == [_in_force(port) for port in ask("port", "list")]
        assert "the state was rebuilt, and nobody knows which file counted" in scene.daemon.command("doctor").stdout
        assert 7 == scene.daemon.command("diff", "-f", str(scene.export)).returncode
    finally:
        assert 0 == scene.daemon.command("apply", "-f", str(scene.export), "--yes").returncode
    assert scene.ports == ask("port", "list")


@pytest.mark.parametrize("own_source", ["accept", "drop"])
@pytest.mark.parametrize("has_file", [True, False])
def test_rules_of_a_pf_stay_in_force_whatever_the_file_says(scene: Scene, own_source: str, has_file: bool) -> None:
    document = yaml.safe_load(scene.export.read_text())
    document["pfs"][0]["wire_own_source"] = own_source
    given = scene.lab.folder / "rules.yaml"
    given.write_text(yaml.safe_dump(document))
    assert 0 == scene.daemon.command("apply", "-f", str(given)).returncode
    scene.daemon.kill()
    _delete(scene)
    document["pfs"][0] |= {"switching": "vepa", "wire_own_source": {"accept": "drop", "drop": "accept"}[own_source]}
    given.write_text(yaml.safe_dump(document))
    assert 0 == scene.recover(*(["-f", str(given)] if has_file else [])).returncode
    scene.daemon.start()
    shown = scene.daemon.ask("pf", "show", "pf0")
    assert (own_source, "veb") == (shown["wire_own_source"], shown["switching"])
    assert 0 == scene.daemon.command("apply", "-f", str(scene.export), "--yes").returncode


IN_FORCE = {
    "--block": "true",
    "--private-vlan": "community:7",
    "--allowed-macs": "02:00:5e:00:01:00/40",
    "--mtu": "1400",
    "--flood-multicast": "false",
    "--shaping-egress": "average_kbps=90000,peak_kbps=100000,burst_bytes=100000",
    "--storm-broadcast-pps": "77",
    "--vlan": "trunk:7-9;native:8",
}


@pytest.mark.parametrize("mode", ["shape", "police"])
@pytest.mark.parametrize("has_file", [True, False])
def test_a_port_is_held_to_what_it_was_held_to(scene: Scene, has_file: bool, mode: str) -> None:
    """Whatever of it the file does not say, the maps and the queue do; the switch's MTU is not the port's."""
    vf = scene.daemon.ask("vf", "show", "pf0vf2")["address"]
    kinds = ",".join(kind.value for kind in Override)
    scene.daemon.ask("port-group", "create", "all", "--switch", "vSwitch0", "--overrides-allowed", kinds)
    scene.daemon.ask("vf", "set", vf, "--port-group", "all")
    for option, value in {**IN_FORCE, "--shaping-ingress": f"average_kbps=80000,peak_kbps=90000,mode={mode}"}.items():
        scene.daemon.ask("port", "set", vf, option, value)
    with RawMailbox(scene.three, vf) as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, "01:00:5e:00:00:05", kind=EXTRA)
    export = scene.lab.folder / "in_force.yaml"
    document = yaml.safe_load(scene.daemon.command("export").stdout)
    said = next(guest for guest in document["guests"] if guest["name"] == scene.three.name)["adapters"][0]
    policy, vlan = said.pop("policy"), said.pop("vlan")
    export.write_text(yaml.safe_dump(document))
    scene.daemon.kill()
    _delete(scene)
    done = scene.recover(*(["-f", str(export)] if has_file else []))
    assert (0, "") == (done.returncode, done.stderr)
    scene.daemon.start()
    document = yaml.safe_load(scene.daemon.command("export").stdout)
    said = next(guest for guest in document["guests"] if guest["name"] == scene.three.name)["adapters"][0]
    burst_bytes = said["policy"]["shaping"]["egress"].pop("burst_bytes")
    assert abs(burst_bytes - policy["shaping"]["egress"].pop("burst_bytes")) < 100
    shown = scene.daemon.ask("port", "show", vf)
    assert policy["shaping"]["ingress"] == shown["policy"]["shaping_ingress"]["value"]
    assert (policy["mtu"], policy["block"]) == (shown["policy"]["mtu"]["value"], shown["policy"]["block"]["value"])
    assert 1500 == document["switches"][0]["mtu"]
    assert ["01:00:5e:00:00:05"] == scene.daemon.ask("vf", "show", vf)["filters"]
    if has_file:
        assert said["policy"].pop("guards")["storm"]["broadcast_pps"] == policy.pop("guards")["storm"]["broadcast_pps"]
        assert (policy, vlan) == (said["policy"], said["vlan"])
    assert 0 == scene.daemon.command("apply", "-f", str(scene.export), "--yes").returncode
    assert scene.vfs == scene.vf_list()


def test_uplink_and_number_of_vfs_stay_whatever_the_file_says(scene: Scene) -> None:
    before = scene.daemon.ask("pf", "show", "pf0")
    wrong = yaml.safe_load(scene.export.read_text())
    wrong["pfs"][0]["num_vfs"] = 3
    del wrong["pfs"][0]["uplink"]
    given = scene.lab.folder / "wrong.yaml"
    given.write_text(yaml.safe_dump(wrong))
    scene.daemon.kill()
    _delete(scene)
    assert 0 == scene.recover("-f", str(given)).returncode
    scene.daemon.start()
    assert before["uplink"] == scene.daemon.ask("pf", "show", "pf0")["uplink"]
    assert 0 == scene.daemon.command("apply", "-f", str(scene.export), "--yes").returncode


def test_a_boot_id_that_is_damaged_is_no_boot(scene: Scene) -> None:
    scene.daemon.stop()
    with sqlite3.connect(scene.state) as database:
        database.execute("UPDATE meta SET value = 'x' WHERE key = 'boot_id'")
    database.close()
    scene.daemon.start()
    assert scene.vfs == scene.vf_list()


def _in_force(port: dict) -> list:
    settings = ("forged_transmits", "promiscuous", "storm_broadcast_pps", "storm_multicast_pps")
    return [port["vlan"], *(port["policy"][name]["value"] for name in settings)]


def test_a_sound_state_is_not_rebuilt_unasked(scene: Scene) -> None:
    scene.daemon.stop()
    files = sorted(path.name for path in scene.daemon.state_dir.iterdir())
    done = scene.recover()
    assert (5, True) == (done.returncode, "the state is sound" in done.stderr), done.stderr
    assert files == sorted(path.name for path in scene.daemon.state_dir.iterdir())
    scene.daemon.start()


def test_a_row_whose_name_is_damaged_costs_no_guest_its_interface(scene: Scene) -> None:
    def rename(before: str, after: str) -> None:
        with sqlite3.connect(scene.state) as database:
            database.execute("UPDATE intent SET name = ? WHERE name = ?", (after, before))
        database.close()

    scene.daemon.stop()
    rename("pf0vf1", "pf0vfx")
    scene.daemon.start()
    assert GRANTED == scene.two.mac()
    assert scene.one.can_ping("10.77.0.2")
    scene.daemon.stop()
    rename("pf0vfx", "pf0vf1")
    scene.daemon.start()


def test_recover_beside_a_daemon_is_refused(scene: Scene) -> None:
    done = scene.recover("-f", str(scene.export))
    assert (5, True) == (done.returncode, "another daemon runs" in done.stderr)


def _cut(body: str) -> str:
    return body[:20]


def _without_group(body: str) -> str:
    return json.dumps({**json.loads(body), "port_group": "nowhere"})


def _with_another_type(body: str) -> str:
    return json.dumps({**json.loads(body), "ifindex": "seven"})


@pytest.mark.parametrize("mangled", [_cut, _without_group, _with_another_type])
def test_one_damaged_row_costs_one_vf(scene: Scene, mangled: Callable[[str], str]) -> None:
    scene.daemon.stop()
    with sqlite3.connect(scene.state) as database:
        (body,) = database.execute("SELECT body FROM intent WHERE kind = 'attachment' AND name = 'pf0vf1'").fetchone()
        database.execute("UPDATE intent SET body = ? WHERE name = 'pf0vf1'", (mangled(body),))
    database.close()
    scene.daemon.start()
    try:
        _assert_one_is_unmanaged(scene)
    finally:
        scene.daemon.stop()
        with sqlite3.connect(scene.state) as database:
            database.execute("UPDATE intent SET body = ? WHERE name = 'pf0vf1'", (body,))
        database.close()
        scene.daemon.start()


def test_a_damaged_switch_takes_nobody_out_of_floods(scene: Scene) -> None:
    """Its ports cannot be read with it, and work on: ARP is asked and answered, by the wire too."""
    scene.wire.address(99, "w0")
    with damaged(scene, "UPDATE intent SET body = '{' WHERE kind = 'switch'"):
        for place in (scene.one, scene.two):
            place.ip("neigh", "flush", "dev", "eth0")
        assert scene.one.can_ping("10.77.0.2")
        heard = "who is there"
        with tapped((scene.one, "eth0"), (scene.two, "eth0")) as (one, two):
            one.send(frame(BROADCAST, scene.one.mac(), heard.encode()))
            assert 1 == len(two.seen(payload=heard.encode()))
        assert scene.daemon.command("doctor").returncode == 1


def test_a_damaged_switch_cuts_no_trunk_off_from_the_wire(scene: Scene) -> None:
    ask = scene.daemon.ask
    ask("port-group", "create", "tagged", "--switch", "vSwitch0", "--vlan", "trunk:10,20")
    ask("vf", "set", "pf0vf2", "--port-group", "tagged", "--link-state", "enable")
    try:
        with damaged(scene, "UPDATE intent SET body = '{' WHERE kind = 'switch'"):
            payload = b"to the trunk"
            with tapped((scene.wire, "w0"), (scene.three, "eth0")) as (wire, three):
                wire.send(frame(scene.three.mac(), scene.wire.mac("w0"), payload, tags=(10,)))
                assert 1 == len(three.seen(payload=payload))
            assert "port in slot" not in scene.daemon.command("doctor").stdout
    finally:
        ask("vf", "set", "pf0vf2", "--port-group", "plain", "--link-state", "disable")
        ask("port-group", "delete", "tagged")


def test_a_damaged_row_of_a_shaped_guest_leaves_it_its_hop(scene: Scene) -> None:
    scene.daemon.ask("port-group", "set", "web", "--shaping-ingress", "average_kbps=50000")
    try:
        with damaged(scene, "UPDATE intent SET body = '{' WHERE name = 'pf0vf1'"):
            assert scene.two.can_ping("10.77.0.1")
            assert scene.one.can_ping("10.77.0.2")
            assert "port in slot" not in scene.daemon.command("doctor").stdout
        assert scene.two.can_ping("10.77.0.1")
    finally:
        scene.daemon.ask("port-group", "set", "web", "--shaping-ingress", "inherit")


def _assert_one_is_unmanaged(scene: Scene) -> None:
    assert "attachment pf0vf1: its stored form cannot be read" in scene.daemon.log()
    doctor = scene.daemon.command("doctor")
    assert (1, True) == (doctor.returncode, "pf0vf1" in doctor.stdout)
    assert scene.one.can_ping("10.77.0.2")
    assert "nack" == scene.daemon.ask("port", "set", "pf0vf0", "--deny-reply", "nack")["policy"]["deny_reply"]["value"]


@contextlib.contextmanager
def damaged(scene: Scene, statement: str, *arguments: str) -> Iterator[None]:
    """The state with a change, under the daemon; as it was afterwards."""
    scene.daemon.stop()
    scene.keep_copy()
    with sqlite3.connect(scene.state) as database:
        database.execute(statement, arguments)
    database.close()
    scene.daemon.start()
    try:
        yield
    finally:
        for vf in scene.daemon.ask("vf", "list"):
            if vf["guest"] == "late":
                scene.daemon.ask("vf", "detach", vf["address"])
        scene.daemon.stop()
        for path in scene.daemon.state_dir.glob("state.db*"):
            path.unlink()
        _put_an_older_copy(scene)
        for mark in scene.daemon.bpffs.glob("revision-*"):
            mark.rename(mark.with_name("revision-0"))
        scene.daemon.start()


@pytest.mark.parametrize("row", ["pf0vf1", "pf0"])
def test_what_a_damaged_row_is_about_is_given_to_nobody_else(scene: Scene, row: str) -> None:
    """Neither its VF nor its slot, nor the pins of its programs; and who would speak of the whole host is refused."""
    pins = {path.name for path in (scene.daemon.bpffs / "links").glob("pf0vf1_*")}
    place = scene.lab.namespace(f"late{row}")
    with damaged(scene, "UPDATE intent SET body = '{' WHERE name = ?", row):
        done = scene.daemon.command("vf", "attach", "--guest", "late", "--netns", place.name, "--port-group", "plain")
        assert (3 if row == "pf0" else 0) == done.returncode, done.stderr
        if row == "pf0vf1":
            named = scene.daemon.command("vf", "attach", "pf0vf1", "--guest", "late", "--ifname", "e1", "--port-group", "plain")
            assert (5, True) == (named.returncode, "cannot be read" in named.stderr)
        assert pins == {path.name for path in (scene.daemon.bpffs / "links").glob("pf0vf1_*")}
        for command in (["export"], ["apply", "-f", str(scene.export)], ["diff", "-f", str(scene.export)]):
            refused = scene.daemon.command(*command)
            assert (5, True) == (refused.returncode, "`sriov-xdp recover`" in refused.stderr), refused.stderr
        assert scene.one.can_ping("10.77.0.2")


@pytest.mark.parametrize("value", ["x", "", "-7", "99999999999999999999"])
def test_a_generation_that_is_damaged_is_counted_on_from_those_in_use(scene: Scene, value: str) -> None:
    most = max(vf["generation"] for vf in scene.vfs)
    place = scene.lab.namespace(f"late{len(value)}")
    with damaged(scene, "UPDATE meta SET value = ? WHERE key = 'generation'", value):
        scene.daemon.ask("vf", "attach", "--guest", "late", "--netns", place.name, "--port-group", "plain")
        assert [most + 1] == [vf["generation"] for vf in scene.daemon.ask("vf", "list") if vf["guest"] == "late"]


def test_a_revision_that_cannot_be_read_keeps_no_daemon_from_its_start(scene: Scene) -> None:
    scene.daemon.stop()
    (mark,) = scene.daemon.bpffs.glob("revision-*")
    mark.rename(mark.with_name("revision-x"))
    scene.daemon.start()
    assert scene.vfs == scene.vf_list()


def test_recovered_with_the_further_addresses_that_a_guest_was_granted(scene: Scene) -> None:
    further = "02:00:00:00:04:99"
    with RawMailbox(scene.two, "pf0vf1") as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, further, kind=EXTRA)
    before = scene.daemon.ask("vf", "show", "pf0vf1")["filters"]
    assert further in before
    scene.daemon.kill()
    _delete(scene)
    assert 0 == scene.recover("-f", str(scene.export)).returncode
    scene.daemon.start()
    assert before == scene.daemon.ask("vf", "show", "pf0vf1")["filters"]
    with RawMailbox(scene.two, "pf0vf1") as mailbox:
        assert OK == mailbox.addresses(DEL_ETH, further, kind=EXTRA)


def test_a_start_after_a_recovery_undoes_nothing_though_another_file_was_applied_meanwhile(scene: Scene) -> None:
    """The daemon's own file is as it was, and what was set by command is in none."""
    scene.daemon.ask("vf", "set", "pf0vf2", "--link-state", "enable")
    try:
        export = scene.lab.folder / "set-by-command.yaml"
        export.write_text(scene.daemon.command("export").stdout)
        scene.daemon.kill()
        _delete(scene)
        assert 0 == scene.recover("-f", str(export)).returncode
        scene.daemon.start()
        assert 0 == scene.daemon.command("apply", "-f", str(export), "--yes").returncode
        for _start in range(2):
            scene.daemon.stop()
            scene.daemon.start()
            assert export.read_text() == scene.daemon.command("export").stdout
    finally:
        scene.daemon.ask("vf", "set", "pf0vf2", "--link-state", "disable")
        assert 0 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file), "--yes").returncode


def test_recovered_with_the_vlans_that_a_guest_asked_for(scene: Scene) -> None:
    """And with those that its port carries beside them."""
    ask = scene.daemon.ask
    ask("port-group", "create", "tagged", "--switch", "vSwitch0", "--vlan", "trunk:10,20,30;native:30")
    ask("vf", "set", "pf0vf2", "--port-group", "tagged", "--link-state", "enable")
    try:
        export = scene.lab.folder / "with-a-trunk.yaml"
        export.write_text(scene.daemon.command("export").stdout)
        scene.three.vf("add-vlan", "10")
        scene.daemon.kill()
        _delete(scene)
        assert 0 == scene.recover("-f", str(export)).returncode
        scene.daemon.start()
        assert [10] == scene.daemon.vf_of(scene.three.name)["vlans_asked"]
        assert export.read_text() == scene.daemon.command("export").stdout
    finally:
        ask("vf", "set", "pf0vf2", "--port-group", "plain", "--link-state", "disable")
        ask("port-group", "delete", "tagged")


def test_recovered_without_a_file_a_pf_without_guests_keeps_its_uplink(scene: Scene) -> None:
    lonely = scene.lab.device("up1")
    run("ip", "link", "add", lonely, "type", "veth", "peer", "name", scene.lab.device("wire1"))
    document = yaml.safe_load(scene.export.read_text())
    document["pfs"].append({"name": "lone", "uplink": lonely, "num_vfs": 2})
    given = scene.lab.folder / "lonely.yaml"
    given.write_text(yaml.safe_dump(document))
    assert 0 == scene.daemon.command("apply", "-f", str(given)).returncode
    scene.daemon.kill()
    _delete(scene)
    assert 0 == scene.recover().returncode
    scene.daemon.start()
    assert [lonely] == [pf["uplink"] for pf in scene.daemon.ask("pf", "list") if pf["name"] != "pf0"]
    assert 0 == scene.daemon.command("apply", "-f", str(scene.export), "--yes").returncode
    assert 0 == json.loads(run("ip", "-j", "-d", "link", "show", lonely))[0]["promiscuity"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE granted SET body = 'garbage'",
        "DELETE FROM intent WHERE kind = 'pf'",
        "UPDATE intent SET name = 'pfx' WHERE kind = 'pf'",
    ],
)
def test_what_a_start_cannot_take_up_whole_is_not_sound(scene: Scene, statement: str) -> None:
    """The guest with the grant keeps it, and the remedy that is named works."""
    scene.daemon.stop()
    with sqlite3.connect(scene.state) as database:
        database.execute(statement)
    database.close()
    scene.daemon.start()
    assert "`sriov-xdp recover`" in scene.daemon.command("export").stderr
    assert scene.one.can_ping("10.77.0.2")
    scene.daemon.stop()
    done = scene.recover("-f", str(scene.export))
    assert (0, "") == (done.returncode, done.stderr)
    scene.daemon.start()
    assert scene.vfs == scene.vf_list()


def test_in_another_network_namespace_nothing_is_taken_for_unplugged(scene: Scene) -> None:
    """Start and teardown, by mistake, where none of the devices is."""
    before, elsewhere = scene.vf_list(), scene.lab.namespace("elsewhere")
    scene.daemon.stop()
    scene.daemon._entrance = ["nsenter", f"--net=/run/netns/{elsewhere.name}"]
    try:
        assert "its programs are on devices that are not in this network namespace" in scene.refused_start()
        with pytest.raises(LabError, match="not in this network namespace"):
            scene.daemon.teardown()
    finally:
        scene.daemon._entrance = []
    scene.daemon.start()
    assert before == scene.vf_list()
