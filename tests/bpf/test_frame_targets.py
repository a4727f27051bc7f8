"""Where a unicast frame goes, and that it goes nowhere else."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cast import (
    DB,
    GROUP,
    LAB,
    MAC_DB1,
    MAC_FIREWALL,
    MAC_INVENTED,
    MAC_ON_THE_WIRE,
    MAC_OTHER_UPLINK,
    MAC_PARKED,
    MAC_ROUTER,
    MAC_TENANT,
    MAC_UPLINK,
    MAC_VM1,
    MAC_VM1_SECOND,
    MAC_VM2,
    MAC_WEB1,
    NETWORK,
    NOBODY,
    SLOT_FORGER,
    SLOT_OTHER_UPLINK,
    SLOT_PARKED,
    SLOT_ROUTER,
    SLOT_TENANT,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    SLOT_WEB1,
    WEB,
    dropped,
    flooded,
    forwarded,
)
from programs import BROADCAST, TC_PASS, Switch, dot1q, ethernet, no_uplink, uplink, vf, with_flags

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.fdb import ForwardingDatabase
from sriov_xdp.datapath.model import Fate

Judge = Callable[[int, bytes], Fate | None]


# ---- among the VFs ----


@pytest.mark.parametrize("address", [MAC_VM1, MAC_VM1_SECOND])
def test_a_port_is_reached_by_each_of_its_addresses(judge: Judge, address: bytes) -> None:
    frame = ethernet(address, MAC_VM2)
    assert forwarded(SLOT_VM1, frame) == judge(SLOT_VM2, frame)


@pytest.mark.parametrize("address", [MAC_VM1, MAC_VM1_SECOND])
def test_g22_a_frame_to_oneself_is_not_returned(judge: Judge, address: bytes) -> None:
    assert dropped(Verdict.HAIRPIN) == judge(SLOT_VM1, ethernet(address, MAC_VM1))


def test_g22_a_trunks_frame_to_itself_is_not_returned(judge: Judge) -> None:
    assert dropped(Verdict.HAIRPIN) == judge(SLOT_ROUTER, ethernet(MAC_ROUTER, MAC_ROUTER, tags=(dot1q(DB),)))


def test_a_port_whose_link_is_down_gets_nothing(judge: Judge) -> None:
    assert dropped(Verdict.TARGET_DENIED) == judge(SLOT_VM1, ethernet(MAC_PARKED, MAC_VM1))


def test_an_address_of_a_trunk_is_unknown_in_a_vlan_that_it_does_not_list(judge: Judge) -> None:
    """As any unknown one: looked for on the wire, where a gateway may have the same in every VLAN; from there it is nobody's."""
    untagged, tagged = ethernet(MAC_ROUTER, MAC_VM1), ethernet(MAC_FIREWALL, MAC_ROUTER, tags=(dot1q(DB),))
    assert forwarded(SLOT_UPLINK, untagged) == judge(SLOT_VM1, untagged)
    assert forwarded(SLOT_UPLINK, tagged) == judge(SLOT_ROUTER, tagged)
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_UPLINK, ethernet(MAC_FIREWALL, MAC_ON_THE_WIRE, tags=(dot1q(DB),)))
    assert dropped(Verdict.FORGED_SOURCE) == judge(SLOT_VM1, ethernet(MAC_VM2, MAC_ROUTER)), "and no other port's to speak of"


def test_an_access_port_goes_before_a_trunk_with_the_same_address(switch: Switch, judge: Judge) -> None:
    switch.install({**NETWORK, SLOT_ROUTER: vf(SLOT_ROUTER, MAC_ROUTER, more_macs=[MAC_VM2], trunk=[LAB])})
    frame = ethernet(MAC_VM2, MAC_VM1)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_VM1, frame)


def test_g25_a_neighbour_in_another_vlan_is_a_stranger_on_the_wire(judge: Judge) -> None:
    tagged = ethernet(MAC_DB1, MAC_WEB1, tags=(dot1q(WEB),))
    assert forwarded(SLOT_UPLINK, tagged) == judge(SLOT_WEB1, ethernet(MAC_DB1, MAC_WEB1))


