"""How fast a port may be: what an operator says of one direction, and what it stands for, a token bucket with a queue or without.

Pure. The defaults were measured: small bursts at low rates, so that a super-frame does not take half a second; a queue of some tens
of milliseconds, which gives TCP the round trip that it needs. Without a queue, TCP needs half a second's burst, and has 64 to 100 %
of its rate with it.
"""

from dataclasses import dataclass
from enum import StrEnum

MOST_KBPS = 30_000_000  # a rate in bytes still fits into 32 bits
MOST_BURST_BYTES = 1 << 30
_ETHERNET_BYTES = 18  # a header with a tag
_BYTES_A_KBPS = 125
_SLOW_BYTES = 50_000_000 // 8
_SLOW_BURST_BYTES, _FAST_BURST_BYTES, _FAST_BURST_SECONDS = 16_384, 72_000, 0.010
_SLOW_QUEUE_SECONDS, _FAST_QUEUE_SECONDS = 0.100, 0.050
_POLICED_BURST_BYTES, _POLICED_BURST_SECONDS = 65_536, 0.5
_PEAK_BURST_SECONDS = 0.010
_MOST_BURST_SECONDS = 240  # the kernel keeps a burst as a time, of 274 seconds at most


@dataclass(frozen=True, slots=True)
class Shaping:
    """Of one direction. Wire bytes with Ethernet headers, without preamble and checksum; kbps = 1000 bit/s. average_kbps 0: as fast
    as it can; peak_kbps 0: a burst leaves as fast as it can; burst_bytes 0: chosen by the rate."""

    average_kbps: int = 0
    peak_kbps: int = 0
    burst_bytes: int = 0

    def __post_init__(self) -> None:
        if self.peak_kbps and self.peak_kbps <= self.average_kbps:
            raise ValueError(f"peak_kbps {self.peak_kbps}: expected more than average_kbps, {self.average_kbps}, or none")
        if not self.average_kbps and (self.peak_kbps or self.burst_bytes):
            raise ValueError("average_kbps 0: expected no peak_kbps and burst_bytes with it")
        most_bytes = self.average_kbps * _BYTES_A_KBPS * _MOST_BURST_SECONDS
        if self.burst_bytes > most_bytes:
            raise ValueError(
                f"burst_bytes {self.burst_bytes}: expected at most {most_bytes}, {_MOST_BURST_SECONDS} seconds of the rate"
            )

    def queue(self, mtu_bytes: int) -> "Queue | None":
        """What holds to it; None for a port that is not limited. mtu_bytes: of the port."""
        if not self.average_kbps:
            return None
        rate, longest_bytes = self.average_kbps * _BYTES_A_KBPS, mtu_bytes + _ETHERNET_BYTES
        is_slow = rate < _SLOW_BYTES
        by_rate = _SLOW_BURST_BYTES if is_slow else max(_FAST_BURST_BYTES, int(rate * _FAST_BURST_SECONDS))
        burst_bytes = max(self.burst_bytes or by_rate, longest_bytes)
        waiting_seconds = _SLOW_QUEUE_SECONDS if is_slow else _FAST_QUEUE_SECONDS
        return Queue(
            bytes_per_second=rate,
            peak_bytes_per_second=self.peak_kbps * _BYTES_A_KBPS,
            burst_bytes=burst_bytes,
            limit_bytes=burst_bytes + int(rate * waiting_seconds),
            longest_bytes=longest_bytes,
        )


class ShapingMode(StrEnum):
    """What becomes of what is too much: it waits, as long as there is room, or it is dropped."""

    SHAPE = "shape"
    POLICE = "police"


@dataclass(frozen=True, slots=True)
class IngressShaping(Shaping):
    """Of what a guest sends."""

    mode: ShapingMode = ShapingMode.SHAPE

    def __post_init__(self) -> None:
        Shaping.__post_init__(self)
        if not self.average_kbps and self.mode is not ShapingMode.SHAPE:
            raise ValueError(f"average_kbps 0: expected no mode {self.mode} with it")

    def queue(self, mtu_bytes: int) -> "Queue | None":
        """Of mode shape."""
        return Shaping.queue(self, mtu_bytes) if self.mode is ShapingMode.SHAPE else None

    def policer(self, mtu_bytes: int) -> "Policer | None":
        """Of mode police, and for a port whose queue is not there yet. None for one that is not limited. mtu_bytes: of the port."""
        if not self.average_kbps:
            return None
        longest_bytes = mtu_bytes + _ETHERNET_BYTES
        by_rate = max(_POLICED_BURST_BYTES, int(self.average_kbps * _BYTES_A_KBPS * _POLICED_BURST_SECONDS))
        by_peak = max(2 * longest_bytes, int(self.peak_kbps * _BYTES_A_KBPS * _PEAK_BURST_SECONDS))
        return Policer(
            average_kbps=self.average_kbps,
            peak_kbps=self.peak_kbps,
            burst_bytes=max(self.burst_bytes or by_rate, longest_bytes),
            peak_burst_bytes=by_peak if self.peak_kbps else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policer:
    """A token bucket filter without a queue. peak_kbps 0: a burst is not held back."""

    average_kbps: int
    peak_kbps: int
    burst_bytes: int
    peak_burst_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A token bucket filter. limit_bytes: what waits at most; peak_bytes_per_second 0: a burst is not held back."""

    bytes_per_second: int
    peak_bytes_per_second: int
    burst_bytes: int
    limit_bytes: int
    longest_bytes: int
