"""What each feature costs a frame: the programs that a frame of its port goes through (PROG_TEST_RUN), against those of a plain
port in the same round. Between two ports, known unicast, as the flow cache or the short way finds it where a feature lets it.

What a feature costs outside of the programs (a queue, a copy on its way) is not in it. For the benchmark.
"""

import contextlib
import statistics
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sriov_xdp.bench.cost import loaded_pins
from sriov_xdp.bench.statistics_of_pairs import Estimate, estimate, order_of, ratios
from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import FIRST_VF_SLOT, Members, PortFlag, PortValue, Verdict, fdb_key
from sriov_xdp.datapath.meters import Rate
from sriov_xdp.datapath.pins import Pins
from sriov_xdp.datapath.port_image import PortImage
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.lab.host import LabError, Namespace, entered, run
from sriov_xdp.lab.traffic import frame

ROUNDS = 15
_REPEAT, _RUNS = 4_000, 5
_UPLINK, _SENDER, _TARGET, _LISTENER = 0, FIRST_VF_SLOT, FIRST_VF_SLOT + 1, FIRST_VF_SLOT + 2
_IFINDEX = {slot: 1 << 20 | slot for slot in (_SENDER, _TARGET, _LISTENER)} | {_UPLINK: 5000}
_FAR = 1 << 21 | _SENDER
_SK_BUFF_BYTES, _IFINDEX_AT = 192, 40  # struct __sk_buff (linux/bpf.h)
_VLAN, _NO_FLAG = 100, PortFlag(0)
_PASS = 2  # XDP_PASS: tc finishes it
Switch = Mapping[int, PortImage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of one feature by one hook: nanoseconds a frame without and with it, and their ratio. The first of each hook is the plain
    port against itself."""

    feature: str
    hook: str
    off_ns: float
    on_ns: float
    ratio: Estimate


def _mac(slot: int) -> bytes:
    return b"\x02" + slot.to_bytes(5, "big")


_STRANGER = b"\x02\0\x5e\0\1\7"


def _plain() -> dict[int, PortImage]:
    ports = {}
    for slot in (_SENDER, _TARGET, _LISTENER):
        flags = PortFlag.LINK_UP | PortFlag.PEER
        value = PortValue(ifindex=_IFINDEX[slot], generation=1, mac=_mac(slot), flags=flags, vlan=0, mtu_bytes=1500, pf=0)
        ports[slot] = PortImage(value=value, trunk=frozenset(), fdb=frozenset({fdb_key(0, 0, _mac(slot))}))
    flags = PortFlag.UPLINK | PortFlag.LINK_UP | PortFlag.NATIVE_XDP
    value = PortValue(ifindex=_IFINDEX[_UPLINK], generation=1, mac=_mac(_UPLINK), flags=flags, vlan=0, mtu_bytes=1500, pf=0)
    return {_UPLINK: PortImage(value=value, trunk=frozenset(), fdb=frozenset()), **ports}


def _with(slots: tuple[int, ...], flags: PortFlag = _NO_FLAG, **values: Any) -> Switch:
    ports = _plain()
    for slot in slots:
        ports[slot] = replace(ports[slot], value=replace(ports[slot].value, flags=ports[slot].value.flags | flags, **values))
    return ports


def _in_vlan(vlan: int, domain: int, flags: PortFlag = _NO_FLAG) -> Switch:
    ports = dict(_with((_SENDER, _TARGET), flags, vlan=vlan))
    for slot in (_SENDER, _TARGET):
        trunk = frozenset({_VLAN}) if flags else frozenset[int]()
        ports[slot] = replace(ports[slot], trunk=trunk, heard=trunk, fdb=frozenset({fdb_key(0, domain, _mac(slot))}))
    if flags:
        ports[_UPLINK] = _with((_UPLINK,), PortFlag.PF_HAS_TRUNKS)[_UPLINK]
    return ports


def _allowing() -> Switch:
    ports = dict(_with((_SENDER,), PortFlag.ALLOWS))
    others = {(b"\x02\0\x5e\0\2" + bytes([number]), 48) for number in range(abi.MAX_ALLOWED - 1)}
    ports[_SENDER] = replace(ports[_SENDER], allowed=frozenset({*others, (_STRANGER, 48)}))
    return ports


def _policed() -> Switch:
    ports = dict(_with((_SENDER,), PortFlag.POLICED))
    ports[_SENDER] = replace(ports[_SENDER], rate=Rate(average_kbps=10**9, burst_bytes=10**9))  # no frame meets it
    return ports


def _listened_to() -> Switch:
    return {**_with((_SENDER, _TARGET), PortFlag.COPIED), _LISTENER: _with((_LISTENER,), PortFlag.PROMISCUOUS)[_LISTENER]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Feature:
    """ports: the switch with it; data: what is sent; enters_by: the devices that it goes through, by ifindex."""

    ports: Callable[[], Switch]
    data: bytes
    enters_by: tuple[int, ...] = (_IFINDEX[_SENDER],)


def _sent(source: bytes = _mac(_SENDER), tag: bytes = b"") -> bytes:
    plain = frame(_mac(_TARGET).hex(":"), source.hex(":"), bytes(46))
    return plain[:12] + tag + plain[12:]


_TAG = struct.pack("!HH", 0x8100, _VLAN)
PLAIN = "plain port"
FEATURES: Mapping[str, _Feature] = {
    PLAIN: _Feature(ports=_plain, data=_sent()),
    "vlan: {access: 100}": _Feature(ports=lambda: _in_vlan(_VLAN, _VLAN), data=_sent()),
    "vlan: {trunk: [100]}": _Feature(ports=lambda: _in_vlan(0, abi.VLAN_TRUNKS, PortFlag.TRUNK), data=_sent(tag=_TAG)),
    "forged_transmits: accept": _Feature(ports=lambda: _with((_SENDER,), PortFlag.FORGED_ACCEPT), data=_sent()),
    "allowed_macs, the last of 16": _Feature(ports=_allowing, data=_sent(_STRANGER)),
    "private_vlan, one community": _Feature(ports=lambda: _with((_SENDER, _TARGET), PortFlag.PRIVATE, segment=9), data=_sent()),
    "flood_multicast: false": _Feature(ports=lambda: _with((_TARGET,), PortFlag.SUBSCRIBES), data=_sent()),
    "shaping.egress of the receiver": _Feature(ports=lambda: _with((_TARGET,), PortFlag.QUEUED), data=_sent()),
    "shaping.ingress, police": _Feature(ports=_policed, data=_sent()),
    "shaping.ingress, shape": _Feature(
        ports=lambda: _with((_SENDER,), PortFlag.SHAPED, hop_ifindex=_IFINDEX[_LISTENER], shaped_ifindex=_FAR),
        data=_sent(),
        enters_by=(_IFINDEX[_SENDER], _FAR),
    ),
    "promiscuous: accept of another": _Feature(ports=_listened_to, data=_sent()),
    "switching: vepa": _Feature(ports=lambda: _with((_UPLINK, _SENDER, _TARGET), PortFlag.VEPA), data=_sent()),
}


def measure(tag: str, rounds: int = ROUNDS) -> list[Price]:
    """Every feature by both hooks."""
    found: dict[tuple[str, str], list[float]] = {}
    again = f"{PLAIN}, again"
    with loaded_pins(tag) as (lab, pins):
        place = lab.namespace("c")
        _make_devices(place)
        for number in range(rounds):
            for feature in order_of([*FEATURES, again], number):
                with _installed(place, pins, FEATURES.get(feature, FEATURES[PLAIN])) as installed:
                    for hook, cost_ns in _costs(pins, installed).items():
                        found.setdefault((hook, feature), []).append(cost_ns)
    order = [*FEATURES, again]
    return [
        Price(
            feature=feature,
            hook=hook,
            off_ns=statistics.median(found[hook, PLAIN]),
            on_ns=statistics.median(found[hook, feature]),
            ratio=estimate(ratios(found[hook, feature], found[hook, PLAIN])),
        )
        for hook in ("tc", "xdp")
        for feature in order[1:]
    ]


def _make_devices(place: Namespace) -> None:
    """A devmap takes existing devices only; a copy really leaves, into a device whose other end is down."""
    for name, ifindex in {**{str(slot): ifindex for slot, ifindex in _IFINDEX.items()}, "far": _FAR}.items():
        run("ip", "-n", place.name, "link", "add", f"r{name}", "index", str(ifindex), "type", "veth", "peer", "name", f"p{name}")
        place.ip("link", "set", f"r{name}", "up")


@contextlib.contextmanager
def _installed(place: Namespace, pins: Pins, feature: _Feature) -> Iterator[_Feature]:
    tables = Tables(pins)
    with entered(place):
        for slot, image in feature.ports().items():
            tables.put_port(slot, image)
        tables.put_members(0, {0: Members((_SENDER, _TARGET, _LISTENER), 0)})
        try:
            yield feature
        finally:
            for slot in list(tables.slots()):
                tables.clear_port(slot)
            tables.put_members(0, {})


def _costs(pins: Pins, feature: _Feature) -> dict[str, float]:
    """By hook. What XDP leaves to tc costs both. Raises LabError for a frame that does not arrive, whose price would be none."""
    before = _forwarded(pins)
    tc_ns = sum(_tc_ns(pins, feature.data, ifindex) for ifindex in feature.enters_by)
    if _forwarded(pins) == before:
        raise LabError("prices: a feature's frames are not forwarded")
    xdp_ns, action = _xdp_ns(pins, feature.data, feature.enters_by[0])
    return {"tc": tc_ns, "xdp": xdp_ns + (tc_ns if action == _PASS else 0.0)}


def _forwarded(pins: Pins) -> int:
    return Tables(pins).counters_of(_SENDER).verdicts[Verdict.FORWARDED]


def _xdp_ns(pins: Pins, data: bytes, ifindex: int) -> tuple[float, int]:
    context = struct.pack("<6I", 0, len(data), 0, ifindex, 0, 0)
    runs = [libbpf.run_program(pins.program_fd("xdp_vf"), data, context, repeat=_REPEAT) for _run in range(_RUNS)]
    return min(one.duration_ns for one in runs), runs[0].action


def _tc_ns(pins: Pins, data: bytes, ifindex: int) -> float:
    context = bytearray(_SK_BUFF_BYTES)
    struct.pack_into("<I", context, _IFINDEX_AT, ifindex)
    runs = [libbpf.run_program(pins.program_fd("tc_vf"), data, bytes(context), repeat=_REPEAT) for _run in range(_RUNS)]
    return min(one.duration_ns for one in runs)
