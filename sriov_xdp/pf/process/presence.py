"""Whether the state is the one that the pins belong to: a state that is missing is not an empty one.

    state   bpffs
    there   same instance      a restart
    there   nothing            a boot, or pins that somebody removed: made anew from the state
    absent  nothing            a first start
    absent, empty, damaged, older or another's, while pins are there: traffic stays as it is and the start is refused
For the pf package and the commands that work without a daemon.
"""

from functools import reduce
from pathlib import Path

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import LINKS
from sriov_xdp.host.links import Links
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.commit import vf_state_from_text
from sriov_xdp.pf.process.folders import Folders
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.stored import merged, read_all
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StateDamaged
from sriov_xdp.store.files import STATE_FILE
from sriov_xdp.vswitch.address import MacAddress

_LOOKED_AT = 8  # programs, at most: one that is here tells enough
_ANY_MAC = MacAddress(bytes(6))
_REMEDY = (
    "ports with programs serve on, others are down; put the state back, or rebuild it with `sriov-xdp recover`, "
    "or remove everything with `sriov-xdp teardown`"
)


def has_links(bpffs: Path) -> bool:
    """Whether programs are held to devices by pins there."""
    folder = bpffs / LINKS
    return folder.is_dir() and any(folder.iterdir())


def require_state(state_dir: Path, bpffs: Path, marks: Marks) -> None:
    """Before anything is opened, as SQLite would make what is missing. Raises Conflict when pins are there and no state."""
    state = state_dir / STATE_FILE
    if (marks.instance() or has_links(bpffs)) and not (state.exists() and state.stat().st_size):
        raise Conflict(f"{_subject(bpffs, marks)}, but {state} is {'empty' if state.exists() else 'not there'}; {_REMEDY}")


def require_devices_here(bpffs: Path, links: Links) -> None:
    """Raises Conflict when programs are held to devices of VFs that live, and none of them is in this network namespace: here all
    guests would look unplugged."""
    elsewhere = 0
    for path in sorted((bpffs / LINKS).glob("*vf*")) if (bpffs / LINKS).is_dir() else ():
        with libbpf.opened_pin(path) as fd:
            ifindex = libbpf.link_info(fd).ifindex  # 0: the device is gone, wherever it was
        if ifindex and links.find(ifindex):
            return
        elsewhere += bool(ifindex)
        if elsewhere == _LOOKED_AT:
            break
    if elsewhere:
        text = f"{bpffs}: its programs are on devices that are not in this network namespace"
        raise Conflict(f"{text}; run this in the one where the daemon ran, as with `nsenter --net=FILE`")


def open_own_state(state_dir: Path, bpffs: Path, marks: Marks) -> Database:
    """Raises Conflict when the state is not what the pins belong to, StoreError when it cannot be opened."""
    there = marks.instance()
    try:
        database = Database(state_dir)
    except StateDamaged as error:
        if there or has_links(bpffs):
            raise Conflict(f"{_subject(bpffs, marks)}, but {error.file}: {error.observed}; {_REMEDY}") from error
        raise
    instance, revision = database.meta("instance"), database.revision()
    text = ""
    if instance is None and (there or has_links(bpffs)):
        text = f"{state_dir} has no state"
    elif there is not None and instance != there:
        text = f"{state_dir} is the state of instance {instance}"
    elif there is not None and revision < marks.revision():
        text = f"{state_dir} is at revision {revision}, and {marks.revision()} was in force (its WAL is lost, or it is a copy)"
    if text:
        database.close()
        raise Conflict(f"{_subject(bpffs, marks)}, but {text}; {_REMEDY}")
    return database


def is_sound(folders: Folders, vfs: set[str]) -> bool:
    """Whether a start would take up the state whole. vfs: those that devices are marked with. Raises StoreError when that cannot be
    told: a full disk, a lock or a later version is no damage."""
    marks = Marks(folders.bpffs)
    try:
        require_state(folders.state_dir, folders.bpffs, marks)
        database = open_own_state(folders.state_dir, folders.bpffs, marks)
    except (Conflict, StateDamaged):
        return False
    try:
        stored = reduce(merged, read_all(database.documents), Change())
        for _generation, text in database.granted().values():
            vf_state_from_text(_ANY_MAC, text)
    except (StateDamaged, ValueError, KeyError, TypeError):
        return False
    finally:
        database.close()
    groups = {group.name for switch in stored.switches.values() if switch for group in switch.port_groups}
    attachments = [one for one in stored.attachments.values() if one]
    are_known = all(one.spec.port_group in groups and one.vf.pf in stored.pfs for one in attachments)
    return vfs <= {str(one.vf) for one in attachments} and are_known


def _subject(bpffs: Path, marks: Marks) -> str:
    return f"{bpffs}: programs of instance {marks.instance() or 'unknown'} serve guests"


def stored_instance(state_dir: Path) -> str | None:
    """Whose state a directory holds, None where there is none that can be read. Opens it as a daemon would."""
    if not (state_dir / STATE_FILE).exists():
        return None
    try:
        database = Database(state_dir)
    except StateDamaged:
        return None
    try:
        return database.meta("instance")
    finally:
        database.close()
