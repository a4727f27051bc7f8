"""What is counted of requests, and how a guest that keeps being refused does not flood the log."""

import logging
from types import SimpleNamespace

import pytest

from sriov_xdp.mailbox.messages import Opcode
from sriov_xdp.pf import metrics
from sriov_xdp.pf.intent import VfAddress
from sriov_xdp.pf.metrics import DURATION_BUCKETS_SECONDS, LOG_LINES_A_SECOND, RequestMetrics
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import Deny, Device, Grant

VF_WEB, VF_DB = VfAddress("pf0", 0), VfAddress("pf0", 1)
MAC_VM1 = MacAddress.parse("02:00:00:00:01:01")
VM1 = Device(admin_mac=MAC_VM1, effective_mac=MAC_VM1)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now_seconds = 5000.0

    def monotonic(self) -> float:
        return self.now_seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def refuse(counted: RequestMetrics, count: int, vf: VfAddress = VF_WEB) -> None:
    for number in range(count):
        counted.log_refusal(vf, "%s: refusal %d", (vf, number))


# Counting.


def test_requests_are_counted_by_vf_opcode_and_outcome() -> None:
    counted = RequestMetrics()
    for vf, opcode, outcome in [
        (VF_WEB, Opcode.ADD_ETH_ADDR, "accepted"),
        (VF_WEB, Opcode.ADD_ETH_ADDR, "accepted"),
        (VF_WEB, Opcode.ADD_ETH_ADDR, "pretended"),
        (VF_WEB, Opcode.GET_STATS, "accepted"),
        (VF_DB, Opcode.ADD_ETH_ADDR, "accepted"),
    ]:
        counted.count_request(vf, opcode, outcome, 0.0)
    assert {
        ("pf0", "pf0vf0", "add_eth_addr", "accepted"): 2,
        ("pf0", "pf0vf0", "add_eth_addr", "pretended"): 1,
        ("pf0", "pf0vf0", "get_stats", "accepted"): 1,
        ("pf0", "pf0vf1", "add_eth_addr", "accepted"): 1,
    } == counted.requests


@pytest.mark.parametrize("opcode", [0, 16, 999, 0xFFFFFFFF])
def test_opcodes_that_nobody_knows_share_one_name(opcode: int) -> None:
    """Else a guest could make a new time series with every message."""
    counted = RequestMetrics()
    counted.count_request(VF_WEB, opcode, "invalid", 0.0)
    assert {("pf0", "pf0vf0", "unknown", "invalid"): 1} == counted.requests


def test_invalid_messages_have_no_duration() -> None:
    counted = RequestMetrics()
    counted.count_request(VF_WEB, Opcode.GET_STATS, "invalid", 0.5)
    assert ({}, {}) == (counted.durations, counted.duration_sums)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), *((bound, index) for index, bound in enumerate(DURATION_BUCKETS_SECONDS)), (0.000011, 1), (0.1001, 10), (60.0, 10)],
)
def test_a_duration_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: int) -> None:
    counted = RequestMetrics()
    counted.count_request(VF_WEB, Opcode.GET_STATS, "accepted", seconds)
    assert [int(index == bucket) for index in range(11)] == counted.durations["get_stats"]


def test_durations_are_kept_and_summed_by_opcode() -> None:
    counted = RequestMetrics()
    for opcode, seconds in [(Opcode.GET_STATS, 0.25), (Opcode.GET_STATS, 0.5), (Opcode.RESET_VF, 1.0)]:
        counted.count_request(VF_WEB, opcode, "accepted", seconds)
    assert {"get_stats": 0.75, "reset_vf": 1.0} == counted.duration_sums
    assert {"get_stats": 2, "reset_vf": 1} == {name: sum(buckets) for name, buckets in counted.durations.items()}


def test_decisions_are_counted_by_rule_without_its_origin() -> None:
    counted = RequestMetrics()
    for decision in [
        Grant(device=VM1, rule="mac_changes: accept (port group web)"),
        Deny(rule="mac_changes: reject (port group db)", reason="no"),
        Deny(rule="mac_changes: reject (switch vSwitch0)", reason="no"),
        Deny(rule="filter limit: 16", reason="no"),
        Deny(rule="address in use", reason="no"),
    ]:
        counted.count_decision(decision)
    assert {
        ("mac_changes", "grant"): 1,
        ("mac_changes", "deny"): 2,
        ("filter limit", "deny"): 1,
        ("address in use", "deny"): 1,
    } == counted.decisions


# The log.


def test_refusals_within_the_budget_are_all_logged_as_warnings(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    refuse(RequestMetrics(), LOG_LINES_A_SECOND)
    assert [("WARNING", f"pf0vf0: refusal {n}") for n in range(5)] == [(r.levelname, r.getMessage()) for r in caplog.records]


def test_what_is_beyond_the_budget_is_summed_up_in_the_next_second(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = RequestMetrics()
    refuse(counted, LOG_LINES_A_SECOND + 37)
    assert LOG_LINES_A_SECOND == len(caplog.messages)
    clock.now_seconds += 1.0
    refuse(counted, 1)
    assert ["pf0vf0: suppressed 37 more refusals", "pf0vf0: refusal 0"] == caplog.messages[LOG_LINES_A_SECOND:]


def test_each_second_has_its_own_budget(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = RequestMetrics()
    for _second in range(3):
        refuse(counted, LOG_LINES_A_SECOND)
        clock.now_seconds += 1.0
    assert 3 * LOG_LINES_A_SECOND == len(caplog.messages)


def test_the_sum_is_said_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = RequestMetrics()
    refuse(counted, LOG_LINES_A_SECOND + 1)
    for _second in range(3):
        clock.now_seconds += 1.0
        refuse(counted, 1)
    assert 1 == len([line for line in caplog.messages if "suppressed" in line])


def test_one_guests_flood_does_not_silence_another(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = RequestMetrics()
    refuse(counted, 1000)
    refuse(counted, 1, VF_DB)
    assert "pf0vf1: refusal 0" == caplog.messages[-1]
    assert LOG_LINES_A_SECOND + 1 == len(caplog.messages)


def test_a_burst_within_one_second_stays_one_burst(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = RequestMetrics()
    refuse(counted, LOG_LINES_A_SECOND)
    clock.now_seconds += 0.9
    refuse(counted, LOG_LINES_A_SECOND)
    assert LOG_LINES_A_SECOND == len(caplog.messages)


def test_faults_share_the_budget_of_refusals(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    counted = RequestMetrics()
    for number in range(LOG_LINES_A_SECOND + 10):
        counted.log_refusal(VF_WEB, "%s: failed %d", (VF_WEB, number), logging.ERROR)
    assert [("ERROR", f"pf0vf0: failed {n}") for n in range(5)] == [(r.levelname, r.getMessage()) for r in caplog.records]
