"""What runs inside a machine: `job.py RESULT NAME`. Refuses to run anywhere else: some of these frames end a host."""

import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import recipe
from field import guest_bond, host_vlans, smoke
from inside import Host, Report
from recipe import SuperFrame

from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Lab, run, wait_until
from sriov_xdp.lab.machines.initramfs import MARK
from sriov_xdp.lab.traffic import frame, tapped

ROUNDS = 3000
GSO_ROUNDS = 100
STANDARD, JUMBO = 1500, 9000
SIZES = [1472, 3464, 3465, 4096, 8000, 8972]
OFFLOADS = ("tx", "on", "sg", "on", "tso", "on", "gso", "on")


def write(report: Report, lab: Lab) -> None:
    """Over a file of the host."""
    path = Path(sys.argv[3])
    before = path.read_text()
    path.write_text("the machine's")
    report.put("before", before)
    report.put("after", path.read_text())


def standard_mtu(report: Report, lab: Lab) -> None:
    """XDP ports at MTU 1500 whose guests raise their own and turn on what they can."""
    host = Host(lab, {"vm1": "xdp", "vm2": "xdp"}, STANDARD)
    report.put("paths", host.paths())
    for place in host.places.values():
        place.namespace.ip("link", "set", place.device, "mtu", str(JUMBO))
    for sender, receiver in (("vm1", "vm2"), ("vm1", "wire"), ("wire", "vm2")):
        report.put(f"plain, {sender} to {receiver}", recipe.run(host.places[sender], host.places[receiver], ROUNDS))
    for protocol, gso_size in itertools.product(("tcp", "udp"), (1400, 8000)):
        super_frame = SuperFrame(protocol=protocol, gso_size=gso_size, payload_bytes=4 * gso_size + 1327)
        report.put(f"{protocol} by {gso_size}", recipe.run_gso(host.places["vm1"], host.places["vm2"], GSO_ROUNDS, super_frame))
    run("ip", "netns", "exec", host.namespace("vm1").name, "ethtool", "-K", "eth0", *OFFLOADS)
    super_frame = SuperFrame(protocol="tcp", gso_size=8000, payload_bytes=4 * 8000 + 1327)
    with_offloads = recipe.run_gso(host.places["vm1"], host.places["vm2"], GSO_ROUNDS, super_frame)
    report.put("tcp by 8000 with offloads on", with_offloads)
    host.namespace("vm1").run("ethtool", "-K", "eth0", "tx", "off")
    pairs = [("vm1", "vm2"), ("vm2", "vm1"), ("wire", "vm1"), ("vm1", "wire")]
    report.put("afterwards", {f"{sender} to {receiver}": host.udp(sender, receiver, [1472]) for sender, receiver in pairs})


def jumbo_by_tc(report: Report, lab: Lab) -> None:
    """A switch with MTU 9000 on a kernel that is not known to bear XDP there: it stays with tc, and that bears the frames."""
    host = Host(lab, {"auto1": "auto", "auto2": "auto", "tcx1": "tcx"}, JUMBO)
    report.put("paths", host.paths())
    by_command = host.daemon.command("vf", "set", host.vf("auto2")["address"], "--datapath", "xdp")
    report.put("pinned by command", [by_command.returncode, by_command.stderr])
    report.put("pinned by file", host.apply(JUMBO, datapath="xdp"))
    report.put("taken back", host.apply(JUMBO, datapath="auto"))
    report.put("udp", {f"{one} to {two}": host.udp(one, two, SIZES) for one, two in itertools.permutations(host.places, 2)})
    report.put("tcp", {f"{one} to {two}": host.tcp(one, two) for one, two in itertools.permutations(host.places, 2)})
    report.put("recipe", recipe.run(host.places["tcx1"], host.places["auto2"], ROUNDS))
    with programs.attached(host.namespace("auto1"), "eth0", programs.constant(programs.XDP_PASS)):
        wait_until(lambda: host.vf("auto1")["datapath"]["reason"] != "auto: the guest is an ordinary stack", "the program is seen")
        report.put("guest with a program", host.vf("auto1")["datapath"])
        report.put("udp to it", {name: host.udp(name, "auto1", SIZES) for name in ("auto2", "tcx1", "wire")})
        report.put("udp from it", {name: host.udp("auto1", name, SIZES) for name in ("auto2", "tcx1", "wire")})
        report.put("recipe to it", recipe.run(host.places["tcx1"], host.places["auto1"], ROUNDS, awaited=recipe.ONLY_SHORT))
    with programs.attached(host.namespace("auto1"), "eth0", programs.hairpin()):
        recipe.run(host.places["tcx1"], host.places["auto1"], ROUNDS, awaited=recipe.NONE)
        report.put("recipe to a guest that sends back", "survived")
    wait_until(lambda: not host.vf("auto1")["datapath"]["guest_runs_xdp"], "the PF sees that the program is gone")
    report.put("afterwards", host.udp("wire", "auto1", SIZES))


