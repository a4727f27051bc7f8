"""The BPF file system, where programs, maps and links are pinned."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sriov_xdp.host.errors import HostError

MOUNT_POINT = Path("/sys/fs/bpf")


def is_mounted() -> bool:
    """Whether bpffs is mounted where everybody expects it."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return any(line.split()[1:3] == [str(MOUNT_POINT), "bpf"] for line in mounts)


def folders() -> Iterator[Path]:
    """All folders of all mounts of it that are seen here, down to the second below a mount's root. Raises OSError."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _source, point, kind = line.split()[:3]
        if kind == "bpf":
            root = Path(point)
            yield from (root, *(path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.is_dir()))


def ensure(folder: Path) -> None:
    """Mounts bpffs when missing and makes a folder in it that only root may enter: the pins' permissions are the only
    guard of the maps."""
    if MOUNT_POINT in folder.parents and not is_mounted():
        done = subprocess.run(["mount", "-t", "bpf", "bpf", str(MOUNT_POINT)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise HostError(f"bpffs: could not be mounted on {MOUNT_POINT}: {done.stderr.strip()}; needs CAP_SYS_ADMIN")
    try:
        above = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if _file_system_of(above) != "bpf":
            raise HostError(f"{folder}: not usable for pins: is on no bpffs; choose a folder under {MOUNT_POINT}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise HostError(f"{folder}: not usable for pins: {error}; choose a folder under {MOUNT_POINT}") from error


def _file_system_of(path: Path) -> str:
    """The type of the file system that holds it, as proc(5) names it in mountinfo."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    rows = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return next((row[row.index("-") + 1] for row in rows if row[2] == number), "")
