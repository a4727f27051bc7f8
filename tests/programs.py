"""The real programs on single frames: BPF_PROG_TEST_RUN inside a network namespace of its own.

Programs find their port by ifindex, so the namespace has a veth for every slot in use. A test run answers with an action
and with bytes; where the frame went is read from the counters, and copies that really left from a packet socket.
"""

import contextlib
import os
import secrets
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import Counters, Members, PortFlag, PortValue, Verdict
from sriov_xdp.datapath.libbpf import ProgramRun
from sriov_xdp.datapath.meters import NO_RATE, Guard, Rate
from sriov_xdp.datapath.model import Fate
from sriov_xdp.datapath.model_ports import Group, Port
from sriov_xdp.datapath.pins import Pins, remove_tree
from sriov_xdp.datapath.port_image import PortImage
from sriov_xdp.datapath.port_lists import Prefix
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import bpffs, features, namespaces
from sriov_xdp.lab.host import CACHE_VARIABLE

MTU_BYTES = 1500
BROADCAST = b"\xff" * 6
UPLINKS = (0, 1)
VF_SLOTS = range(abi.FIRST_VF_SLOT, abi.FIRST_VF_SLOT + abi.MAX_MEMBERS)
_FIRST_UPLINK_IFINDEX = 5000  # its low bits are no uplink's slot: an uplink is found by its program, not by its ifindex
_FIRST_VF_IFINDEX = 1 << 20
DEVICES = {
    **{pf: _FIRST_UPLINK_IFINDEX + pf for pf in UPLINKS},
    **{slot: _FIRST_VF_IFINDEX + slot for slot in VF_SLOTS},
}

XDP_DROP, XDP_PASS, XDP_REDIRECT = 1, 2, 4
TC_PASS, TC_DROP, TC_REDIRECT = 0xFFFFFFFF, 2, 7
_XDP_MD = struct.Struct("<6I")  # data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
_SK_BUFF_BYTES, _IFINDEX_AT, _GSO_SEGS_AT, _GSO_SIZE_AT = 192, 40, 164, 176
SHORTEST_FRAME_BYTES = 14  # the kernel runs no program on less

_ETH_P_ALL, _PACKET_OUTGOING = 3, 4
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=IIIHHHH")
_TP_STATUS_VLAN_VALID = 1 << 4
_SO_RCVBUFFORCE = 33
_NO_FLAGS = PortFlag(0)

Key = TypeVar("Key")


def device_name(slot: int) -> str:
    return f"near{slot}"


def far_name(slot: int) -> str:
    """The guest's end of a device."""
    return f"far{slot}"


_SLOT_OF = {device_name(slot): slot for slot in DEVICES}
_SLOT_OF_FAR = {far_name(slot): slot for slot in DEVICES}
_ARRIVAL_SECONDS, _LOOK_SECONDS = 10.0, 0.05


def ethernet(
    destination: bytes,
    source: bytes,
    payload: bytes = bytes(46),
    *,
    tags: tuple[tuple[int, int], ...] = (),
    ether_type: int = 0x88B5,
) -> bytes:
    """tags: (TPID, TCI), outermost first."""
    return destination + source + b"".join(struct.pack("!HH", *tag) for tag in tags) + struct.pack("!H", ether_type) + payload


def dot1q(vlan: int, *, priority: int = 0) -> tuple[int, int]:
    """A tag for ethernet()."""
    return 0x8100, priority << 13 | vlan


