"""Carrying out what the operator wants: whole configurations, and single settings of PFs, switches, groups, ports and VFs.

A configuration is checked as a whole first; its steps then run one by one, with mailbox requests served in between, and a
second configuration meanwhile is a conflict. Each step stores before it programs.
"""

import json
import logging
from collections.abc import Generator
from dataclasses import replace

from sriov_xdp.pf import lifecycle, uplinks
from sriov_xdp.pf.context import Actor, Context, record_of
from sriov_xdp.pf.controller import link_event
from sriov_xdp.pf.errors import Conflict, Invalid, Refused
from sriov_xdp.pf.images import member_lists, slot_of, vf_image, vf_value
from sriov_xdp.pf.intent import (
    AdapterSpec,
    Attachment,
    Datapath,
    HostIntent,
    LinkState,
    PfSpec,
    VfAddress,
    attachment_to_text,
    switch_to_json,
)
from sriov_xdp.pf.inventory import AttachedVf, PhysicalFunction
from sriov_xdp.pf.modes import pinned_problem
from sriov_xdp.pf.plan import Action, Step, plan
from sriov_xdp.pf.validation import problems
from sriov_xdp.store.audit import Outcome
from sriov_xdp.store.database import Change
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import Device, admin_mac_problem
from sriov_xdp.vswitch.policy import PolicySettings, PortGroup, PortOverrides, Security, Switch, port_vlan
from sriov_xdp.vswitch.vlan import Vlan

_log = logging.getLogger("sriov_xdp.pf")


def check(context: Context, wanted: HostIntent) -> list[Step]:
    """The steps that wanted needs. Raises Invalid with all problems when it cannot be had."""
    found = problems(wanted)
    mtu = {switch.pf: switch.mtu_bytes for switch in wanted.switches}
    for pf in wanted.pfs:
        problem = None if found else uplinks.check(context, pf, mtu.get(pf.name, 0))
        if problem:
            found.append(problem)
    found += [] if found else _pinned_problems(context, wanted)
    if found:
        raise Invalid("\n".join(found))
    return plan(context.inventory.intent(), wanted)


def _pinned_problems(context: Context, wanted: HostIntent) -> list[str]:
    mtu_of_group = {group.name: switch.mtu_bytes for switch in wanted.switches for group in switch.port_groups}
    found = (
        pinned_problem(
            f"guests: {spec.guest}: adapter {spec.interface}", spec.datapath, mtu_of_group[spec.port_group], context.jumbo_xdp
        )
        for spec in wanted.adapters
    )
    return [problem for problem in found if problem]


def apply(context: Context, wanted: HostIntent, actor: Actor) -> Generator[None, None, list[Step]]:
    """Makes the host what wanted says, step by step. Raises PfError."""
    if context.is_applying:
        raise Conflict("apply: another configuration is being applied; try again when it is done")
    steps = check(context, wanted)
    context.is_applying = True
    try:
        for step in steps:
            _carry_out(context, step, actor)
            yield
    finally:
        context.is_applying = False
    return steps


def _carry_out(context: Context, step: Step, actor: Actor) -> None:
    match step.kind, step.action:
        case "pf", Action.REMOVE:
            _remove_pf(context, context.inventory.pf(step.name), actor)
        case "pf", _:
            assert isinstance(step.after, PfSpec)
            _put_pf(context, step.after, actor)
        case "switch", Action.REMOVE:
            _check_unused(context, step.name)
            _store_switch(context, step.name, None, actor, "remove switch")
            del context.inventory.switches[step.name]
        case "switch", _:
            assert isinstance(step.after, Switch)
            put_switch(context, step.after, actor)
        case "adapter", Action.REMOVE:
            assert isinstance(step.before, AdapterSpec)
            attached = context.inventory.adapter(*step.before.key)
            if attached:
                lifecycle.detach(context, attached.address, actor)
        case "adapter", Action.ADD:
            assert isinstance(step.after, AdapterSpec)
            lifecycle.attach(context, step.after, None, actor)
        case _:  # an adapter changes in place in its data path only; the plan makes a new attachment of anything else
            assert isinstance(step.after, AdapterSpec)
            attached = context.inventory.adapter(*step.after.key)
            if attached:
                set_vf(context, attached.address, actor, datapath=step.after.datapath)


