"""Programs of uplinks: each uplink has its own copies, made when it is taken, from bytecode that the loader leaves by the pins.

So a start verifies no programs that no uplink runs, and a PF that comes needs no compiler. The bytecode, with its marks, is a
value of a pinned map, as bpffs holds nothing else. For the datapath package.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.bytecode import UPLINK_SLOT_MARK, Reference, map_reference, mark_of, patched
from sriov_xdp.datapath.errors import CompileError
from sriov_xdp.datapath.libbpf import MapType
from sriov_xdp.datapath.maps import all_maps
from sriov_xdp.datapath.programs import UPLINK_PROGRAMS, copy_of

BYTECODE = "bytecode"
_VALUE_BYTES = 1 << 16
_LENGTH = struct.Struct("<I")
_KEY = struct.Struct("<I")


def store(codes: Mapping[str, bytes], folder: Path) -> None:
    """Pins the programs' bytecode, by name. Raises CompileError, DataPathError."""
    fd = libbpf.create_map(MapType.ARRAY, BYTECODE, _KEY.size, _VALUE_BYTES, len(UPLINK_PROGRAMS))
    try:
        for number, spec in enumerate(UPLINK_PROGRAMS):
            code = codes[spec.name]
            if len(code) > _VALUE_BYTES - _LENGTH.size:
                raise CompileError(f"program {spec.name}: {len(code)} bytes; there is room for {_VALUE_BYTES - _LENGTH.size}")
            value = (_LENGTH.pack(len(code)) + code).ljust(_VALUE_BYTES, b"\0")
            libbpf.update_element(fd, _KEY.pack(number), value)
        libbpf.pin(fd, folder / BYTECODE)
    finally:
        os.close(fd)


def load_copy(name: str, build: Path, map_fds: Mapping[str, int]) -> int:
    """Loads and pins an uplink's copy, as tc_uplink_3; its descriptor. Raises CompileError, DataPathError."""
    kind, _, pf = name.rpartition("_")
    number, spec = next((number, spec) for number, spec in enumerate(UPLINK_PROGRAMS) if spec.name == kind)
    with libbpf.opened_pin(build / "maps" / BYTECODE) as fd:
        value = libbpf.lookup_element(fd, _KEY.pack(number), _VALUE_BYTES) or b""
    length_bytes = _LENGTH.unpack_from(value)[0]
    references = {mark_of(spec): map_reference(spec, map_fds[name]) for name, spec in all_maps().items()}
    references[UPLINK_SLOT_MARK] = Reference(int(pf))
    code = patched(name, value[_LENGTH.size : _LENGTH.size + length_bytes], references)
    program = libbpf.load_program(spec.kind.type, name, code, attach=spec.kind.attach, flags=spec.kind.flags)
    libbpf.pin(program, build / "progs" / name)
    return program


def is_copy(name: str) -> bool:
    """Whether a program is an uplink's copy."""
    return any(name.startswith(copy_of(spec, 0)[:-1]) for spec in UPLINK_PROGRAMS)
