"""No address has two owners within a VLAN."""

import pytest

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.owners import UPLINK_OWNER, AddressOwners, SharedAddresses
from sriov_xdp.vswitch.policy import PrivateVlan, SegmentKind

MAC_A = MacAddress.parse("02:00:00:00:01:0a")
MAC_B = MacAddress.parse("02:00:00:00:01:0b")
PORT_WEB, PORT_DB, PORT_LAB = "pf0vf0", "pf0vf1", "pf0vf2"
WEB, DB, UNTAGGED = frozenset({100}), frozenset({200}), frozenset({0})


@pytest.fixture
def owners() -> AddressOwners:
    """MAC_A is PORT_WEB's in VLAN 100."""
    owners = AddressOwners()
    owners.replace(PORT_WEB, frozenset({MAC_A}), WEB)
    return owners


def test_an_address_nobody_claims_is_free(owners: AddressOwners) -> None:
    assert owners.other_owner(PORT_DB, MAC_B, WEB) is None


def test_an_owner_is_no_other_to_itself(owners: AddressOwners) -> None:
    assert owners.other_owner(PORT_WEB, MAC_A, WEB) is None


def test_another_port_of_the_vlan_sees_the_owner(owners: AddressOwners) -> None:
    assert PORT_WEB == owners.other_owner(PORT_DB, MAC_A, WEB)


@pytest.mark.parametrize("domains", [DB, UNTAGGED])
def test_in_another_vlan_the_address_is_free(owners: AddressOwners, domains: frozenset[int]) -> None:
    assert owners.other_owner(PORT_DB, MAC_A, domains) is None


def test_a_trunk_that_carries_the_vlan_sees_the_owner(owners: AddressOwners) -> None:
    assert PORT_WEB == owners.other_owner(PORT_DB, MAC_A, frozenset({99, 100, 101}))


def test_two_trunks_meet_in_one_common_vlan(owners: AddressOwners) -> None:
    owners.replace(PORT_LAB, frozenset({MAC_B}), frozenset({10, 20}))
    assert PORT_LAB == owners.other_owner(PORT_DB, MAC_B, frozenset({20, 30}))
    assert owners.other_owner(PORT_DB, MAC_B, frozenset({30, 40})) is None


@pytest.mark.parametrize("domains", [WEB, DB, UNTAGGED])
def test_the_uplink_owns_its_address_in_every_vlan(domains: frozenset[int]) -> None:
    owners = AddressOwners()
    owners.replace(UPLINK_OWNER, frozenset({MAC_A}), None)
    assert UPLINK_OWNER == owners.other_owner(PORT_WEB, MAC_A, domains)


def test_two_ports_own_one_address_in_different_vlans(owners: AddressOwners) -> None:
    owners.replace(PORT_DB, frozenset({MAC_A}), DB)
    assert [PORT_WEB, PORT_DB] == [owners.other_owner(PORT_LAB, MAC_A, domains) for domains in (WEB, DB)]


def test_what_one_owner_releases_stays_the_others(owners: AddressOwners) -> None:
    owners.replace(PORT_DB, frozenset({MAC_A}), DB)
    owners.release(PORT_WEB)
    assert [None, PORT_DB] == [owners.other_owner(PORT_LAB, MAC_A, domains) for domains in (WEB, DB)]


def test_release_drops_every_address_of_the_owner(owners: AddressOwners) -> None:
    owners.replace(PORT_WEB, frozenset({MAC_A, MAC_B}), WEB)
    owners.release(PORT_WEB)
    assert [None, None] == [owners.other_owner(PORT_DB, address, WEB) for address in (MAC_A, MAC_B)]


def test_replace_forgets_what_the_owner_had(owners: AddressOwners) -> None:
    owners.replace(PORT_WEB, frozenset({MAC_B}), WEB)
    assert [None, PORT_WEB] == [owners.other_owner(PORT_DB, address, WEB) for address in (MAC_A, MAC_B)]


def test_replace_forgets_the_vlan_the_owner_was_in(owners: AddressOwners) -> None:
    owners.replace(PORT_WEB, frozenset({MAC_A}), DB)
    assert [None, PORT_WEB] == [owners.other_owner(PORT_LAB, MAC_A, domains) for domains in (WEB, DB)]


def test_releasing_an_unknown_owner_changes_nothing(owners: AddressOwners) -> None:
    owners.release(PORT_LAB)
    assert PORT_WEB == owners.other_owner(PORT_DB, MAC_A, WEB)


# ---- addresses that several may hold ----

ROUTER = MacAddress.parse("00:00:5e:00:01:0a")
HELD = (100, ROUTER)
EVERYBODY, ISOLATED = PrivateVlan(), PrivateVlan(SegmentKind.ISOLATED)


