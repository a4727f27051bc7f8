"""`what-if`: what a configuration would mean for those who are connected, and which recorded requests of guests it would decide
otherwise. Reads only.
"""

from collections import Counter, deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from sriov_xdp.api import views
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.state.intent import HostIntent
from sriov_xdp.pf.state.what_if import Connected, Judge, OtherDecision, PortChange, port_changes
from sriov_xdp.pf.verbs import lifecycle
from sriov_xdp.store.audit import AuditRecord, Outcome

Document = dict[str, Any]
_RECORDS_A_STEP = 3  # each is decided anew, which takes some tenths of a millisecond
_MOST_OF_A_VF = 50  # are told one by one: a guest may have asked thousands of times
_DAMAGE = (ValueError, KeyError, TypeError)


@dataclass(slots=True)
class _Requests:
    """Of the recorded ones: how many would be decided otherwise, by VF, and the newest of these; how many were looked at, and of
    how many that cannot be told."""

    otherwise: Counter[str] = field(default_factory=Counter)
    newest: dict[str, deque[Document]] = field(default_factory=dict)
    seen: int = 0
    unknown: int = 0


def what_if(context: Context, wanted: HostIntent, since: float) -> Generator[None, None, Document]:
    """wanted: with the numbers of its ports; since: seconds since the epoch."""
    connected = [
        Connected(spec=vf.attachment.spec, vf=str(address), state=vf.state) for address, vf in sorted(context.inventory.vfs.items())
    ]
    changes = [_change(change) for change in port_changes(context.inventory.intent(), wanted, connected)]
    yield
    admin_macs = {spec.key: spec.mac or lifecycle.default_mac(spec) for spec in wanted.adapters}
    judge = Judge(wanted, connected, admin_macs)
    requests = _Requests()
    for page in context.database.all_audit_pages():
        asked = [record for record in page if record.is_guests and record.time >= since]
        yield
        for start in range(0, len(asked), _RECORDS_A_STEP):
            for record in asked[start : start + _RECORDS_A_STEP]:
                _ask(judge, record, requests)
            yield
    return {
        "ports": changes,
        "requests": [document for of_vf in requests.newest.values() for document in of_vf],
        "requests_otherwise": dict(requests.otherwise),
        "requests_seen": requests.seen,
        "requests_unknown": requests.unknown,
    }


def _ask(judge: Judge, record: AuditRecord, requests: _Requests) -> None:
    if record.outcome is Outcome.INVALID:
        return
    requests.seen += 1
    try:
        found = judge.otherwise(record)
    except _DAMAGE:
        found = None
        requests.unknown += 1
    else:
        requests.unknown += not record.asked
    if found:
        requests.otherwise[record.vf] += 1
        requests.newest.setdefault(record.vf, deque(maxlen=_MOST_OF_A_VF)).append(_otherwise(found))


def _otherwise(found: OtherDecision) -> Document:
    now = {"is_granted": found.is_granted, "rule": found.rule}
    return {**views.audit_document(found.record), "then": now}


def _change(change: PortChange) -> Document:
    return {
        "vf": change.vf,
        "guest": change.guest,
        "interface": change.interface,
        "changes": {name: {"before": before, "after": after} for name, (before, after) in change.changes.items()},
        "loses": change.loses,
        "is_gone": change.is_gone,
    }
