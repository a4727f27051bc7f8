"""What is shown of the PF's state: plain documents (JSON types) built from the inventory and the counters. Reads only.

Directions are the guest's: rx is what the switch delivered to it.
"""

from typing import Any

from sriov_xdp.datapath.abi import Counters, Verdict
from sriov_xdp.pf.hands import damaged, live
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.images import slot_of
from sriov_xdp.pf.state.intent import HostIntent, LinkState, PfSpec, Switching, VfAddress
from sriov_xdp.pf.state.intent_text import adapter_to_json, switch_to_json, vlan_to_json
from sriov_xdp.pf.state.physical_function import PhysicalFunction
from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.vswitch.vlan import SERVICE_DOMAINS

Document = dict[str, Any]
_NO_COUNTERS = Counters()


def vf_list(context: Context) -> list[Document]:
    """Every VF, free ones included."""
    counters = context.tables.counters()
    found = []
    for name in sorted(context.inventory.pfs):
        pf = context.inventory.pfs[name]
        found += [_vf(context, VfAddress(name, index), counters) for index in range(pf.spec.num_vfs)]
    return found


def vf_show(context: Context, vf: VfAddress) -> Document:
    """One VF. Raises NotFound."""
    context.inventory.require_vf(vf)
    attached = context.inventory.vfs.get(vf)
    counters = {slot_of(attached): context.tables.counters_of(slot_of(attached))} if attached else {}
    return _vf(context, vf, counters)


def _vf(context: Context, address: VfAddress, counters: dict[int, Counters]) -> Document:
    vf = context.inventory.vfs.get(address)
    if vf is None:
        state = "damaged" if address in damaged.vfs(context) else "free"
        return {**dict.fromkeys(_VF_KEYS), "address": str(address), "state": state, "counters": {}, "drops": {}}
    attachment, spec = vf.attachment, vf.attachment.spec
    switch, _group = context.inventory.group(spec.port_group)
    counted = counters.get(slot_of(vf), _NO_COUNTERS)
    link, reason = link_of(context, vf)
    queue_full = live.dropped_by_rate(context, vf)
    return {
        "address": str(address),
        "state": "attached",
        "guest": spec.guest,
        "netns": spec.netns,
        "interface": spec.interface,
        "representor": attachment.representor,
        "switch": switch.name,
        "port_group": spec.port_group,
        "port": str(context.inventory.port_name(vf) or "") or None,
        "vlan": vlan_to_json(context.inventory.vlan(vf)),
        "admin_mac": str(vf.state.admin_mac),
        "effective_mac": str(vf.state.effective_mac),
        "filters": sorted(str(mac) for mac in vf.state.filters),
        "vlans_asked": None if vf.state.vlans is None else sorted(vf.state.vlans),
        "promiscuity_asked": _promiscuity(vf),
        "shared_macs": _shared_macs(context, vf),
        "link": link,
        "link_reason": reason,
        "link_state": attachment.spec.link_state.value,
        "mailbox": "malicious: only a reset is heard" if context.mailboxes.is_malicious(vf.address) else "heard",
        "loop": f"cut: floods come back by {vf.cut_for_loop_with}" if vf.cut_for_loop_with else None,
        "mtu": context.inventory.port_mtu_bytes(vf),
        "datapath": _datapath(vf, context.mode_switches.get(address, 0)),
        "counters": {
            "rx_packets": counted.delivered_frames,
            "rx_bytes": counted.egress_bytes,
            "tx_packets": counted.ingress_frames,
            "tx_bytes": counted.ingress_bytes,
        },
        "drops": {**counted.drops(), **({Verdict.QUEUE_FULL.label: queue_full} if queue_full else {})},
        "generation": attachment.generation,
    }


def _promiscuity(vf: AttachedVf) -> Document | None:
    """What the guest said last of it; None: nothing."""
    if vf.state.is_promiscuous is None:
        return None
    return {"unicast": vf.state.is_promiscuous, "multicast": vf.state.has_all_groups}


def _shared_macs(context: Context, vf: AttachedVf) -> dict[str, str]:
    """To whom each leads: a VF, or the wire; of a trunk by VLANs, where they are not of one mind."""
    found: dict[str, dict[int, str]] = {}
    for (place, mac), holder in sorted(context.inventory.shared_of(vf).items()):
        found.setdefault(str(mac), {})[place % SERVICE_DOMAINS] = holder
    return {mac: _of_one_mind(holders) for mac, holders in found.items()}


def _of_one_mind(holders: dict[int, str]) -> str:
    names = set(holders.values())
    return names.pop() if len(names) == 1 else ", ".join(f"VLAN {vlan}: {name}" for vlan, name in holders.items())


def _datapath(vf: AttachedVf, switches: int) -> Document:
    return {
        "mode": vf.attachment.spec.datapath.value,
        "active": vf.active.value,
        "reason": vf.active_reason,
        "settled": vf.is_settled,
        "guest_runs_xdp": vf.guest_runs_xdp,
        "switches": switches,
    }


