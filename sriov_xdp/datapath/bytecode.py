"""Bytecode with marks, as it is compiled, and what the loader makes of it: maps and numbers in place of the marks.

A mark is a 64-bit immediate (bpf/switch/handles.h). One that nothing takes the place of is an error, as is a map that no program
uses. Pure. For the datapath package.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sriov_xdp.datapath.errors import CompileError
from sriov_xdp.datapath.maps import MapKind, MapSpec

MARKS = 0x5D8B5D8B5D8B0000
UPLINK_SLOT_MARK = MARKS | 0x01
IFINDEX_OFFSET_MARK = MARKS | 0x02
_LOAD_IMM64 = 0x18
_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 1, 2  # linux/bpf.h; the second since Linux 5.2, and not to be said in C with bcc
_MARK_BYTE = 0xFF


@dataclass(frozen=True, slots=True)
class Reference:
    """What takes the place of a mark: a number, a map, or the address of a map's one value. kind: of linux/bpf.h."""

    value: int
    kind: int = 0


def map_reference(spec: MapSpec, fd: int) -> Reference:
    """A map as programs know it."""
    return Reference(fd, _PSEUDO_MAP_VALUE if spec.kind is MapKind.VALUE else _PSEUDO_MAP_FD)


def mark_of(spec: MapSpec) -> int:
    """A map's mark."""
    return MARKS | spec.mark


def marks_in(code: bytes) -> set[int]:
    """All marks that the bytecode loads."""
    return {mark for _at, mark in _loads(code) if mark & ~_MARK_BYTE == MARKS}


def patched(name: str, code: bytes, references: Mapping[int, Reference]) -> bytes:
    """The bytecode with each load of a mark made a load of what it stands for. Raises CompileError when something is left."""
    result = bytearray(code)
    for at, mark in _loads(code):
        reference = references.get(mark)
        if reference is None:
            continue
        is_number = reference.kind == 0
        result[at + 1] = result[at + 1] & 0x0F | reference.kind << 4
        struct.pack_into("<I", result, at + 4, reference.value & 0xFFFFFFFF)
        struct.pack_into("<I", result, at + 12, reference.value >> 32 if is_number else 0)
    left = marks_in(bytes(result))
    if left:
        raise CompileError(f"program {name}: nothing takes the place of {', '.join(f'{mark:#x}' for mark in sorted(left))}")
    return bytes(result)


def _loads(code: bytes) -> Iterator[tuple[int, int]]:
    """Where the bytecode loads a 64-bit immediate that is no map yet, which takes two instructions, and which."""
    for at in range(0, len(code) - 8, 8):
        if code[at] == _LOAD_IMM64 and code[at + 1] >> 4 == 0:
            yield at, struct.unpack_from("<I", code, at + 12)[0] << 32 | struct.unpack_from("<I", code, at + 4)[0]
