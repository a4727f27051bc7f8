"""bpf/rate.h, compiled for the host, does what the algorithm says: a policed port has its rate and its burst, and no more."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.datapath import abi
from sriov_xdp.datapath.abi import Verdict
from sriov_xdp.datapath.meters import Rate
from sriov_xdp.datapath.sources import source_dir

# Reads the six words of both buckets, then "bytes now_ns" a line, and answers with a verdict a line.
DRIVER = """
#include <stdio.h>
#include "rules/rate.h"

int main(void)
{
    struct sxdp_rate rate = {};
    unsigned long long words[6], bytes, now_ns;

    for (int i = 0; i < 6; i++)
        if (scanf("%llu", &words[i]) != 1)
            return 1;
    rate.average = (struct sxdp_bucket){ words[0], words[1], words[2] };
    rate.peak = (struct sxdp_bucket){ words[3], words[4], words[5] };
    while (scanf("%llu %llu", &bytes, &now_ns) == 2)
        printf("%d\\n", (int)rate_admit(&rate, bytes, now_ns));
    return 0;
}
"""
START_NS = 10**15
ADMITTED = 0x100
UNITS_A_NS = 1024
FIRST_BYTES = 1514
MONTH_NS = 31 * 24 * 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Arrival:
    length_bytes: int
    after_ns: int


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rate")
    (folder / "driver.c").write_text(DRIVER)
    subprocess.run(["clang", "-O1", "-I", str(source_dir()), "-o", str(folder / "driver"), str(folder / "driver.c")], check=True)
    return folder / "driver"


def passes(driver: Path, rate: Rate, arrivals: list[Arrival], *, full_at_ns: int = 0) -> list[bool]:
    """Which frames pass. full_at_ns: what the buckets say at first."""
    cost, burst, _full, peak_cost, peak_burst, *_rest = abi.RATE_LAYOUT.unpack(rate.pack())
    full_at = full_at_ns * UNITS_A_NS % 2**64
    lines, now_ns = [f"{cost} {burst} {full_at} {peak_cost} {peak_burst} {full_at}"], START_NS
    for arrival in arrivals:
        now_ns += arrival.after_ns
        lines.append(f"{arrival.length_bytes} {now_ns}")
    done = subprocess.run([driver], input="\n".join(lines), capture_output=True, text=True, check=True)
    answers = [int(line) for line in done.stdout.split()]
    assert {ADMITTED, Verdict.RATE_LIMITED} >= set(answers)
    assert len(arrivals) == len(answers)
    return [answer == ADMITTED for answer in answers]


class Bucket:
    """The same rule said otherwise: what is owed is paid off by time, and whole numbers have no end."""

    def __init__(self, cost: int, burst: int) -> None:
        self.cost, self.burst, self.owed = cost, burst, 0

    def price(self, length_bytes: int) -> int:
        exact = length_bytes * self.cost // 1024
        return exact if length_bytes < 1 << 20 else length_bytes // 1024 * self.cost

    def wait(self, ns: int) -> None:
        self.owed = max(0, self.owed - ns * UNITS_A_NS)

    def has_room(self, length_bytes: int) -> bool:
        return not self.owed or self.owed + self.price(min(length_bytes, FIRST_BYTES)) <= self.burst


def two_buckets(rate: Rate, arrivals: list[Arrival]) -> list[bool]:
    cost, burst, _full, peak_cost, peak_burst, *_rest = abi.RATE_LAYOUT.unpack(rate.pack())
    buckets = [Bucket(cost, burst), *([Bucket(peak_cost, peak_burst)] if peak_cost else [])]
    answers = []
    for arrival in arrivals:
        for bucket in buckets:
            bucket.wait(arrival.after_ns)
        may_pass = all(bucket.has_room(arrival.length_bytes) for bucket in buckets)
        for bucket in buckets if may_pass else []:
            bucket.owed += bucket.price(arrival.length_bytes)
        answers.append(may_pass)
    return answers


arrivals_at_random = st.lists(
    st.builds(
        Arrival,
        length_bytes=st.sampled_from([14, 64, 1514, 1518, 9018, 67_602, 200_000, 3_000_000, 99_000_000]),
        after_ns=st.sampled_from([0, 0, 1, 99, 10**5, 10**7, 10**9]),
    ),
    max_size=60,
)
rates = st.builds(
    Rate,
    average_kbps=st.sampled_from([1, 8, 1000, 100_000, 10_000_000]),
    peak_kbps=st.sampled_from([0, 0, 20_000_000]),
    burst_bytes=st.sampled_from([1518, 65_536, 1_000_000]),
    peak_burst_bytes=st.just(30_000),
)


@settings(deadline=None, max_examples=200)
@given(rate=rates, arrivals=arrivals_at_random)
def test_it_takes_what_two_buckets_take(driver: Path, rate: Rate, arrivals: list[Arrival]) -> None:
    assert two_buckets(rate, arrivals) == passes(driver, rate, arrivals)


@pytest.mark.parametrize("kbps", [8, 1000, 100_000, 10_000_000])
@pytest.mark.parametrize("length_bytes", [64, 1514])
def test_in_the_long_run_the_rate_is_had_and_no_more(driver: Path, kbps: int, length_bytes: int) -> None:
    """Twice the rate is offered, for as long as a hundred bursts take."""
    rate = Rate(average_kbps=kbps, burst_bytes=20 * 1514)
    interval_ns = length_bytes * 8 * 10**6 // kbps // 2
    count = 100 * rate.burst_bytes // length_bytes * 2
    passed = sum(passes(driver, rate, [Arrival(length_bytes, interval_ns)] * count)) * length_bytes
    due = count * interval_ns * kbps / 8e6
    assert 0.995 <= (passed - rate.burst_bytes) / due <= 1.005


def test_a_small_frame_finds_room_beside_super_frames(driver: Path) -> None:
    """A bucket that a super-frame overdrew lets small ones in as soon as it lets anything in."""
    rate = Rate(average_kbps=10_000, burst_bytes=16_384)
    pay_off_ns = (67_602 - 16_384) * 800 + 1514 * 800
    assert [True, False, False, True] == passes(
        driver, rate, [Arrival(67_602, 0), Arrival(67_602, 0), Arrival(64, 0), Arrival(64, pay_off_ns)]
    )


def test_what_was_written_ages_ago_is_no_debt(driver: Path) -> None:
    """Times wrap after half a year; a word from before would bar the port for as long again."""
    rate = Rate(average_kbps=1000, burst_bytes=16_384)
    assert [True] == passes(driver, rate, [Arrival(64, 0)], full_at_ns=START_NS + MONTH_NS)


def test_a_peak_that_refuses_costs_the_average_nothing(driver: Path) -> None:
    rate = Rate(average_kbps=10_000, peak_kbps=20_000, burst_bytes=1_000_000, peak_burst_bytes=3036)
    at_once = passes(driver, rate, [Arrival(1518, 0)] * 1000)
    assert 2 == sum(at_once)
    later = passes(driver, rate, [*[Arrival(1518, 0)] * 1000, Arrival(1518, 10**9)])
    assert later[-1]