_VF_KEYS = (
    "address",
    "state",
    "guest",
    "netns",
    "interface",
    "representor",
    "switch",
    "port_group",
    "port",
    "vlan",
    "admin_mac",
    "effective_mac",
    "filters",
    "vlans_asked",
    "promiscuity_asked",
    "shared_macs",
    "link",
    "link_reason",
    "link_state",
    "loop",
    "mtu",
    "datapath",
    "counters",
    "drops",
    "generation",
)


def link_of(context: Context, vf: AttachedVf) -> tuple[str, str]:
    """Whether frames can pass between a guest and its port, up or down, as it is; and why they cannot."""
    if vf.attachment.spec.link_state is LinkState.DISABLE:
        return "down", "disabled by the operator"
    if vf.stage is not Stage.IN_SERVICE:
        return "down", "its port is not in service"
    if not context.inventory.is_open(vf):
        return "down", f"the uplink of {vf.address.pf} has no carrier"
    return ("up", "") if vf.has_carrier else ("down", "the guest's interface is down")


def pf_list(context: Context) -> list[Document]:
    """Every PF."""
    counters = context.tables.counters()
    return [pf_document(context, context.inventory.pfs[name], counters) for name in sorted(context.inventory.pfs)]


def pf_show(context: Context, name: str) -> Document:
    """One PF. Raises NotFound."""
    return pf_document(context, context.inventory.pf(name), context.tables.counters())


def pf_document(context: Context, pf: PhysicalFunction, counters: dict[int, Counters]) -> Document:
    """A PF with the counters of its uplink, seen from the wire's side of the switch."""
    counted = counters.get(pf.number, _NO_COUNTERS)
    switch = context.inventory.switch_of_pf(pf.spec.name)
    attached = len(context.inventory.vfs_of_pf(pf.spec.name))
    link = "none" if pf.spec.uplink is None else "up" if pf.uplink and pf.uplink.has_carrier else "down"
    return {
        "name": pf.spec.name,
        "uplink": pf.spec.uplink,
        "link": link,
        "troubles": [trouble.observed for trouble in pf.uplink.troubles] if pf.uplink else [],
        "xdp": pf.uplink.xdp_mode if pf.uplink else None,
        "serves_host": pf.uplink.serves_host if pf.uplink else None,
        "host_vlans": sorted(pf.uplink.host_vlans) if pf.uplink else None,
        "mac": str(pf.uplink.mac) if pf.uplink else None,
        "num_vfs": pf.spec.num_vfs,
        "wire_own_source": pf.spec.wire_own_source.value,
        "switching": pf.spec.switching.value,
        "uplink_loss": pf.spec.uplink_loss.value,
        "attached_vfs": attached,
        "switch": switch.name if switch else None,
        "mtu": context.inventory.mtu_bytes(pf.spec.name),
        "counters": {
            "from_wire_packets": counted.ingress_frames,
            "from_wire_bytes": counted.ingress_bytes,
            "to_wire_packets": counted.delivered_frames,
            "to_wire_bytes": counted.egress_bytes,
            "to_host_packets": counted.verdicts[Verdict.TO_HOST],
        },
        "drops": counted.drops(),
    }


def audit_document(record: AuditRecord) -> Document:
    """One audit record."""
    return {
        "time": record.time,
        "vf": record.vf or None,
        "port": record.port or None,
        "guest": record.guest or None,
        "peer": {"pid": record.peer_pid, "uid": record.peer_uid, "login_uid": record.login_uid},
        "request": record.request,
        "rule": record.rule,
        "outcome": record.outcome.value,
        "before": record.before,
        "after": record.after,
    }


def _as_configured(pf: PfSpec) -> Document:
    uplink = {"uplink": pf.uplink} if pf.uplink else {}
    rules = {
        "wire_own_source": pf.wire_own_source.value,
        "uplink_loss": pf.uplink_loss.value,
        **({"switching": pf.switching.value} if pf.switching is not Switching.VEB else {}),
    }
    return {"name": pf.name, **uplink, "num_vfs": pf.num_vfs, **rules}


def export(context: Context) -> Document:
    """The host as a configuration file says it; applying it changes nothing. Raises Conflict when it could not say all."""
    damaged.require_none(context, "export")
    return host_document(context.inventory.intent())


def host_document(intent: HostIntent) -> Document:
    """An intent as a configuration file says it."""
    guests: dict[tuple[str, str], Document] = {}
    for spec in intent.adapters:
        guest = guests.setdefault((spec.guest, spec.netns), {"name": spec.guest, "netns": spec.netns, "adapters": []})
        guest["adapters"].append(adapter_to_json(spec))
    return {
        "version": 1,
        "pfs": [_as_configured(pf) for pf in intent.pfs],
        "switches": [switch_to_json(switch) for switch in intent.switches],
        "guests": list(guests.values()),
    }
