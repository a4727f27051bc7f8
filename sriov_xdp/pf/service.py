"""The PF controller's process: puts the parts together, takes up what an earlier run left, and runs the writer.

start() returns when frames flow; run() blocks until stop(). stop() leaves programs, maps and links as they are: traffic goes
on. Removing everything is teardown.
"""

import fcntl
import json
import logging
import os
import secrets
import selectors
from dataclasses import dataclass
from pathlib import Path

from sriov_xdp.datapath.pins import Pins
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import bpffs, clsact, descriptors, systemd
from sriov_xdp.host.links import Links, boot_id
from sriov_xdp.host.memory import give_memory_back
from sriov_xdp.host.monitor import LinkMonitor, NamespaceMonitor
from sriov_xdp.mailbox.session import Ask, Session
from sriov_xdp.pf import lifecycle, uplinks
from sriov_xdp.pf.configure import restore_maps, withdraw_grants
from sriov_xdp.pf.context import SELF, Actor, Context
from sriov_xdp.pf.controller import Controller
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.events import HostEvents
from sriov_xdp.pf.intent import VfAddress, attachment_from_text, switch_from_json
from sriov_xdp.pf.inventory import Inventory, PhysicalFunction
from sriov_xdp.pf.loop import Source, Steps, TurnKind, WriterLoop
from sriov_xdp.pf.mailboxes import Complain, Mailboxes, Serve
from sriov_xdp.pf.metrics import RequestMetrics
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError

_log = logging.getLogger("sriov_xdp.pf")
_CHECKPOINT_SECONDS = 30.0
_RETRY_SECONDS = 2.0
_SETTLE_SECONDS = 1.0
_LOOK_SECONDS = 60.0  # a dump of every device, in case an event was missed without notice