def _check_unused(context: Context, name: str) -> None:
    switch = context.inventory.switches[name]
    ports = [str(vf.address) for group in switch.port_groups for vf in context.inventory.vfs_of_group(group.name)]
    if ports:
        raise Conflict(f"switch {name}: {', '.join(ports)} are connected; detach them first")


def _put_pf(context: Context, spec: PfSpec, actor: Actor) -> None:
    present = context.inventory.pfs.get(spec.name)
    if present:
        _shrink_check(context, present, spec)
    number = present.number if present else context.inventory.free_pf_number()
    pf = PhysicalFunction(spec=spec, number=number)
    if present and present.spec.uplink == spec.uplink:
        present.spec = spec
        pf = present
    else:
        if present:
            uplinks.give_back(context, present)
            pf.owners = present.owners
        context.inventory.pfs[spec.name] = pf
        try:
            uplinks.take(context, pf)
        except lifecycle.FAULTS:
            del context.inventory.pfs[spec.name]
            if present:
                context.inventory.pfs[spec.name] = present
                uplinks.take(context, present)
            raise
    request = f"set PF {spec.name}: uplink {spec.uplink or 'none'}, {spec.num_vfs} VFs"
    record = record_of("", "", actor, request, Outcome.GRANTED)
    context.database.write_intent([Change(kind="pf", name=spec.name, body=uplinks.pf_to_text(pf))], [record])


def _shrink_check(context: Context, pf: PhysicalFunction, spec: PfSpec) -> None:
    beyond = [vf.address for vf in context.inventory.vfs_of_pf(pf.spec.name) if vf.address.index >= spec.num_vfs]
    if beyond:
        raise Conflict(f"PF {spec.name}: num_vfs {spec.num_vfs}: {beyond[0]} is attached; detach it first")


def _remove_pf(context: Context, pf: PhysicalFunction, actor: Actor) -> None:
    for vf in context.inventory.vfs_of_pf(pf.spec.name):
        lifecycle.detach(context, vf.address, actor)
    record = record_of("", "", actor, f"remove PF {pf.spec.name}", Outcome.GRANTED)
    context.database.write_intent([Change(kind="pf", name=pf.spec.name, body=None)], [record])
    context.tables.put_members(pf.number, {})
    uplinks.give_back(context, pf)
    del context.inventory.pfs[pf.spec.name]


def _store_switch(context: Context, name: str, switch: Switch | None, actor: Actor, request: str) -> None:
    before = context.inventory.switches.get(name)
    record = record_of(
        "",
        "",
        actor,
        f"{request} {name}",
        Outcome.GRANTED,
        before=json.dumps(switch_to_json(before)) if before else "",
        after=json.dumps(switch_to_json(switch)) if switch else "",
    )
    body = json.dumps(switch_to_json(switch)) if switch else None
    context.database.write_intent([Change(kind="switch", name=name, body=body)], [record])


def put_switch(context: Context, switch: Switch, actor: Actor) -> None:
    """Makes a switch what it says; all its ports obey when this returns. Raises Conflict, StoreError, DataPathError."""
    before = context.inventory.switches.get(switch.name)
    names = {group.name for known in (before, switch) if known for group in known.port_groups}
    ports = [vf for name in sorted(names) for vf in context.inventory.vfs_of_group(name)]
    _check_groups_kept(switch, ports)
    if ports and before and before.pf != switch.pf:
        raise Conflict(f"switch {switch.name}: {len(ports)} ports are in use on {before.pf}; detach them to move it to {switch.pf}")
    vlan_before = {vf.address: context.inventory.vlan(vf) for vf in ports}
    _check_vlans(switch, ports)
    _store_switch(context, switch.name, switch, actor, "set switch")
    context.inventory.switches[switch.name] = switch
    for vf in ports:  # before a larger MTU is let in anywhere, ports that must not run XDP with it leave it
        if vf.active is Datapath.XDP:
            lifecycle.set_active(context, vf, *lifecycle.mode_of(context, vf))
    _reprogram(context, ports, [vf for vf in ports if context.inventory.vlan(vf) != vlan_before[vf.address]])
    pf = context.inventory.pfs.get(switch.pf)
    if pf:
        uplinks.refresh(context, pf)
    if before and before.mtu_bytes != switch.mtu_bytes:
        for vf in ports:
            lifecycle.follow_mtu(context, vf)


