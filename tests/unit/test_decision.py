"""decide(): whether a guest's request is granted by the policy of its port, and what the device then is."""

from dataclasses import replace
from typing import Any

import pytest

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import (
    AddAddresses,
    AddressRole,
    AddVlans,
    Decision,
    Deny,
    Grant,
    PortView,
    RemoveAddresses,
    RemoveVlans,
    ResetDevice,
    SetPromiscuity,
    VfState,
    decide,
    refused_by,
)
from sriov_xdp.vswitch.owners import UPLINK_OWNER, AddressOwners
from sriov_xdp.vswitch.policy import PolicySettings, Quotas, Security
from sriov_xdp.vswitch.ports import PortGroup, PortOverrides, Switch, resolve
from sriov_xdp.vswitch.values import MacPattern
from sriov_xdp.vswitch.vlan import NO_VLAN, Proto, Vlan

MAC_VM1 = MacAddress.parse("02:00:00:00:01:01")
MAC_VM2 = MacAddress.parse("02:00:00:00:01:02")
MAC_NEW = MacAddress.parse("02:00:00:00:09:01")
MAC_OTHER = MacAddress.parse("02:00:00:00:09:02")
MAC_WIRE = MacAddress.parse("02:00:00:00:0f:01")
GROUP = MacAddress.parse("01:00:5e:00:00:05")
BROADCAST = MacAddress.parse("ff:ff:ff:ff:ff:ff")
ZERO = MacAddress.parse("00:00:00:00:00:00")
PORT_WEB, PORT_NEIGHBOUR = "pf0vf0", "pf0vf1"
VLAN_WEB, VLAN_DB = Vlan.access(100), Vlan.access(200)
ACCEPT_RULE = "mac_changes: accept (port group web)"
LIMIT_RULE = "quotas: macs=16,vlans=8 (default)"
REJECT_RULE = "mac_changes: reject (port group web)"
NOW = 1000.0
VM1 = VfState(admin_mac=MAC_VM1, effective_mac=MAC_VM1)

every_role = pytest.mark.parametrize("role", AddressRole)
every_policy = pytest.mark.parametrize("mac_changes", Security)


def neighbour(state: VfState, vlan: Vlan = VLAN_WEB) -> AddressOwners:
    """A switch on which PORT_NEIGHBOUR owns what its device claims."""
    owners = AddressOwners()
    owners.replace(PORT_NEIGHBOUR, state.claimed, vlan.address_domains)
    return owners


def port(
    *,
    mac_changes: Security = Security.ACCEPT,
    state: VfState = VM1,
    vlan: Vlan = VLAN_WEB,
    owners: AddressOwners | None = None,
    **settings: Any,
) -> PortView:
    web = PortGroup(name="web", vlan=vlan, policy=PolicySettings(mac_changes=mac_changes, **settings))
    switch = Switch(name="vSwitch0", pf="pf0", mtu_bytes=1500, policy=PolicySettings(), port_groups=(web,))
    owners = owners or AddressOwners()
    owners.replace(PORT_WEB, state.claimed, vlan.domains)
    policy = resolve(switch, web, PORT_WEB, PortOverrides())
    return PortView(name=PORT_WEB, policy=policy, vlan=vlan, state=state, owners=owners)


def add(view: PortView, *addresses: tuple[MacAddress, AddressRole], now_seconds: float = NOW) -> Decision:
    return decide(AddAddresses(addresses), view, now_seconds)


def remove(view: PortView, *addresses: MacAddress, now_seconds: float = NOW) -> Decision:
    return decide(RemoveAddresses(addresses), view, now_seconds)


def device_of(decision: Decision) -> VfState:
    assert isinstance(decision, Grant), decision
    return decision.state


def rule_of_denial(decision: Decision) -> str:
    assert isinstance(decision, Deny), decision
    return decision.rule


def filters(count: int) -> frozenset[MacAddress]:
    return frozenset(MacAddress(bytes([0x02, 0, 0, 0, 0xF0, number])) for number in range(count))