@pytest.mark.parametrize("destination", [MAC_TENANT, MAC_OTHER_UPLINK])
def test_g25_another_pf_is_reached_over_the_wire_only(judge: Judge, destination: bytes) -> None:
    frame = ethernet(destination, MAC_VM1)
    assert forwarded(SLOT_UPLINK, frame) == judge(SLOT_VM1, frame)
    back = ethernet(MAC_VM1, MAC_TENANT)
    assert forwarded(SLOT_OTHER_UPLINK, back) == judge(SLOT_TENANT, back)


def test_each_uplink_program_serves_its_own_pf(judge: Judge) -> None:
    frame = ethernet(MAC_TENANT, MAC_ON_THE_WIRE)
    assert forwarded(SLOT_TENANT, frame) == judge(SLOT_OTHER_UPLINK, frame)
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_UPLINK, frame)


@pytest.mark.parametrize("flags", [PortFlag.PEER, PortFlag.NO_CARRIER, PortFlag.PEER | PortFlag.NO_CARRIER])
def test_every_way_of_delivery_delivers(switch: Switch, judge: Judge, flags: PortFlag) -> None:
    switch.install({**NETWORK, SLOT_VM2: with_flags(NETWORK[SLOT_VM2], flags)})
    frame = ethernet(MAC_VM2, MAC_VM1)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_VM1, frame)


@pytest.mark.parametrize("flags", [PortFlag.AWAY, PortFlag.AWAY | PortFlag.PEER])
def test_a_guest_without_a_carrier_is_looked_for_on_the_wire(switch: Switch, judge: Judge, flags: PortFlag) -> None:
    switch.install({**NETWORK, SLOT_VM2: with_flags(NETWORK[SLOT_VM2], flags)})
    frame = ethernet(MAC_VM2, MAC_VM1)
    assert forwarded(SLOT_UPLINK, frame) == judge(SLOT_VM1, frame)
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_UPLINK, ethernet(MAC_VM2, MAC_ON_THE_WIRE))


def test_what_comes_from_the_wire_in_the_name_of_a_guest_without_a_carrier_is_no_loop(switch: Switch, judge: Judge) -> None:
    """A bond of the guest's moved its address there. While it has a carrier here, its frames do not come back."""
    frame = ethernet(MAC_VM1, MAC_VM2)
    assert dropped(Verdict.LOOP) == judge(SLOT_UPLINK, frame)
    switch.install({**NETWORK, SLOT_VM2: with_flags(NETWORK[SLOT_VM2], PortFlag.AWAY)})
    assert forwarded(SLOT_VM1, frame) == judge(SLOT_UPLINK, frame)


def test_the_address_of_a_guest_without_a_carrier_is_still_its_own(switch: Switch, judge: Judge) -> None:
    switch.install({**NETWORK, SLOT_VM2: with_flags(NETWORK[SLOT_VM2], PortFlag.AWAY)})
    assert dropped(Verdict.SPOOF_MAC) == judge(SLOT_VM1, ethernet(MAC_ON_THE_WIRE, MAC_VM2))


# ---- the wire ----


def test_g29_unknown_unicast_of_a_guest_goes_to_the_wire_only(judge: Judge) -> None:
    frame = ethernet(MAC_INVENTED, MAC_VM1)
    assert forwarded(SLOT_UPLINK, frame) == judge(SLOT_VM1, frame)


@pytest.mark.parametrize("tags", [(), (dot1q(WEB),), (dot1q(LAB),), (dot1q(0),)], ids=str)
def test_g29_unknown_unicast_from_the_wire_goes_nowhere(judge: Judge, tags: tuple[tuple[int, int], ...]) -> None:
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_UPLINK, ethernet(MAC_INVENTED, MAC_ON_THE_WIRE, tags=tags))


@pytest.mark.parametrize("destination", [MAC_INVENTED, MAC_UPLINK, NOBODY], ids=bytes.hex)
def test_g29_without_an_uplink_unknown_unicast_goes_nowhere(switch: Switch, judge: Judge, destination: bytes) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: no_uplink(0)})
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_VM1, ethernet(destination, MAC_VM1))


