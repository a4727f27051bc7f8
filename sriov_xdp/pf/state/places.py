"""Which ports switches have, who is connected at each, and which one a name means.

Pure. For verbs and the admin API.
"""

from dataclasses import dataclass

from sriov_xdp.pf.errors import Conflict, Invalid, NotFound
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.vswitch.ports import PortGroup, PortName, Switch

_SHOWN = "`sriov-xdp port list` shows what is there"


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
