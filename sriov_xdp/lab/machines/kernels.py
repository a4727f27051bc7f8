"""Debian's stock kernels, fetched as packages and unpacked into a cache, never installed.

A kernel's tree is laid over the host's files in a machine (machine.py), so it is laid out as they are, with /usr merged. For
tests/machines only.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[3] / ".tools" / "machines"
_TOOLS = ("kmod", "libkmod2", "busybox-static")  # modprobe for the machine, depmod for us, a shell for the initramfs
_MERGED = ("bin", "sbin", "lib")
_BY_VERSION = re.compile(r"linux-image-(\d+)\.(\d+)\.(\d+)\+deb\d+-amd64")


class MachineError(Exception):
    """A machine could not be made or run; the text says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """An unpacked kernel. package: the name it came under; tree: its modules and their tools."""

    package: str
    tree: Path

    @property
    def release(self) -> str:
        """What `uname -r` says on it."""
        return self.package.removeprefix("linux-image-")

    @property
    def image(self) -> Path:
        """What boots."""
        return self.tree / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """Its folder of modules."""
        return self.tree / "usr" / "lib" / "modules" / self.release


def newest(packages: Iterable[str], branch: tuple[int, int], *, since: int = 0, before: int | None = None) -> str | None:
    """The package with the newest kernel of a stable branch, of releases from since up to, not including, before."""
    found = {}
    for package in packages:
        match = _BY_VERSION.fullmatch(package)
        if (
            match
            and (int(match[1]), int(match[2])) == branch
            and since <= int(match[3])
            and (before is None or int(match[3]) < before)
        ):
            found[int(match[3])] = package
    return found[max(found)] if found else None


def of_branch(branch: tuple[int, int], *, since: int = 0, before: int | None = None) -> Kernel:
    """The newest kernel of a branch that the configured package sources offer, or that is here from an earlier time. Raises
    MachineError."""
    package = newest(_known(), branch, since=since, before=before)
    if package is None:
        _output("apt-get", "update", "-qq")
        package = newest(_known(), branch, since=since, before=before)
    if package is None:
        bounds = f"from {since}" + ("" if before is None else f" to before {before}")
        raise MachineError(
            f"kernel {branch[0]}.{branch[1]}: no package of a release {bounds} in the configured Debian sources; "
            f"add a source that has one (linux-image-{branch[0]}.{branch[1]}.N+debN-amd64)"
        )
    return fetch(package)


def of_distribution() -> Kernel:
    """What this Debian release installs as linux-image-amd64. Raises MachineError."""
    depends = _output("apt-cache", "depends", "linux-image-amd64")
    match = re.search(r"Depends: (linux-image-\S+-amd64)", depends)
    if match is None:
        raise MachineError("package linux-image-amd64: depends on no kernel; the configured sources should be Debian's")
    return fetch(match[1])


def fetch(package: str) -> Kernel:
    """Downloads and unpacks a kernel, unless it is in the cache. Raises MachineError."""
    kernel = Kernel(package=package, tree=CACHE / package)
    if not kernel.tree.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="unpacking-") as folder:
            _unpack(Kernel(package=package, tree=Path(folder) / "tree"), Path(folder))
            (Path(folder) / "tree").rename(kernel.tree)
    return kernel


def _unpack(kernel: Kernel, folder: Path) -> None:
    for name in _MERGED:
        (kernel.tree / "usr" / name).mkdir(parents=True)
        (kernel.tree / name).symlink_to(f"usr/{name}")
    _download(folder, kernel.package, *_TOOLS)
    for archive in folder.glob("*.deb"):
        _extract(archive, kernel.tree)
    shutil.rmtree(kernel.tree / "etc", ignore_errors=True)  # the host's own is to be seen in the machine
    (kernel.tree / "boot" / f"System.map-{kernel.release}").unlink(missing_ok=True)
    # kmod does what the name that it is called by says.
    depmod = ["depmod", "-b", str(kernel.tree), kernel.release]
    done = subprocess.run(depmod, executable=kernel.tree / "usr/bin/kmod", capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"kernel {kernel.release}: depmod: {done.stderr.strip()}")


def _download(folder: Path, *packages: str) -> None:
    command = ["apt-get", "download", "-qq", *packages]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
        _output("apt-get", "update", "-qq")  # lists older than what the sources have now
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MachineError(f"packages {' '.join(packages)}: cannot be downloaded: {done.stderr.strip()}")


def _extract(archive: Path, tree: Path) -> None:
    """As dpkg -x, but into the merged folders."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as packed:
        command = ["tar", "-x", "--keep-directory-symlink", "--exclude=./usr/share", "-f", "-", "-C", str(tree)]
        unpacked = subprocess.run(command, stdin=packed.stdout, capture_output=True, text=True, check=False)
    if packed.returncode or unpacked.returncode:
        raise MachineError(f"package {archive.name}: cannot be unpacked: {unpacked.stderr.strip()}")


def _known() -> list[str]:
    """What the sources offer, and what is here."""
    return [*_output("apt-cache", "pkgnames", "linux-image-").split(), *(path.name for path in CACHE.glob("linux-image-*"))]


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout
