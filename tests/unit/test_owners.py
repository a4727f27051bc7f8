"""No address has two owners within a VLAN."""

import pytest

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.owners import UPLINK_OWNER, AddressOwners

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
