"""The SQLite file, in WAL mode, with two connections of different durability.

What the operator says is committed with synchronous=FULL and survives power loss. What a guest was granted is committed
without an fsync: it survives the death of the daemon but not of the host, and need not, as a reboot resets every VF. Each
write carries its audit record in the same transaction. Checkpoints run from checkpoint(), never inside a guest's request.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sriov_xdp.store.audit import AuditRecord, Outcome
from sriov_xdp.store.errors import StoreError

SCHEMA_VERSION = 2
AUDIT_ROWS_KEPT = 100_000
_FILE = "state.db"
_CACHE_KIB = 256  # a few hundred small rows; SQLite would take 2 MiB a connection
_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE intent(kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;
CREATE TABLE granted(vf TEXT PRIMARY KEY, generation INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE audit(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, vf TEXT NOT NULL, guest TEXT NOT NULL, peer_pid INTEGER NOT NULL,
    peer_uid INTEGER NOT NULL, request TEXT NOT NULL, rule TEXT NOT NULL, outcome TEXT NOT NULL, before TEXT NOT NULL,
    after TEXT NOT NULL);
CREATE INDEX audit_of_vf ON audit(vf, seq);
"""
_INSERT_AUDIT = "INSERT INTO audit(time,vf,guest,peer_pid,peer_uid,request,rule,outcome,before,after) VALUES(?,?,?,?,?,?,?,?,?,?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One document of the intent written, or deleted (body None)."""

    kind: str
    name: str
    body: str | None


class Database:
    """Open state. All methods raise StoreError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._operator = _connect(self.path, "FULL")
            self._prepare()
            self._guest = _connect(self.path, "NORMAL")
            self._guest.execute("PRAGMA wal_autocheckpoint=0")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: {error}; move the file aside to start with an empty state") from error

    def _prepare(self) -> None:
        verdict = self._operator.execute("PRAGMA quick_check").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"integrity check: {verdict}")
        version = self._operator.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._operator.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"written by another version (schema {version}, this is {SCHEMA_VERSION})")

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise StoreError(f"{self.path}: {error}; nothing was changed; check free space and permissions") from error

    def write_intent(
        self,
        changes: Iterable[Change],
        records: Iterable[AuditRecord],
        meta: dict[str, str] | None = None,
        *,
        revoked: Iterable[str] = (),
    ) -> None:
        """The operator's word: survives power loss when this returns."""
        with self._transaction(self._operator):
            for change in changes:
                if change.body is None:
                    self._operator.execute("DELETE FROM intent WHERE kind=? AND name=?", (change.kind, change.name))
                else:
                    self._operator.execute("INSERT OR REPLACE INTO intent VALUES(?,?,?)", (change.kind, change.name, change.body))
            self._operator.executemany("DELETE FROM granted WHERE vf=?", [(vf,) for vf in revoked])
            for key, value in (meta or {}).items():
                self._operator.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (key, value))
            self._operator.executemany(_INSERT_AUDIT, [_row(record) for record in records])

    def write_granted(self, vf: str, generation: int, body: str | None, record: AuditRecord | None) -> None:
        """What a guest was granted (None: nothing any more), with its record: survives this process."""
        with self._transaction(self._guest):
            if body is None:
                self._guest.execute("DELETE FROM granted WHERE vf=?", (vf,))
            else:
                self._guest.execute("INSERT OR REPLACE INTO granted VALUES(?,?,?)", (vf, generation, body))
            if record is not None:
                self._guest.execute(_INSERT_AUDIT, _row(record))

    def write_record(self, record: AuditRecord) -> None:
        """A record of a request that changed nothing."""
        with self._transaction(self._guest):
            self._guest.execute(_INSERT_AUDIT, _row(record))

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
            self._operator.execute("DELETE FROM meta WHERE key IN ('configuration', 'boot_id')")

    def documents(self, kind: str) -> dict[str, str]:
        """Bodies by name."""
        rows = self._operator.execute("SELECT name, body FROM intent WHERE kind=? ORDER BY name", (kind,))
        return dict(rows.fetchall())

    def granted(self) -> dict[str, tuple[int, str]]:
        """Generations and bodies by VF."""
        rows = self._operator.execute("SELECT vf, generation, body FROM granted").fetchall()
        return {vf: (generation, body) for vf, generation, body in rows}

    def revision(self) -> int:
        """Grows with each write_intent()."""
        return int(self.meta("revision") or 0)

    def meta(self, key: str) -> str | None:
        """One value."""
        row = self._operator.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return row[0] if row else None

    def audit(self, vf: str | None, limit: int) -> list[AuditRecord]:
        """The newest records, oldest of them first."""
        where, arguments = ("WHERE vf=?", (vf, limit)) if vf else ("", (limit,))
        columns = "time,vf,guest,peer_pid,peer_uid,request,rule,outcome,before,after"
        query = f"SELECT {columns} FROM audit {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608  # both parts are ours
        rows = self._operator.execute(query, arguments)
        return [_record(row) for row in reversed(rows.fetchall())]

    def checkpoint(self) -> None:
        """Idle work: moves the WAL into the file and trims the audit."""
        with self._transaction(self._operator):
            self._operator.execute("DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?", (AUDIT_ROWS_KEPT,))
        try:
            self._operator.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: checkpoint: {error}") from error

    def close(self) -> None:
        """Ends both connections."""
        self._guest.close()
        self._operator.close()


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA busy_timeout=2000")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    return connection


def _row(record: AuditRecord) -> tuple[object, ...]:
    head = (record.time, record.vf, record.guest, record.peer_pid, record.peer_uid)
    return (*head, record.request, record.rule, record.outcome.value, record.before, record.after)


def _record(row: tuple[float, str, str, int, int, str, str, str, str, str]) -> AuditRecord:
    time, vf, guest, pid, uid, request, rule, outcome, before, after = row
    who = {"time": time, "vf": vf, "guest": guest, "peer_pid": pid, "peer_uid": uid}
    return AuditRecord(**who, request=request, rule=rule, outcome=Outcome(outcome), before=before, after=after)  # type: ignore[arg-type]
