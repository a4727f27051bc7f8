"""Which way a frame takes: a fast one only between ports without settings that it does not know, and the long one otherwise, each
time; and what becomes of a frame whose next program is not there."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cast import MAC_ON_THE_WIRE, MAC_UPLINK, MAC_VM1, MAC_VM2, NETWORK, SLOT_UPLINK, SLOT_VM1, SLOT_VM2, forwarded
from programs import BROADCAST, XDP_PASS, Switch, ethernet, image
from test_flow_cache import remembered

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import PortFlag, Stage, Verdict
from sriov_xdp.datapath.programs import SINGLE_PROGRAMS
from sriov_xdp.host import namespaces

FRAME = ethernet(MAC_VM2, MAC_VM1)
UNKNOWN_FLAGS = [1 << bit for bit in range(len(PortFlag), 32)]
PROGRAMS = {(spec.stages, spec.stage): spec.name for spec in SINGLE_PROGRAMS if spec.stages}


@contextlib.contextmanager
def without(switch: Switch, stages: str, stage: Stage) -> Iterator[None]:
    """A program that others jump to is not there for a while."""
    array, place = switch.pins.map_fd(stages), abi.SLOT_LAYOUT.pack(stage)
    assert libbpf.delete_element(array, place)
    try:
        yield
    finally:
        program = switch.pins.program_fd(PROGRAMS[stages, stage])
        libbpf.update_element(array, place, abi.SLOT_LAYOUT.pack(program))


def plant(switch: Switch, slot: int, flag: int) -> None:
    """A setting of a port that today's programs know nothing of."""
    planted = image(NETWORK[slot], NETWORK)
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(slot, replace(planted, value=replace(planted.value, flags=PortFlag(planted.value.flags | flag))))


def test_a_plain_frame_needs_the_short_way_alone(switch: Switch) -> None:
    with without(switch, "xdp_stages", Stage.LONG):
        assert [forwarded(SLOT_VM2, FRAME)] * 2 == [switch.xdp(SLOT_VM1, FRAME) for _time in range(2)]


@pytest.mark.parametrize("flag", UNKNOWN_FLAGS, ids=lambda flag: f"bit {flag.bit_length() - 1}")
@pytest.mark.parametrize("slot", [SLOT_VM1, SLOT_VM2], ids=["where it enters", "where it leaves"])
def test_a_frame_of_a_port_with_a_setting_that_is_new_takes_the_long_way_each_time(switch: Switch, slot: int, flag: int) -> None:
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME), "remembered before the setting came"
    plant(switch, slot, flag)
    assert [forwarded(SLOT_VM2, FRAME)] * 2 == [switch.xdp(SLOT_VM1, FRAME) for _time in range(2)]
    with without(switch, "xdp_stages", Stage.LONG):
        seen = [switch.observe_xdp(SLOT_VM1, FRAME).verdicts for _time in range(3)]
    assert [{Verdict.MISSED_STAGE: 1}] * 3 == seen


@pytest.mark.parametrize("flag", UNKNOWN_FLAGS, ids=lambda flag: f"bit {flag.bit_length() - 1}")
@pytest.mark.parametrize("slot", [SLOT_VM1, SLOT_VM2], ids=["where it enters", "where it leaves"])
def test_tc_judges_a_frame_of_a_port_with_a_setting_that_is_new_each_time(switch: Switch, slot: int, flag: int) -> None:
    switch.observe_tc(SLOT_VM1, FRAME)
    assert {FRAME[:14]: SLOT_VM2} == remembered(switch)
    plant(switch, slot, flag)
    assert [{SLOT_VM2: 1}] * 2 == [switch.observe_tc(SLOT_VM1, FRAME).egress for _time in range(2)]
    assert {} == remembered(switch)


@pytest.mark.parametrize(
    ("slot", "frame"), [(SLOT_VM1, ethernet(MAC_UPLINK, MAC_VM1)), (SLOT_UPLINK, ethernet(MAC_VM2, MAC_VM1))], ids=["guest", "wire"]
)
def test_a_frame_that_finds_no_long_way_is_dropped_and_counted_once(switch: Switch, slot: int, frame: bytes) -> None:
    with without(switch, "xdp_stages", Stage.LONG):
        seen = switch.observe_xdp(slot, frame)
    assert ({Verdict.MISSED_STAGE: 1}, {}) == (seen.verdicts, seen.egress)


def test_a_flood_from_the_wire_that_finds_no_program_of_xdp_is_left_to_tc(switch: Switch) -> None:
    frame = ethernet(BROADCAST, MAC_ON_THE_WIRE)
    with without(switch, "xdp_stages", Stage.FLOOD):
        seen = switch.observe_xdp(SLOT_UPLINK, frame)
    assert ({}, {}, XDP_PASS) == (seen.verdicts, seen.egress, seen.run.action)


def test_what_becomes_of_a_frame_is_asked_here_for_each_stage_that_is_not_there() -> None:
    assert {("xdp_stages", Stage.LONG), ("xdp_stages", Stage.FLOOD), ("tc_stages", Stage.FLOOD)} == set(PROGRAMS)


def test_a_flood_that_finds_no_program_is_dropped_and_counted_once(switch: Switch) -> None:
    with without(switch, "tc_stages", Stage.FLOOD):
        seen = switch.observe_tc(SLOT_VM1, ethernet(BROADCAST, MAC_VM1))
    assert ({Verdict.MISSED_STAGE: 1}, {}) == (seen.verdicts, seen.egress)
