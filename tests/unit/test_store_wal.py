"""The WAL is as long as it may be, whoever writes, and recovers its length when what kept it long is gone."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from records import CHANGE, COMMAND, MAC_A, REFUSAL

from sriov_xdp.store.database import Change, Database
from sriov_xdp.store.errors import StoreError

LIMIT = 256 << 10
_ONE_TRANSACTION = 64 << 10


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path, wal_bytes=LIMIT)) as database:
        yield database


def wal_bytes(database: Database) -> int:
    return database.path.with_name("state.db-wal").stat().st_size


def longest_wal_while(database: Database, *, writes: int) -> int:
    longest = 0
    for number in range(writes):
        database.write_granted("pf0vf0", 7, f"grant {number}", CHANGE)
        longest = max(longest, wal_bytes(database))
    return longest


def test_the_wal_of_a_guest_that_writes_without_end_is_bounded(database: Database) -> None:
    """2,000 changes are 30 MB of WAL where nothing empties it."""
    assert longest_wal_while(database, writes=2000) <= LIMIT + _ONE_TRANSACTION
    assert {"pf0vf0": (7, "grant 1999")} == database.granted()


def test_the_wal_of_the_operator_is_bounded(database: Database) -> None:
    for number in range(200):
        database.write_intent([Change(kind="switch", name="vSwitch0", body=f"{number}" * 2000)], [COMMAND])
        assert wal_bytes(database) <= LIMIT + _ONE_TRANSACTION


def test_after_a_checkpoint_the_file_alone_is_the_state(database: Database, tmp_path: Path) -> None:
    database.write_intent([Change(kind="pf", name="pf0", body="{}")], [COMMAND])
    database.checkpoint()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "state.db").write_bytes(database.path.read_bytes())
    with closing(Database(tmp_path / "copy")) as copy:
        assert ({"pf0": "{}"}, [COMMAND]) == (copy.documents("pf"), copy.audit(None, 10))


def test_a_wal_that_somebody_reads_is_closed_to_guests_in_time_and_open_to_the_operator(database: Database) -> None:
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        with pytest.raises(StoreError, match="cannot be emptied while another process reads the file; nothing was changed"):
            longest_wal_while(database, writes=10_000)
        assert 16 * LIMIT < wal_bytes(database) <= 16 * LIMIT + _ONE_TRANSACTION
        with pytest.raises(StoreError, match="cannot be emptied"):
            database.write_record(REFUSAL)
        with pytest.raises(StoreError, match="checkpoint: another process reads the file"):
            database.checkpoint()
        database.write_intent([Change(kind="pf", name="pf0", body="{}")], [COMMAND])
        assert {"pf0": "{}"} == database.documents("pf")
        reader.execute("COMMIT")
    database.checkpoint()
    database.write_intent([], [])
    assert wal_bytes(database) <= LIMIT
    database.write_granted("pf0vf0", 7, MAC_A, CHANGE)
    assert longest_wal_while(database, writes=500) <= LIMIT + _ONE_TRANSACTION


def test_a_wal_that_cannot_be_emptied_is_not_tried_again_after_each_write(database: Database) -> None:
    """Each try may wait for the disk."""
    tries = []
    database._operator.set_trace_callback(lambda text: tries.append(text) if "wal_checkpoint" in text else None)
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        longest = longest_wal_while(database, writes=200)
    assert longest > 2 * LIMIT
    assert len(tries) <= 1 + longest // (LIMIT // 4)


def test_what_a_killed_daemon_left_in_the_wal_is_moved_at_the_start(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "killed")) as database:
        longest_wal_while(database, writes=20)
        (tmp_path / "state").mkdir()
        for name in ("state.db", "state.db-wal"):
            (tmp_path / "state" / name).write_bytes((tmp_path / "killed" / name).read_bytes())
    with closing(Database(tmp_path / "state", wal_bytes=LIMIT)) as database:
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "state.db").write_bytes(database.path.read_bytes())
    with closing(Database(tmp_path / "copy")) as copy:
        assert {"pf0vf0": (7, "grant 19")} == copy.granted()


def test_with_a_thread_for_it_no_write_waits_for_the_disk_while_the_wal_is_short(database: Database) -> None:
    """And where the thread does not keep up, the WAL is bounded all the same."""
    due, moved = [], []
    database.on_due = lambda: due.append(wal_bytes(database))
    database._operator.set_trace_callback(lambda text: moved.append(wal_bytes(database)) if "wal_checkpoint" in text else None)
    while not due:
        database.write_granted("pf0vf0", 7, "grant", CHANGE)
    assert [] == moved
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(database.move_wal_apart).result()
    database.wal_was_moved()
    database.write_granted("pf0vf0", 7, "another", CHANGE)
    assert wal_bytes(database) <= LIMIT
    assert longest_wal_while(database, writes=2000) <= 4 * LIMIT + _ONE_TRANSACTION
    assert all(size > 4 * LIMIT for size in moved)
    assert {"pf0vf0": (7, "grant 1999")} == database.granted()
