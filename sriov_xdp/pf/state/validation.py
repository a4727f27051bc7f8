"""Whether a host intent makes sense as a whole, before anything is touched. Pure; all problems are found at once, each with the
path of its value and of what it was concluded from, so that a caller who doubts one of these can withhold the conclusion."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sriov_xdp.datapath.abi import FIRST_VF_SLOT, MAX_PFS, MAX_PORTS
from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent
from sriov_xdp.pf.state.port_validation import port_problems
from sriov_xdp.pf.state.problem import Path, Problem
from sriov_xdp.vswitch.policy import Override, PolicySettings
from sriov_xdp.vswitch.ports import PortGroup, Switch
from sriov_xdp.vswitch.vlan import LAST_VLAN, SERVICE_DOMAINS, Vlan

MAX_VFS_OF_PF = 256
MAX_VFS_OF_HOST = MAX_PORTS - FIRST_VF_SLOT
MAX_PORT_GROUPS_OF_HOST = 1024  # more than there can be VFs; a trunk of all VLANs takes 130 kB
_RESERVED = frozenset({"lo", "all", "default", ".", ".."})
MIN_MTU_BYTES = 68
MAX_MTU_BYTES = 9216
_NAMES_SHOWN = 8

_ANY_PF_NAME: Path = ("pfs", None, "name")
_ANY_GROUP_NAME: Path = ("switches", None, "port_groups", None, "name")


@dataclass(frozen=True, slots=True)
class _GroupPlace:
    """A port group of the host, and where it stands. vlans: its VLANs as bits."""

    switch: Switch
    group: PortGroup
    path: Path
    vlans: int


def problems(intent: HostIntent) -> list[str]:
    """One line a problem: what it is about, observed, expected, remedy. Empty when there is none."""
    return [f"{_subject(intent, problem.path)}: {problem.text}" for problem in find(intent)]


def _subject(intent: HostIntent, path: Path) -> str:
    if path[0] == "adapters" and isinstance(path[1], int):
        spec = intent.adapters[path[1]]
        return f"adapter {spec.guest}/{spec.interface}: {path[2]}"
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def find(intent: HostIntent) -> Iterator[Problem]:
    """Every problem of the intent."""
    groups = _groups(intent)
    yield from _pf_problems(intent, groups)
    yield from _switch_problems(intent)
    yield from _adapter_problems(intent, groups)
    yield from _mac_problems(intent, groups)
    yield from _mtu_problems(intent, groups)
    yield from port_problems(intent)


def _groups(intent: HostIntent) -> dict[str, _GroupPlace]:
    """The first of each name."""
    used = {spec.port_group for spec in intent.adapters}
    found: dict[str, _GroupPlace] = {}
    for number, switch in enumerate(intent.switches):
        for place, group in enumerate(switch.port_groups):
            if group.name not in found:
                vlans = _bits(group.vlan) if group.name in used else 0
                found[group.name] = _GroupPlace(switch, group, ("switches", number, "port_groups", place), vlans)
    return found


def _bits(vlan: Vlan) -> int:
    return sum(1 << number for number in vlan.address_domains)


def _again(names: Iterable[str | None]) -> Iterator[tuple[int, int, str]]:
    """Where a name stands that stood before, where it stood first, and the name."""
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if name is not None and first.setdefault(name, number) != number:
            yield number, first[name], name


def _one_of(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" or {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
    return f"expected {', '.join(known[:_NAMES_SHOWN])}{more}" if known else "none is configured"


def _pf_problems(intent: HostIntent, groups: dict[str, _GroupPlace]) -> Iterator[Problem]:
    for number, first, name in _again(pf.name for pf in intent.pfs):
        text = f"{name}: already the name of pfs[{first}]; expected a name of its own; give each PF its own"
        yield Problem(("pfs", number, "name"), text, (("pfs", first, "name"),))
    for number, first, uplink in _again(pf.uplink for pf in intent.pfs):
        text = f"{uplink}: already the uplink of pfs[{first}]; expected a device that no other PF has; name another or none"
        yield Problem(("pfs", number, "uplink"), text, (("pfs", first, "uplink"),))
    if len(intent.pfs) > MAX_PFS:
        yield Problem(("pfs",), f"{len(intent.pfs)} PFs; a host has at most {MAX_PFS}; remove PFs")
    wanted = Counter(groups[spec.port_group].switch.pf for spec in intent.adapters if spec.port_group in groups)
    for number, pf in enumerate(intent.pfs):
        if wanted[pf.name] > pf.num_vfs:
            text = f"{pf.num_vfs}, but {wanted[pf.name]} adapters are on this PF; expected as many; raise it or remove adapters"
            yield Problem(("pfs", number, "num_vfs"), text)


def _switch_problems(intent: HostIntent) -> Iterator[Problem]:
    for number, first, name in _again(switch.name for switch in intent.switches):
        text = f"{name}: already the name of switches[{first}]; expected a name of its own; give each switch its own"
        yield Problem(("switches", number, "name"), text, (("switches", first, "name"),))
    for number, first, pf in _again(switch.pf for switch in intent.switches):
        text = f"{pf}: switches[{first}] is on it; expected a PF without a switch, as it has one at most; make one of both"
        yield Problem(("switches", number, "pf"), text, (("switches", first, "pf"),))
    yield from _group_problems(intent)
    known = {pf.name for pf in intent.pfs}
    for number, switch in enumerate(intent.switches):
        if switch.pf not in known:
            text = f"{switch.pf}: no such PF; {_one_of(known)}; correct it or add the PF"
            yield Problem(("switches", number, "pf"), text, (_ANY_PF_NAME,))
        if not MIN_MTU_BYTES <= switch.mtu_bytes <= MAX_MTU_BYTES:
            text = f"{switch.mtu_bytes}; expected {MIN_MTU_BYTES} to {MAX_MTU_BYTES}; write a number in this range"
            yield Problem(("switches", number, "mtu"), text)


def _mtu_problems(intent: HostIntent, groups: dict[str, _GroupPlace]) -> Iterator[Problem]:
    """No level of policy has a longer MTU than its switch."""
    for number, switch in enumerate(intent.switches):
        path: Path = ("switches", number)
        levels: list[tuple[Path, PolicySettings]] = [((*path, "policy"), switch.policy)]
        levels += [((*path, "port_groups", place, "policy"), group.policy) for place, group in enumerate(switch.port_groups)]
        for where, settings in levels:
            yield from _mtu_problem(where, settings, switch, (*path, "mtu"))
    for number, spec in enumerate(intent.adapters):
        found = groups.get(spec.port_group)
        if found:
            yield from _mtu_problem(("adapters", number, "policy"), spec.overrides.policy, found.switch, found.path)


def _mtu_problem(path: Path, settings: PolicySettings, switch: Switch, rests_on: Path) -> Iterator[Problem]:
    said = dict(settings.said).get("mtu")
    if said is not None and said > switch.mtu_bytes:
        text = f"mtu {said}; expected at most {switch.mtu_bytes}, the mtu of switch {switch.name}; lower it, or raise the switch's"
        yield Problem(path, text, (rests_on,))


def _group_problems(intent: HostIntent) -> Iterator[Problem]:
    places = [(number, place) for number, switch in enumerate(intent.switches) for place in range(len(switch.port_groups))]
    if len(places) > MAX_PORT_GROUPS_OF_HOST:
        yield Problem(("switches",), too_many_groups(len(places)))
    for number, first, name in _again(group.name for switch in intent.switches for group in switch.port_groups):
        (switch, place), (other_switch, other) = places[number], places[first]
        where = f"switches[{other_switch}].port_groups[{other}]"
        text = f"{name}: already the name of {where}; expected a name of its own, as adapters do not name the switch; rename one"
        rests_on: Path = ("switches", other_switch, "port_groups", other, "name")
        yield Problem(("switches", switch, "port_groups", place, "name"), text, (rests_on,))


def too_many_groups(count: int) -> str:
    """The text of this problem, for who sees it before there is an intent."""
    return f"{count} port groups; a host has at most {MAX_PORT_GROUPS_OF_HOST}; remove port groups"


def _adapter_problems(intent: HostIntent, groups: dict[str, _GroupPlace]) -> Iterator[Problem]:
    if len(intent.adapters) > MAX_VFS_OF_HOST:
        yield Problem(("guests",), f"{len(intent.adapters)} adapters; a host has at most {MAX_VFS_OF_HOST} VFs; remove adapters")
    for number, spec in enumerate(intent.adapters):
        if spec.port_group not in groups:
            text = f"{spec.port_group}: no such port group; {_one_of(groups)}; correct it or add the group"
            yield Problem(("adapters", number, "port_group"), text, (_ANY_GROUP_NAME,))
        if spec.mac and (spec.mac.is_multicast or spec.mac.is_zero):
            text = f"{spec.mac}: not a unicast address; expected an even first byte, as in 02:00:00:00:01:01; choose another"
            yield Problem(("adapters", number, "mac"), text)
    yield from _override_problems(intent, groups)
    yield from _reserved_names(intent)
    yield from _interface_problems(intent)


def _override_problems(intent: HostIntent, groups: dict[str, _GroupPlace]) -> Iterator[Problem]:
    """What a port sets itself must be its group's to give."""
    for number, spec in enumerate(intent.adapters):
        place = groups.get(spec.port_group)
        refused = spec.overrides.kinds() - place.group.overrides_allowed if place else frozenset()
        if place and refused:
            text = f"port group {spec.port_group} does not let its ports override {', '.join(sorted(refused))}"
            remedy = "list it in the group's overrides_allowed, or leave it out here"
            rests_on = (("adapters", number, "port_group"), (*place.path, "overrides_allowed"))
            key = "vlan" if refused == {Override.VLAN} else "policy"
            yield Problem(("adapters", number, key), f"{text}; expected none of it; {remedy}", rests_on)


