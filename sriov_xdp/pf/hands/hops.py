"""Hops: where what a shaped guest sends waits for its turn. A pair of devices on the host, whose near end has the queue; its far
end has the port's program, which goes on with what comes out. Frames of the guest enter the switch there and nowhere else.

A far end without its program would lead into the host's own stack, so it is treated as a representor is: made down and marked, up
with its program only, removed with it. Its program is a filter of the clsact qdisc for good: it needs no wait, and no pin.
Functions that take links run beside the writer as well. For the pf package.
"""

from sriov_xdp.host import tbf
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links
from sriov_xdp.pf.hands.hooks import VF_TC, Hooks
from sriov_xdp.pf.hands.representors import bucket_of
from sriov_xdp.pf.state.attached_vf import Hop
from sriov_xdp.pf.state.device_marks import hop_alias, hop_entrance_alias, hop_number
from sriov_xdp.pf.state.intent import Attachment, VfAddress
from sriov_xdp.vswitch.shaping import Queue


def hold(links: Links, hooks: Hooks, attachment: Attachment, instance: str, group: int, queue: Queue) -> Hop:
    """The port's hop, made, or put right where it is not as it must be. May be done again. Raises HostError, DataPathError."""
    far = links.find(hop_number(attachment.ifindex))
    if far is None or far.alias != hop_alias(instance, attachment.vf):
        far = _make(links, attachment, instance, group)
    hop = Hop(near=far.peer_ifindex, far=far.ifindex)
    if not tbf.has(hop.near, bucket_of(queue)):
        wanted = bucket_of(queue)
        assert wanted
        tbf.put(hop.near, wanted)
    open_again(links, hooks, attachment, hop)
    return hop


def _make(links: Links, attachment: Attachment, instance: str, group: int) -> Link:
    """Down, silent and marked; one that a run left half made goes first."""
    number = hop_number(attachment.ifindex)
    half_made = links.find(number)
    if half_made and half_made.group != group:
        raise HostError(f"device {half_made.name}: has the number of the hop of {attachment.vf}, and is somebody's; remove it")
    links.delete(number)
    near, far = f"hop{number:x}n", f"hop{number:x}f"
    links.create_hop(near, far, number, group)
    made = _required(links, number)
    links.silence(near, made.peer_ifindex)
    links.change(made.peer_ifindex, ifalias=hop_entrance_alias(instance, attachment.vf))
    links.silence(far, number)
    links.change(number, ifalias=hop_alias(instance, attachment.vf))
    return made


def _required(links: Links, ifindex: int) -> Link:
    link = links.find(ifindex)
    if link is None:
        raise HostError(f"device with ifindex {ifindex}: is gone, as soon as it was made")
    return link


def open_again(links: Links, hooks: Hooks, attachment: Attachment, hop: Hop) -> None:
    """Both ends up, with the program first. Raises HostError, DataPathError."""
    if missing(hooks, attachment, hop):
        hooks.hold(_name(attachment), VF_TC, hop.far)
    for ifindex in (hop.far, hop.near):
        links.change(ifindex, state="up")


def close(links: Links, hop: Hop) -> None:
    """Nothing comes out of it any more. Raises HostError."""
    links.change(hop.far, state="down")


def missing(hooks: Hooks, attachment: Attachment, hop: Hop) -> list[str]:
    """What its far end lacks. Raises DataPathError, HostError."""
    return [f"{program} of its hop" for program in hooks.missing(_name(attachment), VF_TC, None, hop.far)]


def is_as_it_must_be(links: Links, hooks: Hooks, attachment: Attachment, hop: Hop | None, queue: Queue | None) -> bool:
    """Whether there is one where there must be, with its queue and its program, and none where not. Raises HostError,
    DataPathError."""
    far = links.find(hop_number(attachment.ifindex))
    if queue is None or hop is None or far is None:
        return queue is None and hop is None and far is None
    is_open = far.is_up and far.has_carrier and far.peer_ifindex == hop.near
    return is_open and tbf.has(hop.near, bucket_of(queue)) and not missing(hooks, attachment, hop)


def remove(links: Links, representor: int, vf: VfAddress, instance: str) -> None:
    """Of a representor's number: the hop, with what waits in it. Absent is fine, and so is another's device of its number, which
    stays. Raises HostError."""
    far = links.find(hop_number(representor))
    if far and far.alias == hop_alias(instance, vf):
        links.delete(far.ifindex)


def dropped(hop: Hop) -> int:
    """Frames that found its queue full since it was made."""
    return tbf.drops(hop.near)


def _name(attachment: Attachment) -> str:
    return f"{attachment.vf}-hop"