def extras(count: int) -> list[tuple[MacAddress, AddressRole]]:
    return [(address, AddressRole.EXTRA) for address in sorted(filters(count))]


# The policy of the port.


@every_role
def test_reject_denies_every_other_address(role: AddressRole) -> None:
    assert REJECT_RULE == rule_of_denial(add(port(mac_changes=Security.REJECT), (MAC_NEW, role)))


def test_a_denial_says_which_address_was_asked_for_and_which_one_the_device_keeps() -> None:
    denial = add(port(mac_changes=Security.REJECT), (MAC_NEW, AddressRole.PRIMARY))
    assert isinstance(denial, Deny)
    assert [True, True] == [str(address) in denial.reason for address in (MAC_NEW, MAC_VM1)]


@every_role
def test_accept_grants_an_address_that_is_free_and_names_its_rule(role: AddressRole) -> None:
    decision = add(port(), (MAC_NEW, role))
    assert ACCEPT_RULE == decision.rule
    assert MAC_NEW in device_of(decision).unicast


def test_a_primary_address_takes_the_place_of_the_effective_one() -> None:
    state = device_of(add(port(), (MAC_NEW, AddressRole.PRIMARY)))
    assert VfState(admin_mac=MAC_VM1, effective_mac=MAC_NEW) == state
    assert frozenset({MAC_NEW}) == state.unicast


@pytest.mark.parametrize("role", [AddressRole.EXTRA, AddressRole.LEGACY])
def test_another_address_comes_beside_the_effective_one(role: AddressRole) -> None:
    state = device_of(add(port(), (MAC_NEW, role)))
    assert (MAC_VM1, {MAC_NEW}) == (state.effective_mac, state.filters)


def test_a_primary_address_that_was_a_filter_is_a_filter_no_more() -> None:
    view = port(state=replace(VM1, filters=frozenset({MAC_NEW, MAC_OTHER})))
    state = device_of(add(view, (MAC_NEW, AddressRole.PRIMARY)))
    assert (MAC_NEW, {MAC_OTHER}) == (state.effective_mac, state.filters)


def test_the_admin_address_is_granted_back_where_changes_are_accepted() -> None:
    view = port(state=replace(VM1, effective_mac=MAC_NEW))
    assert VM1 == device_of(add(view, (MAC_VM1, AddressRole.PRIMARY)))


# Addresses that need no permission, and those that can have none.


@every_policy
@every_role
def test_the_ports_own_address_is_granted_without_change(role: AddressRole, mac_changes: Security) -> None:
    state = replace(VM1, filters=frozenset({MAC_NEW}), legacy_added=(MAC_NEW, NOW))
    view = port(mac_changes=mac_changes, state=state)
    assert Grant(state=state, rule="own address: no change") == add(view, (MAC_VM1, role))


@every_policy
def test_a_filter_that_is_there_is_granted_again(mac_changes: Security) -> None:
    state = replace(VM1, filters=frozenset({MAC_NEW}))
    view = port(mac_changes=mac_changes, state=state)
    assert Grant(state=state, rule="own address: no change") == add(view, (MAC_NEW, AddressRole.EXTRA))


@every_policy
@pytest.mark.parametrize("role", [AddressRole.EXTRA, AddressRole.LEGACY])
def test_a_multicast_group_is_always_granted(role: AddressRole, mac_changes: Security) -> None:
    wanted = Grant(state=replace(VM1, filters=frozenset({GROUP})), rule="multicast group: always granted")
    assert wanted == add(port(mac_changes=mac_changes), (GROUP, role))


def test_a_multicast_group_is_no_address_of_the_port() -> None:
    assert frozenset({MAC_VM1}) == device_of(add(port(), (GROUP, AddressRole.EXTRA))).claimed


@every_policy
@pytest.mark.parametrize("role", [AddressRole.EXTRA, AddressRole.LEGACY])
def test_broadcast_is_granted_and_takes_no_filter(role: AddressRole, mac_changes: Security) -> None:
    assert VM1 == device_of(add(port(mac_changes=mac_changes), (BROADCAST, role)))


