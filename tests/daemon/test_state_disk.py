"""The disk of the state: guests cannot fill it, and when others do, everything but changes goes on, and changes do again when
there is space. The state removed under the daemon, and a grant that was another guest's."""

import io
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, ADMIN_QUEUE, EXTRA, GET_STATS, OK, PARAM, RawMailbox

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until
from sriov_xdp.pf.errors import PfError
from sriov_xdp.pf.process.folders import Folders
from sriov_xdp.pf.process.teardown import teardown
from sriov_xdp.store.schema import SCHEMA_VERSION

SRIOV_XDP = str(Path(sys.executable).parent / "sriov-xdp")
NO_MEMORY = -18
SPACE_BYTES = 4 << 20
MAC_ONE, MAC_TWO = "02:00:00:00:01:01", "02:00:00:00:01:02"
NEW_MACS = ("02:00:00:ab:00:01", "02:00:00:ab:00:02")
GROUPS = [
    {"name": "open", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}}},
    {"name": "told", "vlan": "none", "policy": {"deny_reply": "nack"}},
]


class Scene:
    """A daemon with its state on a small file system of its own; guest one may change its MAC, guest two may not."""

    def __init__(self, lab: Lab, disk: Path) -> None:
        self.lab, self.disk = lab, disk
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "open", "mac": MAC_ONE},
            {"guest": self.two.name, "port_group": "told", "mac": MAC_TWO},
        ]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, GROUPS), "--state-dir", str(disk / "state"))
        self.daemon.state_dir = disk / "state"

    def state_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.daemon.state_dir.iterdir())

    def written_at(self) -> int:
        """When the state was written last."""
        return (self.daemon.state_dir / "state.db-wal").stat().st_mtime_ns

    def fill(self) -> None:
        with (self.disk / "filler").open("wb", buffering=0) as filler:
            for size in (65536, 4096, 1):
                _write_until_full(filler, bytes(size))

    def make_room(self) -> None:
        (self.disk / "filler").unlink()

    def request_refused(self, mailbox: RawMailbox) -> None:
        """Asks for changes until the disk refuses one; there is some room in files that are there."""
        for number in range(500):
            before = self.daemon.vf_of(self.one.name)["effective_mac"]
            if mailbox.addresses(ADD_ETH, NEW_MACS[number % 2]) == NO_MEMORY:
                assert before == self.daemon.vf_of(self.one.name)["effective_mac"]
                return
        pytest.fail("no request was refused on a full disk")


def _write_until_full(filler: io.FileIO, block: bytes) -> None:
    while True:
        try:
            filler.write(block)
        except OSError:
            return


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("sd") as lab:
        disk = lab.folder / "disk"
        disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={SPACE_BYTES}", "tmpfs", str(disk))
        try:
            yield Scene(lab, disk)
        finally:
            lab.first_daemon().teardown()
            run("umount", str(disk))


def told(records: list[dict]) -> int:
    """How many requests these records tell of, those in sums included."""
    sums = [re.match(r"suppressed: ([\d,]+) ", record["request"]) for record in records]
    return sum(int(found[1].replace(",", "")) if found else 1 for found in sums)


def test_a_guest_that_is_refused_without_end_does_not_fill_the_disk(scene: Scene) -> None:
    """Each of these was a transaction of 13 kB once, which is ten times the disk."""
    with RawMailbox(scene.one, "pf0vf0") as one, RawMailbox(scene.two, "pf0vf1") as two:
        for number in range(3000):
            assert PARAM == one.ask(ADD_ETH, b"")[0]
            if number % 9 == 8:  # never so many in a row that it is not heard any more
                assert OK == statistics(one)
        assert scene.state_bytes() < SPACE_BYTES // 2
        assert OK == one.addresses(ADD_ETH, NEW_MACS[0])
        assert ADMIN_QUEUE == two.addresses(ADD_ETH, NEW_MACS[1])
    assert "refused" == scene.daemon.ask("audit", "list", "--vf", "pf0vf1")[-1]["outcome"]
    records = wait_until(lambda: _with_sum(scene, "pf0vf0"), "the flood is summed up")
    assert {"invalid"} == {record["outcome"] for record in records if record["rule"] == "virtchnl"}
    assert 3000 == told([record for record in records if record["rule"] == "virtchnl" or "refused since" in record["request"]])
    assert (
        'sriovxdp_mailbox_requests_total{opcode="add_eth_addr",outcome="invalid",pf="pf0",vf="pf0vf0"} 3000.0'
        in scene.daemon.metrics()
    )