def _reserved_names(intent: HostIntent) -> Iterator[Problem]:
    """Interfaces that the kernel makes itself, or does not let have (dev_valid_name(), and directories of its sysctls)."""
    for number, spec in enumerate(intent.adapters):
        if spec.interface in _RESERVED:
            text = f"{spec.interface}: is the kernel's own; expected a name of the adapter's; choose another"
            yield Problem(("adapters", number, "interface"), text)


def _interface_problems(intent: HostIntent) -> Iterator[Problem]:
    """An adapter's name is unique in its guest and in the namespace."""
    in_guest = {number: first for number, first, _key in _again(f"{spec.guest}/{spec.interface}" for spec in intent.adapters)}
    in_netns = {number: first for number, first, _key in _again(f"{spec.netns}/{spec.interface}" for spec in intent.adapters)}
    for number in sorted(in_guest.keys() | in_netns.keys()):
        spec = intent.adapters[number]
        if number in in_guest:
            key, first = "guest", in_guest[number]
            text = f"{spec.interface}: guest {spec.guest} has an adapter of this name; expected a name of its own"
        else:
            key, first = "netns", in_netns[number]
            owner = intent.adapters[first].guest
            text = f"{spec.interface}: already guest {owner}'s in namespace {spec.netns}; expected a name unique in its namespace"
        remedy = "rename one or remove it" if key == "guest" else "rename one or give the guest a namespace of its own"
        rests_on: list[Path] = [("adapters", adapter, name) for adapter in (number, first) for name in ("interface", key)]
        yield Problem(("adapters", number, "interface"), f"{text}; {remedy}", tuple(rests_on))


