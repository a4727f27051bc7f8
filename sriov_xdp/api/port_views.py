"""What is shown of switches, their port groups and ports: plain documents (JSON types). Reads only."""

from typing import Any

from sriov_xdp.api import fast_path
from sriov_xdp.pf.errors import NotFound
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.state import places
from sriov_xdp.pf.state.images import slot_of
from sriov_xdp.pf.state.intent_text import group_to_json, overrides_to_json, switch_to_json, vlan_to_json
from sriov_xdp.pf.verbs import connecting
from sriov_xdp.vswitch.policy import SETTINGS, Policy
from sriov_xdp.vswitch.ports import port_vlan, resolve

Document = dict[str, Any]


def switch_list(context: Context) -> list[Document]:
    """Every switch as configured, with how many ports are in use."""
    return [switch_show(context, name) for name in sorted(context.inventory.switches)]


def switch_show(context: Context, name: str) -> Document:
    """One switch. Raises NotFound."""
    if name not in context.inventory.switches:
        raise NotFound(f"switch {name}: not configured; `sriov-xdp switch list` shows what is")
    switch = context.inventory.switches[name]
    ports = sum(len(context.inventory.vfs_of_group(group.name)) for group in switch.port_groups)
    return {**switch_to_json(switch), "ports": ports}


def group_list(context: Context) -> list[Document]:
    """Every port group."""
    names = [group.name for _name, switch in sorted(context.inventory.switches.items()) for group in switch.port_groups]
    return [group_show(context, name) for name in names]


def group_show(context: Context, name: str) -> Document:
    """One port group, with the VFs connected to it. Raises NotFound."""
    switch, group = context.inventory.group(name)
    ports = sorted(str(vf.address) for vf in context.inventory.vfs_of_group(name))
    return {**group_to_json(group), "switch": switch.name, "ports": ports}


def port_list(context: Context) -> list[Document]:
    """Every port, in use or not."""
    return [_port(context, place) for place in places.all_ports(context.inventory)]


def port_show(context: Context, name: str) -> Document:
    """One port, with what was counted there. name: its own, or of who is connected there. Raises NotFound, Invalid."""
    place = places.find(context.inventory, name)
    counted = connecting.totals(context, place)
    drops = {verdict: frames for verdict, frames in counted.drops if frames}
    return {**_port(context, place), "counters": dict(counted.counted), "drops": drops}


def _port(context: Context, place: places.Place) -> Document:
    """The policy that holds for a port, and which level said so."""
    attached, group = place.attached, place.group
    spec = attached.attachment.spec if attached else None
    own = spec.overrides_in(group) if spec else group.settings_of(place.number)
    policy = context.inventory.policy(attached) if attached else resolve(place.switch, group, str(place), own)
    return {
        "port": str(place),
        "vf": str(attached.address) if attached else None,
        "guest": spec.guest if spec else None,
        "interface": spec.interface if spec else None,
        "switch": place.switch.name,
        "port_group": group.name,
        "binding": group.binding.value,
        "vlan": vlan_to_json(port_vlan(group, own)),
        "link_state": spec.link_state.value if spec else None,
        "slow_path": fast_path.reasons(context.tables.flags_of(slot_of(attached))) if attached else None,
        "policy": _policy(policy),
        "overrides": overrides_to_json(own),
        "overrides_allowed": sorted(group.overrides_allowed),
    }


def _policy(policy: Policy) -> Document:
    return {
        name: {"value": setting.values.plain(getattr(policy, name)), "set_by": policy.origins[name]}
        for name, setting in SETTINGS.items()
    }
