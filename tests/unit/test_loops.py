"""Loops through guests: a probe that comes back cuts one port of two, and the port is in again when none comes back any more."""

from dataclasses import dataclass, field, replace

import pytest

from sriov_xdp.datapath.probes import ProbeReturn
from sriov_xdp.pf.state import loops
from sriov_xdp.pf.state.loops import LOOK_SECONDS, SUSPICIOUS_FRAMES, Cut, Findings, GuestPort, Loops, Probe

NONCE, OTHER_NONCE = 0xABCD, 0xDCBA
LOOK_NS = int(LOOK_SECONDS * 1e9)
SECOND_NS = 1_000_000_000
LOW, HIGH, THIRD = 16, 20, 25
VM1, VM2 = ("pf0", "vm1"), ("pf0", "vm2")
LAN = frozenset({0})


def port(slot: int, *, guest: tuple[str, str] = VM1, vlans: frozenset[int] = LAN, generation: int = 1) -> GuestPort:
    return GuestPort(slot=slot, generation=generation, guest=guest, vlans=vlans, flooded_frames=0)


@dataclass
class World:
    """Guests, the loops in them, and a clock. ways: what leaves by the first slot comes back by the second."""

    ports: dict[int, GuestPort]
    ways: set[tuple[int, int]] = field(default_factory=set)
    now_ns: int = 10**12
    loops: Loops = field(default_factory=lambda: Loops(nonce=NONCE))
    noted: dict[int, ProbeReturn] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)
    sent: list[Probe] = field(default_factory=list)

    def bridge(self, *slots: int) -> None:
        self.ways |= {(one, other) for one in slots for other in slots if one != other}

    def look(self, *busy: int, frames: int = SUSPICIOUS_FRAMES) -> Findings:
        """The next look; so many group frames entered by the busy ports before it."""
        self.now_ns += LOOK_NS
        for slot in busy:
            self.ports[slot] = replace(self.ports[slot], flooded_frames=self.ports[slot].flooded_frames + frames)
        returns = {slot: self.noted[slot] for slot in self.loops.watched() if slot in self.noted}
        findings = self.loops.look(list(self.ports.values()), returns, self.now_ns)
        for probe in findings.probes:
            self.send(probe)
        self.cut = (self.cut | {cut.slot for cut in findings.cuts}) - set(findings.healed)
        self.sent += findings.probes
        return findings

    def send(self, probe: Probe) -> None:
        """Each entry is the last to come."""
        for sender, back in self.ways:
            vlans = self.ports[back].vlans
            if sender == probe.sender and (probe.vlan in vlans or len(vlans) == 1):
                self.noted[back] = ProbeReturn(nonce=NONCE, time_ns=self.now_ns + 1, sender=sender, vlan=probe.vlan)

    def looks(self, count: int, *busy: int) -> None:
        for _look in range(count):
            self.look(*busy)


def world(*ports: GuestPort) -> World:
    return World(ports={one.slot: one for one in ports})


@pytest.fixture
def pair() -> World:
    """A guest with two ports, at which was looked once."""
    made = world(port(LOW), port(HIGH))
    assert Findings() == made.look()
    return made


# ---- who is probed ----


def test_quiet_ports_are_not_probed(pair: World) -> None:
    pair.bridge(LOW, HIGH)
    for _look in range(20):
        assert Findings() == pair.look(LOW, HIGH, frames=SUSPICIOUS_FRAMES - 1)


@pytest.mark.parametrize(("busy", "sender"), [(LOW, HIGH), (HIGH, LOW)])
def test_the_sibling_of_a_busy_port_sends_a_probe(pair: World, busy: int, sender: int) -> None:
    assert Findings(probes=(Probe(sender=sender, vlan=0),), suspicious=(busy,)) == pair.look(busy)
    assert Findings() == pair.look(), "and no more when it rests"


def test_what_a_port_sent_before_it_was_known_makes_nobody_suspicious() -> None:
    made = world(port(LOW), port(HIGH))
    assert Findings() == made.look(LOW, HIGH, frames=10**9)


def test_a_busy_port_without_a_sibling_is_not_probed() -> None:
    made = world(port(LOW), port(HIGH, guest=VM2))
    made.look()
    assert Findings(suspicious=(LOW, HIGH)) == made.look(LOW, HIGH)


