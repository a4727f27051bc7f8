"""What the operator sets by command: switches, port groups, ports and VFs. Each is one change, committed, and then what it needs
beside the maps.

Verbs in steps, as in lifecycle. For the pf package and the admin API.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from sriov_xdp.pf.errors import FAULTS, Conflict, Invalid, NotFound, PfError, Refused
from sriov_xdp.pf.hands import live
from sriov_xdp.pf.hands.commit import commit, require_bearable
from sriov_xdp.pf.hands.context import Actor, Context, Steps, record_of
from sriov_xdp.pf.hands.publish import start_counters
from sriov_xdp.pf.state import places
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, LinkState, VfAddress
from sriov_xdp.pf.state.intent_text import attachment_to_text, switch_to_json
from sriov_xdp.pf.state.modes import pinned_problem
from sriov_xdp.pf.state.port_record import PortRecord
from sriov_xdp.pf.state.port_validation import binding_problems
from sriov_xdp.pf.state.validation import MAX_PORT_GROUPS_OF_HOST, too_many_groups
from sriov_xdp.pf.verbs import connecting, lifecycle, ports
from sriov_xdp.store.audit import AuditRecord, Outcome
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import PolicySettings
from sriov_xdp.vswitch.ports import PortGroup, PortName, PortOverrides, Switch, port_mtu_bytes, port_vlan
from sriov_xdp.vswitch.shaping import Queue
from sriov_xdp.vswitch.vlan import Vlan, VlanStep


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChange:
    """Settings to be set on one level, and those (by name; `vlan` too) to be inherited again."""

    policy: PolicySettings = field(default_factory=PolicySettings)
    vlan: Vlan | VlanStep | None = None
    inherited: frozenset[str] = frozenset()

    def vlan_after(self, subject: str, before: Vlan) -> Vlan | None:
        """None where nothing is said of it. Raises Refused."""
        if not isinstance(self.vlan, VlanStep):
            return self.vlan
        try:
            return self.vlan.of(before)
        except ValueError as error:
            raise Refused(f"{subject}: {error}") from error

    def of_policy(self) -> frozenset[str]:
        """Names of policy settings that are to be inherited."""
        return self.inherited - {"vlan"}


def switch_record(context: Context, before: Switch | None, after: Switch | None, actor: Actor, port: str = "") -> AuditRecord:
    """A switch that comes, changes or goes. port: the one whose settings change."""
    shown = after or before
    assert shown is not None
    request = f"{'set' if after else 'remove'} switch {shown.name}"
    texts = [json.dumps(switch_to_json(switch)) if switch else "" for switch in (before, after)]
    return record_of(context, "", "", actor, request, Outcome.GRANTED, before=texts[0], after=texts[1], port=port)


def adapter_record(context: Context, before: Attachment, after: Attachment, actor: Actor, request: str) -> AuditRecord:
    """An adapter whose settings change."""
    texts = attachment_to_text(before), attachment_to_text(after)
    return record_of(context, str(after.vf), after.spec.guest, actor, request, Outcome.GRANTED, before=texts[0], after=texts[1])


def put_switch(context: Context, switch: Switch, actor: Actor, port: str = "") -> Steps[None]:
    """Makes a switch what it says; all its ports obey when this returns. port: the one that it is about. Raises Conflict,
    StoreError, DataPathError."""
    inventory = context.inventory
    before, as_it_was = inventory.switches.get(switch.name), as_ports_are(context)
    switch = connecting.numbered(inventory, switch)
    change = Change(switches={switch.name: switch}, port_records=connecting.records_gone(inventory, before, switch))
    yield from leave_xdp_for(context, change)
    commit(context, change, [switch_record(context, before, switch, actor, port)])
    yield from settle_ports(context, as_it_was)


AsItIs = tuple[Vlan, int, Queue | None, Queue | None]  # what of a port its device must know: VLAN, MTU, rates


def as_ports_are(context: Context) -> dict[VfAddress, AsItIs]:
    """To see later which changed."""
    return {address: _as_it_is(context, vf) for address, vf in context.inventory.vfs.items()}


def _as_it_is(context: Context, vf: AttachedVf) -> AsItIs:
    inventory = context.inventory
    return inventory.vlan(vf), inventory.port_mtu_bytes(vf), inventory.egress_queue(vf), inventory.ingress_queue(vf)


def leave_xdp_for(context: Context, change: Change) -> Steps[None]:
    """Before a larger MTU is let in anywhere, ports that must not run XDP with it leave it; first it is asked whether the change
    can be at all. Raises Conflict, DataPathError."""
    leaving = []
    for switch in filter(None, change.switches.values()):
        for vf in context.inventory.vfs_of_pf(switch.pf):
            spec = vf.attachment.spec
            group = switch.group(spec.port_group)
            mtu_bytes = port_mtu_bytes(switch, group, spec.overrides_in(group)) if group else 0
            if live.must_leave_xdp_for(context, vf, mtu_bytes):
                leaving.append((vf, mtu_bytes))
    if leaving:
        require_bearable(context, change)
    for vf, mtu_bytes in leaving:
        yield from live.leave_xdp_for(context, vf, mtu_bytes)


def settle_ports(context: Context, before: dict[VfAddress, AsItIs]) -> Steps[None]:
    """What changed switches need beside the maps: the alias that tells the guest its VLAN, and MTUs."""
    for address, vf in list(context.inventory.vfs.items()):
        if context.inventory.vfs.get(address) is not vf:
            continue  # gone meanwhile, and its group perhaps with it
        if before.get(address) != _as_it_is(context, vf):
            yield from live.follow(context, vf)


def require_mtu(subject: str, switch: Switch, settings: PolicySettings) -> None:
    """Raises Refused for an MTU beyond the switch's."""
    asked = dict(settings.said).get("mtu")
    if asked is not None and asked > switch.mtu_bytes:
        text = f"{subject}: mtu {asked}: switch {switch.name} has {switch.mtu_bytes}"
        raise Refused(f"{text}; raise `mtu` of the switch in the configuration, or choose a smaller one")


