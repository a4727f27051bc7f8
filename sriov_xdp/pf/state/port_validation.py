"""Whether the ports of a host intent make sense, before anything is touched: those of static groups, and those that adapters name.

Pure; a part of validation, which names all problems at once.
"""

from collections import Counter
from collections.abc import Iterator

from sriov_xdp.pf.state.intent import HostIntent
from sriov_xdp.pf.state.problem import Path, Problem
from sriov_xdp.vswitch.policy import Override
from sriov_xdp.vswitch.ports import PortGroup, PortName, Switch

MOST_STATIC_PORTS = 4096  # of a switch


def port_problems(intent: HostIntent) -> Iterator[Problem]:
    """Every problem of ports, whoever is connected."""
    for number, switch in enumerate(intent.switches):
        for place, group in enumerate(switch.port_groups):
            path: Path = ("switches", number, "port_groups", place)
            yield from (Problem((*path, key), text, ((*path, "binding"),)) for key, text in binding_problems(group))
            yield from _settings_problems(switch, group, path)
        too_many = too_many_static_ports(switch)
        if too_many:
            yield Problem(("switches", number, "port_groups"), too_many)
        yield from _shared_numbers(intent, number, switch)
    yield from _full_groups(intent)


def too_many_static_ports(switch: Switch) -> str | None:
    """What is wrong with how many ports a switch has by itself; None when nothing is."""
    total = sum(group.ports for group in switch.port_groups if group.is_static)
    if total <= MOST_STATIC_PORTS:
        return None
    return f"{total} ports in static groups; expected at most {MOST_STATIC_PORTS} of a switch; lower `ports`"


def binding_problems(group: PortGroup) -> Iterator[tuple[str, str]]:
    """What a group says of ports that are not its own, by its key."""
    if group.is_static:
        return
    remedy = "leave it out, or write `binding: static`"
    if group.ports:
        yield "ports", f"{group.ports}; expected nothing, as ports of an ephemeral group come and go with adapters; {remedy}"
    if group.numbers:
        yield "numbers", f"{len(group.numbers)} ports; expected none, as an ephemeral group's come and go; {remedy}"
    if group.reset_at_disconnect:
        yield "reset_at_disconnect", f"true; expected nothing, as an ephemeral group's ports go with their adapters; {remedy}"
    if group.port_settings:
        text = f"settings of {len(group.port_settings)} ports; expected none, as an ephemeral group's come and go; {remedy}"
        yield "port_settings", text


def _settings_problems(switch: Switch, group: PortGroup, path: Path) -> Iterator[Problem]:
    for number, said in group.port_settings:
        where: Path = (*path, "port_settings", str(number))
        refused = said.kinds() - group.overrides_allowed
        if refused:
            text = f"port group {group.name} does not let its ports override {', '.join(sorted(refused))}; expected none of it"
            key = "vlan" if refused == {Override.VLAN} else "policy"
            allowed: Path = (*path, "overrides_allowed")
            yield Problem((*where, key), f"{text}; list it in the group's overrides_allowed, or leave it out here", (allowed,))
        mtu = dict(said.policy.said).get("mtu")
        if mtu is not None and mtu > switch.mtu_bytes:
            text = f"mtu {mtu}; expected at most {switch.mtu_bytes}, the mtu of switch {switch.name}"
            yield Problem((*where, "policy"), f"{text}; lower it, or raise the switch's", ((*path[:2], "mtu"),))


def _shared_numbers(intent: HostIntent, number: int, switch: Switch) -> Iterator[Problem]:
    """One number is one port of a switch, and one adapter is connected there."""
    owners: dict[int, tuple[str, Path]] = {}
    for place, group in enumerate(switch.port_groups):
        for port, _said in group.port_settings:
            path: Path = ("switches", number, "port_groups", place, "port_settings", str(port))
            owner, first = owners.setdefault(port, (group.name, path))
            if owner != group.name:
                text = f"port {PortName(switch.name, port)}: port group {owner} has settings for it; expected a number of its own"
                yield Problem(path, f"{text}; choose another", (first,))
    users: dict[int, tuple[str, Path]] = {}
    for adapter, spec in enumerate(intent.adapters):
        if spec.port is None or not switch.group(spec.port_group):
            continue
        path = ("adapters", adapter, "port")
        name = PortName(switch.name, spec.port)
        owner, first = owners.get(spec.port, (spec.port_group, path))
        if owner != spec.port_group:
            text = f"{name} is port group {owner}'s, which has settings for it; expected a port of {spec.port_group}"
            yield Problem(path, f"{text}; choose another", (first, ("adapters", adapter, "port_group")))
        user, first = users.setdefault(spec.port, (f"guest {spec.guest}'s {spec.interface}", path))
        if first != path:
            text = f"{name}: {user} is connected there; expected a port of its own; choose another"
            yield Problem(path, text, (first, ("adapters", adapter, "port_group")))


def _full_groups(intent: HostIntent) -> Iterator[Problem]:
    """A static group has a port for each adapter, and for each number that somebody names."""
    adapters = Counter(spec.port_group for spec in intent.adapters)
    named: dict[str, set[int]] = {}
    for spec in intent.adapters:
        if spec.port is not None:
            named.setdefault(spec.port_group, set()).add(spec.port)
    for number, switch in enumerate(intent.switches):
        for place, group in enumerate(switch.port_groups):
            if not group.is_static:
                continue
            numbers = named.get(group.name, set()) | {port for port, _said in group.port_settings}
            wanted = max(adapters[group.name], len(numbers))
            if wanted > group.ports:
                what = f"{adapters[group.name]} adapters and {len(numbers)} numbers"
                text = f"{group.ports}, but {what} need {wanted}; expected as many; raise it, or remove adapters or settings"
                yield Problem(("switches", number, "port_groups", place, "ports"), text)
