"""Pinned programs, maps and links of one switch, under one folder of bpffs.

    ROOT/<build id>/maps/*, ROOT/<build id>/progs/*    made by the loader; one folder a build of the C sources
    ROOT/links/*                                       attachments; they hold programs to devices when nobody runs

A restart opens what is there. Uplinks' programs are added when they are needed (uplink_programs). A new build is loaded beside the
old one and the links are moved over one by one, each move atomic; nothing is detached.
"""

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

from sriov_xdp.datapath import libbpf, uplink_programs
from sriov_xdp.datapath.errors import CompileError, DataPathError
from sriov_xdp.datapath.libbpf import AttachType, MapInfo
from sriov_xdp.datapath.maps import all_maps
from sriov_xdp.datapath.marks import MARK_PREFIXES
from sriov_xdp.datapath.programs import SINGLE_PROGRAMS
from sriov_xdp.datapath.sources import build_id
from sriov_xdp.patience import patient

LINKS = "links"
TRACEPOINTS = {"on_devmap_xmit": "xdp_devmap_xmit", "on_redirect_error": "xdp_redirect_err"}
_LOADER_SECONDS = 60
_NO_SUCH_IFINDEX = 0x7FFFFFFF
_OCCUPIED = (errno.EBUSY, errno.EEXIST)


class Pins:
    """Open file descriptors of one build's maps and programs, and the links. cache: where compiled programs are kept."""

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root = root
        self._cache = cache
        self.build = root / build_id()
        self._programs: dict[str, int] = {}
        self._program_ids: dict[str, int] = {}
        self._maps: dict[str, int] = {}
        self._words: dict[str, memoryview] = {}

    def load(self) -> bool:
        """Opens this build's pins; runs the loader first when they are not there. Returns whether it compiled.
        Raises CompileError, DataPathError. A build of which somebody removed a pin is made anew: what its programs did goes on
        until their links are moved over."""
        is_compiled = not self._is_whole()
        if is_compiled:
            remove_tree(self.build)
            _run_loader(self.build, self._cache)
        for name, spec in all_maps().items():
            fd = libbpf.open_pin(self.build / "maps" / name)
            info = libbpf.map_info(fd)
            if (info.key_bytes, info.value_bytes, info.max_entries) != spec.shape:
                raise DataPathError(_shape_text(self.build / "maps" / name, info, spec.shape))
            self._maps[name] = fd
        (self.root / LINKS).mkdir(mode=0o700, exist_ok=True)
        return is_compiled

    def _is_whole(self) -> bool:
        maps = [self.build / "maps" / name for name in (*all_maps(), uplink_programs.BYTECODE)]
        return all(path.exists() for path in [*maps, *(self.build / "progs" / spec.name for spec in SINGLE_PROGRAMS)])

    def map_fd(self, name: str) -> int:
        """An open map."""
        return self._maps[name]

    def words(self, name: str) -> memoryview:
        """The values of a map that is also memory of ours, as 64-bit words; a store is seen by the next frame."""
        if name not in self._words:
            spec = all_maps()[name]
            self._words[name] = memoryview(libbpf.map_memory(self._maps[name], spec.value_bytes * spec.entries)).cast("Q")
        return self._words[name]

    def program_fd(self, name: str) -> int:
        """An open program; opened at the first use, and an uplink's copy made then."""
        if name not in self._programs:
            path = self.build / "progs" / name
            is_new = uplink_programs.is_copy(name) and not path.exists()
            self._programs[name] = uplink_programs.load_copy(name, self.build, self._maps) if is_new else libbpf.open_pin(path)
        return self._programs[name]

    def attach(self, link: str, program: str, ifindex: int, kind: AttachType, *, flags: int = 0) -> None:
        """Makes the pinned link run this program on this device: adopts it, moves it to this build's program, or makes it
        new. Raises DataPathError."""
        path = self.root / LINKS / link
        path.parent.mkdir(mode=0o700, exist_ok=True)  # whoever removed it closed every port; they come back
        wanted = self.program_fd(program)
        if path.exists():
            with libbpf.opened_pin(path) as fd:
                info = libbpf.link_info(fd)
                if info.ifindex == ifindex:
                    if info.program_id != self.id_of(program):
                        libbpf.update_link(fd, wanted)
                    return
            detach_pinned(path)
        self._pin_link(self._link(program, ifindex, kind, flags), path)

    def _link(self, program: str, ifindex: int, kind: AttachType, flags: int) -> int:
        """A new one, or the one that is there without a pin, as where bpffs was unmounted under us."""
        try:
            return libbpf.create_link(self.program_fd(program), ifindex, kind, flags=flags)
        except DataPathError as error:
            found = libbpf.find_link(ifindex, self.id_of(program)) if libbpf.error_number(error) in _OCCUPIED else None
            if found is None:
                raise
            return found

    def is_attached(self, program: str, ifindex: int, kind: AttachType) -> bool:
        """Whether this build's program runs on a device, pinned or not. Raises DataPathError."""
        if kind is AttachType.XDP:
            return libbpf.xdp_program_if_any(ifindex) == self.id_of(program)
        return self.id_of(program) in libbpf.attached_programs_if_any(ifindex, kind)

    def attach_tracepoints(self) -> None:
        """The programs that count what devices did not take."""
        for program, tracepoint in TRACEPOINTS.items():
            path = self.root / LINKS / program
            if path.exists() and self._runs(path, program):
                continue
            path.unlink(missing_ok=True)
            self._pin_link(libbpf.open_raw_tracepoint(self.program_fd(program), tracepoint), path)

    def _runs(self, path: Path, program: str) -> bool:
        with libbpf.opened_pin(path) as fd:
            return libbpf.link_info(fd).program_id == self.id_of(program)

    @staticmethod
    def _pin_link(fd: int, path: Path) -> None:
        try:
            libbpf.pin(fd, path)
        finally:
            os.close(fd)

    def supports_tcx(self) -> bool:
        """Whether the kernel has tcx links (6.6): asked with a device that cannot be, where only the errno matters. Raises
        DataPathError on an answer that is neither yes nor no: taken for a no, it would cost every port its programs."""
        try:
            os.close(libbpf.create_link(self.program_fd("tc_vf"), _NO_SUCH_IFINDEX, AttachType.TCX_INGRESS))
        except DataPathError as error:
            if libbpf.error_number(error) == errno.ENODEV:
                return True
            if libbpf.error_number(error) == errno.EINVAL:
                return False
            raise DataPathError(f"tcx links: the kernel does not say whether it has them: {error}") from error
        return True

    def runs(self, link: str, program: str, ifindex: int) -> bool:
        """Whether the pinned link is there and runs this program on this device. Raises DataPathError when a pin that is there
        cannot be read."""
        return self.program_on(link, ifindex) == self.id_of(program)

    def is_on(self, link: str, ifindex: int) -> bool:
        """Whether the pinned link is on this device, with whichever build's program. Raises as runs() does."""
        return self.program_on(link, ifindex) is not None

    def program_on(self, link: str, ifindex: int) -> int | None:
        """The id of the program that the pinned link runs on this device; None when there is no such link, or it is on another
        device. Raises DataPathError when a pin that is there cannot be read."""
        path = self.root / LINKS / link
        try:
            with libbpf.opened_pin(path) as fd:
                info = libbpf.link_info(fd)
        except DataPathError as error:
            if libbpf.error_number(error) == errno.ENOENT:
                return None
            raise
        return info.program_id if info.ifindex == ifindex else None

    def program_of(self, link: str) -> int | None:
        """The id of the program that a pinned link runs, None when there is no such link."""
        if not self.has_link(link):
            return None
        with libbpf.opened_pin(self.root / LINKS / link) as fd:
            return libbpf.link_info(fd).program_id

    def own_program_ids(self) -> set[int | None]:
        """Ids of the uplink programs of every build that is pinned here."""
        found: set[int | None] = set()
        for path in self.root.glob("*/progs/*_uplink_*"):
            with libbpf.opened_pin(path) as fd:
                found.add(libbpf.program_id(fd))
        return found

    def id_of(self, program: str) -> int:
        """The kernel's id of a program of this build."""
        if program not in self._program_ids:
            self._program_ids[program] = libbpf.program_id(self.program_fd(program))
        return self._program_ids[program]

    def has_link(self, link: str) -> bool:
        """Whether an attachment of that name is pinned."""
        return (self.root / LINKS / link).exists()

    def detach(self, link: str) -> None:
        """Removes a link; the program is off the device then. Absent is fine."""
        detach_pinned(self.root / LINKS / link)

    def link_names(self) -> list[str]:
        """All pinned links; none where somebody removed the folder."""
        folder = self.root / LINKS
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def remove_other_builds(self) -> None:
        """Drops the pins of earlier builds, once no link uses them."""
        for entry in self.root.iterdir():
            if entry.name not in (LINKS, self.build.name) and not entry.name.startswith(MARK_PREFIXES):
                remove_tree(entry)

    def close(self) -> None:
        """Closes descriptors and mapped memory; what is pinned stays."""
        for words in self._words.values():
            words.release()
        self._words.clear()
        for fd in [*self._maps.values(), *self._programs.values()]:
            os.close(fd)
        self._maps.clear()
        self._programs.clear()