def test_trunks_are_probed_in_each_of_their_vlans_at_once() -> None:
    made = world(port(LOW, vlans=frozenset({10, 20, 30})), port(HIGH, vlans=frozenset({20, 30, 40})))
    made.look()
    assert tuple(Probe(sender=HIGH, vlan=vlan) for vlan in (40, 30, 20)) == made.look(LOW).probes


@pytest.mark.parametrize(("vlans", "looks"), [(256, 1), (257, 2), (1500, 2), (4094, 4)])
def test_of_many_vlans_each_is_probed_within_a_second(vlans: int, looks: int) -> None:
    shared = frozenset(range(1, vlans + 1))
    made = world(port(LOW, vlans=shared), port(HIGH, vlans=shared))
    made.look()
    made.looks(looks, LOW, HIGH)
    assert {Probe(sender=slot, vlan=vlan) for slot in (LOW, HIGH) for vlan in shared} == set(made.sent)
    assert 2 * vlans == len(made.sent)


def test_a_look_makes_no_more_probes_than_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight trunks of all VLANs: others would wait while all are made."""
    made = 0

    def probe(**said: int) -> Probe:
        nonlocal made
        made += 1
        return Probe(**said)

    monkeypatch.setattr(loops, "Probe", probe)
    everything = frozenset(range(1, 4095))
    trunks = world(*(port(slot, vlans=everything) for slot in range(16, 24)))
    trunks.look()
    looks = -(-8 * len(everything) // loops._MOST_PROBES)
    for _look in range(looks):
        before = made
        assert len(trunks.look(*range(16, 24)).probes) == made - before <= loops._MOST_PROBES
    assert {(slot, vlan) for slot in range(16, 24) for vlan in everything} == {(sent.sender, sent.vlan) for sent in trunks.sent}


def test_of_a_guest_with_many_ports_all_send() -> None:
    made = world(*(port(slot) for slot in range(100, 140)))
    made.look()
    assert {Probe(sender=slot, vlan=0) for slot in range(101, 140)} == set(made.look(100).probes)


# ---- who is cut ----


@pytest.mark.parametrize("busy", [[LOW], [HIGH], [LOW, HIGH]], ids=str)
def test_of_two_bridged_ports_the_higher_one_is_cut_within_two_looks(pair: World, busy: list[int]) -> None:
    pair.bridge(LOW, HIGH)
    assert () == pair.look(*busy).cuts
    assert (Cut(slot=HIGH, other=LOW),) == pair.look(*busy).cuts


@pytest.mark.parametrize("way", [(LOW, HIGH), (HIGH, LOW)])
def test_a_loop_in_one_direction_cuts_the_same_port(pair: World, way: tuple[int, int]) -> None:
    pair.ways = {way}
    pair.look(LOW, HIGH)
    assert (Cut(slot=HIGH, other=LOW),) == pair.look(LOW, HIGH).cuts


def test_busy_ports_without_a_loop_are_never_cut(pair: World) -> None:
    pair.looks(100, LOW, HIGH)
    assert set() == pair.cut
    assert 200 == len(pair.sent)


def test_of_three_bridged_ports_one_stays_in_service() -> None:
    made = world(port(LOW), port(HIGH), port(THIRD))
    made.bridge(LOW, HIGH, THIRD)
    made.look()
    made.looks(2, LOW, HIGH, THIRD)
    assert {HIGH, THIRD} == made.cut


def test_of_many_bridged_ports_one_stays_in_service() -> None:
    made = world(*(port(slot) for slot in range(100, 116)))
    made.bridge(*range(100, 116))
    made.look()
    made.looks(2, *range(100, 116))
    assert set(range(101, 116)) == made.cut


def test_two_loops_in_a_guest_cut_a_port_each() -> None:
    made = world(*(port(slot) for slot in (LOW, HIGH, THIRD, THIRD + 1)))
    made.bridge(LOW, THIRD)
    made.bridge(HIGH, THIRD + 1)
    made.look()
    made.looks(2, LOW, HIGH, THIRD, THIRD + 1)
    assert {THIRD, THIRD + 1} == made.cut


def in_vlans(*vlans: int) -> World:
    """A guest with a port in each of these VLANs, in slots from LOW on."""
    made = world(*(port(LOW + number, vlans=frozenset({vlan})) for number, vlan in enumerate(vlans)))
    made.look()
    return made


ONE, TWO, THREE, FOUR, FIVE, SIX = range(LOW, LOW + 6)


def test_a_firewall_between_two_vlans_is_no_loop() -> None:
    made = in_vlans(100, 200)
    made.bridge(ONE, TWO)
    made.looks(20, ONE, TWO)
    assert set() == made.cut


def test_a_way_to_another_vlan_and_one_back_are_a_loop() -> None:
    made = in_vlans(10, 20, 20, 10)
    made.bridge(ONE, TWO)
    made.bridge(THREE, FOUR)
    made.look(TWO, FOUR)
    assert (Cut(slot=FOUR, other=THREE),) == made.look(TWO, FOUR).cuts


def test_a_way_over_three_vlans_is_a_loop() -> None:
    made = in_vlans(10, 20, 20, 30, 30, 10)
    for ports in ((ONE, TWO), (THREE, FOUR), (FIVE, SIX)):
        made.bridge(*ports)
    made.looks(2, ONE, TWO, THREE, FOUR, FIVE, SIX)
    assert {SIX} == made.cut


def test_ways_to_other_vlans_that_lead_not_back_are_no_loop() -> None:
    made = in_vlans(10, 20, 20, 30, 30, 40)
    for ports in ((ONE, TWO), (THREE, FOUR), (FIVE, SIX)):
        made.bridge(*ports)
    made.looks(20, ONE, TWO, THREE, FOUR, FIVE, SIX)
    assert set() == made.cut


def test_a_loop_over_two_vlans_stays_cut_while_it_is_there_and_heals_when_one_way_is_gone() -> None:
    made = in_vlans(10, 20, 20, 10)
    made.bridge(ONE, TWO)
    made.bridge(THREE, FOUR)
    made.looks(2, TWO, FOUR)
    made.looks(40)
    assert {FOUR} == made.cut
    made.ways -= {(ONE, TWO), (TWO, ONE)}
    made.looks(20)
    assert set() == made.cut


def test_ways_of_two_guests_are_no_loop_of_either() -> None:
    """What one says of itself cuts nobody else."""
    made = in_vlans(10, 20, 20, 10)
    for slot in (THREE, FOUR):
        made.ports[slot] = replace(made.ports[slot], guest=VM2)
    made.bridge(ONE, TWO)
    made.bridge(THREE, FOUR)
    made.looks(20, ONE, TWO, THREE, FOUR)
    assert set() == made.cut


def test_ways_that_a_guest_invents_are_tried_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty ports, each in a VLAN of its own, that all send back what left by any other."""
    tried = 0

    def leads_to(one: loops._Way, other: loops._Way) -> bool:
        nonlocal tried
        tried += 1
        return one.vlan_back == other.vlan and one.returned_by != other.sender

    monkeypatch.setattr(loops._Way, "leads_to", leads_to)
    vlans = range(1, 41)
    made = in_vlans(*vlans)
    slots = range(LOW, LOW + 40)
    for number in range(1, 13):  # in each look another port is the last that came back
        made.look(*slots)
        made.noted = {
            slot: ProbeReturn(nonce=NONCE, time_ns=made.now_ns + 1, sender=sender, vlan=vlans[sender - LOW])
            for slot in slots
            if (sender := LOW + (slot - LOW + number) % 40) != slot
        }
        tried = 0
    made.look(*slots)
    assert 0 < tried <= 3 * loops._MOST_TRIES


