"""A look at a state directory tells absent, empty, usable and damaged apart, and leaves every byte as it is."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from records import COMMAND, REFUSAL, numbered

from sriov_xdp.store.database import Change, Database
from sriov_xdp.store.presence import Presence, presence

ATTACHED = Change(kind="attachment", name="pf0vf0", body='{"generation": 7}')


def a_state(folder: Path, *, is_killed: bool = False) -> Path:
    """Of a daemon that ended, or that was killed: then the WAL is there."""
    with closing(Database(folder / "live")) as database:
        database.write_records([numbered(REFUSAL, number) for number in range(100)])
        database.checkpoint()
        database.write_intent([ATTACHED], [COMMAND], {"instance": "abcd"})
        if is_killed:
            copy(folder / "live", folder / "state")
    if not is_killed:
        copy(folder / "live", folder / "state")
    return folder / "state"


def copy(source: Path, target: Path) -> None:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, inode and time of each file."""
    return {path.name: (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def looks(folder: Path) -> Presence:
    """Looks, and sees that nothing changed by it."""
    before = (folder.stat().st_mtime_ns, snapshot(folder))
    found = presence(folder)
    assert before == (folder.stat().st_mtime_ns, snapshot(folder))
    return found


def test_no_folder_and_no_file_are_absence(tmp_path: Path) -> None:
    assert Presence.ABSENT is presence(tmp_path / "state")
    assert not (tmp_path / "state").exists()
    assert Presence.ABSENT is looks(tmp_path)
    (tmp_path / "lock").touch()
    (tmp_path / "state.db-wal").write_bytes(b"left over")
    assert Presence.ABSENT is looks(tmp_path)


def test_a_state_is_present_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "stopped").mkdir()
    (tmp_path / "killed").mkdir()
    assert Presence.PRESENT is looks(a_state(tmp_path / "stopped"))
    killed = a_state(tmp_path / "killed", is_killed=True)
    assert {"state.db", "state.db-wal", "state.db-shm"} == set(snapshot(killed))
    assert Presence.PRESENT is looks(killed)


def test_a_file_in_which_nothing_was_said_is_empty(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    assert Presence.EMPTY is looks(tmp_path)
    with closing(Database(tmp_path)):
        pass
    assert Presence.EMPTY is looks(tmp_path)


def test_a_state_cut_to_nothing_is_empty_and_keeps_its_wal(tmp_path: Path) -> None:
    """SQLite would delete the WAL at the first look."""
    folder = a_state(tmp_path, is_killed=True)
    os.truncate(folder / "state.db", 0)
    assert Presence.EMPTY is looks(folder)
    assert (folder / "state.db-wal").stat().st_size > 4096


def test_a_first_start_that_was_killed_at_once_left_an_empty_state(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "live")):
        copy(tmp_path / "live", tmp_path / "state")
    assert Presence.EMPTY is looks(tmp_path / "state")


def test_intent_without_an_instance_is_damage(tmp_path: Path) -> None:
    folder = a_state(tmp_path)
    with closing(sqlite3.connect(folder / "state.db")) as other, other:
        other.execute("DELETE FROM meta WHERE key = 'instance'")
    (folder / "state.db-wal").unlink(missing_ok=True)
    assert Presence.DAMAGED is looks(folder)


def _other_bytes(state: Path) -> None:
    state.write_bytes(b"not a database" * 1000)


def _half(state: Path) -> None:
    os.truncate(state, state.stat().st_size // 2)


def _less_than_a_page(state: Path) -> None:
    os.truncate(state, 100)


def _page_over_written(state: Path) -> None:
    content = bytearray(state.read_bytes())
    at = content.index(b'{"generation": 7}') // 4096 * 4096
    content[at : at + 512] = b"\xa5" * 512
    state.write_bytes(content)


def _tables_gone(state: Path) -> None:
    with closing(sqlite3.connect(state)) as other, other:
        other.execute("DROP TABLE meta")


def _a_folder(state: Path) -> None:
    state.unlink()
    state.mkdir()


@pytest.mark.parametrize("harm", [_other_bytes, _half, _less_than_a_page, _page_over_written, _tables_gone])
def test_what_cannot_be_read_is_damage(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = a_state(tmp_path)
    harm(folder / "state.db")
    assert Presence.DAMAGED is looks(folder)


def test_a_folder_in_the_place_of_the_file_is_damage(tmp_path: Path) -> None:
    folder = a_state(tmp_path)
    _a_folder(folder / "state.db")
    assert Presence.DAMAGED is presence(folder)


@pytest.mark.parametrize("harm", [_other_bytes, _half, _less_than_a_page])
def test_what_cannot_be_read_is_damage_after_a_kill_too(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """A WAL mends a file as far as it has its pages, and no farther."""
    folder = a_state(tmp_path, is_killed=True)
    harm(folder / "state.db")
    assert Presence.DAMAGED is looks(folder)


def test_a_lost_wal_is_not_seen_here(tmp_path: Path) -> None:
    """The file is whole, only older: Database.revision() tells."""
    with closing(Database(tmp_path / "live")) as database:
        database.write_intent([ATTACHED], [COMMAND], {"instance": "abcd"})
        database.checkpoint()
        database.write_intent([ATTACHED], [COMMAND])
        copy(tmp_path / "live", tmp_path / "state")
    (tmp_path / "state" / "state.db-wal").unlink()
    assert Presence.PRESENT is looks(tmp_path / "state")
    with closing(Database(tmp_path / "state")) as database:
        assert 1 == database.revision()