def test_without_an_uplink_guests_and_trunks_still_talk(switch: Switch, judge: Judge) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: no_uplink(0)})
    tagged = ethernet(MAC_ROUTER, MAC_WEB1, tags=(dot1q(WEB),))
    assert forwarded(SLOT_ROUTER, tagged) == judge(SLOT_WEB1, ethernet(MAC_ROUTER, MAC_WEB1))


def test_an_uplink_whose_link_is_down_takes_nothing(switch: Switch, judge: Judge) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, is_up=False)})
    assert dropped(Verdict.TARGET_DENIED) == judge(SLOT_VM1, ethernet(MAC_INVENTED, MAC_VM1))


# ---- the host ----


@pytest.mark.parametrize(("slot", "source", "tags"), [(SLOT_VM1, MAC_VM1, ()), (SLOT_ROUTER, MAC_ROUTER, (dot1q(WEB),))])
def test_g30_no_guest_reaches_the_host(judge: Judge, slot: int, source: bytes, tags: tuple[tuple[int, int], ...]) -> None:
    assert dropped(Verdict.TARGET_DENIED) == judge(slot, ethernet(MAC_UPLINK, source, tags=tags))


@pytest.mark.parametrize("tags", [(), (dot1q(0, priority=5),)], ids=["untagged", "priority tag"])
def test_g30_from_the_wire_the_host_gets_what_is_addressed_to_it(switch: Switch, tags: tuple[tuple[int, int], ...]) -> None:
    frame = ethernet(MAC_UPLINK, MAC_ON_THE_WIRE, tags=tags)
    assert switch.xdp(SLOT_UPLINK, frame) is None
    assert Fate(verdict=Verdict.TO_HOST, reaches_host=True) == switch.tc(SLOT_UPLINK, frame)


@pytest.mark.parametrize("host_vlans", [frozenset(), frozenset({DB}), frozenset({WEB - 1, WEB + 1})], ids=repr)
def test_g30_the_host_is_in_no_vlan_but_its_own(switch: Switch, judge: Judge, host_vlans: frozenset[int]) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, host_vlans=host_vlans)})
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_UPLINK, ethernet(MAC_UPLINK, MAC_ON_THE_WIRE, tags=(dot1q(WEB),)))


@pytest.mark.parametrize("vlan", [1, WEB, DB, 4094])
def test_g30_what_is_addressed_to_the_host_in_its_vlan_is_the_hosts(switch: Switch, vlan: int) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, host_vlans=frozenset({vlan}))})
    frame = ethernet(MAC_UPLINK, MAC_ON_THE_WIRE, tags=(dot1q(vlan, priority=3),))
    assert switch.xdp(SLOT_UPLINK, frame) is None
    seen = switch.observe_tc(SLOT_UPLINK, frame)
    assert (TC_PASS, frame, {Verdict.TO_HOST: 1}) == (seen.run.action, seen.run.frame, seen.verdicts)
    assert dropped(Verdict.NO_TARGET) == switch.tc(SLOT_UPLINK, ethernet(MAC_INVENTED, MAC_ON_THE_WIRE, tags=(dot1q(vlan),)))
    assert dropped(Verdict.TARGET_DENIED) == switch.tc(SLOT_ROUTER, ethernet(MAC_UPLINK, MAC_ROUTER, tags=(dot1q(WEB),)))


def test_g30_another_pfs_host_address_is_a_stranger(judge: Judge) -> None:
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_UPLINK, ethernet(MAC_OTHER_UPLINK, MAC_ON_THE_WIRE))


# ---- entries that outlived their port ----


def test_an_entry_of_an_earlier_owner_of_the_slot_leads_nowhere(switch: Switch, judge: Judge) -> None:
    switch.tables.put_values({SLOT_VM2: replace(NETWORK[SLOT_VM2].value, generation=2)})
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_VM1, ethernet(MAC_VM2, MAC_VM1))


def test_an_entry_of_a_port_that_is_gone_leads_nowhere(switch: Switch, judge: Judge) -> None:
    switch.tables.clear_port(SLOT_VM2)
    key = abi.fdb_key(0, 0, MAC_VM2)
    left_over = ForwardingDatabase(switch.pins.words("fdb"), {})
    left_over.put(key, abi.ref(SLOT_VM2, 1))
    verdict = judge(SLOT_VM1, ethernet(MAC_VM2, MAC_VM1))
    left_over.remove(key)
    assert dropped(Verdict.NO_TARGET) == verdict


