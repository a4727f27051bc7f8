"""A configuration on trial: what was before comes back unless somebody says in time that it is to stay (as `commit confirmed` on
routers), so that an operator who is cut off by it is not for good.

What was before is stored before anything of the new one is done, and the time is the kernel's since its boot: a daemon that dies
meanwhile is followed by one that goes on waiting, and one that died in the middle of it, or a boot, by one that goes back at once.
Writer thread only; for the pf package and the admin API.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sriov_xdp.host.links import boot_id
from sriov_xdp.pf.errors import FAULTS, Conflict, Incomplete, NotFound, PfError
from sriov_xdp.pf.hands import found_uplinks, uplinks
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import SELF, Actor, Context, Steps, record_of
from sriov_xdp.pf.state.change import Change as StateChange
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.physical_function import PhysicalFunction
from sriov_xdp.pf.state.stored import all_documents, read_all
from sriov_xdp.pf.state.trial import Trial
from sriov_xdp.pf.verbs import applied_files, apply
from sriov_xdp.store.audit import Outcome
from sriov_xdp.store.database import Change, Database

_log = logging.getLogger("sriov_xdp.pf")
_KIND, _NAME = "trial", "former"
_MOST_RETRY_SECONDS = 300.0


def _read(document: Mapping[str, Any]) -> Trial | None:
    """None for what is damaged."""
    try:
        trial = Trial(fingerprint=str(document["fingerprint"]), boot=str(document["boot"]), due=float(document["due"]))
        _counts_of(document)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return trial if math.isfinite(trial.due) else None


def _counts_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Which files counted before. Raises KeyError, AttributeError."""
    return {key: str(value) for key, value in document["counts"].items()}


