"""Talks to the admin socket. Without any library, so that commands start fast.

No command waits for ever. The daemon has CONNECT_SECONDS to take the connection (and to find room for a command, when it is
busy), and ANSWER_SECONDS to answer. Only `apply` may take longer, as whole hosts are made by it: while it runs, the daemon
must answer another question every ANSWER_SECONDS.
"""

import contextlib
import http.client
import json
import select
import socket
import time
from pathlib import Path
from typing import Any

from sriov_xdp.faults import Fault
from sriov_xdp.pf.process.folders import ADMIN_SOCKET

UNREACHABLE = 6
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 120.0
_LONG, _QUESTION = frozenset({"apply"}), "pf-list"
_BUSY_STATUS = 503
_RETRY_SECONDS = 0.05


class CommandFailed(Fault):
    """The daemon refused or could not be reached."""

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """A listener whose queue is full says so at once, whatever the socket's time-out."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_SECONDS)
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                self.sock.connect(str(self._path))
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError from error
            time.sleep(_RETRY_SECONDS)


def call(run_dir: Path, command: str, document: dict[str, Any] | None = None) -> Any:
    """Runs one command in the daemon; returns its result. Raises CommandFailed."""
    body = json.dumps(document or {})
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        status, answer = _exchange(run_dir, command, body)
        if status != _BUSY_STATUS or time.monotonic() > deadline:
            break
        time.sleep(_RETRY_SECONDS)
    if status != http.client.OK:
        raise CommandFailed(answer["code"], answer["error"])
    return answer


def _exchange(run_dir: Path, command: str, body: str) -> tuple[int, Any]:
    """Status and document of the answer. Raises CommandFailed."""
    path = run_dir / ADMIN_SOCKET
    connection, seconds = _UnixConnection(path), CONNECT_SECONDS
    try:
        connection.connect()
        seconds = ANSWER_SECONDS
        connection.sock.settimeout(ANSWER_SECONDS)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read; the answer says why
            connection.request("POST", f"/v1/{command}", body, {"Content-Type": "application/json"})
        while command in _LONG and not _has_answered(connection.sock):
            _exchange(run_dir, _QUESTION, "{}")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except PermissionError as error:
        raise CommandFailed(UNREACHABLE, f"{path}: permission denied; run as root or as a member of the socket's group") from error
    except TimeoutError as error:
        text = f"daemon: no answer at {path} within {seconds:.0f} s: it hangs, or has more to do than it can"
        raise CommandFailed(UNREACHABLE, f"{text}; its log tells more, and a restart leaves traffic as it is") from error
    except ValueError as error:
        raise CommandFailed(UNREACHABLE, f"daemon: {path} does not answer with JSON: {error}; is it another program's?") from error
    except (OSError, http.client.HTTPException) as error:
        text = f"daemon: not reachable at {path}: {error}; start it, or name its --run-dir"
        raise CommandFailed(UNREACHABLE, text) from error
    finally:
        connection.close()


def _has_answered(answering: socket.socket) -> bool:
    """Whether an answer came within ANSWER_SECONDS."""
    poll = select.poll()
    poll.register(answering, select.POLLIN)
    return bool(poll.poll(ANSWER_SECONDS * 1000))
