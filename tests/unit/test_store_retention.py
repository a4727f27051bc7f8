"""Audit rows are capped by owner: a guest pushes out its own, a few at a time, and the file does not grow."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from records import COMMAND, REFUSAL, numbered, on

from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError
from sriov_xdp.store.retention import Retention

FEW = Retention(rows_of_a_guest=10, rows_of_guests=25, rows_of_operator=8)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path, retention=FEW)) as database:
        yield database


def write(database: Database, record: AuditRecord, numbers: Iterable[int]) -> list[AuditRecord]:
    written = [numbered(record, number) for number in numbers]
    for one in written:
        database.write_record(one)
    return written


def rows(database: Database) -> int:
    with closing(sqlite3.connect(database.path)) as other:
        return int(other.execute("SELECT count(*) FROM audit").fetchone()[0])


def test_a_guest_pushes_out_its_own_oldest_records_only(database: Database) -> None:
    of_another = write(database, on(REFUSAL, "pf0vf1", "vm2"), range(5))
    of_operator = write(database, COMMAND, range(8))
    newest = write(database, REFUSAL, range(500))[-10:]
    assert of_another == database.audit("pf0vf1", 100)
    assert [*of_operator, *newest] == database.audit("pf0vf0", 100)


def test_the_next_guest_of_a_vf_pushes_out_nothing_of_the_one_before(database: Database) -> None:
    of_the_former = write(database, on(REFUSAL, "pf0vf0", "vm2"), range(5))
    newest = write(database, REFUSAL, range(500))[-10:]
    assert [*of_the_former, *newest] == database.audit("pf0vf0", 100)


def test_the_operator_pushes_out_the_operators(database: Database) -> None:
    of_guest = write(database, REFUSAL, range(10))
    newest = write(database, COMMAND, range(100))[-8:]
    assert [*of_guest, *newest] == database.audit("pf0vf0", 100)


def test_when_all_guests_have_too_many_the_one_with_the_most_gives_way(database: Database) -> None:
    few = write(database, on(REFUSAL, "pf0vf1"), range(4))
    for vf in ("pf0vf2", "pf0vf3"):
        write(database, on(REFUSAL, vf), range(10))
    assert 24 == rows(database)
    write(database, on(REFUSAL, "pf0vf4"), range(50))
    assert 25 == rows(database)
    assert few == database.audit("pf0vf1", 100)
    assert [7, 7, 7] == [len(database.audit(vf, 100)) for vf in ("pf0vf2", "pf0vf3", "pf0vf4")]
    write(database, REFUSAL, range(3))
    assert few == database.audit("pf0vf1", 100)
    assert 3 == len(database.audit("pf0vf0", 100))


def test_the_limits_hold_over_a_restart(tmp_path: Path) -> None:
    for _start in range(3):
        with closing(Database(tmp_path, retention=FEW)) as database:
            write(database, REFUSAL, range(15))
            write(database, COMMAND, range(15))
            assert 18 == rows(database)


def test_what_all_guests_have_is_known_after_a_restart(tmp_path: Path) -> None:
    for number in range(6):
        with closing(Database(tmp_path, retention=FEW)) as database:
            write(database, on(REFUSAL, f"pf0vf{number}"), range(10))
            assert min(25, 10 * (number + 1)) == rows(database)


def test_a_lowered_limit_is_reached_step_by_step(tmp_path: Path) -> None:
    with closing(Database(tmp_path)) as database:
        database.write_records(numbered(REFUSAL, number) for number in range(1000))
    with closing(Database(tmp_path, retention=FEW)) as database:
        counts = []
        for number in range(300):
            write(database, REFUSAL, [number])
            counts.append(rows(database))
    assert ([996, 992, 988], 10) == (counts[:3], counts[-1])
    assert all(before - after <= 4 for before, after in pairwise(counts))


def test_a_batch_is_as_bounded_as_single_records(database: Database) -> None:
    database.write_records([numbered(REFUSAL, number) for number in range(100)])
    assert [numbered(REFUSAL, number) for number in range(90, 100)] == database.audit("pf0vf0", 100)


def test_what_was_rolled_back_does_not_count(database: Database) -> None:
    def records() -> Iterator[AuditRecord]:
        for number in range(5):
            yield numbered(REFUSAL, number)
        database._guest.execute("INSERT INTO no_such_table VALUES(1)")

    kept = write(database, REFUSAL, range(3))
    for _attempt in range(50):
        with pytest.raises(StoreError, match="no such table"):
            database.write_records(records())
    assert kept == database.audit("pf0vf0", 100)
    last = write(database, REFUSAL, [100])
    assert [*kept, *last] == database.audit("pf0vf0", 100)


def test_pushing_out_is_a_search_in_an_index_and_not_a_scan(database: Database) -> None:
    statements: list[str] = []
    database._guest.set_trace_callback(statements.append)
    write(database, REFUSAL, range(11))
    write(database, COMMAND, range(9))
    plans = {}
    for index in ("audit_of_guest", "audit_of_operator"):
        (statement,) = (text for text in statements if text.startswith("DELETE") and index in text)
        plan = database._operator.execute(f"EXPLAIN QUERY PLAN {statement}")
        plans[index] = [step[3].replace(" COVERING", "") for step in plan]  # said of which differs between SQLites
    assert {
        "audit_of_guest": [
            "SEARCH audit USING INTEGER PRIMARY KEY (rowid=?)",
            "LIST SUBQUERY 1",
            "SEARCH audit USING INDEX audit_of_guest (vf=? AND by_guest=? AND guest=?)",
        ],
        "audit_of_operator": [
            "SEARCH audit USING INTEGER PRIMARY KEY (rowid=?)",
            "LIST SUBQUERY 1",
            "SCAN audit USING INDEX audit_of_operator",
        ],
    } == plans
