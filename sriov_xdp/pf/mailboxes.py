"""The mailboxes of all VFs: listeners in the guests' namespaces, connections, and one session each.

Step 2 of the workflow: what a session lets through goes to the controller together with the VF whose listener accepted the
connection; nothing in a message can name another. Writer thread only.
"""

import logging
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from sriov_xdp.host import namespaces
from sriov_xdp.mailbox import codec, sockets
from sriov_xdp.mailbox.messages import Event, EventCode
from sriov_xdp.mailbox.session import Answer, Ask, Ignore, Session
from sriov_xdp.mailbox.sockets import Connection
from sriov_xdp.pf.context import Actor
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.intent import VfAddress

_log = logging.getLogger("sriov_xdp.mailbox")
Serve = Callable[[VfAddress, Session, Ask, Actor], list[bytes]]
Complain = Callable[[VfAddress, int, str, Actor], None]


@dataclass(slots=True, eq=False)
class _Line:
    """One connection with its session."""

    vf: VfAddress
    connection: Connection
    session: Session


@dataclass(slots=True, eq=False)
class _Mailbox:
    listener: socket.socket
    lines: list[_Line] = field(default_factory=list)


class Mailboxes:
    """Implements GuestChannels on a selector."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._mailboxes: dict[VfAddress, _Mailbox] = {}
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
                listener = sockets.listen(str(vf))
        except OSError as error:
            text = f"mailbox of {vf}: the name is taken in namespace {netns}: {error}"
            raise Conflict(f"{text}; end the process there that listens on it") from error
        self._mailboxes[vf] = _Mailbox(listener=listener)
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(vf))

    def is_open(self, vf: VfAddress) -> bool:
        """Whether the VF's mailbox listens."""
        return vf in self._mailboxes

    def close(self, vf: VfAddress) -> None:
        """Absent is fine."""
        mailbox = self._mailboxes.pop(vf, None)
        if mailbox is None:
            return
        self._selector.unregister(mailbox.listener)
        mailbox.listener.close()
        for line in mailbox.lines:
            self._selector.unregister(line.connection)
            line.connection.close()

    def push(self, vf: VfAddress, event: Event) -> None:
        """To the connections that are active."""
        for line in list(self._lines(vf)):
            if line.session.is_active:
                self._send(line, codec.encode_event(event))

    def reset(self, vf: VfAddress) -> None:
        """Every connection hears of it, and starts over from VERSION."""
        for line in list(self._lines(vf)):
            line.session.start_over()
            self._send(line, codec.encode_event(Event(code=EventCode.RESET_IMPENDING)))

    def _lines(self, vf: VfAddress) -> list[_Line]:
        mailbox = self._mailboxes.get(vf)
        return mailbox.lines if mailbox else []

    def _accept(self, vf: VfAddress) -> None:
        mailbox = self._mailboxes[vf]
        connection = sockets.accept(mailbox.listener)
        if connection is None:
            return
        if len(mailbox.lines) >= sockets.MAX_CONNECTIONS:
            self._count_drop(vf, "connections")
            connection.close()
            return
        line = _Line(vf=vf, connection=connection, session=Session(vsi_id=vsi_id(vf)))
        mailbox.lines.append(line)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._receive(line))

    def _receive(self, line: _Line) -> None:
        """One message a turn, so that a guest that floods its mailbox waits in line with all others."""
        message = line.connection.receive()
        if message is None:
            self._drop(line)
            return
        if not message:
            return
        actor = Actor(pid=line.connection.peer.pid, uid=line.connection.peer.uid)
        match line.session.receive(message):
            case Ask() as ask:
                assert self._serve is not None
                for answer in self._serve(line.vf, line.session, ask, actor):
                    self._send(line, answer)
            case Answer(message=answer, opcode=opcode, fault=fault):
                self._send(line, answer)
                if fault is not None:
                    self._report(line.vf, opcode, fault, actor)
            case Ignore(fault=fault):
                self._report(line.vf, 0, fault, actor)

    def _report(self, vf: VfAddress, opcode: int, fault: str, actor: Actor) -> None:
        assert self._complain is not None
        self._complain(vf, opcode, fault, actor)

    def _send(self, line: _Line, message: bytes) -> None:
        if not line.connection.send(message):
            self._count_drop(line.vf, "slow")
            self._drop(line)

    def _drop(self, line: _Line) -> None:
        lines = self._lines(line.vf)
        if line not in lines:
            return
        lines.remove(line)
        self._selector.unregister(line.connection)
        line.connection.close()

    def _count_drop(self, vf: VfAddress, reason: str) -> None:
        key = (vf.pf, str(vf), reason)
        self.dropped[key] = self.dropped.get(key, 0) + 1


def vsi_id(vf: VfAddress) -> int:
    """What the VF calls itself in messages; another VF's number is refused."""
    return vf.index + 1