def test_what_a_guest_has_already_is_granted_without_a_word(scene: Scene) -> None:
    """Neither record nor transaction: each was a page of the disk once, as often as the guest liked."""
    with RawMailbox(scene.one, "pf0vf0") as one:
        assert OK == one.addresses(ADD_ETH, "01:00:5e:00:00:07", kind=EXTRA)
        before, written_at = scene.daemon.ask("audit", "list", "--vf", "pf0vf0"), scene.written_at()
        assert {OK} == {one.addresses(ADD_ETH, "01:00:5e:00:00:07", kind=EXTRA) for _time in range(200)}
    assert (before, written_at) == (scene.daemon.ask("audit", "list", "--vf", "pf0vf0"), scene.written_at())


def statistics(one: RawMailbox) -> int:
    """The status of a valid request that changes nothing."""
    return one.ask(GET_STATS, bytes([one.vsi, 0]) + bytes(10))[0]


def _with_sum(scene: Scene, vf: str) -> list[dict] | None:
    records = scene.daemon.ask("audit", "list", "--vf", vf, "--limit", "10000")
    return records if "suppressed" in records[-1]["request"] else None


def test_a_guest_that_changes_without_end_does_not_fill_the_disk_and_keeps_its_last_grant(scene: Scene) -> None:
    with RawMailbox(scene.one, "pf0vf0") as one:
        for number in range(2001):
            assert OK == one.addresses(ADD_ETH, NEW_MACS[number % 2])
        assert scene.state_bytes() < SPACE_BYTES // 2
        scene.daemon.kill()
    scene.daemon.start()
    assert NEW_MACS[0] == scene.daemon.vf_of(scene.one.name)["effective_mac"]


def test_on_a_full_disk_only_changes_are_refused_and_space_is_all_they_need(scene: Scene) -> None:
    with RawMailbox(scene.one, "pf0vf0") as one, RawMailbox(scene.two, "pf0vf1") as two:
        scene.fill()
        scene.request_refused(one)
        _everything_else_goes_on(scene, one, two)
        scene.request_refused(one)
        scene.make_room()
        for number in range(4):
            assert OK == one.addresses(ADD_ETH, NEW_MACS[number % 2])
        assert NEW_MACS[1] == scene.daemon.vf_of(scene.one.name)["effective_mac"]
    scene.daemon.ask("vf", "set", "pf0vf1", "--mac", "02:00:00:ab:00:99")
    wait_until(lambda: 300 <= told(_audit_of_two(scene)), "what was refused meanwhile is in the audit")
    assert 300 == told(_audit_of_two(scene))


def _audit_of_two(scene: Scene) -> list[dict]:
    records = scene.daemon.ask("audit", "list", "--vf", "pf0vf1", "--limit", "10000")
    return [record for record in records if record["outcome"] == "refused"]


def _everything_else_goes_on(scene: Scene, one: RawMailbox, two: RawMailbox) -> None:
    lines = scene.daemon.log().count("\n")
    for _request in range(300):
        assert ADMIN_QUEUE == two.addresses(ADD_ETH, NEW_MACS[1])
        assert PARAM == one.ask(ADD_ETH, b"")[0]
        assert OK == statistics(one)
    assert [scene.one.name, scene.two.name] == [vf["guest"] for vf in scene.daemon.ask("vf", "list")][:2]
    assert scene.daemon.ask("audit", "list", "--vf", "pf0vf0")
    assert 'vf="pf0vf1"' in scene.daemon.metrics()
    assert scene.daemon.log().count("\n") - lines < 300


def test_the_operator_too_is_refused_on_a_full_disk_and_hears_why(scene: Scene) -> None:
    scene.fill()
    answers = []
    while not answers or answers[-1].returncode == 0:
        assert len(answers) < 100
        answers.append(scene.daemon.command("vf", "set", "pf0vf0", "--mac", f"02:00:00:ab:00:{len(answers):02x}"))
    assert 1 == answers[-1].returncode
    assert "full; nothing was changed; check free space" in answers[-1].stderr
    expected = f"02:00:00:ab:00:{len(answers) - 2:02x}" if len(answers) > 1 else MAC_ONE
    assert expected == scene.daemon.vf_of(scene.one.name)["admin_mac"]
    scene.make_room()
    scene.daemon.ask("vf", "set", "pf0vf0", "--mac", "02:00:00:ab:00:99")


