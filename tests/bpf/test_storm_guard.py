"""Broadcast and multicast of a guest are held to what its port may send in a second; all other frames are not. The clock runs: what
is counted here is bounded by the time that passed, never measured against it."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cast import (
    GROUP,
    MAC_FORGER,
    MAC_INVENTED,
    MAC_ON_THE_WIRE,
    MAC_VM1,
    MAC_VM2,
    NETWORK,
    SLOT_FORGER,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    dropped,
    forwarded,
)
from programs import BROADCAST, Switch, ethernet, image

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.meters import Guard
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import namespaces

SLOW = Guard(broadcast_pps=10, multicast_pps=20)
MANY = 100
BURST_SECONDS = abi.GUARD_BURST_NS / 1e9
KINDS = {"broadcast": (BROADCAST, SLOW.broadcast_pps), "multicast": (GROUP, SLOW.multicast_pps)}


def put(switch: Switch, guard: Guard, slot: int = SLOT_VM1) -> None:
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(slot, replace(image(NETWORK[slot], NETWORK), guard=guard))


def verdicts_of(switch: Switch, frame: bytes, count: int, slot: int = SLOT_VM1, **options: int) -> dict[Verdict, int]:
    before = switch.counters([slot])[slot].verdicts
    with namespaces.in_namespace(switch.netns):
        for _frame in range(count):
            switch.run_tc(slot, frame, **options)
    after = switch.counters([slot])[slot].verdicts
    return {verdict: after[verdict] - before[verdict] for verdict in Verdict if after[verdict] != before[verdict]}


@pytest.fixture
def guarded(switch: Switch) -> Iterator[Switch]:
    put(switch, SLOW)
    yield switch
    put(switch, Guard())


@pytest.mark.parametrize(("destination", "pps"), KINDS.values(), ids=KINDS)
def test_a_storm_is_held_to_its_rate_and_the_rest_is_counted(guarded: Switch, destination: bytes, pps: int) -> None:
    started = time.monotonic()
    seen = verdicts_of(guarded, ethernet(destination, MAC_VM1), MANY)
    most = (time.monotonic() - started + BURST_SECONDS) * pps + 1
    assert {Verdict.FLOODED, Verdict.STORM} == seen.keys()
    assert MANY == sum(seen.values())
    assert 1 <= seen[Verdict.FLOODED] <= most


def test_broadcast_and_multicast_have_a_limit_each(guarded: Switch) -> None:
    assert Verdict.STORM in verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), MANY)
    assert Verdict.FLOODED is guarded.tc(SLOT_VM1, ethernet(GROUP, MAC_VM1)).verdict


def test_a_port_that_rested_sends_again(guarded: Switch) -> None:
    assert Verdict.STORM in verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), MANY)
    deadline = time.monotonic() + 10
    while Verdict.FLOODED not in verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), 1):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("guard", [Guard(), Guard(broadcast_pps=10_000_000, multicast_pps=10_000_000)], ids=["none", "wide"])
@pytest.mark.parametrize("destination", [BROADCAST, GROUP], ids=["broadcast", "multicast"])
def test_without_a_limit_in_reach_every_frame_is_flooded(switch: Switch, destination: bytes, guard: Guard) -> None:
    put(switch, guard)
    assert {Verdict.FLOODED: MANY} == verdicts_of(switch, ethernet(destination, MAC_VM1), MANY)


def test_a_super_frame_counts_as_its_segments(guarded: Switch) -> None:
    """Ten segments take a second of ten frames a second."""
    frame = ethernet(BROADCAST, MAC_VM1, bytes(1000))
    before = time.monotonic_ns()
    assert {Verdict.FLOODED: 10} == verdicts_of(guarded, frame, 1, segments=10, segment_bytes=100)
    after = time.monotonic_ns()
    due_ns, _multicast_due_ns = times_of(guarded)
    assert before <= due_ns - 1_000_000_000 + abi.GUARD_BURST_NS <= after


def test_a_super_frame_whose_segments_nobody_counted_counts_as_what_it_will_be(guarded: Switch) -> None:
    """As a guest's own program redirects it past its stack; the headers are taken for payload."""
    frame = ethernet(BROADCAST, MAC_VM1, bytes(1000))
    assert {Verdict.FLOODED: -(-len(frame) // 100)} == verdicts_of(guarded, frame, 1, segments=0, segment_bytes=100)


def test_unicast_of_a_storming_guest_goes_on(guarded: Switch) -> None:
    assert Verdict.STORM in verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), MANY)
    frame = ethernet(MAC_VM2, MAC_VM1)
    assert {Verdict.FORWARDED: MANY} == verdicts_of(guarded, frame, MANY)
    assert forwarded(SLOT_VM2, frame) == guarded.xdp(SLOT_VM1, frame)


