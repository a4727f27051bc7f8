"""Requests that no command of ours would make: each is refused with a sentence, changes nothing, and the daemon goes on."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sriov_xdp.lab.host import Daemon, Lab, host_config

DEEP = "[" * 20_000 + "]" * 20_000


class Admin(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("daemon", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Lab("od") as lab:
        guest = lab.namespace("vm")
        yield lab.daemon(host_config(None, [{"guest": guest.name, "port_group": "lan"}], [{"name": "lan", "vlan": "none"}]))


def post(daemon: Daemon, path: str, body: bytes) -> tuple[int, Any]:
    connection = Admin(daemon.run_dir / "admin.sock")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read; the answer is there
        connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    status, document = response.status, json.loads(response.read())
    connection.close()
    return status, document


ODD: dict[str, tuple[str, str]] = {
    "no JSON": ("vf-list", "nonsense"),
    "nothing": ("vf-show", ""),
    "half of it": ("vf-show", '{"vf": "pf0'),
    "another type": ("vf-list", "[]"),
    "a number": ("vf-list", "1"),
    "null": ("vf-show", "null"),
    "an unknown key": ("vf-list", '{"x": 1}'),
    "a number for a name": ("vf-show", '{"vf": 7}'),
    "a list for a name": ("pf-show", '{"name": ["pf0"]}'),
    "a document for a name": ("pf-show", '{"name": {"a": 1}}'),
    "NUL in a name": ("pf-show", '{"name": "pf\\u00000"}'),
    "NUL in a guest": ("vf-attach", '{"guest": "a\\u0000b", "port_group": "lan"}'),
    "NUL in an interface": ("vf-attach", '{"guest": "a", "port_group": "lan", "interface": "e\\u0000"}'),
    "NUL in a namespace": ("vf-attach", '{"guest": "a", "port_group": "lan", "netns": "a\\u0000"}'),
    "a lone surrogate": ("pf-show", '{"name": "\\ud800"}'),
    "a negative limit": ("audit-list", '{"limit": -1}'),
    "a limit of 0": ("audit-list", '{"limit": 0}'),
    "a huge limit": ("audit-list", '{"limit": 1e30}'),
    "an endless limit": ("audit-list", '{"limit": Infinity}'),
    "no number": ("audit-list", '{"limit": NaN}'),
    "half a limit": ("audit-list", '{"limit": 1.5}'),
    "a limit of 400 digits": ("audit-list", f'{{"limit": {"9" * 400}}}'),
    "truth for a limit": ("audit-list", '{"limit": true}'),
    "deep JSON": ("vf-list", DEEP),
    "deep JSON in a field": ("port-set", f'{{"vf": "pf0vf0", "policy": {DEEP}}}'),
    "deep JSON for a file": ("apply", DEEP),
    "a number for a file": ("apply", '{"text": 5}'),
    "an MTU of text": ("switch-set", '{"name": "vSwitch0", "policy": {"guards": {"storm": {"broadcast_pps": "1e3"}}}}'),
    "a huge number of frames": ("switch-set", '{"name": "vSwitch0", "policy": {"guards": {"storm": {"broadcast_pps": 1e30}}}}'),
    "an unknown command": ("no-such-command", "{}"),
    "a command with odd characters": ("vf%00list", "{}"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_request_is_refused_with_a_sentence(daemon: Daemon, odd: str) -> None:
    command, body = ODD[odd]
    before, log = daemon.ask("export"), daemon.log()
    status, document = post(daemon, f"/v1/{command}", body.encode())
    assert 400 <= status < 500, document
    assert {"code", "error"} == set(document)
    assert document["error"].isprintable(), document
    assert before == daemon.ask("export")
    assert "Traceback" not in daemon.log().removeprefix(log)
    assert "internal error" not in daemon.log().removeprefix(log)


def test_bytes_that_are_no_text(daemon: Daemon) -> None:
    status, document = post(daemon, "/v1/vf-show", b'{"vf": "\xff\xfe"}')
    assert (400, 2) == (status, document["code"])