@every_policy
@every_role
def test_the_zero_address_is_refused_whatever_the_policy(role: AddressRole, mac_changes: Security) -> None:
    assert "address form" == rule_of_denial(add(port(mac_changes=mac_changes), (ZERO, role)))


@every_policy
@pytest.mark.parametrize("address", [GROUP, BROADCAST])
def test_a_primary_address_is_unicast(address: MacAddress, mac_changes: Security) -> None:
    assert "address form" == rule_of_denial(add(port(mac_changes=mac_changes), (address, AddressRole.PRIMARY)))


# Addresses of others.


@every_role
def test_a_neighbours_address_is_refused_and_the_neighbour_named(role: AddressRole) -> None:
    denial = add(port(owners=neighbour(VfState(admin_mac=MAC_VM2, effective_mac=MAC_VM2))), (MAC_VM2, role))
    assert isinstance(denial, Deny)
    assert ("address in use", f"{MAC_VM2} belongs to {PORT_NEIGHBOUR} in this VLAN") == (denial.rule, denial.reason)


@pytest.mark.parametrize("address", [MAC_VM2, MAC_NEW, MAC_OTHER], ids=["admin", "effective", "filter"])
def test_all_that_a_neighbour_has_or_gets_back_by_a_reset_is_taken(address: MacAddress) -> None:
    state = VfState(admin_mac=MAC_VM2, effective_mac=MAC_NEW, filters=frozenset({MAC_OTHER, GROUP}))
    assert "address in use" == rule_of_denial(add(port(owners=neighbour(state)), (address, AddressRole.PRIMARY)))


def test_two_ports_may_join_one_multicast_group() -> None:
    state = VfState(admin_mac=MAC_VM2, effective_mac=MAC_VM2, filters=frozenset({GROUP}))
    assert {GROUP} == device_of(add(port(owners=neighbour(state)), (GROUP, AddressRole.EXTRA))).filters


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (VLAN_WEB, VLAN_DB),
        (VLAN_WEB, NO_VLAN),
        (NO_VLAN, VLAN_WEB),
        (VLAN_WEB, Vlan.trunk(frozenset({99, 101}))),
        (NO_VLAN, Vlan.trunk(frozenset({100}))),
    ],
    ids=str,
)
def test_the_same_address_is_free_in_a_vlan_that_does_not_meet(own: Vlan, other: Vlan) -> None:
    owners = neighbour(VfState(admin_mac=MAC_VM2, effective_mac=MAC_VM2), other)
    assert MAC_VM2 == device_of(add(port(vlan=own, owners=owners), (MAC_VM2, AddressRole.PRIMARY))).effective_mac


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (NO_VLAN, NO_VLAN),
        (VLAN_WEB, VLAN_WEB),
        (VLAN_WEB, Vlan.trunk(frozenset({99, 100}))),
        (Vlan.trunk(frozenset({99, 100})), VLAN_WEB),
        (Vlan.trunk(frozenset({10, 20})), Vlan.trunk(frozenset({20, 30}))),
        (Vlan.trunk(frozenset({10, 20})), Vlan.trunk(frozenset({30}))),  # the data path finds it in one place
    ],
    ids=str,
)
def test_the_same_address_is_taken_where_the_vlans_meet(own: Vlan, other: Vlan) -> None:
    owners = neighbour(VfState(admin_mac=MAC_VM2, effective_mac=MAC_VM2), other)
    assert "address in use" == rule_of_denial(add(port(vlan=own, owners=owners), (MAC_VM2, AddressRole.PRIMARY)))


@every_role
@pytest.mark.parametrize("vlan", [VLAN_WEB, NO_VLAN, Vlan.trunk(frozenset({7}))], ids=str)
def test_the_uplinks_address_is_refused_in_every_vlan(role: AddressRole, vlan: Vlan) -> None:
    owners = AddressOwners()
    owners.replace(UPLINK_OWNER, frozenset({MAC_WIRE}), None)
    assert "address in use" == rule_of_denial(add(port(vlan=vlan, owners=owners), (MAC_WIRE, role)))


