"""One value a port in an array map, written when it changes. For Tables."""

from collections.abc import Callable
from typing import Any

from sriov_xdp.datapath import abi, libbpf


def _all(packed: bytes) -> bytes:
    return packed


class SlotArray:
    """A map of the programs, and what was written last. empty: what it holds for a port that says nothing; said_in: what of a value
    is user space's, where programs write into it. What they wrote stays until that changes."""

    def __init__(self, fd: int, empty: bytes, said_in: Callable[[bytes], Any] = _all) -> None:
        self._fd, self._empty, self._said_in = fd, empty, said_in
        self._written: dict[int, bytes] = {}

    def adopt(self, slot: int) -> None:
        """Reads what an earlier process wrote. Raises DataPathError."""
        found = libbpf.lookup_element(self._fd, abi.SLOT_LAYOUT.pack(slot), len(self._empty))
        self._written[slot] = found or self._empty

    def get(self, slot: int) -> bytes:
        """As it was written."""
        return self._written.get(slot, self._empty)

    def says(self, slot: int, packed: bytes) -> bool:
        """Whether it was written as in this value. What an earlier owner of the slot left there is not known."""
        return slot in self._written and bool(self._said_in(self.get(slot)) == self._said_in(packed))

    def forget(self, slot: int) -> None:
        """Of a port that goes: for the next owner it is written anew."""
        self._written.pop(slot, None)

    def put(self, slot: int, packed: bytes) -> bool:
        """Whether there was something to write. Raises DataPathError."""
        if self.says(slot, packed):
            return False
        libbpf.update_element(self._fd, abi.SLOT_LAYOUT.pack(slot), packed)
        self._written[slot] = packed
        return True