def vf(
    slot: int,
    mac: bytes,
    *,
    vlan: int = 0,
    trunk: Iterable[int] = (),
    unheard: Iterable[int] = (),
    more_macs: Iterable[bytes] = (),
    storms: Iterable[Group] = (),
    allowed: Iterable[Prefix] = (),
    groups: Iterable[bytes] | None = None,
    shared: Iterable[bytes] = (),
    elsewhere: Iterable[tuple[int, bytes]] = (),
    device_mtu_bytes: int = 0,
    flags: PortFlag = _NO_FLAGS,
    is_up: bool = True,
    mtu_bytes: int = MTU_BYTES,
    pf: int = 0,
    segment: int = 0,
    priority: int = 0,
    has_room: bool | None = None,
    is_service: bool = False,
) -> Port:
    """has_room: whether a policed port may send; None: it is not policed; is_service: its VLANs are 802.1ad's."""
    conditions = {PortFlag.TRUNK: trunk, PortFlag.LINK_UP: is_up, PortFlag.ALLOWS: allowed, PortFlag.PRIVATE: segment}
    conditions |= {PortFlag.SUBSCRIBES: groups is not None, PortFlag.NARROW: device_mtu_bytes, PortFlag.SERVICE: is_service}
    conditions |= {PortFlag.POLICED: has_room is not None, PortFlag.SHARES: shared, PortFlag.SPEAKS: mac in frozenset(shared)}
    kind = PortFlag(sum(flag for flag, holds in conditions.items() if holds))
    value = PortValue(
        ifindex=DEVICES[slot],
        generation=1,
        mac=mac,
        flags=flags | kind,
        vlan=vlan,
        mtu_bytes=mtu_bytes,
        pf=pf,
        device_mtu_bytes=device_mtu_bytes,
        segment=segment,
        priority=priority,
    )
    return Port(
        value=value,
        trunk=frozenset(trunk),
        unheard=frozenset(unheard),
        more_macs=frozenset(more_macs),
        storms=frozenset(storms),
        allowed=frozenset(allowed),
        groups=frozenset(groups or ()),
        shared=frozenset(shared),
        elsewhere=frozenset(elsewhere),
        is_overdrawn=has_room is False,
    )


def uplink(
    pf: int,
    mac: bytes,
    *,
    flags: PortFlag = _NO_FLAGS,
    is_up: bool = True,
    mtu_bytes: int = MTU_BYTES,
    host_vlans: frozenset[int] = frozenset(),
    device_mtu_bytes: int = 0,
) -> Port:
    conditions = {
        PortFlag.UPLINK: True,
        PortFlag.LINK_UP: is_up,
        PortFlag.HOST_VLANS: host_vlans,
        PortFlag.NARROW: device_mtu_bytes,
    }
    for flag, holds in conditions.items():
        flags |= flag if holds else PortFlag(0)
    value = PortValue(
        ifindex=DEVICES[pf],
        generation=1,
        mac=mac,
        flags=flags,
        vlan=0,
        mtu_bytes=mtu_bytes,
        pf=pf,
        device_mtu_bytes=device_mtu_bytes,
    )
    return Port(value=value, trunk=host_vlans)


def no_uplink(pf: int) -> Port:
    """What the daemon writes for a PF without one."""
    value = PortValue(ifindex=0, generation=1, mac=bytes(6), flags=PortFlag.UPLINK, vlan=0, mtu_bytes=MTU_BYTES, pf=pf)
    return Port(value=value)


def with_flags(port: Port, flags: PortFlag) -> Port:
    return replace(port, value=replace(port.value, flags=port.value.flags | flags))


def without_flags(port: Port, flags: PortFlag) -> Port:
    return replace(port, value=replace(port.value, flags=port.value.flags & ~flags))


def _is_trunk(port: Port) -> bool:
    return PortFlag.TRUNK in port.value.flags


def image(port: Port, ports: Mapping[int, Port]) -> PortImage:
    others = {slot: other for slot, other in ports.items() if other.value.pf == port.value.pf}
    is_listened_to = any(PortFlag.PROMISCUOUS in other.value.flags for other in others.values())
    if is_listened_to and (port.is_uplink or PortFlag.VEPA not in port.value.flags):
        port = with_flags(port, PortFlag.COPIED)
    if port.is_uplink:
        told = {
            PortFlag.PF_HAS_TRUNKS: any(map(_is_trunk, others.values())),
            PortFlag.SHARES: any(other.shared for other in others.values()),
        }
        has_service = any(other.has(PortFlag.SERVICE) for other in others.values())
        value = replace(with_flags(port, _sum_of(told)).value, of_pf=abi.PF_HAS_SERVICE if has_service else 0)
        return PortImage(value=value, trunk=port.trunk, fdb=frozenset())
    vlan = abi.VLAN_TRUNKS | port.kind if _is_trunk(port) else port.untagged_vlan
    vlans = {carried | port.kind for carried in port.trunk} if _is_trunk(port) else {vlan}
    held = {(each, mac) for each in vlans for mac in port.shared}
    entries = {(vlan, mac) for mac in {port.value.mac, *port.more_macs} - port.shared} | (held - port.elsewhere)
    return PortImage(
        value=port.value,
        trunk=port.trunk,
        heard=port.trunk - port.unheard if _is_trunk(port) else frozenset(),
        fdb=frozenset(abi.fdb_key(port.value.pf, each, mac) for each, mac in entries),
        allowed=port.allowed,
        groups=port.groups,
        shared=frozenset(abi.fdb_key(port.value.pf, each, mac) for each, mac in held),
        rate=_rate(port),
    )


