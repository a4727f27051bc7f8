"""The forwarding database finds what was put, loses nothing between two writes, and takes up what a crash left."""

from collections.abc import MutableMapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.datapath import abi, fdb
from sriov_xdp.datapath.abi import FDB_BUCKETS, FDB_WAYS
from sriov_xdp.datapath.fdb import ForwardingDatabase

BUCKET = 1234
_REF_MASK = (1 << abi.REF_BITS) - 1


def key_in(bucket: int, number: int) -> int:
    """Different keys of one bucket."""
    return fdb.key_of(bucket, (number + 1) << abi.REF_BITS)


def found(words: list[int], overflow: MutableMapping[int, int], key: int) -> int | None:
    """As the programs look it up (fdb_find): the hash map only when the bucket is full."""
    scattered = fdb.scatter(key)
    start = fdb.bucket(scattered) * FDB_WAYS
    ways = words[start : start + FDB_WAYS]
    for entry in ways:
        if entry and entry == fdb.word(scattered, entry & _REF_MASK):
            return entry & _REF_MASK
    return overflow.get(key) if all(ways) else None


class Crowded:
    """A table whose every write is watched: entries that shall stay must be found after each of them."""

    def __init__(self) -> None:
        self.stay: dict[int, int] = {}
        self.overflow = Watched(self)
        self.words = WatchedWords(self)
        self.database = ForwardingDatabase(self.words, self.overflow)

    def check(self) -> None:
        if hasattr(self, "words"):
            assert self.stay == {key: found(self.words, self.overflow, key) for key in self.stay}

    def put(self, key: int, ref: int) -> None:
        self.stay.pop(key, None)
        self.database.put(key, ref)
        self.stay[key] = ref
        self.check()

    def remove(self, key: int) -> None:
        del self.stay[key]
        self.database.remove(key)
        assert found(self.words, self.overflow, key) is None
        self.check()


class WatchedWords(list[int]):
    def __init__(self, owner: Crowded) -> None:
        super().__init__([0] * FDB_BUCKETS * FDB_WAYS)
        self.owner = owner

    def __setitem__(self, index, value) -> None:  # noqa: ANN001
        super().__setitem__(index, value)
        self.owner.check()


class Watched(dict[int, int]):
    def __init__(self, owner: Crowded) -> None:
        super().__init__()
        self.owner = owner

    def __setitem__(self, key: int, ref: int) -> None:
        super().__setitem__(key, ref)
        self.owner.check()

    def __delitem__(self, key: int) -> None:
        super().__delitem__(key)
        self.owner.check()


@given(st.integers(0, (1 << 64) - 1), st.integers(1, _REF_MASK))
def test_a_word_and_its_bucket_tell_the_key(key: int, ref: int) -> None:
    scattered = fdb.scatter(key)
    assert key == fdb.key_of(fdb.bucket(scattered), fdb.word(scattered, ref))


STEPS = st.lists(st.tuples(st.sampled_from(["put", "remove"]), st.integers(0, 11), st.integers(1, _REF_MASK)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_entry_is_found_after_every_single_write(steps: list[tuple[str, int, int]]) -> None:
    """Twelve keys in two buckets of four ways."""
    crowded = Crowded()
    for what, number, ref in steps:
        key = key_in(BUCKET + number % 2, number)
        if what == "put":
            crowded.put(key, ref)
        elif key in crowded.stay:
            crowded.remove(key)
    assert len(crowded.stay) == len(crowded.database)
    assert crowded.stay == dict(crowded.database.items())


def overfull(count: int) -> tuple[list[int], dict[int, int], ForwardingDatabase, list[int]]:
    """A database with so many keys in one bucket, at refs from 1 on: its words, its overflow, itself, the keys."""
    words: list[int] = [0] * FDB_BUCKETS * FDB_WAYS
    overflow: dict[int, int] = {}
    database = ForwardingDatabase(words, overflow)
    keys = [key_in(BUCKET, number) for number in range(count)]
    for ref, key in enumerate(keys, 1):
        database.put(key, ref)
    return words, overflow, database, keys


def test_a_full_bucket_overflows_and_takes_back() -> None:
    words, overflow, database, keys = overfull(FDB_WAYS + 2)
    assert {keys[-2]: FDB_WAYS + 1, keys[-1]: FDB_WAYS + 2} == overflow
    database.remove(keys[0])
    database.remove(keys[1])
    assert {} == overflow
    assert [None, None, *range(3, FDB_WAYS + 3)] == [found(words, overflow, key) for key in keys]


@pytest.mark.parametrize("is_adopted", [False, True])
def test_the_limit_fits_whatever_the_addresses(is_adopted: bool) -> None:
    words, overflow = [0] * FDB_BUCKETS * FDB_WAYS, {}
    database = ForwardingDatabase(words, overflow)
    wanted = {abi.fdb_key(0, number % 7, number.to_bytes(6, "big")): 1 + number % 1000 for number in range(abi.MAX_FDB_ENTRIES)}
    for key, ref in wanted.items():
        database.put(key, ref)
    if is_adopted:
        database = ForwardingDatabase(words, overflow)
        database.adopt()
    assert wanted == dict(database.items())
    assert len(overflow) < abi.MAX_FDB_ENTRIES // 50


def test_a_crash_between_two_writes_of_a_promotion_is_taken_up() -> None:
    """The heir stands in its way already, and still in the overflow."""
    words, overflow, database, keys = overfull(FDB_WAYS + 1)
    left = dict(overflow)
    database.remove(keys[0])
    overflow.update(left)
    again = ForwardingDatabase(words, overflow)
    again.adopt()
    assert dict(zip(keys[1:], range(2, FDB_WAYS + 2), strict=True)) == dict(again.items())
    assert {} == overflow


def test_an_overflow_whose_bucket_has_room_moves_in() -> None:
    words, key = [0] * FDB_BUCKETS * FDB_WAYS, key_in(BUCKET, 0)
    overflow = {key: 5}
    database = ForwardingDatabase(words, overflow)
    database.adopt()
    assert 5 == found(words, {}, key)
    assert {} == overflow
