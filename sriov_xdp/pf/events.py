"""What the host does to us: devices and namespaces that appear, vanish or change, seen by the monitors.

A guest can make events as fast as it likes. So a turn takes a bounded batch of them, in which changes of one device are one;
what looks at many objects goes in steps; and who changes something again and again is followed when it rests.
"""

import logging
import time
from collections.abc import Callable, Iterator

from sriov_xdp.host import namespaces
from sriov_xdp.host.monitor import AddressChange, LinkChange, LinkMonitor, NamespaceMonitor
from sriov_xdp.pf import lifecycle, uplinks
from sriov_xdp.pf.context import SELF, Context
from sriov_xdp.pf.images import slot_of, vf_image
from sriov_xdp.pf.intent import Datapath, VfAddress
from sriov_xdp.pf.inventory import AttachedVf, PhysicalFunction
from sriov_xdp.pf.log_budget import BudgetedLog, LogKind
from sriov_xdp.pf.loop import Steps
from sriov_xdp.pf.restlessness import Restlessness

# A guest may take its XDP program off and put it back in a loop, and each change costs the writer some 20 ms. One that did so
# this often in this time stays in XDP mode, which is right with or without a program, until it rests.
_RESTLESS_CHANGES = 20
_RESTLESS_SECONDS = 5.0
_RESTLESS = "auto: the guest's XDP program comes and goes"
# The same holds for its carrier: a port whose link flaps stays seen as without, which is right either way (tc_forward()).
_NAMES_A_STEP = 64
_NETLINK, _DEVICE = "netlink", "device with ifindex"


