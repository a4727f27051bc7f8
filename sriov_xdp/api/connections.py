"""Connections to the daemon's own endpoints: how many, of whom, and for how long. Knows nothing of HTTP.

A connection carries one request. Its peer has so many seconds to send it and as many to take the answer; the work in between
takes what it takes, and the connection counts until it is done, though the peer may have left. When there are as many as may
be, one whose request is not complete makes room, the oldest first; when there is none, the new one is refused. So half
requests keep nobody out. Root is not counted as a peer, and some connections are only for it.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

_REFUSAL_SECONDS = 0.005  # between two refusals: whoever hammers at the door gets 200 answers a second
_NO_DESCRIPTOR_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Connections at once; seconds to send the request, and to take the answer."""

    in_all: int
    of_peer: int
    kept_for_root: int = 0
    seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who connected. name: a user or an address, whose connections are counted together; login_uid: the user who had logged in."""

    name: str
    pid: int = 0
    uid: int = 0
    is_root: bool = False
    login_uid: int | None = None


class _Phase(Enum):
    REQUEST = "request"
    WORK = "work"
    ANSWER = "answer"


class Connection(asyncio.Protocol):
    """Stands between the transport and the protocol that speaks on it."""

    def __init__(self, door: "Door", peer: Peer, speaker: asyncio.Protocol) -> None:
        self.peer = peer
        self._door = door
        self._speaker = speaker
        self._phase = _Phase.REQUEST
        self._is_lost = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_incomplete(self) -> bool:
        """Whether the request is not here yet."""
        return self._phase is _Phase.REQUEST

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it: neither transport nor work."""
        return self._is_lost and self._phase is not _Phase.WORK

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Around the work, once the request was read whole. What the peer sends from now on is thrown away."""
        self._phase = _Phase.WORK
        self._stop_timer()
        try:
            yield
        finally:
            self._phase = _Phase.ANSWER
            if self._is_lost:
                self._door.left(self)
            else:
                self._start_timer("slow")

    def abort(self) -> None:
        """At once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._door.entered(self, transport)
        self._start_timer("incomplete")
        self._speaker.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """From asyncio."""
        self._is_lost = True
        self._stop_timer()
        self._door.left(self)
        self._speaker.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """From asyncio."""
        if self.is_incomplete:
            self._speaker.data_received(data)

    def eof_received(self) -> bool | None:
        """From asyncio."""
        return self._speaker.eof_received()

    def pause_writing(self) -> None:
        """From asyncio."""
        self._speaker.pause_writing()

    def resume_writing(self) -> None:
        """From asyncio."""
        self._speaker.resume_writing()

    def _start_timer(self, reason: str) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._door.limits.seconds, self._expire, reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, reason: str) -> None:
        self._door.refuse(reason)
        self.abort()


class Door:
    """Of one endpoint. identify tells who is at the other end of a socket; refuse counts a reason; sorry is sent to whoever is
    not let in."""

    def __init__(
        self, limits: Limits, identify: Callable[[socket.socket], Peer], refuse: Callable[[str], None], sorry: bytes
    ) -> None:
        self.limits = limits
        self.refuse = refuse
        self._identify = identify
        self._sorry = sorry
        self._inside: dict[Connection, asyncio.BaseTransport] = {}  # the oldest first
        self._of_transport: dict[asyncio.BaseTransport, Connection] = {}

    def connection_of(self, transport: asyncio.BaseTransport | None) -> Connection | None:
        """The connection on a transport, None when its peer has left."""
        return self._of_transport.get(transport) if transport is not None else None

    async def admit(self, listener: socket.socket, make_speaker: Callable[[], asyncio.Protocol]) -> None:
        """Accepts connections for ever. The listener does not block."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _address = await loop.sock_accept(listener)
            except OSError:  # none left; trying again at once would spin
                self.refuse("descriptors")
                await asyncio.sleep(_NO_DESCRIPTOR_SECONDS)
                continue
            try:
                await self._receive(accepted, make_speaker)
            except OSError:  # gone already
                accepted.close()

    async def _receive(self, accepted: socket.socket, make_speaker: Callable[[], asyncio.Protocol]) -> None:
        peer = self._identify(accepted)
        if self._is_full_for(peer):
            if not self._make_room_for(peer):
                self.refuse("connections")
                self._send_away(accepted)
                await asyncio.sleep(_REFUSAL_SECONDS)
                return
            await asyncio.sleep(_REFUSAL_SECONDS)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: Connection(self, peer, make_speaker()), accepted)

    def _is_full_for(self, peer: Peer) -> bool:
        inside = len(self._inside)
        if peer.is_root:
            return inside >= self.limits.in_all
        others = sum(not connection.peer.is_root for connection in self._inside)
        return inside >= self.limits.in_all or others >= self.limits.in_all - self.limits.kept_for_root or self._has_its_share(peer)

    def _has_its_share(self, peer: Peer) -> bool:
        return sum(connection.peer.name == peer.name for connection in self._inside) >= self.limits.of_peer

    def _make_room_for(self, peer: Peer) -> bool:
        """Ends the oldest connection without a whole request, of others than root if there is one."""
        incomplete = [inside for inside in self._inside if inside.is_incomplete and self._gives_way(inside.peer, peer)]
        oldest = min(incomplete, key=lambda inside: inside.peer.is_root, default=None)
        if oldest is not None:
            self.refuse("incomplete")
            self._forget(oldest)
            oldest.abort()
        return not self._is_full_for(peer)

    def _gives_way(self, inside: Peer, peer: Peer) -> bool:
        """A peer that has its share can only have another's place that is its own already; root's is root's."""
        if inside.name == peer.name or peer.is_root:
            return True
        return not inside.is_root and not self._has_its_share(peer)

    def _send_away(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            accepted.send(self._sorry)
        accepted.close()

    def entered(self, connection: Connection, transport: asyncio.BaseTransport) -> None:
        """For a connection: it is there."""
        self._inside[connection] = transport
        self._of_transport[transport] = connection

    def left(self, connection: Connection) -> None:
        """For a connection: its transport is gone, or its work done."""
        if connection.is_over:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        transport = self._inside.pop(connection, None)
        if transport is not None:
            self._of_transport.pop(transport, None)