def _check_groups_kept(switch: Switch, ports: list[AttachedVf]) -> None:
    for vf in ports:
        group = vf.attachment.spec.port_group
        if switch.group(group) is None:
            raise Conflict(f"port group {group}: VF {vf.address} is connected; detach it or keep the group")


def _check_vlans(switch: Switch, ports: list[AttachedVf]) -> None:
    """A change of VLAN must not make two ports of one VLAN own the same address."""
    seen: dict[MacAddress, list[tuple[str, frozenset[int]]]] = {}
    groups = {group.name: group for group in switch.port_groups}
    for vf in ports:
        domains = port_vlan(groups[vf.attachment.spec.port_group], vf.attachment.overrides).domains
        for mac in vf.device.claimed:
            for other, taken in seen.get(mac, []):
                if other != str(vf.address) and taken & domains:
                    raise Conflict(
                        f"switch {switch.name}: VLANs: {mac} of {vf.address} and {other} would meet; change one MAC first"
                    )
            seen.setdefault(mac, []).append((str(vf.address), domains))


def _reprogram(context: Context, ports: list[AttachedVf], with_new_vlan: list[AttachedVf]) -> None:
    """One batch for policy; full images where the VLAN changed. A port whose policy no longer accepts what its guest was
    granted goes back to its admin settings, and the guest hears of a reset."""
    context.tables.put_values({slot_of(vf): vf_value(context.inventory, vf) for vf in ports})
    for vf in ports:
        withdraw_grants(context, vf)
    for vf in with_new_vlan:
        lifecycle.program_all_of(context, vf)


def withdraw_grants(context: Context, vf: AttachedVf) -> None:
    """For a port whose policy does not accept (any more) what its guest was granted."""
    has_grants = vf.device.unicast != {vf.device.admin_mac}
    if has_grants and context.inventory.policy(vf).mac_changes is Security.REJECT:
        _log.warning("%s: mac_changes is reject now: %s goes back to %s", vf.address, vf.device.effective_mac, vf.device.admin_mac)
        context.database.write_granted(str(vf.address), None, None)
        lifecycle.reset(context, vf)


def set_group(
    context: Context, name: str, actor: Actor, *, policy: PolicySettings | None = None, vlan: Vlan | None = None
) -> PortGroup:
    """Changes settings of a port group. Raises NotFound, Conflict."""
    switch, group = context.inventory.group(name)
    changed = replace(group, policy=group.policy.merged(policy or PolicySettings()), vlan=vlan or group.vlan)
    groups = tuple(changed if other.name == name else other for other in switch.port_groups)
    put_switch(context, replace(switch, port_groups=groups), actor)
    return changed


def set_port(
    context: Context, vf: VfAddress, actor: Actor, *, policy: PolicySettings | None = None, vlan: Vlan | None = None
) -> None:
    """Overrides settings of a port's group, where the group allows it. Raises NotFound, Refused, Conflict."""
    attached = context.inventory.attached(vf)
    _switch, group = context.inventory.group(attached.attachment.spec.port_group)
    change = PortOverrides(policy=policy or PolicySettings(), vlan=vlan)
    refused = change.kinds() - group.overrides_allowed
    if refused:
        names = ", ".join(sorted(refused))
        record = record_of(str(vf), attached.attachment.spec.guest, actor, f"set port: {names}", Outcome.REFUSED)
        context.database.write_record(record)
        text = f"port {vf}: port group {group.name} does not let its ports override {names}"
        raise Refused(f"{text}; list it in the group's overrides_allowed, or change the group")
    if vlan is not None:
        _check_move(context, attached, vlan)
    present = attached.attachment.overrides
    overrides = PortOverrides(policy=present.policy.merged(change.policy), vlan=vlan or present.vlan)
    _store_attachment(context, attached, replace(attached.attachment, overrides=overrides), actor, "set port")
    lifecycle.program_all_of(context, attached)
    withdraw_grants(context, attached)


