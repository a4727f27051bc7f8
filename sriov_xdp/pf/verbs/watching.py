"""Ports whose real frames somebody wants to see: as long as he goes on asking. The programs keep the last frames of such ports
(datapath/samples.py); all their frames take the long way meanwhile.

Writer thread only; for the admin API.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sriov_xdp.datapath import samples
from sriov_xdp.datapath.abi import Verdict
from sriov_xdp.datapath.samples import Cursor, Sample
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.hands.publish import publish_pfs, publish_ports
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.images import is_promiscuous, slot_of
from sriov_xdp.pf.state.intent import Switching
from sriov_xdp.pf.state.physical_function import PhysicalFunction
from sriov_xdp.vswitch.vlan import Proto

LEASE_SECONDS = 3.0
LOOK_SECONDS = 1.0
_COPIED = (Verdict.FORWARDED, Verdict.FLOODED)
_MOST_OF_A_CPU = 100  # samples in one answer: guests are served between two


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What somebody saw since he asked last. lost: how many frames came faster than they were read."""

    samples: list[Sample]
    cursor: Cursor
    lost: int


def watch(context: Context, port: AttachedVf | PhysicalFunction, cursor: Sequence[int] | None) -> Seen:
    """Frames that entered by a port, or came to one; of a PF those that came from the wire. cursor: as the last answer had it, None
    at first. Raises DataPathError."""
    was_watched = _is_watched(context, port)
    port.watched_until = context.clock() + LEASE_SECONDS
    if not was_watched:
        _publish(context, [port])
    if cursor is None:
        return Seen(samples=[], cursor=samples.now(context.pins), lost=0)
    found, ends, lost = samples.read(context.pins, cursor, _MOST_OF_A_CPU)
    return Seen(samples=[sample for sample in found if _concerns(context, port, sample)], cursor=ends, lost=lost)


def look(context: Context) -> None:
    """For a timer, every LOOK_SECONDS: nobody watches what nobody asks for. Raises DataPathError."""
    ports: list[AttachedVf | PhysicalFunction] = [*context.inventory.vfs.values(), *context.inventory.pfs.values()]
    over = [port for port in ports if port.watched_until and not _is_watched(context, port)]
    for port in over:
        port.watched_until = 0.0
    if over:
        _publish(context, over)


def _is_watched(context: Context, port: AttachedVf | PhysicalFunction) -> bool:
    return port.watched_until > context.clock()


def _publish(context: Context, ports: Iterable[AttachedVf | PhysicalFunction]) -> None:
    vfs = [port for port in ports if isinstance(port, AttachedVf)]
    pfs = {port.spec.name if isinstance(port, PhysicalFunction) else port.address.pf for port in ports}
    with context.tables.changing():
        publish_ports(context, vfs)
        publish_pfs(context, pfs)


def _concerns(context: Context, port: AttachedVf | PhysicalFunction, sample: Sample) -> bool:
    """A flood concerns all in its VLAN, and other frames those who listen to it."""
    if isinstance(port, PhysicalFunction):
        return sample.slot == port.number
    if slot_of(port) in (sample.slot, sample.target_slot):
        return True
    vlan = context.inventory.vlan(port)
    is_in_vlan = sample.vlan in vlan.domains and sample.is_service is (vlan.proto is Proto.SERVICE)
    is_flood = sample.target_slot is None and bool(sample.octets[0] & 1)
    is_heard = is_flood or (sample.verdict in _COPIED and _is_copied_to(context, port, sample))
    return is_heard and is_in_vlan and _pf_of(context, sample) == port.address.pf


def _is_copied_to(context: Context, port: AttachedVf, sample: Sample) -> bool:
    """Whether a port hears unicast between others. What a guest sends to the wire of a PF that switches nothing is for that alone,
    and ports that were cut because of a loop neither give copies nor get any."""
    sender = next((vf for vf in context.inventory.vfs.values() if slot_of(vf) == sample.slot), None)
    is_vepa = context.inventory.pfs[port.address.pf].spec.switching is Switching.VEPA
    if port.cut_for_loop_with or (sender is not None and (is_vepa or sender.cut_for_loop_with)):
        return False
    return is_promiscuous(context.inventory.policy(port), port.state)


def _pf_of(context: Context, sample: Sample) -> str | None:
    """Where it entered."""
    for name, pf in context.inventory.pfs.items():
        if sample.slot == pf.number:
            return name
    return next((vf.address.pf for vf in context.inventory.vfs.values() if slot_of(vf) == sample.slot), None)
