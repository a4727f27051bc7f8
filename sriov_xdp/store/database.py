"""The SQLite file, in WAL mode, with two connections of different durability.

What the operator says is committed with synchronous=FULL and survives power loss. What a guest was granted is committed
without an fsync: it survives the death of the daemon but not of the host, and need not, as a reboot resets every VF. A write
has its audit records in the same transaction.

The WAL is moved into the file when it reaches its limit (files.py), whoever wrote last, and by checkpoint(). That waits for the
disk, sometimes for a quarter of a second, so whoever has a thread for it does it there (on_due, move_wal_apart()); a WAL that grows
all the same is moved by who writes. Audit rows are capped (retention.py) and their pages used again, which bounds the file.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sriov_xdp.store.audit import AuditRecord, Outcome
from sriov_xdp.store.errors import StateDamaged, StoreError
from sriov_xdp.store.files import STATE_FILE, WAL_BYTES, StateFiles
from sriov_xdp.store.retention import AuditRows, Retention
from sriov_xdp.store.schema import UnknownVersionError, prepare

_CACHE_KIB = 256  # a few hundred small rows; SQLite would take 2 MiB a connection
# Somebody else may hold the file's lock (a copy, a look by hand). An operator's command waits for it; a guest's request does
# not hold up those of all others.
_OPERATOR_WAITS_MS, _GUEST_WAITS_MS = 2000, 50
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_REVISION = "revision"
_NEXT_REVISION = "INSERT INTO meta VALUES(?, '1') ON CONFLICT(key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)"
_AUDIT_COLUMNS = "time,vf,guest,peer_pid,peer_uid,request,rule,before,after,outcome,by_guest,login_uid,port,asked"
_NEWEST = "SELECT seq FROM audit ORDER BY seq DESC LIMIT :limit"
_NEWEST_OF_PORT = "SELECT seq FROM audit WHERE port=:port AND port <> '' ORDER BY seq DESC LIMIT :limit"
_NEWEST_OF_VF = """
SELECT seq FROM (
    SELECT * FROM (SELECT seq FROM audit WHERE vf = :vf AND by_guest = 0 ORDER BY seq DESC LIMIT :limit) UNION ALL
    SELECT * FROM (SELECT seq FROM audit WHERE vf = :vf AND by_guest = 1 ORDER BY seq DESC LIMIT :limit))
