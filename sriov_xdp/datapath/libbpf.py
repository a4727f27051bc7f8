"""libbpf through ctypes: the calls that bcc's Python binding lacks (links, load flags, pins, batches, test runs).

Thin: one function a call, errno turned into DataPathError. Knows nothing of this product's maps or programs. bcc itself is
not needed here, so the daemon carries no compiler. For the datapath package only.
"""

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

from sriov_xdp.datapath import libbpf_layouts as layouts
from sriov_xdp.datapath.errors import DataPathError

BPF_F_XDP_HAS_FRAGS = 1 << 5
BPF_F_MMAPABLE = 1 << 10
BPF_ANY = 0
XDP_FLAGS_DRV_MODE = 1 << 2
BTF_KIND_STRUCT = 4
_POSSIBLE_CPUS = Path("/sys/devices/system/cpu/possible")
VERIFIER_LOG_BYTES = 1 << 20
_MOST_PROGRAMS = 64  # of one hook: BPF_MPROG_MAX


class ProgramType(IntEnum):
    """enum bpf_prog_type, those in use."""

    SCHED_CLS = 3
    XDP = 6
    RAW_TRACEPOINT = 17


class MapType(IntEnum):
    """enum bpf_map_type, those that are made here."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    HASH_OF_MAPS = 13
    DEVMAP = 14


class AttachType(IntEnum):
    """enum bpf_attach_type, those in use. NONE: the program type needs none."""

    NONE = 0
    XDP = 37
    TCX_INGRESS = 46


@dataclass(frozen=True, slots=True, kw_only=True)
class MapInfo:
    """What the kernel says of a map."""

    type: int
    key_bytes: int
    value_bytes: int
    max_entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkInfo:
    """What the kernel says of a link; ifindex 0: the device is gone (or the link is none of a device)."""

    program_id: int
    ifindex: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRun:
    """Result of one BPF_PROG_TEST_RUN."""

    action: int
    frame: bytes
    duration_ns: int


_lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
_lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
_lib.btf__type_by_id.restype = ctypes.c_void_p
_lib.btf__type_by_id.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
_lib.btf__find_by_name_kind.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
_lib.btf__name_by_offset.restype = ctypes.c_char_p
_lib.btf__name_by_offset.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
_lib.btf__free.argtypes = [ctypes.c_void_p]
_lib.libbpf_set_print(None)


def _checked(result: int, what: str) -> int:
    if result >= 0:
        return result
    number = ctypes.get_errno() or -result
    raise DataPathError(f"{what}: {os.strerror(number)} (errno {number})") from OSError(number, os.strerror(number))


def error_number(error: DataPathError) -> int | None:
    """The kernel's errno behind an error of this module."""
    cause = error.__cause__
    return cause.errno if isinstance(cause, OSError) else None


def load_program(kind: ProgramType, name: str, code: bytes, *, attach: AttachType, flags: int = 0) -> int:
    """Loads bytecode whose map references are fds of this process; returns a program fd. The verifier's last words are
    in the error."""
    options = layouts.LoadOptions(sz=ctypes.sizeof(layouts.LoadOptions), expected_attach_type=attach, prog_flags=flags)
    result = _lib.bpf_prog_load(kind, name.encode()[:15], b"GPL", code, len(code) // 8, ctypes.byref(options))
    if result >= 0:
        return int(result)
    log = ctypes.create_string_buffer(VERIFIER_LOG_BYTES)
    options.log_level, options.log_size, options.log_buf = 1, len(log), ctypes.cast(log, ctypes.c_char_p)
    result = _lib.bpf_prog_load(kind, name.encode()[:15], b"GPL", code, len(code) // 8, ctypes.byref(options))
    tail = log.value.decode(errors="replace").strip().splitlines()[-4:]
    return _checked(result, f"program {name}: the kernel refused it: {' | '.join(tail)}")


def pin(fd: int, path: Path) -> None:
    """Pins an object in bpffs."""
    _checked(_lib.bpf_obj_pin(fd, os.fsencode(path)), f"pin {path}")


def open_pin(path: Path) -> int:
    """Opens a pinned object."""
    return _checked(_lib.bpf_obj_get(os.fsencode(path)), f"open pin {path}")


@contextmanager
def opened_pin(path: Path) -> Iterator[int]:
    """The same, closed at the end."""
    fd = open_pin(path)
    try:
        yield fd
    finally:
        os.close(fd)


def create_map(
    kind: MapType, name: str, key_bytes: int, value_bytes: int, entries: int, *, flags: int = 0, inner_map: int = 0
) -> int:
    """A map outside of any program's file; returns its fd. inner_map: of a map of maps, one like those that it will hold."""
    options = layouts.MapOptions(sz=ctypes.sizeof(layouts.MapOptions), map_flags=flags, inner_map_fd=inner_map)
    result = _lib.bpf_map_create(kind, name.encode()[:15], key_bytes, value_bytes, entries, ctypes.byref(options))
    return _checked(result, f"map {name}: create")


def map_info(fd: int) -> MapInfo:
    """Shape of an open map."""
    info = layouts.MapInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _checked(_lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), "map info")
    return MapInfo(type=info.type, key_bytes=info.key_size, value_bytes=info.value_size, max_entries=info.max_entries)


def open_map(map_id: int) -> int:
    """A descriptor of a map that is known by its id, as the values of a map of maps are."""
    return _checked(_lib.bpf_map_get_fd_by_id(ctypes.c_uint32(map_id)), f"map {map_id}: open")


@cache
def possible_cpus() -> int:
    """CPUs that this kernel may ever have online; what is kept for each CPU exists so often."""
    ranges = [part.split("-") for part in _POSSIBLE_CPUS.read_text().strip().split(",")]
    return max(int(bounds[-1]) for bounds in ranges) + 1


def _program_info(fd: int) -> layouts.ProgInfo:
    info = layouts.ProgInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _checked(_lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), "program info")
    return info


