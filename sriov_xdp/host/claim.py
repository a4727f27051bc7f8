"""Claims that end with their process: names that one process at a time has in a network namespace, however many copies there are of
what it keeps in files. Abstract sockets, so there is nothing to clean up. For the pf package.
"""

import contextlib
import socket
from pathlib import Path

from sriov_xdp.host.errors import HostError

_ROOT = 0


class Claimed(HostError):
    """Another process has the name."""


def claim(name: str) -> socket.socket:
    """Holds the name until the socket is closed. Raises Claimed. Somebody who is not root keeps nobody from anything: then what is
    returned holds no name."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        held.bind(f"\0{name}")
    except OSError as error:
        holder = _holder(f"@{name}")
        if holder is None or holder.stat().st_uid == _ROOT:
            held.close()
            raise Claimed(f"{name}: is the name of {f'process {holder.name}' if holder else 'another process'}") from error
    return held


def _holder(shown: str) -> Path | None:
    """The process below /proc that has a socket of a name, None for one that cannot be seen from here."""
    columns = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    wanted = {f"socket:[{column[6]}]" for column in columns if column[-1] == shown}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and any(str(fd.readlink()) in wanted for fd in (process / "fd").iterdir()):
                return process
    return None
