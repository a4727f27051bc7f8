"""What the parts of the PF share: one of each, made by the daemon, used by the writer thread only."""

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import Pins
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.host.links import Links
from sriov_xdp.mailbox.messages import Event
from sriov_xdp.pf.hands.beside import Beside
from sriov_xdp.pf.hands.guest_records import GuestRecords
from sriov_xdp.pf.hands.hooks import Hooks
from sriov_xdp.pf.hands.turns import Turns
from sriov_xdp.pf.state.intent import Attachment, VfAddress
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.trial import Trial
from sriov_xdp.store.audit import OPERATOR, AuditRecord, Outcome
from sriov_xdp.store.database import Database

T = TypeVar("T")
Steps = Generator[Future[Any] | None, None, T]  # work in pieces: None lets others in, a future is waited for meanwhile
GoingOn = Callable[[str, str], AbstractContextManager[None]]  # of a subject; what could not be done, when there is a fault


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

    def is_malicious(self, vf: VfAddress) -> bool:
        """Whether nothing but a reset is heard from its guest."""

    def enable(self, vf: VfAddress) -> None:
        """Its guest is heard again."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a process in the guest or of the operator, by what the kernel says. login_uid: the user who had logged in to start
    it."""

    pid: int
    uid: int
    login_uid: int | None = None


SELF = Actor(pid=0, uid=0)  # the PF itself: adoption, an unplugged guest


@dataclass(slots=True)
class Context:
    """Shared state and ways out."""

    inventory: Inventory
    tables: Tables
    pins: Pins
    marks: Marks
    beside: Beside
    start: Callable[[Steps[Any]], None]
    links: Links
    database: Database
    records: GuestRecords
    mailboxes: GuestChannels
    hooks: Hooks
    instance: str
    jumbo_xdp: JumboXdp
    clock: Callable[[], float] = time.monotonic  # seconds, only forward
    wall_clock: Callable[[], float] = time.time  # seconds since the epoch, for people
    turns: Turns = field(default_factory=Turns)
    is_applying: bool = False
    needs_publish: bool = False
    is_start_noted: bool = False
    leftovers: dict[int, Attachment] = field(default_factory=dict)  # pairs of former VFs that could not be removed yet
    started_with: str = ""  # where the configuration file of starts is
    trial: Trial | None = None  # a configuration that awaits a word (verbs/confirmation.py)
    unapplied: str = ""  # why the configuration file of the start does not hold
    damaged: dict[str, str] = field(default_factory=dict)  # stored objects that could not be taken up: name → why
    mode_switches: dict[VfAddress, int] = field(default_factory=dict)


def _port_of(context: Context, vf: str) -> str:
    """Where a VF is connected, as text; empty for one that is at no port."""
    attached = context.inventory.vfs.get(VfAddress.parse(vf)) if vf else None
    name = context.inventory.port_name(attached) if attached else None
    return str(name or "")


def record_of(
    context: Context,
    vf: str,
    guest: str,
    actor: Actor,
    request: str,
    outcome: Outcome,
    *,
    rule: str = OPERATOR,
    before: str = "",
    after: str = "",
    is_guests: bool = False,
    port: str | None = None,
    asked: str = "",
) -> AuditRecord:
    """An audit record with the present time. port: None = where the VF is connected."""
    return AuditRecord(
        time=context.wall_clock(),
        vf=vf,
        port=_port_of(context, vf) if port is None else port,
        guest=guest,
        peer_pid=actor.pid,
        peer_uid=actor.uid,
        request=request,
        rule=rule,
        outcome=outcome,
        asked=asked,
        before=before,
        after=after,
        is_guests=is_guests,
        login_uid=actor.login_uid,
    )
