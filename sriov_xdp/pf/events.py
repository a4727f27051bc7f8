"""What the host does to us: devices and namespaces that appear, vanish or change, seen by the monitors."""

import logging
import time

from sriov_xdp.host import namespaces
from sriov_xdp.host.monitor import AddressChange, LinkChange, LinkMonitor, NamespaceMonitor
from sriov_xdp.pf import lifecycle, uplinks
from sriov_xdp.pf.context import SELF, Context
from sriov_xdp.pf.images import slot_of, vf_image
from sriov_xdp.pf.intent import Datapath, VfAddress
from sriov_xdp.pf.inventory import AttachedVf
from sriov_xdp.pf.restlessness import Restlessness

_log = logging.getLogger("sriov_xdp.pf")
# A guest may take its XDP program off and put it back in a loop, and each change costs the writer some 20 ms. One that did so
# this often in this time stays in XDP mode, which is right with or without a program, until it rests.
_RESTLESS_CHANGES = 20
_RESTLESS_SECONDS = 5.0
_RESTLESS = "auto: the guest's XDP program comes and goes"


class HostEvents:
    """Keeps the inventory in step with the host. Writer thread only."""

    def __init__(self, context: Context, links: LinkMonitor, names: NamespaceMonitor) -> None:
        self._context = context
        self._links = links
        self._names = names
        self._program_changes = Restlessness[str](most=_RESTLESS_CHANGES, within_seconds=_RESTLESS_SECONDS)
        self._waiting: set[VfAddress] = set()

    def on_links(self) -> None:
        """The link monitor has something; after an overrun everything is looked at."""
        changes = self._links.drain()
        if changes is None:
            _log.warning("netlink: events were lost; looking at every device")
            self.look_at_all()
            return
        for change in changes:
            try:
                self._on_change(change)
            except lifecycle.FAULTS as error:  # of one device; the others' changes were read too and come only once
                _log.error("device with ifindex %d: a change could not be followed: %s", change.ifindex, error)

    def on_names(self) -> None:
        """A namespace's name came or went."""
        self._names.drain()
        for vf in list(self._context.inventory.vfs.values()):
            attachment = vf.attachment
            if namespaces.identity(attachment.spec.netns) != attachment.netns_id:
                self._unplugged(vf, "namespace removed")

    def look_at_all(self) -> None:
        """Compares the inventory with the devices that are there, one by one: a dump of all is megabytes of messages at once."""
        links = self._context.links
        for vf in list(self._context.inventory.vfs.values()):
            link = links.find(vf.attachment.ifindex)
            if link is None:
                self._unplugged(vf, "interface deleted")
            else:
                self._follow(vf, has_carrier=link.has_carrier, guest_runs_xdp=link.peer_runs_xdp)
                if link.mtu_bytes != self._context.inventory.mtu_bytes(vf.address.pf):
                    lifecycle.follow_mtu(self._context, vf)
        for pf in list(self._context.inventory.pfs.values()):
            if pf.uplink and links.find(pf.uplink.ifindex) is None:
                uplinks.lost(self._context, pf)
            if pf.spec.uplink and pf.uplink is None and links.exists(pf.spec.uplink):
                uplinks.found(self._context, pf)
            if pf.uplink:
                uplinks.follow_addresses(self._context, pf)

    def settle(self) -> None:
        """Guests that were restless and rest now are followed again."""
        for address in list(self._waiting):
            vf = self._context.inventory.vfs.get(address)
            if vf and self._program_changes.is_restless(vf.attachment.spec.guest, time.monotonic()):
                continue
            self._waiting.discard(address)
            link = self._context.links.find(vf.attachment.ifindex) if vf else None
            if vf and link:
                vf.active_reason = lifecycle.mode_of(self._context, vf)[1]
                self._follow_program(vf, guest_runs_xdp=link.peer_runs_xdp)
        guests = frozenset(vf.attachment.spec.guest for vf in self._context.inventory.vfs.values())
        self._program_changes.forget_all_but(guests)

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
                if change.mtu_bytes > self._context.inventory.mtu_bytes(vf.address.pf):
                    lifecycle.follow_mtu(self._context, vf)  # the representor's MTU is what holds a guest to its own
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
        if vf.has_carrier != has_carrier:
            vf.has_carrier = has_carrier
            self._context.tables.put_port(slot_of(vf), vf_image(self._context.inventory, vf))

    def _follow_program(self, vf: AttachedVf, *, guest_runs_xdp: bool) -> None:
        if vf.guest_runs_xdp == guest_runs_xdp:
            return
        now, guest = time.monotonic(), vf.attachment.spec.guest
        self._program_changes.changed(guest, now)
        if not guest_runs_xdp and self._program_changes.is_restless(guest, now):
            self._waiting.add(vf.address)
            if vf.attachment.spec.datapath is Datapath.AUTO:
                vf.active_reason = _RESTLESS
            return
        try:
            lifecycle.guest_xdp_changed(self._context, vf, guest_runs_xdp=guest_runs_xdp)
        except lifecycle.FAULTS as error:
            _log.error("%s: the data path could not follow the guest: %s", vf.address, error)

    def _unplugged(self, vf: AttachedVf, why: str) -> None:
        try:
            lifecycle.detach(self._context, vf.address, SELF, f"unplugged: {why}")
        except lifecycle.FAULTS as error:
            _log.error("%s: unplugged, but not everything could be cleaned: %s", vf.address, error)
