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
        holder = _holder(_sockets_named(name))
        if _is_root(holder):
            held.close()
            raise Claimed(f"{name}: is the name of {f'process {holder.name}' if holder else 'another process'}") from error
    return held


def is_claimed(name: str) -> bool:
    """Whether claim() would be refused, without a moment in which whoever asks holds the name. Raises OSError."""
    sockets = _sockets_named(name)
    return bool(sockets) and _is_root(_holder(sockets))


def _is_root(holder: Path | None) -> bool:
    """Of a process; one that cannot be seen from here is taken for root's."""
    return holder is None or holder.stat().st_uid == _ROOT


def _sockets_named(name: str) -> set[str]:
    """As descriptors show them below /proc."""
    columns = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return {f"socket:[{column[6]}]" for column in columns if column[-1] == f"@{name}"}


def _holder(sockets: set[str]) -> Path | None:
    """The process below /proc that has one of these, None for one that cannot be seen from here."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir()):
                return process
    return None
