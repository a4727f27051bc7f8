"""Which addresses several ports may hold, and who spoke last by each: a hash map, a key of the forwarding database for each. The
programs note who speaks. For Tables."""

from sriov_xdp.datapath import abi, libbpf

_WORD_BITS = 64


class SharedTable:
    """The map, and what was written."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._slots: dict[int, frozenset[int]] = {}
        self._keys: dict[int, frozenset[int]] = {}

    def adopt(self) -> None:
        """Reads what an earlier process wrote. Raises DataPathError."""
        for packed in list(libbpf.iterate_keys(self._fd, abi.FDB_KEY_LAYOUT.size)):
            key = abi.FDB_KEY_LAYOUT.unpack(packed)[0]
            *words, _speaker = self._read(key)
            slots = {slot for slot in range(abi.MAX_PORTS) if words[slot // _WORD_BITS] >> slot % _WORD_BITS & 1}
            for slot in slots:
                self._know(slot, key)

    def __len__(self) -> int:
        """Addresses."""
        return len(self._slots)

    def of(self, slot: int) -> frozenset[int]:
        """Keys of what a port holds."""
        return self._keys.get(slot, frozenset())

    def put(self, slot: int, keys: frozenset[int]) -> int:
        """How many a port gave up or took. Raises DataPathError."""
        before = self.of(slot)
        for key in before - keys:
            self._write(key, self._slots[key] - {slot})
            self._forget(slot, key)
        for key in keys - before:  # what is written is known, also when the next one does not fit
            self._write(key, self._slots.get(key, frozenset()) | {slot})
            self._know(slot, key)
        return len(before ^ keys)

    def speaker(self, key: int) -> int:
        """The slot of who spoke last; abi.NOBODY where nobody did. Raises DataPathError."""
        return self._read(key)[-1]

    def note_speaker(self, key: int, slot: int) -> None:
        """As a program would. Raises DataPathError."""
        self._write(key, self._slots[key], slot)

    def _read(self, key: int) -> tuple[int, ...]:
        found = libbpf.lookup_element(self._fd, abi.FDB_KEY_LAYOUT.pack(key), abi.SHARED_LAYOUT.size)
        return abi.SHARED_LAYOUT.unpack(found) if found else (*[0] * (abi.MAX_PORTS // _WORD_BITS), abi.NOBODY)

    def _write(self, key: int, slots: frozenset[int], speaker: int | None = None) -> None:
        if not slots:
            libbpf.delete_element(self._fd, abi.FDB_KEY_LAYOUT.pack(key))
            return
        holders = sum(1 << slot for slot in slots)
        words = (holders >> start & (1 << _WORD_BITS) - 1 for start in range(0, abi.MAX_PORTS, _WORD_BITS))
        packed = abi.SHARED_LAYOUT.pack(*words, self.speaker(key) if speaker is None else speaker)
        libbpf.update_element(self._fd, abi.FDB_KEY_LAYOUT.pack(key), packed)

    def _know(self, slot: int, key: int) -> None:
        self._slots[key] = self._slots.get(key, frozenset()) | {slot}
        self._keys[slot] = self.of(slot) | {key}

    def _forget(self, slot: int, key: int) -> None:
        for table, at, what in ((self._slots, key, slot), (self._keys, slot, key)):
            table[at] -= {what}
            if not table[at]:
                del table[at]