# One refused address refuses the batch.


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    ("bad", "rule"), [(MAC_VM2, "address in use"), (ZERO, "address form")], ids=["a neighbour's", "the zero address"]
)
def test_one_bad_address_refuses_the_whole_batch(bad: MacAddress, rule: str, position: int) -> None:
    batch = [(address, AddressRole.EXTRA) for address in (MAC_NEW, MAC_OTHER)]
    batch.insert(position, (bad, AddressRole.EXTRA))
    view = port(owners=neighbour(VfState(admin_mac=MAC_VM2, effective_mac=MAC_VM2)))
    assert rule == rule_of_denial(add(view, *batch))


@pytest.mark.parametrize("harmless", [MAC_VM1, GROUP, BROADCAST], ids=["own", "multicast", "broadcast"])
def test_a_harmless_address_does_not_carry_another_past_the_policy(harmless: MacAddress) -> None:
    view = port(mac_changes=Security.REJECT)
    batch = [(harmless, AddressRole.EXTRA), (MAC_NEW, AddressRole.EXTRA)]
    assert [REJECT_RULE] * 2 == [rule_of_denial(add(view, *batch)), rule_of_denial(add(view, *reversed(batch)))]


def test_a_granted_batch_is_granted_whole() -> None:
    batch = [(MAC_NEW, AddressRole.PRIMARY), (MAC_OTHER, AddressRole.EXTRA), (GROUP, AddressRole.EXTRA)]
    wanted = VfState(admin_mac=MAC_VM1, effective_mac=MAC_NEW, filters=frozenset({MAC_OTHER, GROUP}))
    assert wanted == device_of(add(port(), *batch))


# What the operator named, and the trusted.


@every_role
@pytest.mark.parametrize("pattern", ["02:00:00:00:09:01", "02:00:00:00:09:00/40"])
def test_an_address_that_is_allowed_is_granted_where_others_are_not(role: AddressRole, pattern: str) -> None:
    allowed = (MacPattern.parse(pattern),)
    decision = add(port(mac_changes=Security.REJECT, allowed_macs=allowed), (MAC_NEW, role))
    assert f"allowed_macs: {pattern} (port group web)" == decision.rule
    assert MAC_NEW in device_of(decision).unicast
    assert REJECT_RULE == rule_of_denial(add(port(mac_changes=Security.REJECT, allowed_macs=allowed), (MAC_WIRE, role)))


def test_an_address_that_is_allowed_and_anothers_is_refused() -> None:
    allowed = (MacPattern.parse(str(MAC_VM2)),)
    owners = neighbour(VfState.fresh(MAC_VM2))
    assert "address in use" == rule_of_denial(add(port(owners=owners, allowed_macs=allowed), (MAC_VM2, AddressRole.EXTRA)))


LLDP = MacAddress.parse("01:80:c2:00:00:0e")


def test_lldp_is_granted_to_the_trusted_alone() -> None:
    assert "trust: false (default)" == rule_of_denial(add(port(), (LLDP, AddressRole.EXTRA)))
    assert {LLDP} == device_of(add(port(trust=True), (LLDP, AddressRole.EXTRA))).filters


def test_quotas_are_lifted_for_the_trusted_and_no_policy_is() -> None:
    sixteen, small = replace(VM1, filters=filters(16)), Quotas(macs=2)
    assert filters(16) | {MAC_NEW} == device_of(add(port(state=sixteen, trust=True), (MAC_NEW, AddressRole.EXTRA))).filters
    assert "quotas: macs=2,vlans=8 (port group web)" == rule_of_denial(add(port(quotas=small), *extras(3)))
    view = port(mac_changes=Security.REJECT, trust=True)
    assert REJECT_RULE == rule_of_denial(add(view, (MAC_NEW, AddressRole.EXTRA)))


