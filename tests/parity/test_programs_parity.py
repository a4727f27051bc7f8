"""The reference model and the programs of both kinds say the same of every frame: verdict, receivers and bytes."""

from collections.abc import Iterator
from dataclasses import replace

from cases import COMPARED, Case, cases, is_flooded_by_xdp
from hypothesis import given
from programs import Switch

from sriov_xdp.datapath import model
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model import Fate
from sriov_xdp.datapath.model_passage import Passage
from sriov_xdp.datapath.model_ports import Ethernet

TO_TC = {Verdict.FLOODED, Verdict.TO_HOST}
GUARDED = {Verdict.STORM, Verdict.LOOP}


COPIED = {Verdict.FORWARDED, Verdict.FLOODED, Verdict.NO_TARGET, Verdict.RATE_LIMITED}


def is_listened_to(case: Case) -> bool:
    """Whether a port of its PF is promiscuous, and what it sends passes by that."""
    sender = case.ports.get(case.slot)
    if sender is None or model.leaves_switching_to_the_wire(sender):
        return False
    return any(port.has(PortFlag.PROMISCUOUS) and port.value.pf == sender.value.pf for port in case.ports.values())


def goes_to_the_wire(case: Case) -> bool:
    """A group frame of a guest whose PF switches nothing: tc has the guards."""
    sender = case.ports.get(case.slot)
    return sender is not None and model.leaves_switching_to_the_wire(sender) and model.is_group(case.frame[:6])


def objections(case: Case) -> Iterator[model.Rule]:
    """In their order."""
    passage = Passage(ports=case.ports, slot=case.slot, frame=case.frame, ethernet=Ethernet.parse(case.frame))
    return (rule for rule in model.RULES if rule(passage) is not None)


def passes_entry(case: Case) -> bool:
    """All rules but the guards, which XDP does not ask."""
    return all(rule in (model.guest_has_no_loop, model.guest_makes_no_storm) for rule in objections(case))


def is_bridged_by_a_cut_port(case: Case) -> bool:
    """Which XDP judges as well."""
    return next(objections(case), None) is model.cut_port_bridges_nothing


def with_room(case: Case) -> Case:
    return replace(case, ports={slot: replace(port, is_overdrawn=False) for slot, port in case.ports.items()})


def finished_by_xdp(case: Case) -> list[Fate | None]:
    """What the model expects of XDP alone: None for the host, for a flood that turns out to have no receiver, and for those
    that are not XDP's: group frames of guests. A single receiver may have floods by XDP or by tc, as it had company before or
    not."""
    wanted = case.fate()
    is_flood = wanted.verdict in (Verdict.NO_TARGET, Verdict.NOT_SUBSCRIBED) and model.is_group(case.frame[:6])
    is_guarded = wanted.verdict in GUARDED and not case.ports[case.slot].is_uplink and not is_bridged_by_a_cut_port(case)
    is_tcs = is_flood or is_guarded or (wanted.verdict in TO_TC and not is_flooded_by_xdp(case))
    if goes_to_the_wire(case) and passes_entry(case):
        return [None]
    if not model.is_group(case.frame[:6]) and is_listened_to(case) and wanted.verdict in COPIED:
        return [None]
    if wanted.verdict is Verdict.RATE_LIMITED and finished_by_xdp(with_room(case)) == [None]:
        return [None]  # who finishes a frame judges its port's rate
    is_left = is_tcs or leaves_by_an_uplink_without_xdp(case, wanted)
    may_be_left = wanted.verdict is Verdict.FLOODED and len(wanted.left) == 1
    return [None] if is_left else [None, wanted] if may_be_left else [wanted]


def leaves_by_an_uplink_without_xdp(case: Case, fate: Fate) -> bool:
    left = [case.ports[slot] for slot in fate.left]
    return fate.verdict is Verdict.FORWARDED and any(port.is_uplink and not port.has(PortFlag.NATIVE_XDP) for port in left)


@given(drawn=cases())
@COMPARED
def test_both_programs_do_what_the_model_says(switch: Switch, drawn: list[Case]) -> None:
    """Each twice, the second time as it was remembered."""
    switch.install(drawn[0].ports)
    for case in drawn:
        assert_both_do_what_the_model_says(switch, case)


def assert_both_do_what_the_model_says(switch: Switch, case: Case) -> None:
    by_xdp = switch.xdp(case.slot, case.frame)
    assert by_xdp in finished_by_xdp(case)
    assert by_xdp == switch.xdp(case.slot, case.frame)
    first, second = (switch.observe_tc(case.slot, case.frame) for _time in range(2))
    observable = [(seen.verdicts, seen.egress, seen.sent, seen.run.action, seen.run.frame) for seen in (first, second)]
    assert observable[0] == observable[1]
    assert case.fate() == switch.tc(case.slot, case.frame)