def test_other_guests_are_not_touched() -> None:
    made = world(port(LOW), port(HIGH), port(THIRD, guest=VM2), port(THIRD + 1, guest=VM2))
    made.bridge(LOW, HIGH)
    made.look()
    made.looks(10, LOW, HIGH, THIRD, THIRD + 1)
    assert {HIGH} == made.cut


def test_trunks_bridged_in_one_of_their_vlans_are_found() -> None:
    shared = frozenset({10, 20, 30})
    made = world(port(LOW, vlans=shared), port(HIGH, vlans=shared))
    made.look()
    for _look in range(4):
        if Probe(sender=LOW, vlan=20) in made.look(LOW, HIGH).probes:
            made.noted[HIGH] = ProbeReturn(nonce=NONCE, time_ns=made.now_ns + 1, sender=LOW, vlan=20)
    assert {HIGH} == made.cut


GENUINE = ProbeReturn(nonce=NONCE, time_ns=0, sender=LOW, vlan=0)


@pytest.mark.parametrize(
    ("change", "age_ns"),
    [
        ({"nonce": OTHER_NONCE}, 0),
        ({"sender": HIGH}, 0),
        ({"sender": THIRD}, 0),
        ({"sender": 1023}, 0),
        ({"sender": 0xFFFFFFFF}, 0),
        ({"vlan": 7}, 0),
        ({"vlan": 0xFFFFFFFF}, 0),
        ({}, 1),
    ],
    ids=["another run", "itself", "another guest", "nobody", "no slot", "another VLAN", "no VLAN", "before it was asked"],
)
@pytest.mark.parametrize("is_genuine", [True, False])
def test_what_a_guest_invents_cuts_nobody(change: dict[str, int], age_ns: int, is_genuine: bool) -> None:
    """Beside each, the genuine one, which does."""
    made = world(port(LOW), port(HIGH), port(THIRD, guest=VM2))
    made.look()
    made.look(HIGH)
    invented = replace(GENUINE, time_ns=made.now_ns - age_ns, **change)
    made.noted[HIGH] = replace(GENUINE, time_ns=made.now_ns) if is_genuine else invented
    assert ((Cut(slot=HIGH, other=LOW),) if is_genuine else ()) == made.look(HIGH).cuts


