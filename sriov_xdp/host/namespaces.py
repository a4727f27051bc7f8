"""Network namespaces by name, as iproute2 keeps them under /run/netns.

The calling thread enters a namespace only within in_namespace(); nothing else may run in that thread meanwhile.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sriov_xdp.host.errors import HostError

NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(name: str) -> Path:
    """Where a named namespace is mounted."""
    return NAMED / name


def identity(name: str) -> tuple[int, int] | None:
    """Device and inode of the namespace behind a name, None when there is none; tells a recreated one from the old."""
    try:
        status = path_of(name).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def is_own(name: str) -> bool:
    """Whether the name stands for the namespace that this process runs in."""
    own = Path("/proc/self/ns/net").stat()
    return identity(name) == (own.st_dev, own.st_ino)


def create(name: str) -> None:
    """Creates a named namespace with its loopback up. Raises HostError."""
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        raise HostError(f"namespace {name}: could not be created: {made.stderr.strip()}")
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], capture_output=True, check=False)


def remove(name: str) -> None:
    """Removes a name; the namespace goes when its last user does. Absent is fine."""
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@contextlib.contextmanager
def in_namespace(name: str) -> Iterator[None]:
    """This thread in the named namespace, and back. Raises HostError when there is no such namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            target = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise HostError(f"namespace {name}: not found under {NAMED}; create it with `ip netns add {name}`") from error
        except OSError as error:
            raise HostError(f"namespace {name}: {error}") from error
        try:
            _enter(target, name)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _enter(home, "of this process")
    finally:
        os.close(home)


def _enter(fd: int, name: str) -> None:
    if _libc.setns(fd, CLONE_NEWNET) < 0:
        number = ctypes.get_errno()
        raise HostError(f"namespace {name}: setns: {os.strerror(number)}; needs CAP_SYS_ADMIN")
