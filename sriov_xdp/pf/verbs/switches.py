"""Switches with their port groups as apply changes them: all of it in place. For the kinds."""

from sriov_xdp.pf.hands.context import Actor, Context
from sriov_xdp.pf.state.inventory import Change
from sriov_xdp.pf.state.plan import Step
from sriov_xdp.pf.verbs import operate
from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.vswitch.policy import Switch


def change(context: Context, _so_far: Change, steps: list[Step], actor: Actor) -> tuple[Change, list[AuditRecord]]:
    """Those that come, change or go."""
    switches: dict[str, Switch | None] = {}
    records = []
    for step in steps:
        assert step.after is None or isinstance(step.after, Switch)
        switches[step.name] = step.after
        records.append(operate.switch_record(context, context.inventory.switches.get(step.name), step.after, actor))
    return Change(switches=switches), records
