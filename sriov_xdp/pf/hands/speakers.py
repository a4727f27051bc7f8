"""Addresses that several ports may hold, as a virtual router's: each leads to the one who spoke last, by a request or by a frame.
Both are noted in one place, a request here and a frame by the programs, and looked at some times a second, some at a time: so
often an address moves at most, whoever speaks by it.

For the pf package; writer thread only.
"""

import logging
from collections.abc import Iterable
from itertools import islice

from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.pf.hands.context import Context, Steps
from sriov_xdp.pf.hands.publish import publish_ports
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.images import fdb_key, slot_of
from sriov_xdp.pf.state.physical_function import PhysicalFunction
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.owners import UPLINK_OWNER, Held

LOOK_SECONDS = 0.2
_A_STEP = 32  # addresses: each is a question to the kernel
_MOST_OF_A_REQUEST, _MOST_NOTES_OF_A_REQUEST = 16, 256
_log = logging.getLogger("sriov_xdp.pf")


def announce(context: Context, vf: AttachedVf, addresses: Iterable[MacAddress]) -> None:
    """A guest asked for these: of those that it holds, the first ones are noted. Raises DataPathError."""
    pf, name = context.inventory.pf(vf.address.pf), str(vf.address)
    shared, places = pf.owners.shared, sorted(context.inventory.vlan(vf).shared_places)
    mine = islice((one for one in addresses if any(shared.is_held(name, (place, one)) for place in places)), _MOST_OF_A_REQUEST)
    for one in islice(((place, address) for address in mine for place in places), _MOST_NOTES_OF_A_REQUEST):
        if shared.speaker(one) != name:
            context.tables.note_speaker(_key(pf, one), slot_of(vf))


def take_up(context: Context) -> None:
    """At a start: who spoke last is the programs' to say. Raises DataPathError."""
    for pf in context.inventory.pfs.values():
        names = _names(context, pf)
        for held in pf.owners.shared.everything():
            _note(context, pf, held, names)


def look(context: Context) -> Steps[None] | None:
    """For a timer, every LOOK_SECONDS. Steps, where there are more than fit into a turn. Raises DataPathError."""
    pending = [(pf, held) for pf in context.inventory.pfs.values() for held in pf.owners.shared.everything()]
    if not pending:
        return None
    return _look_at(context, pending)


def _look_at(context: Context, pending: list[tuple[PhysicalFunction, Held]]) -> Steps[None]:
    for start in range(0, len(pending), _A_STEP):
        batch = [(pf, held) for pf, held in pending[start : start + _A_STEP] if context.inventory.pfs.get(pf.spec.name) is pf]
        names = {pf.spec.name: _names(context, pf) for pf, _held in batch}
        news = {pf.spec.name for pf, held in batch if _note(context, pf, held, names[pf.spec.name])}
        try:
            for name in news:
                publish_ports(context, context.inventory.moved_of_pf(name))
        except DataPathError:
            context.needs_publish = True  # whom it leads to is not asked a second time
            raise
        yield None


def _note(context: Context, pf: PhysicalFunction, held: Held, names: dict[int, str]) -> bool:
    """Whether it is another one who spoke last. names: by slots; one who is gone is nobody."""
    speaker = names.get(context.tables.speaker(_key(pf, held)))
    if speaker is None or not pf.owners.shared.note_speaker(held, speaker):
        return False
    _log.debug("%s: %s was spoken by last by %s", pf.spec.name, held[1], speaker)
    return True


def _names(context: Context, pf: PhysicalFunction) -> dict[int, str]:
    names = {slot_of(vf): str(vf.address) for vf in context.inventory.vfs_of_pf(pf.spec.name)}
    return {**names, pf.number: UPLINK_OWNER}


def _key(pf: PhysicalFunction, held: Held) -> int:
    place, address = held
    return fdb_key(pf.number, place, address)
