"""How fast a port may be: what an operator says of one direction, and the token bucket with a queue that it stands for.

Pure. The defaults were measured: small bursts at low rates, so that a super-frame does not take half a second; a queue of some tens
of milliseconds, which gives TCP the round trip that it needs.
"""

from dataclasses import dataclass

MOST_KBPS = 30_000_000  # a rate in bytes still fits into 32 bits
MOST_BURST_BYTES = 1 << 30
_ETHERNET_BYTES = 18  # a header with a tag
_SLOW_BYTES = 50_000_000 // 8
_SLOW_BURST_BYTES, _FAST_BURST_BYTES, _FAST_BURST_SECONDS = 16_384, 72_000, 0.010
_SLOW_QUEUE_SECONDS, _FAST_QUEUE_SECONDS = 0.100, 0.050


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

    def queue(self, mtu_bytes: int) -> "Queue | None":
        """What holds to it; None for a port that is not limited. mtu_bytes: of the port."""
        if not self.average_kbps:
            return None
        rate, longest_bytes = self.average_kbps * 125, mtu_bytes + _ETHERNET_BYTES
        is_slow = rate < _SLOW_BYTES
        by_rate = _SLOW_BURST_BYTES if is_slow else max(_FAST_BURST_BYTES, int(rate * _FAST_BURST_SECONDS))
        burst_bytes = max(self.burst_bytes or by_rate, longest_bytes)
        waiting_seconds = _SLOW_QUEUE_SECONDS if is_slow else _FAST_QUEUE_SECONDS
        return Queue(
            bytes_per_second=rate,
            peak_bytes_per_second=self.peak_kbps * 125,
            burst_bytes=burst_bytes,
            limit_bytes=burst_bytes + int(rate * waiting_seconds),
            longest_bytes=longest_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A token bucket filter. limit_bytes: what waits at most; peak_bytes_per_second 0: a burst is not held back."""

    bytes_per_second: int
    peak_bytes_per_second: int
    burst_bytes: int
    limit_bytes: int
    longest_bytes: int
