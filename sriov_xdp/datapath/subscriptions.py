"""Which groups the guests of ports asked for, where a port does not get all: a hash map, a key for each. For Tables."""

from sriov_xdp.datapath import abi, libbpf

_ASKED = (1).to_bytes(4, "little")


class Subscriptions:
    """The map, and what was written."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._groups: dict[int, frozenset[bytes]] = {}

    def adopt(self) -> None:
        """Reads what an earlier process wrote. Raises DataPathError."""
        for key in list(libbpf.iterate_keys(self._fd, abi.FDB_KEY_LAYOUT.size)):
            word = abi.FDB_KEY_LAYOUT.unpack(key)[0]
            slot = word >> 48
            self._groups[slot] = self.of(slot) | {abi.group_of_subscription(word)}

    def __len__(self) -> int:
        """Of all ports."""
        return sum(map(len, self._groups.values()))

    def of(self, slot: int) -> frozenset[bytes]:
        """Of a port."""
        return self._groups.get(slot, frozenset())

    def put(self, slot: int, groups: frozenset[bytes]) -> int:
        """How many entries came or went. Raises DataPathError."""
        before = self.of(slot)
        for group in before - groups:
            libbpf.delete_element(self._fd, _key(slot, group))
            self._groups[slot] = self.of(slot) - {group}
        for group in groups - before:  # what is written is known, also when the next one does not fit
            libbpf.update_element(self._fd, _key(slot, group), _ASKED)
            self._groups[slot] = self.of(slot) | {group}
        return len(before ^ groups)


def _key(slot: int, group: bytes) -> bytes:
    return abi.FDB_KEY_LAYOUT.pack(abi.subscription(slot, group))
