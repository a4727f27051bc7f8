"""Each frame is in one verdict counter of the port that it came in by, and its bytes in the counters of both ports."""

from dataclasses import asdict

import pytest
from cast import (
    GROUP,
    MAC_FORGER,
    MAC_INVENTED,
    MAC_ON_THE_WIRE,
    MAC_PARKED,
    MAC_ROUTER,
    MAC_UPLINK,
    MAC_VM1,
    MAC_VM2,
    NETWORK,
    SLOT_FORGER,
    SLOT_OTHER_UPLINK,
    SLOT_PARKED,
    SLOT_ROUTER,
    SLOT_STRANGER,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    WEB,
    dropped,
    mac,
)
from programs import BROADCAST, Switch, dot1q, ethernet, no_uplink, vf, with_flags

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import VERDICT_ROOM, Counters, PortFlag, Verdict
from sriov_xdp.datapath.model_ports import Group
from sriov_xdp.host import namespaces

FRAME_BYTES = 300
SLOT_NOISY, MAC_NOISY = 27, mac(0x1B)
SLOT_BLOCKED, MAC_BLOCKED = 28, mac(0x1C)
SLOT_CHOSEN, MAC_CHOSEN, SLOT_CHOOSY, MAC_CHOOSY = 31, mac(0x1F), 32, mac(0x20)
SLOT_HASTY, MAC_HASTY = 33, mac(0x21)
PF_CUT_OFF, SLOT_CUT_OFF, MAC_CUT_OFF = 2, 34, mac(0x22)
SLOT_LONELY, MAC_LONELY, SLOT_COY, MAC_COY = 29, mac(0x1D), 30, mac(0x1E)
BY_VERDICT = {
    Verdict.FORWARDED: (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1)),
    Verdict.FLOODED: (SLOT_VM1, ethernet(BROADCAST, MAC_VM1)),
    Verdict.TO_HOST: (SLOT_UPLINK, ethernet(MAC_UPLINK, MAC_ON_THE_WIRE)),
    Verdict.UNKNOWN_PORT: (SLOT_STRANGER, ethernet(MAC_VM2, MAC_VM1)),
    Verdict.LINK_DOWN: (SLOT_PARKED, ethernet(MAC_VM2, MAC_PARKED)),
    Verdict.MALFORMED: (SLOT_VM1, ethernet(MAC_VM2, BROADCAST)),
    Verdict.OVERSIZE: (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, bytes(1501))),
    Verdict.CONTROL_FRAME: (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, ether_type=0x8808)),
    Verdict.VLAN_DENIED: (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, tags=((0x88A8, 1),))),
    Verdict.SPOOF_VLAN: (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, tags=(dot1q(1),))),
    Verdict.PRIVATE_VLAN: (SLOT_LONELY, ethernet(MAC_COY, MAC_LONELY)),
    Verdict.DOUBLE_TAG: (SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, tags=(dot1q(1), dot1q(1)))),
    Verdict.SPOOF_MAC: (SLOT_FORGER, ethernet(MAC_VM2, MAC_VM1)),
    Verdict.FORGED_SOURCE: (SLOT_VM1, ethernet(MAC_VM2, MAC_INVENTED)),
    Verdict.NO_TARGET: (SLOT_UPLINK, ethernet(MAC_INVENTED, MAC_ON_THE_WIRE)),
    Verdict.TARGET_DENIED: (SLOT_VM1, ethernet(MAC_PARKED, MAC_VM1)),
    Verdict.REDIRECT_ERROR: (SLOT_FORGER, ethernet(MAC_VM1, MAC_FORGER)),
    Verdict.HAIRPIN: (SLOT_VM1, ethernet(MAC_VM1, MAC_VM1)),
    Verdict.STORM: (SLOT_NOISY, ethernet(BROADCAST, MAC_NOISY)),
    Verdict.LOOP: (SLOT_UPLINK, ethernet(MAC_VM2, MAC_VM1)),
    Verdict.UNTAGGED: (SLOT_ROUTER, ethernet(MAC_VM2, MAC_ROUTER)),
    Verdict.NOT_SUBSCRIBED: (SLOT_CHOSEN, ethernet(GROUP, MAC_CHOSEN)),
    Verdict.BLOCKED: (SLOT_BLOCKED, ethernet(MAC_VM2, MAC_BLOCKED)),
    Verdict.UPLINK_LOST: (SLOT_CUT_OFF, ethernet(MAC_INVENTED, MAC_CUT_OFF)),
    Verdict.RATE_LIMITED: (SLOT_HASTY, ethernet(MAC_VM2, MAC_HASTY)),
}
MISSED = {Verdict.MISSED_STAGE, Verdict.QUEUE_FULL}  # in test_stages; and the kernel counts it
LEFT_TO_TC = {Verdict.FLOODED, Verdict.TO_HOST, Verdict.STORM, Verdict.NOT_SUBSCRIBED}


def flat(counters: Counters) -> dict[str, int]:
    verdicts = {verdict.label: counters.verdicts[verdict] for verdict in Verdict}
    return verdicts | {name: value for name, value in asdict(counters).items() if name != "verdicts"}


def changed(switch: Switch, before: dict[int, Counters]) -> dict[int, dict[str, int]]:
    """What moved since, by port, without the zeros."""
    moved = {}
    for slot, then in before.items():
        now = flat(switch.tables.counters_of(slot))
        moved[slot] = {name: now[name] - value for name, value in flat(then).items() if now[name] != value}
    return {slot: change for slot, change in moved.items() if change}


def break_the_way_to_vm1(switch: Switch) -> None:
    """Both ways: XDP's device map and tc's device."""
    switch.install({**NETWORK, SLOT_VM1: with_flags(NETWORK[SLOT_VM1], PortFlag.NO_CARRIER)})
    libbpf.delete_element(switch.pins.map_fd("devices"), abi.SLOT_LAYOUT.pack(SLOT_VM1))


