"""Which VLAN a frame is in, and the tag it leaves with."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cast import (
    DB,
    LAB,
    MAC_DB1,
    MAC_FIREWALL,
    MAC_INVENTED,
    MAC_ON_THE_WIRE,
    MAC_ROUTER,
    MAC_VM1,
    MAC_VM2,
    MAC_WEB1,
    MAC_WEB2,
    NETWORK,
    SLOT_DB1,
    SLOT_FIREWALL,
    SLOT_ROUTER,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    SLOT_WEB1,
    SLOT_WEB2,
    UNUSED,
    WEB,
    dropped,
    forwarded,
)
from programs import Switch, dot1q, ethernet, vf

from sriov_xdp.datapath.abi import Verdict
from sriov_xdp.datapath.model import Fate

Judge = Callable[[int, bytes], Fate | None]
DATA = b"the same bytes behind every tag"
DEI = 1 << 12
SOME_VLANS = (1, WEB, DB, 4094, 4095)
SENDERS = [(SLOT_VM1, MAC_VM1), (SLOT_WEB1, MAC_WEB1), (SLOT_ROUTER, MAC_ROUTER), (SLOT_UPLINK, MAC_ON_THE_WIRE)]
DOUBLE_TAGS = {
    "q in q": (dot1q(WEB), dot1q(DB)),
    "ad outside": ((0x88A8, WEB), dot1q(WEB)),
    "ad inside": (dot1q(WEB), (0x88A8, WEB)),
    "9100 outside": ((0x9100, WEB), dot1q(WEB)),
    "9100 inside": (dot1q(WEB), (0x9100, WEB)),
    "priority outside": (dot1q(0), dot1q(WEB)),
    "triple": (dot1q(WEB), dot1q(WEB), dot1q(DB)),
}


# ---- access ports ----


def test_between_access_ports_of_a_vlan_no_tag_is_seen(judge: Judge) -> None:
    frame = ethernet(MAC_WEB2, MAC_WEB1, DATA)
    assert forwarded(SLOT_WEB2, frame) == judge(SLOT_WEB1, frame)


def test_from_an_access_port_to_the_wire_a_tag_without_priority_is_pushed(judge: Judge) -> None:
    tagged = ethernet(MAC_ON_THE_WIRE, MAC_WEB1, DATA, tags=(dot1q(WEB),))
    assert forwarded(SLOT_UPLINK, tagged) == judge(SLOT_WEB1, ethernet(MAC_ON_THE_WIRE, MAC_WEB1, DATA))


@pytest.mark.parametrize("priority", [0, 5, 7])
def test_from_the_wire_to_an_access_port_the_tag_is_popped(judge: Judge, priority: int) -> None:
    tagged = ethernet(MAC_WEB1, MAC_ON_THE_WIRE, DATA, tags=(dot1q(WEB, priority=priority),))
    assert forwarded(SLOT_WEB1, ethernet(MAC_WEB1, MAC_ON_THE_WIRE, DATA)) == judge(SLOT_UPLINK, tagged)


@pytest.mark.parametrize("tag", [*((0x8100, vlan) for vlan in SOME_VLANS), (0x88A8, 0), (0x88A8, WEB), (0x9100, 0), (0x9100, WEB)])
@pytest.mark.parametrize(("slot", "source"), [(SLOT_VM1, MAC_VM1), (SLOT_WEB1, MAC_WEB1)])
def test_g4_an_access_port_sends_no_tag_of_any_vlan(judge: Judge, slot: int, source: bytes, tag: tuple[int, int]) -> None:
    wanted = Verdict.SPOOF_VLAN if tag[0] == 0x8100 else Verdict.VLAN_DENIED
    assert dropped(wanted) == judge(slot, ethernet(MAC_WEB2, source, DATA, tags=(tag,)))


@pytest.mark.parametrize(
    ("slot", "sender", "receiver_slot", "receiver", "tags"),
    [
        (SLOT_VM1, MAC_VM1, SLOT_VM2, MAC_VM2, ()),
        (SLOT_VM1, MAC_VM1, SLOT_UPLINK, MAC_ON_THE_WIRE, ()),
        (SLOT_WEB1, MAC_WEB1, SLOT_WEB2, MAC_WEB2, ()),
        (SLOT_WEB1, MAC_WEB1, SLOT_UPLINK, MAC_ON_THE_WIRE, (dot1q(WEB),)),
        (SLOT_WEB1, MAC_WEB1, SLOT_ROUTER, MAC_ROUTER, (dot1q(WEB),)),
    ],
    ids=["guest", "wire", "guest of a VLAN", "wire in a VLAN", "trunk"],
)
@pytest.mark.parametrize("priority", [0, 6])
def test_g6_a_guests_priority_tag_counts_as_untagged(
    judge: Judge, slot: int, sender: bytes, receiver_slot: int, receiver: bytes, tags: tuple[tuple[int, int], ...], priority: int
) -> None:
    """It leaves as if it had none: the VLAN is the port's, and how urgent a guest is is not the guest's to say."""
    frame = ethernet(receiver, sender, DATA, tags=(dot1q(0, priority=priority),))
    assert forwarded(receiver_slot, ethernet(receiver, sender, DATA, tags=tags)) == judge(slot, frame)


@pytest.mark.parametrize("tagging", [(), (dot1q(DB),)], ids=["untagged", "tagged for another vlan"])
def test_from_the_wire_another_vlan_does_not_lead_to_an_access_port(judge: Judge, tagging: tuple[tuple[int, int], ...]) -> None:
    assert dropped(Verdict.NO_TARGET) == judge(SLOT_UPLINK, ethernet(MAC_WEB1, MAC_ON_THE_WIRE, DATA, tags=tagging))


# ---- ports without a VLAN ----


def test_from_a_port_without_a_vlan_to_the_wire_no_tag_is_pushed(judge: Judge) -> None:
    frame = ethernet(MAC_ON_THE_WIRE, MAC_VM1, DATA)
    assert forwarded(SLOT_UPLINK, frame) == judge(SLOT_VM1, frame)


@pytest.mark.parametrize("priority", [0, 6])
def test_g6_a_priority_tag_from_the_wire_counts_as_untagged(judge: Judge, priority: int) -> None:
    tagged = ethernet(MAC_VM1, MAC_ON_THE_WIRE, DATA, tags=(dot1q(0, priority=priority),))
    assert forwarded(SLOT_VM1, ethernet(MAC_VM1, MAC_ON_THE_WIRE, DATA)) == judge(SLOT_UPLINK, tagged)


# ---- trunk ports ----


@pytest.mark.parametrize("tci", [LAB, 5 << 13 | LAB, 7 << 13 | DEI | LAB])
def test_g7_between_a_trunk_and_the_wire_the_tag_stays_with_its_priority(judge: Judge, tci: int) -> None:
    out = ethernet(MAC_ON_THE_WIRE, MAC_ROUTER, DATA, tags=((0x8100, tci),))
    assert forwarded(SLOT_UPLINK, out) == judge(SLOT_ROUTER, out)
    back = ethernet(MAC_ROUTER, MAC_ON_THE_WIRE, DATA, tags=((0x8100, tci),))
    assert forwarded(SLOT_ROUTER, back) == judge(SLOT_UPLINK, back)


def test_between_trunks_the_tag_stays_with_its_priority(judge: Judge) -> None:
    frame = ethernet(MAC_FIREWALL, MAC_ROUTER, DATA, tags=(dot1q(WEB, priority=3),))
    assert forwarded(SLOT_FIREWALL, frame) == judge(SLOT_ROUTER, frame)


def test_from_a_trunk_to_an_access_port_the_tag_is_popped(judge: Judge) -> None:
    tagged = ethernet(MAC_DB1, MAC_ROUTER, DATA, tags=(dot1q(DB, priority=4),))
    assert forwarded(SLOT_DB1, ethernet(MAC_DB1, MAC_ROUTER, DATA)) == judge(SLOT_ROUTER, tagged)


def test_from_an_access_port_to_a_trunk_a_tag_is_pushed(judge: Judge) -> None:
    tagged = ethernet(MAC_ROUTER, MAC_WEB1, DATA, tags=(dot1q(WEB),))
    assert forwarded(SLOT_ROUTER, tagged) == judge(SLOT_WEB1, ethernet(MAC_ROUTER, MAC_WEB1, DATA))


# ---- the native VLAN of a trunk, and the priority of an access port ----


@pytest.fixture
def native(switch: Switch) -> None:
    """The router's frames without a tag are in WEB."""
    switch.install({**NETWORK, SLOT_ROUTER: vf(SLOT_ROUTER, MAC_ROUTER, trunk=[WEB, DB, LAB], vlan=WEB)})


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("tags", [(), (dot1q(0, priority=5),)], ids=["no tag", "priority tag"])
def test_a_trunks_frame_without_a_vlan_is_in_the_native_one(judge: Judge, tags: tuple[tuple[int, int], ...]) -> None:
    plain = ethernet(MAC_WEB1, MAC_ROUTER, DATA)
    assert forwarded(SLOT_WEB1, plain) == judge(SLOT_ROUTER, ethernet(MAC_WEB1, MAC_ROUTER, DATA, tags=tags))
    wired = ethernet(MAC_INVENTED, MAC_ROUTER, DATA, tags=(dot1q(WEB),))
    assert forwarded(SLOT_UPLINK, wired) == judge(SLOT_ROUTER, ethernet(MAC_INVENTED, MAC_ROUTER, DATA, tags=tags))


