"""bpf/abi/ is the truth; datapath/abi.py repeats it. Here the headers are compiled by the host's compiler and everything in them is
compared: numbers, sizes, and where each member stands."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from struct import unpack_from

import pytest

from sriov_xdp.api import fast_path
from sriov_xdp.datapath import abi, fdb, probes, tables
from sriov_xdp.datapath.maps import MapKind, all_maps
from sriov_xdp.datapath.meters import Guard, Rate
from sriov_xdp.datapath.probes import ProbeReturn
from sriov_xdp.datapath.sources import source_dir

LIMITS = [
    "MAX_PFS",
    "MAX_PORTS",
    "MAX_MEMBERS",
    "FLOOD_CHUNK",
    "MAX_VLANS",
    "MAX_FDB_ENTRIES",
    "MAX_SEGMENTS",
    "MAX_ALLOWED",
    "PRIORITY_SHIFT",
    "SEGMENT_PROMISCUOUS",
    "SEGMENT_ISOLATED",
    "SLOT_MASK",
    "FIRST_VF_SLOT",
    "NOBODY",
    "SAMPLES",
    "SAMPLE_BYTES",
    "SAMPLE_SERVICE",
    "PF_IS_WATCHED",
    "PF_HAS_SERVICE",
    "VLAN_SERVICE",
    "VLAN_WHOLE",
    "FDB_BUCKET_BITS",
    "FDB_BUCKETS",
    "FDB_WAYS",
    "FLOW_BITS",
    "FLOWS",
    "REF_SLOT_BITS",
    "REF_GENERATION_BITS",
    "REF_BITS",
    "GUARD_BURST_NS",
    "BUFFER_BYTES",
    "VLAN_NONE",
    "VLAN_TRUNKS",
    "VLAN_MASK",
    "STAGES",
]
PLAIN = "SXDP_PLAIN_"  # the programs' business alone


def text_of(root: Path) -> str:
    return "\n".join(header.read_text() for header in sorted((root / "abi").glob("*.h")))


def enumerators(text: str) -> list[str]:
    bodies = re.findall(r"^enum sxdp_\w+ {\n(.*?)^};", text, re.DOTALL | re.MULTILINE)
    return [name for body in bodies for name in re.findall(r"^\t(SXDP_\w+)\s*=", body, re.MULTILINE)]


def structs(text: str) -> dict[str, list[str]]:
    """Names of the members of every struct."""
    found = re.findall(r"^struct (sxdp_\w+) {\n(.*?)^};", text, re.DOTALL | re.MULTILINE)
    return {name: re.findall(r"^\t(?:struct )?\w+ (\w+)(?:\[.*?\])*;", body, re.MULTILINE) for name, body in found}


KEY = "sxdp_fdb_key(sxdp_domain(3, 100), 0x060504030201ULL)"
CALLS = {
    "fdb_key": KEY,
    "ref": "sxdp_ref(77, 5)",
    "bucket": f"fdb_bucket(fdb_scatter({KEY}))",
    "word": f"fdb_word(fdb_scatter({KEY}), 77)",
    "match": f"fdb_match(fdb_word(fdb_scatter({KEY}), 77), fdb_scatter({KEY}))",
    "mismatch": f"fdb_match(fdb_word(fdb_scatter({KEY}), 77), fdb_scatter({KEY} + 1))",
    "slot": "fdb_slot(sxdp_ref(77, 5))",
    "probe_group": "SXDP_PROBE_GROUP",
    "probe_station": "SXDP_PROBE_STATION",
    "probe_type": "SXDP_ETH_LOOPBACK",
    "probe_magic": "SXDP_PROBE_MAGIC",
}


def compile_headers(folder: Path, root: Path) -> dict[str, int]:
    """What the compiler sees: by enumerator, by "sizeof struct", by "struct.member"; and what some functions answer."""
    text = text_of(root)
    numbers = {name: f"(long long){name}" for name in enumerators(text)}
    for struct, members in structs(text).items():
        numbers[f"sizeof {struct}"] = f"sizeof(struct {struct})"
        numbers |= {f"{struct}.{member}": f"offsetof(struct {struct}, {member})" for member in members}
    lines = [f'printf("%s\\"{name}\\": %lld", comma, (long long)({told})); comma = ",";' for name, told in numbers.items()]
    lines += [f'printf("%s\\"{name}\\": %llu", comma, (unsigned long long)({told}));' for name, told in CALLS.items()]
    includes = "".join(f"#include {name}\n" for name in ("<stddef.h>", "<stdio.h>", '"rules/fdb.h"', '"rules/frame.h"'))
    body = "\n".join(lines)
    (folder / "probe.c").write_text(
        f'{includes}int main(void) {{ const char *comma = ""; printf("{{"); {body} printf("}}"); return 0; }}'
    )
    subprocess.run(["clang", "-I", str(root), "-o", str(folder / "probe"), str(folder / "probe.c")], check=True)
    found = json.loads(subprocess.run([str(folder / "probe")], capture_output=True, text=True, check=True).stdout)
    return {str(name): int(number) for name, number in found.items()}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    return compile_headers(tmp_path_factory.mktemp("abi"), source_dir())


def shared(numbers: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in numbers.items() if name not in CALLS and not name.startswith(PLAIN)}


def said_in_python() -> dict[str, int]:
    """All that abi.py says, by the names of the headers."""
    said = {f"sizeof {struct}": size for struct, size in abi.STRUCT_BYTES.items()}
    for struct, members in abi.LAYOUTS.items():
        said |= {f"{struct}.{member}": abi.offset_bytes(struct, member) for member in members}
    said |= {f"SXDP_{verdict.name}": verdict.value for verdict in abi.Verdict}
    said |= {f"SXDP_PORT_{flag.name}": flag.value for flag in abi.PortFlag}
    said |= {f"SXDP_STAGE_{stage.name}": stage.value for stage in abi.Stage}
    said |= {f"SXDP_{name}": getattr(abi, name) for name in LIMITS}
    return {**said, "SXDP_VERDICTS": abi.VERDICT_ROOM}


def test_every_number_size_and_offset_is_the_same_and_none_is_missing(compiled: dict[str, int]) -> None:
    assert said_in_python() == shared(compiled)


CHANGES = {
    "a verdict's number": ("SXDP_HAIRPIN = 15", "SXDP_HAIRPIN = 20"),
    "a verdict more": ("SXDP_LOOP = 17,", "SXDP_LOOP = 17,\n\tSXDP_NEW = 19,"),
    "a flag's bit": ("SXDP_PORT_LOOP = 1 << 11", "SXDP_PORT_LOOP = 1 << 13"),
    "a limit": ("SXDP_FLOOD_CHUNK = 32", "SXDP_FLOOD_CHUNK = 64"),
    "two members of one size exchanged": (
        "__u32 ifindex;              /* 0 = no such port */\n\t__u32 generation;",
        "__u32 generation;\n\t__u32 ifindex;              /* 0 = no such port */",
    ),
    "a member of another size": ("__u16 longest_bytes;", "__u32 longest_bytes;"),
    "a member more": ("__u64 interval_ns; ", "__u64 more;\n\t__u64 interval_ns; "),
    "a struct more": ("struct sxdp_trunk {", "struct sxdp_more {\n\t__u32 a;\n};\nstruct sxdp_trunk {"),
}


@pytest.mark.parametrize(("found", "changed"), CHANGES.values(), ids=CHANGES)
def test_a_changed_header_is_noticed(tmp_path: Path, found: str, changed: str) -> None:
    root = tmp_path / "bpf"
    shutil.copytree(source_dir(), root)
    hits = 0
    for header in (root / "abi").glob("*.h"):
        text = re.sub(r"^_Static_assert\(sizeof.*\n", "", header.read_text(), flags=re.MULTILINE)  # this check is another one
        hits += text.count(found)
        header.write_text(text.replace(found, changed))
    assert 1 == hits
    assert said_in_python() != shared(compile_headers(tmp_path, root))


def test_each_flag_is_plain_or_looked_at(compiled: dict[str, int]) -> None:
    """The fast ways list what they may pass by, so a flag that is new is not plain until somebody decided so."""
    everything = abi.PortFlag(sum(abi.PortFlag))
    for words, plain in ((fast_path.SENDS, "INGRESS"), (fast_path.RECEIVES, "TARGET")):
        assert {abi.PortFlag.LINK_UP, *words} == set(everything & ~compiled[f"{PLAIN}{plain}"]), "each has its word"


def test_a_rate_puts_each_limit_at_its_offset(compiled: dict[str, int]) -> None:
    rate = Rate(average_kbps=1000, peak_kbps=2000, burst_bytes=9, peak_burst_bytes=8, said_burst_bytes=7)
    packed, cost = rate.pack(), 8 * 1024**2 * 1000
    assert [cost, 9 * cost >> 10, 0] == [*unpack_from("<QQQ", packed, compiled["sxdp_rate.average"])]
    assert [cost // 2, 8 * (cost // 2) >> 10, 0] == [*unpack_from("<QQQ", packed, compiled["sxdp_rate.peak"])]
    assert (1000, 2000, 7) == Rate.words_in(packed)


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
    at = {member: compiled[f"sxdp_port.{member}"] for member in abi.LAYOUTS["sxdp_port"]}
    assert value[at["ifindex"] :][:4] == b"\x11" * 4
    assert value[at["generation"] :][:4] == b"\x22" * 4
    assert value[at["mac"] :][:8] == bytes([1, 2, 3, 4, 5, 6, 0, 0])
    assert value[at["flags"] :][:4] == bytes([0x23, 0, 0, 0])
    assert value[at["vlan"] :][:2] == b"\x44\x44"
    assert value[at["mtu_bytes"] :][:2] == b"\x55\x55"
    assert value[at["pf"] :][:2] == b"\x66\x00"
    assert value[at["ref"] :][:4] == abi.ref(0x111, 0x22222222).to_bytes(4, "little")


def test_no_entry_of_the_forwarding_database_leads_to_an_uplink() -> None:
    uplink = abi.PortValue(ifindex=7, generation=1, mac=bytes(6), flags=abi.PortFlag.UPLINK, vlan=0, mtu_bytes=1500, pf=0)
    at = abi.offset_bytes("sxdp_port", "ref")
    assert bytes(4) == uplink.pack()[at : at + 4]


def test_fdb_key_is_built_the_same_way(compiled: dict[str, int]) -> None:
    assert compiled["fdb_key"] == abi.fdb_key(3, 100, bytes([1, 2, 3, 4, 5, 6]))


def test_an_entry_of_the_forwarding_database_is_made_the_same_way(compiled: dict[str, int]) -> None:
    scattered = fdb.scatter(compiled["fdb_key"])
    ref = abi.ref(77, 5)
    assert compiled["ref"] == ref
    assert compiled["slot"] == abi.slot_at(ref)
    assert compiled["bucket"] == fdb.bucket(scattered)
    assert compiled["word"] == fdb.word(scattered, 77)
    assert compiled["fdb_key"] == fdb.key_of(compiled["bucket"], compiled["word"])
    assert (compiled["match"], compiled["mismatch"]) == (77, 0)


def test_a_guard_puts_each_limit_at_its_offset(compiled: dict[str, int]) -> None:
    packed = Guard(broadcast_pps=10_000, multicast_pps=100_000).pack()
    assert packed[compiled["sxdp_guard.broadcast"] :][:16] == (100_000).to_bytes(8, "little") + bytes(8)
    assert packed[compiled["sxdp_guard.multicast"] :][:16] == (10_000).to_bytes(8, "little") + bytes(8)
    assert (100_000, 10_000) == Guard.intervals_in(packed)


@pytest.mark.parametrize(("pps", "interval_ns"), [(0, 0), (1, 10**9), (3, 333_333_334), (7, 142_857_143), (10_000_000, 100)])
def test_a_limit_is_never_exceeded_by_what_is_rounded(pps: int, interval_ns: int) -> None:
    assert (interval_ns, interval_ns) == Guard.intervals_in(Guard(broadcast_pps=pps, multicast_pps=pps).pack())


def test_a_return_is_read_from_its_offsets(compiled: dict[str, int]) -> None:
    wanted = ProbeReturn(nonce=0x1111111111111111, time_ns=0x2222222222222222, sender=0x33, vlan=0x44)
    packed = bytearray(abi.RETURN_LAYOUT.size)
    for member, size in (("nonce", 8), ("time_ns", 8), ("sender", 4), ("vlan", 4)):
        at = compiled[f"sxdp_return.{member}"]
        packed[at : at + size] = getattr(wanted, member).to_bytes(size, "little")
    assert wanted == ProbeReturn.unpack(bytes(packed))


def test_counters_are_read_from_their_offsets(compiled: dict[str, int]) -> None:
    members = [member for member in abi.LAYOUTS["sxdp_counters"] if member != "verdict"]
    packed = bytearray(abi.COUNTERS_LAYOUT.size)
    for number, member in enumerate(members, start=1):
        at = compiled[f"sxdp_counters.{member}"]
        packed[at : at + 8] = number.to_bytes(8, "little")
    verdict = compiled["sxdp_counters.verdict"] + 8 * compiled["SXDP_STORM"]
    packed[verdict : verdict + 8] = (99).to_bytes(8, "little")
    found = abi.Counters.sum_of([bytes(packed)])
    assert {member: number for number, member in enumerate(members, start=1)} == {
        member: getattr(found, member) for member in members
    }
    assert {abi.Verdict.STORM: 99} == {verdict: count for verdict, count in enumerate(found.verdicts) if count}


def test_a_probe_is_recognised_by_the_same_words(compiled: dict[str, int]) -> None:
    sent = probes.probe(77, 100, 0x0102030405060708)
    payload = sent[14:]
    assert (compiled["probe_group"], compiled["probe_type"]) == (abi.mac_word(abi.PROBE_GROUP), abi.PROBE_TYPE)
    assert compiled["probe_station"] == abi.mac_word(abi.PROBE_STATION)
    assert compiled["probe_magic"] == abi.PROBE_MAGIC
    words = {"magic": (abi.PROBE_MAGIC, 8), "nonce": (0x0102030405060708, 8), "sender": (77, 4), "vlan": (100, 4)}
    found = {name: payload[compiled[f"sxdp_probe.{name}"] :][:size] for name, (_value, size) in words.items()}
    assert {name: value.to_bytes(size, "little") for name, (value, size) in words.items()} == found


def test_what_tells_of_group_frames_is_at_its_place_in_the_counters(compiled: dict[str, int]) -> None:
    storm = compiled["sxdp_counters.verdict"] + 8 * compiled["SXDP_STORM"]
    wanted = {storm, compiled["sxdp_counters.ingress_multicast"], compiled["sxdp_counters.ingress_broadcast"]}
    assert wanted == {8 * word for word in tables.GROUP_WORDS}


def test_the_list_of_maps_is_read_whole() -> None:
    lines = re.findall(r"^\tMAP\(", (source_dir() / "abi" / "maps.h").read_text(), re.MULTILINE)
    assert len(lines) == len(all_maps())
    assert {"ports", "fdb", "cpus", "samples"} == {name for name, spec in all_maps().items() if spec.kind.is_memory}
    assert (4, abi.CPU_BYTES) == all_maps()["cpus"].shape[:2]
    assert {"xdp_stages", "tc_stages"} == {name for name, spec in all_maps().items() if spec.kind is MapKind.STAGES}