def test_one_guests_storm_is_nobody_elses(guarded: Switch) -> None:
    put(guarded, SLOW, SLOT_FORGER)
    assert Verdict.STORM in verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), MANY)
    assert Verdict.FLOODED is guarded.tc(SLOT_FORGER, ethernet(BROADCAST, MAC_FORGER)).verdict
    put(guarded, Guard(), SLOT_FORGER)


def test_the_wire_has_no_guard(switch: Switch) -> None:
    put(switch, SLOW, SLOT_UPLINK)
    assert {Verdict.FLOODED: MANY} == verdicts_of(switch, ethernet(BROADCAST, MAC_ON_THE_WIRE), MANY, SLOT_UPLINK)
    put(switch, Guard(), SLOT_UPLINK)


def test_what_is_not_admitted_takes_nothing_of_the_limit(guarded: Switch) -> None:
    assert {Verdict.FORGED_SOURCE: MANY} == verdicts_of(guarded, ethernet(BROADCAST, MAC_INVENTED), MANY)
    assert Verdict.FLOODED is guarded.tc(SLOT_VM1, ethernet(BROADCAST, MAC_VM1)).verdict


def test_a_storming_frame_is_dropped_and_reaches_nobody(guarded: Switch) -> None:
    frame = ethernet(BROADCAST, MAC_VM1)
    verdicts_of(guarded, frame, MANY)
    assert dropped(Verdict.STORM) == guarded.tc(SLOT_VM1, frame)
    assert guarded.xdp(SLOT_VM1, frame) is None


# ---- what the daemon writes ----


def times_of(switch: Switch) -> tuple[int, int]:
    packed = libbpf.lookup_element(switch.pins.map_fd("guards"), abi.SLOT_LAYOUT.pack(SLOT_VM1), abi.GUARD_LAYOUT.size)
    _broadcast_ns, broadcast_due_ns, _multicast_ns, multicast_due_ns = abi.GUARD_LAYOUT.unpack(packed or b"")
    return broadcast_due_ns, multicast_due_ns


def test_a_port_that_is_written_for_another_reason_keeps_its_time(guarded: Switch) -> None:
    verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), MANY)
    before = times_of(guarded)
    value = NETWORK[SLOT_VM1].value
    changed = replace(image(NETWORK[SLOT_VM1], NETWORK), value=replace(value, flags=value.flags | PortFlag.NO_CARRIER), guard=SLOW)
    with namespaces.in_namespace(guarded.netns):
        guarded.tables.put_port(SLOT_VM1, changed)
    assert before == times_of(guarded)


def test_who_takes_over_writes_only_what_differs(guarded: Switch) -> None:
    verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), MANY)
    before = times_of(guarded)
    with namespaces.in_namespace(guarded.netns):
        guarded.tables = Tables(guarded.pins)
        guarded.tables.adopt()
        put(guarded, SLOW)
    assert 0 == guarded.tables.writes
    assert before == times_of(guarded)


def test_a_change_of_the_limit_holds_at_once(guarded: Switch) -> None:
    put(guarded, Guard())
    assert {Verdict.FLOODED: MANY} == verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), MANY)
    put(guarded, SLOW)
    assert Verdict.STORM in verdicts_of(guarded, ethernet(BROADCAST, MAC_VM1), MANY)


def test_the_next_owner_of_a_slot_does_not_pay_for_the_last(guarded: Switch) -> None:
    frame = ethernet(BROADCAST, MAC_VM1, bytes(1400))
    verdicts_of(guarded, frame, 1, segments=1000, segment_bytes=100)
    assert dropped(Verdict.STORM) == guarded.tc(SLOT_VM1, ethernet(BROADCAST, MAC_VM1))
    guarded.tables.clear_port(SLOT_VM1)
    put(guarded, SLOW)
    assert Verdict.FLOODED is guarded.tc(SLOT_VM1, ethernet(BROADCAST, MAC_VM1)).verdict


def test_group_frames_that_entered_or_were_held_back_are_counted_together(guarded: Switch) -> None:
    before = guarded.tables.group_frames_of(SLOT_VM1)
    for destination in (BROADCAST, GROUP, MAC_VM2):
        verdicts_of(guarded, ethernet(destination, MAC_VM1), MANY)
    assert 2 * MANY == guarded.tables.group_frames_of(SLOT_VM1) - before