class HostEvents:
    """Keeps the inventory in step with the host. Writer thread only."""

    def __init__(
        self,
        context: Context,
        links: LinkMonitor,
        names: NamespaceMonitor,
        walk: Callable[[Callable[[], Steps]], None],
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

    def on_links(self) -> None:
        """The link monitor has something; after an overrun everything is looked at."""
        changes = self._links.drain()
        if changes is None:
            text = "netlink: events were lost; looking at every device"
            self._budgeted.write(logging.WARNING, _NETLINK, LogKind.EVENTS, text)
            self._walk(self.look_at_all)
            return
        for change in changes:
            try:
                self._on_change(change)
            except lifecycle.FAULTS as error:  # of one device; the others' changes were read too and come only once
                self._complain(f"{_DEVICE} {change.ifindex}", "a change could not be followed", error)

    def on_names(self) -> None:
        """A namespace's name came or went."""
        self._names.drain()
        self._walk(self.look_at_names)

    def look_at_names(self) -> Steps:
        """Compares the inventory with the names that are there."""
        for number, vf in enumerate(self._attached(), start=1):
            attachment = vf.attachment
            if namespaces.identity(attachment.spec.netns) != attachment.netns_id:
                self._unplugged(vf, "namespace removed")
            if number % _NAMES_A_STEP == 0:
                yield

    def look_at_all(self) -> Steps:
        """Compares the inventory with the devices that are there, one by one: a dump of all is megabytes of messages at once."""
        for vf in self._attached():
            try:
                self._look_at(vf)
            except lifecycle.FAULTS as error:
                self._complain(str(vf.address), "its device could not be looked at", error)
            yield
        for pf in list(self._context.inventory.pfs.values()):
            try:
                self._look_at_uplink(pf)
            except lifecycle.FAULTS as error:
                self._complain(pf.spec.name, "its uplink could not be looked at", error)
            yield

    def _attached(self) -> Iterator[AttachedVf]:
        """Those that are attached when it begins, and still are when it is their turn."""
        for address, vf in list(self._context.inventory.vfs.items()):
            if self._context.inventory.vfs.get(address) is vf:
                yield vf

    def _look_at(self, vf: AttachedVf) -> None:
        link = self._context.links.find(vf.attachment.ifindex)
        if link is None:
            self._unplugged(vf, "interface deleted")
            return
        self._follow(vf, has_carrier=link.has_carrier, guest_runs_xdp=link.peer_runs_xdp)
        if link.mtu_bytes != self._context.inventory.mtu_bytes(vf.address.pf):
            lifecycle.follow_mtu(self._context, vf)

    def _look_at_uplink(self, pf: PhysicalFunction) -> None:
        links = self._context.links
        if pf.uplink and links.find(pf.uplink.ifindex) is None:
            uplinks.lost(self._context, pf)
        if pf.spec.uplink and pf.uplink is None and links.exists(pf.spec.uplink):
            uplinks.found(self._context, pf)
        if pf.uplink:
            uplinks.follow_addresses(self._context, pf)

    def settle(self) -> Steps:
        """Guests that were restless and rest now are followed again."""
        for address in list(self._waiting):
            vf = self._context.inventory.vfs.get(address)
            if vf and self._is_restless(vf):
                continue
            self._waiting.discard(address)
            link = self._context.links.find(vf.attachment.ifindex) if vf else None
            if vf and link:
                vf.active_reason = lifecycle.active_datapath(vf.attachment.spec.datapath, guest_runs_xdp=vf.guest_runs_xdp)[1]
                self._follow(vf, has_carrier=link.has_carrier, guest_runs_xdp=link.peer_runs_xdp)
            yield
        guests = frozenset(vf.attachment.spec.guest for vf in self._context.inventory.vfs.values())
        self._program_changes.forget_all_but(guests)
        self._carrier_changes.forget_all_but(guests)

    def _is_restless(self, vf: AttachedVf) -> bool:
        now, guest = self._clock(), vf.attachment.spec.guest
        return self._program_changes.is_restless(guest, now) or self._carrier_changes.is_restless(guest, now)

    def _on_change(self, change: LinkChange | AddressChange) -> None:
        if isinstance(change, LinkChange):
            self._on_link(change)
            return
        for pf in self._context.inventory.pfs.values():
            if pf.uplink and pf.uplink.ifindex == change.ifindex:
                uplinks.follow_addresses(self._context, pf)

    def _on_link(self, change: LinkChange) -> None:
        vf = next((vf for vf in self._context.inventory.vfs.values() if vf.attachment.ifindex == change.ifindex), None)
        if vf:
            if change.is_gone:
                self._unplugged(vf, "interface deleted")
            else:
                self._follow(vf, has_carrier=change.has_carrier, guest_runs_xdp=change.peer_runs_xdp)
            return
        for pf in self._context.inventory.pfs.values():
            if pf.uplink and pf.uplink.ifindex == change.ifindex:
                if change.is_gone:
                    uplinks.lost(self._context, pf)
                else:
                    uplinks.follow(self._context, pf, change)
            elif pf.uplink is None and pf.spec.uplink == change.name and not change.is_gone:
                uplinks.found(self._context, pf)

    def _follow(self, vf: AttachedVf, *, has_carrier: bool, guest_runs_xdp: bool) -> None:
        self._follow_program(vf, guest_runs_xdp=guest_runs_xdp)
        if vf.has_carrier == has_carrier:
            return
        now, guest = self._clock(), vf.attachment.spec.guest
        self._carrier_changes.changed(guest, now)
        if has_carrier and self._carrier_changes.is_restless(guest, now):
            self._waiting.add(vf.address)
            return
        vf.has_carrier = has_carrier
        self._context.tables.put_port(slot_of(vf), vf_image(self._context.inventory, vf))

    def _follow_program(self, vf: AttachedVf, *, guest_runs_xdp: bool) -> None:
        if vf.guest_runs_xdp == guest_runs_xdp:
            return
        now, guest = self._clock(), vf.attachment.spec.guest
        self._program_changes.changed(guest, now)
        if not guest_runs_xdp and self._program_changes.is_restless(guest, now):
            self._waiting.add(vf.address)
            if vf.attachment.spec.datapath is Datapath.AUTO:
                vf.active_reason = _RESTLESS
            return
        try:
            lifecycle.guest_xdp_changed(self._context, vf, guest_runs_xdp=guest_runs_xdp)
        except lifecycle.FAULTS as error:
            self._complain(str(vf.address), "the data path could not follow the guest", error)

    def _unplugged(self, vf: AttachedVf, why: str) -> None:
        try:
            lifecycle.detach(self._context, vf.address, SELF, f"unplugged: {why}")
        except lifecycle.FAULTS as error:
            self._complain(str(vf.address), "unplugged, but not everything could be cleaned", error)

    def _complain(self, subject: str, text: str, error: Exception) -> None:
        self._budgeted.write(logging.ERROR, subject, LogKind.EVENTS, "%s: %s: %s", subject, text, error)
