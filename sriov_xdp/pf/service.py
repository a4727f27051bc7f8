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
from sriov_xdp.host import bpffs, systemd
from sriov_xdp.host.links import Links, boot_id
from sriov_xdp.host.monitor import LinkMonitor, NamespaceMonitor
from sriov_xdp.mailbox.session import Ask, Session
from sriov_xdp.pf import lifecycle, uplinks
from sriov_xdp.pf.configure import restore_maps
from sriov_xdp.pf.context import Actor, Context
from sriov_xdp.pf.controller import Controller
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.events import HostEvents
from sriov_xdp.pf.intent import VfAddress, attachment_from_text, switch_from_json
from sriov_xdp.pf.inventory import Inventory, PhysicalFunction
from sriov_xdp.pf.loop import WriterLoop
from sriov_xdp.pf.mailboxes import Complain, Mailboxes, Serve
from sriov_xdp.pf.metrics import RequestMetrics
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError

_log = logging.getLogger("sriov_xdp.pf")
_CHECKPOINT_SECONDS = 30.0
_LOOK_SECONDS = 60.0  # a dump of every device, in case an event was missed without notice


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
        self.loop = WriterLoop(self._selector)
        self.metrics = RequestMetrics()
        self.mailboxes = Mailboxes(self._selector)
        self.context: Context
        self.events: HostEvents
        self.was_compiled = False
        self.is_first_start = False
        self._lock_fd = -1

    def start(self) -> None:
        """Locks, loads, adopts. Raises PfError, DataPathError, HostError, StoreError."""
        self._lock()
        bpffs.ensure(self._places.bpffs)
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
        """One daemon a state directory. The pins carry the same lock, as they are what must not be written twice."""
        self._places.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._places.state_dir / "lock"
        self._lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"{path}: another daemon runs with this state directory; stop it first or use another") from error

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
        self.events = HostEvents(self.context, link_monitor, name_monitor)
        self._selector.register(link_monitor, selectors.EVENT_READ, self.events.on_links)
        self._selector.register(name_monitor, selectors.EVENT_READ, self.events.on_names)

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
        granted = database.granted()
        for name, body in database.documents("attachment").items():
            attachment = attachment_from_text(VfAddress.parse(name), body)
            try:
                lifecycle.adopt(context, attachment, granted.get(name), is_after_boot)
            except lifecycle.FAULTS as error:
                _log.error("%s: cannot be taken up: %s", name, error)
        restore_maps(context)
        context.pins.attach_tracepoints()
        for name, pf in context.inventory.pfs.items():
            self._take_uplink(pf, former_features[name])
        for vf in list(context.inventory.vfs.values()):
            try:
                lifecycle.resume(context, vf)
            except lifecycle.FAULTS as error:
                _log.error("%s: not in service: %s", vf.address, error)
        self._remove_leftovers()
        database.write_intent([], [], {"boot_id": boot_id(), "instance": context.instance})
        if context.inventory.vfs:
            _log.info("adopted %d VFs of %d PFs", len(context.inventory.vfs), len(context.inventory.pfs))

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
        self.loop.every(_LOOK_SECONDS, self.metrics.log_suppressed)
        watchdog_seconds = systemd.watchdog_interval_seconds()
        if watchdog_seconds:
            self.loop.every(watchdog_seconds, lambda: systemd.notify("WATCHDOG=1"))

    def _checkpoint(self) -> None:
        try:
            self.context.database.checkpoint()
        except StoreError as error:  # idle work; the next round tries again
            _log.warning("state: checkpoint: %s", error)

    def close(self) -> None:
        """Ends everything that is only of this process."""
        for vf in list(self.context.inventory.vfs):
            self.mailboxes.close(vf)
        self.context.database.close()
        self.context.links.close()
        self.context.pins.close()
        self.loop.close()
        os.close(self._lock_fd)
