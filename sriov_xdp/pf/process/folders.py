"""Where a daemon keeps things, and that only one does so. Used by the daemon, by teardown and recover, and by clients, which know
the run directory alone."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from sriov_xdp.datapath.marks import MARK_PREFIXES
from sriov_xdp.datapath.pins import LINKS
from sriov_xdp.pf.errors import Conflict

ADMIN_SOCKET, STATE_LOCK = "admin.sock", "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where a daemon keeps things. cache_dir: compiled programs, which are kept nowhere when it is None."""

    state_dir: Path
    run_dir: Path
    bpffs: Path
    cache_dir: Path | None = None


def lock(folders: Folders) -> list[int]:
    """One daemon a run directory (its commands would go to another), a state directory, and a folder of pins (two writers of the
    same maps would undo each other). Returns what holds the locks. Raises Conflict."""
    held: list[int] = []
    try:
        folders.run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        _hold(held, folders.run_dir, os.O_DIRECTORY, f"run directory {folders.run_dir}")
        folders.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _hold(held, folders.state_dir / STATE_LOCK, os.O_CREAT | os.O_NOFOLLOW, f"state directory {folders.state_dir}")
        if folders.bpffs.is_dir():
            _hold(held, folders.bpffs, os.O_DIRECTORY, f"bpffs folder {folders.bpffs}")
    except Conflict:
        for fd in held:
            os.close(fd)
        raise
    return held


def _hold(held: list[int], path: Path, flags: int, what: str) -> None:
    access = os.O_RDONLY if flags & os.O_DIRECTORY else os.O_RDWR
    held.append(os.open(path, access | os.O_CLOEXEC | flags, 0o600))
    try:
        fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Conflict(f"another daemon runs with this {what}; stop it first or use another") from error


def require_room_for_sockets(run_dir: Path) -> None:
    """Raises Conflict where something else has the place of the admin socket."""
    path = run_dir / ADMIN_SOCKET
    if path.exists() and not path.is_socket():
        raise Conflict(f"{path}: is not a socket, and the daemon's has to stand there; move it away, or use another --run-dir")


def require_own_pins(bpffs: Path) -> None:
    """A folder that was named by mistake, and holds others' pins, is neither filled nor emptied. Raises Conflict."""
    for entry in bpffs.iterdir() if bpffs.is_dir() else ():
        is_build = entry.is_dir() and {path.name for path in entry.iterdir()} <= {"maps", "progs"}
        if entry.name != LINKS and not entry.name.startswith(MARK_PREFIXES) and not is_build:
            text = f"{bpffs}: is no folder of one daemon's pins, as {entry.name} is in it"
            raise Conflict(f"{text}; name the one that the daemon was started with (--bpffs)")
