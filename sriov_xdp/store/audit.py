"""One audit record: who asked for what, which rule decided, and what came of it."""

from dataclasses import dataclass
from enum import StrEnum

MOST_LISTED = 10_000
"""Records that one look at the audit gives."""
OPERATOR = "operator"  # the rule of what the operator, or the PF itself, did


class Outcome(StrEnum):
    """What came of a request, the same words in audit and metrics. GRANTED; REFUSED: and the asker was told; PRETENDED: and the
    asker was told that it worked; INVALID: no request that the protocol knows, or not now; FAILED: allowed, but it could not be
    done, and what had begun was undone."""

    GRANTED = "granted"
    REFUSED = "refused"
    PRETENDED = "pretended"
    INVALID = "invalid"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """time is seconds since the epoch; peer is who spoke (the process in the guest, or the operator's), login_uid the user who had
    logged in to start it, None where nobody had; before and after are what the request was about, as text. is_guests: whether a
    guest set it off; it then pushes out older records of the same VF's guests only. port: of a switch, as vSwitch0/3, which the
    record is about; "" = of none. asked: of a guest, exactly, with its VF then (vswitch/recorded.py); "" where nobody wrote it."""

    time: float
    vf: str
    guest: str
    peer_pid: int
    peer_uid: int
    request: str
    rule: str
    outcome: Outcome
    before: str
    after: str
    is_guests: bool = False
    login_uid: int | None = None
    port: str = ""
    asked: str = ""
