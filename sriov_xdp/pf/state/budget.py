"""How many audit records a guest may cause, and the sums of those beyond. Pure: time comes as an argument, in seconds of a clock
that only goes forward. For hands/guest_records.py, which writes what may be written.

A guest has one budget for refusals and one, more generous, for changes. What exceeds it is counted; the count becomes one
record when the guest has been quiet for a second, or after a minute of a flood that does not end.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from itertools import islice

from sriov_xdp.store.audit import AuditRecord, Outcome

_QUIET_SECONDS = 1.0
_MOST_SECONDS = 60.0
_MOST_SUMS = 64


class Lane(Enum):
    """What a budget is for: its records a second, and how many at once after a pause."""

    REFUSALS = (5, 20)
    CHANGES = (50, 200)

    @classmethod
    def of(cls, record: AuditRecord) -> "Lane":
        """The lane of a guest's record."""
        return cls.CHANGES if record.outcome is Outcome.GRANTED else cls.REFUSALS


@dataclass(slots=True, kw_only=True)
class TokenBucket:
    """Full at first; takes a token a time, and gains some each second."""

    a_second: float
    most: float
    _tokens: float = field(init=False)
    _at: float | None = None

    def __post_init__(self) -> None:
        self._tokens = self.most

    def take(self, now: float) -> bool:
        """Whether there was a token."""
        self._fill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def has_some(self, now: float) -> bool:
        """Whether there is a token."""
        self._fill(now)
        return self._tokens >= 1.0

    def is_full(self, now: float) -> bool:
        """Whether it is as good as new."""
        self._fill(now)
        return self._tokens >= self.most

    def _fill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._tokens, self._at = min(self.most, self._tokens + passed * self.a_second), now


@dataclass(slots=True, kw_only=True)
class _Sum:
    first: AuditRecord
    last: AuditRecord
    first_at: float
    last_at: float
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def is_due(self, now: float) -> bool:
        return now - self.last_at >= _QUIET_SECONDS or now - self.first_at >= _MOST_SECONDS


# A guest has one budget, by however many VFs it asks: the next guest of a VF does not pay for the last one's flood.
Payer = tuple[str, Lane]
Key = tuple[str, str, Lane]  # of a sum: VF and guest, both of which it names


@dataclass(slots=True)
class RecordBudget:
    """Of all guests."""

    _buckets: dict[Payer, TokenBucket] = field(default_factory=dict)
    _sums: dict[Key, _Sum] = field(default_factory=dict)

    def allows(self, record: AuditRecord, now: float) -> bool:
        """Whether it may be written by itself; else it is to be left out."""
        payer = record.guest, Lane.of(record)
        bucket = self._buckets.get(payer)
        if bucket is None:
            a_second, most = payer[1].value
            bucket = self._buckets[payer] = TokenBucket(a_second=a_second, most=most)
        return bucket.take(now)

    def left_out(self, record: AuditRecord, now: float) -> None:
        """It was not written, for want of budget or because it could not be: it is part of the next sum."""
        key = _key(record)
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = _Sum(first=record, last=record, first_at=now, last_at=now)
        found.last, found.last_at = record, now
        found.outcomes[record.outcome] += 1

    def due(self, now: float, *, at_once: bool = False) -> dict[Key, AuditRecord]:
        """The sums that are to be written now, a record each, not too many at a time; at_once: all there are. Each stays due
        until written()."""
        if at_once:
            return {key: _record_of(key[2], found) for key, found in self._sums.items()}
        due = ((key, _record_of(key[2], found)) for key, found in self._sums.items() if found.is_due(now))
        return dict(islice(due, _MOST_SUMS))

    def written(self, keys: Iterable[Key]) -> None:
        """These sums are in the audit; what is left out from now on begins new ones."""
        for key in keys:
            self._sums.pop(key, None)

    def forget_quiet(self, now: float) -> None:
        """Guests whose budget is whole are as good as unknown."""
        for payer in [payer for payer, bucket in self._buckets.items() if bucket.is_full(now)]:
            del self._buckets[payer]


def _key(record: AuditRecord) -> Key:
    return record.vf, record.guest, Lane.of(record)


def _record_of(lane: Lane, found: _Sum) -> AuditRecord:
    count, since = found.outcomes.total(), datetime.fromtimestamp(found.first.time, tz=UTC)
    pretended = found.outcomes[Outcome.PRETENDED]
    what = "changes granted" if lane is Lane.CHANGES else "requests refused"
    outcome = next(iter(found.outcomes)) if len(found.outcomes) == 1 else Outcome.REFUSED
    some = f" ({pretended:,} of them pretended)" if pretended else ""
    return replace(
        found.last,
        request=f"suppressed: {count:,} {what}{some} since {since:%Y-%m-%dT%H:%M:%SZ}",
        rule=f"audit budget: {lane.value[0]} a second",
        outcome=outcome,
        before=found.first.before,
    )
