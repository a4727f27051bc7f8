"""The watch for loops through guests: reads counters, sends probes, cuts ports and heals them. What to do is decided in loops.py.

What was found is not kept over a restart: a port that was cut is in service again until the loop is found anew.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable

from sriov_xdp.datapath.probes import probe
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.probe import ProbeSocket
from sriov_xdp.pf.errors import FAULTS
from sriov_xdp.pf.hands.context import Context, Steps
from sriov_xdp.pf.hands.publish import publish_ports
from sriov_xdp.pf.hands.turns import finish
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.images import slot_of
from sriov_xdp.pf.state.loops import GuestPort, Loops, Probe
from sriov_xdp.pf.verbs import inner_vlans
from sriov_xdp.pf.verbs.inner_vlans import InnerVlans

_log = logging.getLogger("sriov_xdp.pf")
_PROBES_A_STEP = 64


def _open_socket() -> ProbeSocket | None:
    """A daemon that may not have one serves its guests all the same."""
    try:
        return ProbeSocket()
    except HostError as error:
        _log.warning("loops through guests will not be found: %s", error)
        return None


class LoopWatch:
    """Writer thread only. clock_ns: the clock of the programs' returns, CLOCK_MONOTONIC."""

    def __init__(self, context: Context, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._context = context
        self._clock_ns = clock_ns
        self._loops = Loops(nonce=secrets.randbits(64))
        self._inner = InnerVlans()
        self._socket = _open_socket()

    def look(self) -> Steps[None] | None:
        """For a timer, every loops.LOOK_SECONDS. Steps, where there are more probes to send than fit into a turn."""
        if self._socket is None:
            return None
        vfs = {slot_of(vf): vf for vf in self._candidates()}
        self._inner.forget_all_but(frozenset(map(_place_of, vfs.values())))
        ports = [self._port(vf) for vf in vfs.values()]
        returns = {slot: self._context.tables.probe_return(slot) for slot in self._loops.watched() if slot in vfs}
        noted = {slot: found for slot, found in returns.items() if found is not None}
        findings = self._loops.look(ports, noted, self._clock_ns())
        for cut in findings.cuts:
            self._cut(vfs[cut.slot], vfs[cut.other])
        for slot in findings.healed:
            self._heal(vfs[slot])
        self._look_inside([vfs[slot] for slot in findings.suspicious])
        sending = self._send(self._socket, [(vfs[wanted.sender], wanted) for wanted in findings.probes])
        if len(findings.probes) > _PROBES_A_STEP:
            return sending
        finish(sending)
        return None

    def close(self) -> None:
        """Ends the socket."""
        if self._socket:
            self._socket.close()

    def _candidates(self) -> list[AttachedVf]:
        """VFs of namespaces that have several of one PF, and what is cut, whoever is left beside it."""
        vfs = [vf for vf in self._context.inventory.vfs.values() if vf.stage is not Stage.PLANNED]
        ports = Counter(_place_of(vf) for vf in vfs)
        return [vf for vf in vfs if ports[_place_of(vf)] > 1 or vf.cut_for_loop_with]

    def _port(self, vf: AttachedVf) -> GuestPort:
        return GuestPort(
            slot=slot_of(vf),
            generation=vf.attachment.generation,
            guest=_place_of(vf),
            vlans=self._context.inventory.vlan(vf).domains | self._inner.of(_place_of(vf), vf, self._context),
            flooded_frames=self._flooded_frames(vf),
        )

    def _flooded_frames(self, vf: AttachedVf) -> int:
        """Those for groups; all, where unicast is copied too."""
        tables, slot = self._context.tables, slot_of(vf)
        return tables.frames_of(slot) if self._is_copied(vf) else tables.group_frames_of(slot)

    def _is_copied(self, vf: AttachedVf) -> bool:
        inventory = self._context.inventory
        return not inventory.vlan(vf).domains.isdisjoint(inventory.listened_vlans(vf.address.pf))

    def _look_inside(self, suspicious: list[AttachedVf]) -> None:
        for vf in suspicious:
            try:
                self._inner.look_at(_place_of(vf), vf, self._context)
            except FAULTS as error:  # of one port; others are to be looked at as well
                _log.error("%s: its guest's own VLANs cannot be seen: %s", vf.address, error)

    def _cut(self, vf: AttachedVf, other: AttachedVf) -> None:
        vf.cut_for_loop_with = other.address
        _log.warning(
            "guest %s: loop through %s and %s: what leaves to one comes back by the other; %s takes no part in broadcast, "
            "multicast and copies until the loop is gone; take one of the two out of the guest's bridge",
            vf.attachment.spec.guest,
            other.address,
            vf.address,
            vf.address,
        )
        self._publish(vf)

    def _heal(self, vf: AttachedVf) -> None:
        _log.info(
            "guest %s: the loop through %s and %s is gone; %s takes part in broadcast, multicast and copies again",
            vf.attachment.spec.guest,
            vf.cut_for_loop_with,
            vf.address,
            vf.address,
        )
        vf.cut_for_loop_with = None
        self._publish(vf)

    def _publish(self, vf: AttachedVf) -> None:
        try:
            publish_ports(self._context, [vf])
        except FAULTS as error:  # of one port; others are to be cut as well
            _log.error("%s: its part in floods could not be changed: %s", vf.address, error)

    def _send(self, socket: ProbeSocket, probes: list[tuple[AttachedVf, Probe]]) -> Steps[None]:
        for number, (vf, wanted) in enumerate(probes, start=1):
            if self._context.inventory.vfs.get(vf.address) is vf:
                tag = self._tag(vf, wanted.vlan)
                for is_unicast in (False, True) if self._is_copied(vf) else (False,):
                    frame = probe(wanted.sender, wanted.vlan, self._loops.nonce, tag, is_unicast=is_unicast)
                    socket.send(vf.attachment.ifindex, frame)
            if number % _PROBES_A_STEP == 0:
                yield None

    def _tag(self, vf: AttachedVf, wanted: int) -> tuple[int, int] | None:
        """Of a probe into a guest in a VLAN of it."""
        vlan = self._context.inventory.vlan(vf)
        if inner_vlans.is_inner(wanted):
            return inner_vlans.TPID, inner_vlans.inner_of(wanted)
        return (vlan.proto.tpid, wanted) if wanted != vlan.untagged_vlan else None


def _place_of(vf: AttachedVf) -> tuple[str, str]:
    """What a loop goes through: a PF, and a namespace, whatever its guests are called."""
    device, number = vf.attachment.netns_id
    return vf.address.pf, f"{device}:{number}"
