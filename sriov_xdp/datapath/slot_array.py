"""One value a port in an array map, written when it changes. For Tables."""

from sriov_xdp.datapath import abi, libbpf


class SlotArray:
    """A map of the programs, and what was written last. empty: what it holds for a port that says nothing."""

    def __init__(self, fd: int, empty: bytes) -> None:
        self._fd, self._empty = fd, empty
        self._written: dict[int, bytes] = {}

    def adopt(self, slot: int) -> None:
        """Reads what an earlier process wrote. Raises DataPathError."""
        found = libbpf.lookup_element(self._fd, abi.SLOT_LAYOUT.pack(slot), len(self._empty))
        self._written[slot] = found or self._empty

    def get(self, slot: int) -> bytes:
        """As it was written."""
        return self._written.get(slot, self._empty)

    def put(self, slot: int, packed: bytes) -> bool:
        """Whether there was something to write. Raises DataPathError."""
        if self.get(slot) == packed:
            return False
        libbpf.update_element(self._fd, abi.SLOT_LAYOUT.pack(slot), packed)
        self._written[slot] = packed
        return True