def program_id(fd: int) -> int:
    """The kernel's id of an open program."""
    return int(_program_info(fd).id)


def verified_instructions(fd: int) -> int:
    """How many instructions the verifier looked at, over all ways through an open program. It gives up at a million."""
    return int(_program_info(fd).verified_insns)


def program_name(number: int) -> str | None:
    """The name with which a program was loaded (15 bytes of it), by its id; None when it is gone."""
    fd = _lib.bpf_prog_get_fd_by_id(ctypes.c_uint32(number))
    if fd < 0:
        return None
    try:
        return bytes(_program_info(fd).name).decode(errors="replace")
    finally:
        os.close(fd)


def attached_programs_if_any(ifindex: int, attach: AttachType) -> list[int]:
    """Ids of the programs on a device's tcx hook, whoever attached them; none where the kernel has no such hook, or the device
    is gone. Raises DataPathError."""
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    options = layouts.QueryOptions(sz=ctypes.sizeof(layouts.QueryOptions), prog_ids=ctypes.addressof(ids), prog_cnt=_MOST_PROGRAMS)
    result = _lib.bpf_prog_query_opts(ifindex, attach, ctypes.byref(options))
    if result < 0 and ctypes.get_errno() in (errno.EINVAL, errno.ENODEV, errno.ENOENT):
        return []
    _checked(result, f"programs on ifindex {ifindex}")
    return list(ids[: options.prog_cnt])


def link_info(fd: int) -> LinkInfo:
    """What an open link does."""
    info = layouts.LinkInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _checked(_lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), "link info")
    return LinkInfo(program_id=info.prog_id, ifindex=info.ifindex)


def create_link(program: int, ifindex: int, attach: AttachType, *, flags: int = 0) -> int:
    """Attaches a program to a device by a bpf_link; returns its fd."""
    options = layouts.LinkOptions(sz=ctypes.sizeof(layouts.LinkOptions), flags=flags)
    return _checked(_lib.bpf_link_create(program, ifindex, attach, ctypes.byref(options)), f"attach to ifindex {ifindex}")


def open_raw_tracepoint(program: int, name: str) -> int:
    """Attaches a raw tracepoint program; returns a link fd."""
    return _checked(_lib.bpf_raw_tracepoint_open(name.encode(), program), f"tracepoint {name}")


def find_link(ifindex: int, program: int) -> int | None:
    """An open link that runs a program (its id) on a device, whoever has it: as where its pin is gone and somebody else holds it
    still. None where there is none."""
    number = ctypes.c_uint32(0)
    while _lib.bpf_link_get_next_id(number.value, ctypes.byref(number)) == 0:
        fd = _lib.bpf_link_get_fd_by_id(number.value)
        if fd < 0:
            continue  # gone meanwhile
        info = link_info(fd)
        if (info.ifindex, info.program_id) == (ifindex, program):
            return int(fd)
        os.close(fd)
    return None


