"""Broadcast and multicast: XDP leaves them to tc, which gives each receiver its copy with the tag that it wants."""

import pytest
from cast import (
    DB,
    GROUP,
    LAB,
    MAC_FIREWALL,
    MAC_ON_THE_WIRE,
    MAC_ROUTER,
    MAC_UPLINK,
    MAC_VM1,
    MAC_WEB1,
    NETWORK,
    SLOT_DB1,
    SLOT_FIREWALL,
    SLOT_FORGER,
    SLOT_ROUTER,
    SLOT_TENANT,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    SLOT_WEB1,
    SLOT_WEB2,
    UNUSED,
    WEB,
    dropped,
    flooded,
    mac,
)
from programs import BROADCAST, TC_PASS, VF_SLOTS, Switch, dot1q, ethernet, no_uplink, uplink, vf

from sriov_xdp.datapath.abi import MAX_MEMBERS, PortFlag, Verdict
from sriov_xdp.datapath.model_ports import Port

GROUPS = [BROADCAST, GROUP, bytes.fromhex("333300000001")]


@pytest.mark.parametrize("destination", GROUPS, ids=bytes.hex)
def test_xdp_leaves_a_flood_to_tc_untouched_and_uncounted(switch: Switch, destination: bytes) -> None:
    assert switch.xdp(SLOT_VM1, ethernet(destination, MAC_VM1)) is None


@pytest.mark.parametrize("destination", GROUPS, ids=bytes.hex)
def test_untagged_guests_reach_each_other_and_the_wire(switch: Switch, destination: bytes) -> None:
    frame = ethernet(destination, MAC_VM1)
    assert flooded({SLOT_UPLINK: frame, SLOT_VM2: frame, SLOT_FORGER: frame}) == switch.tc(SLOT_VM1, frame)


def test_an_access_port_reaches_its_vlan_untagged_and_trunks_and_wire_tagged(switch: Switch) -> None:
    frame, tagged = ethernet(BROADCAST, MAC_WEB1), ethernet(BROADCAST, MAC_WEB1, tags=(dot1q(WEB),))
    wanted = flooded({SLOT_WEB2: frame, SLOT_UPLINK: tagged, SLOT_ROUTER: tagged, SLOT_FIREWALL: tagged})
    assert wanted == switch.tc(SLOT_WEB1, frame)


def test_a_trunk_reaches_the_vlan_of_its_tag(switch: Switch) -> None:
    tagged = ethernet(BROADCAST, MAC_ROUTER, tags=(dot1q(DB, priority=6),))
    assert flooded({SLOT_UPLINK: tagged, SLOT_DB1: ethernet(BROADCAST, MAC_ROUTER)}) == switch.tc(SLOT_ROUTER, tagged)


def test_the_wire_reaches_the_vlan_of_its_tag(switch: Switch) -> None:
    tagged, frame = ethernet(GROUP, MAC_ON_THE_WIRE, tags=(dot1q(WEB, priority=2),)), ethernet(GROUP, MAC_ON_THE_WIRE)
    wanted = flooded({SLOT_WEB1: frame, SLOT_WEB2: frame, SLOT_ROUTER: tagged, SLOT_FIREWALL: tagged})
    assert wanted == switch.tc(SLOT_UPLINK, tagged)


def test_a_vlan_of_trunks_only_is_flooded_by_their_lists(switch: Switch) -> None:
    tagged = ethernet(BROADCAST, MAC_ON_THE_WIRE, tags=(dot1q(LAB),))
    assert flooded({SLOT_ROUTER: tagged}) == switch.tc(SLOT_UPLINK, tagged)


def test_a_trunk_alone_in_its_vlan_reaches_the_wire(switch: Switch) -> None:
    tagged = ethernet(BROADCAST, MAC_ROUTER, tags=(dot1q(LAB),))
    assert flooded({SLOT_UPLINK: tagged}) == switch.tc(SLOT_ROUTER, tagged)


@pytest.mark.parametrize("tags", [(), (dot1q(0, priority=5),)], ids=["untagged", "priority tag"])
def test_the_wire_reaches_untagged_guests(switch: Switch, tags: tuple[tuple[int, int], ...]) -> None:
    frame = ethernet(BROADCAST, MAC_ON_THE_WIRE)
    wanted = flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], frame))
    assert wanted == switch.tc(SLOT_UPLINK, ethernet(BROADCAST, MAC_ON_THE_WIRE, tags=tags))


@pytest.mark.parametrize("priority", [0, 7])
def test_a_priority_tag_of_a_guest_is_no_tag(switch: Switch, priority: int) -> None:
    frame, tagged = ethernet(BROADCAST, MAC_WEB1), ethernet(BROADCAST, MAC_WEB1, tags=(dot1q(WEB),))
    wanted = flooded({SLOT_WEB2: frame, **dict.fromkeys([SLOT_UPLINK, SLOT_ROUTER, SLOT_FIREWALL], tagged)})
    assert wanted == switch.tc(SLOT_WEB1, ethernet(BROADCAST, MAC_WEB1, tags=(dot1q(0, priority=priority),)))


