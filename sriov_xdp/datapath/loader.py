"""The loader: a short-lived process that compiles bpf/ with bcc, loads the programs through libbpf and pins them.

    python -m sriov_xdp.datapath.loader DIRECTORY

Fills DIRECTORY (in bpffs) with maps/ and progs/ in one step: everything is pinned in a sibling folder first, which is then
renamed. Nobody imports this module; the daemon starts it, so that LLVM never lives in the daemon.
"""

import os
import struct
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.abi import MAX_PFS
from sriov_xdp.datapath.errors import CompileError, DataPathError
from sriov_xdp.datapath.floods import create_receivers
from sriov_xdp.datapath.libbpf import AttachType, MapType, ProgramType
from sriov_xdp.datapath.pins import MAP_SHAPES, remove_tree
from sriov_xdp.datapath.sources import source_dir

BCC_MAPS = ("fdb_overflow", "trunks", "guards", "loops", "members", "devices", "tc_stages", "xdp_stages")
UPLINK_SLOT_MARK = 0x5D8B5D8B5D8B0000
IFINDEX_OFFSET_MARK = 0x5D8B5D8B5D8B0001
# Maps that bcc cannot make: it has no flag for mapped memory in reach, and takes seconds to compile a large value.
MAP_VALUE_MARKS = {"ports": 0x5D8B5D8B5D8B0002, "fdb": 0x5D8B5D8B5D8B0003}
MAP_MARKS = {"counters": 0x5D8B5D8B5D8B0004, "floods": 0x5D8B5D8B5D8B0005}
MAPPED = (*MAP_VALUE_MARKS, "counters")
_LOAD_IMM64 = 0x18
_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    type: ProgramType
    attach: AttachType
    flags: int = 0


# Every XDP program accepts multi-buffer frames: one devmap serves them all, and the kernel wants them alike.
_XDP = _Kind(type=ProgramType.XDP, attach=AttachType.XDP, flags=libbpf.BPF_F_XDP_HAS_FRAGS)
_TC = _Kind(type=ProgramType.SCHED_CLS, attach=AttachType.NONE)
_RAW = _Kind(type=ProgramType.RAW_TRACEPOINT, attach=AttachType.NONE)
SINGLE_PROGRAMS = {
    "xdp_vf": _XDP,
    "xdp_flood": _XDP,
    "tc_vf": _TC,
    "tc_flood": _TC,
    "on_devmap_xmit": _RAW,
    "on_redirect_error": _RAW,
}
STAGES = {"tc_flood": "tc_stages", "xdp_flood": "xdp_stages"}  # programs that others jump to, and by what
UPLINK_PROGRAMS = {"xdp_uplink": _XDP, "tc_uplink": _TC}


def _loads_of(code: bytes, mark: int) -> Iterator[int]:
    """Where the bytecode loads mark as a 64-bit immediate, which takes two instructions."""
    for at in range(0, len(code) - 8, 8):
        low, high = struct.unpack_from("<I", code, at + 4)[0], struct.unpack_from("<I", code, at + 12)[0]
        if code[at] == _LOAD_IMM64 and (high << 32 | low) == mark:
            yield at


def with_constant(code: bytes, mark: int, value: int) -> bytes:
    """The bytecode with each 64-bit immediate load of mark made a load of value."""
    patched = bytearray(code)
    for at in _loads_of(code, mark):
        struct.pack_into("<I", patched, at + 4, value & 0xFFFFFFFF)
        struct.pack_into("<I", patched, at + 12, value >> 32)
    return bytes(patched)


def with_map(code: bytes, mark: int, map_fd: int) -> bytes:
    """The bytecode with each 64-bit immediate load of mark made a load of a map (BPF_PSEUDO_MAP_FD)."""
    return _with_map_reference(code, mark, map_fd, _PSEUDO_MAP_FD)