def _sum_of(conditions: Mapping[PortFlag, bool]) -> PortFlag:
    return PortFlag(sum(flag for flag, holds in conditions.items() if holds))


def _rate(port: Port) -> Rate:
    """One that no test reaches."""
    return Rate(average_kbps=10**9, burst_bytes=10**9) if PortFlag.POLICED in port.value.flags else NO_RATE


def exhausted_guard(port: Port) -> bytes:
    """Of a port that has sent too much: the next frame of the kinds that storm is due when the tests are over."""
    rates = {f"{kind}_pps": 1 for kind in port.storms}
    broadcast_ns, _due, multicast_ns, _due = abi.GUARD_LAYOUT.unpack(Guard(**rates).pack())
    due_ns = time.monotonic_ns() + 3600 * 10**9
    return abi.GUARD_LAYOUT.pack(broadcast_ns, due_ns, multicast_ns, due_ns)


def overdrawn_rate() -> bytes:
    """Of a port that has sent too much: the bucket has no room when the tests are over."""
    hour = 3600 * 10**9 << 10  # in the units of rate.h
    full_at = (time.monotonic_ns() << 10) + 2 * hour
    return abi.RATE_LAYOUT.pack(1 << 43, hour, full_at & (1 << 64) - 1, 0, 0, 0, 1, 0, 0)


def _is_tcs(port: Port) -> bool:
    """Whether XDP cannot serve it with floods."""
    return bool(port.value.flags & (PortFlag.TRUNK | PortFlag.SUBSCRIBES | PortFlag.NARROW | PortFlag.QUEUED))


def _member_lists(ports: Mapping[int, Port], pf: int) -> dict[int, Members]:
    vfs = {slot: port for slot, port in ports.items() if port.value.pf == pf and not port.is_uplink}
    trunks = [slot for slot, port in vfs.items() if _is_trunk(port)]
    lists = {}
    for kind in {vfs[slot].kind for slot in trunks}:
        of_kind = [slot for slot in trunks if vfs[slot].kind == kind]
        lists[abi.VLAN_TRUNKS | kind] = Members(tuple(of_kind), len(of_kind))
    of_tc = {slot for slot, port in vfs.items() if _is_tcs(port)}
    for vlan in {port.untagged_vlan for port in vfs.values() if not _is_trunk(port)}:
        access = [slot for slot, port in vfs.items() if not _is_trunk(port) and port.untagged_vlan == vlan]
        carrying = [slot for slot in trunks if vfs[slot].carries(vlan)]
        members = (*access, *carrying)
        lists[vlan] = Members(members, len(of_tc.intersection(members)))
    return lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one run changed. is_told: that the sender spoke by an address that others may hold too; sent: what devices were
    really given, arrived: what came out at their far ends, by slot."""

    run: ProgramRun
    verdicts: dict[Verdict, int]
    egress: dict[int, int]
    errors: dict[int, int]
    sent: dict[int, list[bytes]]
    arrived: dict[int, list[bytes]]
    is_told: bool

    @property
    def verdict(self) -> Verdict:
        (verdict,) = self.verdicts
        assert {verdict: 1} == self.verdicts, "a frame is counted once"
        return verdict


class Switch:
    """The loaded programs with their maps and devices. xdp() and tc() say what became of a frame."""

    def __init__(self, netns: str, pins: Pins, outlet: socket.socket, cleanup: contextlib.ExitStack) -> None:
        self.netns, self.pins, self.outlet = netns, pins, outlet
        self.tables = Tables(pins)
        self._cleanup = cleanup
        self._inlets: dict[int, socket.socket] = {}
        self._ports: dict[int, PortValue] = {}
        self._shared: frozenset[int] = frozenset()

    def install(self, ports: Mapping[int, Port]) -> None:
        """Makes the maps hold these ports and nothing else."""
        with namespaces.in_namespace(self.netns):  # a devmap knows the devices of the writer's namespace
            for slot in self.tables.slots():
                self.tables.clear_port(slot)
            for slot, port in ports.items():
                self.tables.put_port(slot, image(port, ports))
                if port.storms:
                    libbpf.update_element(self.pins.map_fd("guards"), abi.SLOT_LAYOUT.pack(slot), exhausted_guard(port))
                if port.is_overdrawn:
                    libbpf.update_element(self.pins.map_fd("rates"), abi.SLOT_LAYOUT.pack(slot), overdrawn_rate())
            for pf in UPLINKS:
                self.tables.put_members(pf, _member_lists(ports, pf))
        images = {slot: image(port, ports) for slot, port in ports.items()}
        self._ports = {slot: made.value for slot, made in images.items()}
        self._shared = frozenset(key for made in images.values() for key in made.shared)

    def counters(self, slots: Iterable[int]) -> dict[int, Counters]:
        return {slot: self.tables.counters_of(slot) for slot in slots}

    def _xdp_program(self, slot: int) -> int:
        return self.pins.program_fd(f"xdp_uplink_{slot}" if slot in UPLINKS else "xdp_vf")

    def run_xdp(self, slot: int, frame: bytes) -> ProgramRun:
        context = _XDP_MD.pack(0, len(frame), 0, DEVICES[slot], 0, 0)
        return libbpf.run_program(self._xdp_program(slot), frame, context)

    def run_tc(
        self, slot: int, frame: bytes, *, segments: int = 0, segment_bytes: int = 0, ifindex: int | None = None
    ) -> ProgramRun:
        """ifindex: of the device that it comes in by, the slot's own when none is named."""
        context = bytearray(_SK_BUFF_BYTES)
        struct.pack_into("<I", context, _IFINDEX_AT, DEVICES[slot] if ifindex is None else ifindex)
        struct.pack_into("<I", context, _GSO_SEGS_AT, segments)
        struct.pack_into("<I", context, _GSO_SIZE_AT, segment_bytes)
        program = f"tc_uplink_{slot}" if slot in UPLINKS else "tc_vf"
        return libbpf.run_program(self.pins.program_fd(program), frame, bytes(context))

    def observe_xdp(self, slot: int, frame: bytes) -> Observed:
        return self._observe(slot, lambda: self.run_xdp(slot, frame))

    def observe_sent(self, slot: int, frame: bytes) -> Observed:
        """The frame really comes in by the device, whose XDP program takes it; its action is not seen. Not by live frames of
        BPF_PROG_TEST_RUN, whose copies get lost before Linux 6.3."""
        inlet = self._inlet(slot)
        return self._observe(slot, lambda: _sent(inlet, frame), is_sent=True)

    def observe_tc(self, slot: int, frame: bytes) -> Observed:
        return self._observe(slot, lambda: self.run_tc(slot, frame))

    def _inlet(self, slot: int) -> socket.socket:
        """At the far end of a device, on which the XDP program runs from now on."""
        if slot not in self._inlets:
            with namespaces.in_namespace(self.netns):
                link = libbpf.create_link(self._xdp_program(slot), DEVICES[slot], libbpf.AttachType.XDP)
                inlet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._cleanup.callback(os.close, link)
            self._cleanup.callback(inlet.close)
            inlet.bind((far_name(slot), 0))
            self._inlets[slot] = inlet
        return self._inlets[slot]

    def _observe(self, slot: int, run: Callable[[], ProgramRun], *, is_sent: bool = False) -> Observed:
        watched = {*self._ports, slot}
        self._seen_at_devices(lambda: 0)
        before = self.counters(watched)
        for key in self._shared:
            self.tables.note_speaker(key, abi.NOBODY)
        with namespaces.in_namespace(self.netns):
            result = run()
        sent, arrived = self._seen_at_devices(lambda: self._arrivals(slot, before) if is_sent else 0)
        after = self.counters(watched)
        return Observed(
            run=result,
            verdicts=_nonzero({verdict: after[slot].verdicts[verdict] - before[slot].verdicts[verdict] for verdict in Verdict}),
            egress=_nonzero({exit_: after[exit_].egress_frames - before[exit_].egress_frames for exit_ in watched}),
            errors=_nonzero({exit_: after[exit_].egress_errors - before[exit_].egress_errors for exit_ in watched}),
            sent=sent,
            arrived=arrived,
            is_told=self._is_told(slot),
        )

    def _is_told(self, slot: int) -> bool:
        speakers = {self.tables.speaker(key) for key in self._shared} - {abi.NOBODY}
        assert speakers <= {slot}, "nobody else spoke"
        return bool(speakers)

    def xdp(self, slot: int, frame: bytes) -> Fate | None:
        """None: left to tc, untouched and uncounted."""
        seen = self.observe_xdp(slot, frame)
        if seen.run.action == XDP_PASS:
            assert (frame, {}, {}) == (seen.run.frame, seen.verdicts, seen.egress)
            return None
        if seen.verdict is Verdict.FLOODED:
            assert XDP_REDIRECT == seen.run.action, "the copies are the kernel's to make"
            really = self.observe_sent(slot, frame)
            assert seen.egress == really.egress
            assert [seen.run.frame] * len(really.arrived) == [copy for copies in really.arrived.values() for copy in copies]
            return _fate_of_copies(really)
        assert (XDP_REDIRECT if seen.verdict is Verdict.FORWARDED else XDP_DROP) == seen.run.action
        assert dict.fromkeys(seen.egress, 1) == seen.egress
        return Fate(verdict=seen.verdict, left=dict.fromkeys(seen.egress, seen.run.frame), is_told=seen.is_told)

    def tc(self, slot: int, frame: bytes) -> Fate:
        """A tag that is pushed travels beside the bytes, where a test run does not show it. So a frame that is redirected
        runs once more, towards a port that was seen without carrier: that way really transmits."""
        seen = self.observe_tc(slot, frame)
        if seen.run.action != TC_REDIRECT:
            return _fate(seen)
        assert Verdict.FORWARDED is seen.verdict
        assert not seen.sent
        (target,) = seen.egress
        port = self._ports[target]
        self.tables.put_values({target: replace(port, flags=port.flags | PortFlag.NO_CARRIER)})
        again = self.observe_tc(slot, frame)
        self.tables.put_values({target: port})
        (left,) = again.sent[target]
        assert seen.run.frame in (left, left[:12] + left[16:])
        assert seen.egress == again.egress
        return _fate(again)

    def device_down(self, slot: int) -> contextlib.AbstractContextManager[None]:
        return self._down(device_name(slot))

    def far_end_down(self, slot: int) -> contextlib.AbstractContextManager[None]:
        return self._down(far_name(slot))

    @contextlib.contextmanager
    def _down(self, device: str) -> Iterator[None]:
        link = ["ip", "-n", self.netns, "link", "set", device]
        subprocess.run([*link, "down"], check=True)
        try:
            yield
        finally:
            subprocess.run([*link, "up"], check=True)

    def _arrivals(self, slot: int, before: dict[int, Counters]) -> int | None:
        """Of a frame that came in there, how many copies devices took; None: it is not counted yet."""
        after = self.counters(before)
        is_counted = after[slot].verdicts != before[slot].verdicts
        return expected_arrivals(before, after) if is_counted else None

    def _seen_at_devices(self, arrivals: Callable[[], int | None]) -> tuple[dict[int, list[bytes]], dict[int, list[bytes]]]:
        """What devices were given to send since the last call, and what arrived at far ends, of which there will be so many:
        a far end takes them when its CPU has time, and what a device refused is counted after its copies."""
        sent: dict[int, list[bytes]] = {}
        arrived: dict[int, list[bytes]] = {}
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while True:
            try:
                data, ancillary, _flags, address = self.outlet.recvmsg(1 << 16, socket.CMSG_SPACE(_AUXDATA.size))
            except BlockingIOError:
                wanted = arrivals()
                if wanted is not None and sum(len(copies) for copies in arrived.values()) >= wanted:
                    return sent, arrived
                assert time.monotonic() < deadline, f"{wanted} copies, but only {arrived} arrived"
                select.select([self.outlet], [], [], _LOOK_SECONDS)
                continue
            is_outgoing = address[2] == _PACKET_OUTGOING
            place, slots = (sent, _SLOT_OF) if is_outgoing else (arrived, _SLOT_OF_FAR)
            if address[0] in slots:
                place.setdefault(slots[address[0]], []).append(_with_tag(data, ancillary))


def _sent(inlet: socket.socket, frame: bytes) -> ProgramRun:
    """As if a program had been run."""
    inlet.send(frame)
    return ProgramRun(action=XDP_REDIRECT, frame=frame, duration_ns=0)


def _fate(seen: Observed) -> Fate:
    """Of a frame that left, if at all, through devices."""
    assert (TC_PASS if seen.run.action == TC_PASS else TC_DROP) == seen.run.action
    assert {slot: len(copies) for slot, copies in seen.sent.items()} == seen.egress == dict.fromkeys(seen.egress, 1)
    left = {slot: copy for slot, (copy,) in seen.sent.items()}
    return Fate(verdict=seen.verdict, left=left, reaches_host=seen.run.action == TC_PASS, is_told=seen.is_told)


def expected_arrivals(before: dict[int, Counters], after: dict[int, Counters]) -> int:
    """What devices took, by the counters."""
    return sum(after[slot].delivered_frames - before[slot].delivered_frames for slot in before)


def _fate_of_copies(seen: Observed) -> Fate:
    """Of a frame that the kernel copied to devices."""
    assert {slot: len(copies) for slot, copies in seen.arrived.items()} == seen.egress == dict.fromkeys(seen.egress, 1)
    assert {} == seen.errors
    left = {slot: copy for slot, (copy,) in seen.arrived.items()}
    return Fate(verdict=seen.verdict, left=left, is_told=seen.is_told)


def _with_tag(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """A tag beside the bytes comes as ancillary data."""
    for level, kind, value in ancillary:
        status, _length, _snap, _mac, _net, tci, tpid = _AUXDATA.unpack(value[: _AUXDATA.size])
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and status & _TP_STATUS_VLAN_VALID:
            return data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
    return data


def _nonzero(counted: dict[Key, int]) -> dict[Key, int]:
    return {key: count for key, count in counted.items() if count}


def _make_devices(netns: str) -> None:
    with namespaces.in_namespace(netns):
        for scope in ("all", "default"):  # no frame but those of the tests
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
    lines = []
    for slot, ifindex in DEVICES.items():
        name = device_name(slot)
        lines += [f"link add name {name} index {ifindex} type veth peer name {far_name(slot)}"]
        lines += [f"link set {far_name(slot)} up", f"link set {name} up"]
    subprocess.run(["ip", "-n", netns, "-batch", "-"], input="\n".join(lines), text=True, check=True)
    with namespaces.in_namespace(netns):
        for slot in DEVICES:
            features.write(far_name(slot), {features.GRO: True})  # takes XDP redirects


def _open_outlet(netns: str) -> socket.socket:
    """Sees what any device of the namespace is given to send."""
    with namespaces.in_namespace(netns):
        outlet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))
    outlet.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    outlet.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
    return outlet


@contextlib.contextmanager
def loaded() -> Iterator[Switch]:
    """Programs, maps, namespace and devices of one test session; nothing of them stays."""
    name = f"sriov-xdp-test-{secrets.token_hex(4)}"
    root = bpffs.MOUNT_POINT / name
    pins = Pins(root, Path(os.environ[CACHE_VARIABLE]))
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(remove_tree, root)
        bpffs.ensure(root)
        cleanup.callback(pins.close)
        pins.load()
        pins.attach_tracepoints()
        cleanup.callback(namespaces.remove, name)
        namespaces.create(name)
        _make_devices(name)
        yield Switch(name, pins, cleanup.enter_context(_open_outlet(name)), cleanup)
