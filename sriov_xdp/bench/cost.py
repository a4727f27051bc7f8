"""What the program itself costs a frame: PROG_TEST_RUN, less an empty program. By size of the switch for a frame that is judged,
and once for one whose flow is remembered, of which the size is no part.
"""

import contextlib
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.abi import FIRST_VF_SLOT, PortFlag, PortValue, fdb_key
from sriov_xdp.datapath.libbpf import AttachType, ProgramType
from sriov_xdp.datapath.pins import Pins, remove_tree
from sriov_xdp.datapath.port_image import PortImage
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import bpffs
from sriov_xdp.lab import programs
from sriov_xdp.lab.host import Lab, Namespace, entered
from sriov_xdp.lab.traffic import frame

SIZES = ((2, 16), (2, 16384), (64, 1024), (256, 16), (256, 16384))
_REPEAT = 4_000
_RUNS = 5
_DESTINATIONS = 8
_SENDER_IFINDEX = 1 << 20 | FIRST_VF_SLOT
_PEER_IFINDEX = 1 << 21


def _mac(number: int) -> bytes:
    return b"\x02" + number.to_bytes(5, "big")


@contextlib.contextmanager
def loaded_pins(tag: str) -> Iterator[tuple[Lab, Pins]]:
    """A lab with the programs of this build loaded, of nobody else's."""
    folder = Path("/sys/fs/bpf") / f"{tag}cost"
    with Lab(tag) as lab:
        bpffs.ensure(folder)
        pins = Pins(folder)
        try:
            pins.load()
            yield lab, pins
        finally:
            pins.close()
            remove_tree(folder)


REMEMBERED = (0, 0)


def program_cost(tag: str, rounds: int) -> dict[tuple[int, int], list[float]]:
    """Nanoseconds a frame, by (VFs, FDB entries), a value a round; at REMEMBERED of frames that the flow cache knows. The
    sender's frames go to many destinations in turn."""
    results: dict[tuple[int, int], list[float]] = {size: [] for size in (*SIZES, REMEMBERED)}
    with loaded_pins(tag) as (lab, pins):
        place = lab.namespace("c")
        _make_targets(place)
        empty = libbpf.load_program(ProgramType.XDP, "empty", programs.constant(programs.XDP_DROP), attach=AttachType.NONE)
        for number in range(rounds):
            sizes = SIZES if number % 2 == 0 else tuple(reversed(SIZES))
            for size in sizes:
                with entered(place):
                    tables = _fill(pins, *size)
                    with tables.changing():
                        results[size].append(_mean_ns(pins.program_fd("xdp_vf")) - _mean_ns(empty))
                    if size == SIZES[-1]:
                        results[REMEMBERED].append(_mean_ns(pins.program_fd("xdp_vf")) - _mean_ns(empty))
                for slot in list(tables.slots()):
                    tables.clear_port(slot)
    return results


def _make_targets(place: Namespace) -> None:
    """A devmap takes existing devices only."""
    most = max(vfs for vfs, _entries in SIZES)
    lines = [f"link add r{n} index {_SENDER_IFINDEX + n} type veth peer name p{n} index {_PEER_IFINDEX + n}" for n in range(most)]
    subprocess.run(["ip", "-n", place.name, "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)
    place.ip("link", "set", "r0", "up")


def _fill(pins: Pins, vfs: int, entries: int) -> Tables:
    tables = Tables(pins)
    for number in range(vfs):
        share = range(number, entries, vfs)
        value = PortValue(
            ifindex=_SENDER_IFINDEX + number,
            generation=1,
            mac=_mac(number),
            flags=PortFlag.LINK_UP | PortFlag.PEER,
            vlan=0,
            mtu_bytes=1500,
            pf=0,
        )
        tables.put_port(
            FIRST_VF_SLOT + number, PortImage(value=value, trunk=frozenset(), fdb=frozenset(fdb_key(0, 0, _mac(n)) for n in share))
        )
    return tables


def _mean_ns(program: int) -> float:
    """All of the program but the kernel's own queueing: a test run ends where the redirect would begin. The fastest of some
    runs to each destination, as whatever else happens on the machine only adds."""
    context = struct.pack("<6I", 0, 60, 0, _SENDER_IFINDEX, 0, 0)
    total = 0
    for number in range(_DESTINATIONS):
        sent = frame(_mac(2 * number + 1).hex(":"), _mac(0).hex(":"), bytes(46))  # odd ones are never the sender's own
        total += min(libbpf.run_program(program, sent, context, repeat=_REPEAT).duration_ns for _run in range(_RUNS))
    return total / _DESTINATIONS