@pytest.mark.parametrize(
    ("settings", "state", "setting"),
    [
        ({"mac_changes": Security.REJECT}, replace(VM1, filters=frozenset({MAC_NEW})), "mac_changes"),
        ({"mac_changes": Security.REJECT}, replace(VM1, effective_mac=MAC_NEW), "mac_changes"),
        (
            {"mac_changes": Security.REJECT, "allowed_macs": (MacPattern.parse(str(MAC_NEW)),)},
            replace(VM1, filters=frozenset({MAC_NEW})),
            None,
        ),
        ({"quotas": Quotas(macs=3)}, replace(VM1, filters=filters(4)), "quotas"),
        ({"quotas": Quotas(macs=3), "trust": True}, replace(VM1, filters=filters(4)), None),
        ({}, replace(VM1, filters=frozenset({LLDP})), "trust"),
        ({"mac_changes": Security.REJECT}, replace(VM1, filters=frozenset({GROUP})), None),
    ],
)
def test_what_a_policy_bears_no_longer(settings: dict[str, Any], state: VfState, setting: str | None) -> None:
    assert setting == refused_by(port(**settings).policy, state)


# The quota.


def test_the_sixteenth_filter_is_granted_and_the_seventeenth_refused() -> None:
    fifteen, sixteen = (port(state=replace(VM1, filters=filters(count))) for count in (15, 16))
    assert filters(15) | {MAC_NEW} == device_of(add(fifteen, (MAC_NEW, AddressRole.EXTRA))).filters
    assert LIMIT_RULE == rule_of_denial(add(sixteen, (MAC_NEW, AddressRole.EXTRA)))


def test_sixteen_filters_fit_into_one_batch_and_seventeen_do_not() -> None:
    assert filters(16) == device_of(add(port(), *extras(16))).filters
    assert LIMIT_RULE == rule_of_denial(add(port(), *extras(17)))


@pytest.mark.parametrize("role", [AddressRole.EXTRA, AddressRole.LEGACY])
def test_multicast_groups_count_as_filters(role: AddressRole) -> None:
    view = port(mac_changes=Security.REJECT, state=replace(VM1, filters=filters(16)))
    assert LIMIT_RULE == rule_of_denial(add(view, (GROUP, role)))


@pytest.mark.parametrize(
    ("address", "role"),
    [
        (MAC_VM1, AddressRole.EXTRA),
        (BROADCAST, AddressRole.EXTRA),
        (MAC_NEW, AddressRole.PRIMARY),
        (min(filters(16)), AddressRole.EXTRA),
    ],
    ids=["own", "broadcast", "primary", "already a filter"],
)
def test_a_full_port_still_grants_what_needs_no_filter(address: MacAddress, role: AddressRole) -> None:
    view = port(state=replace(VM1, filters=filters(16)))
    assert filters(16) == device_of(add(view, (address, role))).filters


# Legacy drivers change their address by an add and a delete.


def legacy_change(view: PortView, *, after_seconds: float) -> VfState:
    added = device_of(add(view, (MAC_NEW, AddressRole.LEGACY)))
    return device_of(remove(replace(view, state=added), MAC_VM1, now_seconds=NOW + after_seconds))


@pytest.mark.parametrize("after_seconds", [0.0, 3.0])
def test_a_legacy_add_and_delete_within_three_seconds_is_a_change_of_address(after_seconds: float) -> None:
    assert VfState(admin_mac=MAC_VM1, effective_mac=MAC_NEW) == legacy_change(port(), after_seconds=after_seconds)


def test_after_three_seconds_a_legacy_delete_leaves_the_effective_address() -> None:
    state = legacy_change(port(), after_seconds=3.001)
    assert (MAC_VM1, {MAC_NEW}) == (state.effective_mac, state.filters)


def test_a_legacy_change_names_the_rule_that_lets_it() -> None:
    view = port(state=replace(VM1, filters=frozenset({MAC_NEW}), legacy_added=(MAC_NEW, NOW)))
    assert ACCEPT_RULE == remove(view, MAC_VM1).rule


