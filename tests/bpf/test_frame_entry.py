"""Who and what may enter the switch. Numbers like G17 are those of the catalogue of frames from a guest."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cast import (
    DB,
    GROUP,
    MAC_DB1,
    MAC_FIREWALL,
    MAC_FORGER,
    MAC_INVENTED,
    MAC_ON_THE_WIRE,
    MAC_PARKED,
    MAC_ROUTER,
    MAC_UPLINK,
    MAC_VM1,
    MAC_VM1_SECOND,
    MAC_VM2,
    MAC_WEB1,
    MAC_WEB2,
    NETWORK,
    NOBODY,
    SLOT_FORGER,
    SLOT_PARKED,
    SLOT_ROUTER,
    SLOT_STRANGER,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    SLOT_WEB1,
    UNUSED,
    WEB,
    dropped,
    forwarded,
)
from programs import BROADCAST, DEVICES, MTU_BYTES, Switch, dot1q, ethernet, vf

from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model import Fate
from sriov_xdp.datapath.model_ports import Port
from sriov_xdp.pf.state.images import LARGEST_SINGLE_BUFFER_MTU_BYTES

Judge = Callable[[int, bytes], Fate | None]
RESERVED_GROUPS = [bytes.fromhex(f"0180c200000{last:x}") for last in range(16)]
CISCO_GROUPS = [bytes.fromhex("01000ccccccc"), bytes.fromhex("01000ccccccd")]
PAUSE, LACP, EAPOL, LLDP, PTP = 0x8808, 0x8809, 0x888E, 0x88CC, 0x88F7
ONE_BUFFER_BYTES = 3520  # a page without headroom and skb_shared_info


# ---- the port ----


def test_a_device_that_is_no_port_sends_nothing(judge: Judge) -> None:
    assert dropped(Verdict.UNKNOWN_PORT) == judge(SLOT_STRANGER, ethernet(MAC_VM2, MAC_VM1))


@pytest.mark.parametrize("slot", [SLOT_VM1, SLOT_UPLINK])
def test_a_device_that_came_after_the_port_in_its_slot_sends_nothing(switch: Switch, judge: Judge, slot: int) -> None:
    other_device = replace(NETWORK[slot].value, ifindex=DEVICES[SLOT_STRANGER])
    switch.install({**NETWORK, slot: replace(NETWORK[slot], value=other_device)})
    assert dropped(Verdict.UNKNOWN_PORT) == judge(slot, ethernet(MAC_VM2, NETWORK[slot].value.mac))


def test_g31_a_port_whose_link_is_down_sends_nothing(judge: Judge) -> None:
    assert dropped(Verdict.LINK_DOWN) == judge(SLOT_PARKED, ethernet(MAC_VM2, MAC_PARKED))


def test_g31_an_uplink_whose_link_is_down_lets_nothing_in(switch: Switch, judge: Judge) -> None:
    down = replace(NETWORK[SLOT_UPLINK].value, flags=PortFlag.UPLINK)
    switch.install({**NETWORK, SLOT_UPLINK: Port(value=down)})
    assert dropped(Verdict.LINK_DOWN) == judge(SLOT_UPLINK, ethernet(MAC_VM1, MAC_ON_THE_WIRE))


def test_g31_a_frame_passes_before_the_block_and_none_after_it(switch: Switch, judge: Judge) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_VM1, frame)
    switch.tables.put_values({SLOT_VM1: replace(NETWORK[SLOT_VM1].value, flags=PortFlag(0))})
    assert dropped(Verdict.LINK_DOWN) == judge(SLOT_VM1, frame)


# ---- form and length ----


@pytest.mark.parametrize("length_bytes", range(14, 61))
def test_g17_a_runt_with_whole_addresses_is_forwarded_as_it_is(judge: Judge, length_bytes: int) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1)[:length_bytes]
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_VM1, frame)


@pytest.mark.parametrize("tpid", [0x8100, 0x88A8, 0x9100])
@pytest.mark.parametrize("length_bytes", range(14, 18))
@pytest.mark.parametrize(("slot", "source"), [(SLOT_VM1, MAC_VM1), (SLOT_ROUTER, MAC_ROUTER), (SLOT_UPLINK, MAC_ON_THE_WIRE)])
def test_g17_a_tag_that_is_cut_off_is_malformed(judge: Judge, slot: int, source: bytes, length_bytes: int, tpid: int) -> None:
    frame = ethernet(MAC_WEB1, source, tags=((tpid, WEB),))[:length_bytes]
    assert dropped(Verdict.MALFORMED) == judge(slot, frame)


def test_g17_a_tag_with_nothing_behind_it_is_whole(judge: Judge) -> None:
    frame = ethernet(MAC_WEB1, MAC_ROUTER, b"", tags=(dot1q(WEB),))
    assert forwarded(SLOT_WEB1, ethernet(MAC_WEB1, MAC_ROUTER, b"")) == judge(SLOT_ROUTER, frame)


@pytest.mark.parametrize("source", [BROADCAST, GROUP, b"\x03" + MAC_VM1[1:], NOBODY])
@pytest.mark.parametrize("slot", [SLOT_VM1, SLOT_FORGER, SLOT_UPLINK])
def test_g2_a_source_that_is_no_station_is_malformed(judge: Judge, slot: int, source: bytes) -> None:
    assert dropped(Verdict.MALFORMED) == judge(slot, ethernet(MAC_VM2, source))


@pytest.mark.parametrize("payload_bytes", [0, 1, 45, 46, 286, MTU_BYTES - 1, MTU_BYTES])
def test_g18_payloads_up_to_the_mtu_pass(judge: Judge, payload_bytes: int) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1, bytes(range(256)) * 6)[: 14 + payload_bytes]
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_VM1, frame)


@pytest.mark.parametrize("payload_bytes", [MTU_BYTES + 1, MTU_BYTES + 4, MTU_BYTES + 8, 3000])
@pytest.mark.parametrize(("slot", "source"), [(SLOT_VM1, MAC_VM1), (SLOT_UPLINK, MAC_ON_THE_WIRE)])
def test_g18_payloads_above_the_mtu_are_oversize(judge: Judge, slot: int, source: bytes, payload_bytes: int) -> None:
    assert dropped(Verdict.OVERSIZE) == judge(slot, ethernet(MAC_VM2, source, bytes(payload_bytes)))


def test_g18_a_tag_does_not_count_as_payload(judge: Judge) -> None:
    largest = ethernet(MAC_WEB1, MAC_ROUTER, bytes(MTU_BYTES), tags=(dot1q(WEB),))
    assert forwarded(SLOT_WEB1, largest[:12] + largest[16:]) == judge(SLOT_ROUTER, largest)
    assert dropped(Verdict.OVERSIZE) == judge(SLOT_ROUTER, largest + b"\0")


def test_g18_a_jumbo_frame_enters_a_jumbo_port_up_to_its_mtu(switch: Switch) -> None:
    switch.install({**NETWORK, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, mtu_bytes=9000, flags=PortFlag.JUMBO)})
    largest = ethernet(MAC_VM2, MAC_VM1, bytes(9000))
    assert forwarded(SLOT_VM2, largest) == switch.xdp(SLOT_VM1, largest)
    assert dropped(Verdict.OVERSIZE) == switch.xdp(SLOT_VM1, largest + b"\0")


@pytest.mark.parametrize(("payload_bytes", "is_taken"), [(3502, True), (3503, False), (8986, False)])
def test_a_guest_with_an_xdp_program_is_spared_frames_of_several_buffers(
    switch: Switch, payload_bytes: int, is_taken: bool
) -> None:
    """On kernels that such a frame can panic when the guest's end converts it; 3,520 bytes with a tag that may come on."""
    receiver = vf(SLOT_VM2, MAC_VM2, mtu_bytes=9000, flags=PortFlag.JUMBO | PortFlag.ONE_BUFFER)
    switch.install({**NETWORK, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, mtu_bytes=9000, flags=PortFlag.JUMBO), SLOT_VM2: receiver})
    frame = ethernet(MAC_VM2, MAC_VM1, bytes(payload_bytes))
    assert (forwarded(SLOT_VM2, frame) if is_taken else dropped(Verdict.OVERSIZE)) == switch.xdp(SLOT_VM1, frame)


