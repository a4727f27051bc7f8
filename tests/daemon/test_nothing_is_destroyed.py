"""What a configuration changes, changes in place; what it would take away, it says first."""

import contextlib
import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile import deleting
from terminals import on_terminal

from sriov_xdp.api.client import CommandFailed, call
from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

MACS = {name: f"02:00:00:00:03:0{number}" for number, name in enumerate("abcd", 1)}
GROUPS = [
    {"name": "x", "vlan": {"access": 100}, "overrides_allowed": ["security", "vlan"]},
    {"name": "y", "vlan": {"access": 200}, "overrides_allowed": ["security", "vlan"]},
]
Adapter = dict[str, Any]


class Scene:
    """a, c, d are in x, b is in y; the daemon made a's namespace, in which a process lives."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        names = {name: lab.name(name) for name in "abcd"}
        self.guests: dict[str, Namespace] = {name: lab.adopt(names[name]) if name == "a" else lab.namespace(name) for name in names}
        adapters = [{"guest": names[name], "port_group": "y" if name == "b" else "x", "mac": MACS[name]} for name in names]
        self.config = host_config(None, adapters, GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)
        for host, guest in enumerate(self.guests.values(), 1):
            guest.address(host)
        self.life: subprocess.Popen[str] = self.guests["a"].start("sleep", "600")

    def close(self) -> None:
        self.life.kill()
        self.life.communicate()

    def file(self, document: dict[str, Any]) -> str:
        path = self.lab.folder / "given.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return str(path)

    def adapters(self, document: dict[str, Any]) -> dict[str, Adapter]:
        return dict(zip("abcd", (guest["adapters"][0] for guest in document["guests"]), strict=True))

    def changed(self, *names: str, **settings: Any) -> dict[str, Any]:
        document = copy.deepcopy(self.config)
        for name in names or ("a",):
            self.adapters(document)[name].update(settings)
        return document

    def apply(self, document: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
        return self.daemon.command("apply", "-f", self.file(document), *options)

    def assert_applied(self, document: dict[str, Any]) -> None:
        done = self.apply(document)
        assert (0, "") == (done.returncode, done.stderr)
        assert 0 == self.daemon.command("diff", "-f", self.file(document)).returncode

    def seen_by_guests(self) -> dict[str, tuple[int, int, str]]:
        """Of each guest: its namespace, its interface's number and its address."""
        found = {}
        for name, guest in self.guests.items():
            (link,) = json.loads(guest.ip("-j", "addr", "show", "eth0"))
            addresses = [info["local"] for info in link["addr_info"] if info["family"] == "inet"]
            found[name] = (os.stat(NAMED / guest.name).st_ino, link["ifindex"], *addresses)  # noqa: PTH116
        return found

    def reaches(self, name: str) -> dict[str, bool]:
        """Whom a reaches."""
        self.guests["a"].ip("neigh", "flush", "all")
        hosts = {other: f"10.77.0.{number}" for number, other in enumerate("abcd", 1) if other != name}
        return {other: self.guests[name].can_ping(address) for other, address in hosts.items()}

    def vfs(self) -> list[tuple[str, str, str]]:
        return [(vf["address"], vf["guest"], vf["port_group"]) for vf in self.daemon.ask("vf", "list") if vf["guest"]]


IN_X, IN_Y = {"b": False, "c": True, "d": True}, {"b": True, "c": False, "d": False}
NOWHERE = {"b": False, "c": False, "d": False}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("nd") as lab:
        made = Scene(lab)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(autouse=True)
def nobody_notices(scene: Scene) -> Iterator[None]:
    """c and d lose no frame, every guest keeps its interface with its address, a's process lives; afterwards all is as before."""
    before, stream = scene.seen_by_guests(), frames.Stream(scene.guests["c"], scene.guests["d"], "10.77.0.4")
    yield
    assert scene.apply(scene.config, "--yes").returncode == 0
    scene.guests["a"].vf("reset")
    assert [] == stream.stop()
    assert before == scene.seen_by_guests()
    assert scene.life.poll() is None
    wait_until(lambda: IN_X == scene.reaches("a"), "all is as it was")


