"""The admin socket and the metrics endpoint, on one asyncio loop in a thread of its own (aiohttp).

POST /v1/COMMAND with a JSON document; 200 with the result, or an error document whose "code" is the CLI's exit code. All
work is submitted to the PF's writer; this thread holds no state.

Nobody may hold more of the daemon than a share: connections (connections.py), bytes of requests, scrapes at a time. Who gets
none is told 503 with Retry-After, and has then changed nothing.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ValidationError

from sriov_xdp.api.commands import COMMANDS
from sriov_xdp.api.connections import Connection, Door, Limits, Peer
from sriov_xdp.api.findings import shown
from sriov_xdp.api.reading import Configuration, ConfigurationReader, TooBusy, Unusable, Wanted, problems_of
from sriov_xdp.api.yaml_text import MAX_FILE_BYTES
from sriov_xdp.faults import Fault
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.context import Actor, Context
from sriov_xdp.pf.hands.log_budget import BudgetedLog, LogKind

_log = logging.getLogger("sriov_xdp.api")
_PEER = struct.Struct("iII")
_NOBODY_LOGGED_IN = (1 << 32) - 1  # linux/audit.h, AUDIT_UID_UNSET
_START_SECONDS = 10
_SHUTDOWN_SECONDS = 2
_BACKLOG = 128
Submit = Callable[[Callable[[], Any]], "Future[Any]"]

BUSY = 6
ADMIN, METRICS = "admin", "metrics"
LIMITS = {ADMIN: Limits(in_all=64, of_peer=8, kept_for_root=16), METRICS: Limits(in_all=16, of_peer=8)}
_COMMAND_BYTES = 32 << 10  # a trunk of 4,094 VLANs, one by one, takes 24
_CONFIGURATION_BYTES = 2 * MAX_FILE_BYTES  # as a JSON string
_SCRAPES_AT_ONCE = 2
_SCRAPE_SECONDS = 5.0  # that others wait for their turn
# What aiohttp says of requests that it cannot read is a stranger's to choose; what goes wrong here is logged here.
_SILENT = logging.getLogger("sriov_xdp.api.http")
_SILENT.disabled = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where to listen. metrics: what listen() gave, nothing for no metrics endpoint."""

    admin_socket: Path
    metrics: list[socket.socket]


