"""The one way in which what the operator and the guests want changes: memory, then store, then maps, and back on a fault.

    install    the inventory says it; two owners of an address are found here, before anything is written
    store      one transaction: documents, grants that end or begin, audit records
    publish    the maps of all ports that it touched
A port whose policy accepts no longer what its guest was granted, or whose grants meet what an operator says of another, loses its
grants in the same transaction, and its guest hears of a reset: no guest is in the way of an operator. For the pf package; writer
thread only.
"""

import json
import logging
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.context import SELF, Context, record_of
from sriov_xdp.pf.hands.publish import publish, publish_again, publish_ports
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.change import Change, Former
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.state.stored import documents
from sriov_xdp.store.audit import AuditRecord, Outcome
from sriov_xdp.store.database import Grant
from sriov_xdp.store.errors import StoreError
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState, refused_by
from sriov_xdp.vswitch.ranges import of_range, to_ranges
from sriov_xdp.vswitch.vlan import FIRST_VLAN, LAST_VLAN

_log = logging.getLogger("sriov_xdp.pf")
_NOT_TAKEN_BACK = "state: what could not be programmed could not be taken back either: %s"


def commit(context: Context, change: Change, records: Sequence[AuditRecord], meta: dict[str, str] | None = None) -> None:
    """The operator's word: survives power loss when this returns. Raises Conflict, StoreError, DataPathError; then nothing
    changed."""
    change, withdrawn = _with_withdrawals(context, change)
    records = [*records, *withdrawn]
    known = frozenset(context.inventory.objections(context.inventory.ports_of(change)))
    former = context.inventory.install(change)
    try:
        _require_no_new_objection(context, former, known)
        _write(context, change, records, meta)
    except (Conflict, StoreError):
        context.inventory.restore(former)
        raise
    try:
        publish(context, former)
    except Exception:
        _take_back(context, change, former, records)
        raise
    for record in withdrawn:
        _log.warning("%s: %s: %s goes back to %s", record.vf, record.rule, record.before, record.after)
    for vf in change.states:
        if vf in former.vfs and former.vfs[vf] and vf in context.inventory.vfs:
            context.mailboxes.reset(vf)


def require_bearable(context: Context, change: Change) -> None:
    """As commit() would refuse it, before anything is done that would have to be undone. Raises Conflict with every objection of
    every port."""
    change, _records = _with_withdrawals(context, change)
    known = frozenset(context.inventory.objections(context.inventory.ports_of(change)))
    former = context.inventory.install(change)
    try:
        _require_no_new_objection(context, former, known)
    finally:
        context.inventory.restore(former)


def _require_no_new_objection(context: Context, former: Former, known: Container[str]) -> None:
    """What two owned before, as somebody gave an uplink the address of a VF, is no reason against a change."""
    objections = [objection for objection in context.inventory.objections(former.ports) if objection not in known]
    if objections:
        raise Conflict("\n".join(objections))


def commit_grant(context: Context, vf: AttachedVf, state: VfState, record: AuditRecord) -> None:
    """What a guest was granted: survives this process, not the host. Raises StoreError, DataPathError; then nothing changed."""
    former = context.inventory.install(Change(states={vf.address: state}))
    generation = vf.attachment.generation
    try:
        context.records.granted(generation, _granted_text(vf), record)
    except StoreError:
        context.inventory.restore(former)
        raise
    try:
        publish_ports(context, [vf])  # what a guest was granted makes no difference to anybody's floods
    except Exception:
        context.inventory.restore(former)
        try:
            context.records.granted(generation, _granted_text(vf), _undone(record))
        except StoreError as error:
            _log.error(_NOT_TAKEN_BACK, error)
        publish_again(context, former)
        raise


def _with_withdrawals(context: Context, change: Change) -> tuple[Change, list[AuditRecord]]:
    """Looks at the change in memory to see which grants it ends, and takes it back. Returns it with their ends, and a record of
    each."""
    former = context.inventory.install(change)
    try:
        rules = _ends_of_grants(context, former.ports)
        records = [_withdrawal(context, context.inventory.vfs[address], rule) for address, rule in rules.items()]
    finally:
        context.inventory.restore(former)
    resets = {vf: None for vf, kept in former.vfs.items() if kept and _changes_admin_mac(change, vf, kept[1].admin_mac)}
    return replace(change, states={**resets, **dict.fromkeys(rules), **change.states}), records


def _ends_grants(context: Context, vf: AttachedVf) -> str | None:
    """The rule by which a VF loses what its guest was granted: its policy bears it no longer, or it is the uplink's by now. None
    while it keeps it."""
    policy, uplink = context.inventory.policy(vf), context.inventory.pf(vf.address.pf).uplink
    setting = refused_by(policy, vf.state)
    if setting:
        return policy.rule(setting)
    is_of_uplink = uplink is not None and uplink.mac in vf.state.unicast - {vf.state.admin_mac}
    return "address of the uplink" if is_of_uplink else None


