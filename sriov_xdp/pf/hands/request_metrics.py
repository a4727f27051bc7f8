"""What the PF counts about requests and about its own turns, and the log of what guests set off."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sriov_xdp.mailbox.messages import Opcode
from sriov_xdp.pf.hands.log_budget import BudgetedLog, LogKind
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.store.audit import Outcome
from sriov_xdp.vswitch.decision import Decision, Grant

_log = logging.getLogger("sriov_xdp.pf")
_OPCODE_NAMES: dict[int, str] = {opcode.value: opcode.name.lower() for opcode in Opcode}
DURATION_BUCKETS_SECONDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1)
TURN_BUCKETS_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(slots=True)
class Histogram:
    """Durations by label: label → count per bucket, and one above all. Written by one thread, read by a scrape."""

    bounds_seconds: tuple[float, ...]
    counts: dict[str, list[int]] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)

    def observe(self, label: str, seconds: float) -> None:
        """One more."""
        buckets = self.counts.get(label)
        if buckets is None:
            buckets = self.counts[label] = [0] * (len(self.bounds_seconds) + 1)
            self.sums[label] = 0.0
        index = 0
        for bound in self.bounds_seconds:
            if seconds <= bound:
                break
            index += 1
        buckets[index] += 1
        self.sums[label] += seconds


@dataclass(slots=True)
class RequestMetrics:
    """Written by the writer thread, read by a scrape."""

    requests: Counter[tuple[str, str, str, Outcome]] = field(default_factory=Counter)  # pf, vf, opcode, outcome
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)  # rule, decision
    durations: Histogram = field(default_factory=lambda: Histogram(DURATION_BUCKETS_SECONDS))  # by opcode
    log: BudgetedLog = field(default_factory=lambda: BudgetedLog(_log))

    def count_request(self, vf: VfAddress, opcode: int, outcome: Outcome, seconds: float) -> None:
        """One message of a guest."""
        name = _OPCODE_NAMES.get(opcode, "unknown")
        self.requests[vf.pf, str(vf), name, outcome] += 1
        if outcome is not Outcome.INVALID:
            self.durations.observe(name, seconds)

    def count_decision(self, decision: Decision) -> None:
        """One answer of the virtual switch, by the rule that decided (its setting, not who set it)."""
        rule = decision.rule.split(":")[0]
        self.decisions[rule, "grant" if isinstance(decision, Grant) else "deny"] += 1

    def log_refusal(self, vf: VfAddress, text: str, arguments: Iterable[object]) -> None:
        """A WARNING: policy or protocol said no."""
        self.log.write(logging.WARNING, str(vf), LogKind.REFUSALS, text, *arguments)

    def log_change(self, vf: VfAddress, text: str, arguments: Iterable[object]) -> None:
        """An INFO: a granted request changed the device."""
        self.log.write(logging.INFO, str(vf), LogKind.CHANGES, text, *arguments)

    def log_failure(self, vf: VfAddress, text: str, arguments: Iterable[object]) -> None:
        """An ERROR: a request, or its record, could not be carried out."""
        self.log.write(logging.ERROR, str(vf), LogKind.FAILURES, text, *arguments)

    def log_suppressed(self) -> None:
        """For a timer: says what was left out of a log that has gone quiet since."""
        self.log.sum_up()