def _mac_problems(intent: HostIntent, groups: dict[str, _GroupPlace]) -> Iterator[Problem]:
    """The same address twice on a PF is a problem when the VLANs meet. What met is not kept, so that the others share no VLAN and
    are few, whatever the file says."""
    taken: Counter[tuple[str, str]] = Counter()
    seen: dict[tuple[str, str], list[tuple[int, int]]] = {}
    owners: dict[tuple[str, str, int], int] = {}
    for number, spec in enumerate(intent.adapters):
        place = groups.get(spec.port_group)
        if spec.mac is None or place is None:
            continue
        key = (place.switch.pf, str(spec.mac))
        own = spec.overrides_in(place.group).vlan
        bits = _bits(own) if own and Override.VLAN in place.group.overrides_allowed else place.vlans
        shared = bits & taken[key]
        if not shared:
            taken[key] |= bits
            seen.setdefault(key, []).append((bits, number))
            continue
        vlan = shared & -shared
        if (*key, vlan) not in owners:
            owners[*key, vlan] = next(other for vlans, other in seen[key] if vlans & vlan)
        place_of_both = "in the same VLAN" if (vlan.bit_length() - 1) % SERVICE_DOMAINS <= LAST_VLAN else "as a trunk too"
        yield _shared_mac(intent.adapters, number, owners[*key, vlan], groups, place_of_both)


def _shared_mac(
    adapters: tuple[AdapterSpec, ...], number: int, other: int, groups: dict[str, _GroupPlace], place_of_both: str
) -> Problem:
    spec, owner = adapters[number], adapters[other]
    text = f"{spec.mac}: also {owner.guest}'s {owner.interface} {place_of_both}; expected an address of its own; give each its own"
    rests_on: list[Path] = [("adapters", other, "mac")]
    for adapter in (number, other):
        place = groups[adapters[adapter].port_group]
        rests_on += [("adapters", adapter, "port_group"), (*place.path, "name")]
        if spec.port_group != owner.port_group:  # one group's ports meet, whatever its VLAN is
            rests_on += [(*place.path, "vlan"), (*place.path[:2], "pf")]
    return Problem(("adapters", number, "mac"), text, tuple(rests_on))