def _ends_of_grants(context: Context, ports: Iterable[VfAddress]) -> dict[VfAddress, str]:
    """Who loses grants by a change, and the rule by which. Where what was granted meets an address of another port, that is the
    port that changes, or the one whose guest was granted what an operator gives to another. Two operators' own are objections."""
    inventory = context.inventory
    changed = [inventory.vfs[address] for address in sorted(ports) if address in inventory.vfs]
    rules = {vf.address: rule for vf in changed if (rule := _ends_grants(context, vf))}
    for vf in changed:
        for other, mac in inventory.meetings(vf):
            loser = next((one for one in (vf, other) if mac != one.state.admin_mac), None)
            if loser and not {vf.address, other.address} & rules.keys():
                rules[loser.address] = "address of another"
    return rules


def _withdrawal(context: Context, vf: AttachedVf, rule: str) -> AuditRecord:
    guest = vf.attachment.spec.guest
    before, after = f"{vf.state.effective_mac}, {len(vf.state.filters)} more", str(vf.state.admin_mac)
    return record_of(
        context, str(vf.address), guest, SELF, "grants withdrawn", Outcome.GRANTED, rule=rule, before=before, after=after
    )


def _changes_admin_mac(change: Change, vf: VfAddress, before: MacAddress) -> bool:
    attachment = change.attachments.get(vf)
    return attachment is not None and attachment.admin_mac != before


def _write(context: Context, change: Change, records: Sequence[AuditRecord], meta: dict[str, str] | None = None) -> None:
    gone = [vf for vf, attachment in change.attachments.items() if attachment is None]
    context.database.write_intent(documents(context.inventory, change), records, meta, _grants(context, [*gone, *change.states]))
    try:
        context.marks.write_revision(context.database.revision())
    except OSError as error:  # a mark that is behind accuses nobody; the next one catches up
        _log.error("bpffs: the revision of the state could not be marked: %s", error)


def _take_back(context: Context, change: Change, former: Former, records: Sequence[AuditRecord]) -> None:
    """The maps would not have it: memory and store as before, the audit says so, maps as far as they go."""
    context.inventory.restore(former)
    try:
        undone = [_undone(record) for record in records]
        context.database.write_intent(documents(context.inventory, change), undone, grants=_grants(context, former.vfs))
    except StoreError as error:
        _log.error(_NOT_TAKEN_BACK, error)
    publish_again(context, former)


def _undone(record: AuditRecord) -> AuditRecord:
    return replace(record, request=f"{record.request}: undone", outcome=Outcome.FAILED, after=record.before)


def _grants(context: Context, vfs: Iterable[VfAddress]) -> dict[str, Grant | None]:
    """What is stored of these VFs' grants, as the inventory says them now."""
    found: dict[str, Grant | None] = {}
    for address in vfs:
        vf = context.inventory.vfs.get(address)
        text = _granted_text(vf) if vf else None
        found[str(address)] = (vf.attachment.generation, text) if vf and text else None
    return found


def _granted_text(vf: AttachedVf) -> str | None:
    return None if vf.state == VfState.fresh(vf.state.admin_mac) else vf_state_to_text(vf.state)


def vf_state_to_text(state: VfState) -> str:
    """What a guest was granted, for the store."""
    document: dict[str, Any] = {
        "effective_mac": str(state.effective_mac),
        "filters": sorted(str(mac) for mac in state.filters),
    }
    if state.vlans is not None:
        document["vlans"] = to_ranges(state.vlans)
    if state.is_promiscuous is not None:
        document |= {"is_promiscuous": state.is_promiscuous, "has_all_groups": state.has_all_groups}
    return json.dumps(document)


def _vlans(parts: Sequence[object]) -> frozenset[int]:
    return frozenset(vlan for part in parts for vlan in of_range(part, "VLAN", FIRST_VLAN, LAST_VLAN))


def vf_state_from_text(admin_mac: MacAddress, text: str) -> VfState:
    """The reverse. Raises ValueError, KeyError."""
    document = json.loads(text)
    return VfState(
        admin_mac=admin_mac,
        effective_mac=MacAddress.parse(document["effective_mac"]),
        filters=frozenset(MacAddress.parse(mac) for mac in document["filters"]),
        vlans=_vlans(document["vlans"]) if "vlans" in document else None,
        is_promiscuous=document.get("is_promiscuous"),
        has_all_groups=document.get("has_all_groups", False),
    )
