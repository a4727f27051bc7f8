"""The switch's maps as tables: what they hold is cached, and only differences are written.

Order of writes: what revokes comes before what grants, so that a crash between two writes fails closed. One process writes
(the PF's single writer); the data path reads at any time.
"""

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping, MutableMapping

from sriov_xdp.datapath import abi, libbpf, port_lists
from sriov_xdp.datapath.abi import Counters, Members, PortFlag, PortValue, Verdict
from sriov_xdp.datapath.fdb import ForwardingDatabase
from sriov_xdp.datapath.floods import Floods
from sriov_xdp.datapath.meters import Guard, Rate
from sriov_xdp.datapath.pins import Pins
from sriov_xdp.datapath.port_image import PortImage
from sriov_xdp.datapath.probes import ProbeReturn
from sriov_xdp.datapath.shared import SharedTable
from sriov_xdp.datapath.slot_array import SlotArray
from sriov_xdp.datapath.subscriptions import Subscriptions

_NO_BYTES = bytes(abi.COUNTERS_LAYOUT.size)
_NO_COUNTERS = memoryview(_NO_BYTES).cast("Q")
_EPOCH_WORD, _LAST_EPOCH_WORD = abi.EPOCH_AT_BYTES // 8, abi.EPOCH_AT_BYTES // 8 + 1
_STORES_KEEP_ORDER = os.uname().machine == "x86_64"  # on others no flow is remembered, as an epoch might overtake a table
# What of a counter block tells how many group frames entered, let in or held back.
GROUP_WORDS = (4 + Verdict.STORM, 4 + abi.VERDICT_ROOM, 5 + abi.VERDICT_ROOM)
FRAME_WORDS = (4 + Verdict.FORWARDED, 4 + Verdict.FLOODED, 4 + Verdict.STORM)
_FLAGS, _FLAGS_AT_BYTES = struct.Struct("<I"), abi.offset_bytes("sxdp_port", "flags")
_PORT_WORDS = f"<{abi.PORT_LAYOUT.size // 8}Q"


def flood_entry(port: bytes) -> tuple[int, int] | None:
    """Domain and ifindex of a port that XDP's floods reach: an access port whose link is up, and which is neither cut nor
    blocked."""
    ifindex, _generation, _mac, flags, vlan, _mtu, pf, *_rest = abi.PORT_LAYOUT.unpack(port)
    is_reached = flags & PortFlag.LINK_UP and not flags & (PortFlag.TRUNK | PortFlag.UPLINK | PortFlag.LOOP | PortFlag.BLOCKED)
    kind = abi.VLAN_SERVICE if flags & PortFlag.SERVICE else 0
    return (abi.domain(pf, vlan | kind), ifindex) if ifindex and is_reached else None


def _pf_of(domain: int) -> int:
    return (domain & ~abi.VLAN_WHOLE) >> 12


def _slot_key(slot: int) -> bytes:
    return abi.SLOT_LAYOUT.pack(slot)


