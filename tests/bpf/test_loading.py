"""The verifier takes every program, and the parser reads no byte that is not there."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import Switch

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import AttachType
from sriov_xdp.datapath.pins import LINKS
from sriov_xdp.datapath.programs import SINGLE_PROGRAMS, UPLINK_PROGRAMS, copy_of
from sriov_xdp.datapath.sources import source_dir
from sriov_xdp.host.links import Links
from sriov_xdp.pf.hands.hooks import Hooks

PROGRAMS = [spec.name for spec in SINGLE_PROGRAMS]
COPIES = [copy_of(spec, pf) for spec in UPLINK_PROGRAMS for pf in (0, 7)]

# Puts argv[2] bytes, of which the type at offset 12 is argv[1], right before a page that may not be read.
CUT_FRAME = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "rules/frame.h"

int main(int count, char **words)
{
    unsigned char frame[64] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };
    unsigned type = strtoul(words[1], 0, 16), length = atoi(words[2]);
    unsigned char *end = (unsigned char *)mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
    struct sxdp_frame parsed;

    frame[12] = type >> 8;
    frame[13] = type;
    memcpy(end - length, frame, length);
    mprotect(end, 4096, PROT_NONE);
    int refused = frame_parse(&parsed, end - length, end);

    if (!refused && frame_is_tag(parsed.type))
        refused = frame_parse_tag(&parsed, end - length, end);
    return printf("%d", refused) < 0;
}
"""


def test_the_verifier_takes_every_program(switch: Switch) -> None:
    ids = {libbpf.program_id(switch.pins.program_fd(name)) for name in (*PROGRAMS, *COPIES)}
    assert len(PROGRAMS) + len(COPIES) == len(ids)
    pinned = {path.name for path in (switch.pins.build / "progs").iterdir()}
    assert {*PROGRAMS, *COPIES} <= pinned


@pytest.mark.parametrize("name", [*PROGRAMS, *COPIES])
def test_a_program_is_far_from_what_the_verifier_gives_up_at(switch: Switch, name: str) -> None:
    """At a million instructions; older kernels look at more of the same program. It is also what a start waits for."""
    most = 500_000 if name == "xdp_flood" else 250_000  # a thousand receivers, one by one
    assert libbpf.verified_instructions(switch.pins.program_fd(name)) in range(1, most)


def test_an_uplink_that_nobody_took_has_no_program(switch: Switch) -> None:
    """They are made when the uplink is taken, without the compiler."""
    unused = [switch.pins.build / "progs" / copy_of(spec, 11) for spec in UPLINK_PROGRAMS]
    assert [] == [path for path in unused if path.exists()]
    for path in unused:
        switch.pins.program_fd(path.name)
    assert unused == [path for path in unused if path.exists()]


def test_the_pins_of_a_build_are_opened_again_without_the_compiler(switch: Switch) -> None:
    again = type(switch.pins)(switch.pins.root)
    is_compiled = again.load()
    same = {libbpf.program_id(pins.program_fd("xdp_vf")) for pins in (again, switch.pins)}
    again.close()
    assert not is_compiled
    assert len(same) == 1


@pytest.fixture
def pair() -> Iterator[int]:
    """The number of a veth without an owner."""
    name = f"ln{os.getpid() % 100000}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    yield socket.if_nametoindex(name)
    subprocess.run(["ip", "link", "del", name], check=True)


def test_a_program_is_off_its_device_when_its_link_is_removed(switch: Switch, pair: int) -> None:
    """Although somebody has the link open still, as the kernel itself does for a while: whoever raises the MTU for which XDP had to
    go, or comes with the next program, counts on it. Kernels before 6.6 have no tcx links."""
    has_tcx = switch.pins.supports_tcx()
    links, hooks = Links(), Hooks(switch.pins, "of a test", has_tcx=has_tcx)
    hooks.attach_xdp("test", "xdp_vf", pair)
    if has_tcx:
        hooks.settle("test", "tc_vf", pair, is_ours=True)
    with contextlib.ExitStack() as open_links:
        for name in ["test_xdp", *(["test_tc"] if has_tcx else [])]:
            open_links.enter_context(libbpf.opened_pin(switch.pins.root / LINKS / name))
        before, programs = links.find(pair), libbpf.attached_programs_if_any(pair, AttachType.TCX_INGRESS)
        hooks.forget("test")
        after = links.find(pair)
        assert before
        assert after
        assert (True, int(has_tcx)) == (bool(before.xdp_program_id), len(programs))
        assert (0, []) == (after.xdp_program_id, libbpf.attached_programs_if_any(pair, AttachType.TCX_INGRESS))
    links.close()


# The same with a probe, behind a tag when argv[1] is 1, of which argv[2] bytes are there.
CUT_PROBE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "rules/frame.h"

int main(int count, char **words)
{
    unsigned tag_bytes = atoi(words[1]) ? SXDP_TAG_BYTES : 0, length = atoi(words[2]);
    unsigned char *end = (unsigned char *)mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
    unsigned char bytes[64] = {};
    struct sxdp_probe probe = { .magic = SXDP_PROBE_MAGIC };
    struct sxdp_frame frame = { .tag_bytes = tag_bytes };

    memcpy(bytes + SXDP_ETH_HEADER_BYTES + tag_bytes, &probe, sizeof(probe));
    memcpy(end - length, bytes, length);
    mprotect(end, 4096, PROT_NONE);
    return printf("%d", frame_parse_probe(&probe, &frame, end - length, end)) < 0;
}
"""


@pytest.fixture(scope="module")
def probe_parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    (folder / "cut.c").write_text(CUT_PROBE)
    subprocess.run(["clang", "-O0", "-I", str(source_dir()), "-o", str(folder / "cut"), str(folder / "cut.c")], check=True)
    return folder / "cut"


@pytest.mark.parametrize(("is_tagged", "needed_bytes"), [(0, 38), (1, 42)])
@pytest.mark.parametrize("length_bytes", range(14, 44))
def test_a_probe_that_is_cut_off_is_none_and_nothing_behind_it_is_read(
    probe_parser: Path, length_bytes: int, is_tagged: int, needed_bytes: int
) -> None:
    done = subprocess.run([probe_parser, str(is_tagged), str(length_bytes)], capture_output=True, text=True, check=True)
    assert ("0" if length_bytes >= needed_bytes else "-1") == done.stdout


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parser")
    (folder / "cut.c").write_text(CUT_FRAME)
    subprocess.run(["clang", "-O0", "-I", str(source_dir()), "-o", str(folder / "cut"), str(folder / "cut.c")], check=True)
    return folder / "cut"


@pytest.mark.parametrize(("ether_type", "needed_bytes"), [(0x0800, 14), (0x8100, 18), (0x88A8, 18), (0x9100, 18)])
@pytest.mark.parametrize("length_bytes", range(21))
def test_g17_the_parser_refuses_what_is_cut_off_and_reads_nothing_behind_it(
    parser: Path, length_bytes: int, ether_type: int, needed_bytes: int
) -> None:
    """Also below 14 bytes, where the kernel runs no program."""
    done = subprocess.run([parser, f"{ether_type:x}", str(length_bytes)], capture_output=True, text=True, check=True)
    assert ("0" if length_bytes >= needed_bytes else "-1") == done.stdout
