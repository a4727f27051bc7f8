"""Loops through guests: which ports to probe, which to cut, and when to let them in again. Pure: time and counters come as
arguments. What a probe is: datapath/probes.py; who sends it and carries a finding out: loop_watch.py.

A guest that bridges two of its VFs sends every flood that leaves by one back by the other, for ever. Many group frames alone show
no loop, as machines may well send many; but a probe that was sent into the guest by one port and came out of another does. So
busy ports of a guest with several are probed, as loop protection in switches does it. Of two ports with a loop between them the
one with the higher slot is cut: whichever way the probe went, the same one, so that one stays in service.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from sriov_xdp.datapath.abi import ProbeReturn

LOOK_SECONDS = 0.25
SUSPICIOUS_FRAMES = 300  # in the time between two looks
_PROBE_CUT_NS = 1_000_000_000
_HEAL_NS = 3_000_000_000
# Of one guest in one look, as each costs some 20 us: its other probes are sent with the next looks.
_FEW_PROBES, _MOST_PROBES = 512, 2048

Reference = tuple[int, int]  # slot and generation, which together no other port ever has


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestPort:
    """A port that may be part of a loop. guest: where it leads to, the PF and the guest's
    namespace; vlans: in which it takes part; group_frames: that have
    entered by it so far."""

    slot: int
    generation: int
    guest: tuple[str, str]
    vlans: frozenset[int]
    group_frames: int

    @property
    def reference(self) -> Reference:
        """What tells it from a later port in its slot."""
        return self.slot, self.generation


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Probe:
    """To be sent into a guest by the port in slot sender, in a VLAN of it."""

    sender: int
    vlan: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The port in slot is to be cut because of a loop with the one in slot other."""

    slot: int
    other: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a look comes to. healed: slots of ports that were cut. probes: in the order in which they are to be sent."""

    cuts: tuple[Cut, ...] = ()
    healed: tuple[int, ...] = ()
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    """Why a port is cut: the probe that came back last, and by which port."""

    probe: Probe
    returned_by: Reference
    returned_ns: int
    probed_ns: int


@dataclass(slots=True, kw_only=True)
class Loops:
    """What is known of loops. nonce: the mark of probes of this run; others are nobody's."""

    nonce: int
    _frames: dict[Reference, int] = field(default_factory=dict)
    _watched: dict[Reference, int] = field(default_factory=dict)  # since when a return by this port counts
    _cut: dict[Reference, _Loop] = field(default_factory=dict)
    _round: int = 0

    def watched(self) -> list[int]:
        """Slots by which probes may have come back since the last look."""
        return [slot for slot, _generation in self._watched]

    def look(self, ports: Sequence[GuestPort], returns: Mapping[int, ProbeReturn], now_ns: int) -> Findings:
        """At every LOOK_SECONDS. ports: those with siblings, and all that are cut; returns: by slot, of watched ones."""
        known = {port.slot: port for port in ports}
        references = {port.reference for port in ports}
        self._cut = {reference: loop for reference, loop in self._cut.items() if reference in references}
        cuts = self._heed(known, returns)
        healed = self._heal(now_ns)
        suspicious = [port for port in ports if self._is_suspicious(port)]
        self._frames = {port.reference: port.group_frames for port in ports}
        probes = self._probe_cut(known, now_ns)
        for guest in {port.guest for port in suspicious}:
            of_guest = sorted((port for port in ports if port.guest == guest), key=lambda port: port.slot)
            probes |= self._probe_suspicious(of_guest, [port for port in suspicious if port.guest == guest])
            self._watched |= dict.fromkeys((port.reference for port in of_guest), now_ns)
        self._round += 1
        # Of what comes back by a port, the last is noted. The lowest sender is the one that all others are to be cut for.
        return Findings(cuts=tuple(cuts), healed=tuple(healed), probes=tuple(sorted(probes, reverse=True)))

    def _heed(self, known: Mapping[int, GuestPort], returns: Mapping[int, ProbeReturn]) -> list[Cut]:
        """What is in a probe may be the guest's invention, so it counts only for ports of that guest; and only for one that was
        there when it was sent."""
        cuts = []
        for slot, found in returns.items():
            port, sender = known.get(slot), known.get(found.sender)
            if port is None or sender is None or found.nonce != self.nonce or found.vlan not in _common_vlans(port, sender):
                continue
            since_ns = self._watched.get(port.reference)
            if since_ns is None or found.time_ns < since_ns or sender.reference not in self._frames:
                continue
            loser, other = (port, sender) if port.slot > sender.slot else (sender, port)
            if loser.reference not in self._cut:
                cuts.append(Cut(slot=loser.slot, other=other.slot))
            former = self._cut.get(loser.reference)
            self._cut[loser.reference] = _Loop(
                probe=Probe(sender=sender.slot, vlan=found.vlan),
                returned_by=port.reference,
                returned_ns=found.time_ns,
                probed_ns=former.probed_ns if former else 0,
            )
        return cuts

    def _heal(self, now_ns: int) -> list[int]:
        healed = [reference for reference, loop in self._cut.items() if now_ns - loop.returned_ns >= _HEAL_NS]
        for reference in healed:
            del self._cut[reference]
        return [slot for slot, _generation in healed]

    def _is_suspicious(self, port: GuestPort) -> bool:
        before = self._frames.get(port.reference)
        return before is not None and port.group_frames - before >= SUSPICIOUS_FRAMES

    def _probe_cut(self, known: Mapping[int, GuestPort], now_ns: int) -> set[Probe]:
        """Each second, the way that the last one took."""
        due = {reference: loop for reference, loop in self._cut.items() if now_ns - loop.probed_ns >= _PROBE_CUT_NS}
        self._cut |= {reference: replace(loop, probed_ns=now_ns) for reference, loop in due.items()}
        self._watched = {loop.returned_by: loop.probed_ns for loop in self._cut.values()}
        return {loop.probe for loop in due.values() if loop.probe.sender in known}

    def _probe_suspicious(self, of_guest: list[GuestPort], suspicious: list[GuestPort]) -> set[Probe]:
        """By all siblings of the suspicious ports of a guest, in each VLAN that they share: one of a trunk's may be what is looped.
        Where that is many, each look makes and sends a part of them in turn, every so manieth of all."""
        vlans = {sender.slot: _in_order(_shared_vlans(sender, suspicious)) for sender in of_guest}
        count = sum(map(len, vlans.values()))
        looks = 1 if count <= _FEW_PROBES else max(2, -(-count // _MOST_PROBES))
        probes, passed = set[Probe](), 0
        for sender, numbers in vlans.items():
            first = (self._round - passed) % looks
            probes |= {Probe(sender=sender, vlan=vlan) for vlan in numbers[first::looks]}
            passed += len(numbers)
        return probes


@lru_cache(maxsize=64)
def _in_order(vlans: frozenset[int]) -> tuple[int, ...]:
    return tuple(sorted(vlans))


def _shared_vlans(sender: GuestPort, suspicious: list[GuestPort]) -> frozenset[int]:
    """In which a port has one of these siblings."""
    found: frozenset[int] = frozenset()
    for port in suspicious:
        found |= _common_vlans(port, sender)
        if len(found) == len(sender.vlans):
            return sender.vlans
    return found


def _common_vlans(port: GuestPort, other: GuestPort) -> frozenset[int]:
    """In which a flood that enters by one leaves by the other. Ports of a guest in different VLANs, as those of a firewall
    between them, make no loop."""
    if port.guest != other.guest or port.slot == other.slot:
        return frozenset()
    return port.vlans if port.vlans is other.vlans else port.vlans & other.vlans