def test_tc_spares_such_a_guest_too(switch: Switch) -> None:
    receiver = vf(SLOT_VM2, MAC_VM2, mtu_bytes=9000, flags=PortFlag.JUMBO | PortFlag.ONE_BUFFER)
    switch.install({**NETWORK, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, mtu_bytes=9000, flags=PortFlag.JUMBO), SLOT_VM2: receiver})
    frame = ethernet(MAC_VM2, MAC_VM1, bytes(3503))
    assert dropped(Verdict.OVERSIZE) == switch.tc(SLOT_VM1, frame)


@pytest.mark.parametrize("tags", [(), (dot1q(WEB),)], ids=["untagged", "tagged"])
@pytest.mark.parametrize("mtu_bytes", range(ONE_BUFFER_BYTES - 20, ONE_BUFFER_BYTES - 11))
def test_g18_one_byte_above_the_mtu_is_oversize_where_buffers_end(
    switch: Switch, mtu_bytes: int, tags: tuple[tuple[int, int], ...]
) -> None:
    """XDP sees only the first buffer of a long frame, unless the port says jumbo."""
    flags = PortFlag.JUMBO if mtu_bytes > LARGEST_SINGLE_BUFFER_MTU_BYTES else PortFlag(0)
    sender = vf(SLOT_ROUTER, MAC_ROUTER, trunk=[WEB], mtu_bytes=mtu_bytes, flags=flags)
    if not tags:
        sender = vf(SLOT_ROUTER, MAC_ROUTER, vlan=WEB, mtu_bytes=mtu_bytes, flags=flags)
    switch.install({**NETWORK, SLOT_ROUTER: sender})
    too_long = ethernet(MAC_WEB1, MAC_ROUTER, bytes(mtu_bytes + 1), tags=tags)
    assert dropped(Verdict.OVERSIZE) == switch.xdp(SLOT_ROUTER, too_long)
    far_too_long = ethernet(MAC_WEB1, MAC_ROUTER, bytes(9000), tags=tags)
    assert dropped(Verdict.OVERSIZE) == switch.xdp(SLOT_ROUTER, far_too_long)


