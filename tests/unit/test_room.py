"""Who asks for more than a share of the tables gets it out of what nobody's share needs."""

import pytest

from sriov_xdp.datapath.abi import MAX_FDB_ENTRIES
from sriov_xdp.pf.state.room import SHARE, room_problem
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState

ADMIN = MacAddress.parse("02:00:00:00:00:01")


def guest(count: int, first_octet: int) -> VfState:
    filters = frozenset(MacAddress(bytes([first_octet, 0, 0]) + number.to_bytes(3)) for number in range(count))
    return VfState(admin_mac=ADMIN, effective_mac=ADMIN, filters=filters)


UNICAST, GROUPS = 0x06, 0x01


@pytest.mark.parametrize(("first_octet", "what", "own"), [(UNICAST, "addresses", 1), (GROUPS, "multicast groups", 0)])
def test_more_than_a_share_leaves_everybody_theirs(first_octet: int, what: str, own: int) -> None:
    many, idle = [guest(256 - own, first_octet)] * 60, [guest(0, first_octet)] * 60
    left = MAX_FDB_ENTRIES - 60 * 256 - 60 * SHARE
    assert 0 < left < 256
    nobody = guest(0, first_octet)
    assert room_problem(lambda: [*many, *idle], nobody, guest(left - own, first_octet)) is None
    told = room_problem(lambda: [*many, *idle], nobody, guest(left - own + 1, first_octet))
    assert told is not None
    assert told.startswith(
        f"{what}: {left + 1} for one guest: of the {MAX_FDB_ENTRIES} entries of this host {SHARE} are each guest's"
    )


def test_a_share_is_given_without_a_look_at_the_others() -> None:
    assert room_problem(lambda: pytest.fail("asked"), guest(0, GROUPS), guest(SHARE, GROUPS)) is None


def test_who_gives_something_up_is_asked_nothing() -> None:
    assert room_problem(lambda: pytest.fail("asked"), guest(200, GROUPS), guest(199, GROUPS)) is None
