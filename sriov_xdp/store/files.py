"""The state file and its WAL as files of a file system: whose they are, how long the WAL is, and how long it may become.

SQLite goes on with files that are removed or replaced under it, and lets the WAL grow as long as nobody checkpoints it. For the
store's own use. Only looks (stat): to open and close state.db beside SQLite would give up SQLite's locks on it.
"""

import os
from pathlib import Path

from sriov_xdp.store.errors import StateDamaged, StoreError

STATE_FILE = "state.db"
WAL_SUFFIX = "-wal"
WAL_BYTES = 4 << 20  # then a checkpoint is due; it takes some milliseconds, most of them for the disk
_WAL_BYTES_ON_A_FULL_DISK = 64 << 10
_WAL_SHARE_OF_FREE_SPACE = 4  # a checkpoint needs space too: a WAL that took all of it could never be moved into the file
_TIMES_BESIDE = 4
_TIMES_FOR_GUESTS = 16  # a WAL that another process reads cannot be emptied; this many times its limit, guests may not add to it


class StateFiles:
    """Made once the database is open, when both files are there."""

    def __init__(self, state: Path, wal_bytes: int) -> None:
        self.state = state
        self._wal = state.with_name(state.name + WAL_SUFFIX)
        self._most_wal_bytes = wal_bytes
        self._identities = {path: _identity(path) for path in (self.state, self._wal)}
        self.wal_limit_bytes = self._checkpoint_at_bytes = wal_bytes

    def require_own(self) -> None:
        """Raises StateDamaged when a file is not the one that was opened."""
        for path, identity in self._identities.items():
            if _identity(path) != identity:
                observed = f"{path.name} was removed or replaced under the daemon: what it knows is answered, nothing is changed"
                raise StateDamaged(self.state, observed, "stop the daemon and run `sriov-xdp recover`")

    def require_room_for_guests(self) -> None:
        """Raises StoreError when only the operator may write."""
        size = self.wal_bytes()
        if size > _TIMES_FOR_GUESTS * self._most_wal_bytes:
            observed = f"the WAL has {size} bytes and cannot be emptied while another process reads the file"
            raise StoreError(f"{self.state}: {observed}; nothing was changed; end it (`fuser {self.state}`)")

    def wal_bytes(self) -> int:
        """The length of the WAL's file, 0 when it is gone."""
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def is_checkpoint_due(self) -> bool:
        """After each write. The file keeps its length while the WAL starts over in it, and is cut to the limit then, so it
        passes the limit once in a limit's worth of writes."""
        size = self.wal_bytes()
        if size <= self.wal_limit_bytes:
            self._checkpoint_at_bytes = self.wal_limit_bytes
        return size > self._checkpoint_at_bytes

    def is_wal_long(self) -> bool:
        """Whether a checkpoint beside the writes does not keep up with them."""
        return self.wal_bytes() > _TIMES_BESIDE * self.wal_limit_bytes

    def measure(self) -> None:
        """After a checkpoint: the WAL may take part of the space that is free. A file that is still above the limit is cut by
        the next write; if it is not, as somebody reads the WAL or nothing could be moved, then the next checkpoint is due when
        it has grown, not after each write."""
        size = self.wal_bytes()
        share = (size + _free_bytes(self.state.parent)) // _WAL_SHARE_OF_FREE_SPACE
        self.wal_limit_bytes = min(max(share, _WAL_BYTES_ON_A_FULL_DISK), self._most_wal_bytes)
        self._checkpoint_at_bytes = max(size, self.wal_limit_bytes) + self.wal_limit_bytes // 4


def _free_bytes(folder: Path) -> int:
    try:
        space = os.statvfs(folder)
    except OSError:
        return 0
    return space.f_bavail * space.f_frsize


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
