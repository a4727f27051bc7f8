"""A lab is started by people on terminals, and its own commands must not ask them."""

import os
import subprocess
import sys
from pathlib import Path

_TOLD = """
import sys
from pathlib import Path
from sriov_xdp.lab import host as lab
print(sys.stdin.isatty(), lab.run(sys.executable, "-c", "import sys; print(sys.stdin.isatty())").strip())
lab._BIN = Path(sys.argv[1])
print(lab.Daemon(Path(sys.argv[1]), Path("/nowhere"), {}).command().stdout.strip())
"""


def test_commands_of_a_lab_find_no_terminal_to_ask(tmp_path: Path) -> None:
    command = tmp_path / "sriov-xdp"
    command.write_text("#!/bin/sh\ntest -t 0 && echo True || echo False\n")
    command.chmod(0o755)
    leader, terminal = os.openpty()
    try:
        told = subprocess.run(
            [sys.executable, "-c", _TOLD, str(tmp_path)], stdin=terminal, capture_output=True, text=True, check=True, timeout=60
        )
    finally:
        os.close(leader)
        os.close(terminal)
    assert "True False\nFalse\n" == told.stdout
