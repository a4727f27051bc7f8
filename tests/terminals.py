"""A command whose standard input is a terminal, on which somebody answers."""

import os
import pty
import subprocess


def on_terminal(command: list[str], answer: str) -> subprocess.CompletedProcess[str]:
    """Output and errors go to pipes, so that they can be read apart."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        return subprocess.run(command, stdin=theirs, capture_output=True, text=True, check=False, timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
