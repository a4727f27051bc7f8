"""Compiled programs, kept in a folder: a start after a reboot needs no compiler, which is most of what a first start takes.

A file is one build's bytecode with its marks, as the compiler left it, named by the C sources and the machine that it is for; no
map, kernel or host stands in it. What is not whole, or could have been written by anybody but its owner, is as good as not there. A
folder that cannot be written keeps nothing. For the loader.
"""

import contextlib
import hashlib
import json
import os
import platform
import stat
from collections.abc import Mapping
from pathlib import Path

from sriov_xdp.datapath.sources import add_sources

_MOST_FILES = 4  # of other builds, as that of a second version on one host
SUFFIX = ".bytecode"


def file_of_build(folder: Path) -> Path:
    """Where the bytecode of this product's sources is kept for this kind of machine."""
    digest = hashlib.sha256(platform.machine().encode())
    add_sources(digest)
    return folder / f"{digest.hexdigest()[:16]}{SUFFIX}"


def find(path: Path) -> dict[str, bytes] | None:
    """Bytecode by program. None when it is not there, or not as store() left it."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
            if not _is_ours(os.fstat(file.fileno())) or not _is_ours(path.parent.stat()):
                return None
            digest, _, text = file.read().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    return {str(name): bytes.fromhex(code) for name, code in json.loads(text).items()}


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def store(path: Path, codes: Mapping[str, bytes]) -> None:
    """Keeps bytecode by program, whole or not at all, and forgets the oldest of more than a few builds."""
    text = json.dumps({name: code.hex() for name, code in codes.items()}).encode()
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
        fresh.chmod(0o600)
        fresh.rename(path)
        kept = sorted(path.parent.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime)
        for old in kept[:-_MOST_FILES]:
            old.unlink()
    with contextlib.suppress(OSError):
        fresh.unlink(missing_ok=True)