@pytest.mark.parametrize("vlan", [WEB, DB, LAB, UNUSED])
def test_a_flood_reaches_a_host_that_has_its_vlan_with_the_tag(switch: Switch, vlan: int) -> None:
    """Also when the tag was taken off for guests meanwhile: by it the host finds its device. It then stands beside the bytes."""
    tagged = ethernet(BROADCAST, MAC_ON_THE_WIRE, tags=(dot1q(vlan),))
    switch.install(NETWORK)
    others = switch.tc(SLOT_UPLINK, tagged).left
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP, host_vlans=frozenset({vlan}))})
    assert switch.xdp(SLOT_UPLINK, tagged) is None
    seen = switch.observe_tc(SLOT_UPLINK, tagged)
    was_taken_off = any(frame != tagged for frame in others.values())
    assert (TC_PASS, ethernet(BROADCAST, MAC_ON_THE_WIRE) if was_taken_off else tagged) == (seen.run.action, seen.run.frame)
    assert flooded(dict(others), reaches_host=True) == switch.tc(SLOT_UPLINK, tagged)


def test_a_flood_of_another_vlan_is_not_the_hosts(switch: Switch) -> None:
    tagged = ethernet(BROADCAST, MAC_ON_THE_WIRE, tags=(dot1q(UNUSED),))
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, host_vlans=frozenset({WEB}))})
    assert dropped(Verdict.NO_TARGET) == switch.tc(SLOT_UPLINK, tagged)


def test_a_flood_from_the_wire_reaches_a_host_with_an_address_there(switch: Switch) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.HOST_STACK)})
    frame = ethernet(BROADCAST, MAC_ON_THE_WIRE)
    wanted = flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], frame), reaches_host=True)
    assert wanted == switch.tc(SLOT_UPLINK, frame)


def test_a_tagged_flood_does_not_reach_the_host(switch: Switch) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.HOST_STACK)})
    tagged = ethernet(BROADCAST, MAC_ON_THE_WIRE, tags=(dot1q(DB),))
    assert flooded({SLOT_DB1: ethernet(BROADCAST, MAC_ON_THE_WIRE), SLOT_ROUTER: tagged}) == switch.tc(SLOT_UPLINK, tagged)


def test_a_guests_flood_does_not_reach_the_host(switch: Switch) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.HOST_STACK)})
    frame = ethernet(BROADCAST, MAC_VM1)
    assert flooded(dict.fromkeys([SLOT_UPLINK, SLOT_VM2, SLOT_FORGER], frame)) == switch.tc(SLOT_VM1, frame)


def test_a_host_alone_is_reached(switch: Switch) -> None:
    switch.install({SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.HOST_STACK)})
    assert flooded({}, reaches_host=True) == switch.tc(SLOT_UPLINK, ethernet(BROADCAST, MAC_ON_THE_WIRE))


def test_a_flood_that_nobody_takes_has_no_target(switch: Switch) -> None:
    tagged = ethernet(BROADCAST, MAC_ON_THE_WIRE, tags=(dot1q(UNUSED),))
    assert dropped(Verdict.NO_TARGET) == switch.tc(SLOT_UPLINK, tagged)


def test_a_guest_alone_without_an_uplink_reaches_nobody(switch: Switch) -> None:
    switch.install({SLOT_UPLINK: no_uplink(0), SLOT_VM1: NETWORK[SLOT_VM1], SLOT_TENANT: NETWORK[SLOT_TENANT]})
    assert dropped(Verdict.NO_TARGET) == switch.tc(SLOT_VM1, ethernet(BROADCAST, MAC_VM1))


@pytest.mark.parametrize("is_up", [True, False])
def test_an_uplink_takes_a_flood_only_while_its_link_is_up(switch: Switch, is_up: bool) -> None:
    switch.install({SLOT_UPLINK: uplink(0, MAC_UPLINK, is_up=is_up), SLOT_VM1: NETWORK[SLOT_VM1]})
    frame = ethernet(BROADCAST, MAC_VM1)
    assert (flooded({SLOT_UPLINK: frame}) if is_up else dropped(Verdict.NO_TARGET)) == switch.tc(SLOT_VM1, frame)


@pytest.mark.parametrize(("members", "sender"), [(1, 0), (31, 30), (32, 31), (33, 32), (64, 0), (255, 100), (MAX_MEMBERS, 255)])
def test_each_member_of_a_vlan_but_the_sender_gets_one_copy(switch: Switch, members: int, sender: int) -> None:
    slots = VF_SLOTS[:members]
    switch.install({SLOT_UPLINK: uplink(0, MAC_UPLINK), **{slot: vf(slot, _mac_of(slot), vlan=WEB) for slot in slots}})
    frame = ethernet(BROADCAST, _mac_of(slots[sender]))
    tagged = ethernet(BROADCAST, _mac_of(slots[sender]), tags=(dot1q(WEB),))
    others = dict.fromkeys([slot for slot in slots if slot != slots[sender]], frame)
    assert members - 1 == len(others)
    assert flooded({**others, SLOT_UPLINK: tagged}) == switch.tc(slots[sender], frame)


def test_a_full_vlan_of_both_taggings_gets_one_copy_each(switch: Switch) -> None:
    ports: dict[int, Port] = {SLOT_UPLINK: uplink(0, MAC_UPLINK)}
    for slot in VF_SLOTS:
        ports[slot] = vf(slot, _mac_of(slot), trunk=[WEB]) if slot % 2 else vf(slot, _mac_of(slot), vlan=WEB)
    switch.install(ports)
    tagged, frame = ethernet(BROADCAST, MAC_FIREWALL, tags=(dot1q(WEB, priority=1),)), ethernet(BROADCAST, MAC_FIREWALL)
    assert flooded({slot: tagged if slot % 2 else frame for slot in VF_SLOTS}) == switch.tc(SLOT_UPLINK, tagged)


def _mac_of(slot: int) -> bytes:
    return mac(0)[:4] + slot.to_bytes(2, "big")
