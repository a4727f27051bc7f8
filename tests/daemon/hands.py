"""Everything that a verb does to the world outside of the process, counted: the n-th of it fails, or is where the process dies.

A death is told without killing anybody: from the n-th effect on none happens any more, undo included, so that state, maps and
kernel stay as a dead process leaves them. Then the service is put away, and another is started on what is there.
"""

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.datapath.fdb import ForwardingDatabase
from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import Pins, remove_tree
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import bpffs, clsact, features, namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Links
from sriov_xdp.host.namespaces import NewNamespace
from sriov_xdp.lab.host import Lab, Namespace, run
from sriov_xdp.pf.hands.context import Steps
from sriov_xdp.pf.hands.turns import finish
from sriov_xdp.pf.process.folders import Folders
from sriov_xdp.pf.process.mailboxes import Mailboxes
from sriov_xdp.pf.process.service import PfService
from sriov_xdp.pf.verbs import invariants
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError

# owner, name, and what it raises when the world says no; None where that cannot be said, as of a store to memory.
EFFECTS: list[tuple[Any, str, type[Exception] | None]] = [
    (Database, "write_intent", StoreError),
    (Database, "write_granted", StoreError),
    (Database, "write_record", StoreError),
    (Database, "write_records", StoreError),
    (Marks, "write_instance", None),
    (Marks, "write_revision", OSError),
    (NewNamespace, "give_name", HostError),
    (namespaces, "remove", None),
    (Links, "create_pair", HostError),
    (Links, "change", HostError),
    (Links, "delete", HostError),
    (Links, "silence", HostError),
    (Links, "restore_ipv6", HostError),
    (features, "write", HostError),
    (clsact, "attach", HostError),
    (clsact, "detach", None),
    (clsact, "remove_filter", None),
    (Mailboxes, "open", HostError),
    (Pins, "attach", DataPathError),
    (Pins, "detach", None),
    (libbpf, "update_element", DataPathError),
    (libbpf, "delete_element", None),
    (Tables, "_store_port", None),
    (ForwardingDatabase, "put", None),
    (ForwardingDatabase, "remove", None),
]
MODES = ("fails", "full disk", "dies")
"""What becomes of the n-th effect. full disk: the n-th write to the store fails, and every later one."""


class Death(BaseException):
    """The process is no more."""


@dataclass
class Hands:
    """at: the number of the effect that is not done; 0 = all are."""

    mode: str = "fails"
    at: int = 0
    done: int = 0
    is_dead: bool = False
    is_full: bool = False
    names: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, mode: str, at: int) -> None:
        self.mode, self.at, self.done, self.is_dead, self.is_full, self.names = mode, at, 0, False, False, []

    def rest(self) -> None:
        """The world is as it should be again."""
        self.at, self.is_dead, self.is_full = 0, False, False

    def _counts(self, fault: type[Exception] | None) -> bool:
        match self.mode:
            case "dies":
                return True
            case "full disk":
                return fault is StoreError
            case _:
                return fault is not None

    def act(self, name: str, fault: type[Exception] | None, work: Callable[[], Any]) -> Any:
        with self.lock:
            if self.is_dead:
                raise Death
            if self._counts(fault):
                self.done += 1
                self.names.append(name)
                if self.is_full or (self.at and self.done == self.at):
                    self._strike(name, fault)
        return work()

    def _strike(self, name: str, fault: type[Exception] | None) -> None:
        self.at, self.is_dead, self.is_full = 0, self.mode == "dies", self.mode == "full disk"
        if self.is_dead:
            raise Death
        assert fault
        raise fault(f"{name}: planted") from OSError(28, "planted")


def counted(hands: Hands, owner: Any, name: str, fault: type[Exception] | None) -> Any:
    real = getattr(owner, name)

    def effect(*arguments: Any, **named: Any) -> Any:
        return hands.act(name, fault, lambda: real(*arguments, **named))

    return effect


