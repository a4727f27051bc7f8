"""Where entries of the forwarding database stand: bpf/rules/fdb.h from the writer's side.

A table of buckets of FDB_WAYS words, and a hash map for what finds its bucket full. Each change is one word, or one element of
the map, and at each moment between two changes every entry that stays is found. Pure: the table is any sequence of integers
and the overflow any mapping. For the datapath package only.
"""

from collections.abc import MutableMapping, MutableSequence

from sriov_xdp.datapath.abi import FDB_BUCKET_BITS, FDB_WAYS, REF_BITS

FACTOR = 0x9E3779B97F4A7C15
_INVERSE = pow(FACTOR, -1, 1 << 64)
_WORD = (1 << 64) - 1
_REF = (1 << REF_BITS) - 1


def scatter(key: int) -> int:
    """fdb_scatter."""
    return key * FACTOR & _WORD


def bucket(scattered: int) -> int:
    """fdb_bucket."""
    return scattered >> (64 - FDB_BUCKET_BITS)


def word(scattered: int, ref: int) -> int:
    """fdb_word."""
    return scattered << REF_BITS & _WORD | ref


def key_of(bucket_number: int, entry: int) -> int:
    """The key of a word in a bucket: the product is whole again, and the factor has an inverse."""
    return (bucket_number << (64 - FDB_BUCKET_BITS) | entry >> REF_BITS) * _INVERSE & _WORD


class ForwardingDatabase:
    """Keys (abi.fdb_key) and refs (abi.ref) in a table and its overflow."""

    def __init__(self, words: MutableSequence[int] | memoryview, overflow: MutableMapping[int, int]) -> None:
        self._words = words
        self._overflow = overflow
        self._waiting: dict[int, set[int]] = {}  # bucket → keys that overflowed
        self._refs: dict[int, int] = {}

    def adopt(self) -> None:
        """Reads what an earlier process left, and ends what it had begun."""
        for index, entry in enumerate(self._words):
            if entry:
                self._refs[key_of(index // FDB_WAYS, entry)] = entry & _REF
        for key, ref in list(self._overflow.items()):
            number = bucket(scatter(key))
            way = self._free_way(number)
            if key not in self._refs and way is None:
                self._waiting.setdefault(number, set()).add(key)
            else:
                if key not in self._refs and way is not None:
                    self._words[way] = word(scatter(key), ref)
                del self._overflow[key]
            self._refs.setdefault(key, ref)

    def items(self) -> list[tuple[int, int]]:
        """Every entry."""
        return list(self._refs.items())

    def get(self, key: int) -> int | None:
        """The ref of a key."""
        return self._refs.get(key)

    def __len__(self) -> int:
        """Entries in use."""
        return len(self._refs)

    def put(self, key: int, ref: int) -> None:
        """Makes an entry, or moves it to another ref."""
        scattered = scatter(key)
        number = bucket(scattered)
        index = self._find(key, scattered)
        if index is None and key not in self._overflow:
            index = self._free_way(number)
        if index is None:
            self._overflow[key] = ref
            self._waiting.setdefault(number, set()).add(key)
        else:
            self._words[index] = word(scattered, ref)
        self._refs[key] = ref

    def remove(self, key: int) -> None:
        """Ends an entry; one that waited for room in the bucket takes its way, so that a bucket with room has none waiting."""
        scattered = scatter(key)
        number = bucket(scattered)
        index = self._find(key, scattered)
        del self._refs[key]
        if index is None:
            self._leave_overflow(number, key)
        elif number in self._waiting:
            heir = next(iter(self._waiting[number]))
            self._words[index] = word(scatter(heir), self._refs[heir])
            self._leave_overflow(number, heir)
        else:
            self._words[index] = 0

    def _leave_overflow(self, number: int, key: int) -> None:
        del self._overflow[key]
        self._waiting[number].discard(key)
        if not self._waiting[number]:
            del self._waiting[number]

    def _find(self, key: int, scattered: int) -> int | None:
        """The index of the key's word."""
        if key not in self._refs:
            return None
        wanted = word(scattered, 0) >> REF_BITS
        start = bucket(scattered) * FDB_WAYS
        ways = range(start, start + FDB_WAYS)
        return next((index for index in ways if self._words[index] and self._words[index] >> REF_BITS == wanted), None)

    def _free_way(self, number: int) -> int | None:
        start = number * FDB_WAYS
        return next((index for index in range(start, start + FDB_WAYS) if not self._words[index]), None)