@pytest.mark.parametrize(
    ("settings", "reached"),
    [
        ({"port_group": "y"}, IN_Y),
        ({"mac": "02:00:00:00:03:77"}, IN_X),
        ({"link_state": "disable"}, NOWHERE),
        ({"link_state": "enable"}, IN_X),
        ({"datapath": "xdp"}, IN_X),
        ({"datapath": "tcx"}, IN_X),
        ({"vlan": {"access": 200}}, IN_Y),
        ({"policy": {"security": {"mac_changes": "accept", "forged_transmits": "accept"}}}, IN_X),
        ({"port_group": "y", "mac": "02:00:00:00:03:77", "vlan": {"access": 100}, "datapath": "xdp"}, IN_X),
    ],
    ids=str,
)
def test_changed_adapter_changes_in_place(scene: Scene, settings: Adapter, reached: dict[str, bool]) -> None:
    scene.assert_applied(scene.changed(**settings))
    scene.guests["a"].vf("reset")  # a new admin MAC is the guest's to take
    assert reached == scene.reaches("a")
    exported = scene.daemon.ask("export")
    adapter = next(guest for guest in exported["guests"] if guest["name"] == scene.guests["a"].name)["adapters"][0]
    kept = {name: value for name, value in settings.items() if value != "auto"}
    assert kept == {name: adapter.get(name) for name in kept}


def test_moved_by_command(scene: Scene) -> None:
    vf = scene.daemon.vf_of(scene.guests["a"].name)["address"]
    assert "y" == scene.daemon.ask("vf", "set", vf, "--port-group", "y")["port_group"]
    assert IN_Y == scene.reaches("a")


def test_two_guests_exchange_macs_and_groups(scene: Scene) -> None:
    document = scene.changed("a", port_group="y", mac=MACS["b"])
    scene.adapters(document)["b"].update(port_group="x", mac=MACS["a"])
    scene.assert_applied(document)
    for name in "ab":
        scene.guests[name].vf("reset")
    assert NOWHERE == scene.reaches("a")
    assert {"a": False, "c": True, "d": True} == scene.reaches("b")
    scene.assert_applied(scene.config)
    scene.guests["b"].vf("reset")


def without_guests(scene: Scene) -> dict[str, Any]:
    return {**copy.deepcopy(scene.config), "guests": []}


def test_file_without_guests_is_refused_without_a_terminal(scene: Scene) -> None:
    before = scene.vfs()
    done = scene.apply(without_guests(scene))
    assert 4 == done.returncode
    for guest in scene.guests.values():
        assert f"remove adapter {guest.name}/eth0: the guest loses the interface" in done.stderr
    assert "nothing was done; steps that take something away: 4; --yes" in done.stderr
    assert before == scene.vfs()


def test_dry_run_does_nothing_and_says_whether_there_is_something_to_do(scene: Scene) -> None:
    before = scene.vfs()
    done = scene.apply(without_guests(scene), "--dry-run")
    assert 7 == done.returncode
    assert 4 == done.stdout.count("the guest loses the interface")
    assert before == scene.vfs()
    assert 0 == scene.apply(scene.config, "--dry-run").returncode


def test_on_a_terminal_it_asks(scene: Scene) -> None:
    before = scene.vfs()
    document = copy.deepcopy(scene.config)
    spare = scene.lab.namespace("spare")
    vf = scene.daemon.ask("vf", "attach", "--guest", spare.name, "--port-group", "x")["address"]
    command = [*scene.daemon.program, "--run-dir", str(scene.daemon.run_dir), "apply", "-f", scene.file(document)]
    refused = on_terminal(command, "n")
    assert (4, True) == (refused.returncode, "nothing was done" in refused.stderr)
    assert f"{spare.name}/eth0" in refused.stdout
    assert spare.name == scene.daemon.ask("vf", "show", vf)["guest"]
    assert 0 == on_terminal(command, "y").returncode
    assert before == scene.vfs()