ORDER BY seq DESC LIMIT :limit
"""
_BEHIND = f"SELECT seq, {_AUDIT_COLUMNS} FROM audit WHERE seq > :seq ORDER BY seq LIMIT :limit"  # noqa: S608  # all parts are ours
_THESE = f"SELECT {_AUDIT_COLUMNS} FROM audit WHERE seq IN (SELECT value FROM json_each(:seqs)) ORDER BY seq"  # noqa: S608  # all parts are ours
_PAGE_RECORDS = 50  # read in one go: guests are served between two


Grant = tuple[int, str]
"""Generation of the VF, and what its guest was granted then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One document of the intent written, or deleted (body None)."""

    kind: str
    name: str
    body: str | None


class Database:
    """Open state. All methods raise StoreError; StateDamaged, one of them, when what is there cannot be read or is not ours
    any more. After any fault the next call starts afresh: a full disk needs no restart once there is space again."""

    def __init__(self, folder: Path, *, retention: Retention | None = None, wal_bytes: int = WAL_BYTES) -> None:
        self.path = folder / STATE_FILE
        retention = retention or Retention()
        self._rows = AuditRows(retention)
        with contextlib.ExitStack() as undo:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self.path.is_symlink():  # the mode of whatever it leads to would be changed
                    raise StoreError(f"{self.path}: is a link; put the file itself there, or use another --state-dir")
                self._operator = undo.enter_context(contextlib.closing(_connect(self.path, "FULL", _OPERATOR_WAITS_MS)))
                self._check()
                prepare(self._operator, asdict(retention))
                self._rows.count(self._operator)
                self._guest = undo.enter_context(contextlib.closing(_connect(self.path, "NORMAL", _GUEST_WAITS_MS)))
                apart = _connect(self.path, "NORMAL", _GUEST_WAITS_MS, is_of_this_thread=False)
                self._apart = undo.enter_context(contextlib.closing(apart))
                self._files = StateFiles(self.path, wal_bytes)
                self.on_due: Callable[[], None] | None = None
                self._move_wal()
            except UnknownVersionError as error:
                raise StoreError(f"{self.path}: {error}; start that version") from error
            except OSError as error:
                raise StoreError(f"{self.path}: {error}; check space and permissions") from error
            except sqlite3.Error as error:
                raise self._fault(error) from error
            undo.pop_all()

    def _check(self) -> None:
        """Raises StateDamaged for pages that contradict each other; for those that cannot be read, SQLite raises."""
        verdict = self._operator.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StateDamaged(self.path, f"damaged: {verdict}")

    def _fault(self, error: sqlite3.Error, what: str = "") -> StoreError:
        if _is_damage(error):
            return StateDamaged(self.path, f"damaged: {error}")
        return StoreError(f"{self.path}: {what}{error}; nothing was changed; check free space and permissions")

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        self._files.require_own()
        if connection is self._guest:
            self._files.require_room_for_guests()
        try:
            if connection.in_transaction:  # a former ROLLBACK failed: without another one nothing would ever work again
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("COMMIT")
        except BaseException as error:
            self._rows.rolled_back()
            with contextlib.suppress(sqlite3.Error):  # after some faults SQLite has done it itself
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._fault(error) from error
            raise
        self._rows.committed()
        if self._files.is_checkpoint_due():
            if self.on_due is None or self._files.is_wal_long():
                self._move_wal()
            else:
                self.on_due()

    def write_intent(
        self,
        changes: Iterable[Change],
        records: Iterable[AuditRecord],
        meta: dict[str, str] | None = None,
        grants: Mapping[str, Grant | None] | None = None,
    ) -> None:
        """The operator's word: survives power loss when this returns. grants: by VF, what becomes of its guest's with it; None: it
        ends."""
        with self._transaction(self._operator):
            for change in changes:
                if change.body is None:
                    self._operator.execute("DELETE FROM intent WHERE kind=? AND name=?", (change.kind, change.name))
                else:
                    self._operator.execute("INSERT OR REPLACE INTO intent VALUES(?,?,?)", (change.kind, change.name, change.body))
            for vf, grant in (grants or {}).items():
                _put_grant(self._operator, vf, grant)
            for key, value in (meta or {}).items():
                self._operator.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (key, value))
            self._operator.execute(_NEXT_REVISION, (_REVISION,))
            self._rows.insert(self._operator, records)

    def write_granted(self, vf: str, generation: int, body: str | None, record: AuditRecord | None) -> None:
        """What the guest of this generation of the VF was granted (None: nothing any more), with its record: survives this
        process."""
        with self._transaction(self._guest):
            _put_grant(self._guest, vf, None if body is None else (generation, body))
            if record is not None:
                self._rows.insert(self._guest, (record,))

    def write_records(self, records: Iterable[AuditRecord]) -> None:
        """Records of requests that changed nothing."""
        with self._transaction(self._guest):
            self._rows.insert(self._guest, records)

    def write_record(self, record: AuditRecord) -> None:
        """One of them."""
        self.write_records((record,))

    def forget_granted(self) -> None:
        """After a reboot: every VF starts from its admin settings."""
        with self._transaction(self._operator):
            self._operator.execute("DELETE FROM granted")

    def forget_intent(self) -> None:
        """After a teardown: nothing is wanted and nothing granted any more; the audit stays, and so do the numbers that must not
        come again."""
        with self._transaction(self._operator):
            self._operator.execute("DELETE FROM granted")
            self._operator.execute("DELETE FROM intent")
            self._operator.execute("DELETE FROM meta WHERE key IN ('configuration', 'applied', 'boot_id')")
            self._operator.execute(_NEXT_REVISION, (_REVISION,))

    def documents(self, kind: str) -> dict[str, str]:
        """Bodies by name, whatever is in them: what a body means, and whether it means anything, its reader knows."""
        rows = self._read("SELECT name, body FROM intent WHERE kind=? ORDER BY name", (kind,))
        return {_text(name): _text(body) for name, body in rows}

    def granted(self) -> dict[str, Grant]:
        """Generation and body by VF. A grant of another generation than the attachment's was another guest's."""
        rows = self._read("SELECT vf, generation, body FROM granted WHERE typeof(generation) = 'integer'", ())
        return {_text(vf): (generation, _text(body)) for vf, generation, body in rows}

    def meta(self, key: str) -> str | None:
        """One value."""
        rows = self._read("SELECT value FROM meta WHERE key=?", (key,))
        return _text(rows[0][0]) if rows else None

    def revision(self) -> int:
        """How many times the intent was written since the file was made. A copy kept elsewhere tells whether the file is older
        than what was acknowledged: SQLite says nothing when its WAL is lost."""
        value = self.meta(_REVISION) or ""
        return int(value) if value.isdecimal() else 0

    def audit(self, vf: str | None, limit: int, port: str | None = None) -> list[AuditRecord]:
        """The newest records, of all, of a VF or of a port; oldest of them first."""
        return [record for page in self.audit_pages(vf, limit, port) for record in page]

    def audit_pages(self, vf: str | None, limit: int, port: str | None = None) -> Iterator[list[AuditRecord]]:
        """The same, some at a time. Raises StoreError."""
        query = _NEWEST_OF_PORT if port else _NEWEST_OF_VF if vf else _NEWEST
        seqs = [seq for (seq,) in reversed(self._read(query, {"vf": vf, "port": port, "limit": limit}))]
        for start in range(0, len(seqs), _PAGE_RECORDS):
            rows = self._read(_THESE, {"seqs": json.dumps(seqs[start : start + _PAGE_RECORDS])})
            yield [record for record in map(_record, rows) if record]

    def all_audit_pages(self) -> Iterator[list[AuditRecord]]:
        """Every record, oldest first, some at a time; what comes meanwhile is among them. Raises StoreError."""
        seq = -1
        while rows := self._read(_BEHIND, {"seq": seq, "limit": _PAGE_RECORDS}):
            seq = rows[-1][0]
            yield [record for record in (_record(row[1:]) for row in rows) if record]

    def _read(self, query: str, arguments: Any) -> list[tuple[Any, ...]]:
        try:
            return self._operator.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def require_own_files(self) -> None:
        """Raises StateDamaged when the files are not those that were opened, so that nothing can be changed any more."""
        self._files.require_own()

    def checkpoint(self) -> None:
        """Idle work: moves the WAL into the file, and says what stands in the way of it."""
        self._files.require_own()
        fault = self._move_wal()
        if fault is not None:
            raise fault

    def move_wal_apart(self) -> None:
        """In one other thread, while this one writes on; then wal_was_moved() in this one. What was written meanwhile is moved the
        next time."""
        self._files.require_own()
        try:
            self._apart.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            raise self._fault(error, "checkpoint: ") from error

    def wal_was_moved(self) -> None:
        """What stands in the way, as of a WAL that is long all the same, is told."""
        self._files.require_own()
        self._measure()
        fault = self._reader_of_wal() if self._files.is_wal_long() else None
        if fault is not None:
            raise fault

    def _move_wal(self) -> StoreError | None:
        """Waits for nobody. After it the next write starts the WAL over, if all of it was moved. A fault is not the writer's
        who happened to come last; checkpoint() tells it."""
        try:
            _busy, frames, moved = self._operator.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            fault: StoreError | None = self._fault(error, "checkpoint: ")
        else:
            fault = self._reader_of_wal() if moved < frames else None
        self._measure()
        return fault

    def _measure(self) -> None:
        self._files.measure()
        for connection in (self._operator, self._guest):
            connection.execute(f"PRAGMA journal_size_limit={self._files.wal_limit_bytes}")

    def _reader_of_wal(self) -> StoreError | None:
        size = self._files.wal_bytes()
        if size <= self._files.wal_limit_bytes:
            return None
        observed = f"checkpoint: another process reads the file, so its WAL of {size} bytes cannot be emptied"
        return StoreError(f"{self.path}: {observed}; end it (`fuser {self.path}`)")

    def close(self) -> None:
        """Ends all connections."""
        self._apart.close()
        self._guest.close()
        self._operator.close()


def _connect(path: Path, synchronous: str, waits_ms: int, *, is_of_this_thread: bool = True) -> sqlite3.Connection:
    with contextlib.ExitStack() as undo:
        made = sqlite3.connect(path, isolation_level=None, check_same_thread=is_of_this_thread)
        connection = undo.enter_context(contextlib.closing(made))
        connection.text_factory = lambda text: text.decode(errors="replace")  # a damaged text is one object's, not all reads'
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA busy_timeout={waits_ms}")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        undo.pop_all()
    return connection


def _put_grant(connection: sqlite3.Connection, vf: str, grant: Grant | None) -> None:
    if grant is None:
        connection.execute("DELETE FROM granted WHERE vf=?", (vf,))
    else:
        connection.execute("INSERT OR REPLACE INTO granted VALUES(?,?,?)", (vf, *grant))


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def _text(value: object) -> str:
    """A value of another type than its column's is damage of one row; as text its reader finds that out."""
    return value if isinstance(value, str) else str(value)


def _record(row: tuple[Any, ...]) -> AuditRecord | None:
    """None for a row that makes no sense."""
    time, vf, guest, pid, uid, *texts, outcome, by_guest, login_uid, port, asked = row
    if outcome not in set(Outcome) or not isinstance(time, float) or not isinstance(pid, int) or not isinstance(uid, int):
        return None
    request, rule, before, after = map(_text, texts)
    return AuditRecord(
        time=time,
        vf=_text(vf),
        guest=_text(guest),
        peer_pid=pid,
        peer_uid=uid,
        request=request,
        rule=rule,
        outcome=Outcome(outcome),
        before=before,
        after=after,
        is_guests=bool(by_guest),
        login_uid=login_uid if isinstance(login_uid, int) else None,
        port=_text(port),
        asked=_text(asked),
    )
