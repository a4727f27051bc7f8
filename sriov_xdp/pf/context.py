"""What the parts of the PF share: one of each, made by the daemon, used by the writer thread only."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from sriov_xdp.datapath.pins import Pins
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.host.links import Links
from sriov_xdp.mailbox.messages import Event
from sriov_xdp.pf.intent import VfAddress
from sriov_xdp.pf.inventory import Inventory
from sriov_xdp.store.audit import AuditRecord, Outcome
from sriov_xdp.store.database import Database


class GuestChannels(Protocol):
    """The mailboxes, as far as the rest of the PF needs them."""

    def open(self, vf: VfAddress, netns: str) -> None:
        """Starts listening inside the guest's namespace."""

    def is_open(self, vf: VfAddress) -> bool:
        """Whether the VF's mailbox listens."""

    def close(self, vf: VfAddress) -> None:
        """Ends listener and connections."""

    def push(self, vf: VfAddress, event: Event) -> None:
        """To every connection that negotiated."""

    def reset(self, vf: VfAddress) -> None:
        """Announces a reset to every connection and makes each start over."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a process in the guest or of the operator, by what the kernel says."""

    pid: int
    uid: int


SELF = Actor(pid=0, uid=0)  # the PF itself: adoption, an unplugged guest


@dataclass(slots=True)
class Context:
    """Shared state and ways out."""

    inventory: Inventory
    tables: Tables
    pins: Pins
    links: Links
    database: Database
    mailboxes: GuestChannels
    has_tcx: bool
    instance: str
    jumbo_xdp: JumboXdp
    is_applying: bool = False
    mode_switches: dict[VfAddress, int] = field(default_factory=dict)


def record_of(
    vf: str, guest: str, actor: Actor, request: str, outcome: Outcome, *, rule: str = "operator", before: str = "", after: str = ""
) -> AuditRecord:
    """An audit record with the present time."""
    return AuditRecord(
        time=time.time(),
        vf=vf,
        guest=guest,
        peer_pid=actor.pid,
        peer_uid=actor.uid,
        request=request,
        rule=rule,
        outcome=outcome,
        before=before,
        after=after,
    )
