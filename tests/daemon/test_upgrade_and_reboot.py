"""A new build under traffic, a host that was rebooted, and state that cannot be read."""

import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, OK, RawMailbox

from sriov_xdp.datapath import compiled, libbpf
from sriov_xdp.datapath.pins import remove_tree
from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, entered, host_config, run, wait_until
from sriov_xdp.lab.traffic import Stream

ROOT = Path(__file__).resolve().parents[2]
GROUPS = [{"name": "lan", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}}}]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.wire, uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "datapath": "xdp"},
            {"guest": self.two.name, "port_group": "lan", "mac": "02:00:00:00:01:02"},
        ]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, GROUPS))
        for place, host, device in ((self.one, 1, "eth0"), (self.two, 2, "eth0"), (self.wire, 99, "w0")):
            place.address(host, device)

    def builds(self) -> set[str]:
        return {path.parent.name for path in self.daemon.bpffs.glob("*/progs")}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("ug") as lab:
        yield Scene(lab)


def test_new_build_takes_over_without_a_lost_frame(scene: Scene, tmp_path: Path) -> None:
    """The same product with one byte changed in its C sources, started on the state of the old one."""
    shutil.copytree(ROOT / "sriov_xdp", tmp_path / "sriov_xdp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    with (tmp_path / "bpf" / "xdp.c").open("a") as source:
        source.write("/* another build */\n")
    with RawMailbox(scene.two, "pf0vf1") as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, "02:00:00:aa:00:02", kind=2)
    old = scene.builds()
    streams = [Stream(scene.one, scene.two, "10.77.0.2"), Stream(scene.wire, scene.one, "10.77.0.1")]
    wait_until(lambda: min(stream.sent for stream in streams) > 200, "the streams run")
    scene.daemon.stop()
    scene.daemon.environment["PYTHONPATH"] = str(tmp_path)
    scene.daemon.start()
    at_start = streams[0].sent
    wait_until(lambda: streams[0].sent > at_start + 300, "frames go with the new build")
    assert [[], []] == [stream.stop() for stream in streams]
    new = scene.builds()
    assert 1 == len(new)
    assert old.isdisjoint(new)
    assert ["02:00:00:aa:00:02"] == scene.daemon.vf_of(scene.two.name)["filters"]
    assert scene.two.can_ping("10.77.0.99")


def test_a_guest_that_moved_its_interface_away_keeps_no_program_of_the_old_build(scene: Scene, tmp_path: Path) -> None:
    """XDP cannot be entered anew where the guest end's offloads cannot be set; what is there goes on, by the new build's programs,
    as what the old ones know is old."""
    shutil.copytree(ROOT / "sriov_xdp", tmp_path / "sriov_xdp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    with (tmp_path / "bpf" / "xdp.c").open("a") as source:
        source.write("/* another build */\n")
    inner = scene.lab.namespace("inner")
    scene.one.ip("link", "set", "eth0", "netns", inner.name)
    scene.daemon.stop()
    scene.daemon.environment["PYTHONPATH"] = str(tmp_path)
    scene.daemon.start()
    inner.address(1)
    scene.daemon.settle()
    (build,) = scene.builds()
    for hook in ("xdp", "tc"):
        runs = program_of(scene.daemon.bpffs / "links" / f"pf0vf0_{hook}", is_link=True)
        assert program_of(scene.daemon.bpffs / build / "progs" / f"{hook}_vf", is_link=False) == runs
    assert scene.two.can_ping("10.77.0.1")
    inner.ip("link", "set", "eth0", "netns", scene.one.name)
    scene.one.address(1)
    wait_until(lambda: scene.one.can_ping("10.77.0.2"), "it is back, and served by the new build")


def program_of(pin: Path, *, is_link: bool) -> int:
    """Its id in the kernel."""
    fd = libbpf.open_pin(pin)
    try:
        return libbpf.link_info(fd).program_id if is_link else libbpf.program_id(fd)
    finally:
        os.close(fd)


def test_after_a_reboot_vfs_are_made_anew_from_the_operators_settings(scene: Scene) -> None:
    with RawMailbox(scene.two, "pf0vf1") as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, "02:00:00:aa:00:02")
    before = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    scene.daemon.kill()
    _reboot(scene, before)
    scene.daemon.start()
    after = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    kept = ("state", "guest", "netns", "interface", "port_group", "admin_mac")
    assert {name: [vf[key] for key in kept] for name, vf in before.items()} == {
        name: [vf[key] for key in kept] for name, vf in after.items()
    }
    assert "02:00:00:00:01:02" == after["pf0vf1"]["effective_mac"]
    assert after["pf0vf1"]["generation"] > before["pf0vf1"]["generation"]
    for place, host in ((scene.one, 1), (scene.two, 2)):
        place.address(host)
    assert scene.one.can_ping("10.77.0.2")
    assert scene.one.can_ping("10.77.0.99")


