"""Restless is who made the most changes within the time, and only until the oldest of them is old enough."""

import pytest

from sriov_xdp.pf.state.restlessness import Restlessness

MOST, WITHIN_SECONDS = 3, 5.0
START = 100.0


@pytest.fixture
def restlessness() -> Restlessness[str]:
    return Restlessness[str](most=MOST, within_seconds=WITHIN_SECONDS)


def test_nobody_is_restless_at_first(restlessness: Restlessness[str]) -> None:
    assert not restlessness.is_restless("vf", START)


@pytest.mark.parametrize(("changes_at", "now", "expected"), [
    ((0, 1), 1, False),
    ((0, 1, 2), 2, True),
    ((0, 1, 2), 4.9, True),
    ((0, 1, 2), 5, False),
    ((0, 3, 6), 6, False),
    ((0, 3, 6, 7), 7, True),
    ((0, 3, 6, 7, 8), 10.9, True),
    ((0, 3, 6, 7, 8), 11, False),
])  # fmt: skip
def test_the_last_changes_count(restlessness: Restlessness[str], changes_at: tuple[float, ...], now: float, expected: bool) -> None:
    for at in changes_at:
        restlessness.changed("vf", START + at)
    assert expected == restlessness.is_restless("vf", START + now)


def test_one_guest_says_nothing_of_another(restlessness: Restlessness[str]) -> None:
    for _time in range(MOST):
        restlessness.changed("vf", START)
    assert restlessness.is_restless("vf", START)
    assert not restlessness.is_restless("other", START)


def test_who_is_gone_comes_back_as_nobody(restlessness: Restlessness[str]) -> None:
    for _time in range(MOST):
        restlessness.changed("vf", START)
    restlessness.forget_all_but(frozenset({"vf", "other"}))
    assert restlessness.is_restless("vf", START)
    restlessness.forget_all_but(frozenset({"other"}))
    assert not restlessness.is_restless("vf", START)