def detach_pinned(path: Path) -> None:
    """Removes a pinned link: its program leaves the device before this returns, which an unlink alone does not wait for. Whoever
    raises an MTU for which there must be no XDP, or attaches another program, counts on it. Absent is fine. Where the device is
    gone, nothing takes the kernel's lock of all devices."""
    with contextlib.suppress(DataPathError), libbpf.opened_pin(path) as fd:
        if libbpf.link_info(fd).ifindex:
            libbpf.detach_link(fd)
    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Removes a folder of pins, and with them what they hold. Absent is fine."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _shape_text(path: Path, info: MapInfo, shape: tuple[int, int, int]) -> str:
    seen = (info.key_bytes, info.value_bytes, info.max_entries)
    return f"map {path}: key, value bytes and entries are {seen}, expected {shape}; run `sriov-xdp teardown` and start again"


def _run_loader(folder: Path, cache: Path | None) -> None:
    # -P: this product's loader, whatever is in the directory that the daemon was started from.
    command = [
        sys.executable,
        "-P",
        "-m",
        "sriov_xdp.datapath.loader",
        str(folder),
        str(os.getpid()),
        *([str(cache)] if cache else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patient(_LOADER_SECONDS))
    if done.returncode:
        raise CompileError(f"loader: {done.stderr.strip() or f'ended with {done.returncode}'}")