@contextlib.contextmanager
def handed() -> Iterator[Hands]:
    """Every effect passes through these hands."""
    hands = Hands()
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, fault in EFFECTS:
            patch.setattr(owner, name, counted(hands, owner, name, fault))
        yield hands


class Host:
    """A namespace that stands for a host, with folders of its own. The calling thread is in it."""

    def __init__(self, lab: Lab, hands: Hands) -> None:
        self.lab, self.hands = lab, hands
        self.descriptors = _descriptors()
        self.bpffs = bpffs.MOUNT_POINT / lab.name("h")
        self.folders = Folders(state_dir=lab.folder / "state", run_dir=lab.folder / "run", bpffs=self.bpffs)
        run("ip", "link", "add", "u0", "type", "veth", "peer", "name", "w0", "netns", lab.namespace("w").name)
        run("ip", "link", "set", "u0", "up")
        self.service: PfService | None = None

    def start(self) -> PfService:
        assert self.service is None
        service = PfService(self.folders)
        self.service = service
        service.own()
        service.start()
        return service

    def put_away(self) -> None:
        """What ends with a process; nothing outside of it changes."""
        service, self.service = self.service, None
        if service is None:
            return
        self.hands.is_dead = True  # whatever closing would still like to do
        with contextlib.suppress(Exception, Death):
            service.loop_watch.close()
        if hasattr(service, "context"):
            for vf in list(service.context.inventory.vfs):
                service.mailboxes.close(vf)
            for closing in (
                service.context.beside.close,
                service.context.database.close,
                service.context.links.close,
                service.context.pins.close,
            ):
                with contextlib.suppress(Exception, Death):
                    closing()
        for key in list(service._selector.get_map().values()):
            with contextlib.suppress(Exception):
                key.fileobj.close()  # type: ignore[union-attr]
        with contextlib.suppress(OSError):
            service.loop.close()
        for fd in service._lock_fds:
            os.close(fd)
        self.hands.rest()

    def restart(self) -> PfService:
        self.put_away()
        return self.start()

    def restart_with_hands(self) -> None:
        """The start itself is what fails."""
        mode, at = self.hands.mode, self.hands.at
        self.put_away()
        self.hands.begin(mode, at)
        try:
            self.start()
            self.settle()
        except Exception:  # the daemon ends, as one that dies does
            self.put_away()
            raise

    def breaches(self) -> list[dict[str, Any]]:
        assert self.service is not None
        return finish(invariants.breaches(self.service.context))

    def do(self, steps: Steps[Any]) -> Any:
        """A verb from its beginning to its end, and what it set off."""
        assert self.service is not None
        result = finish(steps)
        self.settle()
        return result

    def settle(self) -> None:
        """What the writer does next."""
        assert self.service is not None
        loop = self.service.loop
        while not loop._work.empty() or loop._walks:
            loop._advance_one()
            loop._run_one()
        self.service.events.settle()
        while not loop._work.empty() or loop._walks:
            loop._advance_one()
            loop._run_one()

    def close(self) -> None:
        self.put_away()
        gc.collect()
        for number in _descriptors().keys() - self.descriptors.keys():
            # What the deaths left ends with a process; this one lives on, with tests that count descriptors.
            with contextlib.suppress(OSError):
                if _descriptors().get(number, "").startswith("anon_inode:bpf"):
                    os.close(int(number))
        for link in Links().dump():
            if link.name not in ("lo", "u0"):
                run("ip", "link", "del", link.name, check=False)
        remove_tree(self.bpffs)


def _descriptors() -> dict[str, str]:
    """Of this process: number → what it is."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[path.name] = str(path.readlink())
    return found


@contextlib.contextmanager
def host(tag: str) -> Iterator[Host]:
    """A host without a PF, and a daemon on it."""
    with Lab(tag) as lab:
        home: Namespace = lab.namespace("h")
        with namespaces.in_namespace(home.name), handed() as hands:
            made = Host(lab, hands)
            try:
                yield made
            finally:
                made.close()
