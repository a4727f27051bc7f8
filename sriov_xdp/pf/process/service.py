"""The PF controller's process: puts the parts together, takes up what an earlier run left, and runs the writer.

start() returns when frames flow; run() blocks until stop(). stop() leaves programs, maps and links as they are: traffic goes
on. Removing everything is teardown.
"""

import logging
import os
import secrets
import selectors
from collections.abc import Container
from concurrent.futures import Future
from typing import Any

from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import LINKS, Pins
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import bpffs, descriptors, kernel, systemd
from sriov_xdp.host.folder_monitor import FolderMonitor
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.host.links import Links
from sriov_xdp.host.memory import give_memory_back
from sriov_xdp.host.monitor import LinkMonitor
from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.host.netlink import close_kept
from sriov_xdp.mailbox.session import Ask, Session
from sriov_xdp.pf.errors import FAULTS, PfError
from sriov_xdp.pf.hands import live, speakers
from sriov_xdp.pf.hands.beside import Beside
from sriov_xdp.pf.hands.context import Actor, Context, Steps
from sriov_xdp.pf.hands.guest_records import GuestRecords
from sriov_xdp.pf.hands.hooks import TC_PROGRAMS, Hooks
from sriov_xdp.pf.hands.instances import claim_instance
from sriov_xdp.pf.hands.log_budget import LogKind
from sriov_xdp.pf.hands.request_metrics import RequestMetrics
from sriov_xdp.pf.process import orphans
from sriov_xdp.pf.process.folders import Folders, lock, require_own_pins, require_room_for_sockets
from sriov_xdp.pf.process.mailboxes import Complain, Mailboxes, Serve
from sriov_xdp.pf.process.presence import open_own_state, require_devices_here, require_state
from sriov_xdp.pf.process.writer import Source, TurnKind, WriterLoop
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.lasting_fault import LastingFault
from sriov_xdp.pf.state.loops import LOOK_SECONDS
from sriov_xdp.pf.verbs import adoption, confirmation, watching
from sriov_xdp.pf.verbs.controller import Controller, Served
from sriov_xdp.pf.verbs.events import HostEvents
from sriov_xdp.pf.verbs.hook_watch import PINS_LOOK_SECONDS
from sriov_xdp.pf.verbs.loop_watch import LoopWatch
from sriov_xdp.pf.verbs.settling import LOOK_SECONDS as SETTLING_SECONDS
from sriov_xdp.pf.verbs.settling import Settling
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError

_log = logging.getLogger("sriov_xdp.pf")
_TRIAL_SECONDS = 1.0
_CHECKPOINT_SECONDS = 30.0
_SUM_SECONDS = 1.0
_RETRY_SECONDS = 2.0
_SETTLE_SECONDS = 1.0
_LOOK_SECONDS = 60.0  # a look at every device, in case an event was missed without notice


