"""Processes of the product's commands without the second that Python takes to import them: a server that has imported all
forks one for each. What runs is the same, with arguments, environment, working directory and descriptors of its own.

A suite starts thousands. Demonstration, benchmark, and tests that start a command themselves, run them as users do.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from sriov_xdp.lab.launching import ByExec, Process

_COMMAND = "sriov-xdp"
_IMPORTS = "PYTHONPATH"  # by which another build is started
# What commands import when they need it.
_MODULES = (
    "sriov_xdp.cli.main",
    "sriov_xdp.cli.tables",
    "sriov_xdp.api.config",
    "sriov_xdp.api.exposition",
    "sriov_xdp.api.server",
    "sriov_xdp.api.yaml_text",
    "sriov_xdp.pf.process.recover",
    "sriov_xdp.pf.process.service",
    "sriov_xdp.pf.process.teardown",
)
_NET = "--net="
_CLONE_NEWNET = 0x40000000
_MOST_BYTES = 1 << 17
_DESCRIPTORS = 3


class Forked:
    """One process, as subprocess.Popen shows its own. Safe from one thread at a time."""

    def __init__(self, forks: "Forks", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._forks = forks
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit code, negative for a signal, None while it runs."""
        if self.returncode is None and select.select([self._pidfd], [], [], 0)[0]:
            self.returncode = self._forks.reap(self.pid)
            os.close(self._pidfd)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None and not select.select([self._pidfd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(_COMMAND, timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """One that has ended gets none."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The server, started with the first process. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._by_exec = ByExec()

    def run(self, command: Sequence[str], timeout_seconds: float) -> subprocess.CompletedProcess[str]:
        """As Launcher.run()."""
        if not _is_own(command):
            return self._by_exec.run(command, timeout_seconds)
        with Path(os.devnull).open("rb") as nothing, tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = self._fork(command, os.environ, Path.cwd(), (nothing, output, errors))
            try:
                process.wait(timeout_seconds)
            finally:
                process.kill()
            process.wait()
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(command, process.wait(), output.read(), errors.read())

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: IO[bytes]) -> Process:
        """As Launcher.start()."""
        if not _is_own(command) or environment.get(_IMPORTS) != os.environ.get(_IMPORTS):
            return self._by_exec.start(command, environment, folder, log)
        with Path(os.devnull).open("rb") as nothing:
            return self._fork(command, environment, folder, (nothing, log, log))

    def _fork(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, streams: Sequence[IO[Any]]) -> "Forked":
        wanted = {"command": list(command), "environment": dict(environment), "folder": str(folder)}
        return Forked(self, self._ask(wanted, [stream.fileno() for stream in streams])["pid"])

    def reap(self, pid: int) -> int:
        """The exit code of one that has ended."""
        return int(self._ask({"reap": pid})["code"])

    def _ask(self, wanted: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        with self._lock:
            if self._socket is None:
                self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                command = [sys.executable, __file__, str(theirs.fileno())]
                subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
                theirs.close()
            socket.send_fds(self._socket, [json.dumps(wanted).encode()], descriptors)
            return dict(json.loads(self._socket.recv(_MOST_BYTES)))


def _is_own(command: Sequence[str]) -> bool:
    """Whether it is one of this interpreter's own commands, or some lines that end in one, and no other build's."""
    words = command[2:] if _is_elsewhere(command) else command
    return words[0] == str(Path(sys.executable).parent / _COMMAND) or [*words[:2]] == [sys.executable, "-c"]


def _is_elsewhere(command: Sequence[str]) -> bool:
    """Whether it is to run in a network namespace."""
    return command[0] == "nsenter" and command[1].startswith(_NET)


def serve(number: int) -> NoReturn:
    """The server, until its socket ends. Starts no thread, as only the one that forks goes on in the other process."""
    asked = socket.socket(fileno=number)
    for module in _MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _flags, _address = socket.recv_fds(asked, _MOST_BYTES, _DESCRIPTORS)
        if not data:
            os._exit(0)
        wanted = json.loads(data)
        if "reap" in wanted:
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(wanted["reap"], 0)[1])}
        else:
            answer = {"pid": _fork(asked, wanted, descriptors)}
        asked.send(json.dumps(answer).encode())


def _fork(asked: socket.socket, wanted: dict[str, Any], descriptors: Sequence[int]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asked.close()
            _become(wanted, descriptors)
            code = _run()
        except BaseException:  # noqa: BLE001  # as the interpreter does
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _become(wanted: dict[str, Any], descriptors: Sequence[int]) -> None:
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = wanted["command"]
    if _is_elsewhere(sys.argv):
        with Path(sys.argv[1].removeprefix(_NET)).open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) < 0:
                raise OSError(ctypes.get_errno(), sys.argv[1])
        del sys.argv[:2]


def _run() -> int:
    from sriov_xdp.cli.main import run

    try:
        if sys.argv[0] == sys.executable:
            code = sys.argv[2]
            sys.argv[:3] = ["-c"]
            exec(code, {"__name__": "__main__"})  # noqa: S102  # a test's own lines
        else:
            run()
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code or 0
    return 0


if __name__ == "__main__":
    del sys.path[0]  # where tests are, which no command can import
    serve(int(sys.argv[1]))
