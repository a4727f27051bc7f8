"""VLANs that a guest has within one of 802.1ad's: what a guest loops may be one of these alone, in which a probe without its tag is
not seen. Which there are only its frames tell, so those of its ports are looked at that carry suspiciously many.

Writer thread only; for the watch for loops.
"""

from sriov_xdp.datapath.samples import Cursor, Sample
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.images import slot_of
from sriov_xdp.pf.verbs.watching import watch
from sriov_xdp.vswitch.vlan import Proto, VlanMode

TPID = Proto.CUSTOMER.tpid
_BEHIND = 16  # bits, above the switch's VLAN
_MOST_OF_A_PLACE = 32
_VLAN_MASK = 0xFFF

Place = tuple[str, str]


def is_inner(vlan: int) -> bool:
    """Whether a number stands for a VLAN of a guest's own."""
    return vlan >> _BEHIND > 0


def inner_of(vlan: int) -> int:
    """Its number in the guest's tag."""
    return vlan >> _BEHIND


class InnerVlans:
    """What was seen of them, those that were seen last, by what a loop goes through (a PF and a namespace)."""

    def __init__(self) -> None:
        self._seen: dict[Place, dict[int, None]] = {}
        self._cursors: dict[Place, dict[int, Cursor]] = {}  # by a representor's number, which no later one has soon

    def of(self, place: Place, vf: AttachedVf, context: Context) -> frozenset[int]:
        """Numbers that stand for a port's: a VLAN of the switch, and one of the guest's behind it."""
        if not _may_have_some(vf, context):
            return frozenset()
        outer = context.inventory.vlan(vf).untagged_vlan
        return frozenset(outer | inner << _BEHIND for inner in self._seen.get(place, ()))

    def look_at(self, place: Place, vf: AttachedVf, context: Context) -> None:
        """At what enters by a port. Its first frames are told of with the next look. Raises DataPathError."""
        if not _may_have_some(vf, context):
            return
        cursors = self._cursors.setdefault(place, {})
        seen = watch(context, vf, cursors.get(vf.attachment.ifindex))
        cursors[vf.attachment.ifindex] = seen.cursor
        for sample in seen.samples:
            inner = _inner_tag(sample) if sample.slot == slot_of(vf) else 0
            if inner:
                self._note(place, inner)

    def forget_all_but(self, places: frozenset[Place]) -> None:
        """Those are left."""
        self._seen = {place: seen for place, seen in self._seen.items() if place in places}
        self._cursors = {place: cursors for place, cursors in self._cursors.items() if place in places}

    def _note(self, place: Place, inner: int) -> None:
        seen = self._seen.setdefault(place, {})
        seen.pop(inner, None)
        seen[inner] = None
        if len(seen) > _MOST_OF_A_PLACE:
            del seen[next(iter(seen))]


def _may_have_some(vf: AttachedVf, context: Context) -> bool:
    vlan = context.inventory.vlan(vf)
    return vlan.proto is Proto.SERVICE and vlan.mode is VlanMode.ACCESS


def _inner_tag(sample: Sample) -> int:
    """Of a group frame, the VLAN in the guest's tag, or 0."""
    octets = sample.octets
    if not octets[0] & 1 or int.from_bytes(octets[12:14]) != TPID:
        return 0
    return int.from_bytes(octets[14:16]) & _VLAN_MASK
