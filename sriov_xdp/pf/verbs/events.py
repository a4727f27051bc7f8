"""What the host does to us: devices, namespaces and pins that appear, vanish or change, seen by the monitors.

An event is news, not truth: it only says where to look. What is done about it is decided by what the kernel says of this
generation's device when it is looked at. A guest can make events as fast as it likes, so a turn takes a bounded batch of them,
what looks at many objects goes in steps, and who changes something again and again is followed when it rests. The kernel is
asked beside the writer: a guest that keeps its lock of all devices (rtnl) busy, as by attaching programs, would make everybody
wait. For the pf package; writer thread only.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from sriov_xdp.host import namespaces
from sriov_xdp.host.folder_monitor import FolderMonitor
from sriov_xdp.host.links import Link
from sriov_xdp.host.monitor import Change, FilterChange, LinkChange, LinkMonitor
from sriov_xdp.pf.hands import damaged, live
from sriov_xdp.pf.hands.context import Context, Steps
from sriov_xdp.pf.hands.log_budget import BudgetedLog, LogKind
from sriov_xdp.pf.hands.publish import publish_all, publish_ports
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.state.restlessness import Restlessness
from sriov_xdp.pf.verbs import adoption, lifecycle
from sriov_xdp.pf.verbs.hook_watch import HookWatch
from sriov_xdp.pf.verbs.uplink_events import UplinkEvents

# A guest may take its XDP program off and put it back in a loop, and each change costs some 20 ms. One that did so this often in
# this time stays in XDP mode, which is right with or without a program, until it rests.
_RESTLESS_CHANGES = 20
_RESTLESS_SECONDS = 5.0
# The same holds for its carrier: a port whose link flaps stays seen as without, which is right either way (carrier_send() of tc.h).
_NETLINK = "netlink"
_NAMES_A_STEP = 64


class HostEvents:
    """Keeps the inventory in step with the host. Writer thread only."""

    def __init__(
        self,
        context: Context,
        links: LinkMonitor,
        names: FolderMonitor,
        pins: FolderMonitor,
        walk: Callable[[Callable[[], Steps[None]]], None],
        log: BudgetedLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._links = links
        self._names = names
        self._walk = walk
        self._budgeted = log
        self._clock = clock
        self._program_changes = Restlessness[str](most=_RESTLESS_CHANGES, within_seconds=_RESTLESS_SECONDS)
        self._carrier_changes = Restlessness[str](most=_RESTLESS_CHANGES, within_seconds=_RESTLESS_SECONDS)
        self._waiting: set[VfAddress] = set()
        self._looked_at: list[VfAddress] = []
        self._news: dict[VfAddress, None] = {}  # VFs whose device an event named, in its order
        self._meanwhile: dict[VfAddress, LinkChange] = {}  # the last that was said of VFs on which we work, mostly by our own hand
        self._uplinks = UplinkEvents(context, walk, self._going_on)
        self.hooks = HookWatch(context, pins, self._going_on, clock)
        self._is_looking = False

    def on_links(self) -> None:
        """The link monitor has something; after an overrun everything is looked at."""
        changes = self._links.drain()
        if changes is None:
            text = "netlink: events were lost; looking at every device"
            self._budgeted.write(logging.WARNING, _NETLINK, LogKind.EVENTS, text)
            self.look_at_all()
            return
        for change in changes:
            with self._going_on(f"device with ifindex {change.ifindex}", "a change could not be followed"):
                self._on_change(change)  # the others' changes were read too, and come only once

    def on_names(self) -> None:
        """Namespaces' names came or went."""
        names = self._names.drain()
        if names is None:
            self._walk(self.look_at_names)
            return
        for vf in [vf for vf in self._context.inventory.vfs.values() if vf.attachment.spec.netns in names]:
            self._check_namespace(vf)

    def look_at_names(self) -> Steps[None]:
        """Compares the inventory with the names that are there."""
        for number, vf in enumerate(self._attached(), start=1):
            self._check_namespace(vf)
            if number % _NAMES_A_STEP == 0:
                yield None

    def _attached(self) -> Iterator[AttachedVf]:
        """Those that are attached when it begins, and still are when it is their turn."""
        for address, vf in list(self._context.inventory.vfs.items()):
            if self._context.inventory.vfs.get(address) is vf:
                yield vf

    def settle(self) -> None:
        """Each second: what waited, and what no event tells."""
        self._follow_rested()
        self._follow_meanwhile()
        for vf in list(self._context.inventory.vfs.values()):
            if namespaces.can_die_unseen(vf.attachment.spec.netns):
                self._check_namespace(vf)
        for name in live.pfs_with_lagging_links(self._context):
            self._context.start(live.follow_link_states(self._context, name))
        if self._context.needs_publish:
            self._context.needs_publish = False
            publish_all(self._context, damaged.slots(self._context))
        self.hooks.settle()

    def retry(self) -> None:
        """VFs and uplinks that could not be put into service: what is in the way is somebody else's to remove."""
        for vf in self._context.inventory.vfs.values():
            has_mode = live.mode_of(self._context, vf)[0] is vf.active
            is_whole = vf.stage is Stage.IN_SERVICE and self._context.mailboxes.is_open(vf.address) and not vf.lag and has_mode
            if not is_whole and not self._context.turns.is_taken:
                self._context.start(self._resume(vf))
        self._uplinks.try_again()
        if not self._context.is_start_noted:
            adoption.note_start(self._context)

    def look_at_all(self) -> None:
        """Compares the inventory with the devices that are there, a few at a time: a dump of all is megabytes at once."""
        if not self._is_looking:
            self._is_looking = True
            self._context.start(self._look_at_all())

    def _look_at_all(self) -> Steps[None]:
        try:
            for vf in self._attached():
                with self._going_on(str(vf.address), "its device could not be looked at"):
                    yield from self._look_at(vf)
                yield None
            yield from self._uplinks.look_at(list(self._context.inventory.pfs))
            yield from lifecycle.remove_leftovers(self._context)
        finally:
            self._is_looking = False
        yield from self.hooks.enforce_all()

    def _look_at(self, vf: AttachedVf) -> Steps[None]:
        with self._looking_at(vf):
            link = yield from self._device_of(vf)
            if not self._is_attached(vf):
                return
            if link is None:
                yield from lifecycle.unplugged(self._context, vf, "interface deleted")
            elif vf.stage is Stage.IN_SERVICE:
                yield from self._follow(vf, link)
                has_its_rate = yield from live.has_its_rate(self._context, vf)
                if not live.has_its_mtu(self._context, vf, link) or not has_its_rate:
                    yield from live.follow(self._context, vf)

    @contextlib.contextmanager
    def _looking_at(self, vf: AttachedVf) -> Iterator[None]:
        """From the question to the end of what its answer leads to. What an event says meanwhile is compared with what is about to
        be replaced by an older answer, so it is news whatever it says."""
        self._looked_at.append(vf.address)
        try:
            yield
        finally:
            self._looked_at.remove(vf.address)

    def _device_of(self, vf: AttachedVf) -> Steps[Link | None]:
        ifindex = vf.attachment.ifindex
        return (yield from live.beside(self._context, lambda links: links.find(ifindex)))

    def _is_attached(self, vf: AttachedVf) -> bool:
        """Whether it is still, and was ever plugged: what is planned has no device yet."""
        return self._context.inventory.vfs.get(vf.address) is vf and vf.stage is not Stage.PLANNED

    def look_at_news(self) -> Steps[None]:
        """The devices that events named, each as it is now, however many events there were."""
        while self._news:
            address = next(iter(self._news))
            del self._news[address]
            vf = self._context.inventory.vfs.get(address)
            with self._going_on(str(address), "a change of its device could not be followed"):
                if vf:
                    yield from self._look_at_named(vf)

    def _look_at_named(self, vf: AttachedVf) -> Steps[None]:
        """No verb: what takes more than a look waits for its turn."""
        with self._looking_at(vf):
            link = yield from self._device_of(vf)
            if not self._is_attached(vf):
                return
            if link is None:
                self._context.start(lifecycle.unplugged(self._context, vf, "interface deleted"))
                return
            yield from self._follow(vf, link)
            if not live.has_its_mtu(self._context, vf, link):
                self._context.start(live.follow(self._context, vf))  # the representor's MTU is what holds a guest to its own

    def _resume(self, vf: AttachedVf) -> Steps[None]:
        if self._context.inventory.vfs.get(vf.address) is not vf:
            return
        try:
            if vf.stage is not Stage.IN_SERVICE:
                yield from adoption.resume(self._context, vf)
                return
            if vf.lag:
                yield from live.follow_port(self._context, vf)
            yield from live.follow_mode(self._context, vf)
            if not self._context.mailboxes.is_open(vf.address):
                adoption.open_mailbox(self._context, vf)
                vf.active_reason = live.mode_of(self._context, vf)[1]
        except Exception as error:  # noqa: BLE001  # it is tried every few seconds, and said when it is another one
            reason = f"not in service yet: {error}"
            if vf.active_reason != reason:
                vf.active_reason = reason
                self._complain(str(vf.address), "not in service yet", error)

    def _follow_rested(self) -> None:
        """Guests that were restless and rest now are followed again."""
        for address in list(self._waiting):
            vf = self._context.inventory.vfs.get(address)
            if vf and self._is_restless(vf):
                continue
            self._waiting.discard(address)
            if vf:
                vf.is_restless = False
                vf.active_reason = live.mode_of(self._context, vf)[1]
                self._look_soon(vf)
        guests = frozenset(vf.attachment.spec.guest for vf in self._context.inventory.vfs.values())
        self._program_changes.forget_all_but(guests)
        self._carrier_changes.forget_all_but(guests)

    def _follow_meanwhile(self) -> None:
        """What was said of a device while we worked on it is news if it is not what is known since. Our work looks at the carrier
        itself when it is done, so this is seldom anything."""
        for address, change in list(self._meanwhile.items()):
            vf = self._context.inventory.vfs.get(address)
            if vf and (vf.stage is Stage.CHANGING or address in self._looked_at):
                continue
            del self._meanwhile[address]
            if vf and vf.attachment.ifindex == change.ifindex and self._is_news(vf, change):
                self._look_soon(vf)

    def _is_restless(self, vf: AttachedVf) -> bool:
        now, guest = self._clock(), vf.attachment.spec.guest
        return self._program_changes.is_restless(guest, now) or self._carrier_changes.is_restless(guest, now)

    def _on_change(self, change: Change) -> None:
        if isinstance(change, LinkChange):
            self._on_link(change)
            return
        if isinstance(change, FilterChange):
            self.hooks.on_filter_change(change.ifindex)
            return
        for pf in self._context.inventory.pfs.values():
            if pf.uplink and pf.uplink.ifindex == change.ifindex:
                self._uplinks.look_soon(pf.spec.name)

    def _on_link(self, change: LinkChange) -> None:
        vf = self._context.inventory.vf_with_ifindex(change.ifindex)
        if vf and vf.stage is Stage.CHANGING and self._is_of_our_hand(vf, change):
            self._meanwhile[vf.address] = change
            return
        if vf:
            if vf.address in self._looked_at or self._is_news(vf, change):
                self._look_soon(vf)
            return
        shaped = self._context.inventory.vf_with_hop(change.ifindex)
        if shaped and (change.is_gone or not change.has_carrier) and shaped.stage is Stage.IN_SERVICE:
            if change.is_gone:
                text = "%s: its hop was removed; it is made anew"
                self._budgeted.write(logging.WARNING, str(shaped.address), LogKind.EVENTS, text, shaped.address)
            self._context.start(live.follow(self._context, shaped))
            return
        for pf in self._context.inventory.pfs.values():
            is_named = pf.uplink is None and pf.spec.uplink == change.name and not change.is_gone
            if is_named or (pf.uplink and pf.uplink.ifindex in (change.ifindex, change.lower_ifindex)):
                self._uplinks.look_soon(pf.spec.name)

    def _is_news(self, vf: AttachedVf, change: LinkChange) -> bool:
        """Whether an event says anything else than what is known, so that the kernel is to be asked."""
        if vf.stage is Stage.PLANNED:
            return False
        known = (vf.attachment.representor, vf.has_carrier, vf.guest_runs_xdp)
        is_as_known = known == (change.name, change.has_carrier, change.peer_runs_xdp)
        return change.is_gone or not is_as_known or change.mtu_bytes != self._context.inventory.port_mtu_bytes(vf)

    def _is_of_our_hand(self, vf: AttachedVf, change: LinkChange) -> bool:
        """Whether it tells of nothing but the carrier, as our own work does; what a guest's program or an MTU does cannot wait."""
        return not change.is_gone and not self._is_news(vf, replace(change, has_carrier=vf.has_carrier))

    def _look_soon(self, vf: AttachedVf) -> None:
        self._news[vf.address] = None
        self._walk(self.look_at_news)

    def _check_namespace(self, vf: AttachedVf) -> None:
        attachment = vf.attachment
        if vf.stage is not Stage.PLANNED and namespaces.identity(attachment.spec.netns) != attachment.netns_id:
            self._context.start(lifecycle.follow_namespace(self._context, vf))

    def _follow(self, vf: AttachedVf, link: Link) -> Steps[None]:
        lifecycle.take_up_name(self._context, vf, link.name)
        yield from self._follow_program(vf, guest_runs_xdp=link.peer_runs_xdp)
        if vf.has_carrier == link.has_carrier or not self._is_attached(vf):
            return
        now, guest = self._clock(), vf.attachment.spec.guest
        self._carrier_changes.changed(guest, now)
        if link.has_carrier and self._carrier_changes.is_restless(guest, now):
            self._waiting.add(vf.address)
            return
        vf.has_carrier = link.has_carrier
        publish_ports(self._context, [vf])

    def _follow_program(self, vf: AttachedVf, *, guest_runs_xdp: bool) -> Steps[None]:
        if vf.guest_runs_xdp == guest_runs_xdp:
            return
        now, guest = self._clock(), vf.attachment.spec.guest
        self._program_changes.changed(guest, now)
        if not guest_runs_xdp and self._program_changes.is_restless(guest, now):
            self._waiting.add(vf.address)
            vf.is_restless = True
            vf.active_reason = live.mode_of(self._context, vf)[1]
            return
        yield from live.guest_xdp_changed(self._context, vf, guest_runs_xdp=guest_runs_xdp)

    @contextlib.contextmanager
    def _going_on(self, subject: str, text: str) -> Iterator[None]:
        """A fault of one object, whatever it is, is told; the others are served on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self._complain(subject, text, error)

    def _complain(self, subject: str, text: str, error: Exception) -> None:
        self._budgeted.write(logging.ERROR, subject, LogKind.EVENTS, "%s: %s: %s", subject, text, error)
