"""The configuration file that a daemon is started with: when it is applied, and when what is in force stays instead. For the
daemon's start, before anybody is served.

The file counts when it is new or was changed since it was applied; what was set by command stays otherwise. One that would take
something from a guest does not count at a start unless that is said, nor one that cannot be had on a host that has guests: the host
goes on as it was, and log and doctor say so.
"""

import logging

from sriov_xdp.pf.errors import FAULTS, Incomplete
from sriov_xdp.pf.hands.context import SELF, Context
from sriov_xdp.pf.hands.turns import finish
from sriov_xdp.pf.state.intent import HostIntent
from sriov_xdp.pf.verbs import applied_files, apply, confirmation

_log = logging.getLogger("sriov_xdp.pf")


def take(context: Context, intent: HostIntent, fingerprint: str, *, is_first_start: bool, yes: bool) -> None:
    """Applies the file, where it counts. yes: what it takes away is meant. Raises Fault, OSError where nothing can be served with
    it and nobody is."""
    if context.trial:
        _log.warning("configuration %s: is on trial; the file waits for what becomes of it", context.trial.fingerprint)
    elif applied_files.counts_already(context.database, fingerprint):
        _stay(context, intent, fingerprint)
    elif applied_files.is_recovered(context.database) and not yes:
        _leave(
            context,
            fingerprint,
            "the state was rebuilt, and nobody knows which file counted; `sriov-xdp diff -f FILE` shows what differs",
        )
    else:
        _note_cut_off(context)
        _apply(context, intent, fingerprint, is_alone=is_first_start or not (context.inventory.vfs or context.damaged), yes=yes)


def _stay(context: Context, intent: HostIntent, fingerprint: str) -> None:
    """Nothing new is wanted. What was not done, or not for all, is told at each start."""
    cut_off = _note_cut_off(context)
    applied_files.note_unchanged(context.database, fingerprint)
    context.unapplied = cut_off or confirmation.taken_back_text(applied_files.taken_back(context.database))
    names = applied_files.missing(context.database)
    if not names:
        return
    still = finish(apply.go_on(context, intent, names, SELF))
    applied_files.note_missing(context.database, [name for name, _error in still])
    if still:
        _leave(context, fingerprint, "\n".join(f"adapter {name}: {error}" for name, error in still))


def _note_cut_off(context: Context) -> str:
    """What is to be said of an apply that did not come to its end, "" for nothing."""
    cut_off = applied_files.cut_off(context.database)
    if not cut_off:
        return ""
    stands = f"the apply of configuration {cut_off} did not come to its end, as the daemon died: what it did stays"
    _log.error("state: %s; `sriov-xdp apply -f FILE` goes on with it", stands)
    return stands


def _apply(context: Context, intent: HostIntent, fingerprint: str, *, is_alone: bool, yes: bool) -> None:
    """is_alone: nobody would go on as before without it, so that a fault ends the start. A guest that cannot be given its adapter
    keeps no other from being served."""
    try:
        losses = [step for step in apply.check(context, intent, is_start=True) if step.consequence]
        if losses and not yes:
            for step in losses:
                _log.error("configuration %s: %s: %s", fingerprint, step, step.consequence)
            _leave(context, fingerprint, f"steps that would take something away: {len(losses)}; `daemon --yes` takes it")
            return
        steps = finish(apply.apply(context, intent, SELF, is_start=True))
    except Incomplete as error:
        applied_files.note_start(context.database, fingerprint, error.missing)  # for all others it counts
        _leave(context, fingerprint, str(error))
    except FAULTS as error:
        if is_alone:
            raise
        _leave(context, fingerprint, f"it cannot be had: {error}")
    else:
        applied_files.note_start(context.database, fingerprint)
        _log.info("configuration %s applied, %d steps", fingerprint, len(steps))


def _leave(context: Context, fingerprint: str, why: str) -> None:
    """The host goes on as it was; log and doctor say so."""
    _log.error("configuration %s: not applied: %s; `sriov-xdp apply -f FILE` applies it when it is meant", fingerprint, why)
    context.unapplied = f"{fingerprint} of the start is not applied: {why}"
