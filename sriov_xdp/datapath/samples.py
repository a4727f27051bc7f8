"""Frames of watched ports as the programs keep them (bpf/switch/sample.h): a ring for each CPU, read by whoever remembers how far.
For Tables' neighbours in pf; reads only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sriov_xdp.datapath import abi
from sriov_xdp.datapath.abi import Verdict
from sriov_xdp.datapath.pins import Pins

_WORDS = abi.STRUCT_BYTES["sxdp_samples"] // 8
_HEAD_WORDS, _SAMPLE_WORDS = 2, abi.SAMPLE_LAYOUT.size // 8

Cursor = tuple[int, ...]
"""How many samples of each CPU were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A frame as it came, and what became of it. time_ns: of CLOCK_MONOTONIC; slot: where it entered; target_slot: where it left,
    None = nowhere, or at many; vlan: by number, 0 where it got into none; is_service: of 802.1ad; octets: its beginning, with its
    tag."""

    time_ns: int
    slot: int
    target_slot: int | None
    verdict: Verdict
    vlan: int
    is_service: bool
    length_bytes: int
    octets: bytes


def now(pins: Pins) -> Cursor:
    """What was written so far."""
    words = pins.words("samples")
    return tuple(words[start] for start in range(0, len(words), _WORDS))


def read(pins: Pins, since: Sequence[int], most: int) -> tuple[list[Sample], Cursor, int]:
    """Samples that came since, in order of their times, at most so many of each CPU; how far that is; and how many gave way to
    later ones unread."""
    words, found, ends, lost = pins.words("samples"), list[Sample](), list[int](), 0
    for start, before in zip(range(0, len(words), _WORDS), since, strict=True):
        written = words[start]
        first = max(before, written - abi.SAMPLES + 1)  # the oldest is being written over just now, perhaps
        last = min(written, first + most)
        for number in range(first, last):
            at = start + _HEAD_WORDS + number % abi.SAMPLES * _SAMPLE_WORDS
            packed = words[at : at + _SAMPLE_WORDS].tobytes()
            if words[start] - number < abi.SAMPLES:
                found.append(_sample(packed))
            else:
                lost += 1
        lost += max(0, first - before)
        ends.append(last)
    return sorted(found, key=lambda sample: sample.time_ns), tuple(ends), lost


def _sample(packed: bytes) -> Sample:
    time_ns, slot, target_slot, verdict, vlan, length_bytes, kept_bytes, tpid, tci, octets = abi.SAMPLE_LAYOUT.unpack(packed)
    octets = octets[:kept_bytes]
    if tpid:
        octets = octets[:12] + tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") + octets[12:]
    return Sample(
        time_ns=time_ns,
        slot=slot,
        target_slot=None if target_slot == abi.NOBODY else target_slot,
        verdict=Verdict(verdict),
        vlan=vlan & ~abi.SAMPLE_SERVICE,
        is_service=bool(vlan & abi.SAMPLE_SERVICE),
        length_bytes=length_bytes + (4 if tpid else 0),
        octets=octets,
    )
