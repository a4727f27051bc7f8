"""Floods from the wire that XDP finishes: made as the VLAN's access ports want them, then copied by the kernel to a devmap's
devices. The frames here really go through the devices."""

import pytest
from cast import (
    DB,
    GROUP,
    LAB,
    MAC_DB1,
    MAC_ON_THE_WIRE,
    MAC_UPLINK,
    MAC_VM1,
    MAC_VM2,
    MAC_WEB1,
    NETWORK,
    SLOT_DB1,
    SLOT_FIREWALL,
    SLOT_FORGER,
    SLOT_ROUTER,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    SLOT_WEB1,
    SLOT_WEB2,
    UNUSED,
    WEB,
    flooded,
    mac,
)
from programs import BROADCAST, DEVICES, MTU_BYTES, VF_SLOTS, Switch, dot1q, ethernet, image, uplink, vf

from sriov_xdp.datapath import abi
from sriov_xdp.datapath.abi import MAX_MEMBERS, PortFlag, Verdict
from sriov_xdp.datapath.floods import Floods
from sriov_xdp.datapath.model_ports import Port
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import namespaces

NATIVE = uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP)
NO_TRUNKS = {slot: port for slot, port in NETWORK.items() if slot not in (SLOT_ROUTER, SLOT_FIREWALL)}
WIRED = {**NO_TRUNKS, SLOT_UPLINK: NATIVE}
UNTAGGED = ethernet(BROADCAST, MAC_ON_THE_WIRE)


def tagged(vlan: int, priority: int = 0) -> bytes:
    return ethernet(BROADCAST, MAC_ON_THE_WIRE, tags=(dot1q(vlan, priority=priority),))


@pytest.fixture
def wired(switch: Switch) -> Switch:
    switch.install(WIRED)
    return switch


def put(switch: Switch, slot: int, port: Port) -> None:
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(slot, image(port, WIRED))


@pytest.mark.parametrize("destination", [BROADCAST, GROUP, bytes.fromhex("333300000001")], ids=bytes.hex)
def test_the_wire_reaches_untagged_guests(wired: Switch, destination: bytes) -> None:
    frame = ethernet(destination, MAC_ON_THE_WIRE)
    assert flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], frame)) == wired.xdp(SLOT_UPLINK, frame)


@pytest.mark.parametrize("priority", [0, 5])
def test_a_priority_tag_is_taken_off(wired: Switch, priority: int) -> None:
    wanted = flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], UNTAGGED))
    assert wanted == wired.xdp(SLOT_UPLINK, tagged(0, priority=priority))


def test_an_access_vlan_gets_it_without_the_tag(wired: Switch) -> None:
    assert flooded(dict.fromkeys([SLOT_WEB1, SLOT_WEB2], UNTAGGED)) == wired.xdp(SLOT_UPLINK, tagged(WEB, priority=2))


@pytest.mark.parametrize("destination", [BROADCAST, GROUP], ids=["broadcast", "multicast"])
def test_copies_and_the_frame_are_counted(wired: Switch, destination: bytes) -> None:
    frame = ethernet(destination, MAC_ON_THE_WIRE, tags=(dot1q(WEB),))
    before = wired.counters([SLOT_UPLINK, SLOT_WEB1, SLOT_WEB2])
    wired.observe_sent(SLOT_UPLINK, frame)
    after = wired.counters([SLOT_UPLINK, SLOT_WEB1, SLOT_WEB2])
    is_broadcast = destination == BROADCAST
    groups = (1, 0) if is_broadcast else (0, 1)
    entered, was = after[SLOT_UPLINK], before[SLOT_UPLINK]
    assert 1 == entered.verdicts[Verdict.FLOODED] - was.verdicts[Verdict.FLOODED]
    assert len(frame) == entered.ingress_bytes - was.ingress_bytes
    assert groups == (entered.ingress_broadcast - was.ingress_broadcast, entered.ingress_multicast - was.ingress_multicast)
    for slot in (SLOT_WEB1, SLOT_WEB2):
        left, was = after[slot], before[slot]
        assert (1, len(frame)) == (left.egress_frames - was.egress_frames, left.egress_bytes - was.egress_bytes)
        assert groups == (left.egress_broadcast - was.egress_broadcast, left.egress_multicast - was.egress_multicast)


