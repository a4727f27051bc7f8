"""Where an adapter is connected: which port it gets, and what that port keeps when it leaves.

For verbs; writer thread only.
"""

from dataclasses import replace

from sriov_xdp.datapath.abi import Counters
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.state import places
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.images import slot_of
from sriov_xdp.pf.state.intent import AdapterSpec, VfAddress
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.port_numbers import too_few_ports
from sriov_xdp.pf.state.port_record import PortRecord
from sriov_xdp.pf.state.port_validation import too_many_static_ports
from sriov_xdp.vswitch.numbering import free_port, lowest_free, number_ports, port_problem
from sriov_xdp.vswitch.ports import PortName, PortOverrides, Switch


def placed(inventory: Inventory, spec: AdapterSpec, own: VfAddress | None = None) -> AdapterSpec:
    """An adapter, with the number of the port where it will be connected: the one that it names, else the one that it has where
    that is its group's, else a free one. own: the VF behind it, which is in nobody's way. Raises NotFound, Conflict."""
    switch, group = inventory.group(spec.port_group)
    in_use = {number: f"VF {vf.address}" for number, vf in inventory.ports_in_use(switch).items() if vf.address != own}
    if spec.port is not None:
        problem = port_problem(switch, group, spec.port, in_use)
        if problem:
            raise Conflict(problem)
        return replace(spec, number=spec.port)
    if spec.number is not None and port_problem(switch, group, spec.number, in_use) is None:
        return spec
    number = free_port(switch, group, in_use.keys())
    if number is None:
        raise Conflict(too_few_ports(group))
    return replace(spec, number=number)


def numbered(inventory: Inventory, switch: Switch) -> Switch:
    """A switch that changes, with numbers for its ports. Raises Conflict where it has too few for those who are connected, or
    more than a switch can have."""
    too_many = too_many_static_ports(switch)
    if too_many:
        raise Conflict(f"switch {switch.name}: {too_many}")
    former = inventory.switches.get(switch.name)
    in_use = inventory.ports_in_use(switch)
    connected = {number: vf.attachment.spec.port_group for number, vf in in_use.items()}
    result = number_ports(switch, former, connected)
    if result.problems:
        raise Conflict("\n".join(result.problems))
    return result.switch


def number_all(context: Context) -> None:
    """What an earlier version attached is at a port without a number, of a group whose ports come and go. Raises StoreError."""
    numbered_now = {}
    for switch in context.inventory.switches.values():
        taken = {*context.inventory.ports_in_use(switch), *(number for group in switch.port_groups for number in group.numbers)}
        for vf in context.inventory.vfs_of_pf(switch.pf):
            if vf.attachment.spec.number is None:
                number = lowest_free(taken)
                taken.add(number)
                numbered_now[vf.address] = replace(vf.attachment, spec=replace(vf.attachment.spec, number=number))
    if numbered_now:
        commit(context, Change(attachments=numbered_now), [])


def records_gone(inventory: Inventory, before: Switch | None, after: Switch | None) -> dict[PortName, PortRecord | None]:
    """What was kept of ports that a changed switch has no more."""
    kept = {number for group in after.port_groups for number in group.numbers} if after else set[int]()
    gone = {number for group in before.port_groups for number in group.numbers} - kept if before else set[int]()
    names = (PortName(before.name, number) for number in gone if before)
    return {name: None for name in names if name in inventory.port_records}


def left_by(context: Context, vf: AttachedVf, *, is_declared: bool) -> Change:
    """What a port keeps of the adapter that leaves it: what was counted; or nothing, where its group says so. is_declared: a
    configuration says what is set for ports, which is not reset then."""
    place = places.place_of(context.inventory, vf)
    if not place.group.is_static or place.name is None or place.number is None:
        return Change()
    if not place.group.reset_at_disconnect:
        return Change(port_records={place.name: totals(context, place)})
    forgotten: dict[PortName, PortRecord | None] = {place.name: None} if place.name in context.inventory.port_records else {}
    group = place.group.with_settings(place.number, PortOverrides())
    if is_declared or group == place.group:
        return Change(port_records=forgotten)
    return Change(switches={place.switch.name: place.switch.with_group(group)}, port_records=forgotten)


def has_moved(before: AdapterSpec, after: AdapterSpec) -> bool:
    """Whether an adapter is at another port."""
    return (before.port_group, before.number) != (after.port_group, after.number)


def totals(context: Context, place: places.Place) -> PortRecord:
    """All that was counted at a port: now, and before its adapter came."""
    kept = context.inventory.port_records.get(place.name) if place.name else None
    now = PortRecord.of(context.tables.counters_of(slot_of(place.attached)) if place.attached else Counters())
    return kept.plus(now) if kept else now
