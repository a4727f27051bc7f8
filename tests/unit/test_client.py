"""A daemon that hangs, is busy, or is something else is exit code 6 with a text, never a wait without end nor a traceback."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sriov_xdp.api import client
from sriov_xdp.api.client import CommandFailed, call
from sriov_xdp.pf.process.folders import ADMIN_SOCKET

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]"


class Daemon:
    """What listens at the socket; each connection is served by the next of the answers."""

    def __init__(self, run_dir: Path) -> None:
        self.requests: list[str] = []
        self._kept: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(run_dir / ADMIN_SOCKET))

    def serve(self, *answers: Callable[[socket.socket], None]) -> None:
        self._listener.listen(8)

        def run() -> None:
            for answer in answers:
                connection, _address = self._listener.accept()
                self._kept.append(connection)
                answer(connection)

        threading.Thread(target=run, daemon=True).start()

    def listen(self, backlog: int) -> None:
        self._listener.listen(backlog)

    def says(self, data: bytes) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            self.requests.append(connection.recv(1 << 16).split()[1].decode())
            connection.sendall(data)
            connection.close()

        return answer

    def keeps_silent(self, connection: socket.socket) -> None:
        self.requests.append(connection.recv(1 << 16).split()[1].decode())

    def close(self) -> None:
        self._listener.close()
        for connection in self._kept:
            connection.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.close()


@pytest.fixture
def is_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)


def response(status: str, document: object) -> bytes:
    body = json.dumps(document).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def failure(run_dir: Path, command: str) -> tuple[int, str]:
    with pytest.raises(CommandFailed) as failed:
        call(run_dir, command)
    return failed.value.exit_code, str(failed.value)


def test_an_answer_is_a_result(daemon: Daemon, tmp_path: Path) -> None:
    daemon.serve(daemon.says(OK))
    assert [] == call(tmp_path, "vf-list")


@pytest.mark.usefixtures("is_impatient")
def test_a_daemon_that_does_not_answer_is_given_up(daemon: Daemon, tmp_path: Path) -> None:
    daemon.serve(daemon.keeps_silent)
    code, text = failure(tmp_path, "vf-list")
    assert (6, True) == (code, text.startswith(f"daemon: no answer at {tmp_path / ADMIN_SOCKET} within 0 s: it hangs"))


@pytest.mark.usefixtures("is_impatient")
def test_a_daemon_that_does_not_take_connections_is_given_up(daemon: Daemon, tmp_path: Path) -> None:
    daemon.listen(0)
    waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _time in range(2)]
    for connection in waiting:
        connection.setblocking(False)
        connection.connect_ex(str(tmp_path / ADMIN_SOCKET))
    code, text = failure(tmp_path, "vf-list")
    assert (6, True) == (code, "no answer" in text)
    for connection in waiting:
        connection.close()


@pytest.mark.usefixtures("is_impatient")
def test_a_long_apply_is_waited_for_while_the_daemon_answers_other_questions(daemon: Daemon, tmp_path: Path) -> None:
    def answers_late(connection: socket.socket) -> None:
        daemon.keeps_silent(connection)
        late.append(connection)

    def answers_both(connection: socket.socket) -> None:
        daemon.says(OK)(connection)
        late[0].sendall(OK)

    late: list[socket.socket] = []
    daemon.serve(answers_late, daemon.says(OK), daemon.says(OK), answers_both)
    assert [] == call(tmp_path, "apply", {"text": ""})
    assert ["/v1/apply", "/v1/pf-list", "/v1/pf-list", "/v1/pf-list"] == daemon.requests


@pytest.mark.usefixtures("is_impatient")
def test_an_apply_of_a_daemon_that_hangs_is_given_up(daemon: Daemon, tmp_path: Path) -> None:
    daemon.serve(daemon.keeps_silent, daemon.keeps_silent)
    code, text = failure(tmp_path, "apply")
    assert (6, True) == (code, "no answer" in text)


def test_a_busy_daemon_is_asked_again(daemon: Daemon, tmp_path: Path) -> None:
    busy = response("503 Service Unavailable", {"code": 6, "error": "admin: too busy"})
    daemon.serve(daemon.says(busy), daemon.says(busy), daemon.says(OK))
    assert [] == call(tmp_path, "vf-list")


@pytest.mark.usefixtures("is_impatient")
def test_a_daemon_that_stays_busy_says_so_in_the_end(daemon: Daemon, tmp_path: Path) -> None:
    busy = response("503 Service Unavailable", {"code": 6, "error": "admin: too busy: many; try again"})
    daemon.serve(*[daemon.says(busy)] * 100)
    assert (6, "admin: too busy: many; try again") == failure(tmp_path, "vf-list")


def test_a_request_that_is_refused_before_it_was_read_tells_why(daemon: Daemon, tmp_path: Path) -> None:
    def refuses(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(response("413 Too Large", {"code": 2, "error": "request: too large"}))
        connection.close()

    daemon.serve(refuses)
    with pytest.raises(CommandFailed) as failed:
        call(tmp_path, "apply", {"text": "x" * 4_000_000})
    assert (2, "request: too large") == (failed.value.exit_code, str(failed.value))


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", response("200 OK", None)[:-4] + b"oops", b""])
def test_another_program_at_the_socket_is_no_traceback(daemon: Daemon, tmp_path: Path, answer: bytes) -> None:
    daemon.serve(daemon.says(answer))
    assert 6 == failure(tmp_path, "vf-list")[0]


def test_no_socket_is_no_daemon(tmp_path: Path) -> None:
    code, text = failure(tmp_path, "vf-list")
    assert (6, True) == (code, "daemon: not reachable" in text)