def test_a_start_after_a_reboot_needs_no_compiler(scene: Scene, tmp_path: Path) -> None:
    """What was compiled is kept outside of bpffs; somewhere else nothing is."""
    before = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    (tmp_path / "bcc.py").write_text("raise ImportError")
    scene.daemon.kill()
    _reboot(scene, before)
    scene.daemon.environment.update(PYTHONPATH=str(tmp_path), SRIOV_XDP_CACHE_DIR=str(tmp_path / "nothing"))
    with pytest.raises(LabError, match="bcc: the Python binding is missing"):
        scene.daemon.start()
    del scene.daemon.environment["SRIOV_XDP_CACHE_DIR"]
    scene.daemon.start()
    assert set(before) == {vf["address"] for vf in scene.daemon.ask("vf", "list")}


@pytest.mark.parametrize("codes", [{}, {"xdp_vf": b"\x95" + bytes(7)}], ids=["nothing", "another program"])
def test_what_was_kept_and_does_not_load_is_compiled_anew(scene: Scene, tmp_path: Path, codes: dict[str, bytes]) -> None:
    before = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    scene.daemon.kill()
    _reboot(scene, before)
    kept = compiled.file_of_build(tmp_path / "cache")
    compiled.store(kept, codes)
    scene.daemon.environment["SRIOV_XDP_CACHE_DIR"] = str(kept.parent)
    scene.daemon.start()
    assert {"xdp_vf", "tc_vf"} <= (compiled.find(kept) or {}).keys()


def test_what_cannot_be_put_into_service_after_a_reboot_stays_the_guests(scene: Scene) -> None:
    """Somebody in the guest has its mailbox's name."""
    before = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    scene.daemon.kill()
    _reboot(scene, before)
    run("ip", "netns", "add", scene.two.name)
    with entered(scene.two):
        squatter = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    squatter.bind("\0sriov-xdp/pf0vf1")
    scene.daemon.start()
    wait_until(lambda: scene.daemon.log().count("end the process there") > 0, "it was tried")
    scene.daemon.ask("vf", "set", "pf0vf1", "--mac", "02:00:00:00:01:22")
    assert scene.two.name == scene.daemon.ask("vf", "show", "pf0vf1")["guest"]
    assert "eth0" not in scene.two.ip("link")
    squatter.close()
    wait_until(lambda: "eth0" in scene.two.ip("link"), "the guest has its interface")
    assert "02:00:00:00:01:22" == scene.two.mac()
    for place, host in ((scene.one, 1), (scene.two, 2)):
        place.address(host)
    assert scene.two.can_ping("10.77.0.1")


def _reboot(scene: Scene, vfs: dict) -> None:
    """What a reboot takes away: devices, namespaces, pins; and the kernel has another boot id."""
    for vf in vfs.values():
        if vf["representor"]:
            run("ip", "link", "del", vf["representor"])
    for guest in (scene.one, scene.two):
        run("ip", "netns", "del", guest.name)
    remove_tree(scene.daemon.bpffs)
    with sqlite3.connect(scene.daemon.state_dir / "state.db") as database:
        database.execute("UPDATE meta SET value='an earlier boot' WHERE key='boot_id'")
    database.close()


