"""A state that an earlier version wrote becomes one of this version, whole or not at all."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from records import COMMAND, MAC_A, MAC_B, NOON, REFUSAL, numbered, on

from sriov_xdp.store.database import Change, Database
from sriov_xdp.store.errors import StateDamaged, StoreError
from sriov_xdp.store.retention import Retention

# As the first version made it, to the letter.
_SCHEMA_1 = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE intent(kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;
CREATE TABLE granted(vf TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE audit(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, vf TEXT NOT NULL, guest TEXT NOT NULL, peer_pid INTEGER NOT NULL,
    peer_uid INTEGER NOT NULL, request TEXT NOT NULL, rule TEXT NOT NULL, outcome TEXT NOT NULL, before TEXT NOT NULL,
    after TEXT NOT NULL);
CREATE INDEX audit_of_vf ON audit(vf, seq);
"""
_INSERT_1 = "INSERT INTO audit(time,vf,guest,peer_pid,peer_uid,request,rule,outcome,before,after) VALUES(?,?,?,?,?,?,?,?,?,?)"
GENERATION_7 = json.dumps({"guest": "vm1", "generation": 7})


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a daemon of the first version that was killed: what it said last is in the WAL only."""
    folder = tmp_path / "state"
    folder.mkdir()
    live = tmp_path / "live"
    live.mkdir()
    with closing(sqlite3.connect(live / "state.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.executescript(f"BEGIN; {_SCHEMA_1} PRAGMA user_version=1; COMMIT;")
        database.executemany("INSERT INTO meta VALUES(?,?)", [("instance", "abcd"), ("generation", "8")])
        database.execute("INSERT INTO intent VALUES('attachment', 'pf0vf0', ?)", (GENERATION_7,))
        database.execute("INSERT INTO intent VALUES('attachment', 'pf0vf2', 'not a document')")
        database.execute("INSERT INTO intent VALUES('attachment', 'pf0vf3', '{\"generation\": \"8\"}')")
        database.executemany("INSERT INTO granted VALUES(?,?)", [(f"pf0vf{number}", MAC_B) for number in range(4)])
        for number in range(30):
            for record in (numbered(REFUSAL, number), numbered(COMMAND, number), on(REFUSAL, "pf0vf1", "vm2")):
                head = (record.time, record.vf, record.guest, record.peer_pid, record.peer_uid, record.request)
                database.execute(_INSERT_1, (*head, record.rule, record.outcome.value, record.before, record.after))
        for path in live.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_everything_that_was_said_is_there(old: Path) -> None:
    with closing(Database(old)) as database:
        assert ("abcd", "8", 0) == (database.meta("instance"), database.meta("generation"), database.revision())
        assert GENERATION_7 == database.documents("attachment")["pf0vf0"]
        expected = [record for number in range(30) for record in (numbered(REFUSAL, number), numbered(COMMAND, number))]
        assert expected == database.audit("pf0vf0", 1000)
        assert 90 == len(database.audit(None, 1000))


def test_a_grant_belongs_to_the_attachment_that_is_there(old: Path) -> None:
    """One without an attachment outlived its guest; one whose attachment cannot be read is nobody's."""
    with closing(Database(old)) as database:
        assert {"pf0vf0": (7, MAC_B)} == database.granted()


def test_it_is_written_and_read_like_a_new_one_and_migrated_once(old: Path) -> None:
    with closing(Database(old)) as database:
        database.write_intent([Change(kind="pf", name="pf0", body="{}")], [COMMAND])
        database.write_granted("pf0vf0", 7, MAC_A, REFUSAL)
    with closing(Database(old)) as database:
        assert ({"pf0": "{}"}, 1) == (database.documents("pf"), database.revision())
        assert {"pf0vf0": (7, MAC_A)} == database.granted()
        assert [COMMAND, REFUSAL] == database.audit("pf0vf0", 2)
        assert 92 == len(database.audit(None, 1000))


def test_of_a_long_audit_the_newest_of_each_owner_are_kept(old: Path) -> None:
    few = Retention(rows_of_a_guest=10, rows_of_guests=15, rows_of_operator=5)
    with closing(Database(old, retention=few)) as database:
        kept = database.audit("pf0vf0", 1000)
        assert [numbered(COMMAND, number) for number in range(25, 30)] == [record for record in kept if not record.is_guests]
        of_vm1 = [record for record in kept if record.is_guests]
        assert [numbered(REFUSAL, number) for number in range(30)][-len(of_vm1) :] == of_vm1
        assert (15, {7, 8}) == (
            len(of_vm1) + len(database.audit("pf0vf1", 1000)),
            {len(of_vm1), len(database.audit("pf0vf1", 1000))},
        )


def test_a_migration_that_fails_leaves_the_old_state(old: Path) -> None:
    with closing(sqlite3.connect(old / "state.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE audit_1(in_the_way)")
    with pytest.raises(StoreError, match="audit_1") as caught:
        Database(old)
    assert not isinstance(caught.value, StateDamaged)
    with closing(sqlite3.connect(old / "state.db", isolation_level=None)) as other:
        assert 1 == other.execute("PRAGMA user_version").fetchone()[0]
        assert 4 == other.execute("SELECT count(*) FROM granted").fetchone()[0]
        assert 90 == other.execute("SELECT count(*) FROM audit").fetchone()[0]
        other.execute("DROP TABLE audit_1")
    with closing(Database(old)) as database:
        assert {"pf0vf0": (7, MAC_B)} == database.granted()


def test_a_migrated_audit_is_no_larger_than_the_limits(tmp_path: Path) -> None:
    """100,000 rows, as many as the first version kept, all of one guest."""
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.executescript(f"BEGIN; {_SCHEMA_1} PRAGMA user_version=1; COMMIT;")
        row = (NOON, "pf0vf0", "vm1", 1, 0, "opcode 99", "virtchnl", "refused", MAC_A, MAC_A)
        database.execute("BEGIN")
        database.executemany(_INSERT_1, [row] * 100_000)
        database.execute("COMMIT")
    with closing(Database(tmp_path)) as database:
        assert 2000 == len(database.audit(None, 1_000_000))
        database.write_record(REFUSAL)
        assert 2000 == len(database.audit(None, 1_000_000))
        assert (tmp_path / "state.db-wal").stat().st_size <= 4 << 20


_TO_4 = ("DROP INDEX audit_of_guest", "CREATE INDEX audit_of_vf ON audit(vf, by_guest)")
_TO_3 = (*_TO_4, "DROP INDEX audit_of_port", "ALTER TABLE audit DROP COLUMN port", "ALTER TABLE audit DROP COLUMN asked")


@pytest.mark.parametrize(
    ("version", "undone"),
    [(2, (*_TO_3, "ALTER TABLE audit DROP COLUMN login_uid")), (3, _TO_3), (4, _TO_4)],
    ids=["second", "third", "fourth"],
)
def test_what_an_earlier_version_wrote_is_there(tmp_path: Path, version: int, undone: tuple[str, ...]) -> None:
    """The second did not know who had logged in, the third knew no ports, the fourth kept a VF's guests together."""
    with closing(Database(tmp_path)) as database:
        database.write_records([COMMAND, REFUSAL])
        database.checkpoint()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        for statement in undone:
            other.execute(statement)
        other.execute(f"PRAGMA user_version={version}")
    with closing(Database(tmp_path)) as database:
        by_admin = replace(COMMAND, login_uid=1000, port="vSwitch0/3", asked="{}")
        database.write_records([by_admin])
        assert [COMMAND, REFUSAL, by_admin] == database.audit(None, 10)
        assert [by_admin] == database.audit(None, 10, "vSwitch0/3")