def _check_move(context: Context, attached: AttachedVf, vlan: Vlan) -> None:
    """A port may not enter a VLAN where another owns one of its addresses."""
    owners = context.inventory.pf(attached.address.pf).owners
    for mac in attached.device.claimed:
        owner = owners.other_owner(str(attached.address), mac, vlan.domains)
        if owner is not None:
            raise Conflict(f"port {attached.address}: VLAN {vlan}: {mac} belongs to {owner} there; change one MAC first")


def _store_attachment(context: Context, attached: AttachedVf, changed: Attachment, actor: Actor, request: str) -> None:
    before, after = attachment_to_text(attached.attachment), attachment_to_text(changed)
    record = record_of(str(attached.address), changed.spec.guest, actor, request, Outcome.GRANTED, before=before, after=after)
    context.database.write_intent([Change(kind="attachment", name=str(attached.address), body=after)], [record])
    attached.attachment = changed


def set_vf(
    context: Context,
    vf: VfAddress,
    actor: Actor,
    *,
    mac: MacAddress | None = None,
    link_state: LinkState | None = None,
    datapath: Datapath | None = None,
) -> None:
    """Operator settings of a VF. A new admin MAC resets the VF, as `ip link set PF vf N mac` does. Raises NotFound,
    Conflict."""
    attached = context.inventory.attached(vf)
    former = changed = attached.attachment
    if mac is not None:
        owners = context.inventory.pf(vf.pf).owners
        problem = admin_mac_problem(mac, str(vf), context.inventory.vlan(attached), owners)
        if problem:
            raise Conflict(f"VF {vf}: admin MAC: {problem}")
        changed = replace(changed, admin_mac=mac, spec=replace(changed.spec, mac=mac))
    if link_state is not None:
        changed = replace(changed, link_state=link_state)
    if datapath is not None:
        problem = pinned_problem(f"VF {vf}", datapath, context.inventory.mtu_bytes(vf.pf), context.jumbo_xdp)
        if problem:
            raise Refused(problem)
        changed = replace(changed, spec=replace(changed.spec, datapath=datapath))
    _store_attachment(context, attached, changed, actor, "set VF")
    if mac is not None:
        attached.device = Device(admin_mac=mac, effective_mac=mac)
        context.database.write_granted(str(vf), None, None)
        lifecycle.reset(context, attached)
    if link_state is not None:
        context.tables.put_port(slot_of(attached), vf_image(context.inventory, attached))
        lifecycle.apply_link_state(context, attached)
        context.mailboxes.push(vf, link_event(attached))
    if datapath is not None:
        _change_datapath(context, attached, former, actor)


def _change_datapath(context: Context, attached: AttachedVf, former: Attachment, actor: Actor) -> None:
    try:
        lifecycle.set_active(context, attached, *lifecycle.mode_of(context, attached))
    except lifecycle.FAULTS:
        back = replace(attached.attachment, spec=replace(attached.attachment.spec, datapath=former.spec.datapath))
        _store_attachment(context, attached, back, actor, "set VF: undone, the data path could not change")
        raise


def reset_vf(context: Context, vf: VfAddress, actor: Actor) -> None:
    """The operator's reset. Raises NotFound."""
    attached = context.inventory.attached(vf)
    before = str(attached.device.effective_mac)
    after = str(attached.device.admin_mac)
    record = record_of(str(vf), attached.attachment.spec.guest, actor, "reset", Outcome.GRANTED, before=before, after=after)
    context.database.write_granted(str(vf), None, record)
    lifecycle.reset(context, attached)


def restore_maps(context: Context, stale: set[VfAddress]) -> None:
    """After a start: makes the maps say what the inventory says, without ever clearing what stays. stale: VFs whose devices
    are gone."""
    here = [vf for vf in context.inventory.vfs.values() if vf.address not in stale]
    known = {slot_of(vf) for vf in here} | {pf.number for pf in context.inventory.pfs.values()}
    for slot in context.tables.slots() - known:
        context.tables.clear_port(slot)
    for vf in here:
        context.tables.put_port(slot_of(vf), vf_image(context.inventory, vf))
    for pf in context.inventory.pfs.values():
        context.tables.put_members(pf.number, member_lists(context.inventory, pf))
