"""Addresses that several ports may hold, as a virtual router's: each leads to the one who spoke last, by a request or by a frame,
which the programs note. What leads elsewhere then is published at once.

For the pf package; writer thread only.
"""

import logging
from collections.abc import Iterable

from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.hands.publish import publish_ports
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.images import fdb_key, slot_of
from sriov_xdp.pf.state.physical_function import PhysicalFunction
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.owners import UPLINK_OWNER, Held

LOOK_SECONDS = 0.2  # so many times a second an address moves at most, whoever speaks by it
_log = logging.getLogger("sriov_xdp.pf")


def announce(context: Context, vf: AttachedVf, addresses: Iterable[MacAddress]) -> None:
    """A guest asked for these, which it has now. Raises DataPathError."""
    pf = context.inventory.pf(vf.address.pf)
    place = context.inventory.vlan(vf).place
    held = pf.owners.shared.held_by(str(vf.address)) & {(place, address) for address in addresses}
    for one in held:
        context.tables.note_speaker(_key(pf, one), slot_of(vf))
    _move(context, pf, {one: str(vf.address) for one in held})


def take_up(context: Context) -> None:
    """At a start: who spoke last is the programs' to say. Raises DataPathError."""
    for pf in context.inventory.pfs.values():
        for held, speaker in _speakers(context, pf).items():
            pf.owners.shared.note_speaker(held, speaker)


def look(context: Context) -> None:
    """For a timer, every LOOK_SECONDS. Raises DataPathError."""
    for pf in context.inventory.pfs.values():
        _move(context, pf, _speakers(context, pf))


def _move(context: Context, pf: PhysicalFunction, speakers: dict[Held, str]) -> None:
    moved = [held for held, speaker in speakers.items() if pf.owners.shared.note_speaker(held, speaker)]
    if moved:
        publish_ports(context, context.inventory.holders_of_pf(pf.spec.name))
    for held in moved:
        _log.debug("%s: %s leads to %s now, who spoke by it last", pf.spec.name, held[1], speakers[held])


def _speakers(context: Context, pf: PhysicalFunction) -> dict[Held, str]:
    """By the programs' notes; without those by which nobody spoke, or one who is gone."""
    everything = pf.owners.shared.everything()
    if not everything:
        return {}
    names = {slot_of(vf): str(vf.address) for vf in context.inventory.holders_of_pf(pf.spec.name)}
    names[pf.number] = UPLINK_OWNER
    noted = {held: names.get(context.tables.speaker(_key(pf, held))) for held in everything}
    return {held: name for held, name in noted.items() if name is not None}


def _key(pf: PhysicalFunction, held: Held) -> int:
    place, address = held
    return fdb_key(pf.number, place, address)