def test_every_verdict_has_its_frame_here() -> None:
    assert set(Verdict) - MISSED == set(BY_VERDICT)
    assert len(Verdict) < VERDICT_ROOM


@pytest.mark.parametrize("kind", ["xdp", "tc"])
@pytest.mark.parametrize("verdict", BY_VERDICT, ids=lambda verdict: verdict.label)
def test_every_verdict_is_counted_once_by_the_program_that_finishes_the_frame(switch: Switch, verdict: Verdict, kind: str) -> None:
    slot, frame = BY_VERDICT[verdict]
    others = {
        SLOT_NOISY: vf(SLOT_NOISY, MAC_NOISY, storms=Group),
        SLOT_BLOCKED: vf(SLOT_BLOCKED, MAC_BLOCKED, flags=PortFlag.BLOCKED),
        SLOT_LONELY: vf(SLOT_LONELY, MAC_LONELY, segment=abi.SEGMENT_ISOLATED),
        SLOT_HASTY: vf(SLOT_HASTY, MAC_HASTY, has_room=False),
        SLOT_COY: vf(SLOT_COY, MAC_COY, segment=abi.SEGMENT_ISOLATED),
    }
    apart = {
        SLOT_CHOSEN: vf(SLOT_CHOSEN, MAC_CHOSEN, pf=1, vlan=WEB),
        SLOT_CHOOSY: vf(SLOT_CHOOSY, MAC_CHOOSY, pf=1, vlan=WEB, groups=[]),
        SLOT_OTHER_UPLINK: no_uplink(1),
        SLOT_CUT_OFF: vf(SLOT_CUT_OFF, MAC_CUT_OFF, pf=PF_CUT_OFF),
        PF_CUT_OFF: with_flags(no_uplink(PF_CUT_OFF), PortFlag.LOST),
    }
    switch.install({**NETWORK, **others, **apart})
    if verdict is not Verdict.REDIRECT_ERROR:
        seen = switch.observe_xdp(slot, frame) if kind == "xdp" else switch.observe_tc(slot, frame)
    else:
        break_the_way_to_vm1(switch)
        with switch.device_down(SLOT_VM1):
            seen = switch.observe_xdp(slot, frame) if kind == "xdp" else switch.observe_tc(slot, frame)
    remedy = f"{verdict.label}: forwarded instead? switch/short.h must ask its rule, if a plain frame can come to it"
    assert ({} if kind == "xdp" and verdict in LEFT_TO_TC else {verdict: 1}) == seen.verdicts, remedy


@pytest.mark.parametrize("kind", ["xdp", "tc"])
def test_a_forwarded_frame_counts_its_bytes_on_both_ports(switch: Switch, kind: str) -> None:
    before = switch.counters(NETWORK)
    frame = ethernet(MAC_VM2, MAC_VM1, bytes(FRAME_BYTES - 14))
    (switch.observe_xdp if kind == "xdp" else switch.observe_tc)(SLOT_VM1, frame)
    entered = {"forwarded": 1, "ingress_bytes": FRAME_BYTES}
    left = {"egress_frames": 1, "egress_bytes": FRAME_BYTES}
    wanted = {SLOT_VM1: entered, SLOT_VM2: left}
    assert wanted == changed(switch, before)


@pytest.mark.parametrize(("destination", "name"), [(BROADCAST, "broadcast"), (GROUP, "multicast")])
def test_a_flood_counts_as_what_it_is_on_every_port(switch: Switch, destination: bytes, name: str) -> None:
    before = switch.counters(NETWORK)
    switch.observe_tc(SLOT_VM1, ethernet(destination, MAC_VM1, bytes(FRAME_BYTES - 14)))
    entered = {"flooded": 1, "ingress_bytes": FRAME_BYTES, f"ingress_{name}": 1}
    left = {"egress_frames": 1, "egress_bytes": FRAME_BYTES, f"egress_{name}": 1}
    wanted = {SLOT_VM1: entered, **dict.fromkeys([SLOT_VM2, SLOT_FORGER, SLOT_UPLINK], left)}
    assert wanted == changed(switch, before)


@pytest.mark.parametrize("kind", ["xdp", "tc"])
def test_a_dropped_frame_counts_no_bytes_anywhere(switch: Switch, kind: str) -> None:
    before = switch.counters(NETWORK)
    observe = switch.observe_xdp if kind == "xdp" else switch.observe_tc
    observe(SLOT_VM1, ethernet(MAC_PARKED, MAC_VM1))
    wanted = {SLOT_VM1: {"target_denied": 1}}
    assert wanted == changed(switch, before)


def test_a_super_frame_counts_as_its_segments(switch: Switch) -> None:
    before = switch.counters(NETWORK)
    frame = ethernet(MAC_VM2, MAC_VM1, bytes(900))
    with namespaces.in_namespace(switch.netns):
        switch.run_tc(SLOT_VM1, frame, segments=3, segment_bytes=300)
    entered = {"forwarded": 3, "ingress_bytes": len(frame)}
    left = {"egress_frames": 3, "egress_bytes": len(frame)}
    wanted = {SLOT_VM1: entered, SLOT_VM2: left}
    assert wanted == changed(switch, before)


def test_the_count_of_drops_is_the_count_of_frames_sent(switch: Switch) -> None:
    before = switch.counters(NETWORK)
    for _ in range(100):
        assert dropped(Verdict.FORGED_SOURCE) == switch.xdp(SLOT_VM1, ethernet(MAC_VM2, MAC_INVENTED))
    wanted = {SLOT_VM1: {"forged_source": 100}}
    assert wanted == changed(switch, before)
