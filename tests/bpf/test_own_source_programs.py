"""A frame from the wire whose source is on this side of the uplink: a loop, unless the PF accepts it."""

from collections.abc import Callable

import pytest
from cast import (
    DB,
    GROUP,
    LAB,
    MAC_DB1,
    MAC_FIREWALL,
    MAC_INVENTED,
    MAC_ON_THE_WIRE,
    MAC_PARKED,
    MAC_ROUTER,
    MAC_TENANT,
    MAC_UPLINK,
    MAC_VM1,
    MAC_VM1_SECOND,
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
    SLOT_WEB2,
    WEB,
    dropped,
    forwarded,
)
from programs import BROADCAST, Switch, dot1q, ethernet, image, uplink, vf

from sriov_xdp.datapath import abi, fdb
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model import Fate
from sriov_xdp.host import namespaces

Judge = Callable[[int, bytes], Fate | None]
ACCEPTING = {**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP | PortFlag.OWN_SOURCE_ACCEPT)}
WITHOUT_TRUNKS = {slot: port for slot, port in NETWORK.items() if slot not in (SLOT_ROUTER, SLOT_FIREWALL)}
OWN = {
    "the uplink's": MAC_UPLINK,
    "a VF's": MAC_VM1,
    "a second one of a VF": MAC_VM1_SECOND,
    "of a VF whose link is down": MAC_PARKED,
}
everybodys = pytest.mark.parametrize("source", OWN.values(), ids=OWN)


@everybodys
@pytest.mark.parametrize("destination", [MAC_VM2, MAC_INVENTED, MAC_UPLINK, BROADCAST, GROUP], ids=bytes.hex)
def test_an_own_source_is_a_loop_wherever_the_frame_goes(judge: Judge, source: bytes, destination: bytes) -> None:
    assert dropped(Verdict.LOOP) == judge(SLOT_UPLINK, ethernet(destination, source))


@pytest.mark.parametrize("destination", [BROADCAST, GROUP], ids=bytes.hex)
def test_a_host_on_the_uplink_does_not_hear_it_either(switch: Switch, judge: Judge, destination: bytes) -> None:
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP | PortFlag.HOST_STACK)})
    assert dropped(Verdict.LOOP) == judge(SLOT_UPLINK, ethernet(destination, MAC_VM1))


@pytest.mark.parametrize("source", [MAC_WEB1, MAC_ROUTER, MAC_UPLINK], ids=["access", "trunk", "uplink"])
def test_a_tagged_frame_is_judged_in_its_vlan(judge: Judge, source: bytes) -> None:
    assert dropped(Verdict.LOOP) == judge(SLOT_UPLINK, ethernet(MAC_WEB2, source, tags=(dot1q(WEB),)))
    assert dropped(Verdict.LOOP) == judge(SLOT_UPLINK, ethernet(BROADCAST, source, tags=(dot1q(WEB, priority=3),)))


def test_the_address_of_a_trunk_that_does_not_carry_the_vlan_is_a_strangers(judge: Judge) -> None:
    """A gateway may have one address in all VLANs; a guest that takes it in its own must not cut off the others."""
    assert forwarded(SLOT_DB1, ethernet(MAC_DB1, MAC_FIREWALL)) == judge(
        SLOT_UPLINK, ethernet(MAC_DB1, MAC_FIREWALL, tags=(dot1q(DB),))
    )
    assert forwarded(SLOT_VM1, ethernet(MAC_VM1, MAC_FIREWALL)) == judge(SLOT_UPLINK, ethernet(MAC_VM1, MAC_FIREWALL))


@pytest.mark.parametrize("source", [MAC_DB1, MAC_VM1], ids=["of another VLAN", "of no VLAN"])
def test_the_address_of_a_vf_in_another_vlan_is_a_strangers(judge: Judge, source: bytes) -> None:
    frame = ethernet(MAC_WEB2, source, tags=(dot1q(WEB),))
    assert forwarded(SLOT_WEB2, ethernet(MAC_WEB2, source)) == judge(SLOT_UPLINK, frame)


def test_the_address_of_a_vf_of_another_pf_is_a_strangers(judge: Judge) -> None:
    """As between two PFs on one wire, whose guests talk by it."""
    frame = ethernet(MAC_VM2, MAC_TENANT)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_UPLINK, frame)


