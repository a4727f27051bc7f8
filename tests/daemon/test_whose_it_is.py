"""What a number, a name or a folder alone does not prove: whose a device, an address or a pin is."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, OK, RawMailbox

from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, host_config, run, wait_until

LAN = [{"name": "lan", "policy": {"security": {"mac_changes": "accept"}}}]
ADMIN = "02:00:00:00:0c:01"


class Scene:
    """one has an admin MAC of the operator's, two the host's choice."""

    def __init__(self, lab: Lab, host: Namespace | None = None, *options: str) -> None:
        self.lab, self.host = lab, host
        self.wire: Namespace
        self.wire, self.uplink = lab.wire(host=host)
        self.one, self.two = lab.namespace("one"), lab.namespace("two")
        self.adapters = [
            {"guest": self.one.name, "port_group": "lan", "mac": ADMIN},
            {"guest": self.two.name, "port_group": "lan"},
        ]
        self.config = host_config(self.uplink, self.adapters, LAN)
        self.daemon: Daemon = lab.daemon(self.config, *options, host=host)
        self.one.address(1)
        self.two.address(2)
        self.wire.address(99, "w0")

    def program(self, name: str, *options: str, netns: str = "", **places: Path) -> subprocess.CompletedProcess[str]:
        daemon = self.daemon
        given = {"state-dir": daemon.state_dir, "run-dir": daemon.run_dir, "bpffs": daemon.bpffs, **places}
        words = [word for key, path in given.items() for word in (f"--{key}", str(path))]
        netns = netns or (self.host.name if self.host else "")
        inside = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
        command = [*inside, *daemon.program, name, *words, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def vf(self, guest: Namespace) -> dict:
        return self.daemon.vf_of(guest.name)

    def remake_uplink(self, mac: str) -> None:
        run("ip", "link", "add", self.uplink, "address", mac, "type", "veth", "peer", "name", "w0", "netns", self.wire.name)
        run("ip", "link", "set", self.uplink, "up")
        self.wire.run("ethtool", "-K", "w0", "gro", "on", "tx", "off", "txvlan", "off")
        self.wire.address(99, "w0")
        wait_until(lambda: self.daemon.ask("pf", "show", "pf0")["link"] == "up", "the uplink is back")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("wi") as lab:
        yield Scene(lab)


@pytest.fixture
def alone() -> Iterator[Scene]:
    """Of which nothing is needed afterwards."""
    with Lab("wa") as lab:
        yield Scene(lab)


@pytest.fixture(params=["tcx", "clsact"])
def apart(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """In what stands for a host of its own: devices whose daemon lost all are nobody's, and others of this host would find them.
    Links end with their pins, filters of the clsact qdisc stay."""
    with Lab("wo") as lab:
        yield Scene(lab, lab.namespace("host"), "--tc", request.param)


def mac_of(device: str) -> str:
    return str(json.loads(run("ip", "-j", "link", "show", device))[0]["address"])


def test_an_uplink_that_comes_back_takes_its_address_from_the_guest_that_got_it_meanwhile(scene: Scene) -> None:
    mac, address = mac_of(scene.uplink), scene.vf(scene.two)["address"]
    run("ip", "link", "del", scene.uplink)
    wait_until(lambda: scene.daemon.ask("pf", "show", "pf0")["link"] == "down", "the loss is seen")
    with RawMailbox(scene.two, address) as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, mac)
    scene.remake_uplink(mac)
    wait_until(lambda: scene.vf(scene.two)["effective_mac"] == scene.vf(scene.two)["admin_mac"], "the grant is withdrawn")
    records = [record for record in scene.daemon.ask("audit", "list") if record["request"] == "grants withdrawn"]
    assert [("address of the uplink", address)] == [(record["rule"], record["vf"]) for record in records]
    scene.daemon.ask("port-group", "set", "lan", "--forged-transmits", "accept")
    scene.daemon.kill()
    scene.daemon.start()


def test_an_uplink_that_gets_a_guests_admin_mac_keeps_no_daemon_from_its_start(scene: Scene) -> None:
    before = mac_of(scene.uplink)
    run("ip", "link", "set", scene.uplink, "address", ADMIN)
    wait_until(lambda: "give it another" in scene.daemon.log(), "it is told")
    scene.daemon.kill()
    scene.daemon.start()
    assert f"{ADMIN} belongs to uplink" in scene.daemon.command("doctor").stdout
    scene.daemon.ask("port-group", "set", "lan", "--forged-transmits", "reject")
    count = scene.daemon.ask("pf", "show", "pf0")["drops"].get("to_host", 0)
    with frames.tapped((scene.wire, "w0"), (scene.one, "eth0")) as (wire, one):
        wire.send(frames.frame(ADMIN, scene.wire.mac("w0"), b"for the host"))
        assert [] == one.seen(payload=b"for the host", seconds=0.2)
    assert count == scene.daemon.ask("pf", "show", "pf0")["drops"].get("to_host", 0), "it is no drop"
    run("ip", "link", "set", scene.uplink, "address", before)
    wait_until(lambda: scene.one.can_ping("10.77.0.99"), "the guest has its frames again")


def test_a_folder_that_is_no_daemons_loses_nothing(scene: Scene, tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    (mine / "deep").mkdir(parents=True)
    (mine / "deep" / "one.jpg").write_text("dear")
    nothing = scene.daemon.bpffs.with_name(scene.lab.name("none"))
    done = scene.program("teardown", "--purge", **{"run-dir": mine, "state-dir": mine, "bpffs": nothing})
    assert (0, "dear") == (done.returncode, (mine / "deep" / "one.jpg").read_text()), done.stderr


def test_a_folder_above_a_daemons_pins_is_refused(scene: Scene, tmp_path: Path) -> None:
    above = {"run-dir": tmp_path / "r", "state-dir": tmp_path / "s", "bpffs": scene.daemon.bpffs.parent}
    done = scene.program("teardown", **above)
    assert (5, True) == (done.returncode, "is no folder of one daemon's pins" in done.stderr), done.stderr
    assert scene.one.can_ping("10.77.0.2")


def test_a_namespace_that_got_another_name_while_the_daemon_was_away(scene: Scene) -> None:
    other = scene.lab.name("other name")
    scene.daemon.stop()
    (NAMED / other).touch()
    run("mount", "--bind", str(NAMED / scene.two.name), str(NAMED / other))
    run("ip", "netns", "del", scene.two.name)
    try:
        scene.daemon.start()
        (vf,) = [vf for vf in scene.daemon.ask("vf", "list") if vf["guest"] == scene.two.name]
        assert str(NAMED / other) == vf["netns"], "as a configuration can say it"
        export = scene.lab.folder / "export.yaml"
        export.write_text(scene.daemon.command("export").stdout)
        assert 0 == scene.daemon.command("diff", "-f", str(export)).returncode
        assert scene.one.can_ping("10.77.0.2")
    finally:
        (NAMED / scene.two.name).touch()
        run("mount", "--bind", str(NAMED / other), str(NAMED / scene.two.name))
        run("umount", str(NAMED / other))
        (NAMED / other).unlink()
    wait_until(lambda: scene.vf(scene.two)["netns"] == scene.two.name, "the name is followed")


def test_a_representor_that_lost_alias_and_group_while_the_daemon_was_away(scene: Scene) -> None:
    representor = scene.vf(scene.two)["representor"]
    scene.daemon.stop()
    run("ip", "link", "set", representor, "alias", "somebody's", "group", "7")
    scene.daemon.start()
    assert scene.two.name == scene.vf(scene.two)["guest"]
    assert scene.one.can_ping("10.77.0.2")


def test_an_empty_file_of_one_who_died_before_a_namespace_was_there(scene: Scene) -> None:
    scene.lab.adopt(scene.lab.name("late"))
    (NAMED / scene.lab.name("late")).touch()
    vf = scene.daemon.ask("vf", "attach", "--guest", scene.lab.name("late"), "--port-group", "lan")
    scene.daemon.ask("vf", "detach", vf["address"])
    assert not (NAMED / scene.lab.name("late")).exists()


def with_late(scene: Scene, mac: str) -> str:
    """A file in which one goes, and another guest comes with an address. Returns its path."""
    late = scene.lab.namespace(f"for{mac[-2:]}")
    adapters = [scene.adapters[1], {"guest": late.name, "port_group": "lan", "mac": mac}]
    path = scene.lab.folder / "conflict.yaml"
    path.write_text(json.dumps(host_config(scene.uplink, adapters, LAN)))
    return str(path)


def test_addresses_that_the_host_chooses_are_foreseen(scene: Scene) -> None:
    """Before anything is taken away."""
    mac = scene.vf(scene.two)["admin_mac"]
    done = scene.daemon.command("apply", "-f", with_late(scene, mac), "--yes")
    assert (5, True) == (done.returncode, f"{mac} is guest" in done.stderr), done.stderr
    assert scene.one.name == scene.vf(scene.one)["guest"], "it would have gone first"


def test_an_address_that_a_guest_was_granted_is_in_no_operators_way(alone: Scene) -> None:
    granted, own = "02:00:00:00:0c:77", alone.vf(alone.two)["admin_mac"]
    with RawMailbox(alone.two, alone.vf(alone.two)["address"]) as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, granted, kind=1)
    assert granted == alone.vf(alone.two)["effective_mac"]
    assert 0 == alone.daemon.command("apply", "-f", with_late(alone, granted), "--yes").returncode
    assert own == alone.vf(alone.two)["effective_mac"]
    assert "address of another" in alone.daemon.log()


def test_a_device_that_was_made_with_the_number_of_a_representor_is_left_alone(alone: Scene) -> None:
    representor = alone.vf(alone.two)["representor"]
    number = json.loads(run("ip", "-j", "link", "show", representor))[0]["ifindex"]
    alone.daemon.stop()
    run("ip", "link", "del", representor)
    theirs = alone.lab.device("theirs")
    run("ip", "link", "add", theirs, "index", str(number), "type", "veth", "peer", "name", alone.lab.device("far"))
    alone.daemon.start()
    assert number == json.loads(run("ip", "-j", "link", "show", theirs))[0]["ifindex"]
    assert [] == [vf for vf in alone.daemon.ask("vf", "list") if vf["guest"] == alone.two.name]


def test_an_uplink_that_went_while_no_daemon_ran_keeps_nobody_from_teardown(alone: Scene) -> None:
    alone.daemon.stop()
    run("ip", "link", "del", alone.uplink)
    done = alone.program("teardown")
    assert (0, "") == (done.returncode, done.stderr)
    assert not alone.daemon.bpffs.exists()


def test_recover_leaves_no_guest_behind(alone: Scene) -> None:
    representor = alone.vf(alone.two)["representor"]
    alias = json.loads(run("ip", "-j", "link", "show", representor))[0]["ifalias"]
    elsewhere = alone.lab.namespace("elsewhere")
    alone.daemon.kill()
    for path in alone.daemon.state_dir.glob("state.db*"):
        path.unlink()
    run("ip", "link", "set", representor, "alias", "guest a")
    done = alone.program("recover")
    assert (5, True) == (done.returncode, f"device {representor}: leads to a guest" in done.stderr), done.stderr
    run("ip", "link", "set", representor, "alias", alias)
    done = alone.program("recover", netns=elsewhere.name)
    assert (5, True) == (done.returncode, "none of their devices is here" in done.stderr), done.stderr
    assert 0 == alone.program("recover").returncode
    alone.daemon.start()
    assert [alone.one.name, alone.two.name] == [vf["guest"] for vf in alone.daemon.ask("vf", "list") if vf["guest"]]


def lose_everything(scene: Scene) -> None:
    """State and pins, as by an rm that went too far."""
    lose_pins(scene)
    shutil.rmtree(scene.daemon.state_dir)


def lose_pins(scene: Scene) -> None:
    scene.daemon.settle()
    scene.daemon.kill()
    for path in sorted(scene.daemon.bpffs.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    scene.daemon.bpffs.rmdir()


def test_state_and_pins_gone_a_start_is_refused_and_the_guests_are_kept_from_the_host(apart: Scene) -> None:
    representor = apart.vf(apart.two)["representor"]
    lose_everything(apart)
    with pytest.raises(LabError, match="whose state and pins are gone; it is down; `sriov-xdp recover -f FILE`"):
        apart.daemon.start()
    assert 5 == apart.daemon.process.returncode
    assert apart.host
    assert "UP" not in json.loads(apart.host.ip("-j", "link", "show", representor))[0]["flags"]


def test_state_and_pins_gone_recover_gives_the_guests_back_what_the_file_says(apart: Scene) -> None:
    before = {key: apart.vf(apart.one)[key] for key in ("address", "admin_mac", "port_group", "representor", "generation")}
    lose_everything(apart)
    done = apart.program("recover")
    assert (5, True) == (done.returncode, "name a configuration (-f)" in done.stderr), done.stderr
    other = apart.lab.folder / "other.yaml"
    other.write_text(json.dumps(host_config(apart.uplink, apart.adapters[:1], LAN)))
    done = apart.program("recover", "-f", str(other))
    assert (1, True) == (done.returncode, "the configuration does not have it" in done.stderr), done.stderr
    done = apart.program("recover", "-f", str(apart.daemon.config_file))
    assert 0 == done.returncode, done.stderr
    apart.daemon.start()
    assert before == {key: apart.vf(apart.one)[key] for key in before}
    assert apart.one.can_ping("10.77.0.2")
    wait_until(lambda: apart.one.can_ping("10.77.0.99"), "the wire answers")
    assert 0 == apart.daemon.command("diff", "-f", str(apart.daemon.config_file)).returncode
    assert 0 == apart.daemon.command("doctor").returncode


def test_state_and_pins_gone_a_guest_that_never_had_a_carrier_is_a_guest(apart: Scene) -> None:
    """As its link was disabled from the start."""
    three = apart.lab.namespace("three")
    config = host_config(apart.uplink, [*apart.adapters, {"guest": three.name, "port_group": "lan", "link_state": "disable"}], LAN)
    given = apart.lab.folder / "three.yaml"
    given.write_text(json.dumps(config))
    assert 0 == apart.daemon.command("apply", "-f", str(given)).returncode
    three.ip("link", "set", "eth0", "up")
    three.address(3)
    lose_everything(apart)
    done = apart.program("recover", "-f", str(given))
    assert (0, True) == (done.returncode, three.name in done.stdout), done.stderr
    apart.daemon.config_file.write_text(json.dumps(config))
    apart.daemon.start()
    assert "10.77.0.3" in three.ip("addr", "show", "eth0")
    assert "disable" == apart.vf(three)["link_state"]
    representor = apart.vf(three)["representor"]
    apart.daemon.ask("vf", "detach", apart.vf(apart.one)["address"])
    apart.daemon.ask("vf", "detach", apart.vf(apart.two)["address"])
    lose_everything(apart)
    assert 0 == apart.program("teardown").returncode
    assert apart.host
    assert representor not in apart.host.ip("link")


@pytest.mark.parametrize("is_file_named", [True, False])
def test_a_state_that_is_lost_with_the_maps_of_this_build_costs_no_guest_its_interface(
    apart: Scene, *, is_file_named: bool
) -> None:
    """As after an upgrade: programs of another build serve guests, and the maps of this one say nothing."""
    apart.daemon.settle()
    apart.daemon.kill()
    shutil.rmtree(apart.daemon.state_dir)
    for path in [path for path in apart.daemon.bpffs.iterdir() if path.is_dir() and path.name != "links" and "-" not in path.name]:
        shutil.rmtree(path)
    before = {guest: addresses_of(guest) for guest in (apart.one, apart.two)}
    done = apart.program("recover", *(["-f", str(apart.daemon.config_file)] if is_file_named else []))
    if is_file_named:
        assert (0, True) == (done.returncode, "only their devices and the configuration tell of them" in done.stdout), done.stderr
        apart.daemon.start()
        assert 0 == apart.daemon.command("diff", "-f", str(apart.daemon.config_file)).returncode
        assert apart.one.can_ping("10.77.0.2")
        wait_until(lambda: apart.one.can_ping("10.77.0.99"), "the wire answers")
    else:
        assert (5, True) == (done.returncode, "nothing tells its policy; name a configuration (-f)" in done.stderr), done.stderr
    assert before == {guest: addresses_of(guest) for guest in before}


def addresses_of(guest: Namespace) -> tuple[int, list[str]]:
    """Of its interface, with the number that this has."""
    (link,) = json.loads(guest.ip("-j", "-4", "addr", "show", "eth0"))
    return link["ifindex"], [address["local"] for address in link["addr_info"]]


def test_state_and_pins_gone_teardown_removes_devices_and_namespaces_that_were_made(apart: Scene) -> None:
    made = apart.lab.adopt(apart.lab.name("made"))
    apart.daemon.ask("vf", "attach", "--guest", made.name, "--port-group", "lan")
    made.ip("link", "set", "eth0", "up")
    representors = [vf["representor"] for vf in apart.daemon.ask("vf", "list") if vf["guest"]]
    lose_everything(apart)
    done = apart.program("teardown")
    assert 0 == done.returncode, done.stderr
    assert apart.host
    assert [] == [name for name in representors if name in apart.host.ip("link")]
    assert "" == apart.host.run("tc", "filter", "show", "dev", apart.uplink, "ingress").strip()
    assert f"namespace {made.name}" in done.stdout
    assert (False, True) == ((NAMED / made.name).exists(), (NAMED / apart.one.name).exists())


def test_pins_gone_all_is_made_anew_from_the_state(apart: Scene) -> None:
    """Devices of guests too, where they went with the pins: nobody unplugged them."""
    apart.daemon.ask("vf", "set", apart.vf(apart.one)["address"], "--link-state", "enable")
    export = apart.daemon.ask("export")
    for are_devices_lost in (False, True):
        representors = [apart.vf(guest)["representor"] for guest in (apart.one, apart.two)]
        lose_pins(apart)
        assert apart.host
        for representor in representors if are_devices_lost else ():
            apart.host.ip("link", "del", representor)
        apart.daemon.start()
        assert export == apart.daemon.ask("export")
        for number, guest in enumerate((apart.one, apart.two) if are_devices_lost else (), 1):
            guest.address(number)
        wait_until(lambda: apart.one.can_ping("10.77.0.99"), "the wire is reached")
        assert apart.one.can_ping("10.77.0.2")
        assert 0 == apart.daemon.command("doctor").returncode


def test_what_was_made_for_a_guest_goes_with_it_after_a_recovery_too(alone: Scene) -> None:
    made = alone.lab.adopt(alone.lab.name("made"))
    vf = alone.daemon.ask("vf", "attach", "--guest", made.name, "--port-group", "lan")["address"]
    alone.daemon.kill()
    for path in alone.daemon.state_dir.glob("state.db*"):
        path.unlink()
    assert 0 == alone.program("recover").returncode
    alone.daemon.start()
    alone.daemon.ask("vf", "detach", vf)
    assert not (NAMED / made.name).exists()


def test_a_namespace_that_was_made_anew_and_got_the_same_number_is_not_ours(alone: Scene) -> None:
    made = alone.lab.adopt(alone.lab.name("made"))
    alone.daemon.ask("vf", "attach", "--guest", made.name, "--port-group", "lan")
    alone.daemon.stop()
    run("ip", "netns", "del", made.name)
    run("ip", "netns", "add", made.name)
    status = (NAMED / made.name).stat()
    with contextlib.closing(sqlite3.connect(alone.daemon.state_dir / "state.db", isolation_level=None)) as database:
        ((name, text),) = database.execute("SELECT name, body FROM intent WHERE kind = 'attachment' AND name = 'pf0vf2'").fetchall()
        text = json.dumps({**json.loads(text), "netns_id": [status.st_dev, status.st_ino]})
        database.execute("UPDATE intent SET body = ? WHERE kind = 'attachment' AND name = ?", (text, name))
    alone.daemon.start()
    assert [] == [vf for vf in alone.daemon.ask("vf", "list") if vf["guest"] == made.name]
    assert (NAMED / made.name).exists()


def test_a_daemon_on_a_copy_of_anothers_state_is_refused(alone: Scene) -> None:
    """With folders of its own; and so is its teardown."""
    folder = alone.lab.folder / "copy"
    folder.mkdir()
    second = Daemon(folder, alone.daemon.bpffs.with_name(alone.lab.name("copy")), alone.config)
    shutil.copytree(alone.daemon.state_dir, second.state_dir)
    places = {"state-dir": second.state_dir, "run-dir": second.run_dir, "bpffs": second.bpffs}
    before = [run("ip", "-d", "link", "show", device) for device in (alone.uplink, alone.vf(alone.one)["representor"])]
    with pytest.raises(LabError, match=f"another daemon serves it.*process {alone.daemon.process.pid}"):
        second.start()
    assert 5 == second.process.returncode
    done = alone.program("teardown", **places)
    assert (5, True) == (done.returncode, "another daemon serves it" in done.stderr), done.stderr
    assert before == [run("ip", "-d", "link", "show", device) for device in (alone.uplink, alone.vf(alone.one)["representor"])]
    assert alone.one.can_ping("10.77.0.2")
    alone.daemon.stop()
    assert [] == [*second.bpffs.iterdir()]
    second.bpffs.rmdir()


def test_where_names_of_namespaces_are_not_to_be_seen_nothing_is_taken_for_unplugged(alone: Scene) -> None:
    alone.daemon.stop()
    script = f'mount -t tmpfs none {NAMED} && exec "$@"'
    alone.daemon._entrance = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    with pytest.raises(LabError, match=f"namespace {alone.one.name} of pf0vf0: {NAMED} is another folder here"):
        alone.daemon.start()
    assert 5 == alone.daemon.process.returncode
    alone.daemon._entrance = []
    alone.daemon.start()
    assert [alone.one.name, alone.two.name] == [vf["guest"] for vf in alone.daemon.ask("vf", "list") if vf["guest"]]
    assert alone.one.can_ping("10.77.0.2")


def test_recover_takes_up_a_guest_that_hid_its_interface(alone: Scene) -> None:
    """It keeps nobody else from it, and is served on where it is."""
    alone.daemon.kill()
    for path in alone.daemon.state_dir.glob("state.db*"):
        path.unlink()
    hidden = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        wait_until(lambda: not Path(f"/proc/{hidden.pid}/ns/net").samefile("/proc/self/ns/net"), "it is elsewhere")
        alone.two.ip("link", "set", "eth0", "netns", str(hidden.pid))
        done = alone.program("recover")
        assert (0, True) == (done.returncode, f"pf0vf1: guest {alone.two.name}, eth0 in {alone.two.name}" in done.stdout), (
            done.stderr
        )
        alone.daemon.start()
        assert alone.two.name == alone.vf(alone.two)["guest"]
        for words in (("link", "set", "eth0", "up"), ("addr", "add", "10.77.0.2/24", "dev", "eth0")):
            run("nsenter", f"--net=/proc/{hidden.pid}/ns/net", "ip", *words)
        assert alone.one.can_ping("10.77.0.2")
    finally:
        hidden.kill()
        hidden.wait()


def promiscuity(device: str) -> int:
    return int(json.loads(run("ip", "-j", "-d", "link", "show", device))[0]["promiscuity"])


def test_an_uplink_that_went_away_and_came_back_with_another_number_is_given_back_as_it_was_at_first(alone: Scene) -> None:
    elsewhere = alone.lab.namespace("elsewhere")
    number = json.loads(run("ip", "-j", "link", "show", alone.uplink))[0]["ifindex"]
    run("ip", "link", "set", alone.uplink, "netns", elsewhere.name)
    wait_until(lambda: alone.daemon.ask("pf", "show", "pf0")["link"] == "down", "the loss is seen")
    run(
        "ip",
        "link",
        "add",
        alone.lab.device("theirs"),
        "index",
        str(number),
        "type",
        "veth",
        "peer",
        "name",
        alone.lab.device("far"),
    )
    elsewhere.ip("link", "set", alone.uplink, "netns", "1")
    run("ip", "link", "set", alone.uplink, "up")
    wait_until(lambda: alone.daemon.ask("pf", "show", "pf0")["link"] == "up", "the uplink is back")
    assert number != json.loads(run("ip", "-j", "link", "show", alone.uplink))[0]["ifindex"]
    wait_until(lambda: alone.one.can_ping("10.77.0.99"), "the wire is reached")
    assert 1 == promiscuity(alone.uplink)
    alone.daemon.teardown()
    assert 0 == promiscuity(alone.uplink)
    alone.daemon.start()


def test_a_device_that_was_made_with_the_number_of_an_uplink_is_left_alone(alone: Scene) -> None:
    """Neither taken at a start, nor changed by a teardown: one without hardware is told by our programs on it, or its name."""
    number = json.loads(run("ip", "-j", "link", "show", alone.uplink))[0]["ifindex"]
    alone.daemon.stop()
    run("ip", "link", "del", alone.uplink)
    theirs = alone.lab.device("theirs")
    run("ip", "link", "add", theirs, "index", str(number), "type", "veth", "peer", "name", alone.lab.device("far"))
    run("ip", "link", "set", theirs, "promisc", "on")
    before = run("ip", "-d", "link", "show", theirs)
    alone.daemon.start()
    assert (alone.uplink, "down") == tuple(alone.daemon.ask("pf", "show", "pf0")[key] for key in ("uplink", "link"))
    assert before == run("ip", "-d", "link", "show", theirs)
    alone.daemon.teardown()
    assert before == run("ip", "-d", "link", "show", theirs)


def test_when_the_pins_were_removed_under_the_daemon_doctor_works_and_they_come_back(alone: Scene) -> None:
    """Those of maps and programs aside, which the next start makes anew."""

    def is_whole() -> bool:
        pins = {path.name for path in (alone.daemon.bpffs / "links").glob("*")}
        return {"pf0vf0_tc", "pf0vf1_tc", "uplink0_tc", "uplink0_xdp"} <= pins and any(alone.daemon.bpffs.glob("instance-*"))

    alone.daemon.settle()
    for path in sorted(alone.daemon.bpffs.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    alone.daemon.bpffs.rmdir()
    done = alone.daemon.command("doctor")
    assert "internal error" not in done.stdout + done.stderr
    wait_until(lambda: is_whole() and alone.one.can_ping("10.77.0.2"), "programs and pins are back", 30)
    wait_until(lambda: alone.daemon.command("doctor").returncode == 0, "all is well")
    alone.daemon.stop()
    alone.daemon.start()
    assert alone.one.can_ping("10.77.0.2")
    assert alone.one.can_ping("10.77.0.99")