def test_what_cannot_change_in_place_is_named(scene: Scene) -> None:
    other = scene.lab.namespace("other")
    document = scene.changed()
    document["guests"][0]["netns"] = other.name
    done = scene.daemon.command("diff", "-f", scene.file(document), "-j")
    assert 7 == done.returncode
    (step,) = json.loads(done.stdout)
    assert ("reattach", "adapter", f"{scene.guests['a'].name}/eth0") == (step["action"], step["kind"], step["name"])
    assert "the guest loses the interface, with its addresses, and gets a new one" == step["consequence"]
    assert 4 == scene.apply(document).returncode


def _process(scene: Scene, guest: Namespace) -> tuple[str, Callable[[], None]]:
    process = guest.start("sleep", "600")

    def end() -> None:
        process.kill()
        process.communicate()

    return f"process {process.pid} lives in it", end


def _interface(scene: Scene, guest: Namespace) -> tuple[str, Callable[[], None]]:
    guest.ip("link", "add", "theirs", "type", "veth", "peer", "name", "theirs2")
    return "interface theirs, theirs2 is in it", lambda: None


_THREAD = """import ctypes, os, threading
def move():
    ctypes.CDLL(None).setns(os.open(f"/run/netns/{NAME}", os.O_RDONLY), 0x40000000)
    print("there", flush=True)
    threading.Event().wait()
threading.Thread(target=move, daemon=True).start()
threading.Event().wait()
"""


def _thread(_scene: Scene, guest: Namespace) -> tuple[str, Callable[[], None]]:
    """One of several of a process that lives elsewhere, as with container runtimes and VPNs."""
    code = f"NAME = {guest.name!r}\n{_THREAD}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert "there" == process.stdout.readline().strip()

    def end() -> None:
        process.kill()
        process.communicate()

    return f"process {process.pid} lives in it", end


@pytest.mark.parametrize("use", [_process, _thread, _interface])
def test_namespace_in_use_stays_at_detach(scene: Scene, use: Callable[[Scene, Namespace], tuple[str, Callable[[], None]]]) -> None:
    guest = scene.lab.adopt(scene.lab.name("used"))
    vf = scene.daemon.ask("vf", "attach", "--guest", guest.name, "--port-group", "x")["address"]
    text, end = use(scene, guest)
    scene.daemon.ask("vf", "detach", vf)
    end()
    assert (NAMED / guest.name).exists()
    assert f"namespace {guest.name}: made for guest {guest.name}, left as {text}" in scene.daemon.log()
    scene.lab.remove(guest)


def test_apply_that_fails_in_the_middle_says_where_it_stands_and_goes_on(scene: Scene) -> None:
    blocked, free = scene.lab.namespace("blocked"), scene.lab.namespace("free")
    document = copy.deepcopy(scene.config)
    for guest in (blocked, free):
        document["guests"].append({"name": guest.name, "adapters": [{"name": "eth0", "port_group": "x"}]})
    with deleting(blocked):
        done = scene.apply(document)
    assert 1 == done.returncode, done.stderr
    assert f"add adapter {blocked.name}/eth0: " in done.stderr
    assert "apply: 1 of 2 steps are done; mend the cause" in done.stderr
    assert free.name in {vf[1] for vf in scene.vfs()}
    scene.assert_applied(document)
    assert {blocked.name, free.name} <= {vf[1] for vf in scene.vfs()}


def test_changed_file_that_removes_a_guest_counts_at_a_start_only_with_yes(scene: Scene) -> None:
    spare = scene.lab.namespace("once")
    vf = scene.daemon.ask("vf", "attach", "--guest", spare.name, "--port-group", "x")["address"]
    changed = copy.deepcopy(scene.config)
    changed["pfs"][0]["num_vfs"] += 1
    scene.daemon.stop()
    scene.daemon.config_file.write_text(yaml.safe_dump(changed))
    scene.daemon.start()
    assert spare.name == scene.daemon.ask("vf", "show", vf)["guest"]
    assert f"remove adapter {spare.name}/eth0: the guest loses the interface" in scene.daemon.log()
    assert "not applied: steps that would take something away: 1" in scene.daemon.log()
    scene.daemon.stop()
    scene.daemon.options = ["--yes"]
    scene.daemon.start()
    scene.daemon.options = []
    assert "free" == scene.daemon.ask("vf", "show", vf)["state"]
    assert changed["pfs"][0]["num_vfs"] == scene.daemon.ask("pf", "show", "pf0")["num_vfs"]


