"""Programs that people run in guests, from where deploy/setup unpacked them: with their own libraries, and with nothing of theirs
in the host's folders."""

import os
import subprocess
from pathlib import Path
from typing import Self

from sriov_xdp.lab.host import Namespace

_PROGRAMS = Path(__file__).resolve().parents[1] / ".tools" / "programs"
_GROUP = "frrvty:x:65533:root\n"  # in which FRR wants to be; the host has none


class RealProgram:
    """A program in a guest, as long as the context."""

    def __init__(self, guest: Namespace, folder: Path, program: str, *arguments: str) -> None:
        libraries = sorted({str(path.parent) for path in _PROGRAMS.rglob("*.so*")})
        group = folder / "group"
        group.write_text(Path("/etc/group").read_text() + _GROUP)
        command = f'mount --bind "{group}" /etc/group && exec "$@"'
        self._log = (folder / f"{Path(program).name}-{guest.name}.log").open("ab")
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", guest.name, "sh", "-c", command, program, str(_PROGRAMS / program), *arguments],
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ended: object) -> None:
        self.end()

    def end(self) -> None:
        """As an operator ends it."""
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
