"""Every port and uplink is held to its programs: looked at when a pin or a filter goes, and by the look each minute.

A port without its programs is closed until they are back (adoption.enforce()). An event only says that something came or went, also
by our own hand; what is missing is asked of the kernel, beside the writer, some ports at a time, and only of whom an event named:
while a thousand are attached each of them tells of itself. For the events; writer thread only.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sriov_xdp.host import bpffs
from sriov_xdp.host.folder_monitor import FolderMonitor
from sriov_xdp.host.links import Links
from sriov_xdp.pf.hands import live, uplinks
from sriov_xdp.pf.hands.context import Context, GoingOn, Steps
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.intent import Datapath
from sriov_xdp.pf.state.physical_function import PhysicalFunction, XdpMode
from sriov_xdp.pf.verbs import adoption

PINS_LOOK_SECONDS = 0.1
_VFS_A_STEP = 16
_IS_PIN = re.compile(r".+_(tc|xdp)")  # whatever else comes or goes there is somebody's who is at work in the folder


class HookWatch:
    """pins: where our links are pinned."""

    def __init__(
        self, context: Context, pins: FolderMonitor, going_on: GoingOn, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._pins = pins
        self._going_on = going_on
        self._clock = clock
        self._named: set[str] | None = set()  # VFs and uplinks to look at, None for all
        self._must_look_at_pins = False
        self._pins_looked_at = -PINS_LOOK_SECONDS
        self._is_checking = False

    def on_pins(self) -> None:
        """A pin came or went, by us or by somebody else: a port without its programs must not stay open."""
        names = self._pins.drain()
        is_known = names is not None and all(_IS_PIN.fullmatch(name) for name in names)
        self._name({_owner_of(name) for name in names or ()} if is_known else None)
        self._must_look_at_pins = True
        if self._clock() - self._pins_looked_at >= PINS_LOOK_SECONDS:
            self.look_at_pins()

    def look_at_pins(self) -> None:
        """For a timer: whether one that must be there went. Our own work tells of itself too, so this is a look at names. What it
        finds is looked at at once, whoever else was named with the next settle()."""
        if not self._must_look_at_pins:
            return
        self._pins_looked_at, self._must_look_at_pins = self._clock(), False
        lost = self._wanted_pins() - set(self._context.pins.link_names())
        if lost:
            self._name({_owner_of(name) for name in lost})
            self._check()

    def settle(self) -> None:
        """Each second: whom an event named, and what could not be done."""
        if self._named is None or self._named:
            self._check()

    def _name(self, owners: set[str] | None) -> None:
        self._named = None if owners is None or self._named is None else self._named | owners

    def on_filter_change(self, ifindex: int) -> None:
        """Perhaps the one that held our program went, or another came before it; a device that goes says so too. What is done about
        it is done when it is its turn, after what is being done to the port or the PF now."""
        vf = self._context.inventory.vf_with_ifindex(ifindex) or self._context.inventory.vf_with_hop(ifindex)
        if vf and vf.stage is not Stage.PLANNED:
            self._context.start(self._enforce(vf))
        for pf in self._context.inventory.pfs.values():
            if pf.uplink and pf.uplink.ifindex == ifindex:
                self._context.start(self._enforce_uplink(pf))

    def enforce_all(self) -> Steps[None]:
        """Every port and every uplink; and whose pins these are, where somebody removed the folder."""
        yield from self._enforce_named(None)

    def _enforce_named(self, named: set[str] | None) -> Steps[None]:
        with self._trying_again(None, str(self._context.pins.root), "its marks could not be put back yet"):
            if self._context.marks.instance() is None:
                bpffs.ensure(self._context.pins.root)
                self._context.marks.write_instance(self._context.instance)
                self._context.marks.write_revision(self._context.database.revision())
        in_service = [vf for vf in self._vfs_named(named) if vf.stage is Stage.IN_SERVICE]
        for start in range(0, len(in_service), _VFS_A_STEP):
            for vf in (yield from self._without_hooks(in_service[start : start + _VFS_A_STEP])):
                yield from self._enforce(vf)
        for pf in list(self._context.inventory.pfs.values()):
            if named is None or uplinks.link_name(pf) in named:
                yield from self._enforce_uplink(pf)

    def _vfs_named(self, named: set[str] | None) -> Iterator[AttachedVf]:
        vfs = list(self._context.inventory.vfs.values())
        return (vf for vf in vfs if named is None or str(vf.address) in named)

    def _check(self) -> None:
        """One check is under way or waits for its turn at most; what comes meanwhile is the next settle()'s."""
        if not self._is_checking:
            self._is_checking = True
            self._context.start(self._check_named())

    def _check_named(self) -> Steps[None]:
        named, self._named = self._named, set()
        try:
            yield from self._enforce_named(named)
        finally:
            self._is_checking = False

    def _pins_of(self, vf: AttachedVf) -> set[str]:
        has_tc = self._context.hooks.has_tcx and vf.is_settled
        kinds = [*(["tc"] if has_tc else []), *(["xdp"] if vf.active is Datapath.XDP else [])]
        return {f"{vf.address}_{kind}" for kind in kinds}

    def _wanted_pins(self) -> set[str]:
        in_service = [vf for vf in self._context.inventory.vfs.values() if vf.stage is Stage.IN_SERVICE]
        wanted = set().union(*map(self._pins_of, in_service))
        if self._context.hooks.has_tcx:
            wanted |= {f"{uplinks.link_name(pf)}_tc" for pf in self._context.inventory.pfs.values() if pf.uplink}
        with_xdp = (pf for pf in self._context.inventory.pfs.values() if pf.uplink and pf.uplink.xdp_mode is XdpMode.NATIVE)
        return wanted | {f"{uplinks.link_name(pf)}_xdp" for pf in with_xdp}

    def _without_hooks(self, vfs: list[AttachedVf]) -> Steps[list[AttachedVf]]:
        """Those that lack a program or a pin, or of which that cannot be told."""
        pins = set(self._context.pins.link_names())

        def lacks(links: Links, vf: AttachedVf) -> bool:
            try:
                return bool(adoption.missing_of_device(self._context, links, vf) or self._pins_of(vf) - pins)
            except Exception:  # noqa: BLE001  # then it is looked at by itself
                return True

        return (yield from live.beside(self._context, lambda links: [vf for vf in vfs if lacks(links, vf)]))

    def _enforce(self, vf: AttachedVf) -> Steps[None]:
        with self._trying_again({str(vf.address)}, str(vf.address), "its programs could not be put back yet"):
            if self._context.inventory.vfs.get(vf.address) is vf and vf.stage is Stage.IN_SERVICE:
                yield from adoption.enforce(self._context, vf)

    def _enforce_uplink(self, pf: PhysicalFunction) -> Steps[None]:
        with self._trying_again({uplinks.link_name(pf)}, pf.spec.name, "the programs of its uplink could not be put back yet"):
            if pf.uplink:
                uplinks.enforce(self._context, pf)
        yield None

    @contextmanager
    def _trying_again(self, owners: set[str] | None, subject: str, text: str) -> Iterator[None]:
        """What fails is tried again with settle(): the kernel may still be letting go of a link whose pin went."""
        with self._going_on(subject, text):
            try:
                yield
            except Exception:
                self._name(owners)
                raise


def _owner_of(pin: str) -> str:
    """A VF, or what an uplink's pins are called by."""
    return pin.rpartition("_")[0]
