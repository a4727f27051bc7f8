"""A change of an adapter that is undone leaves its guest what it had, and what it was granted while the change went on."""

from dataclasses import fields, replace
from typing import Any, cast

import pytest

from sriov_xdp.pf.state.intent import Attachment
from sriov_xdp.pf.verbs.operate import Before
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState

ADMIN, OTHER, THIRD = (MacAddress.parse(f"02:00:00:00:00:0{number}") for number in (1, 2, 3))
FRESH = VfState.fresh(ADMIN)
HAD: dict[str, Any] = {
    "effective_mac": OTHER,
    "filters": frozenset({OTHER}),
    "legacy_added": (OTHER, 1.0),
    "vlans": frozenset({10}),
    "is_promiscuous": True,
    "has_all_groups": True,
}
GRANTED: dict[str, Any] = {
    "effective_mac": THIRD,
    "filters": frozenset({THIRD}),
    "legacy_added": (THIRD, 2.0),
    "vlans": frozenset({20}),
    "is_promiscuous": False,
    "has_all_groups": False,
}


def before(state: VfState, installed: VfState) -> Before:
    return Before(attachment=cast("Attachment", None), state=state, installed=installed)


def test_each_part_of_what_a_guest_has_is_told_of_here() -> None:
    assert {field.name for field in fields(VfState)} - {"admin_mac"} == set(HAD) == set(GRANTED)


@pytest.mark.parametrize("name", HAD)
def test_what_the_change_took_is_there_again(name: str) -> None:
    had = replace(FRESH, **{name: HAD[name]})
    assert had == before(had, FRESH).state_with(FRESH)


@pytest.mark.parametrize("name", GRANTED)
def test_what_was_granted_meanwhile_stays(name: str) -> None:
    had = replace(FRESH, **HAD)
    granted = replace(had, **{name: GRANTED[name]})
    assert granted == before(had, had).state_with(granted)
