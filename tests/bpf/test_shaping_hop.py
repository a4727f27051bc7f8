"""What a shaped guest sends goes into its hop before any rule, uncounted, and is judged where it comes out as if it came in by the
port's own device."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cast import MAC_INVENTED, MAC_VM1, MAC_VM2, NETWORK, SLOT_VM1, SLOT_VM2, dropped, forwarded
from programs import BROADCAST, DEVICES, Switch, ethernet

from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model_ports import Port
from sriov_xdp.host import namespaces
from sriov_xdp.lab.host import run

NEAR, FAR = DEVICES[SLOT_VM2 + 20], DEVICES[SLOT_VM1] ^ 1 << 30
STRAY = DEVICES[SLOT_VM1] ^ 1 << 29
XDP_PASS, TC_DROP, TC_REDIRECT = 2, 2, 7


def shaped(port: Port) -> Port:
    flags = port.value.flags | PortFlag.SHAPED
    return replace(port, value=replace(port.value, flags=flags, hop_ifindex=NEAR, shaped_ifindex=FAR))


@pytest.fixture(autouse=True)
def devices(switch: Switch) -> Iterator[None]:
    """The kernel wants to see one that a frame is said to come in by."""
    for name, ifindex in (("far", FAR), ("stray", STRAY)):
        run("ip", "-n", switch.netns, "link", "add", name, "index", str(ifindex), "type", "veth", "peer", "name", f"{name}peer")
    yield
    for name in ("far", "stray"):
        run("ip", "-n", switch.netns, "link", "del", name)


@pytest.fixture
def shaping(switch: Switch) -> Iterator[Switch]:
    switch.install({**NETWORK, SLOT_VM1: shaped(NETWORK[SLOT_VM1])})
    yield switch
    switch.install(NETWORK)


@pytest.mark.parametrize(
    "frame",
    [ethernet(MAC_VM2, MAC_VM1), ethernet(BROADCAST, MAC_VM1), ethernet(MAC_VM2, MAC_INVENTED), ethernet(MAC_VM1, MAC_VM1)],
    ids=["to a neighbour", "to all", "forged", "to itself"],
)
def test_each_frame_waits_first(shaping: Switch, frame: bytes) -> None:
    before = shaping.counters(NETWORK)
    with namespaces.in_namespace(shaping.netns):
        assert TC_REDIRECT == shaping.run_tc(SLOT_VM1, frame).action
        assert XDP_PASS == shaping.run_xdp(SLOT_VM1, frame).action
    assert before == shaping.counters(NETWORK)


@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        (ethernet(MAC_VM2, MAC_VM1), Verdict.FORWARDED),
        (ethernet(MAC_VM2, MAC_INVENTED), Verdict.FORGED_SOURCE),
        (ethernet(MAC_VM1, MAC_VM1), Verdict.HAIRPIN),
        (ethernet(MAC_VM2, MAC_VM1, bytes(1501)), Verdict.OVERSIZE),
    ],
    ids=lambda value: value.label if isinstance(value, Verdict) else "",
)
def test_what_comes_out_is_judged_by_the_rules_of_the_port(shaping: Switch, frame: bytes, verdict: Verdict) -> None:
    before = shaping.counters([SLOT_VM1])[SLOT_VM1].verdicts
    with namespaces.in_namespace(shaping.netns):
        shaping.run_tc(SLOT_VM1, frame, ifindex=FAR)
    after = shaping.counters([SLOT_VM1])[SLOT_VM1].verdicts
    assert {verdict: 1} == {kind: after[kind] - before[kind] for kind in Verdict if after[kind] != before[kind]}


def test_a_device_that_is_neither_is_no_way_in(shaping: Switch) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1)
    before = shaping.counters([SLOT_VM1])[SLOT_VM1].verdicts
    with namespaces.in_namespace(shaping.netns):
        assert TC_DROP == shaping.run_tc(SLOT_VM1, frame, ifindex=STRAY).action
    after = shaping.counters([SLOT_VM1])[SLOT_VM1].verdicts
    assert 1 == after[Verdict.UNKNOWN_PORT] - before[Verdict.UNKNOWN_PORT]


def test_the_way_out_of_a_hop_is_no_way_in_for_a_port_without_one(switch: Switch) -> None:
    switch.install(NETWORK)
    with namespaces.in_namespace(switch.netns):
        assert TC_DROP == switch.run_tc(SLOT_VM1, ethernet(MAC_VM2, MAC_VM1), ifindex=FAR).action


def test_what_a_shaped_guest_receives_goes_the_fast_way(shaping: Switch) -> None:
    frame = ethernet(MAC_VM1, MAC_VM2)
    assert forwarded(SLOT_VM1, frame) == shaping.xdp(SLOT_VM2, frame)
    assert forwarded(SLOT_VM1, frame) == shaping.tc(SLOT_VM2, frame)
    assert dropped(Verdict.FORGED_SOURCE) == shaping.tc(SLOT_VM2, ethernet(MAC_VM1, MAC_INVENTED))