class PfService:
    """One daemon's PF side. start, run and close in the writer thread; stop from anywhere."""

    def __init__(self, folders: Folders, *, use_tcx: bool | None = None, jumbo_xdp: JumboXdp | None = None) -> None:
        self._folders = folders
        self._use_tcx = use_tcx
        self._jumbo_xdp = jumbo_xdp or kernel.read()
        self._selector = selectors.DefaultSelector()
        self.metrics = RequestMetrics()
        self.loop = WriterLoop(self._selector, log=self.metrics.log, on_survived=self._doubt_maps)
        self.mailboxes = Mailboxes(self._selector, descriptors.limit(), self.metrics.log)
        self.context: Context
        self.events: HostEvents
        self.loop_watch: LoopWatch
        self.settling: Settling
        self.was_compiled = False
        self.is_first_start = False
        self._checkpoint_fault = LastingFault(what="state: checkpoint")
        self._lock_fds: list[int] = []

    def own(self) -> None:
        """Makes its folders this daemon's, and changes nothing else: for what is to be found wrong before anything is done. Raises
        PfError, HostError."""
        bpffs.ensure(self._folders.bpffs)
        if Marks(self._folders.bpffs).instance() is None:
            require_own_pins(self._folders.bpffs)
        self._lock_fds = lock(self._folders)
        require_room_for_sockets(self._folders.run_dir)
        links = Links()
        try:
            require_devices_here(self._folders.bpffs, links)
        finally:
            links.close()

    @staticmethod
    def _require_no_orphans(adapters: Container[tuple[str, str] | None]) -> None:
        links = Links()
        try:
            orphans.require_none(links, adapters)
        finally:
            links.close()

    def _open_state(self, marks: Marks) -> Database:
        """Where that fails, ports whose programs are gone are closed: they lead to the host, and no daemon will look after them."""
        try:
            require_state(self._folders.state_dir, self._folders.bpffs, marks)
            return open_own_state(self._folders.state_dir, self._folders.bpffs, marks)
        except (PfError, StoreError):
            self._close_unprotected(marks.instance())
            raise

    @staticmethod
    def _close_unprotected(instance: str | None) -> None:
        """A fault of it is logged: why the start is refused is what the operator must hear."""
        try:
            links = Links()
            try:
                orphans.close(links, instance)
            finally:
                links.close()
        except FAULTS as error:
            _log.error("ports without programs could not be looked for, and may lead to the host: %s", error)

    def start(self, adapters: Container[tuple[str, str] | None] = ()) -> None:
        """Loads and adopts, after own(). adapters: that the configuration names, by guest and interface. Raises PfError,
        DataPathError, HostError, StoreError."""
        marks = Marks(self._folders.bpffs)
        database = self._open_state(marks)
        stored = database.meta("instance")
        self.is_first_start = stored is None
        if self.is_first_start:
            self._require_no_orphans(adapters)
        instance = stored or secrets.token_hex(4)
        self._lock_fds.append(claim_instance(instance).detach())
        pins = Pins(self._folders.bpffs, self._folders.cache_dir)
        self.was_compiled = pins.load()
        tables = Tables(pins)
        tables.adopt()
        self.context = Context(
            inventory=Inventory(self._jumbo_xdp),
            tables=tables,
            pins=pins,
            marks=marks,
            beside=Beside(),
            start=self._start_verb,
            links=Links(),
            database=database,
            records=GuestRecords(database),
            mailboxes=self.mailboxes,
            hooks=Hooks(pins, instance, has_tcx=pins.supports_tcx() if self._use_tcx is None else self._use_tcx),
            instance=instance,
            jumbo_xdp=self._jumbo_xdp,
        )
        controller = Controller(self.context, self.metrics)
        self.mailboxes.connect_controller(self._serve_with(controller), self._complain_with(controller))
        self._watch_host()
        adoption.adopt(self.context)
        confirmation.take_up(self.context)
        self.events.on_links()  # what was queued while there was nobody to hear it is old by now
        self.loop_watch = LoopWatch(self.context)
        self.settling = Settling(self.context, self.metrics.log)
        self._set_timers()
        self.context.database.on_due = lambda: self.loop.walk(self._checkpoint)

    def _doubt_maps(self) -> None:
        """What was cut short by a mistake of ours may have left them behind; they are published whole in a moment."""
        if hasattr(self, "context"):
            self.context.needs_publish = True

    def _start_verb(self, steps: Steps[object]) -> None:
        """What an event sets off, when it is its turn; a fault of it is its own."""
        self.loop.submit(lambda: self.context.turns.take(steps)).add_done_callback(self._note_fault)

    def _note_fault(self, done: Future[Any]) -> None:
        error = None if done.cancelled() else done.exception()
        if error:
            self.metrics.log.write(logging.ERROR, "verb", LogKind.FAILURES, "%s", error)

    def _serve_with(self, controller: Controller) -> Serve:
        def serve(vf: VfAddress, session: Session, ask: Ask, actor: Actor) -> Served:
            return controller.serve(self.context.inventory.attached(vf), session, ask, actor)

        return serve

    def _complain_with(self, controller: Controller) -> Complain:
        def complain(vf: VfAddress, opcode: int, fault: str, actor: Actor) -> None:
            controller.refuse_invalid(self.context.inventory.attached(vf), opcode, fault, actor)

        return complain

    def _watch_host(self) -> None:
        """Monitors come before adoption, so that nothing happens in between unseen."""
        link_monitor = LinkMonitor(TC_PROGRAMS)
        name_monitor, pin_monitor = FolderMonitor(NAMED), FolderMonitor(self._folders.bpffs / LINKS)
        self.events = HostEvents(self.context, link_monitor, name_monitor, pin_monitor, self.loop.walk, self.metrics.log)
        for monitor, source in (
            (link_monitor, Source(TurnKind.LINK_EVENTS, self.events.on_links)),
            (name_monitor, Source(TurnKind.NAME_EVENTS, self.events.on_names)),
            (pin_monitor, Source(TurnKind.NAME_EVENTS, self.events.hooks.on_pins)),
        ):
            self._selector.register(monitor, selectors.EVENT_READ, source)

    def _set_timers(self) -> None:
        self.loop.every(_CHECKPOINT_SECONDS, self._checkpoint)
        self.loop.every(_SUM_SECONDS, self.context.records.write_sums)
        self.loop.every(_LOOK_SECONDS, self.events.look_at_all)
        self.loop.every(_SETTLE_SECONDS, self.events.settle)
        self.loop.every(PINS_LOOK_SECONDS, self.events.hooks.look_at_pins)
        self.loop.every(_LOOK_SECONDS, self.metrics.log_suppressed)
        self.loop.every(_RETRY_SECONDS, self.events.retry)
        self.loop.every(LOOK_SECONDS, self.loop_watch.look)
        self.loop.every(watching.LOOK_SECONDS, lambda: watching.look(self.context))
        self.loop.every(speakers.LOOK_SECONDS, lambda: speakers.look(self.context))
        self.loop.every(SETTLING_SECONDS, self.settling.look)
        self.loop.every(_SETTLE_SECONDS, self.mailboxes.look_after)
        self.loop.every(_TRIAL_SECONDS, lambda: confirmation.look(self.context))
        watchdog_seconds = systemd.watchdog_interval_seconds()
        if watchdog_seconds:
            self.loop.every(watchdog_seconds, lambda: systemd.notify("WATCHDOG=1"))

    def _checkpoint(self) -> Steps[None]:
        """The disk is waited for beside the writer."""
        database = self.context.database
        try:
            yield from live.beside(self.context, lambda _links: database.move_wal_apart())
            database.wal_was_moved()
            text = self._checkpoint_fault.worked(self.context.clock())
        except StoreError as error:  # idle work; the next round tries again
            text = self._checkpoint_fault.struck(error, self.context.clock())
        if text:
            _log.warning("%s", text)
        give_memory_back()

    def close(self) -> None:
        """Ends everything that is only of this process."""
        for vf in list(self.context.inventory.vfs):
            self.mailboxes.close(vf)
        self.loop_watch.close()
        self.context.beside.close()
        self.context.records.close()
        self.context.database.close()
        self.context.links.close()
        close_kept()
        self.context.pins.close()
        self.loop.close()
        for fd in self._lock_fds:
            os.close(fd)