def _interface_that_is_there(scene: Scene, document: dict[str, Any]) -> str:
    guest = scene.lab.namespace("taken")
    guest.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth9")
    document["guests"].append({"name": guest.name, "adapters": [{"name": "eth0", "port_group": "x"}]})
    return f"adapter eth0: namespace {guest.name} has a device of that name"


def _namespace_that_is_not_there(_scene: Scene, document: dict[str, Any]) -> str:
    adapters = [{"name": "eth0", "port_group": "x"}]
    document["guests"].append({"name": "nobody", "netns": "/proc/4194303/ns/net", "adapters": adapters})
    return "guests: nobody: namespace /proc/4194303/ns/net: not found"


def _fewer_vfs(scene: Scene, document: dict[str, Any]) -> str:
    document["pfs"][0]["num_vfs"] = 3
    return "num_vfs 3: pf0vf3 is attached"


@pytest.mark.parametrize("change", [_interface_that_is_there, _namespace_that_is_not_there, _fewer_vfs])
def test_what_can_be_foreseen_is_said_before_anything_is_taken(
    scene: Scene, change: Callable[[Scene, dict[str, Any]], str]
) -> None:
    document = copy.deepcopy(scene.config)
    text = change(scene, document)
    del document["guests"][1]
    before = scene.vfs()
    for command in (["apply", "--yes"], ["apply", "--dry-run"], ["diff"]):
        done = scene.daemon.command(*command, "-f", scene.file(document))
        assert (5, True) == (done.returncode, text in done.stderr), done.stderr
    assert before == scene.vfs()


def test_what_was_set_since_an_apply_stays_over_a_crash(scene: Scene) -> None:
    """The file did not change since it was applied."""
    changed = copy.deepcopy(scene.config)
    changed["pfs"][0]["num_vfs"] += 2
    scene.daemon.config_file.write_text(yaml.safe_dump(changed))
    assert 0 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file), "--yes").returncode
    vf = scene.vfs()[0][0]
    scene.daemon.ask("vf", "set", vf, "--link-state", "disable")
    scene.daemon.kill()
    scene.daemon.start()
    assert "disable" == scene.daemon.ask("vf", "show", vf)["link_state"]
    scene.daemon.ask("vf", "set", vf, "--link-state", "auto")


def test_an_apply_of_another_file_stays_over_restarts_with_an_unchanged_one(scene: Scene) -> None:
    edited, other = copy.deepcopy(scene.config), copy.deepcopy(scene.config)
    edited["pfs"][0]["num_vfs"] += 3
    other["pfs"][0]["num_vfs"] += 4
    scene.daemon.config_file.write_text(yaml.safe_dump(edited))
    assert 0 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file), "--yes").returncode
    scene.daemon.kill()
    scene.daemon.start()
    assert 0 == scene.apply(other, "--yes").returncode
    scene.daemon.kill()
    scene.daemon.start()
    assert scene.config["pfs"][0]["num_vfs"] + 4 == scene.daemon.ask("pf", "show", "pf0")["num_vfs"]


def test_consent_is_to_what_was_shown(scene: Scene) -> None:
    """By whatever the plan has become meanwhile, nothing else goes."""
    late = scene.lab.namespace("late")
    scene.daemon.ask("vf", "attach", "--guest", late.name, "--port-group", "x")
    document = copy.deepcopy(scene.config)
    name = document["guests"].pop(1)["name"]
    text = Path(scene.file(document)).read_text()
    with pytest.raises(CommandFailed, match=f"remove adapter {late.name}/eth0") as refused:
        call(scene.daemon.run_dir, "apply", {"text": text, "consented": [f"remove adapter {name}/eth0"]})
    assert (4, False) == (refused.value.exit_code, f"{name}/eth0" in str(refused.value))
    assert name in {vf[1] for vf in scene.vfs()}


