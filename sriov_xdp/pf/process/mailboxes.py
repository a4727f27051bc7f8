"""The mailboxes of all VFs: listeners in the guests' namespaces, connections, and one session each.

Step 2 of the workflow: what a session lets through goes to the controller together with the VF whose listener accepted the
connection; nothing in a message can name another. Writer thread only.

Descriptors. A VF has at most MAX_CONNECTIONS, all VFs together at most half of what the process may open, and none is taken
once less than a reserve is left, which the operator's sockets live on. Where connections run short, one that never
negotiated goes before a new one is refused, and a VF gives way to another that has fewer.

Changes. What a guest is granted is stored before it is answered, so how many changes it is granted is how much is written. One that
makes more than its budget, by however many VFs, is not read from until the next look after it, and waits by itself.
"""

import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sriov_xdp.host import namespaces
from sriov_xdp.mailbox import codec, sockets
from sriov_xdp.mailbox.conduct import MOST_INVALID, Conduct
from sriov_xdp.mailbox.messages import Event, EventCode
from sriov_xdp.mailbox.session import Answer, Ask, Ignore, Session
from sriov_xdp.mailbox.sockets import MAX_CONNECTIONS, Connection
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.context import Actor
from sriov_xdp.pf.hands.log_budget import BudgetedLog, LogKind
from sriov_xdp.pf.process.writer import Source, TurnKind
from sriov_xdp.pf.state.budget import TokenBucket
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.verbs.controller import Served

Serve = Callable[[VfAddress, Session, Ask, Actor], Served]
Complain = Callable[[VfAddress, int, str, Actor], None]
NEGOTIATION_SECONDS = 10.0  # from a connection, or a reset of its VF, to GET_VF_RESOURCES
RESERVED_DESCRIPTORS = 128
_RESERVED_PART = 2  # of a small limit
CHANGES_A_SECOND, CHANGES_AT_ONCE = 100, 1000  # of all VFs of a guest
_PAUSE_SECONDS = 1.0  # of a listener whose connections the kernel has no descriptor for


@dataclass(slots=True, eq=False)
class _Line:
    """One connection with its session."""

    vf: VfAddress
    connection: Connection
    session: Session


@dataclass(slots=True, eq=False)
class _Mailbox:
    """guest: the namespace that it is in, whose VFs share one turn a round, and one budget of changes. lines: the oldest first;
    is_held: they are not read from for now."""

    listener: socket.socket
    guest: namespaces.Identity
    changes: TokenBucket
    conduct: Conduct = field(default_factory=Conduct)
    lines: list[_Line] = field(default_factory=list)
    is_held: bool = False

    def least_wanted(self) -> _Line:
        """The oldest that never negotiated, else the oldest."""
        return next((line for line in self.lines if not line.session.is_active), self.lines[0])


