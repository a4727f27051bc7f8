"""Audit records for the tests of store and budget: guests on VFs, and an operator."""

from dataclasses import replace

from sriov_xdp.store.audit import OPERATOR, AuditRecord, Outcome

MAC_A, MAC_B = "02:00:00:00:01:01", "02:00:00:00:01:02"
NOON = 1_750_000_000.0  # 2025-06-15T15:06:40Z
REFUSAL = AuditRecord(
    time=NOON,
    vf="pf0vf0",
    guest="vm1",
    peer_pid=4242,
    peer_uid=1000,
    request="opcode 99: invalid message, 4 bytes of payload",
    rule="virtchnl",
    outcome=Outcome.REFUSED,
    before=MAC_A,
    after=MAC_A,
    is_guests=True,
)
CHANGE = replace(REFUSAL, request="add", rule="mac_changes: accept (port group lan)", outcome=Outcome.GRANTED, after=MAC_B)
COMMAND = replace(REFUSAL, request="set VF", rule=OPERATOR, outcome=Outcome.GRANTED, peer_pid=1, peer_uid=0, is_guests=False)


def numbered(record: AuditRecord, number: int) -> AuditRecord:
    """Told apart by its request."""
    return replace(record, request=f"{record.request} {number}")


def on(record: AuditRecord, vf: str, guest: str = "") -> AuditRecord:
    """Another VF's."""
    return replace(record, vf=vf, guest=guest or record.guest)
