"""A configuration on trial: what was before comes back unless somebody says in time that it is to stay (as `commit confirmed` on
routers), so that an operator who is cut off by it is not for good.

What was before is stored before anything of the new one is done, and the time is the kernel's since its boot: a daemon that dies
meanwhile is followed by one that goes on waiting, and one that died in the middle of it, or a boot, by one that goes back at once.
Writer thread only; for the pf package and the admin API.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from sriov_xdp.host.links import boot_id
from sriov_xdp.pf.errors import FAULTS, Conflict, Incomplete, NotFound, PfError
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import SELF, Actor, Context, Steps, record_of
from sriov_xdp.pf.state.change import Change as StateChange
from sriov_xdp.pf.state.intent import HostIntent
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.stored import all_documents, read_all
from sriov_xdp.pf.state.trial import Trial
from sriov_xdp.pf.verbs import applied_files, apply, lifecycle, operate
from sriov_xdp.store.audit import Outcome
from sriov_xdp.store.database import Change, Database
from sriov_xdp.vswitch.address import MacAddress

_log = logging.getLogger("sriov_xdp.pf")
_KIND, _NAME = "trial", "former"
_RETRY_SECONDS = 5.0


def _read(document: Mapping[str, Any]) -> Trial | None:
    """None for what is damaged."""
    try:
        return Trial(fingerprint=str(document["fingerprint"]), boot=str(document["boot"]), due=float(document["due"]))
    except (KeyError, ValueError, TypeError):
        return None


def _document(database: Database) -> Mapping[str, Any]:
    """What was stored. Empty for what is damaged. Raises StoreError."""
    try:
        document = json.loads(database.documents(_KIND).get(_NAME, "{}"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def require_none(context: Context) -> None:
    """Raises Conflict while a configuration is on trial: what is set now would be undone with it. Where it could not be taken back
    in time, the operator is needed, and free."""
    if context.trial is not None and not context.trial.trouble:
        left = max(0, round(context.trial.due - context.clock()))
        text = f"configuration {context.trial.fingerprint} is on trial for {left} s more, and what is set now would go with it"
        raise Conflict(f"{text}; say `sriov-xdp confirm`, or wait until it is taken back")


def begin(context: Context, fingerprint: str, seconds: int) -> None:
    """Before a configuration is applied. Raises StoreError."""
    trial = Trial(fingerprint=fingerprint, boot=boot_id(), due=context.clock() + seconds)
    former = [[document.kind, document.name, document.body] for document in all_documents(context.inventory)]
    counts = {key: context.database.meta(key) or "" for key in (applied_files.APPLIED, applied_files.MISSING)}
    document = {"fingerprint": fingerprint, "boot": trial.boot, "due": trial.due, "former": former, "counts": counts}
    context.database.write_intent([Change(kind=_KIND, name=_NAME, body=json.dumps(document))], [])
    trial.reserved = _admin_macs(context.inventory.intent())
    context.trial = trial


def confirm(context: Context, actor: Actor) -> str:
    """It stays. Returns its fingerprint. Raises NotFound where nothing is on trial, StoreError."""
    if context.trial is None:
        raise NotFound("confirm: no configuration is on trial; it was confirmed, or taken back in time, as the audit tells")
    _end(context, actor, "confirm configuration", Outcome.GRANTED)
    return _forget(context)


def take_back_now(context: Context) -> None:
    """It could not be applied whole: nobody needs to wait for what was before."""
    if context.trial is not None:
        context.trial.due = context.clock()


def take_up(context: Context) -> None:
    """At a start. One that the daemon died in the middle of is over; what is damaged, so that nothing comes back, is said. Raises
    StoreError."""
    if _NAME not in context.database.documents(_KIND):
        return
    document = _document(context.database)
    context.trial = _read(document)
    if context.trial is None:
        _log.error("a configuration was on trial, and its record is damaged: it stays, as if it had been confirmed")
        context.database.write_intent([Change(kind=_KIND, name=_NAME, body=None)], [])
        return
    try:
        context.trial.reserved = _admin_macs(_former(context, document).intent())
    except FAULTS as error:
        _note_trouble(context, context.trial, error)
    if applied_files.cut_off(context.database) == context.trial.fingerprint:
        take_back_now(context)


def _forget(context: Context) -> str:
    assert context.trial is not None
    fingerprint, context.trial = context.trial.fingerprint, None
    return fingerprint


def _end(context: Context, actor: Actor, request: str, outcome: Outcome, counts: dict[str, str] | None = None) -> None:
    assert context.trial is not None
    record = record_of(context, "", "", actor, request, outcome, after=context.trial.fingerprint)
    context.database.write_intent([Change(kind=_KIND, name=_NAME, body=None)], [record], counts)


def look(context: Context) -> Steps[None]:
    """Takes a configuration back whose time is over. For a timer, and a start."""
    trial = context.trial
    if trial is None or context.is_applying or not trial.is_over(boot_id(), context.clock()):
        return
    if not trial.trouble:
        _log.error("configuration %s: nobody confirmed it in time; what was before comes back", trial.fingerprint)
    try:
        yield from _take_back(context, trial)
    except FAULTS as error:
        _note_trouble(context, trial, error)


def _note_trouble(context: Context, trial: Trial, error: BaseException) -> None:
    """It is tried again, and said once."""
    if trial.trouble != str(error):
        _log.error("configuration %s: could not be taken back yet, it is tried again: %s", trial.fingerprint, error)
    trial.trouble, trial.next_try = str(error), context.clock() + _RETRY_SECONDS


def _take_back(context: Context, trial: Trial) -> Steps[None]:
    document = _document(context.database)
    former = _former(context, document)
    _take_back_addresses(context, former.intent())
    try:
        yield from apply.apply(context, former.intent(), SELF, is_start=True)
        _keep_records(context, former)
    except Incomplete as error:  # a guest that is in its own way is in nobody else's
        _log.error("configuration %s: taken back, but: %s", trial.fingerprint, error)
    counts = {key: str(value) for key, value in document.get("counts", {}).items()}
    # The text that was taken back may be the file of the next start by now: it counts as done, so that no start applies it again.
    counts |= dict.fromkeys((applied_files.STARTED_WITH, applied_files.TAKEN_BACK), trial.fingerprint)
    counts[applied_files.UNDER_WAY] = ""
    _end(context, SELF, "configuration taken back", Outcome.GRANTED, counts)
    context.unapplied = taken_back_text(_forget(context))


def taken_back_text(fingerprint: str) -> str:
    """For doctor, until another configuration is applied. "" for none."""
    return f"{fingerprint} was taken back, as nobody confirmed it in time" if fingerprint else ""


def _take_back_addresses(context: Context, former: HostIntent) -> None:
    """What a guest had been granted before the trial, as it may have, is in nobody's way whose address it was."""
    admin_macs = _admin_macs(former)
    for vf in list(context.inventory.vfs.values()):
        if admin_macs & (vf.state.unicast - {vf.state.admin_mac}):
            operate.reset_vf(context, vf.address, SELF)


def _admin_macs(intent: HostIntent) -> frozenset[MacAddress]:
    return frozenset(spec.mac or lifecycle.default_mac(spec) for spec in intent.adapters)


def _keep_records(context: Context, former: Inventory) -> None:
    """What was counted at ports that went, and are there again."""
    lost = {name: record for name, record in former.port_records.items() if name not in context.inventory.port_records}
    if lost:
        commit(context, StateChange(port_records=lost), [])


def _former(context: Context, document: Mapping[str, Any]) -> Inventory:
    """What was before, as it was stored. Raises PfError for what is damaged: half of it would take from guests what is theirs."""
    inventory = Inventory(context.jumbo_xdp)
    try:
        rows: dict[str, dict[str, str]] = {}
        for kind, name, body in document["former"]:
            rows.setdefault(kind, {})[name] = body
        for change in read_all(lambda kind: rows.get(kind, {})):
            inventory.install(change)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        text = f"what was before it is damaged in the state ({type(error).__name__}: {error})"
        raise PfError(f"{text}; apply the configuration that is to be, or say `sriov-xdp confirm`") from error
    return inventory
