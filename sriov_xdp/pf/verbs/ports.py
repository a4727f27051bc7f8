"""Ports of a switch: which there are, who is connected there, and what an operator sets for one.

A port of a static group is there without an adapter, and has what is set for it; a port of an ephemeral group is its adapter's, and
so are its settings. For the pf package and the admin API; writer thread only.
"""

from dataclasses import replace

from sriov_xdp.pf.errors import Conflict, Refused
from sriov_xdp.pf.hands.context import Actor, Context, record_of
from sriov_xdp.pf.state.intent import AdapterSpec
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.places import Place
from sriov_xdp.pf.verbs import connecting
from sriov_xdp.store.audit import Outcome
from sriov_xdp.vswitch.ports import MOST_PORTS, PortGroup, PortName, PortOverrides, Switch


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


def _static_group(inventory: Inventory, name: str) -> tuple[Switch, PortGroup]:
    switch, group = inventory.group(name)
    if not group.is_static:
        text = f"port group {group.name}: is ephemeral, its ports come and go with adapters"
        raise Refused(f"{text}; give it `binding: static` in the configuration to have ports without adapters")
    return switch, group


def with_port_more(inventory: Inventory, group_name: str) -> tuple[Switch, PortName]:
    """The switch with a port more of a static group, of the lowest free number. Raises NotFound, Refused, Conflict."""
    switch, group = _static_group(inventory, group_name)
    if group.ports >= MOST_PORTS:
        raise Conflict(f"port group {group.name}: has {group.ports} ports, which is the most; delete one first")
    after = connecting.numbered(inventory, switch.with_group(replace(group, ports=group.ports + 1)))
    grown = after.group(group.name)
    assert grown is not None
    (number,) = set(grown.numbers) - set(group.numbers)
    return after, PortName(switch.name, number)


def without_port(inventory: Inventory, place: Place) -> Switch:
    """The switch with a port less of a static group, and nothing that was set for it. Raises Refused; Conflict while somebody is
    connected there."""
    if place.attached:
        raise Conflict(f"port {place}: VF {place.attached.address} is connected there; detach it first")
    switch, group = _static_group(inventory, place.group.name)
    if group.ports == 1:
        raise Refused(f"port {place}: is the last one of port group {group.name}; `sriov-xdp port-group delete` removes the group")
    assert place.number is not None, "nobody is connected, so it is a static group's"
    numbers = tuple(other for other in group.numbers if other != place.number)
    return switch.with_group(replace(group.with_settings(place.number, PortOverrides()), ports=group.ports - 1, numbers=numbers))


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
