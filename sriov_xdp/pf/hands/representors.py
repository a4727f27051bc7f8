"""The host's side of a VF: the representor's number and name, and whether it lets frames in. The same for every plug.

Functions that take links run beside the writer as well. For the pf package.
"""

from sriov_xdp.datapath import abi
from sriov_xdp.host.links import Links
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.state.intent import Attachment, VfAddress

_FIRST_BLOCK = 1 << 10  # far above what the kernel hands out, so nobody else's device lands on a slot
_BLOCKS = (1 << 21) - _FIRST_BLOCK  # an ifindex has 31 bits, the slot ten of them


def choose_ifindex(used_slots: frozenset[int], instance: str, generation: int) -> int:
    """A number whose low bits are a free slot and whose high bits come from the generation: a late event of an earlier owner of
    the slot names another device. Each instance counts from elsewhere, so that two on one host do not meet. Raises Conflict
    when all slots are in use."""
    block = _FIRST_BLOCK + (int(instance, 16) + generation) % _BLOCKS
    for slot in range(abi.FIRST_VF_SLOT, abi.MAX_PORTS):
        if slot not in used_slots:
            return block * abi.MAX_PORTS + slot
    raise Conflict(f"VFs: all {abi.MAX_PORTS - abi.FIRST_VF_SLOT} slots of this host are in use; detach one first")


def choose_name(links: Links, vf: VfAddress) -> str:
    """The representor's name: the VF's address, with a letter when somebody else has that name."""
    for suffix in ("", *"abcdefghijklmnopqrstuvwxyz"):
        if not links.exists(f"{vf}{suffix}"):
            return f"{vf}{suffix}"
    raise Conflict(f"representor of {vf}: {vf} and {vf}a to {vf}z are all taken by other devices; remove one")


def open_port(links: Links, attachment: Attachment, *, is_up: bool) -> None:
    """Up lets frames in: only when the programs are there. Raises HostError."""
    links.change(attachment.ifindex, state="up" if is_up else "down")
