"""Whether a host intent makes sense as a whole, before anything is touched. Pure; all problems are reported at once, each with
the path of the value in the configuration file."""

from collections import Counter
from collections.abc import Iterator

from sriov_xdp.datapath.abi import FIRST_VF_SLOT, MAX_PFS, MAX_PORTS
from sriov_xdp.pf.intent import AdapterSpec, HostIntent
from sriov_xdp.vswitch.policy import Switch, port_vlan

MAX_VFS_OF_PF = 256
MAX_VFS_OF_HOST = MAX_PORTS - FIRST_VF_SLOT
MIN_MTU_BYTES = 68
MAX_MTU_BYTES = 9216


def problems(intent: HostIntent) -> list[str]:
    """One line a problem: path, value, remedy. Empty when there is none."""
    return [*_pf_problems(intent), *_switch_problems(intent), *_adapter_problems(intent)]


def _repeated(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _pf_problems(intent: HostIntent) -> Iterator[str]:
    for name in _repeated([pf.name for pf in intent.pfs]):
        yield f"pfs: name {name}: used twice; give each PF its own"
    for uplink in _repeated([pf.uplink for pf in intent.pfs if pf.uplink]):
        yield f"pfs: uplink {uplink}: used by two PFs; a device can be the uplink of one"
    if len(intent.pfs) > MAX_PFS:
        yield f"pfs: {len(intent.pfs)} PFs; a host has at most {MAX_PFS}"
    for index, pf in enumerate(intent.pfs):
        wanted = sum(1 for spec in intent.adapters if _pf_of_group(intent, spec.port_group) == pf.name)
        if wanted > pf.num_vfs:
            yield f"pfs[{index}].num_vfs: {pf.num_vfs}, but {wanted} adapters are on this PF; raise it or remove adapters"


def _pf_of_group(intent: HostIntent, group: str) -> str | None:
    return next((switch.pf for switch in intent.switches if switch.group(group)), None)


def _switch_problems(intent: HostIntent) -> Iterator[str]:
    for name in _repeated([switch.name for switch in intent.switches]):
        yield f"switches: name {name}: used twice; give each switch its own"
    for pf in _repeated([switch.pf for switch in intent.switches]):
        yield f"switches: pf {pf}: two switches on one PF; a PF has one embedded switch"
    groups = [group.name for switch in intent.switches for group in switch.port_groups]
    for name in _repeated(groups):
        yield f"switches: port group {name}: used twice; adapters name it without its switch, so it must be unique"
    known = {pf.name for pf in intent.pfs}
    for index, switch in enumerate(intent.switches):
        if switch.pf not in known:
            yield f"switches[{index}].pf: {switch.pf}: no such PF; known: {', '.join(sorted(known)) or 'none'}"
        yield from _mtu_problems(index, switch)


def _mtu_problems(index: int, switch: Switch) -> Iterator[str]:
    if not MIN_MTU_BYTES <= switch.mtu_bytes <= MAX_MTU_BYTES:
        yield f"switches[{index}].mtu: {switch.mtu_bytes}; expected {MIN_MTU_BYTES} to {MAX_MTU_BYTES}"


def _adapter_problems(intent: HostIntent) -> Iterator[str]:
    groups = {group.name for switch in intent.switches for group in switch.port_groups}
    if len(intent.adapters) > MAX_VFS_OF_HOST:
        yield f"guests: {len(intent.adapters)} adapters; a host has at most {MAX_VFS_OF_HOST} VFs; remove adapters"
    for spec in intent.adapters:
        where = f"guests: {spec.guest}: adapter {spec.interface}"
        if spec.port_group not in groups:
            yield f"{where}: port_group {spec.port_group}: no such group; known: {', '.join(sorted(groups)) or 'none'}"
        yield from _override_problems(intent, spec, where)
        if spec.mac and (spec.mac.is_multicast or spec.mac.is_zero):
            yield f"{where}: mac {spec.mac}: not a unicast address; the first byte must be even, as in 02:00:00:00:01:01"
    for key in _repeated([f"{spec.netns}/{spec.interface}" for spec in intent.adapters]):
        yield f"guests: interface {key}: used twice; an interface name is unique in its namespace"
    for key in _repeated([f"{spec.guest}/{spec.interface}" for spec in intent.adapters]):
        yield f"guests: adapter {key}: used twice; give each adapter of a guest its own name"
    yield from _mac_problems(intent)


def _override_problems(intent: HostIntent, spec: AdapterSpec, where: str) -> Iterator[str]:
    group = next((group for switch in intent.switches if (group := switch.group(spec.port_group))), None)
    refused = spec.overrides.kinds() - group.overrides_allowed if group else frozenset()
    if refused:
        text = f"{where}: port group {spec.port_group} does not let its ports override {', '.join(sorted(refused))}"
        yield f"{text}; list it in the group's overrides_allowed, or leave it out here"


def _mac_problems(intent: HostIntent) -> Iterator[str]:
    """The same address twice on a PF is a problem when the VLANs meet."""
    groups = {group.name: (switch.pf, group) for switch in intent.switches for group in switch.port_groups}
    seen: dict[tuple[str, str], list[tuple[str, frozenset[int]]]] = {}
    for spec in intent.adapters:
        if spec.mac is None or spec.port_group not in groups:
            continue
        pf, group = groups[spec.port_group]
        domains = port_vlan(group, spec.overrides).domains
        for other, taken in seen.get((pf, str(spec.mac)), []):
            if taken & domains:
                yield f"guests: {spec.guest}: mac {spec.mac}: also {other}'s in the same VLAN; give each its own"
        seen.setdefault((pf, str(spec.mac)), []).append((spec.guest, domains))