def test_unreadable_state_is_refused_with_a_remedy_and_traffic_goes_on(scene: Scene) -> None:
    scene.daemon.kill()
    state = scene.daemon.state_dir / "state.db"
    whole = {path: path.read_bytes() for path in scene.daemon.state_dir.glob("state.db*")}
    for path in whole:
        path.unlink()
    state.write_bytes(b"not a database" * 1000)
    with pytest.raises(
        LabError,
        match="damaged: file is not a database; ports with programs serve on, others are down; put the state back, or rebuild it",
    ):
        scene.daemon.start()
    assert scene.one.can_ping("10.77.0.2")
    state.unlink()
    for path, content in whole.items():
        path.write_bytes(content)
    scene.daemon.start()
    assert "attached" == scene.daemon.vf_of(scene.two.name)["state"]


def test_full_disk_refuses_a_request_and_changes_nothing(scene: Scene) -> None:
    """The state directory on a file system without room: the guest hears an error, the device stays."""
    small = scene.lab.folder / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small))
    try:
        scene.daemon.stop()
        shutil.copytree(scene.daemon.state_dir, small / "state")
        scene.daemon.state_dir = small / "state"
        scene.daemon.start()
        (small / "filler").write_bytes(_fill(small))
        before = scene.daemon.vf_of(scene.two.name)["effective_mac"]
        with RawMailbox(scene.two, "pf0vf1") as mailbox:
            answers = [mailbox.addresses(ADD_ETH, f"02:00:00:ab:00:{number:02x}", kind=2) for number in range(16)]
            assert -18 in answers
        refused = answers.index(-18)
        assert [f"02:00:00:ab:00:{number:02x}" for number in range(refused)] == scene.daemon.vf_of(scene.two.name)["filters"][
            :refused
        ]
        assert before == scene.daemon.vf_of(scene.two.name)["effective_mac"]
        done = scene.daemon.command("vf", "set", "pf0vf1", "--mac", "02:00:00:ab:00:99")
        assert 1 == done.returncode
        assert "nothing was changed; check free space" in done.stderr
        (small / "filler").unlink()
        scene.daemon.ask("vf", "set", "pf0vf1", "--mac", "02:00:00:ab:00:99")
    finally:
        scene.daemon.teardown()
        run("umount", str(small))


def _fill(folder: Path) -> bytes:
    """As many bytes as are free."""
    usage = shutil.disk_usage(folder)
    return bytes(usage.free)


def test_export_of_a_rebooted_host_is_what_it_was(scene: Scene) -> None:
    exported = json.dumps(scene.daemon.ask("export"), sort_keys=True)
    vfs = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    scene.daemon.kill()
    _reboot(scene, vfs)
    scene.daemon.start()
    assert exported == json.dumps(scene.daemon.ask("export"), sort_keys=True)


def test_what_is_set_of_a_guest_that_is_not_back_yet_holds_when_it_is(scene: Scene) -> None:
    """Its namespace, named by a path, comes later than the daemon after a boot."""
    late = scene.lab.namespace("late")
    place = scene.lab.folder / "late"
    place.symlink_to(NAMED / late.name)
    scene.daemon.ask("vf", "attach", "pf0vf5", "--guest", "late", "--netns", str(place), "--port-group", "lan")
    vfs = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    scene.daemon.kill()
    place.unlink()
    _reboot(scene, vfs)
    scene.daemon.start()
    assert "attached" == scene.daemon.ask("vf", "show", "pf0vf5")["state"]
    scene.daemon.ask("vf", "set", "pf0vf5", "--mac", "02:00:00:00:05:55", "--link-state", "disable")
    place.symlink_to(NAMED / late.name)
    wait_until(lambda: "eth0" in late.ip("link"), "the guest is back")
    assert "02:00:00:00:05:55" == late.mac()

    def flags() -> list[str]:
        return list(json.loads(late.ip("-j", "link", "show", "eth0"))[0]["flags"])

    wait_until(lambda: "UP" in flags(), "its interface is up")
    assert "NO-CARRIER" in flags()