def test_a_file_that_cannot_be_had_leaves_the_host_served(scene: Scene) -> None:
    changed = copy.deepcopy(scene.config)
    changed["guests"].append({"name": "new", "netns": "/proc/1/ns/nothing", "adapters": [{"name": "eth0", "port_group": "x"}]})
    before = scene.vfs()
    scene.daemon.stop()
    former = scene.daemon.config_file.read_text()
    scene.daemon.config_file.write_text(yaml.safe_dump(changed))
    scene.daemon.start()
    assert before == scene.vfs()
    doctor = scene.daemon.command("doctor")
    assert (1, True) == (doctor.returncode, "namespace /proc/1/ns/nothing: not found" in doctor.stdout.replace("\n", " "))
    scene.daemon.config_file.write_text(former)
    scene.daemon.stop()
    scene.daemon.start()
    assert 0 == scene.daemon.command("doctor").returncode


def test_a_file_of_the_start_that_is_put_back_counts(scene: Scene) -> None:
    """It was applied by command with another text meanwhile."""
    original = scene.daemon.config_file.read_text()
    before = scene.daemon.ask("vf", "list")[0]["link_state"]
    scene.daemon.config_file.write_text(yaml.safe_dump(scene.changed(link_state="disable")))
    assert 0 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file)).returncode
    scene.daemon.config_file.write_text(original)
    scene.daemon.stop()
    scene.daemon.start()
    assert before == scene.daemon.ask("vf", "list")[0]["link_state"]
    assert 0 == scene.daemon.command("diff", "-f", str(scene.daemon.config_file)).returncode


@contextlib.contextmanager
def moved_inward(scene: Scene, name: str) -> Iterator[None]:
    """The guest hides its interface in a namespace of its own."""
    guest, inner = scene.guests[name], scene.lab.namespace("inner")
    guest.ip("link", "set", "eth0", "netns", inner.name)
    try:
        yield
    finally:
        inner.ip("link", "set", "eth0", "netns", guest.name)
        guest.address(ord(name) - ord("a") + 1)
        scene.lab.remove(inner)


def test_an_adapter_that_cannot_follow_a_file_is_as_it_was_and_keeps_no_other_from_it(scene: Scene) -> None:
    document = scene.changed("a", datapath="xdp", link_state="disable")
    scene.adapters(document)["b"]["mac"] = "02:00:00:00:03:33"
    with moved_inward(scene, "a"):
        for _time in range(2):
            done = scene.apply(document)
            assert 1 == done.returncode, "the same file goes on from here"
            assert f"change adapter {scene.guests['a'].name}/eth0: guest end of pf0vf0" in done.stderr
            assert "it is as it was before" in done.stderr
        hidden = scene.daemon.vf_of(scene.guests["a"].name)
        said = (hidden["datapath"]["mode"], hidden["link_state"], hidden["link_reason"])
        assert ("auto", "auto", "the guest's interface is down") == said, "as it is after it was moved"
        assert "02:00:00:00:03:33" == scene.guests["b"].mac()
    scene.assert_applied(document)
    scene.assert_applied(scene.config)


def test_a_command_that_cannot_be_had_changes_nothing(scene: Scene) -> None:
    address = scene.daemon.vf_of(scene.guests["a"].name)["address"]
    before = scene.daemon.ask("export")
    with moved_inward(scene, "a"):
        done = scene.daemon.command("vf", "set", address, "--datapath", "xdp", "--port-group", "y", "--link-state", "disable")
        assert 1 == done.returncode
        assert before == scene.daemon.ask("export")


def test_a_guest_that_hides_its_interface_keeps_its_operator_from_nothing(scene: Scene) -> None:
    """VLAN and address are the port's; what the interface shows of them follows when it is back."""
    guest = scene.guests["a"]
    address = scene.daemon.vf_of(guest.name)["address"]
    with moved_inward(scene, "a"):
        scene.daemon.ask("vf", "set", address, "--port-group", "y", "--mac", "02:00:00:00:03:55")
        doctor = scene.daemon.command("doctor").stdout
        assert "guest end of" in doctor
    wait_until(lambda: guest.mac() == "02:00:00:00:03:55", "the interface has its address")
    assert "access 200" == guest.vf("status")["vlan"]
    scene.assert_applied(scene.config)


