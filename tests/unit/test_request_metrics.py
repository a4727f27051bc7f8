"""What is counted of requests."""

import pytest

from sriov_xdp.mailbox.messages import Opcode
from sriov_xdp.pf.hands.request_metrics import DURATION_BUCKETS_SECONDS, RequestMetrics
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.store.audit import Outcome
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import Deny, Grant, VfState

VF_WEB, VF_DB = VfAddress("pf0", 0), VfAddress("pf0", 1)
MAC_VM1 = MacAddress.parse("02:00:00:00:01:01")
VM1 = VfState(admin_mac=MAC_VM1, effective_mac=MAC_VM1)


def test_requests_are_counted_by_vf_opcode_and_outcome() -> None:
    counted = RequestMetrics()
    for vf, opcode, outcome in [
        (VF_WEB, Opcode.ADD_ETH_ADDR, Outcome.GRANTED),
        (VF_WEB, Opcode.ADD_ETH_ADDR, Outcome.GRANTED),
        (VF_WEB, Opcode.ADD_ETH_ADDR, Outcome.PRETENDED),
        (VF_WEB, Opcode.GET_STATS, Outcome.GRANTED),
        (VF_DB, Opcode.ADD_ETH_ADDR, Outcome.GRANTED),
    ]:
        counted.count_request(vf, opcode, outcome, 0.0)
    assert {
        ("pf0", "pf0vf0", "add_eth_addr", Outcome.GRANTED): 2,
        ("pf0", "pf0vf0", "add_eth_addr", Outcome.PRETENDED): 1,
        ("pf0", "pf0vf0", "get_stats", Outcome.GRANTED): 1,
        ("pf0", "pf0vf1", "add_eth_addr", Outcome.GRANTED): 1,
    } == counted.requests


@pytest.mark.parametrize("opcode", [0, 16, 999, 0xFFFFFFFF])
def test_opcodes_that_nobody_knows_share_one_name(opcode: int) -> None:
    """Else a guest could make a new time series with every message."""
    counted = RequestMetrics()
    counted.count_request(VF_WEB, opcode, Outcome.INVALID, 0.0)
    assert {("pf0", "pf0vf0", "unknown", Outcome.INVALID): 1} == counted.requests


def test_invalid_messages_have_no_duration() -> None:
    counted = RequestMetrics()
    counted.count_request(VF_WEB, Opcode.GET_STATS, Outcome.INVALID, 0.5)
    assert ({}, {}) == (counted.durations.counts, counted.durations.sums)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), *((bound, index) for index, bound in enumerate(DURATION_BUCKETS_SECONDS)), (0.000011, 1), (0.1001, 10), (60.0, 10)],
)
def test_a_duration_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: int) -> None:
    counted = RequestMetrics()
    counted.count_request(VF_WEB, Opcode.GET_STATS, Outcome.GRANTED, seconds)
    assert [int(index == bucket) for index in range(11)] == counted.durations.counts["get_stats"]


def test_durations_are_kept_and_summed_by_opcode() -> None:
    counted = RequestMetrics()
    for opcode, seconds in [(Opcode.GET_STATS, 0.25), (Opcode.GET_STATS, 0.5), (Opcode.RESET_VF, 1.0)]:
        counted.count_request(VF_WEB, opcode, Outcome.GRANTED, seconds)
    assert {"get_stats": 0.75, "reset_vf": 1.0} == counted.durations.sums
    assert {"get_stats": 2, "reset_vf": 1} == {name: sum(buckets) for name, buckets in counted.durations.counts.items()}


def test_decisions_are_counted_by_rule_without_its_origin() -> None:
    counted = RequestMetrics()
    for decision in [
        Grant(state=VM1, rule="mac_changes: accept (port group web)"),
        Deny(rule="mac_changes: reject (port group db)", reason="no"),
        Deny(rule="mac_changes: reject (switch vSwitch0)", reason="no"),
        Deny(rule="quotas: macs=16,vlans=8 (default)", reason="no"),
        Deny(rule="address in use", reason="no"),
    ]:
        counted.count_decision(decision)
    assert {
        ("mac_changes", "grant"): 1,
        ("mac_changes", "deny"): 2,
        ("quotas", "deny"): 1,
        ("address in use", "deny"): 1,
    } == counted.decisions
