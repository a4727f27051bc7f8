"""Random cases come to everything that the model knows, and the comparison of model and programs can fail."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cases import Case, is_flooded_by_xdp, some
from programs import Switch, without_flags

from sriov_xdp.datapath import model
from sriov_xdp.datapath.abi import FIRST_VF_SLOT, PortFlag, Verdict
from sriov_xdp.datapath.model import Fate, Rule
from sriov_xdp.datapath.model_ports import ISOLATED, PROMISCUOUS, Ethernet, Group, Port

POOL = 8000
OUT_OF_REACH = {
    Verdict.REDIRECT_ERROR,
    Verdict.MISSED_STAGE,
    Verdict.QUEUE_FULL,
}  # devices take what they are given, and no program is missing

Mutant = Callable[[Case], Fate]


@pytest.fixture(scope="module")
def pool() -> tuple[Case, ...]:
    """Random cases, made once, as that takes longer than all that is asked of them."""
    return some(POOL)


@pytest.mark.parametrize("is_by_xdp", [True, False])
def test_random_cases_come_to_floods_of_both_kinds(pool: tuple[Case, ...], is_by_xdp: bool) -> None:
    floods = (case for case in pool if case.fate().verdict is Verdict.FLOODED and model.is_group(case.frame[:6]))
    assert any(is_flooded_by_xdp(case) is is_by_xdp for case in floods)


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - OUT_OF_REACH), ids=lambda verdict: verdict.label)
def test_random_cases_come_to_every_verdict(pool: tuple[Case, ...], verdict: Verdict) -> None:
    remedy = f"no random case comes to {verdict.label}: cases.py must draw one, or OUT_OF_REACH name it"
    assert any(case.fate().verdict is verdict for case in pool), remedy


# ---- the comparison itself can fail ----


def without(rule: Rule) -> Mutant:
    rules = tuple(kept for kept in model.RULES if kept is not rule)
    return lambda case: case.fate(rules)


def swapped(first: Rule, second: Rule) -> Mutant:
    exchange = {first: second, second: first}
    rules = tuple(exchange.get(rule, rule) for rule in model.RULES)
    return lambda case: case.fate(rules)


def returns_floods_to_the_sender(case: Case) -> Fate:
    fate = case.fate()
    return replace(fate, left={**fate.left, case.slot: case.frame}) if fate.verdict is Verdict.FLOODED else fate


def forgets_one_receiver(case: Case) -> Fate:
    fate = case.fate()
    return replace(fate, left=dict(list(fate.left.items())[1:]))


def forgets_priorities(case: Case) -> Fate:
    fate = case.fate()
    left = {slot: frame[:14] + bytes([frame[14] & 0x1F]) + frame[15:] for slot, frame in fate.left.items() if len(frame) > 14}
    is_tagged = any(frame[12:14] == b"\x81\x00" for frame in left.values())
    return replace(fate, left=left) if is_tagged else fate


def lets_the_host_hear_everything(case: Case) -> Fate:
    return replace(case.fate(), reaches_host=True)


def with_ports(case: Case, ports: dict[int, Port]) -> Case:
    return replace(case, ports=ports)


def guards_all_alike(case: Case) -> Fate:
    ports = {slot: replace(port, storms=frozenset(Group) if port.storms else port.storms) for slot, port in case.ports.items()}
    return with_ports(case, ports).fate()


def floods_to_ports_with_a_loop(case: Case) -> Fate:
    healed = {slot: without_flags(port, PortFlag.LOOP) if slot != case.slot else port for slot, port in case.ports.items()}
    return with_ports(case, healed).fate()


def lets_frames_into_blocked_ports(case: Case) -> Fate:
    opened = {slot: without_flags(port, PortFlag.BLOCKED) if slot != case.slot else port for slot, port in case.ports.items()}
    return with_ports(case, opened).fate()


def sends_to_a_wire_that_is_lost(case: Case) -> Fate:
    joined = {slot: without_flags(port, PortFlag.LOST) for slot, port in case.ports.items()}
    return with_ports(case, joined).fate()


def gives_nobody_copies(case: Case) -> Fate:
    deaf = {slot: without_flags(port, PortFlag.PROMISCUOUS) for slot, port in case.ports.items()}
    return with_ports(case, deaf).fate()


def switches_itself(case: Case) -> Fate:
    own = {slot: without_flags(port, PortFlag.VEPA) for slot, port in case.ports.items()}
    return with_ports(case, own).fate()


def with_values(case: Case, slots: Callable[[int], bool], **values: int) -> Case:
    """The same network, where ports say something else."""
    changed = {
        slot: replace(port, value=replace(port.value, **values)) if slots(slot) else port for slot, port in case.ports.items()
    }
    return with_ports(case, changed)


def lets_segments_meet(case: Case) -> Fate:
    return with_values(case, lambda slot: slot >= FIRST_VF_SLOT, segment=PROMISCUOUS).fate()


def lets_isolated_ports_be_a_community(case: Case) -> Fate:
    joined = {
        slot: replace(port, value=replace(port.value, segment=9)) if port.value.segment == ISOLATED else port
        for slot, port in case.ports.items()
    }
    return with_ports(case, joined).fate()


def knows_no_native_vlan(case: Case) -> Fate:
    return with_values(case, lambda slot: case.ports[slot].has(PortFlag.TRUNK), vlan=0).fate()


def takes_service_vlans_for_others(case: Case) -> Fate:
    """802.1ad's VLANs are 802.1Q's of the same number."""
    return with_ports(case, {slot: without_flags(port, PortFlag.SERVICE) for slot, port in case.ports.items()}).fate()


def lets_no_guest_have_tags_of_its_own(case: Case) -> Fate:
    ethernet, port = Ethernet.parse(case.frame), case.ports.get(case.slot)
    is_inner = port is not None and port.is_access and ethernet is not None and ethernet.tpid is not None and ethernet.vid
    return Fate(verdict=Verdict.SPOOF_VLAN) if is_inner else case.fate()


def lets_trunks_hear_all(case: Case) -> Fate:
    return with_ports(case, {slot: replace(port, unheard=frozenset()) for slot, port in case.ports.items()}).fate()


def sees_no_probe_behind_an_inner_tag(case: Case) -> Fate:
    ethernet, port = Ethernet.parse(case.frame), case.ports.get(case.slot)
    has_inner = port is not None and port.is_access and ethernet is not None and ethernet.tpid is not None
    return without(model.is_no_probe)(case) if has_inner else case.fate()


def lets_nobody_share(case: Case) -> Fate:
    alone = {slot: replace(port, shared=frozenset()) for slot, port in case.ports.items()}
    return with_ports(case, alone).fate()


def shares_with_all(case: Case) -> Fate:
    """Whoever is there may speak by what anybody holds."""
    held = frozenset(mac for port in case.ports.values() for mac in port.shared)
    return with_ports(case, {slot: replace(port, shared=held) for slot, port in case.ports.items()}).fate()


def leads_to_whoever_holds_it(case: Case) -> Fate:
    return with_ports(case, {slot: replace(port, elsewhere=frozenset()) for slot, port in case.ports.items()}).fate()


def tells_nobody(case: Case) -> Fate:
    return replace(case.fate(), is_told=False)


def gives_no_priority(case: Case) -> Fate:
    return with_values(case, lambda slot: slot >= FIRST_VF_SLOT, priority=0).fate()


PLANTED = {
    **{f"without {rule.__name__}": without(rule) for rule in model.RULES if rule is not model.headers_are_whole},
    "tags before length": swapped(model.length_fits, model.has_one_tag_at_most),
    "forged before spoofed": swapped(model.source_is_not_taken, model.source_is_own),
    "control frames before sources": swapped(model.source_is_a_station, model.is_no_control_frame),
    "storms before loops": swapped(model.guest_has_no_loop, model.guest_makes_no_storm),
    "trunks hear all of their VLANs": lets_trunks_hear_all,
    "probes behind a tag of the guest's own are none": sees_no_probe_behind_an_inner_tag,
    "probes behind sources": swapped(model.is_no_probe, model.source_is_own),
    "probes before tags": swapped(model.vlan_is_allowed, model.is_no_probe),
    "every group frame is guarded alike": guards_all_alike,
    "floods leave to ports with a loop": floods_to_ports_with_a_loop,
    "blocked ports take frames": lets_frames_into_blocked_ports,
    "a wire that is lost takes frames": sends_to_a_wire_that_is_lost,
    "no PF leaves switching to the wire": switches_itself,
    "promiscuous ports get no copies": gives_nobody_copies,
    "segments meet": lets_segments_meet,
    "isolated ports are a community": lets_isolated_ports_be_a_community,
    "a trunk has no native VLAN": knows_no_native_vlan,
    "tags have no priority of the port's": gives_no_priority,
    "802.1ad's VLANs are 802.1Q's": takes_service_vlans_for_others,
    "a guest has no tags of its own in a VLAN of 802.1ad": lets_no_guest_have_tags_of_its_own,
    "nobody shares an address": lets_nobody_share,
    "all share what anybody holds": shares_with_all,
    "shared addresses lead to any holder": leads_to_whoever_holds_it,
    "nobody is told who speaks": tells_nobody,
    "floods come back": returns_floods_to_the_sender,
    "a receiver is left out": forgets_one_receiver,
    "priorities are lost": forgets_priorities,
    "the host hears everything": lets_the_host_hear_everything,
}


@pytest.mark.parametrize("mutant", PLANTED.values(), ids=PLANTED)
def test_a_fault_planted_in_the_model_is_found(switch: Switch, pool: tuple[Case, ...], mutant: Mutant) -> None:
    """By at least one case, in which the program does what the model says, and not what its mutant does."""

    def is_told_apart(case: Case) -> bool:
        switch.install(case.ports)
        return case.fate() == switch.tc(case.slot, case.frame)

    assert any(is_told_apart(case) for case in pool if mutant(case) != case.fate())
