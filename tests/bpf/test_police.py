"""A policed port pays for each frame once, in the program that finishes it, and for all that a super-frame will be on the wire."""

import struct
import time
from collections.abc import Callable, Iterator

import pytest
from cast import (
    MAC_FORGER,
    MAC_INVENTED,
    MAC_PARKED,
    MAC_UPLINK,
    MAC_VM1,
    MAC_VM2,
    NETWORK,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    dropped,
    forwarded,
)
from programs import BROADCAST, Switch, ethernet, image, no_uplink, uplink, vf, with_flags

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.meters import Rate
from sriov_xdp.host import namespaces

NS_A_BYTE = 8_000_000  # of a kilobit a second: no test lasts as long as a frame
SLOW = Rate(average_kbps=1, burst_bytes=100_000)
POLICED = {**NETWORK, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, has_room=True)}


def packed_rate(switch: Switch) -> bytes:
    found = libbpf.lookup_element(switch.pins.map_fd("rates"), abi.SLOT_LAYOUT.pack(SLOT_VM1), abi.RATE_LAYOUT.size)
    assert found
    return found


def is_paid(switch: Switch, run: Callable[[], object], length_bytes: int) -> bool:
    """Whether a run takes so many bytes from a bucket that was full; times come back in ns."""
    libbpf.update_element(switch.pins.map_fd("rates"), abi.SLOT_LAYOUT.pack(SLOT_VM1), SLOW.pack())
    before = time.monotonic_ns()
    run()
    after = time.monotonic_ns()
    _cost, _burst, full_at, *_rest = abi.RATE_LAYOUT.unpack(packed_rate(switch))
    if not length_bytes:
        return full_at == 0
    due_ns = (full_at >> 10) - length_bytes * NS_A_BYTE
    return before - NS_A_BYTE // 100 <= due_ns <= after + NS_A_BYTE // 100


@pytest.fixture
def policed(switch: Switch) -> Iterator[Switch]:
    switch.install(POLICED)
    yield switch
    switch.install(NETWORK)


def tc(switch: Switch, frame: bytes, **options: int) -> None:
    with namespaces.in_namespace(switch.netns):
        switch.run_tc(SLOT_VM1, frame, **options)


def xdp(switch: Switch, frame: bytes) -> None:
    with namespaces.in_namespace(switch.netns):
        switch.run_xdp(SLOT_VM1, frame)


def test_a_frame_that_leaves_is_paid_for(policed: Switch) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1, bytes(300))
    assert is_paid(policed, lambda: tc(policed, frame), len(frame))
    assert is_paid(policed, lambda: xdp(policed, frame), len(frame))


def test_a_flood_is_paid_for_once(policed: Switch) -> None:
    frame = ethernet(BROADCAST, MAC_VM1, bytes(300))
    assert is_paid(policed, lambda: tc(policed, frame), len(frame))


@pytest.mark.parametrize(
    "frame",
    [ethernet(MAC_VM2, MAC_INVENTED), ethernet(MAC_PARKED, MAC_VM1), ethernet(MAC_VM1, MAC_VM1), ethernet(MAC_UPLINK, MAC_VM1)],
    ids=["forged", "to a port that is down", "to itself", "to the host"],
)
def test_what_another_rule_refuses_costs_nothing(policed: Switch, frame: bytes) -> None:
    assert is_paid(policed, lambda: tc(policed, frame), 0)
    assert is_paid(policed, lambda: xdp(policed, frame), 0)


def test_what_xdp_leaves_to_tc_is_paid_for_there(policed: Switch) -> None:
    policed.install({**POLICED, SLOT_UPLINK: uplink(0, MAC_UPLINK)})
    frame = ethernet(MAC_INVENTED, MAC_VM1)
    assert is_paid(policed, lambda: xdp(policed, frame), 0)
    assert is_paid(policed, lambda: tc(policed, frame), len(frame))


def test_what_only_listeners_hear_is_paid_for(policed: Switch) -> None:
    """To nobody, where there is no wire that might know him."""
    listener = with_flags(NETWORK[SLOT_VM2], PortFlag.PROMISCUOUS)
    policed.install({SLOT_UPLINK: no_uplink(0), SLOT_VM1: POLICED[SLOT_VM1], SLOT_VM2: listener})
    frame = ethernet(MAC_INVENTED, MAC_VM1)
    assert is_paid(policed, lambda: tc(policed, frame), len(frame))


def test_what_it_receives_costs_nothing(policed: Switch) -> None:
    frame = ethernet(MAC_VM1, MAC_VM2)
    assert is_paid(policed, lambda: policed.tc(SLOT_VM2, frame), 0)