def with_map_value(code: bytes, mark: int, map_fd: int) -> bytes:
    """The bytecode with each 64-bit immediate load of mark made a load of the address of an array map's one value
    (BPF_PSEUDO_MAP_VALUE, Linux 5.2), which bcc cannot say in C."""
    return _with_map_reference(code, mark, map_fd, _PSEUDO_MAP_VALUE)


def _with_map_reference(code: bytes, mark: int, map_fd: int, kind: int) -> bytes:
    patched = bytearray(code)
    for at in _loads_of(code, mark):
        patched[at + 1] = patched[at + 1] & 0x0F | kind << 4
        struct.pack_into("<I", patched, at + 4, map_fd)
        struct.pack_into("<I", patched, at + 12, 0)
    return bytes(patched)


def _compile() -> Any:
    os.environ["BCC_KERNEL_SOURCE"] = str(source_dir() / "kernel")
    try:
        from bcc import BPF  # the only place that needs the compiler
    except ImportError as error:
        raise CompileError("bcc: the Python binding is missing; install the Debian package python3-bpfcc") from error
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    flags = [f"-I{source_dir()}", "-I/usr/include", f"-I/usr/include/{multiarch}", "-Wno-macro-redefined"]
    try:
        return BPF(src_file=str(source_dir() / "vswitch.c"), cflags=flags)
    except Exception as error:  # bcc raises bare Exceptions
        raise CompileError(f"bpf/vswitch.c: bcc could not compile it: {error}") from error


def _create_maps() -> dict[str, int]:
    """The maps that are memory of user space too, and the map of devmaps; their descriptors."""
    made = {}
    for name in MAPPED:
        made[name] = libbpf.create_map(MapType.ARRAY, name, *MAP_SHAPES[name], flags=libbpf.BPF_F_MMAPABLE)
    like = create_receivers(1)
    made["floods"] = libbpf.create_map(MapType.HASH_OF_MAPS, "floods", *MAP_SHAPES["floods"], inner_map=like)
    os.close(like)
    return made


def _bytecode(module: Any, name: str, maps: dict[str, int]) -> bytes:
    code: bytes = module.dump_func(name.encode())
    for map_name, mark in MAP_VALUE_MARKS.items():
        code = with_map_value(code, mark, maps[map_name])
    for map_name, mark in MAP_MARKS.items():
        code = with_map(code, mark, maps[map_name])
    return code


def _load(name: str, kind: _Kind, code: bytes, folder: Path) -> int:
    fd = libbpf.load_program(kind.type, name, code, attach=kind.attach, flags=kind.flags)
    libbpf.pin(fd, folder / name)
    return fd


def load(directory: Path) -> None:
    """Compiles, loads and pins everything under directory. Raises DataPathError; leaves nothing half done."""
    module = _compile()
    staging = directory.with_name(directory.name + "_new")
    remove_tree(staging)
    (staging / "maps").mkdir(parents=True, mode=0o700)
    (staging / "progs").mkdir(mode=0o700)
    maps = _create_maps()
    for name, fd in {**maps, **{name: module[name].map_fd for name in BCC_MAPS}}.items():
        libbpf.pin(fd, staging / "maps" / name)
    offset = libbpf.member_offset_bytes("net_device", "ifindex")
    for name, kind in SINGLE_PROGRAMS.items():
        code = with_constant(_bytecode(module, name, maps), IFINDEX_OFFSET_MARK, offset)
        fd = _load(name, kind, code, staging / "progs")
        if name in STAGES:
            libbpf.update_element(module[STAGES[name]].map_fd, struct.pack("<I", 0), struct.pack("<I", fd))
    for name, kind in UPLINK_PROGRAMS.items():
        code = _bytecode(module, name, maps)
        for pf in range(MAX_PFS):
            _load(f"{name}_{pf}", kind, with_constant(code, UPLINK_SLOT_MARK, pf), staging / "progs")
    staging.rename(directory)


def main() -> int:
    """Entry point of the loader process."""
    try:
        load(Path(sys.argv[1]))
    except DataPathError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