class Mailboxes:
    """Implements GuestChannels on a selector. descriptor_limit: RLIMIT_NOFILE. log: for what a guest can have said as often as it
    likes. clock: seconds, any that only moves forward."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        descriptor_limit: int,
        log: BudgetedLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._selector = selector
        self._clock = clock
        self._first_reserved = descriptor_limit - min(RESERVED_DESCRIPTORS, descriptor_limit // _RESERVED_PART)
        self._most_lines = descriptor_limit // 2
        self._line_count = 0
        self._mailboxes: dict[VfAddress, _Mailbox] = {}
        self._changes: dict[namespaces.Identity, TokenBucket] = {}
        self._deadlines: dict[_Line, float] = {}  # of those that are not active, the earliest first
        self._paused: dict[VfAddress, float] = {}  # until when
        self._closing: dict[VfAddress, list[threading.Thread]] = {}  # of what peers passed, which may take as long as they like
        self.dropped: dict[tuple[str, str, str], int] = {}  # pf, vf, reason
        self._serve: Serve | None = None
        self._complain: Complain | None = None

    def connect_controller(self, serve: Serve, complain: Complain) -> None:
        """Where requests go, and where invalid messages are reported."""
        self._serve, self._complain = serve, complain

    def open(self, vf: VfAddress, netns: str) -> None:
        """Raises Conflict when somebody in the guest holds the name already."""
        try:
            with namespaces.in_namespace(netns):
                listener, guest = sockets.listen(str(vf)), namespaces.own_identity()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Conflict(f"mailbox of {vf}: cannot be opened in namespace {netns}: {error}") from error
            text = f"mailbox of {vf}: the name is taken in namespace {netns}: {error}"
            raise Conflict(f"{text}; end the process there that listens on it") from error
        if listener.fileno() >= self._first_reserved:
            listener.close()
            text = f"mailbox of {vf}: the daemon has too few descriptors left"
            raise Conflict(f"{text}; raise its limit (LimitNOFILE= of the service) and restart it")
        changes = self._changes.setdefault(guest, TokenBucket(a_second=CHANGES_A_SECOND, most=CHANGES_AT_ONCE))
        mailbox = self._mailboxes[vf] = _Mailbox(listener=listener, guest=guest, changes=changes)
        self._listen(vf, mailbox)

    def is_open(self, vf: VfAddress) -> bool:
        """Whether the VF's mailbox listens."""
        return vf in self._mailboxes

    def close(self, vf: VfAddress) -> None:
        """Absent is fine."""
        mailbox = self._mailboxes.pop(vf, None)
        if mailbox is None:
            return
        if self._paused.pop(vf, None) is None:
            self._selector.unregister(mailbox.listener)
        sockets.close_apart([mailbox.listener.detach()])
        for line in list(mailbox.lines):
            self._close(mailbox, line)

    def push(self, vf: VfAddress, event: Event) -> None:
        """To the connections that are active."""
        for line in list(self._lines(vf)):
            if line.session.is_active:
                self._send(line, codec.encode_event(event))

    def reset(self, vf: VfAddress) -> None:
        """Every connection hears of it, and starts over from VERSION."""
        self.enable(vf)
        for line in list(self._lines(vf)):
            line.session.start_over()
            self._expect_negotiation(line)
            self._send(line, codec.encode_event(Event(code=EventCode.RESET_IMPENDING)))

    def is_malicious(self, vf: VfAddress) -> bool:
        """Whether nothing but a reset is heard from its guest, after too many invalid messages in a row."""
        return vf in self._mailboxes and self._mailboxes[vf].conduct.is_malicious

    def enable(self, vf: VfAddress) -> None:
        """Its guest is heard again."""
        if vf in self._mailboxes:
            self._mailboxes[vf].conduct.start_over()

    def look_after(self) -> None:
        """For a timer: goes on with those that were held, ends connections that did not negotiate in time, and looks again where
        there was no descriptor."""
        for mailbox in self._mailboxes.values():
            if mailbox.is_held and mailbox.changes.has_some(self._clock()):
                mailbox.is_held = False
                for line in mailbox.lines:
                    self._read_from(mailbox, line)
        self._close_idle()
        served = {mailbox.guest for mailbox in self._mailboxes.values()}
        for guest in [guest for guest, changes in self._changes.items() if guest not in served and changes.is_full(self._clock())]:
            del self._changes[guest]

    def _close_idle(self) -> None:
        now = self._clock()
        while self._deadlines:
            line = next(iter(self._deadlines))
            if self._deadlines[line] > now:
                break
            del self._deadlines[line]
            if not line.session.is_active:
                self._count_drop(line.vf, "idle")
                self._drop(line)
        self._closing = {vf: threads for vf, threads in self._closing.items() if any(thread.is_alive() for thread in threads)}
        for vf, until in list(self._paused.items()):
            if until <= now and vf not in self._closing:
                del self._paused[vf]
                self._listen(vf, self._mailboxes[vf])

    def _listen(self, vf: VfAddress, mailbox: _Mailbox) -> None:
        self._selector.register(mailbox.listener, selectors.EVENT_READ, self._source(mailbox, lambda: self._accept(vf)))

    @staticmethod
    def _source(mailbox: _Mailbox, serve: Callable[[], None]) -> Source:
        return Source(TurnKind.MAILBOX, serve, owner=mailbox.guest)

    def _go_last(self, file: socket.socket | Connection) -> None:
        """Behind the guest's other files: it has one turn a round, and the kernel reports files that are always ready in the order
        in which they were registered."""
        key = self._selector.unregister(file)
        self._selector.register(file, selectors.EVENT_READ, key.data)

    def _lines(self, vf: VfAddress) -> list[_Line]:
        mailbox = self._mailboxes.get(vf)
        return mailbox.lines if mailbox else []

    def _accept(self, vf: VfAddress) -> None:
        mailbox = self._mailboxes[vf]
        try:
            connection = sockets.accept(mailbox.listener)
        except OSError:
            self._count_drop(vf, "descriptors")
            self._selector.unregister(mailbox.listener)
            self._paused[vf] = self._clock() + _PAUSE_SECONDS
            return
        if connection is None:
            return
        if not (self._has_room_at(vf, mailbox) and self._has_descriptor(vf, mailbox, connection)):
            connection.close()
            return
        line = _Line(vf=vf, connection=connection, session=Session(vsi_id=vsi_id(vf)))
        mailbox.lines.append(line)
        self._line_count += 1
        self._expect_negotiation(line)
        if not mailbox.is_held:
            self._read_from(mailbox, line)
        self._go_last(mailbox.listener)

    def _read_from(self, mailbox: _Mailbox, line: _Line) -> None:
        self._selector.register(line.connection, selectors.EVENT_READ, self._source(mailbox, lambda: self._receive(line)))

    def _charge(self, mailbox: _Mailbox) -> None:
        """For a change. One that was the last for now holds the VF's lines; of the guest's other VFs each by its own next
        change."""
        if mailbox.changes.take(self._clock()) and mailbox.changes.has_some(self._clock()):
            return
        mailbox.is_held = True
        for line in mailbox.lines:
            self._selector.unregister(line.connection)

    def _has_room_at(self, vf: VfAddress, mailbox: _Mailbox) -> bool:
        """Whether the VF may have one connection more, if need be in place of one that never negotiated."""
        if len(mailbox.lines) < MAX_CONNECTIONS:
            return True
        oldest = mailbox.least_wanted()
        if oldest.session.is_active:
            self._count_drop(vf, "connections")
            return False
        self._count_drop(vf, "idle")
        self._close(mailbox, oldest)
        return True

    def _has_descriptor(self, vf: VfAddress, mailbox: _Mailbox, connection: Connection) -> bool:
        """Whether the process may have one connection more, if need be in place of one of the VF that has most. The kernel
        gives out the lowest number that is free, so a descriptor's number tells how many are in use."""
        if self._line_count < self._most_lines and connection.fileno() < self._first_reserved:
            return True
        greedy, most = max(self._mailboxes.items(), key=lambda item: len(item[1].lines))
        if len(most.lines) <= len(mailbox.lines) + 1:
            self._count_drop(vf, "descriptors")
            return False
        self._count_drop(greedy, "descriptors")
        self._close(most, most.least_wanted())
        return True

    def _expect_negotiation(self, line: _Line) -> None:
        self._deadlines.pop(line, None)
        self._deadlines[line] = self._clock() + NEGOTIATION_SECONDS

    def _receive(self, line: _Line) -> None:
        """One message a turn, so that a guest that floods its mailbox waits in line with all others."""
        message = line.connection.receive()
        if line.connection.passed:
            self._isolate(line)
            return
        if message is None:
            self._drop(line)
            return
        if not message:
            return
        self._go_last(line.connection)
        actor = Actor(pid=line.connection.peer.pid, uid=line.connection.peer.uid)
        match self._hear(line, message):
            case Ask() as ask:
                assert self._serve is not None
                served = self._serve(line.vf, line.session, ask, actor)
                for answer in served.answers:
                    self._send(line, answer)
                if served.has_changed and line.vf in self._mailboxes:
                    self._charge(self._mailboxes[line.vf])
            case Answer(message=answer, opcode=opcode, fault=fault):
                self._send(line, answer)
                if fault is not None:
                    self._report(line.vf, opcode, fault, actor)
            case Ignore(fault=fault):
                self._report(line.vf, 0, fault, actor)

    def _hear(self, line: _Line, message: bytes) -> Answer | Ask | Ignore:
        conduct = self._mailboxes[line.vf].conduct
        if conduct.is_malicious:
            return line.session.receive_from_malicious(message)
        heard = line.session.receive(message)
        if conduct.heard(is_valid=isinstance(heard, Ask) or heard.fault is None):
            text = "%s: malicious, %d invalid messages in a row: nothing but a reset is heard; `vf set %s mailbox enable` ends it"
            self._log.write(logging.WARNING, str(line.vf), LogKind.EVENTS, text, line.vf, MOST_INVALID, line.vf)
        return heard

    def _isolate(self, line: _Line) -> None:
        """Who passes descriptors, where the kernel does not refuse them, is cut off; and nobody speaks for that VF until they are
        closed, or they would become many."""
        mailbox = self._mailboxes[line.vf]
        self._count_drop(line.vf, "passed")
        if line.vf not in self._paused:
            self._selector.unregister(mailbox.listener)
            self._paused[line.vf] = self._clock() + _PAUSE_SECONDS
        threads = [self._close(mailbox, other) for other in list(mailbox.lines)]
        self._closing[line.vf] = [thread for thread in threads if thread]

    def _report(self, vf: VfAddress, opcode: int, fault: str, actor: Actor) -> None:
        assert self._complain is not None
        self._complain(vf, opcode, fault, actor)

    def _send(self, line: _Line, message: bytes) -> None:
        if not line.connection.send(message):
            self._count_drop(line.vf, "slow")
            self._drop(line)

    def _drop(self, line: _Line) -> None:
        """A line that is gone already is fine."""
        mailbox = self._mailboxes.get(line.vf)
        if mailbox is not None and line in mailbox.lines:
            self._close(mailbox, line)

    def _close(self, mailbox: _Mailbox, line: _Line) -> threading.Thread | None:
        mailbox.lines.remove(line)
        self._line_count -= 1
        self._deadlines.pop(line, None)
        if not mailbox.is_held:
            self._selector.unregister(line.connection)
        return line.connection.close()

    def _count_drop(self, vf: VfAddress, reason: str) -> None:
        key = (vf.pf, str(vf), reason)
        self.dropped[key] = self.dropped.get(key, 0) + 1


def vsi_id(vf: VfAddress) -> int:
    """What the VF calls itself in messages; another VF's number is refused."""
    return vf.index + 1
