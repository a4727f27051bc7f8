"""Whether the state is the one that the pins belong to: a state that is missing is not an empty one.

    state   bpffs
    there   same instance      a restart
    there   nothing            a boot, or pins that somebody removed: made anew from the state
    absent  nothing            a first start
    absent, empty, damaged, older or another's, while pins are there: traffic stays as it is and the start is refused
For the pf package and the commands that work without a daemon.
"""

import sqlite3
from pathlib import Path

from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import LINKS
from sriov_xdp.pf.errors import Conflict

_REMEDY = (
    "traffic goes on as it is; put the state back, or rebuild it with `sriov-xdp recover`, "
    "or remove everything with `sriov-xdp teardown`"
)


def has_links(bpffs: Path) -> bool:
    """Whether programs are held to devices by pins there."""
    folder = bpffs / LINKS
    return folder.is_dir() and any(folder.iterdir())


def stored_instance(state_dir: Path) -> tuple[str | None, int]:
    """Instance and revision of the state, without creating or changing anything; (None, 0) for none. Raises Conflict when the
    file is there and cannot be read."""
    path = state_dir / "state.db"
    if not path.exists() or path.stat().st_size == 0:
        return None, 0
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        try:
            rows = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('instance', 'revision')").fetchall())
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise Conflict(f"{path}: cannot be read: {error}; {_REMEDY}") from error
    return rows.get("instance"), int(rows.get("revision", 0))


def require_own_state(state_dir: Path, bpffs: Path, marks: Marks) -> None:
    """Raises Conflict when pins are there that the state does not know."""
    there = marks.instance()
    if there is None and not has_links(bpffs):
        return
    instance, revision = stored_instance(state_dir)
    subject = f"{bpffs}: programs of instance {there or 'unknown'} serve guests"
    if instance is None:
        raise Conflict(f"{subject}, but {state_dir} has no state; {_REMEDY}")
    if there is not None and instance != there:
        raise Conflict(f"{subject}, but {state_dir} is the state of instance {instance}; {_REMEDY}")
    if there is not None and revision < marks.revision():
        text = f"{state_dir}: revision {revision} of the state, while revision {marks.revision()} was in force (its WAL is lost?)"
        raise Conflict(f"{text}; {_REMEDY}")
