"""What the XDP programs remember of a flow never outlives the reason for it, and never stands for another frame."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pytest
from cast import (
    MAC_INVENTED,
    MAC_ON_THE_WIRE,
    MAC_TENANT,
    MAC_UPLINK,
    MAC_VM1,
    MAC_VM1_SECOND,
    MAC_VM2,
    MAC_WEB1,
    MAC_WEB2,
    NETWORK,
    SLOT_FORGER,
    SLOT_PARKED,
    SLOT_ROUTER,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    SLOT_WEB1,
    SLOT_WEB2,
    WEB,
    dropped,
    forwarded,
)
from programs import MTU_BYTES, Switch, dot1q, ethernet, image, uplink, vf

from sriov_xdp.datapath import abi, fdb, libbpf
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model import Fate
from sriov_xdp.datapath.model_ports import Port
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import namespaces

FRAME = ethernet(MAC_VM2, MAC_VM1)
WORD = 8


def remembered(switch: Switch) -> dict[bytes, int]:
    """Ethernet header → slot of the target, of flows of this epoch."""
    epoch = switch.pins.words("ports")[abi.EPOCH_AT_BYTES // WORD]
    flows = {}
    for cpu in range(libbpf.possible_cpus()):
        start = (cpu * abi.CPU_BYTES + abi.FLOWS_AT_BYTES) // WORD
        found = switch.pins.words("cpus")[start : start + abi.FLOW_LAYOUT.size * abi.FLOWS // WORD].tobytes()
        for head, tail, of_epoch, _ingress, longest, target in abi.FLOW_LAYOUT.iter_unpack(found):
            if longest and of_epoch == epoch:
                flows[head.to_bytes(WORD, "little")[:6] + tail.to_bytes(WORD, "little")] = target
    return flows


def place(frame: bytes) -> int:
    """flow_index: where a flow is remembered."""
    head, tail = int.from_bytes(frame[:WORD], "little"), int.from_bytes(frame[6 : 6 + WORD], "little")
    return fdb.scatter(head ^ tail >> 24) >> (64 - abi.FLOW_BITS)


def at_the_place_of(frame: bytes, candidates: Iterable[bytes]) -> bytes:
    return next(candidate for candidate in candidates if candidate != frame and place(candidate) == place(frame))


STRANGERS = [b"\x02\x00\x01" + number.to_bytes(3, "big") for number in range(20 * abi.FLOWS)]
SAME_PLACE_OTHER_TARGET = at_the_place_of(FRAME, (ethernet(stranger, MAC_VM1) for stranger in STRANGERS))
SAME_PLACE_OTHER_SOURCE = at_the_place_of(FRAME, (ethernet(MAC_VM2, stranger) for stranger in STRANGERS))


def put(switch: Switch, changes: Mapping[int, Port]) -> None:
    with namespaces.in_namespace(switch.netns):
        for slot, port in changes.items():
            switch.tables.put_port(slot, image(port, {**NETWORK, **changes}))


def test_a_forwarded_flow_is_remembered_and_goes_on_as_it_went(switch: Switch) -> None:
    assert {} == remembered(switch)
    for _frame in range(3):
        assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
        assert {FRAME[:14]: SLOT_VM2} == remembered(switch)


def test_a_remembered_frame_is_counted_like_any_other(switch: Switch) -> None:
    switch.observe_xdp(SLOT_VM1, FRAME)
    before = switch.counters([SLOT_VM1, SLOT_VM2])
    switch.observe_xdp(SLOT_VM1, FRAME)
    after = switch.counters([SLOT_VM1, SLOT_VM2])
    assert 1 == after[SLOT_VM1].ingress_frames - before[SLOT_VM1].ingress_frames
    assert len(FRAME) == after[SLOT_VM1].ingress_bytes - before[SLOT_VM1].ingress_bytes
    assert 1 == after[SLOT_VM2].egress_frames - before[SLOT_VM2].egress_frames
    assert len(FRAME) == after[SLOT_VM2].egress_bytes - before[SLOT_VM2].egress_bytes


JUDGED_EACH_TIME = {
    "dropped": (SLOT_VM1, ethernet(MAC_VM2, MAC_INVENTED)),
    "for the host": (SLOT_UPLINK, ethernet(MAC_UPLINK, MAC_ON_THE_WIRE)),
    "forged, as the policy allows": (SLOT_FORGER, ethernet(MAC_VM2, MAC_INVENTED)),
    "tagged by a trunk": (SLOT_ROUTER, ethernet(MAC_WEB1, NETWORK[SLOT_ROUTER].value.mac, tags=(dot1q(WEB),))),
    "to be tagged": (SLOT_WEB1, ethernet(MAC_ON_THE_WIRE, MAC_WEB1)),
}


@pytest.mark.parametrize(("slot", "frame"), JUDGED_EACH_TIME.values(), ids=JUDGED_EACH_TIME)
def test_other_frames_are_not_remembered(switch: Switch, slot: int, frame: bytes) -> None:
    first = switch.xdp(slot, frame)
    assert first == switch.xdp(slot, frame)
    assert {} == remembered(switch)


UPLINK_DOWN = uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP, is_up=False)
DENIED_BY = {
    "the sender's link": ({SLOT_VM1: vf(SLOT_VM1, MAC_VM1, is_up=False)}, Verdict.LINK_DOWN),
    "the sender's address": ({SLOT_VM1: vf(SLOT_VM1, MAC_VM1_SECOND)}, Verdict.FORGED_SOURCE),
    "the sender's VLAN": ({SLOT_VM1: vf(SLOT_VM1, MAC_VM1, vlan=WEB), SLOT_UPLINK: UPLINK_DOWN}, Verdict.TARGET_DENIED),
    "the sender's tagging": ({SLOT_VM1: vf(SLOT_VM1, MAC_VM1, trunk=[WEB])}, Verdict.UNTAGGED),
    "the sender's MTU": ({SLOT_VM1: vf(SLOT_VM1, MAC_VM1, mtu_bytes=40)}, Verdict.OVERSIZE),
    "the target's link": ({SLOT_VM2: vf(SLOT_VM2, MAC_VM2, is_up=False)}, Verdict.TARGET_DENIED),
    "a target of another PF": ({SLOT_VM2: vf(SLOT_VM2, MAC_VM2, pf=1), SLOT_UPLINK: UPLINK_DOWN}, Verdict.TARGET_DENIED),
}


@pytest.mark.parametrize(("changes", "verdict"), DENIED_BY.values(), ids=DENIED_BY)
def test_what_is_revoked_is_forgotten(switch: Switch, changes: dict[int, Port], verdict: Verdict) -> None:
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    put(switch, changes)
    assert dropped(verdict) == switch.xdp(SLOT_VM1, FRAME)


def test_a_group_change_is_obeyed(switch: Switch) -> None:
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    switch.tables.put_values({SLOT_VM1: replace(NETWORK[SLOT_VM1].value, flags=PortFlag(0))})
    assert dropped(Verdict.LINK_DOWN) == switch.xdp(SLOT_VM1, FRAME)


def test_an_address_that_moves_is_followed(switch: Switch) -> None:
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    put(switch, {SLOT_VM2: vf(SLOT_VM2, MAC_INVENTED), SLOT_FORGER: vf(SLOT_FORGER, MAC_VM2)})
    assert forwarded(SLOT_FORGER, FRAME) == switch.xdp(SLOT_VM1, FRAME)


@pytest.mark.parametrize(("gone", "verdict"), [(SLOT_VM1, Verdict.UNKNOWN_PORT), (SLOT_VM2, Verdict.NO_TARGET)])
def test_a_port_that_goes_takes_its_flows_along(switch: Switch, gone: int, verdict: Verdict) -> None:
    switch.install({slot: NETWORK[slot] for slot in (SLOT_VM1, SLOT_VM2)})
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    switch.tables.clear_port(gone)
    seen = switch.observe_xdp(SLOT_VM1, FRAME)
    assert verdict is seen.verdict


OTHERS: dict[str, tuple[int, bytes, Callable[[bytes], Fate]]] = {
    "from another port": (SLOT_PARKED, FRAME, lambda _frame: dropped(Verdict.LINK_DOWN)),
    "from a port whose address it is not": (SLOT_FORGER, FRAME, lambda _frame: dropped(Verdict.SPOOF_MAC)),
    "from the wire": (SLOT_UPLINK, FRAME, lambda _frame: dropped(Verdict.LOOP)),
    "from another source": (SLOT_VM1, ethernet(MAC_VM2, MAC_INVENTED), lambda _frame: dropped(Verdict.FORGED_SOURCE)),
    "to another port": (SLOT_VM1, ethernet(MAC_TENANT, MAC_VM1), lambda frame: forwarded(SLOT_UPLINK, frame)),
    "to another port, in the same place": (SLOT_VM1, SAME_PLACE_OTHER_TARGET, lambda frame: forwarded(SLOT_UPLINK, frame)),
    "from another source, in the same place": (SLOT_VM1, SAME_PLACE_OTHER_SOURCE, lambda _frame: dropped(Verdict.FORGED_SOURCE)),
    "of another type": (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, ether_type=0x88CC), lambda _frame: dropped(Verdict.CONTROL_FRAME)),
    "longer, and still allowed": (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, bytes(MTU_BYTES)), lambda frame: forwarded(SLOT_VM2, frame)),
    "too long": (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, bytes(MTU_BYTES + 1)), lambda _frame: dropped(Verdict.OVERSIZE)),
    "with a tag": (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, tags=(dot1q(WEB),)), lambda _frame: dropped(Verdict.SPOOF_VLAN)),
}


@pytest.mark.parametrize(("slot", "frame", "fate"), OTHERS.values(), ids=OTHERS)
def test_a_frame_that_differs_is_judged(switch: Switch, slot: int, frame: bytes, fate: Callable[[bytes], Fate]) -> None:
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    assert fate(frame) == switch.xdp(slot, frame)
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)


def test_flows_that_share_a_place_take_turns(switch: Switch) -> None:
    """One device sends to every address that a full forwarding database has: each place of the cache is used often."""
    addresses = [b"\x02\xfd" + number.to_bytes(4, "big") for number in range(4 * abi.FLOWS)]
    full = image(vf(SLOT_VM2, MAC_VM2), NETWORK)
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(SLOT_VM2, replace(full, fdb=full.fdb | {abi.fdb_key(0, 0, address) for address in addresses}))
        frames = [ethernet(address, MAC_VM1) for address in addresses]
        before = switch.counters([SLOT_VM2])[SLOT_VM2].egress_frames
        for frame in [*frames, *frames]:
            switch.run_xdp(SLOT_VM1, frame)
    assert 2 * len(frames) == switch.counters([SLOT_VM2])[SLOT_VM2].egress_frames - before
    flows = remembered(switch)
    assert {SLOT_VM2} == set(flows.values())
    assert flows.keys() <= {frame[:14] for frame in frames}
    assert 0.9 * abi.FLOWS < len(flows) <= abi.FLOWS * libbpf.possible_cpus()
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(SLOT_VM2, full)


def test_nothing_is_remembered_while_tables_are_written(switch: Switch) -> None:
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    with switch.tables.changing():
        assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
        assert {} == remembered(switch)
    assert {} == remembered(switch)
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    assert {FRAME[:14]: SLOT_VM2} == remembered(switch)


def test_who_takes_over_from_a_writer_that_died_midway_forgets_and_goes_on(switch: Switch) -> None:
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    switch.pins.words("ports")[abi.EPOCH_AT_BYTES // WORD] = 0
    switch.tables = Tables(switch.pins)
    switch.tables.adopt()
    assert {} == remembered(switch)
    assert forwarded(SLOT_VM2, FRAME) == switch.xdp(SLOT_VM1, FRAME)
    assert {FRAME[:14]: SLOT_VM2} == remembered(switch)


def test_two_directions_of_a_talk_are_two_flows(switch: Switch) -> None:
    there, back = ethernet(MAC_WEB2, MAC_WEB1), ethernet(MAC_WEB1, MAC_WEB2)
    switch.xdp(SLOT_WEB1, there)
    switch.xdp(SLOT_WEB2, back)
    assert {there[:14]: SLOT_WEB2, back[:14]: SLOT_WEB1} == remembered(switch)


# ---- the same by tc, which remembers what it sent itself ----


def seen_by_tc(switch: Switch, slot: int, frame: bytes) -> tuple[dict[Verdict, int], dict[int, int]]:
    seen = switch.observe_tc(slot, frame)
    return seen.verdicts, seen.egress


def test_tc_follows_what_it_forwarded(switch: Switch) -> None:
    sent = ({Verdict.FORWARDED: 1}, {SLOT_VM2: 1})
    assert [sent] * 3 == [seen_by_tc(switch, SLOT_VM1, FRAME) for _frame in range(3)]
    assert {FRAME[:14]: SLOT_VM2} == remembered(switch)


@pytest.mark.parametrize(("changes", "verdict"), DENIED_BY.values(), ids=DENIED_BY)
def test_what_is_revoked_is_forgotten_by_tc(switch: Switch, changes: dict[int, Port], verdict: Verdict) -> None:
    seen_by_tc(switch, SLOT_VM1, FRAME)
    put(switch, changes)
    assert ({verdict: 1}, {}) == seen_by_tc(switch, SLOT_VM1, FRAME)


@pytest.mark.parametrize(("slot", "frame", "fate"), OTHERS.values(), ids=OTHERS)
def test_a_frame_that_differs_is_judged_by_tc(switch: Switch, slot: int, frame: bytes, fate: Callable[[bytes], Fate]) -> None:
    seen_by_tc(switch, SLOT_VM1, FRAME)
    assert fate(frame).verdict in seen_by_tc(switch, slot, frame)[0]
    assert ({Verdict.FORWARDED: 1}, {SLOT_VM2: 1}) == seen_by_tc(switch, SLOT_VM1, FRAME)


@pytest.mark.parametrize(("slot", "frame"), JUDGED_EACH_TIME.values(), ids=JUDGED_EACH_TIME)
def test_tc_does_not_remember_other_frames(switch: Switch, slot: int, frame: bytes) -> None:
    first = seen_by_tc(switch, slot, frame)
    assert first == seen_by_tc(switch, slot, frame)
    assert {} == remembered(switch)


def test_a_super_frame_is_judged_each_time(switch: Switch) -> None:
    """Its length is its segments', which the cache cannot tell."""
    frame = ethernet(MAC_VM2, MAC_VM1, bytes(900))
    seen_by_tc(switch, SLOT_VM1, FRAME)
    with namespaces.in_namespace(switch.netns):
        before = switch.counters([SLOT_VM1])[SLOT_VM1]
        switch.run_tc(SLOT_VM1, frame, segments=3, segment_bytes=300)
        after = switch.counters([SLOT_VM1])[SLOT_VM1]
    assert 3 == sum(after.verdicts) - sum(before.verdicts)


def test_what_tc_sent_is_not_followed_by_xdp_nor_the_reverse(switch: Switch) -> None:
    """An uplink whose driver runs no XDP is reached by tc alone."""
    put(switch, {SLOT_UPLINK: uplink(0, MAC_UPLINK)})
    out = ethernet(MAC_ON_THE_WIRE, MAC_VM1)
    assert ({Verdict.FORWARDED: 1}, {SLOT_UPLINK: 1}) == seen_by_tc(switch, SLOT_VM1, out)
    assert switch.xdp(SLOT_VM1, out) is None
