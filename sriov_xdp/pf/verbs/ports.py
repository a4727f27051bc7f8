"""Ports of a switch: which one an adapter gets, what an operator sets for one, those of a static group that come and go, and what
one keeps when its adapter leaves.

A port of a static group is there without an adapter, and has what is set for it; a port of an ephemeral group is its adapter's, and
so are its settings. For the pf package and the admin API; writer thread only.
"""

from dataclasses import dataclass, replace

from sriov_xdp.datapath.abi import Counters
from sriov_xdp.pf.errors import Conflict, Invalid, NotFound, Refused
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import Actor, Context, record_of
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.images import slot_of
from sriov_xdp.pf.state.intent import AdapterSpec, VfAddress
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.port_numbers import too_few_ports
from sriov_xdp.pf.state.port_record import PortRecord
from sriov_xdp.store.audit import Outcome
from sriov_xdp.vswitch.numbering import free_port, lowest_free, number_ports, port_problem
from sriov_xdp.vswitch.ports import MOST_PORTS, PortGroup, PortName, PortOverrides, Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A port. number None: of a VF that an earlier version attached; attached None: nobody is connected."""

    switch: Switch
    group: PortGroup
    number: int | None
    attached: AttachedVf | None

    @property
    def name(self) -> PortName | None:
        """vSwitch0/3."""
        return None if self.number is None else PortName(self.switch.name, self.number)

    def __str__(self) -> str:
        return str(self.name or (self.attached and self.attached.address))


def place_of(inventory: Inventory, vf: AttachedVf) -> Place:
    """The port that a VF is connected at."""
    switch, group = inventory.group(vf.attachment.spec.port_group)
    return Place(switch=switch, group=group, number=vf.attachment.spec.number, attached=vf)


def find(inventory: Inventory, text: str) -> Place:
    """By its name (vSwitch0/3), or by who is connected there (pf0vf3, vm1/eth0). Raises NotFound, and Invalid for what is none of
    these."""
    left, slash, right = text.rpartition("/")
    if not slash:
        return place_of(inventory, inventory.attached(_vf_named(text)))
    if left in inventory.switches and right.isdecimal():
        return _port(inventory, inventory.switches[left], text)
    vf = inventory.adapter(left, right)
    if vf is None:
        raise NotFound(f"port {text}: no switch {left} with such a port, and no guest {left} with an adapter {right}; {_SHOWN}")
    return place_of(inventory, vf)


_SHOWN = "`sriov-xdp port list` shows what is there"


def _vf_named(text: str) -> VfAddress:
    try:
        return VfAddress.parse(text)
    except ValueError as error:
        raise Invalid(f"port {text}: expected a port as vSwitch0/3, a VF as pf0vf3 or an adapter as vm1/eth0; {_SHOWN}") from error


def _port(inventory: Inventory, switch: Switch, text: str) -> Place:
    try:
        name = PortName.parse(text)
    except ValueError as error:
        raise Invalid(str(error)) from error
    vf = inventory.ports_in_use(switch).get(name.number)
    if vf is not None:
        return place_of(inventory, vf)
    group = switch.group_of(name.number)
    if group is None:
        raise NotFound(f"port {name}: switch {switch.name} has no such port; {_SHOWN}")
    return Place(switch=switch, group=group, number=name.number, attached=None)


def asked_for(inventory: Inventory, port: PortName | None, port_group: str | None) -> tuple[str, int | None]:
    """Group and number for who asks for a port, a group or both. Raises NotFound, Conflict, and Invalid for neither."""
    if port is None:
        if port_group is None:
            raise Invalid("port: neither a port nor a port group is named; name one, as by --port-group web or --port vSwitch0/3")
        return port_group, None
    if port.switch not in inventory.switches:
        raise NotFound(f"port {port}: switch {port.switch} is not configured; `sriov-xdp switch list` shows what is")
    owner = inventory.switches[port.switch].group_of(port.number)
    if port_group is None:
        if owner is None:
            raise NotFound(f"port {port}: no static port group has it; name the group as well, by --port-group, or another port")
        return owner.name, port.number
    switch, _group = inventory.group(port_group)
    if switch.name != port.switch:
        raise Conflict(f"port {port}: port group {port_group} is on switch {switch.name}; name a port of that switch")
    return port_group, port.number


def all_ports(inventory: Inventory) -> list[Place]:
    """Of every switch, in order of their numbers; then those without a number."""
    found = []
    for _name, switch in sorted(inventory.switches.items()):
        in_use = inventory.ports_in_use(switch)
        free = {number: group for group in switch.port_groups for number in group.numbers if number not in in_use}
        here = [place_of(inventory, vf) for vf in in_use.values()]
        here += [Place(switch=switch, group=group, number=number, attached=None) for number, group in free.items()]
        found += sorted(here, key=lambda place: place.number or 0)
    numberless = [vf for _address, vf in sorted(inventory.vfs.items()) if vf.attachment.spec.number is None]
    return [*found, *(place_of(inventory, vf) for vf in numberless)]


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
    """A switch that changes, with numbers for its ports. Raises Conflict where it has too few for those who are connected."""
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
    place = place_of(context.inventory, vf)
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


def totals(context: Context, place: Place) -> PortRecord:
    """All that was counted at a port: now, and before its adapter came."""
    kept = context.inventory.port_records.get(place.name) if place.name else None
    now = PortRecord.of(context.tables.counters_of(slot_of(place.attached)) if place.attached else Counters())
    return kept.plus(now) if kept else now


def check_overrides(group: PortGroup, subject: str, said: PortOverrides) -> None:
    """Raises Refused for settings that the group keeps to itself."""
    refused = said.kinds() - group.overrides_allowed
    if refused:
        text = f"{subject}: port group {group.name} does not let its ports override {', '.join(sorted(refused))}"
        raise Refused(f"{text}; list it in the group's overrides_allowed, or change the group")


def require_allowed(context: Context, place: Place, said: PortOverrides, actor: Actor) -> None:
    """As check_overrides(), with a refusal in the audit."""
    attached = place.attached
    try:
        check_overrides(place.group, f"port {attached.address if attached else place}", said)
    except Refused:
        names = ", ".join(sorted(said.kinds()))
        vf, guest = (str(attached.address), attached.attachment.spec.guest) if attached else ("", "")
        record = record_of(context, vf, guest, actor, f"set port: {names}", Outcome.REFUSED, port=str(place))
        context.database.write_record(record)
        raise


def with_ports(context: Context, group_name: str, number: int | None, more: int) -> tuple[Switch, PortGroup, int]:
    """The switch with a port more (number None: the lowest free one) or less of a static group; that group; and the number of the
    port. Raises NotFound, Refused, Conflict."""
    switch, group = context.inventory.group(group_name)
    if not group.is_static:
        text = f"port group {group.name}: is ephemeral, its ports come and go with adapters"
        raise Refused(f"{text}; give it `binding: static` in the configuration to have ports without adapters")
    if more > 0 and group.ports >= MOST_PORTS:
        raise Conflict(f"port group {group.name}: has {group.ports} ports, which is the most; delete one first")
    if number is not None:
        numbers = tuple(other for other in group.numbers if other != number)
        changed = replace(group.with_settings(number, PortOverrides()), ports=group.ports - 1, numbers=numbers)
        return switch.with_group(changed), changed, number
    after = numbered(context.inventory, switch.with_group(replace(group, ports=group.ports + 1)))
    grown = after.group(group.name)
    assert grown is not None
    return after, grown, next(iter(set(grown.numbers) - set(group.numbers)))


def set_for(place: Place, spec: AdapterSpec, said: PortOverrides, inherited: frozenset[str]) -> tuple[Switch | None, AdapterSpec]:
    """What is set for the port of an adapter: kept by the port of a static group, by the adapter otherwise. inherited: names of
    settings that are to be inherited again, `vlan` among them. Returns the switch, where it changes, and the adapter."""
    number = spec.number
    if not place.group.is_static or number is None:
        return None, replace(spec, overrides=merged(spec.overrides, said, inherited))
    group = place.group.with_settings(number, merged(place.group.settings_of(number), said, inherited))
    own = merged(spec.overrides.without(said), PortOverrides(), inherited)
    return place.switch.with_group(group) if group != place.group else None, replace(spec, overrides=own)


def merged(present: PortOverrides, said: PortOverrides, inherited: frozenset[str]) -> PortOverrides:
    """What a port says after a command."""
    vlan = None if "vlan" in inherited else said.vlan or present.vlan
    return PortOverrides(policy=present.policy.merged(said.policy, inherited - {"vlan"}), vlan=vlan)


def delete_problem(place: Place) -> str | None:
    """Why a port cannot be deleted; None when it can."""
    if place.attached:
        return f"port {place}: VF {place.attached.address} is connected there; detach it first"
    return None