def test_the_latest_legacy_address_is_the_successor() -> None:
    added = device_of(add(port(), (MAC_NEW, AddressRole.LEGACY), (MAC_OTHER, AddressRole.LEGACY)))
    state = device_of(remove(port(state=added), MAC_VM1))
    assert (MAC_OTHER, {MAC_NEW}) == (state.effective_mac, state.filters)


def test_a_successor_that_was_removed_again_succeeds_nobody() -> None:
    added = device_of(add(port(), (MAC_NEW, AddressRole.LEGACY)))
    assert MAC_VM1 == device_of(remove(port(state=added), MAC_NEW, MAC_VM1)).effective_mac


@pytest.mark.parametrize(
    ("address", "role"), [(MAC_NEW, AddressRole.EXTRA), (GROUP, AddressRole.LEGACY), (BROADCAST, AddressRole.LEGACY)]
)
def test_only_a_legacy_unicast_address_succeeds(address: MacAddress, role: AddressRole) -> None:
    added = device_of(add(port(), (address, role)))
    assert MAC_VM1 == device_of(remove(port(state=added), MAC_VM1)).effective_mac


def test_a_legacy_change_happens_once() -> None:
    state = legacy_change(port(), after_seconds=1.0)
    assert state == device_of(remove(port(state=state), MAC_NEW, now_seconds=NOW + 1.0))


def test_a_primary_address_ends_a_legacy_change() -> None:
    batch = [(MAC_OTHER, AddressRole.LEGACY), (MAC_NEW, AddressRole.PRIMARY)]
    state = device_of(add(port(), *batch))
    assert MAC_NEW == device_of(remove(port(state=state), MAC_NEW)).effective_mac


# Removing.


@every_policy
@pytest.mark.parametrize("address", [MAC_NEW, GROUP], ids=["unicast", "multicast"])
def test_a_guest_gives_up_its_own_filters_whatever_the_policy(address: MacAddress, mac_changes: Security) -> None:
    view = port(mac_changes=mac_changes, state=replace(VM1, filters=frozenset({MAC_NEW, GROUP})))
    wanted = replace(VM1, filters=frozenset({MAC_NEW, GROUP}) - {address})
    assert Grant(state=wanted, rule="own filter: always granted") == remove(view, address)


@pytest.mark.parametrize("address", [MAC_NEW, MAC_VM2, BROADCAST, ZERO])
def test_removing_what_is_not_there_changes_nothing(address: MacAddress) -> None:
    assert VM1 == device_of(remove(port(), address))


@every_policy
def test_the_effective_address_stays(mac_changes: Security) -> None:
    wanted = Grant(state=VM1, rule="effective MAC: stays")
    assert wanted == remove(port(mac_changes=mac_changes), MAC_VM1)


def test_a_batch_removes_all_its_filters_and_keeps_the_rest() -> None:
    view = port(state=replace(VM1, filters=frozenset({MAC_NEW, MAC_OTHER, GROUP})))
    assert replace(VM1, filters=frozenset({MAC_OTHER})) == device_of(remove(view, MAC_NEW, MAC_VM1, GROUP))


# Reset.


@every_policy
def test_a_reset_is_always_granted_and_leaves_only_the_operators_address(mac_changes: Security) -> None:
    used = VfState(admin_mac=MAC_VM1, effective_mac=MAC_NEW, filters=filters(16), legacy_added=(MAC_OTHER, NOW))
    decision = decide(ResetDevice(), port(mac_changes=mac_changes, state=used), NOW)
    assert Grant(state=VM1, rule="reset: always granted") == decision


# Requests that name hundreds of addresses.


def many(count: int, role: AddressRole, first: int = 0x02) -> list[tuple[MacAddress, AddressRole]]:
    return [(MacAddress(bytes([first, 1, 0, 0, number >> 8, number & 255])), role) for number in range(count)]


