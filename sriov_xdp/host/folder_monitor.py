"""Names that come and go in a folder, as the kernel tells of them (inotify): for who follows namespaces and pins."""

import os
import struct
from pathlib import Path

from pyroute2.inotify.inotify_fd import Inotify

_INOTIFY_EVENT, _IN_Q_OVERFLOW = struct.Struct("=iIII"), 0x4000
_RECEIVE_BYTES = 1 << 16


def names_in(events: bytes) -> frozenset[str] | None:
    """Of struct inotify_events (linux/inotify.h); None where some were lost."""
    found, at = set(), 0
    while at + _INOTIFY_EVENT.size <= len(events):
        _watch, mask, _cookie, name_bytes = _INOTIFY_EVENT.unpack_from(events, at)
        if mask & _IN_Q_OVERFLOW:
            return None
        at += _INOTIFY_EVENT.size
        found.add(os.fsdecode(events[at : at + name_bytes].rstrip(b"\0")))
        at += name_bytes
    return frozenset(found)


class FolderMonitor:
    """Changes of what a folder holds: of the names of namespaces (a listener that we hold inside a namespace keeps it alive after
    its name is gone), of pins that somebody else removes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._inotify = Inotify(path=[str(folder)])
        self._inotify.bind()
        os.set_blocking(self._inotify.fd, False)

    def fileno(self) -> int:
        """For a selector."""
        return int(self._inotify.fd)

    def drain(self) -> frozenset[str] | None:
        """Names that came or went, each perhaps to come or go again since; None after a burst that lost some, when everything is to
        be looked at."""
        try:
            data = os.read(self._inotify.fd, _RECEIVE_BYTES)
        except BlockingIOError:
            return frozenset()
        return names_in(data)

    def close(self) -> None:
        """Ends the watch."""
        self._inotify.close()
