"""What the benchmark holds the product to: one line a target, with the result beside it."""

from dataclasses import dataclass

AT_LEAST, AT_MOST = "at least", "at most"
WORST = "worst against the bare redirect"
UNDER_ATTACK = "quiet guest's p99 under the worst attack, of what is allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """key: of the result in the report."""

    key: str
    text: str
    bound: str
    value: float
    unit: str = "x"


TARGETS = (
    Target(key="TCP stream, 1 flow|vf auto|cable", text="VF ↔ VF TCP stream, auto, vs cable", bound=AT_LEAST, value=0.97),
    Target(
        key="TCP stream, 1 flow, same CPU|vf auto|cable",
        text="VF ↔ VF TCP stream, both on one CPU, auto, vs cable",
        bound=AT_LEAST,
        value=0.97,
    ),
    Target(
        key="TCP round trip, same CPU|vf auto|cable", text="VF ↔ VF TCP round trip p50, auto, vs cable", bound=AT_MOST, value=1.07
    ),
    Target(key="UDP 64 B|vf auto|cable", text="VF ↔ VF UDP 64 B, auto, vs cable", bound=AT_LEAST, value=0.95),
    Target(key="UDP 64 B|vf auto|macvlan", text="VF ↔ VF UDP 64 B, auto, vs macvlan", bound=AT_LEAST, value=0.97),
    Target(key="UDP 64 B|vf auto|Linux bridge", text="VF ↔ VF UDP 64 B, auto, vs Linux bridge", bound=AT_LEAST, value=1.2),
    Target(key="wire to stack guest|vf auto|Linux bridge", text="wire → stack guest vs Linux bridge", bound=AT_LEAST, value=1.3),
    Target(
        key="wire to dropping XDP guest|vf auto|Linux bridge", text="wire → XDP guest vs Linux bridge", bound=AT_LEAST, value=2.3
    ),
    Target(
        key="wire to hairpin XDP guest|vf auto|bare redirect",
        text="hairpin through an XDP guest vs bare redirect",
        bound=AT_LEAST,
        value=0.9,
    ),
    Target(key=WORST, text="any workload, auto, vs bare redirect", bound=AT_LEAST, value=0.95),
    Target(key="program cost", text="program cost, 256 VFs and 16 384 entries vs 2 and 16", bound=AT_MOST, value=1.10),
    Target(key="attach of a VF, p50 ms", text="attach of a VF, p50", bound=AT_MOST, value=5, unit="ms"),
    Target(key="attach of 256 VFs s", text="attach of 256 VFs", bound=AT_MOST, value=5, unit="s"),
    Target(
        key="apply of 256 VFs from nothing s",
        text="apply of a 256-VF configuration from nothing",
        bound=AT_MOST,
        value=20,
        unit="s",
    ),
    Target(key="warm start with 64 VFs s", text="warm start, 64 VFs adopted", bound=AT_MOST, value=1, unit="s"),
    Target(key="cold start s", text="cold start", bound=AT_MOST, value=3, unit="s"),
    Target(
        key="policy change until the last of 256 ports obeys ms",
        text="policy change, until the last of 256 ports obeys",
        bound=AT_MOST,
        value=100,
        unit="ms",
    ),
    Target(key="scrape with 256 VFs ms", text="scrape with 256 VFs", bound=AT_MOST, value=50, unit="ms"),
    Target(key="resident memory with 64 VFs MiB", text="daemon's resident memory with 64 VFs", bound=AT_MOST, value=70, unit="MiB"),
    Target(key=UNDER_ATTACK, text="quiet guest's mailbox p99 under each attack, of max(5 ms, 10 x quiet)", bound=AT_MOST, value=1),
    Target(
        key="auto: last frame past the guest's program ms",
        text="auto: last frame past the guest's program",
        bound=AT_MOST,
        value=100,
        unit="ms",
    ),
    Target(key="auto: in XDP mode ms", text="auto: VF in XDP mode", bound=AT_MOST, value=100, unit="ms"),
)


def is_met(target: Target, value: float) -> bool:
    """Whether a result reaches its target."""
    return value >= target.value if target.bound == AT_LEAST else value <= target.value
