"""What stands in a state directory, before a daemon opens it: only looks, and changes nothing.

An absent or empty state is a first start only if nothing else knows of an earlier one; whoever starts must know the difference
before SQLite makes a file, or deletes the WAL of one that was truncated. For use while no daemon runs.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from sriov_xdp.store.errors import StoreError
from sriov_xdp.store.files import STATE_FILE, WAL_SUFFIX

_UNFINISHED = (WAL_SUFFIX, "-journal")  # files beside it without which the file alone is not what was written last


class Presence(Enum):
    """ABSENT: no file. EMPTY: a file in which nothing was ever said. PRESENT: can be opened. DAMAGED: cannot be read."""

    ABSENT = "absent"
    EMPTY = "empty"
    PRESENT = "present"
    DAMAGED = "damaged"


def presence(folder: Path) -> Presence:
    """Of the state in a folder. Raises StoreError when it cannot be looked at, as for want of space for a copy."""
    state = folder / STATE_FILE
    try:
        state.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Presence.ABSENT
    except OSError as error:
        raise StoreError(f"{state}: {error}; check permissions and file system") from error
    try:
        with _opened(state) as connection:
            return _look(connection)
    except sqlite3.Error:
        return Presence.DAMAGED


@contextlib.contextmanager
def _opened(state: Path) -> Iterator[sqlite3.Connection]:
    """The file itself where it is all there is; else a copy, as SQLite would begin to move the rest into it."""
    beside = [state.with_name(state.name + suffix) for suffix in _UNFINISHED]
    unfinished = [path for path in beside if path.exists() and path.stat().st_size]
    with contextlib.ExitStack() as stack:
        if unfinished:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sriov-xdp-")))
            try:
                for path in (state, *unfinished):
                    shutil.copyfile(path, place / path.name)
            except OSError as error:
                raise StoreError(f"{state}: cannot be looked at: {error}; check it, and the space in {place.parent}") from error
            uri = (place / state.name).as_uri()
        else:
            uri = f"{state.resolve().as_uri()}?immutable=1"
        yield stack.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)))


def _look(connection: sqlite3.Connection) -> Presence:
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        return Presence.DAMAGED
    if not connection.execute("PRAGMA user_version").fetchone()[0]:
        return Presence.EMPTY
    if connection.execute("SELECT 1 FROM meta WHERE key = 'instance'").fetchone():
        return Presence.PRESENT
    is_said = connection.execute("SELECT 1 FROM intent LIMIT 1").fetchone()
    return Presence.DAMAGED if is_said else Presence.EMPTY  # every daemon has an instance before it has an intent
