"""Power is lost: whatever the disk made of what was not acknowledged yet, all that was acknowledged is there, and nothing half.
And a process that is started meanwhile holds no part of the state."""

import asyncio
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from records import COMMAND, MAC_A, MAC_B, REFUSAL, numbered

from sriov_xdp.api import reading
from sriov_xdp.datapath import pins
from sriov_xdp.datapath.errors import CompileError
from sriov_xdp.store.database import Change, Database
from sriov_xdp.store.errors import StoreError

WRITES, CUTS = 6, 5
PAGE_BYTES = 4096
_FULL = 2  # PRAGMA synchronous


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "state")) as database:
        yield database


@pytest.fixture
def chance() -> random.Random:
    return random.Random(7)  # noqa: S311  # of where a disk stopped


def write(database: Database, number: int) -> None:
    """A change of two documents, with its record."""
    changes = [Change(kind="pf", name=f"pf{which}", body=f"{number} {'x' * 3000 * which}") for which in (0, 1)]
    database.write_intent(changes, [numbered(COMMAND, number)])


def files(database: Database) -> tuple[bytes, bytes]:
    return database.path.read_bytes(), database.path.with_name("state.db-wal").read_bytes()


def seen_after(folder: Path, state: bytes, wal: bytes) -> int:
    """Which write was the last by what a start finds, with all of it there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "state.db").write_bytes(state)
    (folder / "state.db-wal").write_bytes(wal)
    with closing(Database(folder)) as found:
        documents, (record,) = found.documents("pf"), found.audit(None, 1)
    (number,) = {body.split()[0] for body in documents.values()}
    assert (["pf0", "pf1"], f"set VF {number}") == (list(documents), record.request)
    return int(number)


def test_the_operators_word_waits_for_the_disk(database: Database) -> None:
    """On which the others here rest."""
    assert _FULL == database._operator.execute("PRAGMA synchronous").fetchone()[0]


@pytest.mark.parametrize("rest", ["cut off", "zeros", "noise"])
def test_in_the_middle_of_a_write(database: Database, tmp_path: Path, chance: random.Random, rest: str) -> None:
    write(database, 0)
    for number in range(1, WRITES):
        (state, synced), _former = files(database), write(database, number)
        wal = files(database)[1]
        for cut in [len(synced), *(chance.randrange(len(synced), len(wal)) for _time in range(CUTS))]:
            lost = len(wal) - cut
            tail = {"cut off": b"", "zeros": bytes(lost), "noise": chance.randbytes(lost)}[rest]
            left = wal[:cut] + tail  # whole, where the end of the last page is zeros anyway
            assert (number if left == wal else number - 1) == seen_after(tmp_path / "copy", state, left)
        assert number == seen_after(tmp_path / "copy", state, wal)


def test_in_the_middle_of_moving_the_wal(database: Database, tmp_path: Path, chance: random.Random) -> None:
    """Any of its pages may have reached the file."""
    for number in range(WRITES):
        write(database, number)
    before, wal = files(database)
    database.checkpoint()
    after, _wal = files(database)
    assert before != after
    for _time in range(CUTS):
        pages = [chance.choice([before, after])[at : at + PAGE_BYTES] for at in range(0, max(len(before), len(after)), PAGE_BYTES)]
        assert WRITES - 1 == seen_after(tmp_path / "copy", b"".join(pages), wal)
    write(database, WRITES)
    state, wal = files(database)
    assert WRITES == seen_after(tmp_path / "copy", state, wal)


def test_at_any_moment_as_a_copy_shows(database: Database, tmp_path: Path) -> None:
    """Made while another thread writes without end."""
    acknowledged, is_over = [-1], threading.Event()

    def write_on() -> None:
        with closing(Database(tmp_path / "live", wal_bytes=1 << 30)) as live:
            while not is_over.is_set():
                write(live, acknowledged[0] + 1)
                acknowledged[0] += 1

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        while acknowledged[0] < 0:
            assert writer.is_alive()
        for _time in range(CUTS):
            before = acknowledged[0]
            state, wal = ((tmp_path / "live" / name).read_bytes() for name in ("state.db", "state.db-wal"))
            assert before <= seen_after(tmp_path / "copy", state, wal) <= acknowledged[0] + 1
    finally:
        is_over.set()
        writer.join()


def test_a_file_that_cannot_be_written_any_more_is_read_on_and_needs_no_restart(database: Database) -> None:
    write(database, 0)
    database.write_granted("pf0vf0", 7, MAC_A, None)
    set_read_only(database, is_read_only=True)
    for refused in (
        lambda: write(database, 1),
        lambda: database.write_granted("pf0vf0", 7, MAC_B, REFUSAL),
        lambda: database.write_record(REFUSAL),
        database.forget_intent,
    ):
        with pytest.raises(StoreError, match=r"readonly database; nothing was changed; check free space and permissions"):
            refused()
    assert ("0", {"pf0vf0": (7, MAC_A)}) == (database.documents("pf")["pf0"].strip(), database.granted())
    assert [numbered(COMMAND, 0)] == database.audit(None, 10)
    set_read_only(database, is_read_only=False)
    write(database, 1)
    assert "1" == database.documents("pf")["pf0"].strip()


def set_read_only(database: Database, *, is_read_only: bool) -> None:
    """As SQLite finds a file system that became read-only."""
    for connection in (database._operator, database._guest):
        connection.execute(f"PRAGMA query_only={int(is_read_only)}")


def compile_programs(folder: Path) -> None:
    with pytest.raises(CompileError, match="loader: ended with 1"):
        pins._run_loader(folder / "build", None)


def read_a_configuration(folder: Path) -> None:
    unusable = asyncio.run(reading._read_in_child(b"{}"))
    assert isinstance(unusable, reading.Unusable)
    assert "its reader ended with 1" in unusable.text


@pytest.mark.parametrize("start", [compile_programs, read_a_configuration])
def test_a_process_that_is_started_holds_nothing_of_the_state(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[[Path], None]
) -> None:
    """The end of a descriptor of a database ends the locks of all others, and two processes do not share one."""
    write(database, 0)
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nfor fd in /proc/$$/fd/*; do readlink "$fd"; done > {tmp_path}/held\nexit 1\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    start(tmp_path)
    held = (tmp_path / "held").read_text().splitlines()
    assert 3 <= len(held)
    assert [] == [path for path in held if path.startswith(str(tmp_path / "state"))]
    write(database, 1)
    assert "ok" == database._operator.execute("PRAGMA integrity_check").fetchone()[0]