def set_switch(context: Context, name: str, change: SettingsChange, actor: Actor) -> Steps[Switch]:
    """Changes settings of a switch's policy. Raises NotFound."""
    if name not in context.inventory.switches:
        raise NotFound(f"switch {name}: not configured; `sriov-xdp switch list` shows what is")
    switch = context.inventory.switches[name]
    require_mtu(f"switch {name}", switch, change.policy)
    changed = replace(switch, policy=switch.policy.merged(change.policy, change.of_policy()))
    yield from put_switch(context, changed, actor)
    return changed


def set_group(context: Context, name: str, change: SettingsChange, actor: Actor) -> Steps[PortGroup]:
    """Changes settings of a port group. Raises NotFound, Conflict."""
    switch, group = context.inventory.group(name)
    require_mtu(f"port group {name}", switch, change.policy)
    vlan = change.vlan_after(f"port group {name}", group.vlan)
    changed = replace(group, policy=group.policy.merged(change.policy, change.of_policy()), vlan=vlan or group.vlan)
    yield from put_switch(context, switch.with_group(changed), actor)
    return changed


def create_group(context: Context, switch_name: str, group: PortGroup, actor: Actor) -> Steps[None]:
    """A port group more. Raises NotFound, Conflict, Refused."""
    if switch_name not in context.inventory.switches:
        raise NotFound(f"switch {switch_name}: not configured; `sriov-xdp switch list` shows what is")
    if context.inventory.has_group(group.name):
        raise Conflict(f"port group {group.name}: is there already; `sriov-xdp port-group set {group.name}` changes it")
    count = sum(len(switch.port_groups) for switch in context.inventory.switches.values())
    if count >= MAX_PORT_GROUPS_OF_HOST:
        raise Conflict(f"port group {group.name}: {too_many_groups(count + 1)}")
    switch = context.inventory.switches[switch_name]
    require_mtu(f"port group {group.name}", switch, group.policy)
    for key, problem in binding_problems(group):
        raise Invalid(f"port group {group.name}: {key} {problem}")
    yield from put_switch(context, replace(switch, port_groups=(*switch.port_groups, group)), actor)


def delete_group(context: Context, name: str, actor: Actor) -> Steps[None]:
    """A port group less. Raises NotFound; Conflict while anything is connected to it."""
    switch, _group = context.inventory.group(name)
    connected = sorted(str(vf.address) for vf in context.inventory.vfs_of_group(name))
    if connected:
        text = f"port group {name}: {len(connected)} ports are connected, as {connected[0]}"
        raise Conflict(f"{text}; move them with `vf set VF --port-group`, or detach them")
    groups = tuple(group for group in switch.port_groups if group.name != name)
    yield from put_switch(context, replace(switch, port_groups=groups), actor)