def _document(database: Database) -> Mapping[str, Any]:
    """What was stored. Empty for what is damaged. Raises StoreError."""
    try:
        document = json.loads(database.documents(_KIND).get(_NAME, "{}"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def require_none(context: Context) -> None:
    """Raises Conflict while a configuration is on trial: what is set now would be undone with it."""
    trial = context.trial
    if trial is None:
        return
    if trial.trouble:
        text = f"configuration {trial.fingerprint} is to be taken back, which could not be done yet: {trial.trouble}"
        raise Conflict(f"{text}; say `sriov-xdp confirm` to keep it, or apply the configuration that is to be")
    left = max(0, round(trial.due - context.clock()))
    text = f"configuration {trial.fingerprint} is on trial for {left} s more, and what is set now would go with it"
    raise Conflict(f"{text}; say `sriov-xdp confirm`, or wait until it is taken back")


def require_none_that_may_end(context: Context) -> None:
    """As require_none(), for a whole configuration: where what was before cannot come back, it takes its place."""
    if context.trial is not None and not context.trial.trouble:
        require_none(context)


def begin(context: Context, fingerprint: str, seconds: int) -> None:
    """Before a configuration is applied. Raises StoreError."""
    trial = Trial(fingerprint=fingerprint, boot=boot_id(), due=context.clock() + seconds)
    former = [[document.kind, document.name, document.body] for document in all_documents(context.inventory)]
    counts = {key: context.database.meta(key) or "" for key in (applied_files.APPLIED, applied_files.MISSING)}
    document = {"fingerprint": fingerprint, "boot": trial.boot, "due": trial.due, "counts": counts}
    document |= {"former": former, "objects": len(former)}
    context.database.write_intent([Change(kind=_KIND, name=_NAME, body=json.dumps(document))], [])
    context.trial = trial


def confirm(context: Context, actor: Actor) -> str:
    """It stays. Returns its fingerprint. Raises NotFound where nothing is on trial, Conflict while it is being applied or taken
    back, StoreError."""
    if context.trial is None:
        raise NotFound("confirm: no configuration is on trial; it was confirmed, or taken back in time, as the audit tells")
    if context.is_applying:
        raise Conflict("confirm: a configuration is being applied, or taken back, just now; `sriov-xdp doctor` tells which stays")
    _end(context, actor, "confirm configuration", Outcome.GRANTED)
    return _forget(context)


def take_back_now(context: Context, fingerprint: str) -> None:
    """It could not be applied whole: nobody needs to wait for what was before."""
    if context.trial is not None and context.trial.fingerprint == fingerprint:
        context.trial.due = context.clock()


def replaced_by(context: Context, actor: Actor, fingerprint: str) -> None:
    """Another configuration is in force: what was before a trial comes back no more. Raises StoreError."""
    if context.trial is not None and context.trial.fingerprint != fingerprint:
        _end(context, actor, f"trial of a configuration: replaced by {fingerprint}", Outcome.GRANTED)
        _forget(context)


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
        _former(context, document)
    except FAULTS as error:
        _note_trouble(context, context.trial, error)
    if applied_files.cut_off(context.database) == context.trial.fingerprint:
        take_back_now(context, context.trial.fingerprint)


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
    trial.trouble, trial.next_try = str(error), context.clock() + trial.retry_seconds
    trial.retry_seconds = min(2 * trial.retry_seconds, _MOST_RETRY_SECONDS)


def _take_back(context: Context, trial: Trial) -> Steps[None]:
    document = _document(context.database)
    former = _former(context, document)
    try:
        yield from apply.apply(context, former.intent(), SELF, is_start=True)
        _keep_records(context, former)
    except Incomplete as error:  # a guest that is in its own way is in nobody else's
        _log.error("configuration %s: taken back, but: %s", trial.fingerprint, error)
    counts = _counts_of(document)
    # The text that was taken back may be the file of the next start by now: it counts as done, so that no start applies it again.
    counts |= {applied_files.TAKEN_BACK: trial.fingerprint, applied_files.UNDER_WAY: ""}
    if not applied_files.counts_for_starts(context.database):  # it was that of the start's file, whose former text is gone
        counts[applied_files.STARTED_WITH] = trial.fingerprint
    _end(context, SELF, "configuration taken back", Outcome.GRANTED, counts)
    context.unapplied = taken_back_text(_forget(context))


def taken_back_text(fingerprint: str) -> str:
    """For doctor, until another configuration is applied. "" for none."""
    return f"{fingerprint} was taken back, as nobody confirmed it in time" if fingerprint else ""


def _keep_records(context: Context, former: Inventory) -> None:
    """What was counted at ports that went, and are there again."""
    lost = {name: record for name, record in former.port_records.items() if name not in context.inventory.port_records}
    if lost:
        commit(context, StateChange(port_records=lost), [])


def _former(context: Context, document: Mapping[str, Any]) -> Inventory:
    """What was before, as it was stored. Raises PfError for what is damaged: half of it would take from guests what is theirs."""
    inventory = Inventory(context.jumbo_xdp)
    try:
        rows = _rows_of(document)
        for change in read_all(lambda kind: rows.get(kind, {})):
            inventory.install(change)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        text = f"what was before it is damaged in the state ({type(error).__name__}: {error})"
        raise PfError(f"{text}; apply the configuration that is to be, or say `sriov-xdp confirm`") from error
    for name, pf in inventory.pfs.items():
        pf.spec = replace(pf.spec, uplink=_uplink_now(context, name, pf))
    return inventory


def _rows_of(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """By kind and name. Raises KeyError, ValueError, TypeError, AttributeError."""
    if len(document["former"]) != document["objects"]:
        raise ValueError("not all of it is there")
    rows: dict[str, dict[str, str]] = {}
    for kind, name, body in document["former"]:
        rows.setdefault(kind, {})[name] = body
    return rows


def _uplink_now(context: Context, name: str, pf: PhysicalFunction) -> str | None:
    """What the device is called by now that was a PF's uplink."""
    link = found_uplinks.resolve(context.links, pf, uplinks.is_held(context, context.inventory.pfs.get(name, pf)))
    return link.name if link else pf.spec.uplink
