"""Which numbers the ports of a switch have: those that somebody named, those that they had, then the lowest free ones.

Pure. A port keeps its number as long as it is there, whatever is made beside it. For who changes switches and connects adapters.
"""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from sriov_xdp.vswitch.ports import LAST_PORT, PortGroup, PortName, Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A switch whose static groups have their ports' numbers; or, a line each, why they cannot."""

    switch: Switch
    problems: tuple[str, ...] = ()


def number_ports(switch: Switch, former: Switch | None, connected: Mapping[int, str]) -> Numbered:
    """Gives the static groups of a switch their ports. former: the switch as it is; connected: the group of each number that is in
    use, or that an adapter asks for."""
    named: dict[int, str] = {}
    problems: list[str] = []
    for group in switch.port_groups:
        problems += _problems(switch, group, connected, named)
        named.update(dict.fromkeys(_named(group, connected), group.name))
    held = {**{number: group for number, group in connected.items() if number not in named}, **named}
    for group in switch.port_groups:
        before = former.group(group.name) if former else None
        kept = sorted(set(before.numbers if before else ()) - held.keys())
        room = max(0, group.ports - len(_named(group, connected))) if group.is_static else 0
        held.update(dict.fromkeys(kept[:room], group.name))
    fresh = (number for number in range(LAST_PORT + 1) if number not in held)
    groups = []
    for group in switch.port_groups:
        own = {number for number, name in held.items() if name == group.name}
        if group.is_static:
            own.update(islice(fresh, max(0, group.ports - len(own))))
        groups.append(replace(group, numbers=tuple(sorted(own)) if group.is_static else ()))
    return Numbered(switch=replace(switch, port_groups=tuple(groups)), problems=tuple(problems))


def _named(group: PortGroup, connected: Mapping[int, str]) -> set[int]:
    """Numbers that a static group must have."""
    if not group.is_static:
        return set()
    in_use = {number for number, name in connected.items() if name == group.name}
    return {*group.numbers, *in_use, *(number for number, _said in group.port_settings)}


def _problems(switch: Switch, group: PortGroup, connected: Mapping[int, str], named: Mapping[int, str]) -> list[str]:
    wanted = _named(group, connected)
    found = []
    for number in sorted(wanted):
        other = named.get(number, connected.get(number, group.name))
        if other != group.name:
            text = f"port {PortName(switch.name, number)}: is port group {other}'s"
            found.append(f"{text}, and cannot be {group.name}'s as well; choose another number")
    if len(wanted) > group.ports:
        text = f"port group {group.name}: {group.ports} ports, but {len(wanted)} are connected, named or have settings of their own"
        found.append(f"{text}; raise ports, disconnect adapters, or take numbers and settings back")
    return found


def lowest_free(taken: Container[int]) -> int:
    """A switch has more numbers than a host can have ports."""
    return next(number for number in range(LAST_PORT + 1) if number not in taken)


def free_port(switch: Switch, group: PortGroup, in_use: Collection[int]) -> int | None:
    """Where an adapter that names no port is connected; None where the group is full. in_use: numbers of the switch's ports at
    which somebody is."""
    if group.is_static:
        return next((number for number in group.numbers if number not in in_use), None)
    return lowest_free({*in_use, *(number for other in switch.port_groups for number in other.numbers)})


def port_problem(switch: Switch, group: PortGroup, number: int, in_use: Mapping[int, str]) -> str | None:
    """Why an adapter cannot be connected at a port of this number; None when it can. in_use: who is at which."""
    name = PortName(switch.name, number)
    if number in in_use:
        return f"port {name}: {in_use[number]} is connected there; disconnect it, or name another port"
    owner = switch.group_of(number)
    if owner is not None and owner.name != group.name:
        return f"port {name}: is port group {owner.name}'s, not {group.name}'s; name a port of that group, or none"
    if group.is_static and owner is None:
        return f"port {name}: port group {group.name} has no such port; `sriov-xdp port list` shows what it has"
    return None