class Owners(AddressOwners):
    """Notes how many addresses it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0

    def other_owner(self, asking: str, address: MacAddress, domains: frozenset[int]) -> str | None:
        self.questions += 1
        return super().other_owner(asking, address, domains)


@every_policy
@every_role
@pytest.mark.parametrize("first", [0x02, 0x01])
def test_more_addresses_than_could_ever_be_granted_are_refused_before_any_is_looked_at(
    first: int, role: AddressRole, mac_changes: Security
) -> None:
    owners = Owners()
    decision = add(port(owners=owners, mac_changes=mac_changes), *many(510, role, first))
    reason = "510 addresses beside the effective MAC; the port may have 16"
    assert Deny(rule=LIMIT_RULE, reason=reason) == decision
    assert 0 == owners.questions


def test_those_that_the_port_has_already_are_counted_once() -> None:
    state = replace(VM1, filters=filters(10))
    decision = add(port(state=state), *extras(10), *many(500, AddressRole.EXTRA))
    assert "510 addresses" in getattr(decision, "reason", "")


def test_a_primary_address_among_the_new_ones_is_no_filter() -> None:
    named = many(16 + 1, AddressRole.EXTRA)
    state = device_of(add(port(), *named, (named[3][0], AddressRole.PRIMARY)))
    assert (named[3][0], 16) == (state.effective_mac, len(state.filters))
    assert LIMIT_RULE == rule_of_denial(add(port(), *named))


def test_the_same_address_hundreds_of_times_is_one() -> None:
    state = device_of(add(port(), *[(MAC_NEW, AddressRole.EXTRA)] * 510))
    assert {MAC_NEW} == state.filters
    assert frozenset() == device_of(remove(port(state=state), *[MAC_NEW] * 510)).filters


# ---- VLANs that a guest asks for ----

TRUNK = Vlan.trunk(frozenset({10, 20, 30}), native=30)


def add_vlans(view: PortView, *vlans: int, proto: Proto = Proto.CUSTOMER) -> Decision:
    return decide(AddVlans(vlans, proto), view, NOW)


def remove_vlans(view: PortView, *vlans: int, proto: Proto = Proto.CUSTOMER) -> Decision:
    return decide(RemoveVlans(vlans, proto), view, NOW)


def vlans_after(decision: Decision) -> frozenset[int] | None:
    assert isinstance(decision, Grant)
    return decision.state.vlans


def test_a_trunk_port_grants_the_vlans_that_it_carries_one_by_one() -> None:
    first = add_vlans(port(vlan=TRUNK), 10)
    assert Grant(state=replace(VM1, vlans=frozenset({10})), rule="vlan: the port carries it") == first
    assert frozenset({10, 20}) == vlans_after(add_vlans(port(vlan=TRUNK, state=first.state), 20, 10))


@pytest.mark.parametrize(
    ("vlan", "proto"),
    [
        (Vlan.trunk(frozenset({20})), Proto.CUSTOMER),
        (Vlan.trunk(frozenset({10}), proto=Proto.SERVICE), Proto.CUSTOMER),
        (Vlan.trunk(frozenset({10})), Proto.SERVICE),
        (Vlan.access(10), Proto.CUSTOMER),
        (NO_VLAN, Proto.CUSTOMER),
    ],
    ids=str,
)
def test_a_vlan_that_the_port_does_not_carry_as_a_trunk_is_refused(vlan: Vlan, proto: Proto) -> None:
    assert "vlan" == rule_of_denial(add_vlans(port(vlan=vlan), 10, proto=proto))


def test_one_refused_vlan_refuses_all_of_a_request() -> None:
    assert "vlan" == rule_of_denial(add_vlans(port(vlan=TRUNK), 10, 40))


def test_vlans_are_held_to_their_quota_which_trust_lifts() -> None:
    small = Quotas(vlans=2)
    assert "quotas: macs=16,vlans=2 (port group web)" == rule_of_denial(add_vlans(port(vlan=TRUNK, quotas=small), 10, 20, 30))
    assert TRUNK.vlans == vlans_after(add_vlans(port(vlan=TRUNK, quotas=small, trust=True), 10, 20, 30))


def test_frames_without_a_tag_are_nobodys_to_ask_for() -> None:
    """A driver of Linux asks for VLAN 0, on whatever port."""
    for vlan in (TRUNK, VLAN_WEB, NO_VLAN):
        assert vlans_after(add_vlans(port(vlan=vlan), 0)) is None


def test_who_gives_up_all_vlans_gets_none_until_a_reset() -> None:
    asked = replace(VM1, vlans=frozenset({10}))
    given_up = remove_vlans(port(vlan=TRUNK, state=asked), 10, 20)
    assert frozenset() == vlans_after(given_up)
    assert vlans_after(decide(ResetDevice(), port(vlan=TRUNK, state=asked), NOW)) is None


def test_giving_up_what_was_never_asked_for_filters_nothing() -> None:
    assert vlans_after(remove_vlans(port(vlan=TRUNK), 10)) is None
    asked = replace(VM1, vlans=frozenset({10}))
    assert frozenset({10}) == vlans_after(remove_vlans(port(vlan=TRUNK, state=asked), 10, proto=Proto.SERVICE))


@pytest.mark.parametrize(
    ("vlan", "asked", "expected"),
    [
        (TRUNK, None, {10, 20, 30}),
        (TRUNK, frozenset(), {30}),
        (TRUNK, frozenset({10}), {10, 30}),
        (TRUNK, frozenset({10, 40}), {10, 30}),  # the operator took 40 off the trunk since
        (Vlan.trunk(frozenset({10, 20})), frozenset({20}), {20}),
        (VLAN_WEB, frozenset({10}), set()),
    ],
    ids=str,
)
def test_a_guest_gets_what_it_asked_for_of_what_its_port_carries(vlan: Vlan, asked: frozenset[int] | None, expected: set) -> None:
    assert expected == vlan.heard(asked)


def test_a_policy_that_allows_fewer_vlans_does_not_bear_more() -> None:
    three = replace(VM1, vlans=frozenset({10, 20, 30}))
    assert [None, "quotas"] == [refused_by(port(quotas=Quotas(vlans=most)).policy, three) for most in (3, 2)]


# ---- frames for others ----


def state_after(decision: Decision) -> VfState:
    assert isinstance(decision, Grant)
    return decision.state


def promiscuity(view: PortView, *, unicast: bool = False, multicast: bool = False) -> Decision:
    return decide(SetPromiscuity(unicast, multicast), view, NOW)


def test_frames_for_others_are_granted_where_the_policy_accepts_it() -> None:
    assert "promiscuous: reject (default)" == rule_of_denial(promiscuity(port(), unicast=True))
    granted = promiscuity(port(promiscuous=Security.ACCEPT), unicast=True)
    assert Grant(state=replace(VM1, is_promiscuous=True), rule="promiscuous: accept (port group web)") == granted


@pytest.mark.parametrize(
    ("settings", "is_granted"),
    [
        ({}, True),  # all groups come anyway
        ({"flood_multicast": False}, False),
        ({"flood_multicast": False, "trust": True}, True),
        ({"flood_multicast": False, "promiscuous": Security.ACCEPT}, True),
    ],
    ids=str,
)
def test_all_multicast_is_for_the_trusted_where_groups_are_asked_for(settings: dict[str, Any], is_granted: bool) -> None:
    decision = promiscuity(port(**settings), multicast=True)
    if is_granted:
        assert isinstance(decision, Grant)
        assert replace(VM1, is_promiscuous=False, has_all_groups=True) == decision.state
    else:
        assert "flood_multicast: false (port group web)" == rule_of_denial(decision)


def test_trust_does_not_override_what_is_rejected() -> None:
    assert "promiscuous: reject (default)" == rule_of_denial(promiscuity(port(trust=True), unicast=True))


def test_less_is_always_granted_and_a_reset_says_nothing() -> None:
    asked = replace(VM1, is_promiscuous=True, has_all_groups=True)
    view = port(state=asked, flood_multicast=False)
    assert replace(VM1, is_promiscuous=False) == state_after(promiscuity(view))
    assert VM1 == state_after(decide(ResetDevice(), view, NOW))
