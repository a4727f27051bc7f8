"""How a lab runs the product's commands: as users do, unless somebody says otherwise. For the lab and the tests."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol


class Process(Protocol):
    """A daemon, as subprocess.Popen shows it."""

    pid: int
    returncode: int | Any

    def poll(self) -> int | None:
        """The exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL."""


class Launcher(Protocol):
    """Runs commands."""

    def run(self, command: Sequence[str], timeout_seconds: float) -> subprocess.CompletedProcess[str]:
        """To its end; it finds no terminal to ask. Raises subprocess.TimeoutExpired."""

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: IO[bytes]) -> Process:
        """Whatever it says goes to the log."""


class ByExec:
    """As a shell does it."""

    def run(self, command: Sequence[str], timeout_seconds: float) -> subprocess.CompletedProcess[str]:
        """As Launcher.run()."""
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout_seconds
        )

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: IO[bytes]) -> Process:
        """As Launcher.start()."""
        return subprocess.Popen(command, env=dict(environment), cwd=folder, stdout=log, stderr=log)


_launchers: list[Launcher] = [ByExec()]


def launcher() -> Launcher:
    """The way that was said last."""
    return _launchers[-1]


def launch_by(other: Launcher) -> None:
    """From now on, in this process."""
    _launchers.append(other)
