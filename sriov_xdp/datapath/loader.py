"""The loader: a short-lived process that compiles bpf/ with bcc, makes the maps, loads the programs through libbpf and pins both.

    python -m sriov_xdp.datapath.loader DIRECTORY PARENT [CACHE]
    python -m sriov_xdp.datapath.loader --compile CACHE

Fills DIRECTORY (in bpffs) with maps/ and progs/ in one step: everything is pinned in a sibling folder first, which is then
renamed. What was compiled before is taken from CACHE (compiled.py), and kept there. PARENT is the process that waits. The
second form only compiles, for hosts on which that takes long. Nobody imports this module; the daemon starts it, so that LLVM
never lives in the daemon.
"""

import contextlib
import ctypes
import os
import signal
import struct
import sys
import sysconfig
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sriov_xdp.datapath import compiled, libbpf, uplink_programs
from sriov_xdp.datapath.bytecode import IFINDEX_OFFSET_MARK, Reference, map_reference, mark_of, marks_in, patched
from sriov_xdp.datapath.errors import CompileError, DataPathError
from sriov_xdp.datapath.floods import create_receivers
from sriov_xdp.datapath.maps import MapKind, MapSpec, all_maps
from sriov_xdp.datapath.pins import remove_tree
from sriov_xdp.datapath.programs import FILES, SINGLE_PROGRAMS, UPLINK_PROGRAMS, ProgramSpec
from sriov_xdp.datapath.sources import source_dir

_PR_SET_PDEATHSIG = 1  # uapi/linux/prctl.h


def _end_with(parent: int) -> None:
    """This process ends with its parent, also when that is gone already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _compile(file: str) -> Any:
    os.environ["BCC_KERNEL_SOURCE"] = str(source_dir() / "kernel")
    try:
        from bcc import BPF  # the only place that needs the compiler
    except ImportError as error:
        raise CompileError("bcc: the Python binding is missing; install the Debian package python3-bpfcc") from error
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    flags = [f"-I{source_dir()}", "-I/usr/include", f"-I/usr/include/{multiarch}", "-Wno-macro-redefined"]
    try:
        return BPF(src_file=str(source_dir() / file), cflags=flags)
    except Exception as error:  # bcc raises bare Exceptions
        raise CompileError(f"bpf/{file}: bcc could not compile it: {error}") from error


def _bytecode_of(file: str) -> dict[str, bytes]:
    """Of a file's programs, by name."""
    module = _compile(file)
    return {spec.name: module.dump_func(spec.name.encode()) for spec in (*SINGLE_PROGRAMS, *UPLINK_PROGRAMS) if spec.file == file}


def _bytecode() -> dict[str, bytes]:
    """Of every program, by name, with its marks. Each file is compiled in a process of its own, as LLVM uses one CPU for each.
    Raises CompileError, also for a map that none of them uses."""
    workers = ProcessPoolExecutor(len(FILES), get_context("fork"), _end_with, (os.getpid(),))
    try:
        with workers:
            codes = {name: code for of_file in workers.map(_bytecode_of, FILES) for name, code in of_file.items()}
    except BrokenExecutor as error:
        raise CompileError(f"bpf/: the compiler was ended from outside ({error}); is there memory left?") from error
    used = set().union(*map(marks_in, codes.values()))
    unused = [name for name, spec in all_maps().items() if mark_of(spec) not in used]
    if unused:
        raise CompileError(f"bpf/abi/maps.h: no program uses {', '.join(unused)}")
    return codes


def _create(spec: MapSpec) -> int:
    flags = libbpf.BPF_F_MMAPABLE if spec.kind.is_memory else 0
    if spec.kind is not MapKind.DEVMAPS:
        return libbpf.create_map(spec.kind.type, spec.name, *spec.shape, flags=flags)
    like = create_receivers(1)
    try:
        return libbpf.create_map(spec.kind.type, spec.name, *spec.shape, inner_map=like)
    finally:
        os.close(like)


def _load(spec: ProgramSpec, code: bytes, maps: dict[str, int], folder: Path) -> None:
    fd = libbpf.load_program(spec.kind.type, spec.name, code, attach=spec.kind.attach, flags=spec.kind.flags)
    libbpf.pin(fd, folder / spec.name)
    if spec.stages:
        libbpf.update_element(maps[spec.stages], struct.pack("<I", spec.stage), struct.pack("<I", fd))


def _compile_all(kept: Path | None) -> dict[str, bytes]:
    """As _bytecode(), and keeps it."""
    codes = _bytecode()
    if kept:
        compiled.store(kept, codes)
    return codes


def load(directory: Path, kept: Path | None = None) -> None:
    """Loads and pins everything under directory. kept: the file of what was compiled, or is to be; what does not load is compiled
    anew. Raises DataPathError; leaves nothing half done."""
    codes = compiled.find(kept) if kept else None
    if codes is not None:
        with contextlib.suppress(DataPathError, LookupError, ValueError, struct.error):
            _load_all(directory, codes)
            return
    _load_all(directory, _compile_all(kept))


def _load_all(directory: Path, codes: dict[str, bytes]) -> None:
    staging = directory.with_name(directory.name + "_new")
    remove_tree(staging)
    (staging / "maps").mkdir(parents=True, mode=0o700)
    (staging / "progs").mkdir(mode=0o700)
    try:
        _pin_all(staging, codes)
        staging.rename(directory)
    except BaseException:
        remove_tree(staging)
        raise


def _pin_all(staging: Path, codes: dict[str, bytes]) -> None:
    maps = {name: _create(spec) for name, spec in all_maps().items()}
    for name, fd in maps.items():
        libbpf.pin(fd, staging / "maps" / name)
    references = {mark_of(spec): map_reference(spec, maps[name]) for name, spec in all_maps().items()}
    references[IFINDEX_OFFSET_MARK] = Reference(libbpf.member_offset_bytes("net_device", "ifindex"))

    def load_single(spec: ProgramSpec) -> None:
        _load(spec, patched(spec.name, codes[spec.name], references), maps, staging / "progs")

    with ThreadPoolExecutor() as verifiers:  # the kernel looks at a program on the CPU of who loads it
        list(verifiers.map(load_single, SINGLE_PROGRAMS))
    uplink_programs.store(codes, staging / "maps")


def main() -> int:
    """Entry point of the loader process, which ends with the daemon: nobody else's pins shall appear when that is gone."""
    if sys.argv[1] == "--compile":
        kept = compiled.file_of_build(Path(sys.argv[2]))
        if compiled.find(kept) is None:
            _compile_all(kept)
        return 0
    directory, parent, *cache = sys.argv[1:]
    _end_with(int(parent))
    try:
        load(Path(directory), compiled.file_of_build(Path(cache[0])) if cache else None)
    except (DataPathError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
