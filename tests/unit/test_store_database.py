"""What is stored is there again, together or not at all, and a fault passes when its cause does."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from records import CHANGE, COMMAND, MAC_A, MAC_B, REFUSAL, numbered, on

from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.store.database import Change, Database
from sriov_xdp.store.errors import StateDamaged, StoreError
from sriov_xdp.store.schema import SCHEMA_VERSION

ATTACHED = Change(kind="attachment", name="pf0vf0", body='{"generation": 7}')
DETACHED = Change(kind="attachment", name="pf0vf0", body=None)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path)) as database:
        yield database


def beside(database: Database) -> sqlite3.Connection:
    """Somebody else who opens the file."""
    return sqlite3.connect(database.path, isolation_level=None)


# The audit, in pages.


def test_records_are_read_some_at_a_time_and_all_of_them(database: Database) -> None:
    """However many one guest has, those of another are among them."""
    many = [numbered(REFUSAL, number) for number in range(250)]
    database.write_intent([], [on(REFUSAL, "pf0vf7"), *many])
    for pages, records in (
        (list(database.all_audit_pages()), [on(REFUSAL, "pf0vf7"), *many]),
        (list(database.audit_pages(None, 120)), many[-120:]),
        (list(database.audit_pages("pf0vf7", 120)), [on(REFUSAL, "pf0vf7")]),
    ):
        assert records == [record for page in pages for record in page]
        assert all(len(page) <= 50 for page in pages)


# Intent and grants.


def test_documents_meta_and_records_are_there_again_after_a_close(tmp_path: Path) -> None:
    with closing(Database(tmp_path)) as database:
        database.write_intent([ATTACHED, Change(kind="pf", name="pf0", body="{}")], [COMMAND], {"instance": "abcd"})
    with closing(Database(tmp_path)) as database:
        assert {"pf0vf0": '{"generation": 7}'} == database.documents("attachment")
        assert {"pf0": "{}"} == database.documents("pf")
        assert "abcd" == database.meta("instance")
        assert [COMMAND] == database.audit(None, 10)


def test_a_grant_has_the_generation_of_its_guest(database: Database) -> None:
    database.write_granted("pf0vf0", 7, MAC_B, CHANGE)
    database.write_granted("pf0vf1", 8, MAC_A, None)
    assert {"pf0vf0": (7, MAC_B), "pf0vf1": (8, MAC_A)} == database.granted()
    database.write_granted("pf0vf0", 9, MAC_A, None)
    database.write_granted("pf0vf1", 8, None, None)
    assert {"pf0vf0": (9, MAC_A)} == database.granted()
    assert [CHANGE] == database.audit("pf0vf0", 10)


def test_attachment_and_grant_go_in_one_transaction(database: Database) -> None:
    database.write_intent([ATTACHED], [])
    for vf in ("pf0vf0", "pf0vf1"):
        database.write_granted(vf, 7, MAC_B, None)
    database.write_intent([DETACHED], [COMMAND], grants={"pf0vf0": None})
    assert ({}, {"pf0vf1": (7, MAC_B)}) == (database.documents("attachment"), database.granted())


def test_a_grant_comes_back_with_the_attachment_that_it_belongs_to(database: Database) -> None:
    database.write_intent([ATTACHED], [COMMAND], grants={"pf0vf0": (7, MAC_B), "pf0vf1": None})
    assert ({"pf0vf0": '{"generation": 7}'}, {"pf0vf0": (7, MAC_B)}) == (database.documents("attachment"), database.granted())


def test_neither_attachment_nor_grant_goes_when_one_cannot(database: Database) -> None:
    def records() -> Iterator[AuditRecord]:
        yield COMMAND
        raise KeyboardInterrupt

    database.write_intent([ATTACHED], [])
    database.write_granted("pf0vf0", 7, MAC_B, None)
    with pytest.raises(KeyboardInterrupt):
        database.write_intent([DETACHED], records(), grants={"pf0vf0": None})
    assert {"pf0vf0": '{"generation": 7}'} == database.documents("attachment")
    assert {"pf0vf0": (7, MAC_B)} == database.granted()
    assert ([], 1) == (database.audit(None, 10), database.revision())


def test_grants_are_forgotten_after_a_reboot(database: Database) -> None:
    database.write_granted("pf0vf0", 7, MAC_B, None)
    database.forget_granted()
    assert {} == database.granted()


_WRITER = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[2])
from records import CHANGE, COMMAND
from sriov_xdp.store.database import Change, Database
database = Database(pathlib.Path(sys.argv[1]))
database.write_intent([Change(kind="attachment", name="pf0vf0", body="{}")], [COMMAND])
for number in range(1000):
    database.write_granted("pf0vf0", 7, f"grant {number}", CHANGE if number == 999 else None)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_last_grant_survives_kill_9(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path), str(Path(__file__).parent)]
    assert -signal.SIGKILL == subprocess.run(command, check=False).returncode
    with closing(Database(tmp_path)) as database:
        assert {"pf0vf0": (7, "grant 999")} == database.granted()
        assert [COMMAND, CHANGE] == database.audit(None, 10)


# The audit, as it is read.


def test_records_of_a_vf_come_in_their_order_whoever_caused_them(database: Database) -> None:
    written = [numbered(REFUSAL, 0), numbered(COMMAND, 1), numbered(REFUSAL, 2), numbered(CHANGE, 3), numbered(COMMAND, 4)]
    for record in written:
        database.write_record(on(REFUSAL, "pf0vf1"))
        database.write_intent([], [record])
    assert written == database.audit("pf0vf0", 10)
    assert written[-2:] == database.audit("pf0vf0", 2)
    assert [on(REFUSAL, "pf0vf1"), written[-1]] == database.audit(None, 2)


def test_texts_that_a_guest_or_an_operator_made_long_are_cut(database: Database) -> None:
    for record, most in ((REFUSAL, 256), (COMMAND, 4096)):
        long = replace(record, request="x" * 5000)
        database.write_record(long)
        expected = f"{'x' * most}… ({5000 - most} characters more)"
        assert expected == database.audit("pf0vf0", 1)[0].request


# The revision.


def test_revision_counts_what_the_operator_said(tmp_path: Path) -> None:
    with closing(Database(tmp_path)) as database:
        assert 0 == database.revision()
        database.write_intent([ATTACHED], [])
        database.write_granted("pf0vf0", 7, MAC_B, CHANGE)
        database.write_intent([], [], {"configuration": "1234"})
        assert 2 == database.revision()
    with closing(Database(tmp_path)) as database:
        assert 2 == database.revision()


def test_revision_tells_that_the_wal_was_lost(tmp_path: Path) -> None:
    """SQLite itself shows the older state without a word."""
    with closing(Database(tmp_path / "state")) as database:
        database.write_intent([ATTACHED], [])
        database.checkpoint()
        database.write_intent([DETACHED], [])
        acknowledged = database.revision()
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "state.db").write_bytes(database.path.read_bytes())
    with closing(Database(tmp_path / "copy")) as database:
        assert {"pf0vf0": '{"generation": 7}'} == database.documents("attachment")
        assert (2, 1) == (acknowledged, database.revision())


# Faults that pass.


def fill(database: Database) -> None:
    """No page more than there are, for both connections, as on a disk without space."""
    for connection in (database._operator, database._guest):
        connection.execute("PRAGMA max_page_count=1")


def make_room(database: Database) -> None:
    for connection in (database._operator, database._guest):
        connection.execute("PRAGMA max_page_count=1000000")


def test_nothing_changes_when_there_is_no_room_and_everything_works_when_there_is(database: Database) -> None:
    long = "x" * 100_000
    database.write_granted("pf0vf0", 7, MAC_A, REFUSAL)
    fill(database)
    for _attempt in range(3):
        with pytest.raises(StoreError, match="full; nothing was changed; check free space"):
            database.write_granted("pf0vf0", 7, long, CHANGE)
        with pytest.raises(StoreError, match="full; nothing was changed; check free space"):
            database.write_intent([Change(kind="pf", name="pf0", body=long)], [COMMAND])
    assert ({"pf0vf0": (7, MAC_A)}, {}, [REFUSAL]) == (database.granted(), database.documents("pf"), database.audit(None, 10))
    make_room(database)
    database.write_granted("pf0vf0", 7, long, CHANGE)
    database.write_intent([Change(kind="pf", name="pf0", body=long)], [COMMAND])
    assert ({"pf0vf0": (7, long)}, {"pf0": long}) == (database.granted(), database.documents("pf"))
    assert [REFUSAL, CHANGE, COMMAND] == database.audit(None, 10)


def test_a_transaction_that_could_not_be_rolled_back_does_not_stop_all_that_follow(database: Database) -> None:
    for connection in (database._operator, database._guest):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO meta VALUES('half', 'done')")
        database.write_granted("pf0vf0", 7, MAC_B, None) if connection is database._guest else database.write_intent([ATTACHED], [])
    assert (None, {"pf0vf0": (7, MAC_B)}) == (database.meta("half"), database.granted())


def test_a_file_that_another_process_has_locked_is_a_fault_that_passes(database: Database) -> None:
    with closing(beside(database)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked; nothing was changed") as caught:
            database.write_record(REFUSAL)
        assert not isinstance(caught.value, StateDamaged)
        other.execute("ROLLBACK")
    database.write_record(REFUSAL)
    assert [REFUSAL] == database.audit(None, 10)


# Files that are not ours any more.


def refuses_all_changes(database: Database, observed: str) -> None:
    for change in (
        lambda: database.write_intent([ATTACHED], [COMMAND]),
        lambda: database.write_granted("pf0vf0", 7, MAC_B, CHANGE),
        lambda: database.write_record(REFUSAL),
        database.forget_granted,
        database.checkpoint,
    ):
        with pytest.raises(StateDamaged, match=f"{observed} was removed or replaced under the daemon.*recover"):
            change()


@pytest.mark.parametrize("name", ["state.db", "state.db-wal"])
def test_after_a_file_was_removed_nothing_is_changed_and_everything_is_read(tmp_path: Path, name: str) -> None:
    with closing(Database(tmp_path)) as database:
        database.write_intent([ATTACHED], [COMMAND])
        database.write_granted("pf0vf0", 7, MAC_A, CHANGE)
        (tmp_path / name).unlink()
        refuses_all_changes(database, name)
        assert {"pf0vf0": '{"generation": 7}'} == database.documents("attachment")
        assert ({"pf0vf0": (7, MAC_A)}, [COMMAND, CHANGE]) == (database.granted(), database.audit(None, 10))
        assert not (tmp_path / name).exists()


def test_a_state_put_in_the_place_of_ours_is_not_touched(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "backup")) as backup:
        backup.write_intent([ATTACHED], [], {"instance": "of the backup"})
    content = (tmp_path / "backup" / "state.db").read_bytes()
    with closing(Database(tmp_path)) as database:
        database.write_intent([], [], {"instance": "ours"})
        (tmp_path / "backup" / "state.db").rename(tmp_path / "state.db")
        refuses_all_changes(database, "state.db")
        assert "ours" == database.meta("instance")
    assert content == (tmp_path / "state.db").read_bytes()


# Damage.


def damage(path: Path, text: bytes) -> None:
    """Writes over the page that holds a text, its head included."""
    content = bytearray(path.read_bytes())
    page = content.index(text) // 4096
    content[page * 4096 : page * 4096 + 512] = b"\xa5" * 512
    path.write_bytes(content)


def test_a_damaged_page_is_told_with_file_observation_and_remedy(tmp_path: Path) -> None:
    with closing(Database(tmp_path)) as database:
        database.write_intent([ATTACHED], [COMMAND], {"instance": "abcd"})
    damage(tmp_path / "state.db", b'{"generation": 7}')
    with pytest.raises(StateDamaged) as caught:
        Database(tmp_path)
    assert tmp_path / "state.db" == caught.value.file
    assert "damaged" in caught.value.observed
    assert f"{caught.value.file}: {caught.value.observed}; {caught.value.remedy}" == str(caught.value)
    assert "sriov-xdp recover" in caught.value.remedy


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"\0" * 4096])
def test_something_else_in_the_place_of_a_state_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.db").write_bytes(content)
    with pytest.raises(StateDamaged, match=r"state\.db: damaged: .*recover"):
        Database(tmp_path)


def test_a_page_damaged_under_the_daemon_is_no_absence(tmp_path: Path) -> None:
    with closing(Database(tmp_path)) as database:
        database.write_intent([ATTACHED], [])
        database.checkpoint()
        damage(database.path, b'{"generation": 7}')
        database._operator.execute("PRAGMA shrink_memory")
        with pytest.raises(StateDamaged, match=r"state\.db: damaged"):
            database.documents("attachment")


def test_one_damaged_row_costs_one_object(database: Database) -> None:
    database.write_intent([ATTACHED], [COMMAND, on(COMMAND, "pf0vf1")])
    database.write_granted("pf0vf0", 7, MAC_A, None)
    with closing(beside(database)) as other:
        other.execute("INSERT INTO intent VALUES('attachment', 'pf0vf1', CAST(x'ff7b' AS TEXT))")
        other.execute("INSERT INTO intent VALUES('attachment', 'pf0vf2', x'00')")
        other.execute("INSERT INTO granted VALUES('pf0vf1', 'seven', '{}')")
        other.execute("UPDATE audit SET outcome = 'unheard of' WHERE vf = 'pf0vf0'")
        other.execute("UPDATE meta SET value = 'many' WHERE key = 'revision'")
    assert {"pf0vf0": '{"generation": 7}', "pf0vf1": "\ufffd{", "pf0vf2": "b'\\x00'"} == database.documents("attachment")
    assert {"pf0vf0": (7, MAC_A)} == database.granted()
    assert [on(COMMAND, "pf0vf1")] == database.audit(None, 10)
    assert 0 == database.revision()
    database.write_intent([], [])
    assert 1 == database.revision()


def test_a_state_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    with closing(Database(tmp_path)) as database, closing(beside(database)) as other:
        other.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match=f"schema 99, this is {SCHEMA_VERSION}") as caught:
        Database(tmp_path)
    assert not isinstance(caught.value, StateDamaged)
