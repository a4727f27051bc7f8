"""Talks to the admin socket. Standard library only, so that commands start fast."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

ADMIN_SOCKET = "admin.sock"
UNREACHABLE = 6


class CommandFailed(Exception):
    """The daemon refused or could not be reached; code is the exit code to use."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def call(run_dir: Path, command: str, document: dict[str, Any] | None = None) -> Any:
    """Runs one command in the daemon; returns its result. Raises CommandFailed."""
    path = run_dir / ADMIN_SOCKET
    connection = _UnixConnection(path)
    try:
        connection.request("POST", f"/v1/{command}", json.dumps(document or {}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = json.loads(response.read())
    except PermissionError as error:
        raise CommandFailed(UNREACHABLE, f"{path}: permission denied; run as root or as a member of the socket's group") from error
    except (OSError, http.client.HTTPException) as error:
        text = f"daemon: not reachable at {path}: {error}; start it, or name its --run-dir"
        raise CommandFailed(UNREACHABLE, text) from error
    finally:
        connection.close()
    if response.status != 200:
        raise CommandFailed(body["code"], body["error"])
    return body