@everybodys
def test_a_pf_that_accepts_them_takes_them_for_frames_like_any_other(switch: Switch, judge: Judge, source: bytes) -> None:
    switch.install(ACCEPTING)
    frame = ethernet(MAC_VM2, source)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_UPLINK, frame)
    assert Verdict.FLOODED is switch.tc(SLOT_UPLINK, ethernet(BROADCAST, source)).verdict


@pytest.mark.parametrize("source", [MAC_VM2, MAC_UPLINK])
def test_a_guest_is_not_allowed_more_by_that(switch: Switch, judge: Judge, source: bytes) -> None:
    switch.install(ACCEPTING)
    assert dropped(Verdict.SPOOF_MAC) == judge(SLOT_VM1, ethernet(MAC_INVENTED, source))


FIRST = {
    Verdict.MALFORMED: ethernet(MAC_VM2, BROADCAST),
    Verdict.OVERSIZE: ethernet(MAC_VM2, MAC_VM1, bytes(1501)),
    Verdict.CONTROL_FRAME: ethernet(bytes.fromhex("0180c2000001"), MAC_UPLINK, ether_type=0x8808),
    Verdict.DOUBLE_TAG: ethernet(MAC_WEB2, MAC_WEB1, tags=(dot1q(WEB), dot1q(LAB))),
    Verdict.VLAN_DENIED: ethernet(MAC_WEB2, MAC_WEB1, tags=((0x88A8, DB),)),
}


@pytest.mark.parametrize(("verdict", "frame"), FIRST.items(), ids=lambda value: value.label if isinstance(value, Verdict) else "")
def test_other_faults_of_the_frame_come_first(judge: Judge, verdict: Verdict, frame: bytes) -> None:
    assert dropped(verdict) == judge(SLOT_UPLINK, frame)


def _neighbours(count: int) -> list[bytes]:
    """Addresses that share a bucket of the forwarding database."""
    found: list[bytes] = []
    wanted = fdb.bucket(fdb.scatter(abi.fdb_key(0, 0, b"\x02\xfe" + bytes(4))))
    number = 0
    while len(found) < count:
        mac = b"\x02\xfe" + number.to_bytes(4, "big")
        if fdb.bucket(fdb.scatter(abi.fdb_key(0, 0, mac))) == wanted:
            found.append(mac)
        number += 1
    return found


@pytest.mark.parametrize("network", [NETWORK, WITHOUT_TRUNKS], ids=["with trunks", "without trunks"])
def test_a_full_bucket_hides_no_own_source(switch: Switch, judge: Judge, network: dict) -> None:
    """What does not fit is in a hash map, which the short way does not ask."""
    *own, stranger = _neighbours(abi.FDB_WAYS + 3)
    switch.install({**network, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, more_macs=own)})
    assert [dropped(Verdict.LOOP)] * len(own) == [judge(SLOT_UPLINK, ethernet(MAC_VM2, source)) for source in own]
    frame = ethernet(MAC_VM2, stranger)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_UPLINK, frame)


def test_a_station_on_the_wire_whose_address_a_vf_gets_is_remembered_no_more(switch: Switch) -> None:
    switch.install(WITHOUT_TRUNKS)
    frame = ethernet(MAC_VM2, MAC_ON_THE_WIRE)
    for _frame in range(2):
        assert forwarded(SLOT_VM2, frame) == switch.xdp(SLOT_UPLINK, frame)
    moved = vf(SLOT_VM1, MAC_VM1, more_macs=[MAC_ON_THE_WIRE])
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(SLOT_VM1, image(moved, NETWORK))
    assert dropped(Verdict.LOOP) == switch.xdp(SLOT_UPLINK, frame)


def test_a_setting_that_turns_strict_is_obeyed_by_the_next_frame(switch: Switch, judge: Judge) -> None:
    switch.install(ACCEPTING)
    frame = ethernet(MAC_VM2, MAC_VM1)
    for _frame in range(2):
        assert forwarded(SLOT_VM2, frame) == judge(SLOT_UPLINK, frame)
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(SLOT_UPLINK, image(NETWORK[SLOT_UPLINK], NETWORK))
    assert dropped(Verdict.LOOP) == judge(SLOT_UPLINK, frame)
