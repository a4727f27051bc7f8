"""Who asks for more than a share of the tables gets it out of what nobody's share needs."""

from typing import Any

import pytest

from sriov_xdp.datapath.abi import MAX_FDB_ENTRIES
from sriov_xdp.pf.state.room import SHARE, Needs, room_problem
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import Policy, PolicySettings
from sriov_xdp.vswitch.ports import PortGroup, PortOverrides, Switch, resolve
from sriov_xdp.vswitch.values import MacPattern
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

ADMIN = MacAddress.parse("02:00:00:00:00:01")


def state(count: int, first_octet: int) -> VfState:
    filters = frozenset(MacAddress(bytes([first_octet, 0, 0]) + number.to_bytes(3)) for number in range(count))
    return VfState(admin_mac=ADMIN, effective_mac=ADMIN, filters=filters)


def policy(**said: Any) -> Policy:
    group = PortGroup(name="web", vlan=NO_VLAN, policy=PolicySettings(**said))
    switch = Switch(name="vSwitch0", pf="pf0", mtu_bytes=1500, policy=PolicySettings(), port_groups=(group,))
    return resolve(switch, group, "pf0vf0", PortOverrides())


def guest(count: int, first_octet: int) -> Needs:
    return Needs.of(state(count, first_octet), policy(), NO_VLAN)


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


def test_what_a_trunk_shares_stands_in_each_of_its_vlans() -> None:
    sharing = policy(allowed_macs=(MacPattern.parse("06:00:00:00:00:00/40"),))
    trunk, wide = Vlan.trunk(frozenset(range(1, 65))), Vlan.trunk(frozenset(range(1, 66)))
    assert [Needs(1 + 3 * 64, 0), Needs(4, 0)] == [Needs.of(state(3, UNICAST), sharing, vlan) for vlan in (trunk, wide)]
