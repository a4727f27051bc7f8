"""How many records a guest may cause, and that the sums of the others lose none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import CHANGE, MAC_A, MAC_B, NOON, REFUSAL, on

from sriov_xdp.pf.state.budget import RecordBudget, TokenBucket
from sriov_xdp.store.audit import AuditRecord, Outcome


class Guest:
    """Sends records at an even pace, and counts what is written."""

    def __init__(self, budget: RecordBudget, record: AuditRecord) -> None:
        self.budget, self.record = budget, record
        self.written = 0

    def sends(self, count: int, since: float, seconds: float) -> float:
        """Returns the time of the last one."""
        now = since
        for number in range(count):
            now = since + seconds * number / count
            record = replace(self.record, time=NOON + now)
            if self.budget.allows(record, now):
                self.written += 1
            else:
                self.budget.left_out(record, now)
        return now


def requests(sums: dict[object, AuditRecord]) -> list[str]:
    return [record.request for record in sums.values()]


# Buckets.


def test_a_bucket_gives_what_it_holds_and_what_it_gains() -> None:
    bucket = TokenBucket(a_second=5, most=20)
    assert 20 == sum(bucket.take(100.0) for _attempt in range(50))
    assert 0 == sum(bucket.take(100.1) for _attempt in range(50))
    assert 5 == sum(bucket.take(101.0) for _attempt in range(50))
    assert 20 == sum(bucket.take(200.0) for _attempt in range(50))


@given(st.lists(st.floats(min_value=0.0, max_value=10.0), max_size=300))
def test_a_bucket_never_gives_more_than_its_rate_allows(pauses: list[float]) -> None:
    bucket, now, given_out = TokenBucket(a_second=5, most=20), 0.0, 0
    for pause in pauses:
        now += pause
        given_out += bucket.take(now)
    assert given_out <= 20 + 5 * now + 1


def test_a_clock_that_stands_still_or_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(a_second=5, most=2)
    assert [True, True, False, False] == [bucket.take(now) for now in (10.0, 10.0, 10.0, 9.0)]


# Lanes.


def test_refusals_have_a_burst_of_20_and_5_a_second() -> None:
    guest = Guest(RecordBudget(), REFUSAL)
    guest.sends(10_000, since=0.0, seconds=10.0)
    assert 20 + 5 * 10 - 1 == guest.written


def test_changes_have_a_burst_of_200_and_50_a_second() -> None:
    guest = Guest(RecordBudget(), CHANGE)
    guest.sends(100_000, since=0.0, seconds=10.0)
    assert 200 + 50 * 10 - 1 == guest.written


def test_refusals_and_changes_and_guests_do_not_use_up_each_others_budgets() -> None:
    budget = RecordBudget()
    Guest(budget, REFUSAL).sends(1000, since=0.0, seconds=0.1)
    others = [CHANGE, on(REFUSAL, "pf0vf1", "vm2"), on(REFUSAL, "pf0vf0", "the next guest of the VF")]
    assert [True] * 3 == [budget.allows(record, 0.1) for record in others]
    assert not budget.allows(REFUSAL, 0.1)
    assert not budget.allows(on(REFUSAL, "pf0vf5", REFUSAL.guest), 0.1), "a guest has one budget, by whichever VF it asks"


def test_a_guest_that_was_quiet_is_forgotten_and_has_its_whole_budget() -> None:
    budget = RecordBudget()
    guest = Guest(budget, REFUSAL)
    guest.sends(1000, since=0.0, seconds=0.1)
    budget.forget_quiet(1.0)
    assert not all(budget.allows(REFUSAL, 1.0) for _attempt in range(20))
    budget.forget_quiet(10.0)
    assert {} == budget._buckets
    assert all(budget.allows(REFUSAL, 10.0) for _attempt in range(20))


# Sums.


def test_a_flood_that_pauses_becomes_one_record() -> None:
    budget = RecordBudget()
    guest = Guest(budget, REFUSAL)
    last = guest.sends(12_365, since=0.0, seconds=0.1)
    assert {} == budget.due(last + 0.9)
    expected = replace(
        REFUSAL,
        time=NOON + last,
        request="suppressed: 12,345 requests refused since 2025-06-15T15:06:40Z",
        rule="audit budget: 5 a second",
    )
    due = budget.due(last + 1.0)
    assert [expected] == list(due.values())
    budget.written(due)
    assert {} == budget.due(last + 100.0)


def test_a_flood_that_does_not_end_is_summed_up_each_minute() -> None:
    budget = RecordBudget()
    guest = Guest(budget, REFUSAL)
    sums: list[AuditRecord] = []
    for second in range(300):
        now = guest.sends(100, since=float(second), seconds=1.0)
        due = budget.due(now)
        sums += due.values()
        budget.written(due)
    assert 4 <= len(sums) <= 5
    left_out = sum(int(record.request.split()[1].replace(",", "")) for record in sums)
    left_out += sum(int(request.split()[1].replace(",", "")) for request in requests(budget.due(1000.0)))
    assert 30_000 == guest.written + left_out


def test_the_sum_of_changes_leads_from_the_first_to_the_last() -> None:
    budget = RecordBudget()
    budget.left_out(replace(CHANGE, before=MAC_A, after=MAC_B), 0.0)
    budget.left_out(replace(CHANGE, before=MAC_B, after="02:00:00:00:01:03", time=NOON + 1), 1.0)
    (record,) = budget.due(2.0).values()
    assert (MAC_A, "02:00:00:00:01:03") == (record.before, record.after)
    assert (Outcome.GRANTED, NOON + 1) == (record.outcome, record.time)
    assert ("audit budget: 50 a second", True) == (record.rule, record.is_guests)
    assert "suppressed: 2 changes granted since 2025-06-15T15:06:40Z" == record.request


def test_a_sum_tells_how_many_were_told_that_it_worked() -> None:
    budget = RecordBudget()
    for outcome in (Outcome.PRETENDED, Outcome.REFUSED, Outcome.PRETENDED):
        budget.left_out(replace(REFUSAL, outcome=outcome), 0.0)
    assert ["suppressed: 3 requests refused (2 of them pretended) since 2025-06-15T15:06:40Z"] == requests(budget.due(1.0))


@pytest.mark.parametrize(
    ("left_out", "outcome"),
    [
        ([Outcome.INVALID, Outcome.INVALID], Outcome.INVALID),
        ([Outcome.PRETENDED], Outcome.PRETENDED),
        ([Outcome.INVALID, Outcome.PRETENDED], Outcome.REFUSED),
    ],
)
def test_a_sum_has_the_outcome_that_all_in_it_have(left_out: list[Outcome], outcome: Outcome) -> None:
    budget = RecordBudget()
    for one in left_out:
        budget.left_out(replace(REFUSAL, outcome=one), 0.0)
    assert [outcome] == [record.outcome for record in budget.due(1.0).values()]


def test_guests_of_one_vf_are_summed_up_each_under_its_own_name() -> None:
    budget = RecordBudget()
    for record in (REFUSAL, on(REFUSAL, "pf0vf0", "vm2"), CHANGE):
        budget.left_out(record, 0.0)
    assert ["vm1", "vm2", "vm1"] == [record.guest for record in budget.due(1.0).values()]


def test_sums_stay_until_they_are_written_and_come_a_few_at_a_time() -> None:
    budget = RecordBudget()
    for number in range(100):
        budget.left_out(on(REFUSAL, f"pf0vf{number}"), 0.0)
    first = budget.due(1.0)
    assert (64, first) == (len(first), budget.due(1.0))
    assert 100 == len(budget.due(1.0, at_once=True))
    budget.written(first)
    assert {f"pf0vf{number}" for number in range(64, 100)} == {record.vf for record in budget.due(1.0).values()}
