"""Where a daemon keeps things, and that only one does so. Used by the daemon, by teardown and recover, and by clients, which know
the run directory alone."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from sriov_xdp.pf.errors import Conflict

ADMIN_SOCKET = "admin.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a daemon keeps things."""

    state_dir: Path
    run_dir: Path
    bpffs: Path


def lock(places: Places) -> list[int]:
    """One daemon a state directory, and one a folder of pins: two writers of the same maps would undo each other. Raises
    Conflict."""
    places.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = places.state_dir / "lock"
    state = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fds = [state]
    if places.bpffs.is_dir():
        fds.append(os.open(places.bpffs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    for fd, what in zip(fds, ("state directory", "bpffs folder"), strict=False):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            for held in fds:
                os.close(held)
            raise Conflict(f"{path}: another daemon runs with this {what}; stop it first or use another") from error
    return fds
