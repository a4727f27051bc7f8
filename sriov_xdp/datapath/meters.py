"""What holds a port to so many frames or bytes, as the maps have it: storm guards and rates. The programs write the times in them,
and what user space sets is told apart from that. For the datapath package and for readers of its values. Pure.
"""

from dataclasses import dataclass

from sriov_xdp.datapath import abi


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Struct sxdp_guard as far as it is set: how many broadcast and multicast frames of a port enter in a second; 0 = any
    number."""

    broadcast_pps: int = 0
    multicast_pps: int = 0

    def pack(self) -> bytes:
        """The map value of a port that rested, 32 bytes. Shares of a second are rounded up, so that no more enter than that."""
        return abi.GUARD_LAYOUT.pack(_interval_ns(self.broadcast_pps), 0, _interval_ns(self.multicast_pps), 0)

    @staticmethod
    def intervals_in(packed: bytes) -> tuple[int, int]:
        """What of a map value is set, in nanoseconds: of broadcast and of multicast. The rest is the programs'."""
        broadcast_ns, _broadcast_due_ns, multicast_ns, _multicast_due_ns = abi.GUARD_LAYOUT.unpack(packed)
        return broadcast_ns, multicast_ns


NO_GUARD = Guard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Struct sxdp_rate as far as it is set: how fast a port may send, and what may come at once. peak_kbps 0: no peak;
    said_burst_bytes: what the operator said of burst_bytes, 0 = nothing."""

    average_kbps: int = 0
    peak_kbps: int = 0
    burst_bytes: int = 0
    peak_burst_bytes: int = 0
    said_burst_bytes: int = 0

    def pack(self) -> bytes:
        """The map value of a port that rested, 64 bytes."""
        average, peak = _bucket(self.average_kbps, self.burst_bytes), _bucket(self.peak_kbps, self.peak_burst_bytes)
        return abi.RATE_LAYOUT.pack(*average, *peak, self.average_kbps, self.peak_kbps, self.said_burst_bytes)

    @staticmethod
    def said_in(packed: bytes) -> tuple[int, ...]:
        """What of a map value is set. The rest is the programs'."""
        cost, burst, _full_at, peak_cost, peak_burst, _peak_full_at, *said = abi.RATE_LAYOUT.unpack(packed)
        return cost, burst, peak_cost, peak_burst, *said

    @staticmethod
    def words_in(packed: bytes) -> tuple[int, int, int]:
        """average_kbps, peak_kbps and burst_bytes as the operator said them."""
        average_kbps, peak_kbps, burst_bytes = abi.RATE_LAYOUT.unpack(packed)[6:]
        return average_kbps, peak_kbps, burst_bytes


NO_RATE = Rate()


def _bucket(kbps: int, burst_bytes: int) -> tuple[int, int, int]:
    """Struct sxdp_bucket. A time unit is 1/1024 ns, a cost 1/1024 of that for each byte."""
    cost = (8 * 10**9 << 20) // (1000 * kbps) if kbps else 0
    return cost, burst_bytes * cost >> 10, 0


def _interval_ns(pps: int) -> int:
    return -(-1_000_000_000 // pps) if pps else 0