def set_port(context: Context, name: str, change: SettingsChange, actor: Actor) -> Steps[None]:
    """Overrides settings of a port's group, where the group allows it. name: as places.find() takes it. Raises NotFound, Refused,
    Conflict."""
    place = places.find(context.inventory, name)
    if place.attached:
        spec, switch = _with_settings(context, place, place.attached.attachment.spec, change, actor)
        yield from change_adapter(context, place.attached, spec, actor, "set port", switch)
        return
    assert place.number is not None
    said = _asked(context, place, change, port_vlan(place.group, place.group.settings_of(place.number)), actor)
    kept = ports.merged(place.group.settings_of(place.number), said, change.inherited)
    yield from put_switch(context, place.switch.with_group(place.group.with_settings(place.number, kept)), actor, str(place))


def _with_settings(
    context: Context, place: places.Place, spec: AdapterSpec, change: SettingsChange, actor: Actor
) -> tuple[AdapterSpec, Switch | None]:
    """An adapter whose port says this as well, and the switch where it is the port's to keep. place: where it will be connected."""
    said = _asked(context, place, change, port_vlan(place.group, spec.overrides_in(place.group)), actor)
    switch, spec = ports.set_for(place, spec, said, change.inherited)
    return spec, switch


def _asked(context: Context, place: places.Place, change: SettingsChange, vlan: Vlan, actor: Actor) -> PortOverrides:
    """What a command sets for a port, checked. vlan: the port's. A refusal is in the audit. Raises Refused."""
    subject = f"port {place.attached.address if place.attached else place}"
    require_mtu(subject, place.switch, change.policy)
    said = PortOverrides(policy=change.policy, vlan=change.vlan_after(subject, vlan))
    ports.require_allowed(context, place, said, actor)
    return said


def create_port(context: Context, group: str, actor: Actor) -> Steps[PortName]:
    """A port more of a static group. Raises NotFound, Refused, Conflict."""
    switch, name = ports.with_port_more(context.inventory, group)
    yield from put_switch(context, switch, actor, str(name))
    return name


def delete_port(context: Context, name: str, actor: Actor) -> Steps[None]:
    """A port less of a static group, with what is set for it. Raises NotFound, Refused; Conflict while somebody is connected."""
    place = places.find(context.inventory, name)
    yield from put_switch(context, ports.without_port(context.inventory, place), actor, str(place))


@dataclass(frozen=True, slots=True, kw_only=True)
class VfSettings:
    """What `vf set` may change; None = stays. inherits_mac: the admin MAC is the host's choice again; settings: of its port."""

    mac: MacAddress | None = None
    inherits_mac: bool = False
    link_state: LinkState | None = None
    datapath: Datapath | None = None
    port_group: str | None = None
    port: PortName | None = None
    settings: SettingsChange = field(default_factory=SettingsChange)


def set_vf(context: Context, vf: VfAddress, asked: VfSettings, actor: Actor) -> Steps[None]:
    """Operator settings of a VF. A new admin MAC resets the VF, as `ip link set PF vf N mac` does; a new port group moves it
    while its guest goes on. Raises NotFound, Refused, Conflict."""
    attached = context.inventory.attached(vf)
    spec = attached.attachment.spec
    wanted = replace(
        spec,
        mac=None if asked.inherits_mac else asked.mac or spec.mac,
        link_state=asked.link_state or spec.link_state,
        datapath=asked.datapath or spec.datapath,
    )
    if asked.port or asked.port_group not in (None, spec.port_group):
        name, port = places.asked_for(context.inventory, asked.port, asked.port_group)
        wanted = replace(wanted, port_group=name, port=port)
    wanted = connecting.placed(context.inventory, wanted, vf)
    has_moved = connecting.has_moved(spec, wanted)
    left = connecting.left_by(context, attached, is_declared=False) if has_moved else Change()
    switch, _group = context.inventory.group(wanted.port_group)
    switch = left.switches.get(switch.name) or switch
    group = switch.group(wanted.port_group)
    assert group is not None
    place = places.Place(switch=switch, group=group, number=wanted.number, attached=attached)
    wanted, changed = _with_settings(context, place, wanted, asked.settings, actor)
    changed = changed or left.switches.get(switch.name)
    yield from change_adapter(context, attached, wanted, actor, "set VF", changed, left.port_records)


