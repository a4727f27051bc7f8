"""The admin socket and the metrics endpoint, on one asyncio loop in a thread of its own (aiohttp).

POST /v1/COMMAND with a JSON document; 200 with the result, or an error document whose "code" is the CLI's exit code. All
work is submitted to the PF's writer; this thread holds no state.
"""

import asyncio
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ValidationError

from sriov_xdp.api import sentences
from sriov_xdp.api.commands import COMMANDS
from sriov_xdp.api.config import MAX_FINDINGS
from sriov_xdp.api.yaml_text import MAX_FILE_BYTES
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.host.errors import HostError
from sriov_xdp.pf.context import Actor, Context
from sriov_xdp.pf.errors import Conflict, Invalid, NotFound, PfError, Refused
from sriov_xdp.store.errors import StoreError

_log = logging.getLogger("sriov_xdp.api")
_PEER = struct.Struct("iII")
_START_SECONDS = 10
Submit = Callable[[Callable[[], Any]], "Future[Any]"]

EXIT_CODES: dict[type[Exception], int] = {NotFound: 3, Refused: 4, Conflict: 5, Invalid: 1, PfError: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where to listen. metrics None: no metrics endpoint."""

    admin_socket: Path
    metrics: tuple[str, int] | None


class Server:
    """Runs until close(). expose: the writer's work of one scrape, whose result is the text."""

    def __init__(self, endpoints: Endpoints, context: Context, submit: Submit, expose: Callable[[], Any]) -> None:
        self._endpoints = endpoints
        self._context = context
        self._submit = submit
        self._expose = expose
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api", daemon=True)

    def start(self) -> None:
        """Listens when this returns. Raises OSError."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(_START_SECONDS)

    async def _start(self) -> None:
        admin = web.Application(client_max_size=2 * MAX_FILE_BYTES)
        admin.router.add_post("/v1/{command}", self._run_command)
        self._admin = web.AppRunner(admin, access_log=None)
        await self._admin.setup()
        await web.SockSite(self._admin, _bind(self._endpoints.admin_socket)).start()
        self._metrics: web.AppRunner | None = None
        if self._endpoints.metrics:
            metrics = web.Application()
            metrics.router.add_get("/metrics", self._scrape)
            self._metrics = web.AppRunner(metrics, access_log=None)
            await self._metrics.setup()
            host, port = self._endpoints.metrics
            await web.TCPSite(self._metrics, host, port).start()

    def close(self) -> None:
        """Stops listening and ends the thread."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_SECONDS)
        self._endpoints.admin_socket.unlink(missing_ok=True)

    async def _stop(self) -> None:
        await self._admin.cleanup()
        if self._metrics:
            await self._metrics.cleanup()

    async def _run_command(self, request: web.Request) -> web.Response:
        name = request.match_info["command"]
        if name not in COMMANDS:
            return _error(1, f"command {name}: unknown; client and daemon are of different versions")
        model, run = COMMANDS[name]
        try:
            document = model.model_validate(await request.json())
        except (ValidationError, json.JSONDecodeError) as error:
            return _error(2, _validation_text(model, error))
        actor = _actor(request)
        try:
            result = await asyncio.wrap_future(self._submit(lambda: run(self._context, document, actor)))
        except (PfError, HostError, DataPathError, StoreError) as error:
            return _error(next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1), str(error))
        except Exception:  # noqa: BLE001  # a fault of ours must not end the daemon
            _log.exception("command %s: internal error", name)
            return _error(1, f"command {name}: internal error; the daemon's log has the details")
        return web.json_response(result)

    async def _scrape(self, _request: web.Request) -> web.Response:
        body = await asyncio.wrap_future(self._submit(self._expose))
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _bind(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    former = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(former)
    return listener


def _actor(request: web.Request) -> Actor:
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport else None
    if peer is None:
        return Actor(pid=0, uid=0)
    pid, uid, _gid = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return Actor(pid=pid, uid=uid)


def _error(code: int, text: str) -> web.Response:
    return web.json_response({"code": code, "error": text}, status=400)


def _validation_text(model: type[BaseModel], error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "\n".join(str(finding) for finding in sentences.findings(model, error, None, MAX_FINDINGS))
    return f"request: not JSON: {error}"
