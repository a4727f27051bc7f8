"""Where the C programs are, and what identifies a build of them. For the datapath package."""

import hashlib
import platform
from pathlib import Path

_INSTALLED = Path(__file__).resolve().parents[1] / "bpf"
_CHECKOUT = Path(__file__).resolve().parents[2] / "bpf"


def source_dir() -> Path:
    """The folder with the C programs: inside an installed package, else beside it in a checkout."""
    return _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


def build_id() -> str:
    """Names the pins of one build: changes with every source byte, with the kernel and with the loader."""
    digest = hashlib.sha256(platform.release().encode())
    loader = Path(__file__).with_name("loader.py")
    add_sources(digest)
    _add(digest, loader)
    return digest.hexdigest()[:16]


def add_sources(digest: "hashlib._Hash") -> None:
    """Every source byte."""
    for path in sorted(source_dir().rglob("*.[ch]")):
        _add(digest, path)


def _add(digest: "hashlib._Hash", path: Path) -> None:
    digest.update(path.name.encode() + b"\0" + path.read_bytes())
