"""A mark in the bytecode becomes a number, or the address of a map's value, wherever it is loaded, and nothing else changes."""

import struct
from collections.abc import Callable

import pytest

from sriov_xdp.datapath.loader import (
    IFINDEX_OFFSET_MARK,
    MAP_MARKS,
    MAP_VALUE_MARKS,
    UPLINK_SLOT_MARK,
    with_constant,
    with_map,
    with_map_value,
)

MARK = UPLINK_SLOT_MARK
LOW, HIGH = MARK & 0xFFFFFFFF, MARK >> 32
LOAD_IMM64, MOVE_IMM, CALL, EXIT = 0x18, 0xB7, 0x85, 0x95
VALUES = [0, 1, 15, 0xFFFFFFFF, 0x1_0000_0000, 0x0123456789ABCDEF, 0xFFFFFFFFFFFFFFFF]


def instruction(opcode: int, immediate: int = 0, register: int = 0) -> bytes:
    return struct.pack("<BBHI", opcode, register, 0, immediate)


def load(value: int, register: int = 0) -> bytes:
    """A 64-bit immediate load: two instructions, low half first."""
    return instruction(LOAD_IMM64, value & 0xFFFFFFFF, register) + instruction(0, value >> 32)


AROUND = instruction(MOVE_IMM, LOW), instruction(CALL, HIGH), instruction(EXIT)


@pytest.mark.parametrize("value", VALUES)
def test_a_load_of_the_mark_becomes_a_load_of_the_value(value: int) -> None:
    assert load(value) == with_constant(load(MARK), MARK, value)


@pytest.mark.parametrize("register", [0, 1, 9])
def test_the_register_that_is_loaded_stays(register: int) -> None:
    assert load(3, register) == with_constant(load(MARK, register), MARK, 3)


def test_every_load_of_the_mark_is_changed_and_nothing_around_it() -> None:
    first, second, third = AROUND
    code = load(MARK, 1) + first + load(MARK, 2) + load(MARK, 3) + second + third + load(MARK, 4)
    wanted = load(7, 1) + first + load(7, 2) + load(7, 3) + second + third + load(7, 4)
    assert wanted == with_constant(code, MARK, 7)


@pytest.mark.parametrize(
    "code",
    [
        b"",
        instruction(EXIT),
        load(MARK + 1),
        load(MARK ^ 1 << 63),
        load(LOW),
        load(HIGH << 32),
        load(HIGH | LOW << 32),
        load(IFINDEX_OFFSET_MARK),
        instruction(MOVE_IMM, LOW) + instruction(0, HIGH),
        instruction(EXIT) + instruction(LOAD_IMM64, LOW),
        bytes(4) + load(MARK) + bytes(4),
    ],
    ids=[
        "nothing",
        "no load",
        "the next number",
        "another top bit",
        "the low half",
        "the high half",
        "halves exchanged",
        "the other mark",
        "another instruction",
        "a load cut off",
        "between two instructions",
    ],
)
def test_what_is_no_load_of_the_mark_stays(code: bytes) -> None:
    assert code == with_constant(code, MARK, 7)


def test_the_marks_are_patched_independently() -> None:
    code = load(UPLINK_SLOT_MARK) + load(IFINDEX_OFFSET_MARK)
    assert load(3) + load(216) == with_constant(with_constant(code, UPLINK_SLOT_MARK, 3), IFINDEX_OFFSET_MARK, 216)


@pytest.mark.parametrize(("patch", "kind"), [(with_map, 1), (with_map_value, 2)])
def test_a_load_of_a_map_says_which_and_what_of_it(patch: Callable[[bytes, int, int], bytes], kind: int) -> None:
    mark = MAP_VALUE_MARKS["ports"]
    first, second, _third = AROUND
    wanted = first + instruction(LOAD_IMM64, 9, 3 | kind << 4) + instruction(0) + second
    assert wanted == patch(first + load(mark, 3) + second, mark, 9)


def test_all_marks_differ() -> None:
    marks = [UPLINK_SLOT_MARK, IFINDEX_OFFSET_MARK, *MAP_VALUE_MARKS.values(), *MAP_MARKS.values()]
    assert len(marks) == len(set(marks))
