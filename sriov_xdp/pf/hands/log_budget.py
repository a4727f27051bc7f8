"""A log that no guest can flood: so many lines a second for each subject and kind, the others counted and summed up.

For everything in the PF that a guest can set off again and again. Counters are exact elsewhere; here only lines are left out.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

LOG_LINES_A_SECOND = 5


class LogKind(StrEnum):
    """What a line is about, as the sum of those left out names it. Each kind has a budget of its own, so that a flood of one
    does not hide another."""

    REFUSALS = "refusals"
    CHANGES = "changes"
    FAILURES = "failures"
    EVENTS = "events"


@dataclass(slots=True)
class _Budget:
    second: int = 0
    lines: int = 0
    suppressed: int = 0


class BudgetedLog:
    """Writes to one logger. clock: seconds, any that only moves forward."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._budgets: dict[tuple[str, LogKind], _Budget] = {}

    def write(self, level: int, subject: str, kind: LogKind, text: str, *arguments: object, is_exception: bool = False) -> None:
        """One line, unless the subject had its share of this second. is_exception: with the exception that is being caught."""
        budget = self._budgets.setdefault((subject, kind), _Budget())
        second = int(self._clock())
        if budget.second != second:
            self._sum_up(subject, kind, budget)
            budget.second, budget.lines = second, 0
        budget.lines += 1
        if budget.lines <= LOG_LINES_A_SECOND:
            self._logger.log(level, text, *arguments, exc_info=is_exception)
        else:
            budget.suppressed += 1

    def sum_up(self) -> None:
        """For a timer: says what was left out for those who have gone quiet since, and forgets them."""
        second = int(self._clock())
        for (subject, kind), budget in list(self._budgets.items()):
            if budget.second != second:
                self._sum_up(subject, kind, budget)
                del self._budgets[subject, kind]

    def _sum_up(self, subject: str, kind: LogKind, budget: _Budget) -> None:
        if budget.suppressed:
            self._logger.warning("%s: suppressed %d more %s", subject, budget.suppressed, kind)
            budget.suppressed = 0
