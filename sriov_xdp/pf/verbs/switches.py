"""Switches with their port groups as apply changes them: all of it in place. For the kinds."""

from sriov_xdp.pf.hands.context import Actor, Context
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.plan import Step
from sriov_xdp.pf.state.port_record import PortRecord
from sriov_xdp.pf.verbs import connecting, operate
from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.vswitch.ports import PortName, Switch


def change(context: Context, _so_far: Change, steps: list[Step], actor: Actor) -> tuple[Change, list[AuditRecord]]:
    """Those that come, change or go."""
    switches: dict[str, Switch | None] = {}
    records, gone = [], dict[PortName, PortRecord | None]()
    for step in steps:
        assert step.after is None or isinstance(step.after, Switch)
        switches[step.name] = step.after
        before = context.inventory.switches.get(step.name)
        gone |= connecting.records_gone(context.inventory, before, step.after)
        records.append(operate.switch_record(context, before, step.after, actor))
    return Change(switches=switches, port_records=gone), records
