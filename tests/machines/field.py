"""What a stock kernel must bear of the product's main job, and what hosts have that this one's kernel lacks: VLAN devices, bonds.
Jobs for job.py."""

import contextlib
import itertools
import socket
from typing import Any

from inside import Host, Report
from recipe import Place

from sriov_xdp.lab.host import Lab, run, wait_until
from sriov_xdp.lab.traffic import BROADCAST, frame, tapped

STANDARD_BYTES = 1500
SIZES = [18, 1472]
NEW_MAC = "02:00:00:aa:bb:01"
LLDP_GROUP, LLDP = "01:80:c2:00:00:0e", 0x88CC
_ETH_P_ALL_OF_LLDP = socket.htons(LLDP)


def smoke(report: Report, lab: Lab) -> None:
    """Programs load, frames go between all modes, a daemon that died is taken over, and the port's policy decides about a MAC."""
    host = Host(lab, {"xdp1": "xdp", "tcx1": "tcx", "auto1": "auto"}, STANDARD_BYTES)
    report.put("paths", host.paths())
    pairs = list(itertools.permutations(host.places, 2))
    report.put("udp", {f"{one} to {two}": host.udp(one, two, SIZES) for one, two in pairs})
    report.put("tcp", {f"{one} to {two}": host.tcp(one, two) for one, two in pairs})
    report.put("broadcast", {name: host.broadcast(name, payload_bytes=1000) for name in host.places})
    host.daemon.kill()
    report.put("without a daemon", host.udp("wire", "xdp1", SIZES))
    host.daemon.start()
    report.put("MAC that is rejected", _ask_for_mac(host))
    host.daemon.ask("port-group", "set", "lan", "--mac-changes", "accept")
    report.put("MAC that is accepted", _ask_for_mac(host))
    report.put("frames with it", _with_mac(host))


def _ask_for_mac(host: Host) -> dict[str, Any]:
    """What came of it in the audit, and whether it is the device's."""
    guest, vf = host.namespace("auto1"), host.vf("auto1")["address"]
    guest.vf("set-mac", NEW_MAC, check=False)
    outcome = host.daemon.ask("audit", "list", "--vf", vf)[-1]["outcome"]
    return {"outcome": outcome, "is_effective": host.vf("auto1")["effective_mac"] == NEW_MAC}


def _with_mac(host: Host) -> list[int]:
    host.namespace("auto1").ip("link", "set", "eth0", "address", NEW_MAC)
    host.namespace("wire").ip("neigh", "flush", "all")
    return host.udp("auto1", "wire", SIZES)


def host_vlans(report: Report, lab: Lab) -> None:
    """The host's own VLAN on the uplink, beside a guest in the same VLAN and one in none, and LLDP."""
    host = Host(lab, {"none": "auto", "web": "auto"}, STANDARD_BYTES, groups={"web": {"access": 100}})
    wire = host.places["wire"]
    run("ip", "link", "add", "link", host.uplink, "name", "u.100", "type", "vlan", "id", "100")
    run("ip", "addr", "add", "10.100.0.1/24", "dev", "u.100")
    run("ip", "link", "set", "u.100", "up")
    wait_until(lambda: host.daemon.ask("pf", "show", "pf0")["host_vlans"] == [100], "the VLAN is seen", seconds=30)
    wire.namespace.ip("link", "add", "link", "w0", "name", "w0.100", "type", "vlan", "id", "100")
    wire.namespace.ip("link", "set", "w0.100", "up")
    wire.namespace.ip("addr", "add", "10.100.0.99/24", "dev", "w0.100")
    host.namespace("web").ip("addr", "add", "10.100.0.2/24", "dev", "eth0")
    report.put("the wire reaches", {name: wire.namespace.can_ping(f"10.100.0.{last}") for name, last in (("host", 1), ("web", 2))})
    report.put("the host hears the VLAN's broadcasts", _hears(host, "u.100"))
    report.put("the guest hears them too", _guest_hears(host.places["web"], wire))
    report.put("LLDP", _hears_lldp(host, wire))
    run("ip", "link", "del", "u.100")
    wait_until(lambda: host.daemon.ask("pf", "show", "pf0")["host_vlans"] == [], "it is gone", seconds=30)
    report.put("the guest goes on", wire.namespace.can_ping("10.100.0.2"))


