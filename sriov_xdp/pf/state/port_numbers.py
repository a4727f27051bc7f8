"""Which port each adapter of a wanted configuration gets, with what is there: nobody loses a port by what is made beside it.

Pure. For apply and recover, which see the whole configuration; who connects one adapter asks vswitch.numbering.
"""

from dataclasses import replace

from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent
from sriov_xdp.vswitch.numbering import free_port, number_ports
from sriov_xdp.vswitch.ports import PortGroup, PortName, Switch


def with_numbers(current: HostIntent, wanted: HostIntent) -> tuple[HostIntent, list[str]]:
    """The wanted configuration, with a number for each port; and why it cannot be had, a line each. An adapter that names no port
    keeps the one that it has in its group; of a static group it then says so, as one that is exported does."""
    switches, adapters, problems = [], dict[tuple[str, str], AdapterSpec](), list[str]()
    formers = {switch.name: switch for switch in current.switches}
    present = {spec.key: spec for spec in current.adapters}
    for switch in wanted.switches:
        own = [spec for spec in wanted.adapters if switch.group(spec.port_group)]
        placed, doubts = _kept(switch, own, present)
        connected = {number: spec.port_group for number, spec in placed.items()}
        numbered = number_ports(switch, formers.get(switch.name), connected)
        problems += [*doubts, *numbered.problems]
        problems += _connect(numbered.switch, own, placed)
        switches.append(numbered.switch)
        adapters.update({spec.key: _at(numbered.switch, spec, number) for number, spec in placed.items()})
    known = tuple(adapters.get(spec.key, spec) for spec in wanted.adapters)
    return replace(wanted, switches=tuple(switches), adapters=known), problems


def _kept(
    switch: Switch, own: list[AdapterSpec], present: dict[tuple[str, str], AdapterSpec]
) -> tuple[dict[int, AdapterSpec], list[str]]:
    """Adapters at the ports that they name or have, by number."""
    placed = {spec.port: spec for spec in own if spec.port is not None}
    settled = {number for group in switch.port_groups for number, _said in group.port_settings}
    doubts = []
    for spec in own:
        before = present.get(spec.key)
        if spec.port is not None or before is None or before.number is None or before.port_group != spec.port_group:
            continue
        group = switch.group(spec.port_group)
        assert group is not None
        other = placed.get(before.number)
        if other is None and (group.is_static or before.number not in settled):
            placed[before.number] = spec
        elif other is not None and group.is_static:
            text = f"port {PortName(switch.name, before.number)}: guest {spec.guest}'s {spec.interface} is connected there"
            doubts.append(f"{text}, and guest {other.guest}'s {other.interface} names it; say which port each has")
    return placed, doubts


def _connect(switch: Switch, own: list[AdapterSpec], placed: dict[int, AdapterSpec]) -> list[str]:
    """The others, at ports that are free, in their order."""
    found = set(map(id, placed.values()))
    full: dict[str, PortGroup] = {}
    for spec in own:
        if id(spec) in found:
            continue
        group = switch.group(spec.port_group)
        assert group is not None
        number = free_port(switch, group, placed.keys())
        if number is None:
            full[group.name] = group
        else:
            placed[number] = spec
    return [too_few_ports(group) for group in full.values()]


def _at(switch: Switch, spec: AdapterSpec, number: int) -> AdapterSpec:
    group = switch.group(spec.port_group)
    is_said = spec.port is not None or (group is not None and group.is_static)
    return replace(spec, number=number, port=number if is_said else None)


def too_few_ports(group: PortGroup) -> str:
    """A group that is full."""
    text = f"port group {group.name}: all of its {group.ports} ports are connected"
    return f"{text}; raise ports, as with `sriov-xdp port create --port-group {group.name}`, or disconnect one"
