"""What a configuration would mean for those who are connected, and for what their guests asked before. Pure: the same core decides
again, on what is there and on what was recorded. For the api package.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent, PfSpec
from sriov_xdp.pf.state.intent_text import vlan_to_json
from sriov_xdp.store.audit import AuditRecord, Outcome
from sriov_xdp.vswitch import recorded
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import Deny, Grant, PortView, VfState, decide, refused_by
from sriov_xdp.vswitch.owners import AddressOwners
from sriov_xdp.vswitch.policy import SETTINGS, Policy
from sriov_xdp.vswitch.ports import PortGroup, Switch, port_vlan, resolve
from sriov_xdp.vswitch.vlan import Vlan

_DECIDED = (Outcome.GRANTED, Outcome.REFUSED, Outcome.PRETENDED)
_IN_USE = "address in use"  # who had which address then is not known any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """An adapter with its VF as it is now."""

    spec: AdapterSpec
    vf: str
    state: VfState


@dataclass(frozen=True, slots=True, kw_only=True)
class PortChange:
    """What would be different for an adapter. changes: before and after, by name; loses: the rule by which it would lose what its
    guest was granted, None = nothing; is_gone: it has no adapter then."""

    vf: str
    guest: str
    interface: str
    changes: Mapping[str, tuple[Any, Any]]
    loses: str | None
    is_gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherDecision:
    """A recorded request that would be decided otherwise. rule: by which."""

    record: AuditRecord
    is_granted: bool
    rule: str


@dataclass(frozen=True, slots=True)
class _Port:
    spec: AdapterSpec
    pf: PfSpec
    switch: Switch
    group: PortGroup
    policy: Policy
    vlan: Vlan


def _ports(intent: HostIntent, names: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], _Port]:
    """By adapter. names: what policies call their ports."""
    pfs = {pf.name: pf for pf in intent.pfs}
    places = {group.name: (switch, group) for switch in intent.switches for group in switch.port_groups}
    found = {}
    for spec in intent.adapters:
        switch, group = places[spec.port_group]
        said = spec.overrides_in(group)
        policy = resolve(switch, group, names.get(spec.key, f"{spec.guest}/{spec.interface}"), said)
        found[spec.key] = _Port(spec, pfs[switch.pf], switch, group, policy, port_vlan(group, said))
    return found


def port_changes(current: HostIntent, wanted: HostIntent, connected: Iterable[Connected]) -> Iterator[PortChange]:
    """Of those for whom something would be different."""
    everybody = list(connected)
    names = {one.spec.key: one.vf for one in everybody}
    before, after = _ports(current, names), _ports(wanted, names)
    for one in everybody:
        key = one.spec.key
        port = after.get(key)
        if port is None:
            yield PortChange(vf=one.vf, guest=key[0], interface=key[1], changes={}, loses=None, is_gone=True)
            continue
        was, shall_be = _told(before[key]), _told(port)
        changes = {name: (was[name], shall_be[name]) for name in shall_be if was[name] != shall_be[name]}
        setting = refused_by(port.policy, one.state)
        loses = port.policy.rule(setting) if setting else None
        if changes or loses:
            yield PortChange(vf=one.vf, guest=key[0], interface=key[1], changes=changes, loses=loses)


def _told(port: _Port) -> dict[str, Any]:
    """Plain values."""
    spec = port.spec
    told = {name: setting.values.plain(getattr(port.policy, name)) for name, setting in SETTINGS.items()}
    return {
        "uplink": port.pf.uplink,
        "switching": port.pf.switching.value,
        "wire_own_source": port.pf.wire_own_source.value,
        "uplink_loss": port.pf.uplink_loss.value,
        "switch": port.switch.name,
        "port_group": spec.port_group,
        "port": spec.number,
        "netns": spec.netns,
        "mac": str(spec.mac) if spec.mac else None,
        "link_state": spec.link_state.value,
        "datapath": spec.datapath.value,
        "vlan": vlan_to_json(port.vlan),
        **told,
    }


class Judge:
    """Decides recorded requests again. connected: whose requests they can have been; admin_macs: of the wanted adapters."""

    def __init__(
        self, wanted: HostIntent, connected: Iterable[Connected], admin_macs: Mapping[tuple[str, str], MacAddress]
    ) -> None:
        everybody = list(connected)
        self._keys = {(one.vf, one.spec.guest): one.spec.key for one in everybody}
        self._ports = _ports(wanted, {one.spec.key: one.vf for one in everybody})
        self._owners: dict[str, AddressOwners] = {}
        for key, port in self._ports.items():
            of_pf = self._owners.setdefault(port.switch.pf, AddressOwners())
            of_pf.replace("/".join(key), frozenset({admin_macs[key]}), port.vlan.address_domains)

    def otherwise(self, record: AuditRecord) -> OtherDecision | None:
        """None where it would be decided as it was, or where that cannot be told. Raises ValueError, KeyError, TypeError for a
        record that is damaged."""
        key = self._keys.get((record.vf, record.guest))
        port = self._ports.get(key) if key else None
        if port is None or key is None or not record.asked or record.outcome not in _DECIDED or record.rule == _IN_USE:
            return None
        request, state = recorded.read(record.asked)
        owners = self._owners[port.switch.pf]
        view = PortView(name="/".join(key), policy=port.policy, vlan=port.vlan, state=state, owners=owners)
        decision = decide(request, view, record.time)
        match decision:
            case Grant(rule=rule) if record.outcome is not Outcome.GRANTED:
                return OtherDecision(record=record, is_granted=True, rule=rule)
            case Deny(rule=rule) if record.outcome is Outcome.GRANTED:
                return OtherDecision(record=record, is_granted=False, rule=rule)
        return None
