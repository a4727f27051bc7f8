"""The switch's maps as tables: what they hold is cached, and only differences are written.

Order of writes: what revokes comes before what grants, so that a crash between two writes fails closed. One process writes
(the PF's single writer); the data path reads at any time.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import Counters, PortValue
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.datapath.pins import Pins


@dataclass(frozen=True, slots=True, kw_only=True)
class PortImage:
    """All that the maps say of one port. fdb: keys (abi.fdb_key) under which it is reached."""

    value: PortValue
    trunk: frozenset[int]
    fdb: frozenset[int]


_POSSIBLE_CPUS = Path("/sys/devices/system/cpu/possible")


def _slot_key(slot: int) -> bytes:
    return abi.SLOT_LAYOUT.pack(slot)


class Tables:
    """Typed access to the maps of an open Pins."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._ports: dict[int, bytes] = {}
        self._trunks: dict[int, bytes] = {}
        self._fdb: dict[int, bytes] = {}
        self._fdb_of_slot: dict[int, frozenset[int]] = {}
        self._members: dict[int, tuple[int, ...]] = {}
        self._devices: dict[int, int] = {}
        self.writes = 0

    def adopt(self) -> None:
        """Reads what an earlier process left in the maps."""
        for slot, value in self._read_array("ports", abi.PORT_LAYOUT.size).items():
            if value != abi.EMPTY_PORT:
                self._ports[slot] = value
        for key, value in self._read_hash("fdb", abi.FDB_KEY_LAYOUT.size, abi.FDB_ENTRY_LAYOUT.size):
            number = abi.FDB_KEY_LAYOUT.unpack(key)[0]
            slot = abi.FDB_ENTRY_LAYOUT.unpack(value)[0]
            self._fdb[number] = value
            self._fdb_of_slot[slot] = self._fdb_of_slot.get(slot, frozenset()) | {number}
        for key, value in self._read_hash("members", 4, abi.MEMBERS_LAYOUT.size):
            count, *slots = abi.MEMBERS_LAYOUT.unpack(value)
            self._members[struct.unpack("<I", key)[0]] = tuple(slots[:count])
        for slot in self._ports:
            trunk = libbpf.lookup_element(self._pins.map_fd("trunks"), _slot_key(slot), abi.TRUNK_LAYOUT.size)
            self._trunks[slot] = trunk or bytes(abi.TRUNK_LAYOUT.size)
            device = libbpf.lookup_element(self._pins.map_fd("devices"), _slot_key(slot), 4)
            if device:
                self._devices[slot] = struct.unpack("<I", device)[0]

    def _read_array(self, name: str, value_bytes: int) -> dict[int, bytes]:
        _keys, values, count = libbpf.lookup_batch(self._pins.map_fd(name), abi.MAX_PORTS, 4, value_bytes)
        return {slot: values[slot * value_bytes : (slot + 1) * value_bytes] for slot in range(count)}

    def _read_hash(self, name: str, key_bytes: int, value_bytes: int) -> list[tuple[bytes, bytes]]:
        fd = self._pins.map_fd(name)
        found = [(key, libbpf.lookup_element(fd, key, value_bytes)) for key in libbpf.iterate_keys(fd, key_bytes)]
        return [(key, value) for key, value in found if value is not None]

    def slots(self) -> frozenset[int]:
        """Slots with a port."""
        return frozenset(self._ports)

    def fdb_entries(self) -> int:
        """Entries of the forwarding database in use."""
        return len(self._fdb)

    def member_lists(self) -> int:
        """Flood lists in use."""
        return len(self._members)

    def has_room_for(self, new_fdb_entries: int) -> bool:
        """Whether that many more FDB entries fit."""
        return len(self._fdb) + new_fdb_entries <= abi.MAX_FDB_ENTRIES

    def put_port(self, slot: int, image: PortImage) -> None:
        """Makes the maps say this of a port: entries that go, then the port, then entries that come. Raises DataPathError;
        a later call with the old image undoes what was done."""
        entry = abi.FDB_ENTRY_LAYOUT.pack(slot, image.value.generation)
        before = self._fdb_of_slot.get(slot, frozenset())
        for key in before - image.fdb:
            self._delete_fdb(key, slot)
        self._write_trunk(slot, image.trunk)
        self._write_port(slot, image.value.pack())
        self._write_device(slot, image.value.ifindex)
        for key in image.fdb:
            if self._fdb.get(key) != entry:
                libbpf.update_element(self._pins.map_fd("fdb"), abi.FDB_KEY_LAYOUT.pack(key), entry)
                self.writes += 1
                self._fdb[key] = entry
                self._fdb_of_slot[slot] = self._fdb_of_slot.get(slot, frozenset()) | {key}

    def put_values(self, values: Mapping[int, PortValue]) -> None:
        """Changes port values only, all in one system call: a policy change of a whole group."""
        changed = {slot: packed for slot, value in values.items() if self._ports.get(slot) != (packed := value.pack())}
        if not changed:
            return
        keys = b"".join(_slot_key(slot) for slot in changed)
        libbpf.update_batch(self._pins.map_fd("ports"), keys, b"".join(changed.values()), len(changed))
        self.writes += len(changed)
        self._ports.update(changed)

    def clear_port(self, slot: int) -> None:
        """Removes a port: first it may no longer send, then nobody finds it."""
        if slot in self._ports:
            self._write_port(slot, abi.EMPTY_PORT)
            del self._ports[slot]
        for key in self._fdb_of_slot.pop(slot, frozenset()):
            self._delete_fdb(key, slot)
        if slot in self._devices:
            libbpf.delete_element(self._pins.map_fd("devices"), _slot_key(slot))
            del self._devices[slot]

    def put_members(self, pf: int, lists: Mapping[int, tuple[int, ...]]) -> None:
        """Makes these the flood lists of a PF: VLAN → slots. Raises DataPathError when there are more VLANs than room."""
        wanted = {abi.domain(pf, vlan): slots for vlan, slots in lists.items()}
        for key in [key for key in self._members if key >> 12 == pf and key not in wanted]:
            libbpf.delete_element(self._pins.map_fd("members"), struct.pack("<I", key))
            del self._members[key]
            self.writes += 1
        for key, slots in wanted.items():
            if self._members.get(key) != slots:
                libbpf.update_element(self._pins.map_fd("members"), struct.pack("<I", key), abi.pack_members(slots))
                self._members[key] = slots
                self.writes += 1

    def zero_counters(self, slot: int) -> None:
        """For a new owner of the slot."""
        size = abi.COUNTERS_LAYOUT.size * possible_cpus()
        libbpf.update_element(self._pins.map_fd("counters"), _slot_key(slot), bytes(size))

    def counters(self) -> dict[int, Counters]:
        """Counters of the ports in use, by slot; one system call."""
        size = abi.COUNTERS_LAYOUT.size * possible_cpus()
        _keys, values, count = libbpf.lookup_batch(self._pins.map_fd("counters"), abi.MAX_PORTS, 4, size)
        used = [slot for slot in self._ports if slot < count]
        return {slot: Counters.unpack(values[slot * size : (slot + 1) * size]) for slot in used}

    def counters_of(self, slot: int) -> Counters:
        """Counters of one port."""
        size = abi.COUNTERS_LAYOUT.size * possible_cpus()
        value = libbpf.lookup_element(self._pins.map_fd("counters"), _slot_key(slot), size)
        if value is None:
            raise DataPathError(f"counters of slot {slot}: not readable")
        return Counters.unpack(value)

    def _delete_fdb(self, key: int, slot: int) -> None:
        """Unless another port took the entry over meanwhile."""
        if slot in self._fdb_of_slot:
            self._fdb_of_slot[slot] -= {key}
        entry = self._fdb.get(key)
        if entry is None or abi.FDB_ENTRY_LAYOUT.unpack(entry)[0] != slot:
            return
        libbpf.delete_element(self._pins.map_fd("fdb"), abi.FDB_KEY_LAYOUT.pack(key))
        self.writes += 1
        del self._fdb[key]

    def _write_port(self, slot: int, packed: bytes) -> None:
        if self._ports.get(slot, abi.EMPTY_PORT) != packed:
            libbpf.update_element(self._pins.map_fd("ports"), _slot_key(slot), packed)
            self.writes += 1
            self._ports[slot] = packed

    def _write_trunk(self, slot: int, vlans: frozenset[int]) -> None:
        packed = abi.pack_trunk(vlans)
        if self._trunks.get(slot, bytes(abi.TRUNK_LAYOUT.size)) != packed:
            libbpf.update_element(self._pins.map_fd("trunks"), _slot_key(slot), packed)
            self.writes += 1
            self._trunks[slot] = packed

    def _write_device(self, slot: int, ifindex: int) -> None:
        if ifindex and self._devices.get(slot) != ifindex:
            libbpf.update_element(self._pins.map_fd("devices"), _slot_key(slot), struct.pack("<I", ifindex))
            self.writes += 1
            self._devices[slot] = ifindex


@cache
def possible_cpus() -> int:
    """How many blocks a per-CPU value has."""
    ranges = [part.split("-") for part in _POSSIBLE_CPUS.read_text().strip().split(",")]
    return sum(int(bounds[-1]) - int(bounds[0]) + 1 for bounds in ranges)
