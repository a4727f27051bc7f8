"""Which audit rows are kept: what is inserted pushes out the oldest of the same owner, a few rows at a time.

The owner of a row is the operator, or a guest of a VF. Owners have their limits, and all guests together have one: above
it the one with the most rows gives way, so that a guest that writes much pushes out its own rows and nobody else's, not those of
who had the VF before. For the store's own use, inside its transactions.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sriov_xdp.store.audit import AuditRecord

_Owner = tuple[str, str]  # a VF, and its guest's name
_OPERATOR: _Owner = ("", "")
_MORE_ROWS_A_STEP = 4  # beside one for each inserted: so rows above a limit that was lowered go by and by
_INSERT = (
    "INSERT INTO audit(by_guest,time,vf,guest,peer_pid,peer_uid,request,rule,outcome,before,after,login_uid,port,asked)"
    " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_OLDEST_OF_GUEST = "SELECT seq FROM audit INDEXED BY audit_of_guest WHERE vf=? AND by_guest=1 AND guest=? ORDER BY seq LIMIT ?"
_OLDEST_OF_OPERATOR = "SELECT seq FROM audit INDEXED BY audit_of_operator WHERE by_guest=0 ORDER BY seq LIMIT ?"
_DELETE = "DELETE FROM audit WHERE seq IN "


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How many rows are kept, and how many characters of each text in them: together they bound the file. Guests' texts are
    short unless a guest makes them long; an operator's may be a whole switch."""

    rows_of_a_guest: int = 2_000
    rows_of_guests: int = 80_000
    rows_of_operator: int = 20_000
    guest_characters: int = 256
    operator_characters: int = 4_096


class AuditRows:
    """The audit table with the number of rows of each owner, which would take long to count at each insertion."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._rows: Counter[_Owner] = Counter()
        self._of_guests = 0
        self._pending: Counter[_Owner] = Counter()

    def count(self, connection: sqlite3.Connection) -> None:
        """At the open: one pass over an index."""
        counted = "SELECT vf, by_guest, guest, count(*) FROM audit INDEXED BY audit_of_guest GROUP BY vf, by_guest, guest"
        for vf, by_guest, guest, rows in connection.execute(counted):
            self._rows[(vf, guest) if by_guest else _OPERATOR] += rows
        self._of_guests = self._rows.total() - self._rows[_OPERATOR]

    def insert(self, connection: sqlite3.Connection, records: Iterable[AuditRecord]) -> None:
        """Inserts, and removes what is too old then. Inside a transaction, whose end committed() or rolled_back() tells."""
        for record in records:
            connection.execute(_INSERT, self._values(record))
            owner = (record.vf, record.guest) if record.is_guests else _OPERATOR
            self._pending[owner] += 1
            self._push_out(connection, owner)

    def committed(self) -> None:
        """What insert() did counts."""
        for owner, rows in self._pending.items():
            self._rows[owner] += rows
            if owner != _OPERATOR:
                self._of_guests += rows
            if not self._rows[owner]:
                del self._rows[owner]
        self._pending.clear()

    def rolled_back(self) -> None:
        """What insert() did is undone."""
        self._pending.clear()

    def _push_out(self, connection: sqlite3.Connection, owner: _Owner) -> None:
        if owner == _OPERATOR:
            surplus = self._rows_of(owner) - self._retention.rows_of_operator
        else:
            surplus = self._rows_of(owner) - self._retention.rows_of_a_guest
            pending_of_guests = self._pending.total() - self._pending[_OPERATOR]
            beyond_all = self._of_guests + pending_of_guests - self._retention.rows_of_guests
            if surplus <= 0 < beyond_all:
                owner, surplus = self._largest(owner), beyond_all
        if surplus <= 0:
            return
        rows = min(surplus, 1 + _MORE_ROWS_A_STEP)
        if owner == _OPERATOR:
            done = connection.execute(f"{_DELETE}({_OLDEST_OF_OPERATOR})", (rows,))  # both parts are ours
        else:
            done = connection.execute(f"{_DELETE}({_OLDEST_OF_GUEST})", (*owner, rows))  # both parts are ours
        self._pending[owner] -= done.rowcount

    def _largest(self, candidate: _Owner) -> _Owner:
        """The one with the most rows; the candidate when no other has more."""
        return max((candidate, *(owner for owner in self._rows if owner != _OPERATOR)), key=self._rows_of)

    def _rows_of(self, owner: _Owner) -> int:
        return self._rows[owner] + self._pending[owner]

    def _values(self, record: AuditRecord) -> tuple[object, ...]:
        kept = self._retention
        most = kept.guest_characters if record.is_guests else kept.operator_characters
        head = (int(record.is_guests), record.time, record.vf, record.guest, record.peer_pid, record.peer_uid)
        request, rule, before, after = (_cut(text, most) for text in (record.request, record.rule, record.before, record.after))
        return (*head, request, rule, record.outcome.value, before, after, record.login_uid, record.port, record.asked)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"
