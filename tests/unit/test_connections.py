"""Connections to the daemon's endpoints: half requests keep nobody out, and root has a reserve. Real sockets; the speaker's
whole request is one line."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sriov_xdp.api.connections import Connection, Door, Limits, Peer

SORRY = b"sorry"
LONG_SECONDS, SHORT_SECONDS = 60.0, 0.2


class Speaker(asyncio.Protocol):
    """Answers a line with `big` bytes, once the test lets it."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._house.received.append(data)
        connection = self._house.door.connection_of(self._transport)
        if data.endswith(b"\n") and connection is not None:
            self._task = asyncio.get_running_loop().create_task(self._answer(connection))

    async def _answer(self, connection: Connection) -> None:
        with connection.working():
            self._house.at_work += 1
            await self._house.may_answer.wait()
        self._transport.write(bytes(self._house.answer_bytes))
        if self._house.answer_bytes < 10:
            self._transport.close()


class House:
    """An endpoint behind a door, and clients that come to it as whom they like."""

    def __init__(self, limits: Limits) -> None:
        self.refused: Counter[str] = Counter()
        self.received: list[bytes] = []
        self.at_work = 0
        self.answer_bytes = 2
        self.may_answer = asyncio.Event()
        self._peers: dict[int, Peer] = {}  # by the client's port
        self._clients: list[socket.socket] = []
        self.door = Door(limits, self._identify, lambda reason: self.refused.update([reason]), SORRY)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self._admission = asyncio.get_running_loop().create_task(self.door.admit(self.listener, lambda: Speaker(self)))

    def _identify(self, accepted: socket.socket) -> Peer:
        return self._peers[accepted.getpeername()[1]]

    async def come(self, name: str, say: bytes = b"half") -> socket.socket:
        """Returns when the connection was let in or refused."""
        client = socket.socket()
        client.setblocking(False)
        client.bind(("127.0.0.1", 0))
        self._peers[client.getsockname()[1]] = Peer(name=name, is_root=name == "root")
        self._clients.append(client)
        seen = len(self.received), self.refused["connections"]
        await asyncio.get_running_loop().sock_connect(client, self.listener.getsockname())
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(client, say)
        await until(lambda: len(self.received) > seen[0] or self.refused["connections"] > seen[1])
        return client

    async def close(self) -> None:
        self._admission.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._admission
        self.listener.close()
        for client in self._clients:
            client.close()
        self.may_answer.set()
        await until(lambda: not self.door._inside)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # what it waits for are sockets, which tell nobody
            await asyncio.sleep(0.001)


async def heard(client: socket.socket) -> bytes:
    """All that comes until the end of the connection."""
    data = b""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            while chunk := await asyncio.get_running_loop().sock_recv(client, 1 << 16):
                data += chunk
    return data


@asynccontextmanager
async def opened(limits: Limits) -> AsyncIterator[House]:
    house = House(limits)
    try:
        yield house
    finally:
        await house.close()


def run(limits: Limits, story: Callable[[House], Awaitable[None]]) -> None:
    async def told() -> None:
        async with opened(limits) as house:
            await story(house)

    asyncio.run(told())


SMALL = Limits(in_all=6, of_peer=3, kept_for_root=2, seconds=LONG_SECONDS)


def inside(house: House) -> list[str]:
    return sorted(connection.peer.name for connection in house.door._inside)


def test_a_whole_request_is_answered() -> None:
    async def story(house: House) -> None:
        house.may_answer.set()
        assert bytes(2) == await heard(await house.come("one", b"whole\n"))

    run(SMALL, story)


def test_half_a_request_is_ended_in_time() -> None:
    async def story(house: House) -> None:
        assert b"" == await heard(await house.come("one"))
        assert {"incomplete": 1} == house.refused

    run(Limits(in_all=6, of_peer=3, seconds=SHORT_SECONDS), story)


def test_work_may_take_longer_than_requests_and_answers() -> None:
    async def story(house: House) -> None:
        working = await house.come("one", b"whole\n")
        half = await house.come("one")
        assert b"" == await heard(half)
        house.may_answer.set()
        assert bytes(2) == await heard(working)

    run(Limits(in_all=6, of_peer=3, seconds=SHORT_SECONDS), story)