@pytest.mark.parametrize("ether_type", [0x0000, 0x0026, 0x05DC, 0x05FF, 0x0600, 0x0800, 0xFFFF])
def test_g19_any_type_or_length_field_is_forwarded_by_address(judge: Judge, ether_type: int) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1, b"\xaa\xaa\x03" + bytes(43), ether_type=ether_type)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_VM1, frame)


# ---- control frames ----


@pytest.mark.parametrize("group", [*RESERVED_GROUPS, *CISCO_GROUPS], ids=bytes.hex)
@pytest.mark.parametrize(("slot", "source"), [(SLOT_VM1, MAC_VM1), (SLOT_FORGER, MAC_FORGER)])
def test_g8_g9_g11_a_link_local_group_is_not_crossed(judge: Judge, slot: int, source: bytes, group: bytes) -> None:
    assert dropped(Verdict.CONTROL_FRAME) == judge(slot, ethernet(group, source))


@pytest.mark.parametrize("tags", [(), (dot1q(WEB),)], ids=["untagged", "tagged"])
@pytest.mark.parametrize("group", [*RESERVED_GROUPS, *CISCO_GROUPS], ids=bytes.hex)
def test_a_link_local_group_from_the_wire_is_the_hosts(switch: Switch, group: bytes, tags: tuple[tuple[int, int], ...]) -> None:
    """As on a device without a switch: bridges, bonds and LLDP of the host go on."""
    frame = ethernet(group, MAC_ON_THE_WIRE, tags=tags)
    assert switch.xdp(SLOT_UPLINK, frame) is None
    assert Fate(verdict=Verdict.TO_HOST, reaches_host=True) == switch.tc(SLOT_UPLINK, frame)