HOSTED = uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP | PortFlag.HOST_STACK)
WITH_TRUNKS = {**NETWORK, SLOT_UPLINK: NATIVE}
LEFT_TO_TC = {
    "from a guest": (WIRED, SLOT_VM1, ethernet(BROADCAST, MAC_VM1)),
    "behind a driver without XDP": ({**WIRED, SLOT_UPLINK: uplink(0, MAC_UPLINK)}, SLOT_UPLINK, UNTAGGED),
    "in a VLAN with trunks": (WITH_TRUNKS, SLOT_UPLINK, tagged(WEB)),
    "in a VLAN of trunks only": (WITH_TRUNKS, SLOT_UPLINK, tagged(LAB)),
    "in a VLAN of nobody": (WIRED, SLOT_UPLINK, tagged(UNUSED)),
    "also for the host": ({**WIRED, SLOT_UPLINK: HOSTED}, SLOT_UPLINK, UNTAGGED),
}


@pytest.mark.parametrize(("ports", "slot", "frame"), LEFT_TO_TC.values(), ids=LEFT_TO_TC)
def test_other_floods_are_left_to_tc(switch: Switch, ports: dict[int, Port], slot: int, frame: bytes) -> None:
    switch.install(ports)
    assert switch.xdp(slot, frame) is None


def test_a_host_on_the_wire_does_not_keep_xdp_from_tagged_floods(switch: Switch) -> None:
    switch.install({**WIRED, SLOT_UPLINK: HOSTED})
    assert flooded(dict.fromkeys([SLOT_WEB1, SLOT_WEB2], UNTAGGED)) == switch.xdp(SLOT_UPLINK, tagged(WEB))


def test_a_guest_whose_link_is_down_gets_nothing_and_one_that_comes_up_does(wired: Switch) -> None:
    wired.tables.put_values({SLOT_VM2: vf(SLOT_VM2, MAC_VM2, is_up=False).value})
    assert flooded(dict.fromkeys([SLOT_VM1, SLOT_FORGER], UNTAGGED)) == wired.xdp(SLOT_UPLINK, UNTAGGED)
    with namespaces.in_namespace(wired.netns):
        wired.tables.put_values({SLOT_VM2: NETWORK[SLOT_VM2].value})
    assert flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], UNTAGGED)) == wired.xdp(SLOT_UPLINK, UNTAGGED)


def test_when_all_links_of_a_vlan_are_down_tc_says_that_nobody_takes_it(wired: Switch) -> None:
    wired.install({SLOT_UPLINK: NATIVE, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, is_up=False)})
    assert wired.xdp(SLOT_UPLINK, UNTAGGED) is None
    assert Verdict.NO_TARGET is wired.tc(SLOT_UPLINK, UNTAGGED).verdict


MOVED = {
    "to another VLAN": vf(SLOT_WEB2, MAC_WEB1, vlan=DB),
    "to none": vf(SLOT_WEB2, MAC_WEB1),
    "to a trunk": vf(SLOT_WEB2, MAC_WEB1, trunk=[LAB]),
    "down": vf(SLOT_WEB2, MAC_WEB1, vlan=WEB, is_up=False),
}


@pytest.mark.parametrize("moved", MOVED.values(), ids=MOVED)
def test_a_port_that_left_gets_no_copy_before_the_list_says_so(wired: Switch, moved: Port) -> None:
    """Port and list are written one after the other; a writer may die in between."""
    put(wired, SLOT_WEB2, moved)
    seen = wired.observe_sent(SLOT_UPLINK, tagged(WEB))
    assert ({SLOT_WEB1: [UNTAGGED]}, {SLOT_WEB1: 1}, {}) == (seen.arrived, seen.egress, seen.errors)


def test_a_port_that_is_cleared_gets_no_copy_before_the_list_says_so(wired: Switch) -> None:
    wired.tables.clear_port(SLOT_WEB2)
    assert {SLOT_WEB1: [UNTAGGED]} == wired.observe_sent(SLOT_UPLINK, tagged(WEB)).arrived


def test_a_copy_that_a_device_does_not_take_is_counted_there(wired: Switch) -> None:
    with wired.far_end_down(SLOT_VM2):
        seen = wired.observe_sent(SLOT_UPLINK, UNTAGGED)
    assert {SLOT_VM1, SLOT_FORGER} == seen.arrived.keys()
    assert {SLOT_VM2: 1} == seen.errors
    assert dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], 1) == seen.egress


@pytest.mark.parametrize("members", [2, 3, 31, 33, 128, MAX_MEMBERS])
def test_each_member_of_a_vlan_gets_one_copy(switch: Switch, members: int) -> None:
    slots = VF_SLOTS[:members]
    switch.install({SLOT_UPLINK: NATIVE, **{slot: vf(slot, _mac_of(slot), vlan=WEB) for slot in slots}})
    assert flooded(dict.fromkeys(slots, UNTAGGED)) == switch.xdp(SLOT_UPLINK, tagged(WEB))


