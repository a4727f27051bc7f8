"""The arms of the comparison for what leaves the host: a guest on one side, a wire on the other, connected in each way.

Each arm's second end is the wire's w0; its offloads are those of a cable: checksums computed, tags in band.
"""

import contextlib
import os
import struct
from collections.abc import Iterator

from sriov_xdp.bench.arms import BARE, BRIDGE, CABLE, MACVLAN, OURS, Arm
from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import AttachType, MapType, ProgramType
from sriov_xdp.host.links import Links
from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Lab, Namespace, host_config, run


def wire_end(lab: Lab, number: int) -> tuple[Namespace, str]:
    """A wire of its own, and the device on the host that it is plugged into."""
    wire, device = lab.namespace(f"{number}w"), lab.device(f"{number}u")
    run("ip", "link", "add", device, "type", "veth", "peer", "name", "w0", "netns", wire.name)
    run("ip", "link", "set", device, "up")
    wire.ip("link", "set", "w0", "up")
    wire.run("ethtool", "-K", "w0", "gro", "on", "tx", "off", "txvlan", "off")
    return wire, device


def _guest_end(lab: Lab, number: int) -> tuple[Namespace, str]:
    guest, device = lab.namespace(f"{number}g"), lab.device(f"{number}r")
    run("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", guest.name)
    run("ip", "link", "set", device, "up")
    return guest, device


def _cable(lab: Lab, number: int) -> Arm:
    guest, wire = lab.namespace(f"{number}g"), lab.namespace(f"{number}w")
    run("ip", "link", "add", "eth0", "netns", guest.name, "type", "veth", "peer", "name", "w0", "netns", wire.name)
    wire.ip("link", "set", "w0", "up")
    wire.run("ethtool", "-K", "w0", "gro", "on", "tx", "off", "txvlan", "off")
    return Arm(name=CABLE, one=guest, two=wire, address="")


def _macvlan(lab: Lab, number: int) -> Arm:
    wire, device = wire_end(lab, number)
    guest, temporary = lab.namespace(f"{number}g"), lab.name(f"{number}t")
    run("ip", "link", "add", temporary, "link", device, "type", "macvlan", "mode", "bridge")
    run("ip", "link", "set", temporary, "netns", guest.name)
    guest.ip("link", "set", temporary, "name", "eth0")
    return Arm(name=MACVLAN, one=guest, two=wire, address="")


def _bridge(lab: Lab, number: int) -> Arm:
    (wire, uplink), (guest, representor) = wire_end(lab, number), _guest_end(lab, number)
    bridge = lab.device(f"{number}b")
    run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0")
    run("ip", "link", "set", bridge, "up")
    for device in (uplink, representor):
        run("ip", "link", "set", device, "master", bridge)
    return Arm(name=BRIDGE, one=guest, two=wire, address="")


def _bare(lab: Lab, number: int) -> Arm:
    """Attached as ours is, tc towards the wire and XDP on the uplink, and nothing but a redirect in both."""
    (wire, uplink), (guest, representor) = wire_end(lab, number), _guest_end(lab, number)
    guest.ip("link", "set", "eth0", "up")
    guest.run("ethtool", "-K", "eth0", "gro", "on")  # which makes it a target of XDP redirects
    arm = Arm(name=BARE, one=guest, two=wire, address="")
    links = Links()
    uplink_index, representor_index = links.by_name(uplink).ifindex, links.by_name(representor).ifindex
    links.close()
    out = libbpf.load_program(
        ProgramType.SCHED_CLS, "bare", programs.redirect(programs.REDIRECT, uplink_index), attach=AttachType.NONE
    )
    devices = libbpf.create_map(MapType.DEVMAP, "devices", 4, 4, 1)
    libbpf.update_element(devices, struct.pack("<I", 0), struct.pack("<I", representor_index))
    inward = libbpf.load_program(
        ProgramType.XDP, "bare", programs.redirect_to_slot(devices, 0), attach=AttachType.XDP, flags=libbpf.BPF_F_XDP_HAS_FRAGS
    )
    arm.links.append(libbpf.create_link(out, representor_index, AttachType.TCX_INGRESS))
    arm.links.append(libbpf.create_link(inward, uplink_index, AttachType.XDP))
    for fd in (out, inward, devices):
        os.close(fd)
    return arm


def _ours(lab: Lab) -> list[Arm]:
    """Three PFs, one for each mode, so that each arm has a wire of its own."""
    config = host_config(None, [], [])
    config.update(pfs=[], switches=[], guests=[])
    arms = []
    for number, name in enumerate(OURS):
        wire, uplink = wire_end(lab, 60 + number)
        guest = lab.namespace(f"{60 + number}g")
        group, mode = f"lan{number}", name.removeprefix("vf ")
        config["pfs"].append({"name": f"pf{number}", "uplink": uplink, "num_vfs": 1})
        config["switches"].append({"name": f"s{number}", "pf": f"pf{number}", "port_groups": [{"name": group}]})
        adapter = {"name": "eth0", "port_group": group, "datapath": mode}
        config["guests"].append({"name": guest.name, "adapters": [adapter]})
        arms.append(Arm(name=name, one=guest, two=wire, address=""))
    lab.daemon(config).settle()
    return arms


@contextlib.contextmanager
def built(tag: str) -> Iterator[tuple[Lab, dict[str, Arm]]]:
    """Every arm, ready for traffic."""
    with Lab(tag) as lab:
        made = [_cable(lab, 50), _macvlan(lab, 51), _bridge(lab, 52), _bare(lab, 53), *_ours(lab)]
        for number, arm in enumerate(made, 50):
            network, prefix6 = f"10.{number}.0", f"fd{number}:"
            arm.one.address(1, network=network, prefix6=prefix6)
            arm.two.address(2, "w0", network=network, prefix6=prefix6)
            arm.address = f"{network}.2"
            arm.one.can_ping(arm.address, count=3)
        try:
            yield lab, {arm.name: arm for arm in made}
        finally:
            for link in (link for arm in made for link in arm.links):
                os.close(link)