class Server:
    """Runs until close(). expose: the writer's work of one scrape, whose result is the text. refused: counts who was turned
    away, by endpoint and reason."""

    def __init__(
        self,
        endpoints: Endpoints,
        context: Context,
        submit: Submit,
        expose: Callable[[], Any],
        refused: Counter[tuple[str, str]],
    ) -> None:
        self._endpoints = endpoints
        self._context = context
        self._submit = submit
        self._expose = expose
        self._refused = refused
        self._faults = BudgetedLog(_log)
        self._body_bytes: Counter[bool] = Counter()  # held by root, and by all others
        self._runners: list[web.AppRunner] = []
        self._admissions: list[asyncio.Task[None]] = []
        self._listeners: list[socket.socket] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api", daemon=True)

    def start(self) -> None:
        """Listens when this returns. Raises OSError."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_START_SECONDS)

    async def _start(self) -> None:
        self._reader = ConfigurationReader()
        self._scrapes = asyncio.Semaphore(_SCRAPES_AT_ONCE)
        await self._open(ADMIN, [_bind(self._endpoints.admin_socket)], _user_of, "POST", "/v1/{command}", self._run_command)
        if self._endpoints.metrics:
            await self._open(METRICS, self._endpoints.metrics, _address_of, "GET", "/metrics", self._scrape)

    async def _open(
        self,
        name: str,
        listeners: list[socket.socket],
        identify: Callable[[socket.socket], Peer],
        method: str,
        path: str,
        serve: Callable[[web.Request, Connection], Awaitable[web.Response]],
    ) -> None:
        door = Door(LIMITS[name], identify, lambda reason: self._refuse(name, reason), _sorry(name))

        async def respond(request: web.Request) -> web.Response:
            connection = door.connection_of(request.transport)
            return await serve(request, connection) if connection else _busy(name, "the peer has left")

        @web.middleware
        async def answer(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            response = await self._answered(name, handler(request))
            response.force_close()
            return response

        app = web.Application(client_max_size=_CONFIGURATION_BYTES + 1, middlewares=[answer])
        app.router.add_route(method, path, respond)
        runner = web.AppRunner(
            app, access_log=None, logger=_SILENT, auto_decompress=False, lingering_time=0, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await runner.setup()
        assert runner.server is not None
        self._runners.append(runner)
        self._listeners += listeners
        self._admissions += [self._loop.create_task(door.admit(listener, runner.server)) for listener in listeners]

    async def _answered(self, name: str, serving: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        try:
            return await serving
        except web.HTTPException as error:
            return _error(2, f"request: {error.reason}", error.status)
        except TooBusy as error:
            self._refuse(name, "busy")
            return _busy(name, str(error))
        except (ConnectionError, web.RequestPayloadError):
            return _busy(name, "the peer has left")
        except Exception:  # noqa: BLE001  # a fault of ours must not end the daemon
            text = "%s: internal error"
            self._faults.write(logging.ERROR, name, LogKind.FAILURES, text, name, is_exception=True)
            return _error(1, f"{name}: internal error; the daemon's log has the details", 500)

    def close(self) -> None:
        """Stops listening and ends the thread."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_SECONDS)
        self._endpoints.admin_socket.unlink(missing_ok=True)

    async def _stop(self) -> None:
        for admission in self._admissions:
            admission.cancel()
        await asyncio.gather(*self._admissions, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        for runner in self._runners:
            await runner.cleanup()

    async def _run_command(self, request: web.Request, connection: Connection) -> web.Response:
        name = request.match_info["command"]
        if name not in COMMANDS:
            return _error(1, f"command {shown(name)}: unknown; client and daemon are of different versions")
        model, run = COMMANDS[name]
        peer = connection.peer
        with contextlib.ExitStack() as stack:
            document = await self._document_of(request, model, connection, stack)
            if isinstance(document, Unusable):
                return _error(document.code, document.text)
            return await self._carry_out(
                lambda: run(self._context, document, Actor(pid=peer.pid, uid=peer.uid, login_uid=peer.login_uid))
            )

    async def _document_of(
        self, request: web.Request, model: type[BaseModel], connection: Connection, stack: contextlib.ExitStack
    ) -> BaseModel | Wanted | Unusable:
        """What a request says. The stack says that the connection is at work, from when its request was read."""
        size_bytes = request.content_length
        if size_bytes is None:
            raise web.HTTPLengthRequired
        if model is Configuration:
            with self._holding(size_bytes, connection.peer):
                body = await request.read()
                stack.enter_context(connection.working())
                return await self._reader.read(body, connection.peer.uid)
        if size_bytes > _COMMAND_BYTES:
            raise web.HTTPRequestEntityTooLarge(max_size=_COMMAND_BYTES, actual_size=size_bytes)
        body = await request.read()
        stack.enter_context(connection.working())
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            return Unusable(code=2, text=problems_of(model, error))

    @contextlib.contextmanager
    def _holding(self, size_bytes: int, peer: Peer) -> Iterator[None]:
        """Room for a configuration, before it is read and until it was: all peers have as much together as one may take, and
        those that are not root half of it."""
        if size_bytes > _CONFIGURATION_BYTES:
            raise web.HTTPRequestEntityTooLarge(max_size=_CONFIGURATION_BYTES, actual_size=size_bytes)
        free_bytes = _CONFIGURATION_BYTES - self._body_bytes.total()
        if not peer.is_root:
            free_bytes = min(free_bytes, _CONFIGURATION_BYTES // 2 - self._body_bytes[False])
        if size_bytes > free_bytes:
            raise TooBusy("configurations of others take the room that there is")
        self._body_bytes[peer.is_root] += size_bytes
        try:
            yield
        finally:
            self._body_bytes[peer.is_root] -= size_bytes

    async def _carry_out(self, work: Callable[[], Any]) -> web.Response:
        try:
            result = await asyncio.wrap_future(self._submit(work))
        except Fault as error:
            return _error(error.exit_code, str(error))
        return web.Response(text=_json(result), content_type="application/json")

    async def _scrape(self, _request: web.Request, connection: Connection) -> web.Response:
        with connection.working():
            try:
                async with asyncio.timeout(_SCRAPE_SECONDS):
                    await self._scrapes.acquire()
            except TimeoutError as error:
                raise TooBusy(f"{_SCRAPES_AT_ONCE} scrapes are being made, and others wait") from error
            try:
                body = await asyncio.wrap_future(self._submit(self._expose))
            finally:
                self._scrapes.release()
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _refuse(self, endpoint: str, reason: str) -> None:
        self._refused[endpoint, reason] += 1


def _json(result: Any) -> str:
    """Rows one by one: while the encoder is at work, no other thread is."""
    if isinstance(result, list):
        return f"[{','.join(json.dumps(row) for row in result)}]"
    return json.dumps(result)


def _bind(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    former = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(former)
    listener.listen(_BACKLOG)
    return listener


def listen(host: str, port: int) -> list[socket.socket]:
    """The metrics endpoint's sockets, one for each address of a host. Raises Conflict."""
    listeners: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in sorted({(family, address) for family, _type, _protocol, _name, address in found}):
            listeners.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            listeners[-1].setblocking(False)
    except OSError as error:
        for listener in listeners:
            listener.close()
        observed = (error.strerror or str(error)).partition(" (")[0]  # what asyncio or Python adds says the address once more
        raise Conflict(f"metrics: {host}:{port}: {observed}; choose another with --metrics, or none") from error
    return listeners


def _user_of(accepted: socket.socket) -> Peer:
    pid, uid, _gid = _PEER.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return Peer(name=f"uid {uid}", pid=pid, uid=uid, is_root=uid == 0, login_uid=_login_of(pid))


def _login_of(pid: int) -> int | None:
    """Whom the process was started by, also where that became root since; None when nobody logged in, or the kernel keeps no
    account of it."""
    try:
        uid = int(Path(f"/proc/{pid}/loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if uid == _NOBODY_LOGGED_IN else uid


def _address_of(accepted: socket.socket) -> Peer:
    return Peer(name=str(accepted.getpeername()[0]))


def _error(code: int, text: str, status: int = 400) -> web.Response:
    return web.json_response({"code": code, "error": text}, status=status)


def _busy(name: str, why: str) -> web.Response:
    response = _error(BUSY, f"{name}: too busy: {why}; try again", 503)
    response.headers["Retry-After"] = "1"
    return response


def _sorry(name: str) -> bytes:
    """For a connection that is not let in."""
    body = json.dumps({"code": BUSY, "error": f"{name}: too busy: too many connections; try again"})
    head = ["HTTP/1.1 503 Service Unavailable", "Content-Type: application/json", f"Content-Length: {len(body)}", "Retry-After: 1"]
    return "\r\n".join([*head, "Connection: close", "", body]).encode()
