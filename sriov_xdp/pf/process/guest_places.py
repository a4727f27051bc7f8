"""Where the guest ends of representors are, by the kernel and by the mark: for what is done where the state is lost."""

import contextlib

from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, links_of
from sriov_xdp.pf.errors import Conflict, Invalid
from sriov_xdp.pf.hands import leaving
from sriov_xdp.pf.state.device_marks import HostMark


def namespace_of(mark: HostMark, link: Link, said: str | None) -> tuple[str, namespaces.Identity]:
    """In the namespace that the mark names, or in one that got another name since; in one without a name it is the guest that hid
    it, who is served all the same. said: what a configuration says, where the mark had no room. Raises Conflict when the guest's
    own namespace is not there either, Invalid when nothing names it."""
    wanted = mark.netns or said
    if wanted is None:
        text = f"{mark.vf}: the namespace of guest {mark.guest} is too long for a device to tell it"
        raise Invalid(f"{text}; name a configuration that has the guest")
    named = [path.name for path in namespaces.NAMED.iterdir()] if namespaces.NAMED.is_dir() else []
    for name in [wanted, *sorted(named)]:
        identity = namespaces.identity(name)
        if identity and has_guest_end(name, link):
            return name, identity
    own = namespaces.identity(wanted)
    if own and namespaces.is_network(wanted):
        return wanted, own
    text = f"{mark.vf}: the guest end of {link.name} is not in namespace {wanted}, nor in any that has a name"
    raise Conflict(f"{text}; move it back, or remove the device, with which guest {mark.guest} loses its VF")


def has_guest_end(name: str, representor: Link) -> bool:
    """Whether a namespace has the other end of a representor."""
    with contextlib.suppress(HostError), links_of(name) as inside:
        link = inside.find(representor.peer_ifindex)
        return link is not None and link.peer_ifindex == representor.ifindex
    return False


def made_for(mark: HostMark | None, representor: Link) -> str | None:
    """The namespace that was made for a guest, where its device says so and is in it; None where nobody can tell."""
    if mark is None or mark.netns is None or not mark.netns_is_ours or not has_guest_end(mark.netns, representor):
        return None
    return mark.netns


def remove_unused(netns: str, guest: str) -> str | None:
    """A namespace that was made for a guest, whose devices are gone: removed unless somebody lives there. Returns what was done,
    None where it is gone already."""
    if namespaces.identity(netns) is None:
        return None
    user = leaving.user_of(netns)
    if user:
        return f"no namespace {netns}, which was made for guest {guest}, as {user}"
    namespaces.remove(netns)
    return f"namespace {netns}"