@pytest.mark.parametrize("ether_type", [LACP, EAPOL, LLDP, PTP], ids=["lacp", "eapol", "lldp", "ptp"])
@pytest.mark.parametrize("destination", [MAC_VM2, MAC_INVENTED, GROUP, BROADCAST], ids=bytes.hex)
def test_link_local_protocols_from_the_wire_are_the_hosts_wherever_they_go(
    switch: Switch, destination: bytes, ether_type: int
) -> None:
    frame = ethernet(destination, MAC_ON_THE_WIRE, ether_type=ether_type)
    assert switch.xdp(SLOT_UPLINK, frame) is None
    assert Fate(verdict=Verdict.TO_HOST, reaches_host=True) == switch.tc(SLOT_UPLINK, frame)


@pytest.mark.parametrize("destination", [MAC_UPLINK, MAC_VM2, BROADCAST, RESERVED_GROUPS[1]], ids=bytes.hex)
def test_g10_pause_from_the_wire_is_nobodys(judge: Judge, destination: bytes) -> None:
    assert dropped(Verdict.CONTROL_FRAME) == judge(SLOT_UPLINK, ethernet(destination, MAC_ON_THE_WIRE, ether_type=PAUSE))


@pytest.mark.parametrize("ether_type", [0x8807, 0x880A, 0x8863, 0x8892, 0x88E5, 0x88FF])
def test_other_protocols_with_a_like_number_are_ordinary(judge: Judge, ether_type: int) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1, ether_type=ether_type)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_VM1, frame)


@pytest.mark.parametrize("ether_type", [PAUSE, LACP, EAPOL, LLDP, PTP], ids=["pause", "lacp", "eapol", "lldp", "ptp"])
@pytest.mark.parametrize("destination", [MAC_VM2, MAC_INVENTED, GROUP, BROADCAST], ids=bytes.hex)
def test_g9_g10_link_local_protocols_of_a_guest_end_at_its_port(judge: Judge, destination: bytes, ether_type: int) -> None:
    assert dropped(Verdict.CONTROL_FRAME) == judge(SLOT_VM1, ethernet(destination, MAC_VM1, ether_type=ether_type))


@pytest.mark.parametrize("ether_type", [PAUSE, LLDP], ids=["pause", "lldp"])
def test_g10_a_tag_does_not_hide_a_control_frame(judge: Judge, ether_type: int) -> None:
    frame = ethernet(MAC_WEB1, MAC_ROUTER, tags=(dot1q(WEB),), ether_type=ether_type)
    assert dropped(Verdict.CONTROL_FRAME) == judge(SLOT_ROUTER, frame)


@pytest.mark.parametrize("group", ["0180c2000010", "0180c2000100", "01000ccccccb", "01000cccccce", "01000ccdcccc"])
def test_g8_groups_beside_the_link_local_ones_are_ordinary(switch: Switch, group: str) -> None:
    frame = ethernet(bytes.fromhex(group), MAC_VM1)
    assert switch.xdp(SLOT_VM1, frame) is None
    assert Verdict.FLOODED is switch.tc(SLOT_VM1, frame).verdict


# ---- the source ----


def test_a_known_neighbour_gets_the_frame_unchanged(judge: Judge) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_VM1, frame)


@pytest.mark.parametrize("slot", [SLOT_VM1, SLOT_FORGER])
@pytest.mark.parametrize("owner", [MAC_VM2, MAC_PARKED, MAC_UPLINK], ids=["vf", "parked vf", "uplink"])
def test_g1_nobody_speaks_as_another_port_whatever_its_policy(judge: Judge, slot: int, owner: bytes) -> None:
    assert dropped(Verdict.SPOOF_MAC) == judge(slot, ethernet(MAC_INVENTED, owner))


def test_g1_nobody_speaks_as_a_trunk_in_one_of_its_vlans(judge: Judge) -> None:
    assert dropped(Verdict.SPOOF_MAC) == judge(SLOT_WEB1, ethernet(MAC_INVENTED, MAC_ROUTER))
    assert dropped(Verdict.SPOOF_MAC) == judge(SLOT_ROUTER, ethernet(MAC_INVENTED, MAC_FIREWALL, tags=(dot1q(WEB),)))