@pytest.mark.usefixtures("native")
def test_a_trunk_gets_its_native_vlan_without_a_tag_and_the_others_with(judge: Judge) -> None:
    assert forwarded(SLOT_ROUTER, ethernet(MAC_ROUTER, MAC_WEB1, DATA)) == judge(SLOT_WEB1, ethernet(MAC_ROUTER, MAC_WEB1, DATA))
    tagged = ethernet(MAC_ROUTER, MAC_DB1, DATA, tags=(dot1q(DB),))
    assert forwarded(SLOT_ROUTER, tagged) == judge(SLOT_DB1, ethernet(MAC_ROUTER, MAC_DB1, DATA))
    from_wire = ethernet(MAC_ROUTER, MAC_ON_THE_WIRE, DATA, tags=(dot1q(WEB, priority=3),))
    assert forwarded(SLOT_ROUTER, ethernet(MAC_ROUTER, MAC_ON_THE_WIRE, DATA)) == judge(SLOT_UPLINK, from_wire)


@pytest.mark.parametrize("tags", [(), (dot1q(0, priority=2),)], ids=["no tag", "priority tag"])
def test_an_access_ports_frames_get_the_priority_of_the_port(
    switch: Switch, judge: Judge, tags: tuple[tuple[int, int], ...]
) -> None:
    switch.install({**NETWORK, SLOT_WEB1: vf(SLOT_WEB1, MAC_WEB1, vlan=WEB, priority=5)})
    sent = ethernet(MAC_INVENTED, MAC_WEB1, DATA, tags=tags)
    assert forwarded(SLOT_UPLINK, ethernet(MAC_INVENTED, MAC_WEB1, DATA, tags=(dot1q(WEB, priority=5),))) == judge(SLOT_WEB1, sent)
    local = ethernet(MAC_WEB2, MAC_WEB1, DATA, tags=tags)
    assert forwarded(SLOT_WEB2, ethernet(MAC_WEB2, MAC_WEB1, DATA)) == judge(SLOT_WEB1, local)