@pytest.mark.parametrize("spelled", ["/run/netns/{}", "/var/run/netns/{}"])
def test_a_namespace_spelled_otherwise_is_the_same(scene: Scene, spelled: str) -> None:
    document = copy.deepcopy(scene.config)
    document["guests"][1]["netns"] = spelled.format(scene.guests["b"].name)
    assert 0 == scene.daemon.command("diff", "-f", scene.file(document)).returncode


def test_a_guest_that_hides_its_interface_keeps_no_other_from_a_changed_vlan(scene: Scene) -> None:
    """One file: a's mode cannot be had, and b has another VLAN and is disabled."""
    document = scene.changed("a", datapath="xdp")
    document["switches"][0]["port_groups"][1]["vlan"] = {"access": 300}
    scene.adapters(document)["b"]["link_state"] = "disable"
    with moved_inward(scene, "a"):
        done = scene.apply(document)
        assert (1, True) == (done.returncode, "it is as it was before" in done.stderr), done.stderr
        assert 7 == scene.daemon.command("diff", "-f", scene.file(document)).returncode
        assert "NO-CARRIER" in scene.guests["b"].ip("link", "show", "eth0")
        assert "access 300" == scene.guests["b"].vf("status")["vlan"]
    scene.assert_applied(scene.config)


def test_a_change_that_cannot_be_had_costs_no_grant(scene: Scene) -> None:
    granted, vf = "02:00:00:00:03:77", scene.daemon.vf_of(scene.guests["a"].name)["address"]
    scene.daemon.ask("port-group", "set", "x", "--mac-changes", "accept")
    assert scene.guests["a"].vf("set-mac", granted)["accepted"]
    with moved_inward(scene, "a"):
        done = scene.daemon.command("vf", "set", vf, "--mac", "02:00:00:00:03:78", "--datapath", "xdp")
        assert (1, True) == (done.returncode, "it is as it was before" in done.stderr), done.stderr
        assert granted == scene.daemon.ask("vf", "show", vf)["effective_mac"]
        scene.daemon.kill()
        scene.daemon.start()
        assert granted == scene.daemon.ask("vf", "show", vf)["effective_mac"]
    scene.daemon.ask("vf", "reset", vf)
    scene.assert_applied(scene.config)


def test_a_file_of_the_start_that_is_put_back_after_an_apply_that_failed_counts(scene: Scene) -> None:
    original = scene.daemon.config_file.read_text()
    document = scene.changed("a", datapath="xdp")
    document["switches"][0]["port_groups"][1]["vlan"] = {"access": 300}
    scene.daemon.config_file.write_text(yaml.safe_dump(document))
    with moved_inward(scene, "a"):
        assert 1 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file)).returncode
    scene.daemon.config_file.write_text(original)
    scene.daemon.stop()
    scene.daemon.start()
    assert 0 == scene.daemon.command("diff", "-f", str(scene.daemon.config_file)).returncode
    scene.assert_applied(scene.config)


def test_a_file_of_the_start_that_is_refused_changes_nothing_of_what_counts(scene: Scene) -> None:
    """What was set by command stays over a start with the file as it was."""
    original, vf = scene.daemon.config_file.read_text(), scene.daemon.vf_of(scene.guests["d"].name)["address"]
    assert 0 == scene.daemon.command("apply", "-f", str(scene.daemon.config_file), "--yes").returncode
    scene.daemon.ask("vf", "set", vf, "--link-state", "enable")
    without_guests = {**yaml.safe_load(original), "guests": []}
    for text, code in ((yaml.safe_dump(without_guests), 4), ("version: 1\npfs: 7\n", 1)):
        scene.daemon.config_file.write_text(text)
        assert code == scene.daemon.command("apply", "-f", str(scene.daemon.config_file)).returncode
    scene.daemon.config_file.write_text(original)
    scene.daemon.stop()
    scene.daemon.start()
    assert "enable" == scene.daemon.ask("vf", "show", vf)["link_state"]
    scene.assert_applied(scene.config)
