"""What who is root in a guest does to keep its adapter from coming."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

from sriov_xdp.lab.host import Namespace, wait_until


@contextlib.contextmanager
def deleting(guest: Namespace, interface: str = "eth0") -> Iterator[None]:
    """It deletes an interface as soon as it comes, some thousand times a second."""
    script = f"yes 'link del {interface}' | ip -n {guest.name} -force -batch - 2>/dev/null"
    process = subprocess.Popen(["nice", "-n", "-20", "sh", "-c", script], start_new_session=True)
    try:
        guest.ip("link", "add", interface, "type", "veth", "peer", "name", "first")
        wait_until(lambda: interface not in guest.ip("-br", "link"), "the first one is deleted")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
