"""What is made of measurements: medians, ratios within a round, and how sure they are. Pure.

Machines of our kind are shared and drift by more than what we look for, so nothing is compared across rounds: in each round
every arm is measured once, and only ratios to the same round's reference count.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Median of per-round ratios with a bootstrap interval; count: rounds."""

    median: float
    low: float
    high: float
    count: int


def estimate(ratios: Sequence[float]) -> Estimate:
    """Median and its 95 % bootstrap interval (percentile method, fixed seed: the same data give the same interval)."""
    chance = random.Random(0)  # noqa: S311  # resampling, not secrets
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLES))
    tail = (1 - _CONFIDENCE) / 2
    low, high = medians[int(tail * _RESAMPLES)], medians[int((1 - tail) * _RESAMPLES) - 1]
    return Estimate(median=statistics.median(ratios), low=low, high=high, count=len(ratios))


def ratios(arm: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Round by round."""
    return [one / other for one, other in zip(arm, reference, strict=True) if other]


def order_of(arms: Sequence[str], round_number: int) -> list[str]:
    """ABBA over many arms: every other round runs backwards, so that a drift within rounds cancels."""
    return list(arms) if round_number % 2 == 0 else list(reversed(arms))
