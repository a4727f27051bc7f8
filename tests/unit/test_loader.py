"""A mark in the bytecode becomes what it stands for, wherever it is loaded, and nothing else changes; one that stands for nothing
is an error."""

import struct

import pytest

from sriov_xdp.datapath.bytecode import (
    IFINDEX_OFFSET_MARK,
    MARKS,
    UPLINK_SLOT_MARK,
    Reference,
    map_reference,
    mark_of,
    marks_in,
    patched,
)
from sriov_xdp.datapath.errors import CompileError
from sriov_xdp.datapath.maps import all_maps

MARK = UPLINK_SLOT_MARK
LOW, HIGH = MARK & 0xFFFFFFFF, MARK >> 32
LOAD_IMM64, MOVE_IMM, CALL, EXIT = 0x18, 0xB7, 0x85, 0x95
VALUES = [0, 1, 15, 0xFFFFFFFF, 0x1_0000_0000, 0x0123456789ABCDEF, 0xFFFFFFFFFFFFFFFF]


def instruction(opcode: int, immediate: int = 0, register: int = 0) -> bytes:
    return struct.pack("<BBHI", opcode, register, 0, immediate)


def load(value: int, register: int = 0) -> bytes:
    """A 64-bit immediate load: two instructions, low half first."""
    return instruction(LOAD_IMM64, value & 0xFFFFFFFF, register) + instruction(0, value >> 32)


def with_number(code: bytes, value: int) -> bytes:
    return patched("any", code, {MARK: Reference(value)})


AROUND = instruction(MOVE_IMM, LOW), instruction(CALL, HIGH), instruction(EXIT)


@pytest.mark.parametrize("value", VALUES)
def test_a_load_of_the_mark_becomes_a_load_of_the_value(value: int) -> None:
    assert load(value) == with_number(load(MARK), value)


@pytest.mark.parametrize("register", [0, 1, 9])
def test_the_register_that_is_loaded_stays(register: int) -> None:
    assert load(3, register) == with_number(load(MARK, register), 3)


def test_every_load_of_the_mark_is_changed_and_nothing_around_it() -> None:
    first, second, third = AROUND
    code = load(MARK, 1) + first + load(MARK, 2) + load(MARK, 3) + second + third + load(MARK, 4)
    wanted = load(7, 1) + first + load(7, 2) + load(7, 3) + second + third + load(7, 4)
    assert wanted == with_number(code, 7)


@pytest.mark.parametrize(
    "code",
    [
        b"",
        instruction(EXIT),
        load(MARK ^ 1 << 63),
        load(LOW),
        load(HIGH << 32),
        load(HIGH | LOW << 32),
        instruction(MOVE_IMM, LOW) + instruction(0, HIGH),
        instruction(EXIT) + instruction(LOAD_IMM64, LOW),
        bytes(4) + load(MARK) + bytes(4),
        load(MARK, 1 << 4),
    ],
    ids=[
        "nothing",
        "no load",
        "another top bit",
        "the low half",
        "the high half",
        "halves exchanged",
        "another instruction",
        "a load cut off",
        "between two instructions",
        "a load of a map",
    ],
)
def test_what_is_no_load_of_the_mark_stays(code: bytes) -> None:
    assert code == with_number(code, 7)


def test_marks_are_patched_independently() -> None:
    code = load(UPLINK_SLOT_MARK) + load(IFINDEX_OFFSET_MARK)
    references = {UPLINK_SLOT_MARK: Reference(3), IFINDEX_OFFSET_MARK: Reference(216)}
    assert load(3) + load(216) == patched("any", code, references)


@pytest.mark.parametrize(("name", "kind"), [("ports", 2), ("fdb", 2), ("cpus", 1), ("members", 1), ("xdp_stages", 1)])
def test_a_load_of_a_map_says_which_and_what_of_it(name: str, kind: int) -> None:
    spec = all_maps()[name]
    first, second, _third = AROUND
    wanted = first + instruction(LOAD_IMM64, 9, 3 | kind << 4) + instruction(0) + second
    assert wanted == patched("any", first + load(mark_of(spec), 3) + second, {mark_of(spec): map_reference(spec, 9)})


@pytest.mark.parametrize("mark", [UPLINK_SLOT_MARK, MARKS | 0x7F])
def test_a_mark_that_nothing_takes_the_place_of_is_an_error(mark: int) -> None:
    with pytest.raises(CompileError, match=f"program tc_x: nothing takes the place of {mark:#x}"):
        patched("tc_x", load(mark), {IFINDEX_OFFSET_MARK: Reference(1)})


def test_all_marks_differ() -> None:
    marks = [UPLINK_SLOT_MARK, IFINDEX_OFFSET_MARK, *(mark_of(spec) for spec in all_maps().values())]
    assert len(marks) == len(set(marks))
    assert set(marks) == marks_in(b"".join(map(load, marks)))
