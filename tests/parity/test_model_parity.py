"""The reference model and the programs say the same of every frame: verdict, receivers and bytes."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cases import Case, cases
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample
from programs import Switch, without_flags

from sriov_xdp.datapath import model
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model import Ethernet, Fate, Group, Port, Rule

MODERATELY = settings(deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
THOROUGHLY = settings(deadline=None, max_examples=5000, phases=[Phase.generate], derandomize=True, database=None)
TO_TC = {Verdict.FLOODED, Verdict.TO_HOST}
GUARDED = {Verdict.STORM, Verdict.LOOP}
OUT_OF_REACH = {Verdict.REDIRECT_ERROR, Verdict.MISSED_STAGE}  # devices take what they are given, and no program is missing

Mutant = Callable[[Case], Fate]


def finished_by_xdp(case: Case) -> list[Fate | None]:
    """What the model expects of XDP alone: None for the host, for a flood that turns out to have no receiver, and for those
    that are not XDP's: group frames of guests. A single receiver may have floods by XDP or by tc, as it had company before or
    not."""
    wanted = case.fate()
    is_flood = wanted.verdict is Verdict.NO_TARGET and model.is_group(case.frame[:6])
    is_guarded = wanted.verdict in GUARDED and not case.ports[case.slot].is_uplink
    is_tcs = is_flood or is_guarded or (wanted.verdict in TO_TC and not is_flooded_by_xdp(case))
    is_left = is_tcs or leaves_by_an_uplink_without_xdp(case, wanted)
    may_be_left = wanted.verdict is Verdict.FLOODED and len(wanted.left) == 1
    return [None] if is_left else [None, wanted] if may_be_left else [wanted]


def leaves_by_an_uplink_without_xdp(case: Case, fate: Fate) -> bool:
    left = [case.ports[slot] for slot in fate.left]
    return fate.verdict is Verdict.FORWARDED and any(port.is_uplink and not port.has(PortFlag.NATIVE_XDP) for port in left)


def is_flooded_by_xdp(case: Case) -> bool:
    """From a native uplink, not for the host, in a VLAN of access ports only."""
    wanted, sender = case.fate(), case.ports.get(case.slot)
    if wanted.verdict is not Verdict.FLOODED or wanted.reaches_host or sender is None or not sender.has(PortFlag.NATIVE_XDP):
        return False
    ethernet = Ethernet.parse(case.frame)
    siblings = [port for port in case.ports.values() if port.value.pf == sender.value.pf and not port.is_uplink]
    return ethernet is not None and not any(ethernet.vid in port.trunk for port in siblings)


@given(case=cases())
@MODERATELY
def test_the_xdp_program_does_what_the_model_says(switch: Switch, case: Case) -> None:
    switch.install(case.ports)
    wanted = finished_by_xdp(case)
    first = switch.xdp(case.slot, case.frame)
    assert first in wanted
    assert first == switch.xdp(case.slot, case.frame), "as it was remembered"


@given(case=cases())
@MODERATELY
def test_the_tc_program_does_what_the_model_says(switch: Switch, case: Case) -> None:
    switch.install(case.ports)
    first, second = (switch.observe_tc(case.slot, case.frame) for _time in range(2))
    observable = [(seen.verdicts, seen.egress, seen.sent, seen.run.action, seen.run.frame) for seen in (first, second)]
    assert observable[0] == observable[1], "as it was remembered"
    assert case.fate() == switch.tc(case.slot, case.frame)


@pytest.mark.parametrize("is_by_xdp", [True, False])
def test_random_cases_come_to_floods_of_both_kinds(is_by_xdp: bool) -> None:
    def is_wanted(case: Case) -> bool:
        return case.fate().verdict is Verdict.FLOODED and is_flooded_by_xdp(case) is is_by_xdp

    assert is_wanted(find(cases(), is_wanted, settings=THOROUGHLY))


@pytest.mark.parametrize("verdict", sorted(set(Verdict) - OUT_OF_REACH), ids=lambda verdict: verdict.label)
def test_random_cases_come_to_every_verdict(verdict: Verdict) -> None:
    try:
        found = find(cases(), lambda case: case.fate().verdict is verdict, settings=THOROUGHLY)
    except NoSuchExample:
        pytest.fail(f"no random case comes to {verdict.label}: cases.py must draw one, or OUT_OF_REACH name it")
    assert verdict is found.fate().verdict


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


PLANTED = {
    **{f"without {rule.__name__}": without(rule) for rule in model.RULES if rule is not model.headers_are_whole},
    "tags before length": swapped(model.length_fits, model.has_one_tag_at_most),
    "forged before spoofed": swapped(model.source_is_not_taken, model.source_is_own),
    "control frames before sources": swapped(model.source_is_a_station, model.is_no_control_frame),
    "storms before loops": swapped(model.guest_has_no_loop, model.guest_makes_no_storm),
    "probes behind sources": swapped(model.is_no_probe, model.source_is_own),
    "probes before tags": swapped(model.vlan_is_allowed, model.is_no_probe),
    "every group frame is guarded alike": guards_all_alike,
    "floods leave to ports with a loop": floods_to_ports_with_a_loop,
    "floods come back": returns_floods_to_the_sender,
    "a receiver is left out": forgets_one_receiver,
    "priorities are lost": forgets_priorities,
    "the host hears everything": lets_the_host_hear_everything,
}


@pytest.mark.parametrize("mutant", PLANTED.values(), ids=PLANTED)
def test_a_fault_planted_in_the_model_is_found(switch: Switch, mutant: Mutant) -> None:
    def is_told_apart(case: Case) -> bool:
        if mutant(case) == case.fate():
            return False
        switch.install(case.ports)
        actual = switch.tc(case.slot, case.frame)
        return mutant(case) != actual and case.fate() == actual

    assert is_told_apart(find(cases(), is_told_apart, settings=THOROUGHLY))
