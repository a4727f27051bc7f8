"""The service manager's side channel: readiness, status and watchdog by sd_notify(3).

Silent when nobody listens, so the daemon runs the same from a shell.
"""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Sends one state string (READY=1, STATUS=..., WATCHDOG=1) to $NOTIFY_SOCKET when it is set. A manager that is gone
    is no reason to fail."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect(address)
        channel.sendall(state.encode())


def watchdog_interval_seconds() -> float | None:
    """Half of what the service manager allows between two signs of life; None when it does not watch."""
    allowed_usec = os.environ.get("WATCHDOG_USEC")
    return int(allowed_usec) / 2e6 if allowed_usec else None