def test_who_does_not_take_the_answer_is_cut_off() -> None:
    async def story(house: House) -> None:
        house.may_answer.set()
        house.answer_bytes = 50_000_000
        await house.come("one", b"whole\n")
        await until(lambda: house.refused["slow"] == 1)
        await until(lambda: inside(house) == [])

    run(Limits(in_all=6, of_peer=3, seconds=SHORT_SECONDS), story)


def test_half_requests_make_room_for_whole_ones_of_the_same_peer() -> None:
    async def story(house: House) -> None:
        house.may_answer.set()
        half = [await house.come("one") for _time in range(3)]
        assert bytes(2) == await heard(await house.come("one", b"whole\n"))
        assert b"" == await heard(half[0])
        assert {"incomplete": 1} == house.refused

    run(SMALL, story)


def test_a_peers_half_requests_do_not_cost_another_its_own() -> None:
    async def story(house: House) -> None:
        await house.come("two")
        for _time in range(9):
            await house.come("one")
        assert ["one", "one", "one", "two"] == inside(house)

    run(SMALL, story)


def test_work_counts_as_long_as_it_lasts_though_its_peer_has_left() -> None:
    """Else a peer could have any number of commands under way, by leaving."""

    async def story(house: House) -> None:
        for _time in range(3):
            (await house.come("one", b"whole\n")).close()
        await until(lambda: house.at_work == 3)
        assert SORRY == await heard(await house.come("one", b"whole\n"))
        assert {"connections": 1} == house.refused
        house.may_answer.set()
        await until(lambda: inside(house) == [])
        assert bytes(2) == await heard(await house.come("one", b"whole\n"))

    run(SMALL, story)


def test_others_cannot_take_what_is_kept_for_root() -> None:
    async def story(house: House) -> None:
        for name in ("one", "one", "two", "two"):
            await house.come(name, b"whole\n")
        await house.come("three", b"whole\n")
        assert {"connections": 1} == house.refused
        for _time in range(2):
            await house.come("root", b"whole\n")
        assert ["one", "one", "root", "root", "two", "two"] == inside(house)

    run(SMALL, story)


def test_root_is_not_pushed_out_by_others_but_pushes_them() -> None:
    async def story(house: House) -> None:
        for _time in range(4):
            await house.come("root")
        for name in ("one", "two", "three"):
            await house.come(name)
        assert ["root", "root", "root", "root", "three", "two"] == inside(house)
        for count in (5, 6, 6):
            await house.come("root")
            assert count == inside(house).count("root")

    run(SMALL, story)


@pytest.mark.parametrize("after", [b"", b"more" * 1000])
def test_what_comes_after_the_request_is_thrown_away(after: bytes) -> None:
    async def story(house: House) -> None:
        client = await house.come("one", b"whole\n")
        await until(lambda: house.at_work == 1)
        if after:
            await asyncio.get_running_loop().sock_sendall(client, after)
        house.may_answer.set()
        await heard(client)
        assert [b"whole\n"] == house.received

    run(SMALL, story)


def test_without_a_descriptor_the_door_waits_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(house: House) -> None:
        house.may_answer.set()
        loop = asyncio.get_running_loop()
        accept, tries = loop.sock_accept, Counter[str]()

        async def has_none(listener: socket.socket) -> tuple[socket.socket, object]:
            tries["all"] += 1
            if tries["all"] <= 2:
                raise OSError(24, "Too many open files")
            return await accept(listener)

        monkeypatch.setattr(loop, "sock_accept", has_none)
        monkeypatch.setattr("sriov_xdp.api.connections._NO_DESCRIPTOR_SECONDS", 0.01)
        assert bytes(2) == await heard(await house.come("one", b"whole\n"))
        assert bytes(2) == await heard(await house.come("one", b"whole\n"))
        assert {"descriptors": 2} == house.refused

    run(SMALL, story)
