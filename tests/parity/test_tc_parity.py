"""The reference model and the tc programs say the same of every frame: verdict, receivers and bytes."""

from cases import COMPARED, Case, cases
from hypothesis import given
from programs import Switch


@given(case=cases())
@COMPARED
def test_the_tc_program_does_what_the_model_says(switch: Switch, case: Case) -> None:
    switch.install(case.ports)
    first, second = (switch.observe_tc(case.slot, case.frame) for _time in range(2))
    observable = [(seen.verdicts, seen.egress, seen.sent, seen.run.action, seen.run.frame) for seen in (first, second)]
    assert observable[0] == observable[1], "as it was remembered"
    assert case.fate() == switch.tc(case.slot, case.frame)
