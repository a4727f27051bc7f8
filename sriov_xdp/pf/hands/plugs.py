"""What a guest is plugged in by: one protocol for all plugs, of which a network namespace's (veth) is the first.

Whoever needs a guest's device asks plug_of() and knows no more of it than the protocol says: a representor on the host, which is
known by its ifindex, and a guest end, which may be out of reach. What is done to the representor (silence, mark, MTU, up or down,
programs) is the same for all plugs (representors, hooks). For the pf package and the health view.
"""

from typing import Protocol

from sriov_xdp.host.links import Link, Links
from sriov_xdp.pf.hands import veth
from sriov_xdp.pf.state.intent import Attachment, PlugKind
from sriov_xdp.vswitch.vlan import Vlan


class Plug(Protocol):
    """All of it may run beside the writer, and be done again."""

    def create(self, links: Links, attachment: Attachment, group: int, mtu_bytes: int) -> str:
        """Makes representor and guest end, down and marked by the device group from their first moment. Returns the representor's
        name, another one than planned when somebody was quicker. Raises HostError, Conflict."""

    def prepare(self, links: Links, attachment: Attachment, representor: Link, instance: str, vlan: Vlan) -> None:
        """What the guest end needs before frames may enter. Raises HostError."""

    def show(self, links: Links, attachment: Attachment, representor: Link, instance: str, vlan: Vlan) -> None:
        """After the port changed: what the guest end says of it. Raises HostError, also when it is out of reach."""

    def remove(self, links: Links, attachment: Attachment) -> None:
        """Both ends, with the programs on them. Absent is fine. Raises HostError."""

    def find_guest_end(self, links: Links, attachment: Attachment) -> Link | None:
        """The guest end as it is now, whatever the guest calls it; None when it is out of reach."""

    def is_representor(self, link: Link) -> bool:
        """Whether a device is of the kind that the plug's representors are: another one of its ifindex is somebody else's."""

    def enter_xdp(self, links: Links, attachment: Attachment) -> dict[str, bool]:
        """Makes the guest end fit for XDP. Returns what changed settings were before. Raises HostError when it cannot be: then
        the VF must not run XDP."""

    def leave_xdp(self, links: Links, attachment: Attachment, before: dict[str, bool]) -> None:
        """The settings as they were; of a guest end that is out of reach, never."""

    def set_checksum_for_guest_program(self, links: Links, attachment: Attachment, *, is_needed: bool) -> None:
        """Whether checksums are whole when frames come to a guest's own XDP program."""

    def set_mtu(self, links: Links, attachment: Attachment, representor: Link, mtu_bytes: int) -> None:
        """Of the guest end. Raises HostError when it cannot."""


PLUGS: dict[PlugKind, Plug] = {PlugKind.VETH: veth}


def plug_of(attachment: Attachment) -> Plug:
    """By which an attachment's guest is plugged in."""
    return PLUGS[attachment.spec.plug]
