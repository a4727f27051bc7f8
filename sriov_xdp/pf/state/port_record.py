"""What a port of a static group keeps while nobody is connected, beside its settings: what was counted there. Pure."""

import json
from collections import Counter
from dataclasses import dataclass

from sriov_xdp.datapath.abi import Counters
from sriov_xdp.pf.state.intent_text import require_range, require_type

_MOST = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRecord:
    """counted: frames and bytes by name, as views show them (rx is what the switch delivered to the guest); drops: frames by
    verdict."""

    counted: tuple[tuple[str, int], ...] = ()
    drops: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, counters: Counters) -> "PortRecord":
        """Of one port, as its maps say."""
        counted = {
            "rx_packets": counters.delivered_frames,
            "rx_bytes": counters.egress_bytes,
            "tx_packets": counters.ingress_frames,
            "tx_bytes": counters.ingress_bytes,
        }
        return cls(counted=tuple(counted.items()), drops=tuple(counters.drops().items()))

    def plus(self, other: "PortRecord") -> "PortRecord":
        """What was counted in both times."""
        return PortRecord(counted=_sum(self.counted, other.counted), drops=_sum(self.drops, other.drops))


def _sum(one: tuple[tuple[str, int], ...], other: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    total = Counter(dict(one))
    total.update(dict(other))
    return tuple(total.items())


def record_to_text(record: PortRecord) -> str:
    """For the store."""
    return json.dumps({"counted": dict(record.counted), "drops": dict(record.drops)})


def record_from_text(text: str) -> PortRecord:
    """The reverse. Raises ValueError, KeyError, TypeError."""
    document = json.loads(text)
    for part in (document["counted"], document["drops"]):
        require_type(dict, part)
        require_type(int, *part.values())
        for number in part.values():
            require_range(number, 0, _MOST)
    return PortRecord(counted=tuple(document["counted"].items()), drops=tuple(document["drops"].items()))