class _Overflow(MutableMapping[int, int]):
    """The hash map fdb_overflow as a mapping from keys to refs."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._cache: dict[int, int] = {}
        for key in list(libbpf.iterate_keys(fd, abi.FDB_KEY_LAYOUT.size)):
            value = libbpf.lookup_element(fd, key, abi.REF_LAYOUT.size)
            if value is not None:
                self._cache[abi.FDB_KEY_LAYOUT.unpack(key)[0]] = abi.REF_LAYOUT.unpack(value)[0]

    def __getitem__(self, key: int) -> int:
        return self._cache[key]

    def __setitem__(self, key: int, ref: int) -> None:
        libbpf.update_element(self._fd, abi.FDB_KEY_LAYOUT.pack(key), abi.REF_LAYOUT.pack(ref))
        self._cache[key] = ref

    def __delitem__(self, key: int) -> None:
        libbpf.delete_element(self._fd, abi.FDB_KEY_LAYOUT.pack(key))
        del self._cache[key]

    def __iter__(self) -> Iterator[int]:
        return iter(self._cache)

    def __len__(self) -> int:
        return len(self._cache)


class Tables:
    """Typed access to the maps of an open Pins."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._port_words = pins.words("ports")
        self._fdb = ForwardingDatabase(pins.words("fdb"), _Overflow(pins.map_fd("fdb_overflow")))
        self._counters = pins.words("cpus")
        self._floods = Floods(pins.map_fd("floods"))
        self._ports: dict[int, bytes] = {}
        self._trunks = SlotArray(pins.map_fd("trunks"), bytes(abi.TRUNK_LAYOUT.size))
        self._heard = SlotArray(pins.map_fd("heard"), bytes(abi.TRUNK_LAYOUT.size))
        self._subscriptions = Subscriptions(pins.map_fd("subscriptions"))
        self._shared = SharedTable(pins.map_fd("shared"))
        self._allowed = SlotArray(pins.map_fd("allowed"), bytes(abi.ALLOWED_LAYOUT.size))
        self._guards = SlotArray(pins.map_fd("guards"), bytes(abi.GUARD_LAYOUT.size), Guard.intervals_in)
        self._rates = SlotArray(pins.map_fd("rates"), bytes(abi.RATE_LAYOUT.size), Rate.said_in)
        self._fdb_of_slot: dict[int, frozenset[int]] = {}
        self._members: dict[int, bytes] = {}
        self._devices: dict[int, int] = {}
        self.writes = 0
        self._depth = 0  # of changing(): only the outermost ends an epoch

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Around all that changes a decision: until the end, programs judge every frame by the tables (flow.h), and what they
        remembered before counts no more. A crash in between leaves them without memory, and right. May be
        nested: what is published together is one change."""
        self._depth += 1
        self._port_words[_EPOCH_WORD] = 0
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._port_words[_LAST_EPOCH_WORD] += 1
        if _STORES_KEEP_ORDER:
            self._port_words[_EPOCH_WORD] = self._port_words[_LAST_EPOCH_WORD]

    def adopt(self) -> None:
        """Reads what an earlier process left in the maps."""
        with self.changing():
            self._adopt()

    def _adopt(self) -> None:
        everything = self._port_words.tobytes()
        for slot in range(abi.MAX_PORTS):
            value = everything[slot * abi.PORT_LAYOUT.size : (slot + 1) * abi.PORT_LAYOUT.size]
            if value != abi.EMPTY_PORT:
                self._ports[slot] = value
        self._fdb.adopt()
        for key, ref in self._fdb.items():
            slot = abi.slot_at(ref)
            self._fdb_of_slot[slot] = self._fdb_of_slot.get(slot, frozenset()) | {key}
        for domain, members in self._read_hash("members", 4, abi.MEMBERS_LAYOUT.size):
            self._members[struct.unpack("<I", domain)[0]] = members
        for slot in self._ports:
            self._trunks.adopt(slot)
            self._heard.adopt(slot)
            self._allowed.adopt(slot)
            self._guards.adopt(slot)
            self._rates.adopt(slot)
            device = libbpf.lookup_element(self._pins.map_fd("devices"), _slot_key(slot), 4)
            if device:
                self._devices[slot] = struct.unpack("<I", device)[0]
        self._subscriptions.adopt()
        self._shared.adopt()
        floods: dict[int, list[int]] = {}
        for of_domain, ifindex in filter(None, map(flood_entry, self._ports.values())):
            floods.setdefault(of_domain, []).append(ifindex)
        self._floods.read()
        self._floods.mend(floods)

    def _read_hash(self, name: str, key_bytes: int, value_bytes: int) -> list[tuple[bytes, bytes]]:
        fd = self._pins.map_fd(name)
        found = [(key, libbpf.lookup_element(fd, key, value_bytes)) for key in libbpf.iterate_keys(fd, key_bytes)]
        return [(key, value) for key, value in found if value is not None]

    def port(self, slot: int) -> tuple[PortValue, frozenset[int]] | None:
        """What the maps say of a port: its value, and the VLANs of a trunk. None when there is none."""
        packed = self._ports.get(slot)
        if packed is None:
            return None
        return PortValue.unpack(packed), port_lists.unpack_trunk(self._trunks.get(slot))

    def flags_of(self, slot: int) -> PortFlag:
        """Of a port, as the maps have it; none of a slot without one."""
        return PortFlag(_FLAGS.unpack_from(self._ports.get(slot, abi.EMPTY_PORT), _FLAGS_AT_BYTES)[0])

    def heard_of(self, slot: int) -> frozenset[int]:
        """Of the VLANs of a trunk port, those whose frames its guest gets."""
        return port_lists.unpack_trunk(self._heard.get(slot))

    def addresses_of(self, slot: int) -> frozenset[bytes]:
        """The addresses under which a port is reached, in whichever VLAN, or would be, if it spoke by them last."""
        return frozenset(abi.mac_of_fdb_key(key) for key in self._fdb_of_slot.get(slot, frozenset()) | self._shared.of(slot))

    def speaker(self, key: int) -> int:
        """The slot of who spoke last by an address that several may hold; abi.NOBODY. Raises DataPathError."""
        return self._shared.speaker(key)

    def note_speaker(self, key: int, slot: int) -> None:
        """That a port holds an address and spoke by it. Raises DataPathError."""
        self._shared.note_speaker(key, slot)

    def storm_ns(self, slot: int) -> tuple[int, int]:
        """The intervals of a port's guard: of broadcast and of multicast; 0 = no limit."""
        return Guard.intervals_in(self._guards.get(slot))

    def rate_said(self, slot: int) -> tuple[int, int, int]:
        """How fast a port may send: average_kbps, peak_kbps, burst_bytes in the operator's words; 0 = no limit, none, chosen."""
        return Rate.words_in(self._rates.get(slot))

    def allowed_of(self, slot: int) -> frozenset[port_lists.Prefix]:
        """What a port's guest may send from beside its own address."""
        return port_lists.unpack_allowed(self._allowed.get(slot))

    def groups_of(self, slot: int) -> frozenset[bytes]:
        """That a port's guest asked for, where it does not get all."""
        return self._subscriptions.of(slot)

    def slots(self) -> frozenset[int]:
        """Slots with a port, or with entries that lead to one which is gone: what a clear_port() that did not end leaves."""
        return frozenset(self._ports) | frozenset(slot for slot, keys in self._fdb_of_slot.items() if keys)

    def fdb_entries(self) -> int:
        """Entries of the forwarding database in use."""
        return len(self._fdb)

    def member_lists(self) -> int:
        """Flood lists in use."""
        return len(self._members)

    def has_room_for(self, new_fdb_entries: int, new_groups: int = 0) -> bool:
        """Whether that many more FDB entries fit, and subscriptions to groups."""
        most = max(len(self._fdb) + new_fdb_entries, len(self._subscriptions) + new_groups)
        return most <= abi.MAX_FDB_ENTRIES

    def put_port(self, slot: int, image: PortImage) -> None:
        """Makes the maps say this of a port: entries that go, then the port, then entries that come. Raises DataPathError;
        a later call with the old image undoes what was done."""
        if not self._says(slot, image):
            with self.changing():
                self._put_port(slot, image)
        self._join_floods(slot)

    def _says(self, slot: int, image: PortImage) -> bool:
        """Whether the maps say this already; then no flow needs to be forgotten."""
        ref, ifindex = abi.ref(slot, image.value.generation), image.value.ifindex
        return (
            self._ports.get(slot) == image.value.pack()
            and self._trunks.says(slot, port_lists.pack_trunk(image.trunk))
            and self._heard.says(slot, port_lists.pack_trunk(image.heard))
            and self._subscriptions.of(slot) == image.groups
            and self._shared.of(slot) == image.shared
            and self._allowed.says(slot, port_lists.pack_allowed(image.allowed))
            and self._guards.says(slot, image.guard.pack())
            and self._rates.says(slot, image.rate.pack())
            and self._devices.get(slot, 0) == ifindex
            and self._fdb_of_slot.get(slot, frozenset()) == image.fdb
            and all(self._fdb.get(key) == ref for key in image.fdb)
        )

    def _put_port(self, slot: int, image: PortImage) -> None:
        ref = abi.ref(slot, image.value.generation)
        before = self._fdb_of_slot.get(slot, frozenset())
        for key in before - image.fdb:
            self._delete_fdb(key, slot)
        self.writes += self._trunks.put(slot, port_lists.pack_trunk(image.trunk))
        self.writes += self._heard.put(slot, port_lists.pack_trunk(image.heard))
        self.writes += self._allowed.put(slot, port_lists.pack_allowed(image.allowed))
        self.writes += self._subscriptions.put(slot, image.groups)
        self.writes += self._shared.put(slot, image.shared)
        self.writes += self._guards.put(slot, image.guard.pack())
        self.writes += self._rates.put(slot, image.rate.pack())
        self._write_port(slot, image.value.pack())
        self._write_device(slot, image.value.ifindex)
        for key in image.fdb:
            if self._fdb.get(key) != ref:
                self._fdb.put(key, ref)
                self.writes += 1
                self._fdb_of_slot[slot] = self._fdb_of_slot.get(slot, frozenset()) | {key}

    def put_values(self, values: Mapping[int, PortValue]) -> None:
        """Changes port values only: a policy change of a whole group."""
        with self.changing():
            for slot, value in values.items():
                self._write_port(slot, value.pack())
        for slot in values:
            self._join_floods(slot)

    def clear_port(self, slot: int) -> None:
        """Removes a port: first it may no longer send, then nobody finds it."""
        with self.changing():
            self._clear_port(slot)

    def _clear_port(self, slot: int) -> None:
        if slot in self._ports:
            self._write_port(slot, abi.EMPTY_PORT)
            del self._ports[slot]
        for key in self._fdb_of_slot.pop(slot, frozenset()):
            self._delete_fdb(key, slot)
        self._subscriptions.put(slot, frozenset())
        self._shared.put(slot, frozenset())
        for array in (self._trunks, self._heard, self._allowed, self._guards, self._rates):
            array.forget(slot)
        if slot in self._devices:
            libbpf.delete_element(self._pins.map_fd("devices"), _slot_key(slot))
            del self._devices[slot]

    def members_of(self, pf: int) -> dict[int, Members]:
        """The flood lists of a PF, by VLAN, as they were written."""
        return {key & abi.VLAN_WHOLE: Members.unpack(packed) for key, packed in self._members.items() if _pf_of(key) == pf}

    def put_members(self, pf: int, lists: Mapping[int, Members]) -> None:
        """Makes these the flood lists of a PF, by VLAN. Raises DataPathError when there are more VLANs than room."""
        wanted = {abi.domain(pf, vlan): members.pack() for vlan, members in lists.items()}
        for key in [key for key in self._members if _pf_of(key) == pf and key not in wanted]:
            libbpf.delete_element(self._pins.map_fd("members"), struct.pack("<I", key))
            del self._members[key]
            self._floods.drop(key)
            self.writes += 1
        for key, packed in wanted.items():
            if self._members.get(key) != packed:
                libbpf.update_element(self._pins.map_fd("members"), struct.pack("<I", key), packed)
                self._members[key] = packed
                self.writes += 1

    def _join_floods(self, slot: int) -> None:
        """After the port is written. Done again each time, as it may have failed before."""
        entry = flood_entry(self._ports.get(slot, abi.EMPTY_PORT))
        if entry:
            self._floods.add(*entry)

    def zero_counters(self, slot: int) -> None:
        """For a new owner of the slot."""
        for block in self._counter_blocks(slot):
            self._counters[block] = _NO_COUNTERS

    def counters(self) -> dict[int, Counters]:
        """Counters of the ports in use, by slot."""
        return {slot: self.counters_of(slot) for slot in self._ports}

    def counters_of(self, slot: int) -> Counters:
        """Counters of one port."""
        blocks = (self._counters[block].tobytes() for block in self._counter_blocks(slot))
        return Counters.sum_of([block for block in blocks if block != _NO_BYTES])  # most CPUs see nothing of most ports

    def group_frames_of(self, slot: int) -> int:
        """Broadcast and multicast frames that entered by a port, with those that its storm guard held back."""
        return sum(self._counters[block.start + word] for block in self._counter_blocks(slot) for word in GROUP_WORDS)

    def frames_of(self, slot: int) -> int:
        """Frames of any kind that entered by a port and left by another, or several, or were held back by its storm guard."""
        return sum(self._counters[block.start + word] for block in self._counter_blocks(slot) for word in FRAME_WORDS)

    def probe_return(self, slot: int) -> ProbeReturn | None:
        """The last probe that came back by a port, or by one that had its slot before."""
        found = libbpf.lookup_element(self._pins.map_fd("loops"), _slot_key(slot), abi.RETURN_LAYOUT.size)
        return ProbeReturn.unpack(found) if found else None

    def _counter_blocks(self, slot: int) -> Iterator[slice]:
        """Where each CPU counts for a port."""
        words = abi.COUNTERS_LAYOUT.size // 8
        for cpu in range(libbpf.possible_cpus()):
            start = cpu * (abi.CPU_BYTES // 8) + slot * words
            yield slice(start, start + words)

    def _delete_fdb(self, key: int, slot: int) -> None:
        """Unless another port took the entry over meanwhile."""
        if slot in self._fdb_of_slot:
            self._fdb_of_slot[slot] -= {key}
        ref = self._fdb.get(key)
        if ref is None or abi.slot_at(ref) != slot:
            return
        self._fdb.remove(key)
        self.writes += 1

    def _write_port(self, slot: int, packed: bytes) -> None:
        """Out of the floods that it leaves, first; whatever comes of that, the port itself obeys."""
        before = self._ports.get(slot, abi.EMPTY_PORT)
        if before == packed:
            return
        entry = flood_entry(before)
        try:
            if entry and entry != flood_entry(packed):
                self._floods.remove(*entry)
        finally:
            self._store_port(slot, packed)

    def _store_port(self, slot: int, packed: bytes) -> None:
        """Word by word. The first one says whose port it is: a port that goes loses it first, one that comes gets it last."""
        words = struct.unpack(_PORT_WORDS, packed)
        order = range(len(words)) if packed == abi.EMPTY_PORT else reversed(range(len(words)))
        for number in order:
            self._port_words[slot * len(words) + number] = words[number]
        self.writes += 1
        self._ports[slot] = packed

    def _write_device(self, slot: int, ifindex: int) -> None:
        """Of a port without a device, as a PF's own without an uplink, the devmap shall lead nowhere."""
        if self._devices.get(slot, 0) == ifindex:
            return
        if ifindex:
            libbpf.update_element(self._pins.map_fd("devices"), _slot_key(slot), struct.pack("<I", ifindex))
            self._devices[slot] = ifindex
        else:
            libbpf.delete_element(self._pins.map_fd("devices"), _slot_key(slot))
            del self._devices[slot]
        self.writes += 1
