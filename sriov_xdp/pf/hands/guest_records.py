"""The audit of what guests ask for: what is written at once, what is summed up, and what becomes of it when the disk is full.

A guest decides how many requests it sends, so it must not decide how many rows and transactions they make. Beyond its budget
a refusal costs no SQLite at all, and a change costs one row that is overwritten. Counters in the metrics stay exact. What is
not yet summed up is lost with the process; a stop writes it. Writer thread only.
"""

import logging
import time
from collections.abc import Callable

from sriov_xdp.pf.state.budget import RecordBudget
from sriov_xdp.pf.state.lasting_fault import LastingFault
from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError

_log = logging.getLogger("sriov_xdp.pf")


class GuestRecords:
    """clock: seconds, only forward."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._budget = RecordBudget()
        self._unwritable = LastingFault(what="state: audit of guests' requests")

    def unchanged(self, record: AuditRecord) -> None:
        """A request that changed nothing. It is answered whatever becomes of its record, so nothing is raised."""
        now = self._clock()
        if not self._budget.allows(record, now):
            self._budget.left_out(record, now)
            return
        try:
            self._database.write_record(record)
        except StoreError as error:
            self._budget.left_out(record, now)
            self._struck(error, now)

    def granted(self, generation: int, body: str | None, record: AuditRecord) -> None:
        """A change, stored whatever its guest's budget says (None: nothing is granted any more). Raises StoreError; then it
        did not happen, and is not in the audit."""
        now = self._clock()
        is_allowed = self._budget.allows(record, now)
        self._database.write_granted(record.vf, generation, body, record if is_allowed else None)
        if not is_allowed:
            self._budget.left_out(record, now)

    def write_sums(self) -> None:
        """For a timer, each second: one record for each flood that has paused."""
        now = self._clock()
        self._write_sums(now, at_once=False)
        self._budget.forget_quiet(now)

    def close(self) -> None:
        """Writes what is left, before the database is closed."""
        self._write_sums(self._clock(), at_once=True)

    def _write_sums(self, now: float, *, at_once: bool) -> None:
        due = self._budget.due(now, at_once=at_once)
        try:
            if due:
                self._database.write_records(due.values())
                self._budget.written(due)
        except StoreError as error:
            self._struck(error, now)
        else:
            self._say(self._unwritable.worked(now))

    def _struck(self, error: StoreError, now: float) -> None:
        self._say(self._unwritable.struck(error, now))

    @staticmethod
    def _say(text: str | None) -> None:
        if text:
            _log.warning("%s", text)