def test_a_return_at_a_port_that_was_not_watched_is_nothing(pair: World) -> None:
    pair.noted[HIGH] = replace(GENUINE, time_ns=pair.now_ns)
    assert Findings() == pair.loops.look(list(pair.ports.values()), pair.noted, pair.now_ns + LOOK_NS)


# ---- and for how long ----


@pytest.fixture
def looped(pair: World) -> World:
    """HIGH is cut, and its group frames do not enter any more."""
    pair.bridge(LOW, HIGH)
    pair.looks(2, LOW, HIGH)
    assert {HIGH} == pair.cut
    return pair


def test_a_cut_port_is_probed_each_second_and_stays_cut_while_probes_come_back(looped: World) -> None:
    looped.sent.clear()
    looped.looks(40)
    assert {HIGH} == looped.cut
    assert 10 == len(looped.sent)


def test_a_port_is_in_again_three_seconds_after_the_last_probe_came_back(looped: World) -> None:
    looped.looks(8)
    last_ns = max(found.time_ns for found in looped.noted.values())
    looped.ways.clear()
    healed_at = [looped.now_ns for _look in range(20) if looped.look().healed]
    assert set() == looped.cut
    assert 1 == len(healed_at)
    assert 3 * SECOND_NS <= healed_at[0] - last_ns < 3 * SECOND_NS + LOOK_NS


def test_a_loop_that_comes_again_is_cut_again(looped: World) -> None:
    looped.ways.clear()
    looped.looks(20)
    assert set() == looped.cut
    looped.bridge(LOW, HIGH)
    looped.looks(2, LOW)
    assert {HIGH} == looped.cut


def test_a_cut_port_is_in_again_when_the_other_one_is_gone(looped: World) -> None:
    del looped.ports[LOW]
    looped.looks(13)
    assert set() == looped.cut


def test_a_cut_port_is_in_again_when_the_other_one_has_another_vlan(looped: World) -> None:
    looped.ports[LOW] = replace(looped.ports[LOW], vlans=frozenset({5}))
    looped.looks(13)
    assert set() == looped.cut


def test_the_next_port_in_the_slot_of_a_cut_one_starts_afresh(looped: World) -> None:
    looped.ports[HIGH] = port(HIGH, generation=2)
    looped.ways.clear()
    for _look in range(20):
        assert () == looped.look().healed, "nobody has to be let in"


def test_the_next_port_in_a_slot_is_not_cut_for_what_came_back_to_the_last(pair: World) -> None:
    pair.bridge(LOW, HIGH)
    pair.look(HIGH)
    pair.ports[HIGH] = port(HIGH, generation=2)
    assert () == pair.look().cuts


def test_when_the_clock_is_late_nothing_but_a_probe_comes_of_it(pair: World) -> None:
    pair.now_ns += 60 * SECOND_NS
    findings = pair.look(LOW, HIGH)
    assert () == findings.cuts
    assert 2 == len(findings.probes)