def test_a_stop_and_a_start_on_a_full_disk_keep_what_was_granted(scene: Scene) -> None:
    with RawMailbox(scene.one, "pf0vf0") as one:
        assert OK == one.addresses(ADD_ETH, NEW_MACS[0])
    scene.fill()
    scene.daemon.kill()
    scene.daemon.start()
    assert NEW_MACS[0] == scene.daemon.vf_of(scene.one.name)["effective_mac"]


def test_a_guest_that_went_and_a_port_that_was_renamed_meanwhile_keep_no_daemon_from_its_start(scene: Scene) -> None:
    """Both are written down when there is space again."""
    representor, renamed = scene.daemon.vf_of(scene.two.name)["representor"], scene.lab.device("renamed")
    scene.daemon.stop()  # no WAL stays, in which there would be room
    scene.daemon.start()
    scene.fill()
    scene.daemon.kill()
    run("ip", "link", "set", representor, "down")
    run("ip", "link", "set", representor, "name", renamed)
    scene.one.ip("link", "del", "eth0")
    scene.daemon.start()
    with RawMailbox(scene.two, "pf0vf1") as two:
        assert ADMIN_QUEUE == two.addresses(ADD_ETH, NEW_MACS[1])
    assert (
        "unplugged while the daemon was away; not written down yet"
        in scene.daemon.ask("vf", "show", "pf0vf0")["datapath"]["reason"]
    )
    scene.make_room()
    wait_until(lambda: scene.one.name not in [vf["guest"] for vf in scene.daemon.ask("vf", "list")], "its VF is free")
    run("ip", "link", "set", renamed, "txqueuelen", "999")
    wait_until(lambda: renamed == scene.daemon.vf_of(scene.two.name)["representor"], "the name is followed")


def test_a_guest_that_goes_while_the_disk_is_full_is_let_go_of_soon_after_there_is_space(scene: Scene) -> None:
    scene.daemon.stop()
    scene.daemon.start()
    scene.fill()
    scene.one.ip("link", "del", "eth0")
    wait_until(lambda: "not written down yet" in scene.daemon.ask("vf", "show", "pf0vf0")["datapath"]["reason"], "it is noticed")
    scene.make_room()
    wait_until(lambda: scene.one.name not in [vf["guest"] for vf in scene.daemon.ask("vf", "list")], "its VF is free")


def test_a_state_removed_under_the_daemon_stops_changes_and_nothing_else(scene: Scene) -> None:
    for path in scene.daemon.state_dir.glob("state.db*"):
        path.unlink()
    with RawMailbox(scene.one, "pf0vf0") as one, RawMailbox(scene.two, "pf0vf1") as two:
        assert NO_MEMORY == one.addresses(ADD_ETH, NEW_MACS[0])
        _everything_else_goes_on_without_state(scene, one, two)
    done = scene.daemon.command("vf", "set", "pf0vf0", "--mac", "02:00:00:ab:00:99")
    assert 1 == done.returncode
    assert "state.db was removed or replaced under the daemon" in done.stderr
    assert "sriov-xdp recover" in done.stderr
    doctor = scene.daemon.command("doctor")
    assert (1, True) == (doctor.returncode, "state.db was removed or replaced under the daemon" in doctor.stdout)
    assert [MAC_ONE, MAC_TWO] == [vf["effective_mac"] for vf in scene.daemon.ask("vf", "list")][:2]
    assert [] == list(scene.daemon.state_dir.glob("state.db*"))


def _everything_else_goes_on_without_state(scene: Scene, one: RawMailbox, two: RawMailbox) -> None:
    assert ADMIN_QUEUE == two.addresses(ADD_ETH, NEW_MACS[1])
    assert PARAM == one.ask(ADD_ETH, b"")[0]
    assert scene.daemon.ask("audit", "list")
    assert json.dumps(MAC_ONE) in json.dumps(scene.daemon.ask("export"))


