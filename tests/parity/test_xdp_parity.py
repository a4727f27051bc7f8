"""The reference model and the XDP programs say the same of every frame: verdict, receivers and bytes."""

from dataclasses import replace

from cases import COMPARED, Case, cases, is_flooded_by_xdp
from hypothesis import given
from programs import Switch

from sriov_xdp.datapath import model
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model import Fate

TO_TC = {Verdict.FLOODED, Verdict.TO_HOST}
GUARDED = {Verdict.STORM, Verdict.LOOP}


def with_room(case: Case) -> Case:
    return replace(case, ports={slot: replace(port, is_overdrawn=False) for slot, port in case.ports.items()})


def finished_by_xdp(case: Case) -> list[Fate | None]:
    """What the model expects of XDP alone: None for the host, for a flood that turns out to have no receiver, and for those
    that are not XDP's: group frames of guests. A single receiver may have floods by XDP or by tc, as it had company before or
    not."""
    wanted = case.fate()
    is_flood = wanted.verdict in (Verdict.NO_TARGET, Verdict.NOT_SUBSCRIBED) and model.is_group(case.frame[:6])
    is_guarded = wanted.verdict in GUARDED and not case.ports[case.slot].is_uplink
    is_tcs = is_flood or is_guarded or (wanted.verdict in TO_TC and not is_flooded_by_xdp(case))
    if wanted.verdict is Verdict.RATE_LIMITED and finished_by_xdp(with_room(case)) == [None]:
        return [None]  # who finishes a frame judges its port's rate
    is_left = is_tcs or leaves_by_an_uplink_without_xdp(case, wanted)
    may_be_left = wanted.verdict is Verdict.FLOODED and len(wanted.left) == 1
    return [None] if is_left else [None, wanted] if may_be_left else [wanted]


def leaves_by_an_uplink_without_xdp(case: Case, fate: Fate) -> bool:
    left = [case.ports[slot] for slot in fate.left]
    return fate.verdict is Verdict.FORWARDED and any(port.is_uplink and not port.has(PortFlag.NATIVE_XDP) for port in left)


@given(case=cases())
@COMPARED
def test_the_xdp_program_does_what_the_model_says(switch: Switch, case: Case) -> None:
    switch.install(case.ports)
    wanted = finished_by_xdp(case)
    first = switch.xdp(case.slot, case.frame)
    assert first in wanted
    assert first == switch.xdp(case.slot, case.frame), "as it was remembered"
