"""bpf/guard.h, compiled for the host, does what the algorithm says: never more than the rate and the burst, never less."""

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.datapath.abi import GUARD_BURST_NS, Verdict
from sriov_xdp.datapath.meters import Guard
from sriov_xdp.datapath.sources import source_dir

# Reads "interval_ns frames now_ns" a line and answers with a verdict and the due time a line; the meter is kept between lines.
DRIVER = """
#include <stdio.h>
#include "rules/guard.h"

int main(void)
{
    struct sxdp_meter meter = {};
    unsigned long long interval_ns, frames, now_ns;

    while (scanf("%llu %llu %llu", &interval_ns, &frames, &now_ns) == 3) {
        meter.interval_ns = interval_ns;
        int verdict = guard_admit(&meter, frames, now_ns);
        printf("%d %llu\\n", verdict, (unsigned long long)meter.due_ns);
    }
    return 0;
}
"""
START_NS = 10**15
ADMITTED = 0x100


@dataclass(frozen=True, slots=True)
class Arrival:
    frames: int
    after_ns: int


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guard")
    (folder / "driver.c").write_text(DRIVER)
    subprocess.run(["clang", "-O1", "-I", str(source_dir()), "-o", str(folder / "driver"), str(folder / "driver.c")], check=True)
    return folder / "driver"


def verdicts(driver: Path, interval_ns: int, arrivals: list[Arrival]) -> list[bool]:
    """Which frames enter."""
    lines, now_ns = [], START_NS
    for arrival in arrivals:
        now_ns += arrival.after_ns
        lines.append(f"{interval_ns} {arrival.frames} {now_ns}")
    done = subprocess.run([driver], input="\n".join(lines), capture_output=True, text=True, check=True)
    answers = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert {ADMITTED, Verdict.STORM} >= set(answers)
    assert len(arrivals) == len(answers)
    return [answer == ADMITTED for answer in answers]


def bucket_of_credit(interval_ns: int, arrivals: list[Arrival]) -> list[bool]:
    """The same rule said otherwise: credit grows by time up to the burst; what comes while there is no debt enters, and pays."""
    credit_ns, answers = Fraction(GUARD_BURST_NS), []
    for arrival in arrivals:
        credit_ns = min(credit_ns + arrival.after_ns, Fraction(GUARD_BURST_NS))
        answers.append(credit_ns >= 0)
        if credit_ns >= 0:
            credit_ns -= arrival.frames * interval_ns
    return answers


arrivals_at_random = st.lists(
    st.builds(
        Arrival, frames=st.sampled_from([1, 1, 1, 2, 45, 65535]), after_ns=st.sampled_from([0, 0, 1, 99, 10**5, 10**7, 10**9])
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=100)
@given(pps=st.sampled_from([1, 3, 9, 10, 100, 10_000, 100_000, 10_000_000]), arrivals=arrivals_at_random)
def test_it_takes_what_a_bucket_of_credit_takes(driver: Path, pps: int, arrivals: list[Arrival]) -> None:
    interval_ns, _multicast_ns = Guard.intervals_in(Guard(broadcast_pps=pps).pack())
    assert bucket_of_credit(interval_ns, arrivals) == verdicts(driver, interval_ns, arrivals)


@pytest.mark.parametrize(("pps", "burst"), [(1, 1), (10, 2), (100, 11), (10_000, 1001)])
def test_after_a_rest_a_tenth_of_a_second_enters_at_once(driver: Path, pps: int, burst: int) -> None:
    interval_ns, _multicast_ns = Guard.intervals_in(Guard(broadcast_pps=pps).pack())
    assert burst == sum(verdicts(driver, interval_ns, [Arrival(1, 0)] * 2000))


@pytest.mark.parametrize("pps", [1, 7, 100, 700])
def test_in_the_long_run_the_rate_is_had_and_no_more(driver: Path, pps: int) -> None:
    """A hundred seconds of a frame each millisecond."""
    interval_ns, _multicast_ns = Guard.intervals_in(Guard(broadcast_pps=pps).pack())
    entered = sum(verdicts(driver, interval_ns, [Arrival(1, 1_000_000)] * 100_000))
    assert 0 <= entered - 99.9 * pps * (1 - 1e-6) <= pps * 0.2 + 2


def test_a_super_frame_enters_whole_and_is_paid_for_afterwards(driver: Path) -> None:
    interval_ns, _multicast_ns = Guard.intervals_in(Guard(broadcast_pps=100).pack())
    ten_milliseconds = [Arrival(1, 10_000_000)] * 60
    seen = verdicts(driver, interval_ns, [Arrival(60, 0), *ten_milliseconds])
    assert [True, *[False] * 49, *[True] * 11] == seen
