"""The host's side of a VF: the representor's number, name and MTU, its mark, that it is silent, and whether it lets frames in. The
same for every plug, none of which can forget any of it; a plug does the guest end's part in between.

Functions that take links run beside the writer as well. For the pf package.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from sriov_xdp.datapath import abi
from sriov_xdp.host import features, tbf
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.host.links import Link, Links
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.state.device_marks import host_alias, is_ready
from sriov_xdp.pf.state.intent import Attachment, VfAddress
from sriov_xdp.pf.state.modes import xdp_problem
from sriov_xdp.vswitch.policy import LEAST_MTU_BYTES
from sriov_xdp.vswitch.shaping import Queue, Shaping
from sriov_xdp.vswitch.vlan import Vlan

if TYPE_CHECKING:
    from sriov_xdp.pf.hands.plugs import Plug

_BYTES_A_KBPS = 125
_FIRST_BLOCK = 1 << 10  # far above what the kernel hands out, so nobody else's device lands on a slot
_BLOCKS = (1 << 20) - _FIRST_BLOCK  # an ifindex has 31 bits, the slot ten of them; the highest is a hop's (device_marks)


def choose_ifindex(used_slots: frozenset[int], instance: str, generation: int) -> int:
    """A number whose low bits are a free slot and whose high bits come from the generation: a late event of an earlier owner of
    the slot names another device. Each instance counts from elsewhere, so that two on one host do not meet. Raises Conflict
    when all slots are in use."""
    block = _FIRST_BLOCK + (int(instance, 16) + generation) % _BLOCKS
    for slot in range(abi.FIRST_VF_SLOT, abi.MAX_PORTS):
        if slot not in used_slots:
            return block * abi.MAX_PORTS + slot
    raise Conflict(f"VFs: all {abi.MAX_PORTS - abi.FIRST_VF_SLOT} slots of this host are in use; detach one first")


def generation_of(ifindex: int, instance: str) -> int:
    """The reverse, of the generation."""
    return (ifindex // abi.MAX_PORTS - _FIRST_BLOCK - int(instance, 16)) % _BLOCKS


def choose_name(links: Links, vf: VfAddress) -> str:
    """The representor's name: the VF's address, with a letter when somebody else has that name."""
    for suffix in ("", *"abcdefghijklmnopqrstuvwxyz"):
        if not links.exists(f"{vf}{suffix}"):
            return f"{vf}{suffix}"
    raise Conflict(f"representor of {vf}: {vf} and {vf}a to {vf}z are all taken by other devices; remove one")


def required(links: Links, attachment: Attachment) -> Link:
    """Raises HostError when it is gone."""
    link = links.find(attachment.ifindex)
    if link is None:
        raise HostError(f"representor {attachment.representor} of {attachment.vf}: is gone")
    return link


def prepare(plug: "Plug", links: Links, attachment: Attachment, instance: str, vlan: Vlan) -> None:
    """What both ends need before frames may enter. May be done again. The mark comes last, so that one who finds it finds all
    done. Raises HostError."""
    representor = required(links, attachment)
    links.silence(representor.name, attachment.ifindex)
    features.write(representor.name, {features.TX_VLAN: False})
    plug.prepare(links, attachment, representor, instance, vlan)
    links.change(attachment.ifindex, ifalias=host_alias(instance, attachment, vlan))


def show(plug: "Plug", links: Links, attachment: Attachment, instance: str, vlan: Vlan) -> None:
    """After the port changed: what both ends say of it. Nothing to do where the mark is right, which comes last. Raises HostError,
    also when the guest end is out of reach."""
    representor = required(links, attachment)
    if not is_ready(representor, instance, attachment, vlan):
        plug.show(links, attachment, representor, instance, vlan)
        links.change(attachment.ifindex, ifalias=host_alias(instance, attachment, vlan))


def set_mtu(plug: "Plug", links: Links, attachment: Attachment, mtu_bytes: int, jumbo: JumboXdp) -> None:
    """Both ends, after the switch's MTU changed, or somebody else's hand. The representor's is what holds the guest to it, so it is
    never raised under an XDP program that must not see longer frames. Below 1280 the kernel forgets how IPv6 was on a device and
    begins anew above, so it is silenced again. Raises HostError when an end cannot."""
    representor = required(links, attachment)
    problem = xdp_problem(mtu_bytes, jumbo) if representor.xdp_program_id else None
    if problem:
        raise HostError(f"representor {attachment.representor}: still runs XDP: {problem}")
    links.change(attachment.ifindex, mtu=mtu_bytes)
    links.silence(representor.name, attachment.ifindex)
    plug.set_mtu(links, attachment, representor, mtu_bytes)


def open_port(links: Links, attachment: Attachment, *, is_up: bool) -> None:
    """Up lets frames in: only when the programs are there. Raises HostError."""
    links.change(attachment.ifindex, state="up" if is_up else "down")


def hold_to_rate(attachment: Attachment, queue: Queue | None) -> None:
    """What leaves to the guest waits there for its turn; None: it does not wait. Nothing to do where it is so already. Raises
    HostError."""
    wanted = bucket_of(queue)
    if is_held_to_rate(attachment, queue):
        return
    if wanted:
        tbf.put(attachment.ifindex, wanted)
    else:
        tbf.remove(attachment.ifindex)


def is_held_to_rate(attachment: Attachment, queue: Queue | None) -> bool:
    """Whether it is so, as the kernel says. Raises HostError."""
    return tbf.has(attachment.ifindex, bucket_of(queue))


def bucket_of(queue: Queue | None) -> tbf.Bucket | None:
    """As the kernel is told."""
    if queue is None:
        return None
    return tbf.Bucket(
        rate=queue.bytes_per_second,
        peak=queue.peak_bytes_per_second,
        burst=queue.burst_bytes,
        limit=queue.limit_bytes,
        longest=queue.longest_bytes,
    )


def dropped_by_rate(attachment: Attachment) -> int:
    """Frames for the guest that found its queue full."""
    return tbf.drops(attachment.ifindex)


def shaping_of(bucket: tbf.Bucket | None) -> Shaping:
    """The setting that a queue stands for. A burst is told only where it is not the one that the rate has."""
    if bucket is None or not bucket.rate:
        return Shaping()
    said = Shaping(average_kbps=bucket.rate // _BYTES_A_KBPS, peak_kbps=bucket.peak // _BYTES_A_KBPS)
    chosen = bucket_of(said.queue(LEAST_MTU_BYTES))
    is_chosen = chosen is not None and abs(chosen.burst - bucket.burst) <= tbf.burst_step_bytes(bucket.rate)
    return said if is_chosen else replace(said, burst_bytes=bucket.burst)
