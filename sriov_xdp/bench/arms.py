"""The arms of the comparison: ways to connect two guests, and a guest to a wire, all built at once in namespaces of their own.

Each arm has two guests with 10.N.0.1 and 10.N.0.2 on eth0. Same MTU, same pinning, offloads as each arm has them by itself.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sriov_xdp.bench import ovs
from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import AttachType, ProgramType
from sriov_xdp.host import kernel
from sriov_xdp.host.links import Links
from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run
from sriov_xdp.pf.state.modes import xdp_problem

CABLE, NOISE, MACVLAN, BRIDGE, OVS, BARE = "cable", "cable again", "macvlan", "Linux bridge", "OVS userspace", "bare redirect"
TCX, XDP, AUTO = "vf tcx", "vf xdp", "vf auto"
OURS = (TCX, XDP, AUTO)


@dataclass(slots=True)
class Arm:
    """Two connected guests."""

    name: str
    one: Namespace
    two: Namespace
    address: str  # of two
    links: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Bench:
    """All arms of one MTU, and the daemon behind ours."""

    lab: Lab
    mtu_bytes: int
    arms: dict[str, Arm]
    daemon: Daemon


def _pair(lab: Lab, number: int, name: str) -> Arm:
    one, two = lab.namespace(f"{number}a"), lab.namespace(f"{number}b")
    return Arm(name=name, one=one, two=two, address=f"10.{number}.0.2")


def _address(arm: Arm, number: int) -> None:
    for host, guest in ((1, arm.one), (2, arm.two)):
        # A connection rests while the other arms are measured; starting slowly again would punish all but the last one.
        guest.run("sysctl", "-qw", "net.ipv4.tcp_slow_start_after_idle=0")
        guest.address(host, network=f"10.{number}.0", prefix6=f"fd{number:02}:")
    for guest, host in ((arm.one, 2), (arm.two, 1)):
        guest.can_ping(f"10.{number}.0.{host}", count=3)


def _cable(lab: Lab, arm: Arm, mtu_bytes: int) -> None:
    end = ["mtu", str(mtu_bytes)]
    run(
        "ip",
        "link",
        "add",
        "eth0",
        *end,
        "netns",
        arm.one.name,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        *end,
        "netns",
        arm.two.name,
    )
    del lab


def _host_ends(lab: Lab, arm: Arm, number: int, mtu_bytes: int) -> list[str]:
    ends = []
    for letter, guest in (("a", arm.one), ("b", arm.two)):
        end = lab.device(f"{number}{letter}")
        mtu = ["mtu", str(mtu_bytes)]
        run("ip", "link", "add", end, *mtu, "type", "veth", "peer", "name", "eth0", *mtu, "netns", guest.name)
        run("ip", "link", "set", end, "up")
        ends.append(end)
    return ends


def _macvlan(lab: Lab, arm: Arm, number: int, mtu_bytes: int) -> None:
    parent = lab.device(f"{number}m")
    run("ip", "link", "add", parent, "mtu", str(mtu_bytes), "type", "veth", "peer", "name", lab.device(f"{number}n"))
    run("ip", "link", "set", parent, "up")
    run("ip", "link", "set", lab.name(f"{number}n"), "up")
    for guest in (arm.one, arm.two):
        temporary = lab.name(f"{number}t")
        run("ip", "link", "add", temporary, "link", parent, "type", "macvlan", "mode", "bridge")
        run("ip", "link", "set", temporary, "netns", guest.name)
        guest.ip("link", "set", temporary, "name", "eth0")


def _bridge(lab: Lab, arm: Arm, number: int, mtu_bytes: int) -> None:
    bridge = lab.device(f"{number}r")
    run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0")
    run("ip", "link", "set", bridge, "up", "mtu", str(mtu_bytes))
    for end in _host_ends(lab, arm, number, mtu_bytes):
        run("ip", "link", "set", end, "master", bridge)


def _bare(lab: Lab, arm: Arm, number: int, mtu_bytes: int) -> None:
    """The least a program can do: one call that hands the frame to the other guest."""
    ends = _host_ends(lab, arm, number, mtu_bytes)
    host = Links()
    indexes = [host.by_name(end).ifindex for end in ends]
    host.close()
    for own, other in (indexes, reversed(indexes)):
        program = libbpf.load_program(
            ProgramType.SCHED_CLS, "bare", programs.redirect(programs.REDIRECT_PEER, other), attach=AttachType.NONE
        )
        arm.links.append(libbpf.create_link(program, own, AttachType.TCX_INGRESS))
        os.close(program)


@contextlib.contextmanager
def built(tag: str, mtu_bytes: int) -> Iterator[Bench]:
    """Every arm, ready for traffic; without the XDP one where its frames could panic this kernel."""
    ours = [name for name in OURS if name != XDP or not xdp_problem(mtu_bytes, kernel.read())]
    names = [CABLE, NOISE, MACVLAN, BRIDGE, *([OVS] if ovs.is_installed() else []), BARE, *ours]
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(tag))
        stack.enter_context(_without_bridge_filters())
        arms = {name: _pair(lab, 20 + number, name) for number, name in enumerate(names)}
        makers = {MACVLAN: _macvlan, BRIDGE: _bridge, BARE: _bare}
        guests = []
        for number, (name, arm) in enumerate(arms.items(), 20):
            if name in (CABLE, NOISE):
                _cable(lab, arm, mtu_bytes)
            elif name == OVS:
                switch = stack.enter_context(ovs.running(lab.folder / "ovs"))
                switch.connect(lab.device(f"{number}o"), _host_ends(lab, arm, number, mtu_bytes))
                for guest in (arm.one, arm.two):  # the userspace datapath passes checksums on that nobody computed
                    guest.run("ethtool", "-K", "eth0", "tx", "off")
            elif name in makers:
                makers[name](lab, arm, number, mtu_bytes)
            else:
                mode = name.removeprefix("vf ")
                guests += [{"guest": guest.name, "port_group": "lan", "datapath": mode} for guest in (arm.one, arm.two)]
        daemon = lab.daemon(host_config(None, guests, [{"name": "lan", "vlan": "none"}], mtu=mtu_bytes))
        daemon.settle()
        for number, arm in enumerate(arms.values(), 20):
            _address(arm, number)
        try:
            yield Bench(lab=lab, mtu_bytes=mtu_bytes, arms=arms, daemon=daemon)
        finally:
            for arm in arms.values():
                for link in arm.links:
                    os.close(link)


@contextlib.contextmanager
def _without_bridge_filters() -> Iterator[None]:
    """Iptables for bridged frames would slow the bridge arm unfairly; the setting is put back."""
    path = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    before = path.read_text() if path.exists() else None
    if before is not None:
        path.write_text("0")
    try:
        yield
    finally:
        if before is not None:
            path.write_text(before)