def test_a_grant_of_another_generation_is_nobodys(scene: Scene) -> None:
    """As a daemon left it that was killed between two transactions, once."""
    with RawMailbox(scene.one, "pf0vf0") as one:
        assert OK == one.addresses(ADD_ETH, NEW_MACS[0])
    scene.daemon.kill()
    with closing(sqlite3.connect(scene.daemon.state_dir / "state.db")) as state, state:
        state.execute("UPDATE granted SET generation = generation + 1000")
    scene.daemon.start()
    assert MAC_ONE == scene.daemon.vf_of(scene.one.name)["effective_mac"]


def test_a_detached_guest_leaves_no_grant(scene: Scene) -> None:
    with RawMailbox(scene.one, "pf0vf0") as one:
        assert OK == one.addresses(ADD_ETH, NEW_MACS[0])
    scene.daemon.ask("vf", "detach", "pf0vf0")
    with closing(sqlite3.connect(scene.daemon.state_dir / "state.db")) as state:
        assert [] == state.execute("SELECT * FROM granted").fetchall()


def _without_daemon(scene: Scene, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = [
        "--state-dir",
        str(scene.daemon.state_dir),
        "--run-dir",
        str(scene.daemon.run_dir),
        "--bpffs",
        str(scene.daemon.bpffs),
    ]
    return subprocess.run([SRIOV_XDP, *arguments, *places], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("options", [(), ("--yes",)], ids=["unasked", "meant"])
def test_recover_on_a_full_disk_leaves_the_state_as_it_is(scene: Scene, options: tuple[str, ...]) -> None:
    """A disk that is full is no damage."""
    before = scene.daemon.ask("export")
    scene.daemon.stop()
    scene.fill()
    done = _without_daemon(scene, "recover", *options)
    assert (1, "") == (done.returncode, done.stdout), done.stderr
    assert "nothing was changed" in done.stderr
    assert [] == [path.name for path in scene.daemon.state_dir.iterdir() if re.search(r"\.\d{8}T", path.name)]
    scene.make_room()
    scene.daemon.start()
    assert before == scene.daemon.ask("export")


def test_teardown_on_a_full_disk_is_refused_whole_and_works_with_space(scene: Scene) -> None:
    guests = [scene.one, scene.two]
    before = [guest.ip("link", "show", "eth0") for guest in guests]
    scene.daemon.stop()
    scene.fill()
    done = _without_daemon(scene, "teardown")
    assert (1, "") == (done.returncode, done.stdout), done.stderr
    assert "check free space" in done.stderr
    assert before == [guest.ip("link", "show", "eth0") for guest in guests]
    scene.make_room()
    assert 0 == _without_daemon(scene, "teardown").returncode
    assert [] == [guest.name for guest in guests if "eth0" in guest.ip("-br", "link")]


def test_a_teardown_that_cannot_tell_the_state_in_the_end_says_what_it_removed(scene: Scene) -> None:
    """The disk is full by the time that the devices are gone."""
    before = [vf for vf in scene.daemon.ask("vf", "list") if vf["guest"]]
    scene.daemon.kill()
    folders = Folders(state_dir=scene.daemon.state_dir, run_dir=scene.daemon.run_dir, bpffs=scene.daemon.bpffs)
    removed = []

    def remove() -> None:
        for line in teardown(folders, purge=False):
            if not removed:
                scene.fill()
            removed.append(line)

    with pytest.raises(PfError, match="the devices are gone, and the state could not be told"):
        remove()
    assert sorted(f"representor {vf['representor']}" for vf in before) == sorted(removed)
    scene.make_room()
    done = _without_daemon(scene, "teardown")
    assert (0, True) == (done.returncode, "removed the intent from the state" in done.stdout), done.stderr


def test_recover_leaves_the_state_of_a_later_version_alone(scene: Scene) -> None:
    scene.daemon.stop()
    state = scene.daemon.state_dir / "state.db"
    with closing(sqlite3.connect(state)) as database:
        database.execute("PRAGMA user_version=99")
    done = _without_daemon(scene, "recover")
    assert (1, True) == (done.returncode, "written by another version" in done.stderr), done.stderr
    with closing(sqlite3.connect(state)) as database:
        assert 99 == database.execute("PRAGMA user_version").fetchone()[0]
        database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    scene.daemon.start()