# ---- devices that refuse ----


def test_xdp_says_so_when_the_kernel_has_taken_the_device_away(switch: Switch) -> None:
    slot_key = abi.SLOT_LAYOUT.pack(SLOT_VM2)
    libbpf.delete_element(switch.pins.map_fd("devices"), slot_key)
    assert dropped(Verdict.REDIRECT_ERROR) == switch.xdp(SLOT_VM1, ethernet(MAC_VM2, MAC_VM1))


def test_tc_says_so_when_the_device_does_not_take_the_frame(switch: Switch) -> None:
    switch.install({**NETWORK, SLOT_VM2: with_flags(NETWORK[SLOT_VM2], PortFlag.NO_CARRIER)})
    with switch.device_down(SLOT_VM2):
        assert dropped(Verdict.REDIRECT_ERROR) == switch.tc(SLOT_VM1, ethernet(MAC_VM2, MAC_VM1))


def test_a_flood_goes_on_past_a_device_that_does_not_take_it(switch: Switch) -> None:
    frame = ethernet(BROADCAST, MAC_TENANT)
    switch.install({**NETWORK, SLOT_PARKED: vf(SLOT_PARKED, MAC_PARKED, pf=1)})
    assert flooded({SLOT_OTHER_UPLINK: frame, SLOT_PARKED: frame}) == switch.tc(SLOT_TENANT, frame)
    with switch.device_down(SLOT_PARKED):
        seen = switch.observe_tc(SLOT_TENANT, frame)
    sent, counted, refused = {SLOT_OTHER_UPLINK: [frame]}, {SLOT_OTHER_UPLINK: 1, SLOT_PARKED: 1}, {SLOT_PARKED: 1}
    assert (sent, counted, refused) == (seen.sent, seen.egress, seen.errors)


def test_a_group_address_never_leads_to_one_port(switch: Switch) -> None:
    assert switch.xdp(SLOT_VM1, ethernet(GROUP, MAC_VM1)) is None


# ---- a device whose MTU was lowered ----


@pytest.mark.parametrize("tags", [(), (dot1q(LAB),)], ids=["untagged", "tagged"])
@pytest.mark.parametrize(("payload_bytes", "fits"), [(1000, True), (1001, False), (1500, False)])
def test_what_an_uplink_takes_no_more_is_counted(
    switch: Switch, judge: Judge, payload_bytes: int, fits: bool, tags: tuple[tuple[int, int], ...]
) -> None:
    """The device would drop it, and nobody would know."""
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP, device_mtu_bytes=1000)})
    slot, source = (SLOT_ROUTER, MAC_ROUTER) if tags else (SLOT_VM1, MAC_VM1)
    frame = ethernet(MAC_ON_THE_WIRE, source, bytes(payload_bytes), tags=tags)
    for _time in range(2):
        assert (forwarded(SLOT_UPLINK, frame) if fits else dropped(Verdict.OVERSIZE)) == judge(slot, frame)


@pytest.mark.parametrize(("payload_bytes", "fits"), [(1000, True), (1001, False)])
def test_a_copy_that_an_uplink_takes_no_more_is_not_made(switch: Switch, payload_bytes: int, fits: bool) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP, device_mtu_bytes=1000)})
    frame = ethernet(BROADCAST, MAC_VM1, bytes(payload_bytes))
    left = dict.fromkeys([SLOT_VM2, SLOT_FORGER, *([SLOT_UPLINK] if fits else [])], frame)
    assert Fate(verdict=Verdict.FLOODED, left=left) == switch.tc(SLOT_VM1, frame)


def test_what_comes_from_the_wire_is_as_long_as_ever(switch: Switch, judge: Judge) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP, device_mtu_bytes=1000)})
    frame = ethernet(MAC_VM1, MAC_ON_THE_WIRE, bytes(1500))
    assert forwarded(SLOT_VM1, frame) == judge(SLOT_UPLINK, frame)