@pytest.mark.parametrize("vlan", [1, UNUSED, 4094, 4095])
def test_g6_a_trunk_sends_no_tag_that_is_not_listed(judge: Judge, vlan: int) -> None:
    assert dropped(Verdict.SPOOF_VLAN) == judge(SLOT_ROUTER, ethernet(MAC_WEB1, MAC_ROUTER, DATA, tags=(dot1q(vlan),)))


@pytest.mark.parametrize("tags", [(), (dot1q(0, priority=5),)], ids=["no tag", "priority tag"])
def test_g6_a_trunk_sends_nothing_untagged(judge: Judge, tags: tuple[tuple[int, int], ...]) -> None:
    assert dropped(Verdict.UNTAGGED) == judge(SLOT_ROUTER, ethernet(MAC_WEB1, MAC_ROUTER, DATA, tags=tags))


@pytest.mark.parametrize("vlan", [1, 63, 64, 2048, 4094])
def test_each_bit_of_the_trunk_list_is_its_vlan(switch: Switch, judge: Judge, vlan: int) -> None:
    switch.install({**NETWORK, SLOT_ROUTER: vf(SLOT_ROUTER, MAC_ROUTER, trunk=[vlan])})
    listed = ethernet(MAC_INVENTED, MAC_ROUTER, DATA, tags=(dot1q(vlan),))
    assert forwarded(SLOT_UPLINK, listed) == judge(SLOT_ROUTER, listed)
    for beside in {vlan - 1, vlan + 1, (vlan + 64) & 0xFFF, vlan ^ 1}:
        frame = ethernet(MAC_INVENTED, MAC_ROUTER, DATA, tags=(dot1q(beside),))
        assert dropped(Verdict.SPOOF_VLAN if beside else Verdict.UNTAGGED) == judge(SLOT_ROUTER, frame)