@pytest.mark.parametrize("source", [MAC_INVENTED, MAC_VM1_SECOND], ids=["invented", "own second address"])
def test_g1_a_source_that_is_not_the_effective_mac_is_forged(judge: Judge, source: bytes) -> None:
    assert dropped(Verdict.FORGED_SOURCE) == judge(SLOT_VM1, ethernet(MAC_VM2, source))


def test_g1_forged_transmits_accept_lets_foreign_sources_in(judge: Judge) -> None:
    frame = ethernet(MAC_VM2, MAC_INVENTED)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_FORGER, frame)


def test_g1_the_address_of_a_port_in_another_vlan_is_forged(judge: Judge) -> None:
    assert dropped(Verdict.FORGED_SOURCE) == judge(SLOT_WEB1, ethernet(MAC_WEB2, MAC_DB1))


def test_g1_a_trunk_may_not_speak_as_the_access_ports_of_its_vlans(judge: Judge) -> None:
    assert dropped(Verdict.SPOOF_MAC) == judge(SLOT_ROUTER, ethernet(MAC_WEB2, MAC_WEB1, tags=(dot1q(WEB),)))
    assert dropped(Verdict.FORGED_SOURCE) == judge(SLOT_ROUTER, ethernet(MAC_DB1, MAC_WEB1, tags=(dot1q(DB),)))


def test_g3_the_own_address_does_not_open_a_foreign_vlan(judge: Judge) -> None:
    assert dropped(Verdict.SPOOF_VLAN) == judge(SLOT_ROUTER, ethernet(MAC_WEB1, MAC_ROUTER, tags=(dot1q(UNUSED),)))


def test_from_the_wire_any_station_may_speak(judge: Judge) -> None:
    frame = ethernet(MAC_VM1, MAC_ON_THE_WIRE)
    assert forwarded(SLOT_VM1, frame) == judge(SLOT_UPLINK, frame)


# ---- the order ----

WRONG_IN_EVERY_WAY = ethernet(RESERVED_GROUPS[0], BROADCAST, bytes(1600), tags=((0x88A8, UNUSED), dot1q(UNUSED)), ether_type=PAUSE)


def test_a_port_whose_link_is_down_says_so_whatever_comes(judge: Judge) -> None:
    assert dropped(Verdict.LINK_DOWN) == judge(SLOT_PARKED, WRONG_IN_EVERY_WAY)
    assert dropped(Verdict.LINK_DOWN) == judge(SLOT_PARKED, WRONG_IN_EVERY_WAY[:15])


@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        (WRONG_IN_EVERY_WAY, Verdict.MALFORMED),
        (ethernet(RESERVED_GROUPS[0], MAC_INVENTED, bytes(1600), tags=(dot1q(UNUSED), dot1q(WEB))), Verdict.OVERSIZE),
        (ethernet(RESERVED_GROUPS[0], MAC_INVENTED, tags=(dot1q(UNUSED), dot1q(WEB))), Verdict.CONTROL_FRAME),
        (ethernet(MAC_FIREWALL, MAC_INVENTED, tags=(dot1q(UNUSED), dot1q(WEB))), Verdict.DOUBLE_TAG),
        (ethernet(MAC_FIREWALL, MAC_INVENTED, tags=(dot1q(UNUSED),)), Verdict.SPOOF_VLAN),
        (ethernet(MAC_ROUTER, MAC_WEB1, tags=(dot1q(WEB),)), Verdict.SPOOF_MAC),
        (ethernet(MAC_ROUTER, MAC_INVENTED, tags=(dot1q(WEB),)), Verdict.FORGED_SOURCE),
    ],
    ids=lambda value: value.label if isinstance(value, Verdict) else "",
)
def test_the_first_rule_that_objects_names_the_verdict(judge: Judge, frame: bytes, verdict: Verdict) -> None:
    assert dropped(verdict) == judge(SLOT_ROUTER, frame)
