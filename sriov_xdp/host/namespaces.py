"""Network namespaces: by name, as iproute2 keeps them under /run/netns, or by an absolute path (/proc/PID/ns/net, a container
runtime's file).

What a namespace *is* is device and inode of its file, which another one may get when it is gone; in a boot no other gets its
cookie. A name can come to stand for another. The calling thread enters a namespace only within in_namespace(); nothing else may
run in that thread meanwhile. For the pf and guest packages.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sriov_xdp.host.errors import HostError

NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_MNT_DETACH = 2
_SIOCSIFFLAGS = 0x8914
_NS_GET_NSTYPE = 0xB703
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_IFF_UP = 1
_IFREQ_FLAGS = struct.Struct("16sH22x")
_libc = ctypes.CDLL(None, use_errno=True)

Identity = tuple[int, int]


def path_of(name: str) -> Path:
    """The file behind a name or an absolute path."""
    return Path(name) if name.startswith("/") else NAMED / name


def identity(name: str) -> Identity | None:
    """Device and inode of the namespace behind a name or path, None when there is none; tells a recreated one from the old. An
    empty file under a name is none either: of one who died before the namespace was mounted on it."""
    try:
        status = path_of(name).stat()
    except OSError:  # also of a process that is gone, or whose files are another user's
        return None
    is_empty = stat.S_ISREG(status.st_mode) and not status.st_size and status.st_dev != _device_of_namespaces()
    return None if is_empty and not name.startswith("/") else (status.st_dev, status.st_ino)


@cache
def _device_of_namespaces() -> int:
    return Path("/proc/self/ns/net").stat().st_dev


def name_of(wanted: Identity) -> str | None:
    """A name under which a namespace is known now; None when it has none."""
    names = sorted(path.name for path in NAMED.iterdir()) if NAMED.is_dir() else []
    return next((name for name in names if identity(name) == wanted), None)


def is_named(name: str) -> bool:
    """Whether it is one of the names that iproute2 keeps, also where a path says it."""
    return path_of(name).parent == NAMED


def is_network(name: str) -> bool:
    """Whether what is there is a network namespace (NS_GET_NSTYPE of linux/nsfs.h)."""
    try:
        fd = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False
    finally:
        os.close(fd)


def is_own(name: str) -> bool:
    """Whether the name stands for the namespace that this process runs in."""
    own = Path("/proc/self/ns/net").stat()
    return identity(name) == (own.st_dev, own.st_ino)


def own_identity() -> Identity:
    """Of the namespace that this thread is in."""
    own = Path("/proc/thread-self/ns/net").stat()
    return own.st_dev, own.st_ino


def can_die_unseen(name: str) -> bool:
    """Whether the end of the namespace changes no file under /run/netns, as with a process's: then somebody has to look."""
    # Of each VF each second, and a Path takes three times as long.
    return name.startswith("/") or os.path.islink(f"{NAMED}/{name}")  # noqa: PTH114


class NewNamespace:
    """A namespace without a name yet, loopback up. It ends with this object unless it got a name, so that one whose maker dies
    before it could write down what it made leaves nothing behind."""

    def __init__(self) -> None:
        """Raises HostError."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.unshare(CLONE_NEWNET) < 0:
                raise HostError(f"namespace: could not be created: {_last_error()}; needs CAP_SYS_ADMIN")
            try:
                self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                _raise_loopback()
                self.cookie = _own_cookie()
            finally:
                _enter(home, "of this process")
        finally:
            os.close(home)
        status = os.fstat(self._fd)
        self.identity: Identity = (status.st_dev, status.st_ino)

    def give_name(self, name: str) -> None:
        """As `ip netns add` does. Raises HostError when the name is taken."""
        path = NAMED / name
        try:
            _share_names()
            if path.exists() and identity(name) is None:
                path.unlink()
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        except OSError as error:
            raise HostError(f"namespace {name}: could not be created: {error}") from error
        if _mount(f"/proc/self/fd/{self._fd}", path, _MS_BIND) < 0:
            text = _last_error()
            path.unlink(missing_ok=True)
            raise HostError(f"namespace {name}: could not be mounted on {path}: {text}; needs CAP_SYS_ADMIN")

    def close(self) -> None:
        """Lets go of it; a name keeps it."""
        os.close(self._fd)


def create(name: str) -> None:
    """A named namespace with its loopback up. Raises HostError."""
    made = NewNamespace()
    try:
        made.give_name(name)
    finally:
        made.close()


def interface_number(name: str, interface: str) -> int | None:
    """The ifindex of a device in a namespace, None when there is none of that name. Raises HostError."""
    with in_namespace(name):
        try:
            return socket.if_nametoindex(interface)
        except OSError:
            return None


def cookie(name: str) -> int:
    """What tells a namespace from all others of this boot; 0 where there is none. For what is not to happen to another one; other
    questions have identity(), which enters nothing."""
    with contextlib.suppress(HostError), in_namespace(name):
        return _own_cookie()
    return 0


def names_folder() -> str:
    """What the folder of names is here, as text: another one in a mount namespace of its own. "" where there is none."""
    try:
        status = NAMED.stat()
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def remove(name: str) -> None:
    """Removes a name, as `ip netns del` does; the namespace goes when its last user does. Absent is fine."""
    path = NAMED / name
    _libc.umount2(os.fsencode(path), _MNT_DETACH)
    path.unlink(missing_ok=True)


def processes_in(wanted: Identity) -> list[int]:
    """Processes that live in a namespace, with one of their threads at least."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for task in (entry / "task").iterdir():
                status = (task / "ns" / "net").stat()
                if (status.st_dev, status.st_ino) == wanted:
                    found.add(int(entry.name))
                    break
    return sorted(found)


@contextlib.contextmanager
def in_namespace(name: str) -> Iterator[None]:
    """This thread in the named namespace, and back. Raises HostError when there is no such namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            target = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            remedy = "name a process that lives" if name.startswith("/") else f"create it with `ip netns add {name}`"
            raise HostError(f"namespace {name}: not found at {path_of(name)}; {remedy}") from error
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
        raise HostError(f"namespace {name}: setns: {_last_error()}; needs CAP_SYS_ADMIN")


def _own_cookie() -> int:
    """Of the thread's namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ_FLAGS.pack(b"lo", _IFF_UP))


def _share_names() -> None:
    """Makes /run/netns a mount that other mount namespaces follow, once, as iproute2 does."""
    NAMED.mkdir(mode=0o755, parents=True, exist_ok=True)
    if _mount("", NAMED, _MS_SHARED | _MS_REC) < 0:
        _mount(str(NAMED), NAMED, _MS_BIND | _MS_REC)
        if _mount("", NAMED, _MS_SHARED | _MS_REC) < 0:
            raise HostError(f"{NAMED}: could not be shared: {_last_error()}; needs CAP_SYS_ADMIN")


def _mount(source: str, target: Path, flags: int) -> int:
    return int(_libc.mount(source.encode(), os.fsencode(target), b"none", ctypes.c_ulong(flags), None))


def _last_error() -> str:
    return os.strerror(ctypes.get_errno())
