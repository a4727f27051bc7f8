"""bpf/abi.h is the truth; datapath/abi.py repeats it. Here the header is compiled by the host's compiler and both compared."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from sriov_xdp.datapath import abi, fdb, libbpf, probes, tables
from sriov_xdp.datapath.pins import MAP_SHAPES
from sriov_xdp.datapath.sources import source_dir

HEADER = source_dir() / "abi.h"
LAYOUTS = {
    "sxdp_port": (abi.PORT_LAYOUT.size, ["ifindex", "generation", "mac", "flags", "vlan", "mtu_bytes", "pf", "pad0", "place"]),
    "sxdp_ports": (abi.PORTS_BYTES, ["at", "epoch", "last_epoch"]),
    "sxdp_fdb": (abi.FDB_BYTES, ["way"]),
    "sxdp_trunk": (abi.TRUNK_LAYOUT.size, ["vlans"]),
    "sxdp_meter": (abi.GUARD_LAYOUT.size // 2, ["interval_ns", "due_ns"]),
    "sxdp_guard": (abi.GUARD_LAYOUT.size, ["broadcast", "multicast"]),
    "sxdp_probe": (abi.PROBE_LAYOUT.size, ["magic", "nonce", "sender", "vlan"]),
    "sxdp_return": (abi.RETURN_LAYOUT.size, ["nonce", "time_ns", "sender", "vlan"]),
    "sxdp_members": (abi.MEMBERS_LAYOUT.size, ["count", "slots", "trunks"]),
    "sxdp_counters": (
        abi.COUNTERS_LAYOUT.size,
        ["ingress_bytes", "egress_errors", "verdict", "ingress_multicast", "ingress_broadcast"],
    ),
    "sxdp_flow": (abi.FLOW_LAYOUT.size, ["head", "tail", "epoch", "ingress", "longest_bytes", "target_slot"]),
    "sxdp_cpu": (abi.CPU_BYTES, ["of", "flows", "flood_slot", "flood_vlan"]),
}
SHAPES = ("sxdp_limit", "sxdp_fdb_shape", "sxdp_flow_shape", "sxdp_place", "sxdp_slot", "sxdp_guard_limit", "sxdp_buffer")
ENUMS = (*SHAPES, "sxdp_vlan", "sxdp_verdict", "sxdp_port_flag")


def enumerators(header: str, enum: str) -> list[str]:
    body = re.search(rf"enum {enum} {{(.*?)}};", header, re.DOTALL)
    assert body, f"enum {enum} is not in abi.h"
    return re.findall(r"^\s*(SXDP_\w+)\s*=", body[1], re.MULTILINE)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """Numbers, sizes and offsets as the compiler sees them."""
    header = HEADER.read_text()
    names = [name for enum in ENUMS for name in enumerators(header, enum)]
    lines = [f'printf("\\"{name}\\": %d,", (int){name});' for name in names]
    for struct, (_size, members) in LAYOUTS.items():
        lines.append(f'printf("\\"sizeof {struct}\\": %zu,", sizeof(struct {struct}));')
        lines += [f'printf("\\"{struct}.{member}\\": %zu,", offsetof(struct {struct}, {member}));' for member in members]
    key = "sxdp_fdb_key(sxdp_domain(3, 100), 0x060504030201ULL)"
    calls = {
        "fdb_key": key,
        "place": "sxdp_place(77, 5)",
        "bucket": f"fdb_bucket(fdb_scatter({key}))",
        "word": f"fdb_word(fdb_scatter({key}), 77)",
        "match": f"fdb_match(fdb_word(fdb_scatter({key}), 77), fdb_scatter({key}))",
        "mismatch": f"fdb_match(fdb_word(fdb_scatter({key}), 77), fdb_scatter({key} + 1))",
        "slot": "fdb_slot(sxdp_place(77, 5))",
        "probe_group": "SXDP_PROBE_GROUP",
        "probe_type": "SXDP_ETH_LOOPBACK",
        "probe_magic": "SXDP_PROBE_MAGIC",
    }
    lines.append('printf(",");'.join(f'printf("\\"{name}\\": %llu", (unsigned long long){call});' for name, call in calls.items()))
    folder = tmp_path_factory.mktemp("abi")
    program = "\n".join(lines)
    includes = "".join(f"#include {name}\n" for name in ("<stddef.h>", "<stdio.h>", '"fdb.h"', '"frame.h"'))
    source = f'{includes}int main(void) {{ printf("{{"); {program} printf("}}"); }}'
    (folder / "probe.c").write_text(source)
    subprocess.run(["clang", "-I", str(HEADER.parent), "-o", str(folder / "probe"), str(folder / "probe.c")], check=True)
    return json.loads(subprocess.run([str(folder / "probe")], capture_output=True, text=True, check=True).stdout)


def test_verdicts_have_the_same_numbers(compiled: dict[str, int]) -> None:
    internal = {"SXDP_VERDICTS", "SXDP_UNDECIDED", "SXDP_COUNTED", "SXDP_ADMITTED", "SXDP_DEFERRED"}
    in_c = {
        name.removeprefix("SXDP_"): compiled[name]
        for name in enumerators(HEADER.read_text(), "sxdp_verdict")
        if name not in internal
    }
    assert in_c == {verdict.name: verdict.value for verdict in abi.Verdict}
    assert compiled["SXDP_VERDICTS"] == abi.VERDICT_ROOM


def test_port_flags_have_the_same_bits(compiled: dict[str, int]) -> None:
    in_c = {name.removeprefix("SXDP_PORT_"): compiled[name] for name in enumerators(HEADER.read_text(), "sxdp_port_flag")}
    assert in_c == {flag.name: flag.value for flag in abi.PortFlag}


@pytest.mark.parametrize(
    "name",
    [
        "MAX_PFS",
        "MAX_PORTS",
        "MAX_MEMBERS",
        "FLOOD_CHUNK",
        "MAX_VLANS",
        "MAX_FDB_ENTRIES",
        "SLOT_MASK",
        "FIRST_VF_SLOT",
        "FDB_BUCKET_BITS",
        "FDB_BUCKETS",
        "FDB_WAYS",
        "FLOW_BITS",
        "FLOWS",
        "PLACE_SLOT_BITS",
        "PLACE_GENERATION_BITS",
        "PLACE_BITS",
        "GUARD_BURST_NS",
        "BUFFER_BYTES",
    ],
)
def test_limits_are_the_same(compiled: dict[str, int], name: str) -> None:
    assert compiled[f"SXDP_{name}"] == getattr(abi, name)


def test_wildcard_vlan_is_the_same(compiled: dict[str, int]) -> None:
    assert (compiled["SXDP_VLAN_NONE"], compiled["SXDP_VLAN_TRUNKS"]) == (abi.VLAN_NONE, abi.VLAN_TRUNKS)


@pytest.mark.parametrize("struct", LAYOUTS)
def test_structs_have_the_same_size(compiled: dict[str, int], struct: str) -> None:
    assert compiled[f"sizeof {struct}"] == LAYOUTS[struct][0]


def test_port_value_puts_each_field_at_its_offset(compiled: dict[str, int]) -> None:
    value = abi.PortValue(
        ifindex=0x11111111,
        generation=0x22222222,
        mac=bytes([1, 2, 3, 4, 5, 6]),
        flags=abi.PortFlag(0x23),
        vlan=0x4444,
        mtu_bytes=0x5555,
        pf=0x66,
    ).pack()
    at = {member: compiled[f"sxdp_port.{member}"] for member in LAYOUTS["sxdp_port"][1]}
    assert value[at["generation"] :][:4] == b"\x22" * 4
    assert value[at["mac"] :][:8] == bytes([1, 2, 3, 4, 5, 6, 0, 0])
    assert value[at["flags"] :][:4] == bytes([0x23, 0, 0, 0])
    assert value[at["vlan"] :][:2] == b"\x44\x44"
    assert value[at["mtu_bytes"] :][:2] == b"\x55\x55"
    assert value[at["pf"] :][:2] == b"\x66\x00"
    assert value[at["place"] :][:4] == abi.place(0x111, 0x22222222).to_bytes(4, "little")


def test_no_entry_of_the_forwarding_database_leads_to_an_uplink() -> None:
    uplink = abi.PortValue(ifindex=7, generation=1, mac=bytes(6), flags=abi.PortFlag.UPLINK, vlan=0, mtu_bytes=1500, pf=0)
    assert bytes(4) == uplink.pack()[-4:]


def test_fdb_key_is_built_the_same_way(compiled: dict[str, int]) -> None:
    assert compiled["fdb_key"] == abi.fdb_key(3, 100, bytes([1, 2, 3, 4, 5, 6]))


def test_an_entry_of_the_forwarding_database_is_made_the_same_way(compiled: dict[str, int]) -> None:
    scattered = fdb.scatter(compiled["fdb_key"])
    place = abi.place(77, 5)
    assert compiled["place"] == place
    assert compiled["slot"] == abi.slot_at(place)
    assert compiled["bucket"] == fdb.bucket(scattered)
    assert compiled["word"] == fdb.word(scattered, 77)
    assert compiled["fdb_key"] == fdb.key_of(compiled["bucket"], compiled["word"])
    assert (compiled["match"], compiled["mismatch"]) == (77, 0)


def test_a_guard_puts_each_limit_at_its_offset(compiled: dict[str, int]) -> None:
    packed = abi.Guard(broadcast_pps=10_000, multicast_pps=100_000).pack()
    assert {"interval_ns": 0, "due_ns": 8} == {name: compiled[f"sxdp_meter.{name}"] for name in ("interval_ns", "due_ns")}
    assert packed[compiled["sxdp_guard.broadcast"] :][:16] == (100_000).to_bytes(8, "little") + bytes(8)
    assert packed[compiled["sxdp_guard.multicast"] :][:16] == (10_000).to_bytes(8, "little") + bytes(8)
    assert (100_000, 10_000) == abi.Guard.intervals_in(packed)


@pytest.mark.parametrize(("pps", "interval_ns"), [(0, 0), (1, 10**9), (3, 333_333_334), (7, 142_857_143), (10_000_000, 100)])
def test_a_limit_is_never_exceeded_by_what_is_rounded(pps: int, interval_ns: int) -> None:
    assert (interval_ns, interval_ns) == abi.Guard.intervals_in(abi.Guard(broadcast_pps=pps, multicast_pps=pps).pack())


def test_a_return_is_read_from_its_offsets(compiled: dict[str, int]) -> None:
    wanted = abi.ProbeReturn(nonce=0x1111111111111111, time_ns=0x2222222222222222, sender=0x33, vlan=0x44)
    packed = bytearray(abi.RETURN_LAYOUT.size)
    for member, size in (("nonce", 8), ("time_ns", 8), ("sender", 4), ("vlan", 4)):
        at = compiled[f"sxdp_return.{member}"]
        packed[at : at + size] = getattr(wanted, member).to_bytes(size, "little")
    assert wanted == abi.ProbeReturn.unpack(bytes(packed))


def test_a_probe_is_recognised_by_the_same_words(compiled: dict[str, int]) -> None:
    sent = probes.probe(77, 100, 0x0102030405060708, is_tagged=False)
    payload = sent[14:]
    assert (compiled["probe_group"], compiled["probe_type"]) == (abi.mac_word(abi.PROBE_GROUP), abi.PROBE_TYPE)
    assert compiled["probe_magic"] == abi.PROBE_MAGIC
    words = {"magic": (abi.PROBE_MAGIC, 8), "nonce": (0x0102030405060708, 8), "sender": (77, 4), "vlan": (100, 4)}
    found = {name: payload[compiled[f"sxdp_probe.{name}"] :][:size] for name, (_value, size) in words.items()}
    assert {name: value.to_bytes(size, "little") for name, (value, size) in words.items()} == found


def test_what_tells_of_group_frames_is_at_its_place_in_the_counters(compiled: dict[str, int]) -> None:
    storm = compiled["sxdp_counters.verdict"] + 8 * compiled["SXDP_STORM"]
    wanted = {storm, compiled["sxdp_counters.ingress_multicast"], compiled["sxdp_counters.ingress_broadcast"]}
    assert wanted == {8 * word for word in tables.GROUP_WORDS}


def test_map_shapes_are_those_of_the_program(compiled: dict[str, int]) -> None:
    shapes = {
        "ports": ("sxdp_ports", 1),
        "fdb": ("sxdp_fdb", 1),
        "trunks": ("sxdp_trunk", abi.MAX_PORTS),
        "guards": ("sxdp_guard", abi.MAX_PORTS),
        "loops": ("sxdp_return", abi.MAX_PORTS),
        "members": ("sxdp_members", abi.MAX_VLANS),
        "counters": ("sxdp_cpu", libbpf.possible_cpus()),
    }
    assert {name: (compiled[f"sizeof {struct}"], entries) for name, (struct, entries) in shapes.items()} == {
        name: shape[1:] for name, shape in MAP_SHAPES.items() if name in shapes
    }


def test_the_check_itself_can_fail(tmp_path: Path) -> None:
    """A header with one number changed is noticed."""
    changed = HEADER.read_text().replace("SXDP_HAIRPIN = 15", "SXDP_HAIRPIN = 16")
    assert changed != HEADER.read_text()
    assert re.search(r"SXDP_HAIRPIN = (\d+)", changed)[1] != str(abi.Verdict.HAIRPIN.value)  # type: ignore[index]
