"""Floods from the wire that XDP finishes: the kernel copies the frame to a devmap's devices, and each copy leaves as its
receiver wants it. The frames here really go through the devices."""

import pytest
from cast import (
    DB,
    GROUP,
    LAB,
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
from sriov_xdp.datapath.model import Port
from sriov_xdp.host import namespaces

NATIVE = uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP)
WIRED = {**NETWORK, SLOT_UPLINK: NATIVE}
UNTAGGED = ethernet(BROADCAST, MAC_ON_THE_WIRE)


def tagged(vlan: int, priority: int = 0) -> bytes:
    return ethernet(BROADCAST, MAC_ON_THE_WIRE, tags=(dot1q(vlan, priority=priority),))


@pytest.fixture
def wired(switch: Switch) -> Switch:
    switch.install(WIRED)
    return switch


@pytest.mark.parametrize("destination", [BROADCAST, GROUP, bytes.fromhex("333300000001")], ids=bytes.hex)
def test_the_wire_reaches_untagged_guests(wired: Switch, destination: bytes) -> None:
    frame = ethernet(destination, MAC_ON_THE_WIRE)
    assert flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], frame)) == wired.xdp(SLOT_UPLINK, frame)


def test_a_priority_tag_is_taken_off(wired: Switch) -> None:
    wanted = flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], UNTAGGED))
    assert wanted == wired.xdp(SLOT_UPLINK, tagged(0, priority=5))


def test_each_receiver_gets_the_tag_that_it_wants(wired: Switch) -> None:
    frame = tagged(WEB, priority=2)
    wanted = flooded({SLOT_WEB1: UNTAGGED, SLOT_WEB2: UNTAGGED, SLOT_ROUTER: frame, SLOT_FIREWALL: frame})
    assert wanted == wired.xdp(SLOT_UPLINK, frame)


def test_copies_and_the_frame_are_counted(wired: Switch) -> None:
    before = wired.counters([SLOT_UPLINK, SLOT_DB1, SLOT_ROUTER])
    wired.observe_live(SLOT_UPLINK, tagged(DB))
    after = wired.counters([SLOT_UPLINK, SLOT_DB1, SLOT_ROUTER])
    bytes_ = len(tagged(DB))
    entered, left, other = after[SLOT_UPLINK], after[SLOT_DB1], after[SLOT_ROUTER]
    assert 1 == entered.verdicts[Verdict.FLOODED] - before[SLOT_UPLINK].verdicts[Verdict.FLOODED]
    assert (1, bytes_) == (
        entered.ingress_broadcast - before[SLOT_UPLINK].ingress_broadcast,
        entered.ingress_bytes - before[SLOT_UPLINK].ingress_bytes,
    )
    for slot, port in ((SLOT_DB1, left), (SLOT_ROUTER, other)):
        assert (1, 1, bytes_, 0) == (
            port.egress_frames - before[slot].egress_frames,
            port.egress_broadcast - before[slot].egress_broadcast,
            port.egress_bytes - before[slot].egress_bytes,
            port.egress_multicast - before[slot].egress_multicast,
        )


LEFT_TO_TC = {
    "from a guest": (WIRED, SLOT_VM1, ethernet(BROADCAST, MAC_VM1)),
    "behind a driver without XDP": ({**WIRED, SLOT_UPLINK: uplink(0, MAC_UPLINK)}, SLOT_UPLINK, UNTAGGED),
    "in a VLAN of trunks only": (WIRED, SLOT_UPLINK, tagged(LAB)),
    "in a VLAN of nobody": (WIRED, SLOT_UPLINK, tagged(UNUSED)),
    "also for the host": (
        {**WIRED, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP | PortFlag.HOST_STACK)},
        SLOT_UPLINK,
        UNTAGGED,
    ),
}


@pytest.mark.parametrize(("ports", "slot", "frame"), LEFT_TO_TC.values(), ids=LEFT_TO_TC)
def test_other_floods_are_left_to_tc(switch: Switch, ports: dict[int, Port], slot: int, frame: bytes) -> None:
    switch.install(ports)
    assert switch.xdp(slot, frame) is None


def test_a_host_on_the_wire_does_not_keep_xdp_from_tagged_floods(switch: Switch) -> None:
    switch.install({**WIRED, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP | PortFlag.HOST_STACK)})
    assert flooded({SLOT_DB1: UNTAGGED, SLOT_ROUTER: tagged(DB)}) == switch.xdp(SLOT_UPLINK, tagged(DB))


def test_a_guest_whose_link_is_down_gets_nothing_and_one_that_comes_up_does(wired: Switch) -> None:
    down = vf(SLOT_VM2, MAC_VM2, is_up=False)
    wired.tables.put_values({SLOT_VM2: down.value})
    assert flooded(dict.fromkeys([SLOT_VM1, SLOT_FORGER], UNTAGGED)) == wired.xdp(SLOT_UPLINK, UNTAGGED)
    with namespaces.in_namespace(wired.netns):
        wired.tables.put_values({SLOT_VM2: NETWORK[SLOT_VM2].value})
    assert flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], UNTAGGED)) == wired.xdp(SLOT_UPLINK, UNTAGGED)