def _hears(host: Host, device: str) -> bool:
    """Whether a VLAN device of the host gets a broadcast, without a tag."""
    wire = host.places["wire"]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as ear:
        ear.bind((device, 0x88B5))
        ear.settimeout(5)
        sent = frame(BROADCAST, wire.mac, b"for everybody")
        with tapped((wire.namespace, "w0.100")) as (tap,):
            tap.send(sent)
        with contextlib.suppress(TimeoutError):
            return ear.recv(2000) == sent
    return False


def _guest_hears(guest: Place, wire: Place) -> bool:
    with tapped((wire.namespace, "w0.100"), (guest.namespace, "eth0")) as (sender, receiver):
        sent = frame(BROADCAST, wire.mac, b"for everybody once more")
        sender.send(sent)
        return receiver.seen(payload=b"for everybody once more", seconds=5) == [sent]


def _hears_lldp(host: Host, wire: Place) -> bool:
    """Behind the tc program: a socket for one protocol is served after it."""
    before = host.daemon.ask("pf", "show", "pf0")["counters"]["to_host_packets"]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _ETH_P_ALL_OF_LLDP) as ear:
        ear.bind((host.uplink, LLDP))
        ear.settimeout(5)
        sent = frame(LLDP_GROUP, wire.mac, b"a neighbour", ether_type=LLDP)
        with tapped((wire.namespace, "w0")) as (tap,):
            tap.send(sent)
        with contextlib.suppress(TimeoutError):
            heard = ear.recv(2000) == sent
            return heard and host.daemon.ask("pf", "show", "pf0")["counters"]["to_host_packets"] == before + 1
    return False


def guest_bond(report: Report, lab: Lab) -> None:
    """A guest's active-backup bond over VFs of two PFs on one wire, under one address: another guest reaches it by either."""
    wire, uplinks = lab.namespace("w"), [lab.device("u0"), lab.device("u1")]
    wire.ip("link", "add", "name", "bridge0", "type", "bridge")
    wire.ip("link", "set", "bridge0", "up")
    for number, uplink in enumerate(uplinks):
        run("ip", "link", "add", uplink, "type", "veth", "peer", "name", f"w{number}", "netns", wire.name)
        run("ip", "link", "set", uplink, "up")
        wire.ip("link", "set", f"w{number}", "master", "bridge0", "up")
        wire.run("ethtool", "-K", f"w{number}", "gro", "on", "tx", "off", "txvlan", "off")
    bonded, other = lab.namespace("bonded"), lab.namespace("other")
    lab.daemon(_two_pfs(uplinks, bonded.name, other.name))
    bonded.ip("link", "add", "bond0", "type", "bond", "mode", "active-backup", "miimon", "100")
    for name in ("eth0", "eth1"):
        bonded.ip("link", "set", name, "down")
        bonded.ip("link", "set", name, "master", "bond0")
    bonded.address(1, "bond0")
    other.address(2)
    report.put("by the first", other.can_ping("10.77.0.1", count=3))

    def active() -> str:
        return bonded.run("cat", "/sys/class/net/bond0/bonding/active_slave")

    bonded.ip("link", "set", "eth0", "down")
    wait_until(lambda: "eth1" in active(), "the bond takes the other", seconds=30)
    report.put("by the second", bool(wait_until(lambda: other.can_ping("10.77.0.1"), "it is reached", seconds=30)))
    bonded.ip("link", "set", "eth0", "up")
    bonded.ip("link", "set", "eth1", "down")
    wait_until(lambda: "eth0" in active(), "the bond comes back", seconds=30)
    report.put("by the first again", bool(wait_until(lambda: other.can_ping("10.77.0.1"), "it is reached", seconds=30)))


def _two_pfs(uplinks: list[str], bonded: str, other: str) -> dict[str, Any]:
    pfs = [
        {"name": f"pf{number}", "uplink": uplink, "num_vfs": 4, "wire_own_source": "accept"}
        for number, uplink in enumerate(uplinks)
    ]
    security = {"security": {"mac_changes": "accept", "forged_transmits": "accept"}}
    switches = [
        {"name": f"s{number}", "kind": "standard", "pf": f"pf{number}", "port_groups": [{"name": f"g{number}", "policy": security}]}
        for number in range(2)
    ]
    of_bond = {"kind": "vf", "mac": "02:00:00:00:0b:01"}
    adapters = [{"name": f"eth{number}", "port_group": f"g{number}", **of_bond} for number in range(2)]
    return {
        "version": 1,
        "pfs": pfs,
        "switches": switches,
        "guests": [
            {"name": bonded, "netns": bonded, "adapters": adapters},
            {"name": other, "netns": other, "adapters": [{"name": "eth0", "kind": "vf", "port_group": "g0"}]},
        ],
    }
