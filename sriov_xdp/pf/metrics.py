"""What the PF counts about requests, and the log of refusals, which a guest must not be able to flood.

Counters are exact; log lines of one VF beyond a few a second are summed up in one "suppressed n" line.
"""

import logging
import time
from collections import Counter
from dataclasses import dataclass, field

from sriov_xdp.mailbox.messages import Opcode
from sriov_xdp.pf.intent import VfAddress
from sriov_xdp.vswitch.decision import Decision, Grant

_log = logging.getLogger("sriov_xdp.pf")
LOG_LINES_A_SECOND = 5
_OPCODE_NAMES: dict[int, str] = {opcode.value: opcode.name.lower() for opcode in Opcode}
DURATION_BUCKETS_SECONDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1)


@dataclass(slots=True)
class _LogBudget:
    second: int = 0
    lines: int = 0
    suppressed: int = 0


@dataclass(slots=True)
class RequestMetrics:
    """Written by the writer thread, read by a scrape."""

    requests: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)  # pf, vf, opcode, outcome
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)  # rule, decision
    durations: dict[str, list[int]] = field(default_factory=dict)  # opcode → count per bucket, and one above all
    duration_sums: Counter[str] = field(default_factory=Counter)
    _budgets: dict[VfAddress, _LogBudget] = field(default_factory=dict)

    def count_request(self, vf: VfAddress, opcode: int, outcome: str, seconds: float) -> None:
        """One message of a guest."""
        name = _OPCODE_NAMES.get(opcode, "unknown")
        self.requests[vf.pf, str(vf), name, outcome] += 1
        if outcome == "invalid":
            return
        buckets = self.durations.setdefault(name, [0] * (len(DURATION_BUCKETS_SECONDS) + 1))
        index = next((i for i, bound in enumerate(DURATION_BUCKETS_SECONDS) if seconds <= bound), len(DURATION_BUCKETS_SECONDS))
        buckets[index] += 1
        self.duration_sums[name] += seconds  # type: ignore[assignment]  # Counter adds floats as well

    def log_suppressed(self) -> None:
        """For a timer: says what was left out of a log that has gone quiet since."""
        for vf, budget in self._budgets.items():
            if budget.suppressed and budget.second != int(time.monotonic()):
                _log.warning("%s: suppressed %d more refusals", vf, budget.suppressed)
                budget.suppressed = 0

    def count_decision(self, decision: Decision) -> None:
        """One answer of the virtual switch, by the rule that decided (its setting, not who set it)."""
        rule = decision.rule.split(":")[0]
        self.decisions[rule, "grant" if isinstance(decision, Grant) else "deny"] += 1

    def log_refusal(self, vf: VfAddress, text: str, arguments: tuple[object, ...], level: int = logging.WARNING) -> None:
        """A line, unless the VF had its share of this second."""
        budget = self._budgets.setdefault(vf, _LogBudget())
        second = int(time.monotonic())
        if budget.second != second:
            if budget.suppressed:
                _log.warning("%s: suppressed %d more refusals", vf, budget.suppressed)
            budget.second, budget.lines, budget.suppressed = second, 0, 0
        budget.lines += 1
        if budget.lines <= LOG_LINES_A_SECOND:
            _log.log(level, text, *arguments)
        else:
            budget.suppressed += 1
