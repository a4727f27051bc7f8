"""Whatever a guest sets off again and again, it does not flood the log, and hides neither other guests' lines nor other kinds."""

import logging

import pytest

from sriov_xdp.pf.hands.log_budget import LOG_LINES_A_SECOND, BudgetedLog, LogKind
from sriov_xdp.pf.hands.request_metrics import RequestMetrics
from sriov_xdp.pf.state.intent import VfAddress

VF_WEB, VF_DB = VfAddress("pf0", 0), VfAddress("pf0", 1)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now_seconds = 5000.0

    def __call__(self) -> float:
        return self.now_seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counted(clock: Clock, caplog: pytest.LogCaptureFixture) -> RequestMetrics:
    caplog.set_level(logging.INFO)
    return RequestMetrics(log=BudgetedLog(logging.getLogger("sriov_xdp.pf"), clock))


def refuse(counted: RequestMetrics, count: int, vf: VfAddress = VF_WEB) -> None:
    for number in range(count):
        counted.log_refusal(vf, "%s: refusal %d", (vf, number))


def test_lines_within_the_budget_are_all_logged_at_their_level(counted: RequestMetrics, caplog: pytest.LogCaptureFixture) -> None:
    refuse(counted, 2)
    counted.log_change(VF_WEB, "%s: change", (VF_WEB,))
    counted.log_failure(VF_WEB, "%s: failure", (VF_WEB,))
    assert [
        ("WARNING", "pf0vf0: refusal 0"),
        ("WARNING", "pf0vf0: refusal 1"),
        ("INFO", "pf0vf0: change"),
        ("ERROR", "pf0vf0: failure"),
    ] == [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize(("write", "kind"), [("log_refusal", "refusals"), ("log_change", "changes"), ("log_failure", "failures")])
def test_what_is_beyond_the_budget_is_summed_up_in_the_next_second(
    counted: RequestMetrics, clock: Clock, caplog: pytest.LogCaptureFixture, write: str, kind: str
) -> None:
    for number in range(LOG_LINES_A_SECOND + 37):
        getattr(counted, write)(VF_WEB, "line %d", (number,))
    assert [f"line {number}" for number in range(LOG_LINES_A_SECOND)] == caplog.messages
    clock.now_seconds += 1.0
    getattr(counted, write)(VF_WEB, "line %d", (0,))
    assert [f"pf0vf0: suppressed 37 more {kind}", "line 0"] == caplog.messages[LOG_LINES_A_SECOND:]


def test_a_timer_sums_up_those_who_have_gone_quiet_and_only_those(
    counted: RequestMetrics, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(counted, LOG_LINES_A_SECOND + 2)
    counted.log_suppressed()
    assert LOG_LINES_A_SECOND == len(caplog.messages)
    clock.now_seconds += 1.0
    refuse(counted, LOG_LINES_A_SECOND + 1, VF_DB)
    caplog.clear()
    for _round in range(2):
        counted.log_suppressed()
    assert ["pf0vf0: suppressed 2 more refusals"] == caplog.messages


def test_each_second_has_its_own_budget(counted: RequestMetrics, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _second in range(3):
        refuse(counted, LOG_LINES_A_SECOND)
        clock.now_seconds += 1.0
    assert 3 * LOG_LINES_A_SECOND == len(caplog.messages)


def test_the_sum_is_said_once(counted: RequestMetrics, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    refuse(counted, LOG_LINES_A_SECOND + 1)
    for _second in range(3):
        clock.now_seconds += 1.0
        refuse(counted, 1)
    assert 1 == len([line for line in caplog.messages if "suppressed" in line])


def test_one_guests_flood_does_not_silence_another(counted: RequestMetrics, caplog: pytest.LogCaptureFixture) -> None:
    refuse(counted, 1000)
    refuse(counted, 1, VF_DB)
    assert "pf0vf1: refusal 0" == caplog.messages[-1]
    assert LOG_LINES_A_SECOND + 1 == len(caplog.messages)


def test_a_flood_of_one_kind_does_not_hide_another(counted: RequestMetrics, caplog: pytest.LogCaptureFixture) -> None:
    refuse(counted, 1000)
    counted.log_failure(VF_WEB, "%s: failure", (VF_WEB,))
    assert "pf0vf0: failure" == caplog.messages[-1]


def test_a_burst_within_one_second_stays_one_burst(counted: RequestMetrics, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    refuse(counted, LOG_LINES_A_SECOND)
    clock.now_seconds += 0.9
    refuse(counted, LOG_LINES_A_SECOND)
    assert LOG_LINES_A_SECOND == len(caplog.messages)


def test_an_exception_comes_with_its_trace_and_within_the_budget(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = BudgetedLog(logging.getLogger("sriov_xdp.pf"), clock)
    for _time in range(1000):
        try:
            int("odd")
        except ValueError:
            log.write(logging.ERROR, "mailbox", LogKind.FAILURES, "internal error", is_exception=True)
    assert [ValueError] * LOG_LINES_A_SECOND == [record.exc_info[0] for record in caplog.records]