def test_when_all_links_of_a_vlan_are_down_tc_says_that_nobody_takes_it(wired: Switch) -> None:
    wired.install({SLOT_UPLINK: NATIVE, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, is_up=False)})
    assert wired.xdp(SLOT_UPLINK, UNTAGGED) is None
    assert Verdict.NO_TARGET is wired.tc(SLOT_UPLINK, UNTAGGED).verdict


@pytest.mark.parametrize("moved", [vf(SLOT_WEB2, MAC_WEB1, vlan=DB), vf(SLOT_WEB2, MAC_WEB1), vf(SLOT_WEB2, MAC_WEB1, trunk=[LAB])])
def test_a_port_that_left_the_vlan_gets_no_copy_before_the_list_says_so(wired: Switch, moved: Port) -> None:
    """Port and list are written one after the other; a writer may die in between."""
    with namespaces.in_namespace(wired.netns):
        wired.tables.put_port(SLOT_WEB2, image(moved, WIRED))
    seen = wired.observe_live(SLOT_UPLINK, tagged(WEB))
    assert {SLOT_WEB1, SLOT_ROUTER, SLOT_FIREWALL} == seen.arrived.keys()
    assert {SLOT_WEB2: 1} == seen.errors, "and it is counted"


def test_a_copy_that_a_device_does_not_take_is_counted_there(wired: Switch) -> None:
    with wired.far_end_down(SLOT_VM2):
        seen = wired.observe_live(SLOT_UPLINK, UNTAGGED)
    assert {SLOT_VM1, SLOT_FORGER} == seen.arrived.keys()
    assert {SLOT_VM2: 1} == seen.errors
    assert dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], 1) == seen.egress


@pytest.mark.parametrize("members", [1, 2, 3, 31, 33, 128, MAX_MEMBERS])
def test_each_member_of_a_vlan_gets_one_copy(switch: Switch, members: int) -> None:
    slots = VF_SLOTS[:members]
    switch.install({SLOT_UPLINK: NATIVE, **{slot: vf(slot, _mac_of(slot), vlan=WEB) for slot in slots}})
    assert flooded(dict.fromkeys(slots, UNTAGGED)) == switch.xdp(SLOT_UPLINK, tagged(WEB))


def test_a_vlan_that_shrinks_and_grows_is_reached_whole(switch: Switch) -> None:
    ports = {slot: vf(slot, _mac_of(slot)) for slot in VF_SLOTS}
    for size in (40, 5, 6, 64, 65, 1, 33):
        slots = VF_SLOTS[size : 2 * size]  # others each time
        switch.install({SLOT_UPLINK: NATIVE, **{slot: ports[slot] for slot in slots}})
        assert flooded(dict.fromkeys(slots, UNTAGGED)) == switch.xdp(SLOT_UPLINK, UNTAGGED)


def test_who_takes_over_finds_the_receivers(wired: Switch) -> None:
    """Without a new devmap for any domain: what is right is left alone."""
    floods = Floods(wired.pins.map_fd("floods"), wired.pins.program_fd("xdp_flood_copy"))
    floods.adopt()
    web = frozenset(DEVICES[slot] for slot in (SLOT_WEB1, SLOT_WEB2, SLOT_ROUTER, SLOT_FIREWALL))
    assert {abi.domain(0, vlan) for vlan in (0, WEB, DB)} | {abi.domain(1, 0)} == set(floods.domains())
    with namespaces.in_namespace(wired.netns):
        assert not floods.put(abi.domain(0, WEB), web)
        assert floods.put(abi.domain(0, WEB), web - {DEVICES[SLOT_WEB2]})
    wanted = {SLOT_WEB1: UNTAGGED, SLOT_ROUTER: tagged(WEB), SLOT_FIREWALL: tagged(WEB)}
    assert flooded(wanted) == wired.xdp(SLOT_UPLINK, tagged(WEB))
    with namespaces.in_namespace(wired.netns):
        assert floods.put(abi.domain(0, WEB), web)


def test_a_frame_of_full_length_is_copied_whole(wired: Switch) -> None:
    payload = bytes(index & 0xFF for index in range(MTU_BYTES))
    plain, frame = (ethernet(BROADCAST, MAC_ON_THE_WIRE, payload, tags=tags) for tags in ((), (dot1q(DB),)))
    assert flooded({SLOT_DB1: plain, SLOT_ROUTER: frame}) == wired.xdp(SLOT_UPLINK, frame)


def _mac_of(slot: int) -> bytes:
    return mac(0)[:4] + slot.to_bytes(2, "big")