def change_adapter(
    context: Context,
    attached: AttachedVf,
    spec: AdapterSpec,
    actor: Actor,
    request: str,
    switch: Switch | None = None,
    port_records: Mapping[PortName, PortRecord | None] | None = None,
) -> Steps[None]:
    """One adapter in place. switch: as it will be, where a port keeps something else then; port_records: what the port keeps that
    the adapter leaves. Raises NotFound, Refused, Conflict, DataPathError, StoreError, then nothing changed; PfError when its device
    could not follow, which says whether it is as it was."""
    attachment, state = attached.attachment, attached.state
    former = context.inventory.switches[switch.name] if switch else None
    changed = changed_attachment(context, attached, spec, switch)
    record = adapter_record(context, attachment, changed, actor, request)
    switches = {switch.name: switch} if switch else {}
    records = [record, *([switch_record(context, former, switch, actor)] if switch else [])]
    change = Change(switches=switches, attachments={attached.address: changed}, port_records=port_records or {})
    commit(context, change, records)
    if connecting.has_moved(attachment.spec, spec):  # what was counted is the port's that it left
        start_counters(context, attached.address)
    before = Before(attachment=attachment, state=state, installed=attached.state, switch=former)
    yield from carry_out_change(context, attached, before, actor, request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What an adapter was before a change of it was committed, with its grants. installed: its device as the commit left it, by
    which is told what its guest was granted since; switch: as it was, where its port kept something else then."""

    attachment: Attachment
    state: VfState
    installed: VfState
    switch: Switch | None = None

    def state_with(self, now: VfState) -> VfState:
        """The device as it was, with what its guest was granted meanwhile."""
        granted = {field.name: getattr(now, field.name) for field in fields(VfState) if field.name != "admin_mac"}
        return replace(self.state, **{name: it for name, it in granted.items() if it != getattr(self.installed, name)})


def carry_out_change(context: Context, attached: AttachedVf, before: Before, actor: Actor, request: str) -> Steps[None]:
    """The devices' part of a change of an adapter that was committed. Raises PfError, which says whether all of it is as it
    was."""
    changed, former = attached.attachment, before.attachment
    try:
        yield from live.change_live(context, attached, former)
    except FAULTS as error:
        if attached.attachment != changed:
            raise
        undone = adapter_record(context, changed, former, actor, f"{request}: undone, its device could not follow")
        try:
            vf, state = attached.address, before.state_with(attached.state)
            switches = {before.switch.name: before.switch} if before.switch else {}
            commit(context, Change(switches=switches, attachments={vf: former}, states={vf: state}), [undone])
        except FAULTS as second:
            raise PfError(f"{error}; it keeps the change, as it could not be put back: {second}") from error
        with contextlib.suppress(*FAULTS):
            yield from live.change_live(context, attached, changed)
        raise PfError(f"{error}; it is as it was before") from error


def changed_attachment(context: Context, attached: AttachedVf, spec: AdapterSpec, changed: Switch | None = None) -> Attachment:
    """The attachment as it will be, checked. changed: its switch, where that changes too. Raises NotFound, Refused, Conflict."""
    vf, former = attached.address, attached.attachment
    switch, group = context.inventory.group(spec.port_group)
    if changed:
        switch, group = changed, changed.group(group.name) or group
    if switch.pf != vf.pf:
        text = f"VF {vf}: port group {spec.port_group} is on the switch of PF {switch.pf}"
        raise Conflict(f"{text}; detach the VF and attach one of that PF")
    mtu_bytes = port_mtu_bytes(switch, group, spec.overrides_in(group))
    problem = pinned_problem(f"VF {vf}", spec.datapath, mtu_bytes, context.jumbo_xdp)
    if problem and spec.datapath is not former.spec.datapath:
        raise Refused(problem)
    if (spec.overrides, spec.port_group) != (former.spec.overrides, former.spec.port_group):
        ports.check_overrides(group, f"port {vf}", spec.overrides)
    lifecycle.check_admin_mac(f"VF {vf}", spec.mac)
    if spec.mac == former.spec.mac:
        return replace(former, spec=spec)
    return replace(former, spec=spec, admin_mac=spec.mac or lifecycle.default_mac(spec))


def enable_mailbox(context: Context, vf: VfAddress, actor: Actor) -> None:
    """Its guest is heard again, after too many invalid messages in a row. Raises NotFound."""
    attached = context.inventory.attached(vf)
    before = "malicious" if context.mailboxes.is_malicious(vf) else "heard"
    guest = attached.attachment.spec.guest
    record = record_of(context, str(vf), guest, actor, "mailbox enable", Outcome.GRANTED, before=before, after="heard")
    commit(context, Change(), [record])
    context.mailboxes.enable(vf)


def reset_vf(context: Context, vf: VfAddress, actor: Actor) -> None:
    """The operator's reset. Raises NotFound."""
    attached = context.inventory.attached(vf)
    before, after = str(attached.state.effective_mac), str(attached.state.admin_mac)
    record = record_of(
        context, str(vf), attached.attachment.spec.guest, actor, "reset", Outcome.GRANTED, before=before, after=after
    )
    commit(context, Change(states={vf: None}), [record])
