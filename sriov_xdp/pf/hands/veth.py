"""The plug of a guest that is a network namespace: a veth pair, the representor on the host and the guest end in the namespace.

The pair is made down and marked, and its representor comes up last (representors.open_port()), when its programs are there: no
frame ever finds it without them. It is removed with its programs on, for the same reason. The guest end is known by its kernel
object (it is the other end of our representor), never by a name or an alias, which are the guest's to change.

What each end needs (measured, see ARCHITECTURE.md): every guest end has GRO on, so that its NAPI takes xdp_frames from the
wire; a VF in XDP mode also computes its own checksums and puts VLAN tags in band, as nobody fills them in behind XDP.
Functions that take links run beside the writer as well. For the pf package.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from sriov_xdp.datapath.abi import MAX_SEGMENTS
from sriov_xdp.host import features, namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links, VethPair, links_of
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands import representors
from sriov_xdp.pf.state.device_marks import guest_alias, read_host_mark
from sriov_xdp.pf.state.intent import Attachment
from sriov_xdp.vswitch.vlan import Vlan

T = TypeVar("T")
_CHECKSUMS = (features.TX_CHECKSUM, features.TX_CHECKSUM_SCTP)
_OFF_IN_XDP = (*_CHECKSUMS, features.TX_VLAN)


def create(links: Links, attachment: Attachment, group: int, mtu_bytes: int) -> str:
    """Makes the pair, both ends down. Returns the representor's name: another one than planned when somebody, as a second daemon,
    was quicker. Raises HostError, Conflict."""
    name = attachment.representor
    while not _is_made(links, attachment, name, group, mtu_bytes):
        name = representors.choose_name(links, attachment.vf)
    return name


def _is_made(links: Links, attachment: Attachment, name: str, group: int, mtu_bytes: int) -> bool:
    """False when the representor's name is taken. Raises HostError, Conflict."""
    spec = attachment.spec
    pair = VethPair(
        host_name=name,
        host_ifindex=attachment.ifindex,
        guest_namespace=spec.netns,
        guest_name=spec.interface,
        guest_mac=str(attachment.admin_mac),
        group=group,
        mtu_bytes=mtu_bytes,
        most_segments=MAX_SEGMENTS,
    )
    try:
        links.create_pair(pair)
    except HostError as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
        if links.exists(name):
            return False
        if links.find(attachment.ifindex):
            raise Conflict(f"VF {attachment.vf}: ifindex {attachment.ifindex} was taken meanwhile; try again") from error
        if namespaces.interface_number(spec.netns, spec.interface) is None:
            return False  # who had the representor's name is gone again
        text = f"adapter {spec.interface} of guest {spec.guest}: namespace {spec.netns} has a device of that name"
        raise Conflict(f"{text}; choose another with --ifname") from error
    return True


def prepare(links: Links, attachment: Attachment, representor: Link, instance: str, vlan: Vlan) -> None:
    """What the guest end needs. GRO only counts for an interface that is up, so up comes first."""
    with _guest_end(links, attachment, representor) as (guest, link):
        guest.change(link.ifindex, ifalias=guest_alias(attachment.vf, vlan), state="up")
        features.write(link.name, {features.GRO: True})
        _follow_admin_mac(guest, link, representor, instance, attachment)


def show(links: Links, attachment: Attachment, representor: Link, instance: str, vlan: Vlan) -> None:
    """Its alias, and its address when the admin MAC is another than it was. A guest that has a driver takes that from the reset
    too."""
    with _guest_end(links, attachment, representor) as (guest, link):
        guest.change(link.ifindex, ifalias=guest_alias(attachment.vf, vlan))
        _follow_admin_mac(guest, link, representor, instance, attachment)


def _follow_admin_mac(guest: Links, link: Link, representor: Link, instance: str, attachment: Attachment) -> None:
    """The representor's mark says which one the guest end got last; what the guest made of it since is its own."""
    mark = read_host_mark(instance, representor)
    if mark and mark.admin_mac != attachment.admin_mac:
        guest.change(link.ifindex, address=str(attachment.admin_mac))


def remove(links: Links, attachment: Attachment) -> None:
    """The pair with its programs. Absent is fine. Raises HostError."""
    links.delete(attachment.ifindex)


def is_representor(link: Link) -> bool:
    """The host's end of some veth pair."""
    return link.kind == "veth"


def find_guest_end(links: Links, attachment: Attachment) -> Link | None:
    """The guest end as it is now, whatever the guest calls it; None when it is not in its namespace."""
    with suppress(HostError), _guest_end(links, attachment) as (_guest, link):
        return link
    return None


def enter_xdp(links: Links, attachment: Attachment) -> dict[str, bool]:
    """The guest end's offloads for XDP: checksums and tags are the guest's to make. Returns what changed ones were before.
    Raises HostError when they could not be set: then the VF must not run XDP, as its guest's TCP would arrive broken."""
    wanted = {features.GRO: True, **dict.fromkeys(_OFF_IN_XDP, False)}
    return _with_guest_end(links, attachment, lambda link: _set_all(link.name, wanted))


def leave_xdp(links: Links, attachment: Attachment, before: dict[str, bool]) -> None:
    """The offloads as they were, GRO aside, which every guest end needs. After a restart nothing is remembered: all on."""
    wanted = {**(before or dict.fromkeys(_OFF_IN_XDP, True)), features.GRO: True}
    with suppress(HostError):
        _with_guest_end(links, attachment, lambda link: features.write(link.name, wanted))


def set_checksum_for_guest_program(links: Links, attachment: Attachment, *, is_needed: bool) -> None:
    """A guest's program may send a frame back; a checksum that was left to hardware would then be missing for good."""
    with suppress(HostError):
        representor = representors.required(links, attachment)
        features.write(representor.name, dict.fromkeys(_CHECKSUMS, not is_needed))


def set_mtu(links: Links, attachment: Attachment, representor: Link, mtu_bytes: int) -> None:
    """Of the guest end."""
    with _guest_end(links, attachment, representor) as (guest, link):
        guest.change(link.ifindex, mtu=mtu_bytes)


def _set_all(interface: str, wanted: dict[str, bool]) -> dict[str, bool]:
    before = features.write(interface, wanted)
    now = features.read(interface, tuple(wanted))
    missing = sorted(name for name, is_on in now.items() if is_on != wanted[name])
    if missing:
        raise HostError(f"{interface}: {', '.join(missing)}: the device keeps its setting; XDP needs it changed")
    return before


def _with_guest_end(links: Links, attachment: Attachment, work: Callable[[Link], T]) -> T:
    with _guest_end(links, attachment) as (_guest, link):
        return work(link)


@contextmanager
def _guest_end(links: Links, attachment: Attachment, representor: Link | None = None) -> Iterator[tuple[Links, Link]]:
    """Inside the guest's namespace, with the guest end: the other end of our representor, which is looked up unless it was just
    now. Raises HostError."""
    representor = representor or representors.required(links, attachment)
    with links_of(attachment.spec.netns) as guest:
        link = guest.find(representor.peer_ifindex)
        if link is None or link.peer_ifindex != attachment.ifindex:
            text = f"guest end of {attachment.vf}: not in namespace {attachment.spec.netns}"
            raise HostError(f"{text}; the guest moved it elsewhere, where its offloads cannot be set")
        yield guest, link