def xdp_program_if_any(ifindex: int) -> int:
    """The id of the XDP program on a device, 0 for none, or where the device is gone."""
    found = ctypes.c_uint32(0)
    return found.value if _lib.bpf_xdp_query_id(ifindex, 0, ctypes.byref(found)) == 0 else 0


def detach_link(fd: int) -> None:
    """Takes the program of a link off its device, now; without it the kernel does so some time after the last reference ended
    (bpf_link_put()). Raises DataPathError."""
    _checked(_lib.bpf_link_detach(fd), "detach a link")


def update_link(link: int, program: int) -> None:
    """Replaces the program of a link atomically."""
    _checked(_lib.bpf_link_update(link, program, None), "link update")


def update_element(fd: int, key: bytes, value: bytes) -> None:
    """Writes one map element."""
    _checked(_lib.bpf_map_update_elem(fd, key, value, ctypes.c_uint64(BPF_ANY)), "map update")


def map_memory(fd: int, size_bytes: int) -> mmap.mmap:
    """The values of an array map made with BPF_F_MMAPABLE, as memory that programs read at the same time."""
    try:
        return mmap.mmap(fd, size_bytes)
    except OSError as error:
        raise DataPathError(f"map memory: {error.strerror} (errno {error.errno})") from error


def lookup_element(fd: int, key: bytes, value_bytes: int) -> bytes | None:
    """Reads one map element; None when absent."""
    value = ctypes.create_string_buffer(value_bytes)
    if _lib.bpf_map_lookup_elem(fd, key, value) < 0:
        return None
    return value.raw


def delete_element(fd: int, key: bytes) -> bool:
    """Deletes one map element; False when there was none."""
    return int(_lib.bpf_map_delete_elem(fd, key)) >= 0


def iterate_keys(fd: int, key_bytes: int) -> Iterator[bytes]:
    """All keys. Elements must not be deleted meanwhile: collect first."""
    following = ctypes.create_string_buffer(key_bytes)
    current: bytes | None = None
    while _lib.bpf_map_get_next_key(fd, current, following) >= 0:
        current = following.raw
        yield current


def run_program(program: int, frame: bytes, context: bytes, *, repeat: int = 1, flags: int = 0) -> ProgramRun:
    """Runs a program on one frame (BPF_PROG_TEST_RUN). With repeat, duration_ns is the mean of a run."""
    out = ctypes.create_string_buffer(max(len(frame) + 256, 4096))
    data = ctypes.create_string_buffer(frame, len(frame))
    ctx = ctypes.create_string_buffer(context, len(context))
    options = layouts.TestRunOptions(sz=ctypes.sizeof(layouts.TestRunOptions), repeat=repeat, flags=flags)
    options.data_in, options.data_size_in = ctypes.addressof(data), len(frame)
    if not flags:
        options.data_out, options.data_size_out = ctypes.addressof(out), len(out)
    options.ctx_in, options.ctx_size_in = ctypes.addressof(ctx), len(context)
    _checked(_lib.bpf_prog_test_run_opts(program, ctypes.byref(options)), "BPF_PROG_TEST_RUN")
    return ProgramRun(action=options.retval, frame=out.raw[: options.data_size_out], duration_ns=options.duration)


def member_offset_bytes(struct_name: str, member: str) -> int:
    """Offset of a direct member of a kernel struct, from /sys/kernel/btf/vmlinux."""
    btf = _lib.btf__load_vmlinux_btf()
    if not btf:
        raise DataPathError("kernel BTF: /sys/kernel/btf/vmlinux cannot be read; use a kernel with CONFIG_DEBUG_INFO_BTF=y")
    try:
        number = _checked(_lib.btf__find_by_name_kind(btf, struct_name.encode(), BTF_KIND_STRUCT), f"BTF of struct {struct_name}")
        at = _lib.btf__type_by_id(btf, number)
        _name, info, _size = (ctypes.c_uint32 * 3).from_address(at)
        for index in range(info & 0xFFFF):
            name, _type, offset = (ctypes.c_uint32 * 3).from_address(at + 12 + 12 * index)
            if _lib.btf__name_by_offset(btf, name) == member.encode():
                return (offset & 0xFFFFFF if info >> 31 else offset) // 8
    finally:
        _lib.btf__free(btf)
    raise DataPathError(f"kernel BTF: struct {struct_name} has no member {member}")