def test_a_list_that_a_port_had_as_a_trunk_opens_nothing_as_an_access_port(switch: Switch, judge: Judge) -> None:
    was_trunk = replace(vf(SLOT_WEB1, MAC_WEB1, vlan=WEB), trunk=frozenset({WEB, DB}))
    switch.install({**NETWORK, SLOT_WEB1: was_trunk})
    assert dropped(Verdict.SPOOF_VLAN) == judge(SLOT_WEB1, ethernet(MAC_DB1, MAC_WEB1, DATA, tags=(dot1q(DB),)))


@pytest.mark.parametrize("tpid", [0x88A8, 0x9100])
@pytest.mark.parametrize(("slot", "source"), [(SLOT_ROUTER, MAC_ROUTER), (SLOT_UPLINK, MAC_ON_THE_WIRE)])
def test_g5_a_listed_vlan_in_a_service_tag_is_denied(judge: Judge, slot: int, source: bytes, tpid: int) -> None:
    assert dropped(Verdict.VLAN_DENIED) == judge(slot, ethernet(MAC_WEB1, source, DATA, tags=((tpid, WEB),)))


def test_g6_the_reserved_vlan_does_not_come_in_from_the_wire(judge: Judge) -> None:
    assert dropped(Verdict.VLAN_DENIED) == judge(SLOT_UPLINK, ethernet(MAC_ROUTER, MAC_ON_THE_WIRE, DATA, tags=(dot1q(4095),)))


# ---- more than one tag ----


@pytest.mark.parametrize("tags", DOUBLE_TAGS.values(), ids=DOUBLE_TAGS)
@pytest.mark.parametrize(("slot", "source"), SENDERS, ids=["none", "access", "trunk", "uplink"])
def test_g5_no_port_takes_a_tag_behind_a_tag(judge: Judge, slot: int, source: bytes, tags: tuple[tuple[int, int], ...]) -> None:
    assert dropped(Verdict.DOUBLE_TAG) == judge(slot, ethernet(MAC_VM2, source, DATA, tags=tags))