def _ipv4(protocol: int, transport: bytes) -> tuple[int, bytes]:
    header = struct.pack("!BBHHHBBH8s", 0x46, 0, 0, 0, 0, 64, protocol, 0, bytes(8)) + bytes(4)  # with four bytes of options
    return 0x0800, header + transport


def _ipv6(protocol: int, transport: bytes) -> tuple[int, bytes]:
    return 0x86DD, struct.pack("!IHBB32s", 6 << 28, 0, protocol, 64, bytes(32)) + transport


TCP_WITH_OPTIONS, UDP = bytes(12) + b"\x80" + bytes(19), bytes(8)


@pytest.mark.parametrize(
    ("packet", "header_bytes"),
    [
        (_ipv4(6, TCP_WITH_OPTIONS), 24 + 32),
        (_ipv6(6, TCP_WITH_OPTIONS), 40 + 32),
        (_ipv4(17, UDP), 24 + 8),
        (_ipv6(17, UDP), 40 + 8),
    ],
    ids=["TCP over IPv4", "TCP over IPv6", "UDP over IPv4", "UDP over IPv6"],
)
def test_a_super_frame_is_paid_for_with_the_headers_of_its_segments(
    policed: Switch, packet: tuple[int, bytes], header_bytes: int
) -> None:
    ether_type, headers = packet
    frame = ethernet(MAC_VM2, MAC_VM1, headers + bytes(950), ether_type=ether_type)
    of_segments = 950 + 4 * (14 + header_bytes)
    assert is_paid(policed, lambda: tc(policed, frame, segments=4, segment_bytes=300), of_segments)


def test_tcp_is_paid_for_whatever_the_kernel_counted(policed: Switch) -> None:
    ether_type, headers = _ipv4(6, TCP_WITH_OPTIONS)
    frame = ethernet(MAC_VM2, MAC_VM1, headers + bytes(950), ether_type=ether_type)
    assert is_paid(policed, lambda: tc(policed, frame, segments=0, segment_bytes=300), 950 + 4 * (14 + 24 + 32))


WITH_OPTIONS = _ipv6(0, bytes([6, 12]) + bytes(102) + TCP_WITH_OPTIONS)  # 104 bytes of hop-by-hop options before TCP
WITH_ROUTING = _ipv6(43, bytes([6, 12]) + bytes(102) + TCP_WITH_OPTIONS)
IN_A_TUNNEL = _ipv4(47, bytes(100) + TCP_WITH_OPTIONS)


@pytest.mark.parametrize(
    ("packet", "segments"),
    [(WITH_OPTIONS, 4), (WITH_ROUTING, 4), (IN_A_TUNNEL, 4), (_ipv4(17, UDP), 0), (_ipv4(17, bytes(400)), 3)],
    ids=["hop-by-hop options", "a routing header", "GRE", "UDP that nobody counted", "UDP with another packet inside"],
)
def test_where_headers_are_not_known_a_segment_is_paid_for_as_the_longest(
    policed: Switch, packet: tuple[int, bytes], segments: int
) -> None:
    """A guest makes them as long as it likes, to send them again with each segment."""
    ether_type, headers = packet
    frame = ethernet(MAC_VM2, MAC_VM1, headers + bytes(900), ether_type=ether_type)
    most = -(-len(frame) // 300) * (1500 + 18)
    assert is_paid(policed, lambda: tc(policed, frame, segments=segments, segment_bytes=300), most)


def test_an_overdrawn_port_sends_nothing_and_is_written_as_it_was(policed: Switch) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1, bytes(300))
    policed.install({**POLICED, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, has_room=False)})
    before = packed_rate(policed)
    for destination in (MAC_VM2, MAC_FORGER, BROADCAST):
        assert dropped(Verdict.RATE_LIMITED) == policed.tc(SLOT_VM1, ethernet(destination, MAC_VM1, bytes(300)))
    assert dropped(Verdict.RATE_LIMITED) == policed.xdp(SLOT_VM1, frame)
    assert before == packed_rate(policed)
    policed.install(POLICED)
    assert forwarded(SLOT_VM2, frame) == policed.xdp(SLOT_VM1, frame)


def test_a_port_that_is_written_for_another_reason_keeps_its_debt(policed: Switch) -> None:
    policed.tc(SLOT_VM1, ethernet(MAC_VM2, MAC_VM1, bytes(300)))
    before = packed_rate(policed)
    narrower = image(vf(SLOT_VM1, MAC_VM1, has_room=True, mtu_bytes=1400), POLICED)
    with namespaces.in_namespace(policed.netns):
        policed.tables.put_port(SLOT_VM1, narrower)
    assert before == packed_rate(policed)
    assert before != narrower.rate.pack()
