"""Loops through guests: which ports to probe, which to cut, and when to let them in again. Pure: time and counters come as
arguments. What a probe is: datapath/probes.py; who sends it and carries a finding out: loop_watch.py.

A guest that bridges two of its VFs sends every flood that leaves by one back by the other, for ever. Many frames to be copied alone
show no loop, as machines may well send many; but a probe that was sent into the guest by one port and came out of another does. So
busy ports of a guest with several are probed, as loop protection in switches does it. A probe that comes back is a way through
the guest, from a port in a VLAN to another, maybe in another VLAN, as through a firewall. Ways that lead round are a loop: of
its ports the one with the highest slot is cut: whichever way the probes went, the same one, so that the others stay in service.
What a trunk sends back counts for the VLAN that the probe left in: a guest that leads one of a trunk's VLANs into another one is
not seen through.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sriov_xdp.datapath.probes import ProbeReturn

LOOK_SECONDS = 0.25
SUSPICIOUS_FRAMES = 300  # in the time between two looks
_PROBE_CUT_NS = 1_000_000_000
_HEAL_NS = 3_000_000_000
# Of one guest in one look, as each costs some 20 us: its other probes are sent with the next looks.
_FEW_PROBES, _MOST_PROBES = 512, 2048
_MOST_TRIES = 5_000  # of ways of one guest in one look

Reference = tuple[int, int]  # slot and generation, which together no other port ever has


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestPort:
    """A port that may be part of a loop. guest: where it leads to, the PF and the guest's
    namespace; vlans: in which it takes part, a guest's own within one of the switch's being others than that; flooded_frames: that
    have entered by it so far, to be copied to others."""

    slot: int
    generation: int
    guest: tuple[str, str]
    vlans: frozenset[int]
    flooded_frames: int

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
    """What a look comes to. healed: slots of ports that were cut. probes: in the order in which they are to be sent. suspicious:
    slots of ports by which many frames came to be copied."""

    cuts: tuple[Cut, ...] = ()
    healed: tuple[int, ...] = ()
    probes: tuple[Probe, ...] = ()
    suspicious: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Way:
    """Through a guest: what leaves to it by the port in slot sender in a VLAN comes back by another, and goes on in vlan_back."""

    sender: int
    vlan: int
    returned_by: int
    vlan_back: int

    def leads_to(self, other: "_Way") -> bool:
        """A flood leaves by all ports of its VLAN but the one that it came by."""
        return self.vlan_back == other.vlan and self.returned_by != other.sender


@dataclass(slots=True, kw_only=True)
class _Loop:
    """Why a port is cut: ways that lead round, and when they were probed last."""

    ways: tuple[_Way, ...]
    probed_ns: int = 0


@dataclass(slots=True, kw_only=True)
class Loops:
    """What is known of loops. nonce: the mark of probes of this run; others are nobody's."""

    nonce: int
    _frames: dict[Reference, int] = field(default_factory=dict)
    _watched: dict[Reference, int] = field(default_factory=dict)  # since when a return by this port counts
    _ways: dict[_Way, int] = field(default_factory=dict)  # when a probe took it last
    _cut: dict[Reference, _Loop] = field(default_factory=dict)
    _round: int = 0

    def watched(self) -> list[int]:
        """Slots by which probes may have come back since the last look."""
        return [slot for slot, _generation in self._watched]

    def look(self, ports: Sequence[GuestPort], returns: Mapping[int, ProbeReturn], now_ns: int) -> Findings:
        """At every LOOK_SECONDS. ports: those with siblings, and all that are cut; returns: by slot, of watched ones."""
        known = {port.slot: port for port in ports}
        self._forget_the_gone(known)
        self._heed(known, returns)
        self._ways = {way: taken_ns for way, taken_ns in self._ways.items() if self._is_live(way, taken_ns, known, now_ns)}
        cuts = self._find_loops(known)
        healed = self._heal()
        suspicious = [port for port in ports if self._is_suspicious(port)]
        self._frames = {port.reference: port.flooded_frames for port in ports}
        probes = self._probe_cut(known, now_ns)
        for guest in {port.guest for port in suspicious}:
            of_guest = sorted((port for port in ports if port.guest == guest), key=lambda port: port.slot)
            probes |= self._probe_suspicious(of_guest, [port for port in suspicious if port.guest == guest])
            self._watched |= dict.fromkeys((port.reference for port in of_guest), now_ns)
        self._round += 1
        # Of what comes back by a port, the last is noted. The lowest sender is the one that all others are to be cut for.
        return Findings(
            cuts=tuple(cuts),
            healed=tuple(healed),
            probes=tuple(sorted(probes, reverse=True)),
            suspicious=tuple(port.slot for port in suspicious),
        )

    def _forget_the_gone(self, known: Mapping[int, GuestPort]) -> None:
        references = {port.reference for port in known.values()}
        self._cut = {reference: loop for reference, loop in self._cut.items() if reference in references}
        before = {slot for slot, _generation in self._frames.keys() - references}
        self._ways = {way: at_ns for way, at_ns in self._ways.items() if not {way.sender, way.returned_by} & before}

    def _heed(self, known: Mapping[int, GuestPort], returns: Mapping[int, ProbeReturn]) -> None:
        """What is in a probe may be the guest's invention, so it counts only for ports of that guest; and only for one that was
        there when it was sent."""
        for slot, found in returns.items():
            port, sender = known.get(slot), known.get(found.sender)
            if port is None or sender is None or found.nonce != self.nonce:
                continue
            since_ns = self._watched.get(port.reference)
            if since_ns is None or found.time_ns < since_ns or sender.reference not in self._frames:
                continue
            vlan_back = next(iter(port.vlans)) if len(port.vlans) == 1 else found.vlan
            way = _Way(sender=sender.slot, vlan=found.vlan, returned_by=port.slot, vlan_back=vlan_back)
            self._ways[way] = found.time_ns

    @staticmethod
    def _is_live(way: _Way, taken_ns: int, known: Mapping[int, GuestPort], now_ns: int) -> bool:
        """Taken lately, and still a way between two ports of one guest, in VLANs of theirs."""
        sender, port = known.get(way.sender), known.get(way.returned_by)
        if sender is None or port is None or sender is port or sender.guest != port.guest:
            return False
        return now_ns - taken_ns < _HEAL_NS and way.vlan in sender.vlans and way.vlan_back in port.vlans

    def _find_loops(self, known: Mapping[int, GuestPort]) -> list[Cut]:
        """Those without a port that is cut already, which takes no part in floods; the shortest first."""
        of_guests = dict[tuple[str, str], list[_Way]]()
        for way in sorted(self._ways):
            of_guests.setdefault(known[way.sender].guest, []).append(way)
        cuts = []
        for ways in sorted((loop for of_guest in of_guests.values() for loop in _ways_round(of_guest)), key=len):
            slots = {slot for way in ways for slot in (way.sender, way.returned_by)}
            if not slots & {slot for slot, _generation in self._cut}:
                loser = max(slots)
                self._cut[known[loser].reference] = _Loop(ways=ways)
                cuts.append(Cut(slot=loser, other=_neighbour(ways, loser)))
        return cuts

    def _heal(self) -> list[int]:
        """Ports of which a way round is none any more."""
        healed = [reference for reference, loop in self._cut.items() if not all(way in self._ways for way in loop.ways)]
        for reference in healed:
            del self._cut[reference]
        return [slot for slot, _generation in healed]

    def _is_suspicious(self, port: GuestPort) -> bool:
        before = self._frames.get(port.reference)
        return before is not None and port.flooded_frames - before >= SUSPICIOUS_FRAMES

    def _probe_cut(self, known: Mapping[int, GuestPort], now_ns: int) -> set[Probe]:
        """Each second, the ways that the last ones took."""
        due = [loop for loop in self._cut.values() if now_ns - loop.probed_ns >= _PROBE_CUT_NS]
        for loop in due:
            loop.probed_ns = now_ns
        self._watched = {known[way.returned_by].reference: loop.probed_ns for loop in self._cut.values() for way in loop.ways}
        return {Probe(sender=way.sender, vlan=way.vlan) for loop in due for way in loop.ways}

    def _probe_suspicious(self, of_guest: list[GuestPort], suspicious: list[GuestPort]) -> set[Probe]:
        """By all siblings of the suspicious ports of a guest, and by those themselves where there are several ways, in each of
        their VLANs: one of a trunk's may be what is looped. Where that is many, each look makes and sends a part of them in turn,
        every so manieth of all."""
        vlans = {sender.slot: _in_order(sender.vlans) for sender in of_guest if suspicious != [sender]}
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


def _ways_round(ways: list[_Way]) -> Iterator[tuple[_Way, ...]]:
    """The shortest loop of each way through a guest: breadth first. A guest may invent ways, so what is tried is bounded."""
    by_vlan = dict[int, list[_Way]]()
    for way in ways:
        by_vlan.setdefault(way.vlan, []).append(way)
    tries = 0
    for start in sorted(ways, key=lambda way: not way.leads_to(way)):
        paths: list[tuple[_Way, ...]] = [(start,)]
        seen = {start}
        for path in paths:
            if path[-1].leads_to(start):
                yield path
                break
            for way in by_vlan.get(path[-1].vlan_back, ()):
                tries += 1
                if way not in seen and path[-1].leads_to(way):
                    seen.add(way)
                    paths.append((*path, way))
            if tries > _MOST_TRIES:
                return


def _neighbour(ways: tuple[_Way, ...], slot: int) -> int:
    """The other end of a port's way."""
    return next(one.returned_by if one.sender == slot else one.sender for one in ways if slot in (one.sender, one.returned_by))