TC_KIND, TCX, CLSACT = "tc", "tcx", "clsact"  # how tc programs are attached, for the next start and for teardown


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a daemon keeps things."""

    state_dir: Path
    run_dir: Path
    bpffs: Path


class PfService:
    """One daemon's PF side. start, run and close in the writer thread; stop from anywhere."""

    def __init__(self, places: Places, *, use_tcx: bool | None = None) -> None:
        self._places = places
        self._use_tcx = use_tcx
        self._selector = selectors.DefaultSelector()
        self.metrics = RequestMetrics()
        self.loop = WriterLoop(self._selector, log=self.metrics.log)
        self.mailboxes = Mailboxes(self._selector, descriptors.limit())
        self.context: Context
        self.events: HostEvents
        self.was_compiled = False
        self.is_first_start = False
        self._lock_fds: list[int] = []
        self._out_of_service: set[VfAddress] = set()

    def start(self) -> None:
        """Locks, loads, adopts. Raises PfError, DataPathError, HostError, StoreError."""
        bpffs.ensure(self._places.bpffs)
        self._lock()
        pins = Pins(self._places.bpffs)
        self.was_compiled = pins.load()
        tables = Tables(pins)
        tables.adopt()
        database = Database(self._places.state_dir)
        instance = database.meta("instance")
        self.is_first_start = instance is None
        has_tcx = pins.supports_tcx() if self._use_tcx is None else self._use_tcx
        self.context = Context(
            inventory=Inventory(),
            tables=tables,
            pins=pins,
            links=Links(),
            database=database,
            mailboxes=self.mailboxes,
            has_tcx=has_tcx,
            instance=instance or secrets.token_hex(4),
        )
        controller = Controller(self.context, self.metrics)
        self.mailboxes.connect_controller(self._serve_with(controller), self._complain_with(controller))
        self._watch_host()
        self._adopt()
        self._set_timers()

    def _lock(self) -> None:
        """One daemon a state directory, and one a folder of pins: two writers of the same maps would undo each other."""
        self._places.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._places.state_dir / "lock"
        state = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._lock_fds.append(state)
        pins = os.open(self._places.bpffs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock_fds.append(pins)
        for fd, what in ((state, "state directory"), (pins, "bpffs folder")):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(f"{path}: another daemon runs with this {what}; stop it first or use another") from error

    def _serve_with(self, controller: Controller) -> Serve:
        def serve(vf: VfAddress, session: Session, ask: Ask, actor: Actor) -> list[bytes]:
            return controller.serve(self.context.inventory.attached(vf), session, ask, actor)

        return serve

    def _complain_with(self, controller: Controller) -> Complain:
        def complain(vf: VfAddress, opcode: int, fault: str, actor: Actor) -> None:
            controller.refuse_invalid(self.context.inventory.attached(vf), opcode, fault, actor)

        return complain

    def _watch_host(self) -> None:
        """Monitors come before adoption, so that nothing happens in between unseen."""
        link_monitor, name_monitor = LinkMonitor(), NamespaceMonitor()
        self.events = HostEvents(self.context, link_monitor, name_monitor, self.loop.walk, self.metrics.log)
        for monitor, source in (
            (link_monitor, Source(TurnKind.LINK_EVENTS, self.events.on_links)),
            (name_monitor, Source(TurnKind.NAME_EVENTS, self.events.on_names)),
        ):
            self._selector.register(monitor, selectors.EVENT_READ, source)

    def _adopt(self) -> None:
        """From the store to memory, from memory to the maps (differences only), then programs and mailboxes."""
        context, database = self.context, self.context.database
        is_after_boot = database.meta("boot_id") not in (None, boot_id())
        if is_after_boot:
            database.forget_granted()
        for body in database.documents("switch").values():
            switch = switch_from_json(json.loads(body))
            context.inventory.switches[switch.name] = switch
        former_features: dict[str, dict[str, bool]] = {}
        for name, body in database.documents("pf").items():
            context.inventory.pfs[name], former_features[name] = uplinks.pf_from_text(name, body)
        granted, stale = database.granted(), set[VfAddress]()
        for name, body in database.documents("attachment").items():
            attachment = attachment_from_text(VfAddress.parse(name), body)
            try:
                if not lifecycle.adopt(context, attachment, granted.get(name), is_after_boot):
                    stale.add(attachment.vf)
            except lifecycle.FAULTS as error:
                _log.error("%s: cannot be taken up: %s", name, error)
        restore_maps(context, stale)
        context.pins.attach_tracepoints()
        for name, pf in context.inventory.pfs.items():
            self._take_uplink(pf, former_features[name])
        self._out_of_service = {vf for vf in context.inventory.vfs if vf not in stale}
        for _step in self._resume():
            pass
        for address in stale:
            lifecycle.detach(context, address, SELF, "unplugged while the daemon was away")
        for vf in context.inventory.vfs.values():
            withdraw_grants(context, vf)
        self._leave_other_tc_kind()
        self._remove_leftovers()
        kind = TCX if context.has_tcx else CLSACT
        database.write_intent([], [], {"boot_id": boot_id(), "instance": context.instance, TC_KIND: kind})
        if context.inventory.vfs:
            _log.info("adopted %d VFs of %d PFs", len(context.inventory.vfs), len(context.inventory.pfs))

    def _resume(self) -> Steps:
        """VFs that could not be put into service are tried again by a timer: what is in the way is the guest's to remove."""
        for address in list(self._out_of_service):
            vf = self.context.inventory.vfs.get(address)
            try:
                if vf:
                    lifecycle.resume(self.context, vf)
                self._out_of_service.discard(address)
            except lifecycle.FAULTS as error:
                _log.error("%s: not in service yet: %s", address, error)
            yield

    def _leave_other_tc_kind(self) -> None:
        """When an earlier run attached its tc programs the other way."""
        context = self.context
        former = context.database.meta(TC_KIND)
        if former is None or (former == TCX) == context.has_tcx:
            return
        devices = {str(vf.address): vf.attachment.ifindex for vf in context.inventory.vfs.values()}
        devices |= {uplinks.link_name(pf): pf.uplink.ifindex for pf in context.inventory.pfs.values() if pf.uplink}
        for name, ifindex in devices.items():
            if context.has_tcx:
                clsact.detach(ifindex)
            else:
                context.pins.detach(f"{name}_tc")

    def _take_uplink(self, pf: PhysicalFunction, features_before: dict[str, bool]) -> None:
        try:
            uplinks.take(self.context, pf, features_before)
        except lifecycle.FAULTS as error:
            _log.error("uplink %s of %s: %s", pf.spec.uplink, pf.spec.name, error)
            uplinks.refresh(self.context, pf)

    def _remove_leftovers(self) -> None:
        """Links and representors of a run that died between two steps, and pins of earlier builds."""
        context = self.context
        known = {str(vf) for vf in context.inventory.vfs} | {uplinks.link_name(pf) for pf in context.inventory.pfs.values()}
        for link in context.pins.link_names():
            owner, _, kind = link.rpartition("_")
            if kind in ("tc", "xdp") and owner not in known:
                context.pins.detach(link)
        used = {vf.attachment.ifindex for vf in context.inventory.vfs.values()}
        for device in context.links.dump():
            if device.alias.startswith(f"sriov-xdp {context.instance} ") and device.ifindex not in used:
                context.links.delete(device.ifindex)
        context.pins.remove_other_builds()

    def _set_timers(self) -> None:
        self.loop.every(_CHECKPOINT_SECONDS, self._checkpoint)
        self.loop.every(_LOOK_SECONDS, self.events.look_at_all)
        self.loop.every(_SETTLE_SECONDS, self.events.settle)
        self.loop.every(_LOOK_SECONDS, self.metrics.log_suppressed)
        self.loop.every(_RETRY_SECONDS, self._resume)
        self.loop.every(_SETTLE_SECONDS, self.mailboxes.close_idle)
        watchdog_seconds = systemd.watchdog_interval_seconds()
        if watchdog_seconds:
            self.loop.every(watchdog_seconds, lambda: systemd.notify("WATCHDOG=1"))

    def _checkpoint(self) -> None:
        try:
            self.context.database.checkpoint()
        except StoreError as error:  # idle work; the next round tries again
            _log.warning("state: checkpoint: %s", error)
        give_memory_back()

    def close(self) -> None:
        """Ends everything that is only of this process."""
        for vf in list(self.context.inventory.vfs):
            self.mailboxes.close(vf)
        self.context.database.close()
        self.context.links.close()
        self.context.pins.close()
        self.loop.close()
        for fd in self._lock_fds:
            os.close(fd)
