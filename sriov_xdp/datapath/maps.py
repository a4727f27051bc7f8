"""The maps of the switch, as bpf/abi/maps.h lists them: that list is read here, and nothing of it is repeated.

Not what stands in them (tables). For the datapath package and its tests.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.datapath.libbpf import MapType
from sriov_xdp.datapath.sources import source_dir

_ROW = re.compile(r"^\tMAP\((.*?)\)\s*\\?$", re.MULTILINE)
_EACH_CPU = "SXDP_EACH_CPU"
_WORDS = {"__u32": 4, "__u64": 8}


class MapKind(StrEnum):
    """What a map is, in the list's words."""

    VALUE = "VALUE"
    MEMORY = "MEMORY"
    ARRAY = "ARRAY"
    HASH = "HASH"
    DEVMAP = "DEVMAP"
    DEVMAPS = "DEVMAPS"
    STAGES = "STAGES"

    @property
    def type(self) -> MapType:
        """The kernel's word for it."""
        return _TYPES[self]

    @property
    def is_memory(self) -> bool:
        """Whether user space maps it into its own memory."""
        return self in (MapKind.VALUE, MapKind.MEMORY)


_TYPES = {
    MapKind.VALUE: MapType.ARRAY,
    MapKind.MEMORY: MapType.ARRAY,
    MapKind.ARRAY: MapType.ARRAY,
    MapKind.HASH: MapType.HASH,
    MapKind.DEVMAP: MapType.DEVMAP,
    MapKind.DEVMAPS: MapType.HASH_OF_MAPS,
    MapKind.STAGES: MapType.PROG_ARRAY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """One map. mark: what stands for it in the bytecode, its last byte; sizes in bytes."""

    mark: int
    name: str
    kind: MapKind
    key_bytes: int
    value_bytes: int
    entries: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """As the kernel tells it: bytes of a key, bytes of a value, entries."""
        return self.key_bytes, self.value_bytes, self.entries


@cache
def all_maps() -> dict[str, MapSpec]:
    """By name. Raises DataPathError for a list that cannot be read."""
    rows = _ROW.findall((source_dir() / "abi" / "maps.h").read_text())
    specs = [_spec([field.strip() for field in row.split(",")]) for row in rows]
    if not specs or len({spec.name for spec in specs}) != len(specs) or len({spec.mark for spec in specs}) != len(specs):
        raise DataPathError("bpf/abi/maps.h: maps need names and marks of their own; no list of such was found")
    return {spec.name: spec for spec in specs}


def _spec(fields: list[str]) -> MapSpec:
    try:
        mark, name, kind, key, value, entries = fields
        return MapSpec(
            mark=int(mark, 16),
            name=name,
            kind=MapKind(kind),
            key_bytes=_bytes_of(key),
            value_bytes=_bytes_of(value),
            entries=_entries(entries),
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise DataPathError(f"bpf/abi/maps.h: MAP({', '.join(fields)}): cannot be read: {error!r}") from error


def _bytes_of(c_type: str) -> int:
    return _WORDS[c_type] if c_type in _WORDS else abi.STRUCT_BYTES[c_type.removeprefix("struct ")]


def _entries(text: str) -> int:
    if text == _EACH_CPU:
        return libbpf.possible_cpus()
    return int(text) if text.isdigit() else int(getattr(abi, text.removeprefix("SXDP_")))