def live_change(report: Report, lab: Lab) -> None:
    """MTU 1500 to 9000 and back while guests that run XDP send the recipe without a pause."""
    host = Host(lab, {"vm1": "auto", "vm2": "auto"}, STANDARD)
    is_over = threading.Event()
    code = programs.constant(programs.XDP_PASS)
    with programs.attached(host.namespace("vm1"), "eth0", code), programs.attached(host.namespace("vm2"), "eth0", code):
        for name in ("vm1", "vm2"):
            host.until_active(name, "xdp")
            host.namespace(name).ip("link", "set", "eth0", "mtu", str(JUMBO))
        flood = threading.Thread(target=recipe.flood, args=(host.places["vm1"], host.places["vm2"], is_over))
        flood.start()
        try:
            for number in range(2):
                for mtu_bytes in (JUMBO, STANDARD):
                    applied = host.apply(mtu_bytes)
                    active = {name: host.vf(name)["datapath"]["active"] for name in ("vm1", "vm2")}
                    step = {"applied": applied, **active, "representor": host.representor_mtu_bytes("vm1")}
                    report.put(f"{mtu_bytes}, time {number + 1}", step)
                    host.namespace("vm1").ip("link", "set", "eth0", "mtu", str(JUMBO))
        finally:
            is_over.set()
            flood.join()
        report.put("afterwards", host.udp("vm1", "vm2", [1472]))


def recipe_by_xdp(report: Report, lab: Lab) -> None:
    """The recipe where XDP runs at MTU 9000 because the operator said so."""
    host = Host(lab, {"vm1": "xdp", "vm2": "xdp"}, JUMBO, "--jumbo-xdp", "allow")
    report.put("paths", host.paths())
    report.put("recipe", recipe.run(host.places["vm1"], host.places["vm2"], ROUNDS))


def jumbo_by_xdp(report: Report, lab: Lab) -> None:
    """MTU 9000 by XDP on a kernel that bears it."""
    host = Host(lab, {"xdp1": "xdp", "tcx1": "tcx", "xdp2": "xdp"}, JUMBO)
    report.put("paths", host.paths())
    report.put("udp", {f"{one} to {two}": host.udp(one, two, SIZES) for one, two in itertools.permutations(host.places, 2)})
    report.put("tcp", {f"{one} to {two}": host.tcp(one, two) for one, two in itertools.permutations(host.places, 2)})
    report.put("broadcast", {name: host.broadcast(name) for name in host.places})
    for sender, receiver in (("xdp1", "xdp2"), ("xdp2", "xdp1"), ("wire", "xdp1"), ("xdp1", "wire")):
        report.put(f"recipe, {sender} to {receiver}", recipe.run(host.places[sender], host.places[receiver], ROUNDS))
    report.put("oversize", _oversize(host, "xdp1", "xdp2"))
    for mtu_bytes in (STANDARD, JUMBO):
        applied, arrived = host.apply(mtu_bytes), host.udp("xdp1", "tcx1", [mtu_bytes - 28])
        report.put(f"live to {mtu_bytes}", {"applied": applied, "udp": arrived, **host.paths()})


def _oversize(host: Host, sender: str, receiver: str) -> dict[str, object]:
    """A guest with a larger MTU of its own sends the longest frame of the port's MTU, and one byte more."""
    one, two = host.places[sender], host.places[receiver]
    one.namespace.ip("link", "set", "eth0", "mtu", str(JUMBO + 3000))
    before = host.vf(sender)["drops"].get("oversize", 0)
    with tapped((one.namespace, "eth0"), (two.namespace, "eth0")) as (tap, seen):
        for payload in (bytes(JUMBO - 5) + b"fits!", bytes(JUMBO - 4) + b"large"):
            tap.send(frame(two.mac, one.mac, payload))
        arrived = [len(data) for word in (b"fits!", b"large") for data in seen.seen(payload=word, seconds=2)]
    one.namespace.ip("link", "set", "eth0", "mtu", str(JUMBO))
    return {"arrived": arrived, "drops": host.vf(sender)["drops"]["oversize"] - before}


_JOBS = (write, standard_mtu, jumbo_by_tc, live_change, recipe_by_xdp, jumbo_by_xdp, smoke, host_vlans, guest_bond)
JOBS: dict[str, Callable[[Report, Lab], None]] = {job.__name__: job for job in _JOBS}


def main() -> None:
    if MARK not in Path("/proc/cmdline").read_text().split():
        sys.exit("job: this is not one of our virtual machines, and its frames end a host; run `make test-machines`")
    with Lab("m") as lab:
        JOBS[sys.argv[2]](Report(Path(sys.argv[1])), lab)


main()
