"""From what an operator says of a rate to the token bucket that holds to it."""

import pytest

from sriov_xdp.vswitch.shaping import Queue, Shaping

MTU_BYTES, LONGEST_BYTES = 1500, 1518


@pytest.mark.parametrize(
    ("said", "rate", "burst_bytes", "waiting_bytes"),
    [
        (Shaping(average_kbps=1000), 125_000, 16_384, 12_500),
        (Shaping(average_kbps=49_999), 6_249_875, 16_384, 624_987),
        (Shaping(average_kbps=50_000), 6_250_000, 72_000, 312_500),
        (Shaping(average_kbps=1_000_000), 125_000_000, 1_250_000, 6_250_000),
        (Shaping(average_kbps=1000, burst_bytes=50_000), 125_000, 50_000, 12_500),
        (Shaping(average_kbps=1000, burst_bytes=10), 125_000, LONGEST_BYTES, 12_500),
    ],
)
def test_bursts_are_small_at_low_rates_and_what_waits_is_some_tens_of_milliseconds(
    said: Shaping, rate: int, burst_bytes: int, waiting_bytes: int
) -> None:
    expected = Queue(
        bytes_per_second=rate,
        peak_bytes_per_second=0,
        burst_bytes=burst_bytes,
        limit_bytes=burst_bytes + waiting_bytes,
        longest_bytes=LONGEST_BYTES,
    )
    assert expected == said.queue(MTU_BYTES)


def test_a_peak_is_told_as_well() -> None:
    queue = Shaping(average_kbps=100_000, peak_kbps=200_000).queue(MTU_BYTES)
    assert queue
    assert (12_500_000, 25_000_000) == (queue.bytes_per_second, queue.peak_bytes_per_second)


def test_without_a_rate_nothing_waits() -> None:
    assert Shaping().queue(MTU_BYTES) is None


@pytest.mark.parametrize("said", [{"average_kbps": 10, "peak_kbps": 10}, {"peak_kbps": 10}, {"burst_bytes": 10}])
def test_what_says_nothing_sensible_is_refused(said: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Shaping(**said)
