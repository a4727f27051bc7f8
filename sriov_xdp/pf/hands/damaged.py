"""What belongs to stored objects that cannot be read: it works on as it is, and nobody else gets it.

A row that is damaged does not say what it was about, so while there is one every device that is marked as ours and that no other
row names may be its, and every PF's port that no PF has. For the pf package; writer thread only.
"""

import contextlib
from collections.abc import Mapping

from sriov_xdp.datapath.abi import FIRST_VF_SLOT, SLOT_MASK, Members, PortFlag
from sriov_xdp.host.links import Link
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.state.device_marks import is_hop_entrance, is_of, read_host_mark
from sriov_xdp.pf.state.intent import VfAddress


def devices(context: Context) -> list[Link]:
    """Representors that may be of a damaged row, and both ends of hops."""
    if not context.damaged:
        return []
    used = {vf.attachment.ifindex for vf in context.inventory.vfs.values()} | context.inventory.hop_devices()
    return [link for link in context.links.dump() if is_of(context.instance, link) and link.ifindex not in used]


def slots(context: Context) -> frozenset[int]:
    """Ports that are left to work as they do."""
    if not context.damaged:
        return frozenset()
    known = {pf.number for pf in context.inventory.pfs.values()}
    of_pfs = {slot for slot in context.tables.slots() if slot < FIRST_VF_SLOT} - known
    return frozenset(of_pfs) | {link.ifindex & SLOT_MASK for link in devices(context) if not is_hop_entrance(link)}


def has_trunks(context: Context, pf: int) -> bool:
    """Whether a trunk port of a PF is among them: then the PF's own port says that there are some."""
    known = filter(None, (context.tables.port(slot) for slot in slots(context)))
    return any(port.pf == pf and PortFlag.TRUNK in port.flags for port, _trunk in known)


def vfs(context: Context) -> frozenset[VfAddress]:
    """VFs that are not free, though nothing that can be read is attached to them: by the rows' names and the devices' marks."""
    found = set()
    for name in context.damaged:
        with contextlib.suppress(ValueError):
            found.add(VfAddress.parse(name))
    marks = (read_host_mark(context.instance, link) for link in devices(context))
    return frozenset(found | {mark.vf for mark in marks if mark})


def require_none(context: Context, subject: str) -> None:
    """Raises Conflict: what speaks of the whole host would be wrong about what cannot be read."""
    if context.damaged:
        names = ", ".join(sorted(context.damaged)[:4])
        text = f"{subject}: the stored form of {names} cannot be read, so that the host is not known whole"
        raise Conflict(f"{text}; stop the daemon and run `sriov-xdp recover`")


def with_their_floods(context: Context, pf: int, lists: Mapping[int, Members]) -> dict[int, Members]:
    """Flood lists of a PF in which those whose rows cannot be read stay where they are. XDP leaves these lists to tc."""
    left = slots(context)
    if not left:
        return dict(lists)
    found = dict(lists)
    for vlan, before in context.tables.members_of(pf).items():
        kept = tuple(slot for slot in before.slots if slot in left)
        if kept:
            known = found.get(vlan, Members(()))
            found[vlan] = Members((*known.slots, *kept), known.of_tc + len(kept))
    return found
