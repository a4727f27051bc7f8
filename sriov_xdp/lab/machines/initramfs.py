"""The small first root of a machine: loads what reaches the host's files, lays the kernel's tree and a memory file system over
them, and hands over to a script that runs one command and powers the machine off.

No tool of the host makes it: a newc archive is a header and the bytes, for each file. For machine.py.
"""

import gzip
import lzma
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sriov_xdp.lab.machines.kernels import Kernel, MachineError

MARK = "sriov-xdp-machine"  # on the kernel's command line: this is one of ours
HOST_TAG, KERNEL_TAG, OUT_TAG = "host", "kernel", "out"
OUT = Path("/run/out")
COMMAND_FILE, LOG_FILE, EXIT_FILE = "command", "log", "exit"
_WANTED = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_SHARE = "trans=virtio,version=9p2000.L,msize=512000"

# The trap speaks before the kernel panics over a first process that ended, which would look like what tests are after.
_INIT = f"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /host /kernel /upper /new
/bin/busybox --install -s /bin
mount -t proc proc /proc
trap 'echo "machine: cannot start"; echo o > /proc/sysrq-trigger; sleep 60' EXIT
set -e
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod $module; done
mount -t 9p -o {_SHARE},cache=loose,ro {HOST_TAG} /host
mount -t 9p -o {_SHARE},cache=loose,ro {KERNEL_TAG} /kernel
mount -t tmpfs tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/kernel:/host,upperdir=/upper/files,workdir=/upper/work overlay /new
for place in proc sys dev; do mount --move /$place /new/$place; done
mount -t tmpfs tmpfs /new/run
mkdir -p /new/run/netns /new{OUT} /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
mount -t bpf bpf /new/sys/fs/bpf
mount -t debugfs debugfs /new/sys/kernel/debug
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
mount -t 9p -o {_SHARE} {OUT_TAG} /new{OUT}
cp /second /new/run/second
exec switch_root /new /bin/sh /run/second
"""

# It ends by waiting in the shell itself: while the machine powers off, no program can be read any more.
_SECOND = f"""#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mkfifo /run/never
trap 'sync; echo o > /proc/sysrq-trigger; read nothing < /run/never' EXIT
ip link set lo up
/bin/sh {OUT}/{COMMAND_FILE} < /dev/null > {OUT}/{LOG_FILE} 2>&1
echo $? > {OUT}/{EXIT_FILE}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of an archive."""

    content: bytes
    is_executable: bool = False


def archive(files: Mapping[str, File]) -> bytes:
    """A cpio archive (format newc, as Documentation/driver-api/early-userspace/buffer-format.rst of Linux says), gzipped.
    Folders are made for the files' paths."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    entries = [_entry(folder, stat.S_IFDIR | 0o755, b"", number) for number, folder in enumerate(sorted(folders), 1)]
    for number, (name, file) in enumerate(files.items(), len(entries) + 1):
        mode = stat.S_IFREG | (0o755 if file.is_executable else 0o644)
        entries.append(_entry(name, mode, file.content, number))
    return gzip.compress(b"".join([*entries, _entry("TRAILER!!!", 0, b"", 0)]), compresslevel=1)


def _entry(name: str, mode: int, content: bytes, inode: int) -> bytes:
    path = name.encode() + b"\0"
    # inode, mode, uid, gid, links, time, size, device, device that it is, length of the name, checksum (not used)
    numbers = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def build(kernel: Kernel) -> bytes:
    """The archive that boots a kernel. Raises MachineError."""
    files = {
        "bin/busybox": File(content=(kernel.tree / "usr/bin/busybox").read_bytes(), is_executable=True),
        "init": File(content=_INIT.encode(), is_executable=True),
        "second": File(content=_SECOND.encode()),
    }
    for number, path in enumerate(_modules(kernel)):
        files[f"modules/{number:02}-{path.name.removesuffix('.xz')}"] = File(content=_module(path))
    return archive(files)


def _module(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def _modules(kernel: Kernel) -> list[Path]:
    """In the order in which they load; what is built in is left out."""
    found: dict[str, list[str]] = {}  # by module, the files to load, itself first
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, dependencies = line.partition(":")
        found[_module_name(path)] = [path, *dependencies.split()]
    built_in = {_module_name(line) for line in (kernel.modules / "modules.builtin").read_text().splitlines()}
    order: dict[str, None] = {}
    for name in _WANTED:
        if name not in found and name not in built_in:
            raise MachineError(f"kernel {kernel.release}: has no module {name}; a stock kernel of Debian has it")
        order.update(dict.fromkeys(reversed(found.get(name, []))))
    return [kernel.modules / path for path in order]


def _module_name(path: str) -> str:
    return Path(path).name.partition(".")[0]
