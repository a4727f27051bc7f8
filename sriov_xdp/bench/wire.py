"""Frames from the wire: xdp_frames made by the kernel (BPF_PROG_RUN, live frames) enter an uplink as if a NIC had received
them, and are counted where they arrive. Everything runs on the calling CPU.
"""

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sriov_xdp.bench.arms import AUTO, BARE, BRIDGE, OURS
from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import AttachType, MapType, ProgramType
from sriov_xdp.host.links import Links
from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, run, wait_until
from sriov_xdp.lab.traffic import frame, octets

LIVE_FRAMES = 1 << 1
STACK, DROPPING, HAIRPIN = "stack guest", "dropping XDP guest", "hairpin XDP guest"
KINDS = (STACK, DROPPING, HAIRPIN)
GUEST_CODE = {DROPPING: programs.constant(programs.XDP_DROP), HAIRPIN: programs.hairpin()}
_MAX_BATCH = 64


@dataclass(slots=True)
class WireArm:
    """A guest behind an uplink. program: runs on the uplink for each frame."""

    name: str
    wire: Namespace
    guest: Namespace
    uplink: int
    program: int
    guest_mac: str


def _xdp_context(frame_bytes: int, ifindex: int) -> bytes:
    return struct.pack("<6I", 0, frame_bytes, 0, ifindex, 0, 0)


def received(place: Namespace, device: str) -> int:
    """Frames that a device received."""
    with entered(place):
        links = Path(f"/proc/self/task/{_thread_id()}/net/dev").read_text().splitlines()
    line = next(line for line in links if line.strip().startswith(f"{device}:"))
    return int(line.split(":")[1].split()[1])


def _thread_id() -> int:
    import threading

    return threading.get_native_id()


def rate(arm: WireArm, kind: str, seconds: float) -> float:
    """Millions of 64-byte frames a second that arrived: at the guest, or back at the wire for a hairpin."""
    counted = (arm.wire, "w0") if kind == HAIRPIN else (arm.guest, "eth0")
    sent = frame(arm.guest_mac, arm.wire.mac("w0"), b"\0" * 46, ether_type=0x88B5)
    before, started = received(*counted), time.monotonic()
    while time.monotonic() - started < seconds:
        libbpf.run_program(arm.program, sent, _xdp_context(len(sent), arm.uplink), repeat=65536, flags=LIVE_FRAMES)
    elapsed = time.monotonic() - started
    return (received(*counted) - before) / elapsed / 1e6


@contextlib.contextmanager
def built(tag: str, kind: str) -> Iterator[dict[str, WireArm]]:
    """Arms: Linux bridge, bare redirect, ours in each mode (on one wire); each guest runs what kind says."""
    with Lab(tag) as lab, contextlib.ExitStack() as stack:
        arms = {BRIDGE: _bridge(lab), BARE: _bare(lab, stack, kind), **_ours(lab)}
        for name in (BRIDGE, BARE):
            stack.callback(os.close, _park(lab, arms[name].program))
        if kind in GUEST_CODE:
            for arm in arms.values():
                stack.enter_context(programs.attached(arm.guest, "eth0", GUEST_CODE[kind]))
        if kind == HAIRPIN:
            for wire in {arm.wire.name: arm.wire for arm in arms.values()}.values():
                stack.enter_context(programs.attached(wire, "w0", programs.swap_and_drop()))
        if kind in GUEST_CODE:
            daemon = lab.first_daemon()
            wait_until(lambda: daemon.vf_of(arms[AUTO].guest.name)["datapath"]["active"] == "xdp", "the VF follows its guest")
        yield arms


def _park(lab: Lab, program: int) -> int:
    """Attaches a program to a device of no use; returns the link. A program that is attached nowhere is put into the XDP
    dispatcher and taken out again by every run, which costs it tens of milliseconds that an attached one does not pay."""
    name = lab.device(f"k{program}")
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    return libbpf.create_link(program, index_of(name), AttachType.XDP)


def _ours(lab: Lab) -> dict[str, WireArm]:
    wire, uplink = lab.wire()
    places = {name: lab.namespace(f"g{number}") for number, name in enumerate(OURS)}
    guests = [{"guest": place.name, "port_group": "lan", "datapath": name.removeprefix("vf ")} for name, place in places.items()]
    daemon = lab.daemon(host_config(uplink, guests, [{"name": "lan"}]))
    daemon.settle()
    program = uplink_program(daemon)
    return {name: WireArm(name, wire, place, index_of(uplink), program, place.mac()) for name, place in places.items()}


def uplink_program(daemon: Daemon) -> int:
    """The XDP program of a daemon's first uplink, as a descriptor to close."""
    (pin,) = daemon.bpffs.glob("*/progs/xdp_uplink_0")
    return libbpf.open_pin(pin)


def index_of(device: str) -> int:
    """The ifindex of a device of this namespace."""
    links = Links()
    try:
        return links.by_name(device).ifindex
    finally:
        links.close()


def _veth(lab: Lab, short: str, guest: Namespace, inner: str) -> str:
    end = lab.device(short)
    run("ip", "link", "add", end, "type", "veth", "peer", "name", inner, "netns", guest.name)
    run("ip", "link", "set", end, "up")
    guest.ip("link", "set", inner, "up")
    guest.run("ethtool", "-K", inner, "gro", "on")
    return end


def _bridge(lab: Lab) -> WireArm:
    wire, guest = lab.namespace("bw"), lab.namespace("bg")
    ends = [_veth(lab, "b0", wire, "w0"), _veth(lab, "b1", guest, "eth0")]
    bridge = lab.device("br")
    run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0")
    run("ip", "link", "set", bridge, "up")
    for end in ends:
        run("ip", "link", "set", end, "master", bridge)
    for place, device in ((wire, "w0"), (guest, "eth0")):
        run("bridge", "fdb", "replace", place.mac(device), "dev", ends[0] if device == "w0" else ends[1], "master", "static")
    passes = libbpf.load_program(ProgramType.XDP, "pass", programs.constant(programs.XDP_PASS), attach=AttachType.XDP)
    return WireArm(BRIDGE, wire, guest, index_of(ends[0]), passes, guest.mac())


def _bare(lab: Lab, stack: contextlib.ExitStack, kind: str) -> WireArm:
    """One call on the uplink, and one on the representor for what comes back."""
    wire, guest = lab.namespace("rw"), lab.namespace("rg")
    ends = [index_of(_veth(lab, "r0", wire, "w0")), index_of(_veth(lab, "r1", guest, "eth0"))]
    devices = libbpf.create_map(MapType.DEVMAP, "devices", 4, 4, 2)
    stack.callback(os.close, devices)
    for slot, ifindex in enumerate(ends):
        libbpf.update_element(devices, struct.pack("<I", slot), struct.pack("<I", ifindex))
    there = libbpf.load_program(ProgramType.XDP, "bare", programs.redirect_to_slot(devices, 1), attach=AttachType.XDP)
    if kind != STACK:
        back = libbpf.load_program(ProgramType.XDP, "bare", programs.redirect_to_slot(devices, 0), attach=AttachType.XDP)
        stack.callback(os.close, libbpf.create_link(back, ends[1], AttachType.XDP))
    return WireArm(BARE, wire, guest, ends[0], there, guest.mac())


def broadcast_rate(receivers: int, seconds: float, tag: str) -> dict[str, float]:
    """Thousands of broadcast frames a second that each of the receivers gets: ours and the bridge."""
    results = {}
    for name in (AUTO, BRIDGE):
        with Lab(tag) as lab, contextlib.ExitStack() as stack:
            arm, guests = _flooding(lab, name, receivers)
            if name == BRIDGE:
                stack.callback(os.close, _park(lab, arm.program))
            sent = octets("ff:ff:ff:ff:ff:ff") + octets(arm.wire.mac("w0")) + b"\x88\xb5" + b"\0" * 46
            before, started = [received(arm.guest, device) for device in guests], time.monotonic()
            while time.monotonic() - started < seconds:
                libbpf.run_program(arm.program, sent, _xdp_context(len(sent), arm.uplink), repeat=_MAX_BATCH, flags=LIVE_FRAMES)
            elapsed = time.monotonic() - started
            after = [received(arm.guest, device) for device in guests]
            results[name] = sum(b - a for a, b in zip(before, after, strict=True)) / receivers / elapsed / 1e3
    return results


def _flooding(lab: Lab, name: str, receivers: int) -> tuple[WireArm, list[str]]:
    devices = [f"e{number}" for number in range(receivers)]
    if name == BRIDGE:
        arm = _bridge(lab)
        bridge = lab.name("br")
        for device in devices:
            run("ip", "link", "set", _veth(lab, f"f{device}", arm.guest, device), "master", bridge)
        return arm, devices
    wire, uplink = lab.wire()
    guest = lab.namespace("g")
    config = host_config(uplink, [], [{"name": "lan"}])
    config["pfs"][0]["num_vfs"] = 256
    config["guests"] = [{"name": guest.name, "adapters": [{"name": device, "port_group": "lan"} for device in devices]}]
    daemon = lab.daemon(config)
    daemon.settle()
    program = uplink_program(daemon)
    return WireArm(AUTO, wire, guest, index_of(uplink), program, guest.mac(devices[0])), devices
