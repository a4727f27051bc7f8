"""Messages of the kernel about devices: what is read from them, and which of a batch make others pointless."""

import socket
import struct

import pytest

from sriov_xdp.host.monitor import AddressChange, FilterChange, LinkChange, latest, parse

NEWLINK, DELLINK, NEWADDR, DELADDR = 16, 17, 20, 21
DELQDISC, DELTFILTER, DELCHAIN = 37, 45, 101
UP, LOWER_UP = 1, 0x10000
ADDRESS, IFNAME, MTU, LINK, LINK_NETNSID, MAX_MTU = 1, 3, 4, 5, 37, 51
MAC = bytes.fromhex("020000000101")


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(kind: int, ifindex: int, name: str = "pf0vf0", flags: int = UP | LOWER_UP, max_mtu: int = 65535) -> bytes:
    attributes = attribute(IFNAME, name.encode() + b"\0") + attribute(MTU, struct.pack("=I", 1500))
    attributes += attribute(ADDRESS, MAC) + attribute(MAX_MTU, struct.pack("=I", max_mtu))
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 1, ifindex, flags, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def address(kind: int, ifindex: int) -> bytes:
    body = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, ifindex) + attribute(1, bytes(4))
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def traffic_control(kind: int, ifindex: int) -> bytes:
    body = struct.pack("=BBHiIII", 0, 0, 0, ifindex, 0, 0, 0)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def seen(messages: list[bytes]) -> list[str]:
    """What is left of a batch, a word a change: +a is device a with carrier, -a without, !a its end, ~a an address, %a a filter."""
    words = []
    for message in latest(messages):
        change = parse(message)
        if isinstance(change, LinkChange):
            words.append(("!" if change.is_gone else "+" if change.has_carrier else "-") + chr(change.ifindex))
        elif change is not None:
            words.append(("%" if isinstance(change, FilterChange) else "~") + chr(change.ifindex))
    return words


def batch(text: str) -> list[bytes]:
    """The messages that such words stand for."""
    made = {
        "+": lambda ifindex: link(NEWLINK, ifindex),
        "-": lambda ifindex: link(NEWLINK, ifindex, flags=UP),
        "!": lambda ifindex: link(DELLINK, ifindex),
        "~": lambda ifindex: address(NEWADDR, ifindex),
        "^": lambda ifindex: address(DELADDR, ifindex),
        "%": lambda ifindex: traffic_control(DELTFILTER, ifindex),
        "&": lambda ifindex: traffic_control(DELQDISC, ifindex),
        "?": lambda ifindex: traffic_control(DELCHAIN, ifindex),
    }
    return [made[word[0]](ord(word[1])) for word in text.split()]


@pytest.mark.parametrize(("kind", "is_gone"), [(NEWLINK, False), (DELLINK, True)])
def test_a_device_is_read_whole(kind: int, is_gone: bool) -> None:
    expected = LinkChange(
        ifindex=1048592,
        name="pf0vf0",
        is_gone=is_gone,
        is_up=True,
        has_carrier=False,
        mac="02:00:00:00:01:01",
        mtu_bytes=1500,
        peer_runs_xdp=False,
    )
    assert expected == parse(link(kind, 1048592, flags=UP))


@pytest.mark.parametrize(("max_mtu", "runs_xdp"), [(65535, False), (3506, True), (73138, True)])
def test_the_largest_mtu_tells_of_the_peers_program(max_mtu: int, runs_xdp: bool) -> None:
    change = parse(link(NEWLINK, 7, max_mtu=max_mtu))
    assert isinstance(change, LinkChange)
    assert runs_xdp == change.peer_runs_xdp


@pytest.mark.parametrize(
    ("attributes", "lower_ifindex"),
    [
        (b"", 0),
        (attribute(LINK, struct.pack("=I", 5)), 5),
        (attribute(LINK, struct.pack("=I", 5)) + attribute(LINK_NETNSID, bytes(4)), 0),
    ],
    ids=["on nothing", "on a device here", "its other end is in another namespace"],
)
def test_a_device_stands_on_another_one_of_its_namespace(attributes: bytes, lower_ifindex: int) -> None:
    change = parse(link(NEWLINK, 7) + attributes)
    assert isinstance(change, LinkChange)
    assert lower_ifindex == change.lower_ifindex


@pytest.mark.parametrize("kind", [NEWADDR, DELADDR])
def test_an_address_is_a_change_of_its_device(kind: int) -> None:
    assert AddressChange(ifindex=7) == parse(address(kind, 7))


def test_other_kinds_of_messages_are_nothing() -> None:
    assert parse(struct.pack("=IHHII", 20, 3, 0, 0, 0) + bytes(4)) is None


def test_attributes_that_make_no_sense_end_the_reading() -> None:
    broken = link(NEWLINK, 7)[:32] + attribute(IFNAME, b"w0\0") + struct.pack("=HH", 0, 51) + bytes(40)
    change = parse(broken)
    assert isinstance(change, LinkChange)
    assert ("w0", "", False) == (change.name, change.mac, change.peer_runs_xdp)


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ("+a -a +a -a", "-a"),  # a guest that flaps its link
        ("-a +b -a +a", "+b +a"),  # devices come in the order of their last changes
        ("+a +b +a -b", "+a -b"),
        ("+a !a", "+a !a"),  # its end is never left out
        ("!a +a", "!a +a"),  # nor believed of the device that has its number next
        ("+a !a -a +a !a -a", "+a !a +a !a -a"),
        ("!a !a", "!a !a"),
        ("~a +a ^a +a ~a", "+a ~a"),  # addresses are another matter than the link
        ("+a ~a -a", "~a -a"),
        ("%a &a +a", "%a +a"),  # a removed qdisc takes its filters along
        ("&a ?a", "%a"),  # what nobody asked for stands for nothing
    ],
)
def test_the_last_change_of_a_device_stands_for_those_before(sent: str, left: str) -> None:
    assert left.split() == seen(batch(sent))