def test_a_vlan_that_shrinks_and_grows_is_reached_whole(switch: Switch) -> None:
    ports = {slot: vf(slot, _mac_of(slot)) for slot in VF_SLOTS}
    for size in (40, 5, 6, 64, 65, 2, 33):
        slots = VF_SLOTS[size : 2 * size]  # others each time
        switch.install({SLOT_UPLINK: NATIVE, **{slot: ports[slot] for slot in slots}})
        assert flooded(dict.fromkeys(slots, UNTAGGED)) == switch.xdp(SLOT_UPLINK, UNTAGGED)


def test_a_device_that_is_gone_is_in_nobodys_way(wired: Switch) -> None:
    """Its end may be noticed late. The VLAN outgrows its devmap meanwhile, and all devices are put into another."""
    gone = max(DEVICES.values()) + 1
    floods = Floods(wired.pins.map_fd("floods"))
    with namespaces.in_namespace(wired.netns):
        for ifindex in (DEVICES[SLOT_VM1], gone, DEVICES[SLOT_VM2], DEVICES[SLOT_FORGER], DEVICES[SLOT_WEB1]):
            floods.add(abi.domain(1, LAB), ifindex)
    there = frozenset(DEVICES[slot] for slot in (SLOT_VM1, SLOT_VM2, SLOT_FORGER, SLOT_WEB1))
    assert there == floods.receivers()[abi.domain(1, LAB)]
    floods.drop(abi.domain(1, LAB))


def _receivers(switch: Switch) -> dict[int, frozenset[int]]:
    """As the kernel has them."""
    found = Floods(switch.pins.map_fd("floods"))
    found.read()
    return found.receivers()


def test_who_takes_over_mends_what_a_writer_left_half_done(wired: Switch) -> None:
    """One receiver too many, one too few, and a domain of nobody."""
    wanted = {
        abi.domain(0, 0): frozenset(DEVICES[slot] for slot in (SLOT_VM1, SLOT_VM2, SLOT_FORGER)),
        abi.domain(0, WEB): frozenset(DEVICES[slot] for slot in (SLOT_WEB1, SLOT_WEB2)),
    }
    assert wanted == _receivers(wired)
    half_done = Floods(wired.pins.map_fd("floods"))
    with namespaces.in_namespace(wired.netns):
        half_done.read()
        half_done.remove(abi.domain(0, WEB), DEVICES[SLOT_WEB2])
        half_done.add(abi.domain(0, 0), DEVICES[SLOT_DB1])
        for slot in (SLOT_VM1, SLOT_VM2):
            half_done.add(abi.domain(0, LAB), DEVICES[slot])
        assert wanted != _receivers(wired)
        wired.tables = Tables(wired.pins)
        wired.tables.adopt()
    assert wanted == _receivers(wired)
    assert flooded(dict.fromkeys([SLOT_WEB1, SLOT_WEB2], UNTAGGED)) == wired.xdp(SLOT_UPLINK, tagged(WEB))


def test_a_frame_of_full_length_is_copied_whole(wired: Switch) -> None:
    payload = bytes(index & 0xFF for index in range(MTU_BYTES))
    plain, frame = (ethernet(BROADCAST, MAC_ON_THE_WIRE, payload, tags=tags) for tags in ((), (dot1q(WEB),)))
    assert flooded(dict.fromkeys([SLOT_WEB1, SLOT_WEB2], plain)) == wired.xdp(SLOT_UPLINK, frame)


def test_a_vlan_is_flooded_by_tc_while_it_has_a_trunk_and_by_xdp_before_and_after(wired: Switch) -> None:
    alone = flooded(dict.fromkeys([SLOT_WEB1, SLOT_WEB2], UNTAGGED))
    assert alone == wired.xdp(SLOT_UPLINK, tagged(WEB))
    wired.install({**WIRED, SLOT_ROUTER: NETWORK[SLOT_ROUTER]})
    assert wired.xdp(SLOT_UPLINK, tagged(WEB)) is None
    wired.install({**WIRED, SLOT_ROUTER: vf(SLOT_ROUTER, MAC_DB1[:5] + b"\x99", vlan=DB)})
    assert alone == wired.xdp(SLOT_UPLINK, tagged(WEB))
    assert flooded(dict.fromkeys([SLOT_DB1, SLOT_ROUTER], UNTAGGED)) == wired.xdp(SLOT_UPLINK, tagged(DB))


def _mac_of(slot: int) -> bytes:
    return mac(0)[:3] + b"\x01" + slot.to_bytes(2, "big")