def community(number: int) -> PrivateVlan:
    return PrivateVlan(SegmentKind.COMMUNITY, number)


@pytest.fixture
def routers() -> AddressOwners:
    """Both hold ROUTER in VLAN 100."""
    owners = AddressOwners()
    for port in (PORT_WEB, PORT_DB):
        owners.replace(port, frozenset({ROUTER}), WEB, frozenset({HELD}))
    return owners


def nobody_is_absent(_holder: str) -> bool:
    return False


def test_who_would_share_an_address_meets_no_other_owner(routers: AddressOwners) -> None:
    assert routers.other_owner(PORT_LAB, ROUTER, WEB, EVERYBODY) is None


def test_who_would_not_share_it_does(routers: AddressOwners) -> None:
    assert PORT_WEB == routers.other_owner(PORT_LAB, ROUTER, WEB)


def test_a_trunk_shares_it_with_access_ports_of_its_vlans(routers: AddressOwners) -> None:
    assert routers.other_owner(PORT_LAB, ROUTER, WEB | DB, EVERYBODY) is None


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (EVERYBODY, ISOLATED, None),
        (community(1), community(1), None),
        (community(1), community(2), PORT_WEB),
        (community(1), ISOLATED, PORT_WEB),
        (ISOLATED, ISOLATED, PORT_WEB),
    ],
)
def test_who_never_meets_a_holder_does_not_share_with_it(mine: PrivateVlan, theirs: PrivateVlan, expected: str | None) -> None:
    owners = AddressOwners()
    owners.replace(PORT_WEB, frozenset({ROUTER}), WEB, frozenset({HELD}), theirs)
    assert expected == owners.other_owner(PORT_LAB, ROUTER, WEB, mine)


def test_an_address_of_one_owner_is_shared_with_nobody(owners: AddressOwners) -> None:
    assert PORT_WEB == owners.other_owner(PORT_DB, MAC_A, WEB, EVERYBODY)


def test_it_leads_to_who_spoke_last(routers: AddressOwners) -> None:
    shared = routers.shared
    assert [True, False] == [shared.note_speaker(HELD, PORT_DB), shared.note_speaker(HELD, PORT_DB)]
    assert PORT_DB == shared.leads_to(HELD, nobody_is_absent)
    assert shared.note_speaker(HELD, PORT_WEB)
    assert PORT_WEB == shared.leads_to(HELD, nobody_is_absent)


def test_before_anybody_speaks_it_leads_to_the_first(routers: AddressOwners) -> None:
    assert PORT_WEB == routers.shared.leads_to(HELD, nobody_is_absent)


def test_the_wire_may_speak_as_well(routers: AddressOwners) -> None:
    assert routers.shared.note_speaker(HELD, UPLINK_OWNER)
    assert UPLINK_OWNER == routers.shared.leads_to(HELD, nobody_is_absent)


def test_who_does_not_hold_it_is_no_speaker(routers: AddressOwners) -> None:
    assert not routers.shared.note_speaker(HELD, PORT_LAB)
    assert not SharedAddresses().note_speaker(HELD, UPLINK_OWNER)


def test_one_that_is_away_is_passed_by(routers: AddressOwners) -> None:
    routers.shared.note_speaker(HELD, PORT_WEB)
    assert PORT_DB == routers.shared.leads_to(HELD, {PORT_WEB}.__contains__)
    assert PORT_WEB == routers.shared.leads_to(HELD, {PORT_WEB, PORT_DB}.__contains__)


def test_who_gives_it_up_leaves_it_to_the_other(routers: AddressOwners) -> None:
    routers.shared.note_speaker(HELD, PORT_WEB)
    routers.release(PORT_WEB)
    assert PORT_DB == routers.shared.leads_to(HELD, nobody_is_absent)
    routers.replace(PORT_DB, frozenset({MAC_B}), WEB)
    assert ([], []) == (routers.shared.holders(), routers.shared.everything())


def test_who_is_touched_by_a_move_is_told_once(routers: AddressOwners) -> None:
    shared = routers.shared
    assert {PORT_WEB} == shared.moves(nobody_is_absent), "the first holder has it"
    shared.note_speaker(HELD, PORT_DB)
    assert [{PORT_WEB, PORT_DB}, set()] == [shared.moves(nobody_is_absent) for _time in range(2)]
    shared.doubt(PORT_DB)
    assert {PORT_WEB, PORT_DB} == shared.moves({PORT_DB}.__contains__)
    routers.release(PORT_WEB)
    assert {PORT_WEB, PORT_DB} == shared.moves(nobody_is_absent)
    routers.release(PORT_DB)
    assert {PORT_DB} == shared.moves(nobody_is_absent)
