"""Namespaces that were made for guests, when the guest goes: removed with its last adapter, unless somebody lives there.

A detach forgets the attachment first, and only then are device and namespace removed; what it is about to remove is written down
in the same transaction, so that one that does not come to its end is ended by the next start. For the pf package.
"""

import logging

from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import links_of
from sriov_xdp.pf.hands import live
from sriov_xdp.pf.hands.context import Context, Steps
from sriov_xdp.pf.state.intent import Attachment, VfAddress
from sriov_xdp.pf.state.intent_text import attachment_from_text, attachment_to_text

_log = logging.getLogger("sriov_xdp.pf")
LEAVING, NOBODY = "leaving", ""


def note(attachment: Attachment) -> dict[str, str]:
    """What to write down with the end of an attachment."""
    return {LEAVING: f"{attachment.vf} {attachment_to_text(attachment)}"} if attachment.netns_is_ours else {}


def remove_namespace(context: Context, attachment: Attachment) -> Steps[None]:
    """Of an attachment that is gone. Whoever lives there is looked for beside the writer: how much there is to look through is the
    guest's choice. Raises StoreError."""
    if not attachment.netns_is_ours:
        return
    netns = attachment.spec.netns
    others = [vf.attachment for vf in context.inventory.vfs.values() if vf.attachment.netns_id == attachment.netns_id]
    if not others and is_the_one(attachment):
        user = yield from live.beside(context, lambda _links: user_of(netns))
        if user:
            _log.warning("namespace %s: made for guest %s, left as %s", netns, attachment.spec.guest, user)
        elif is_the_one(attachment):
            namespaces.remove(netns)
    context.database.write_intent([], [], {LEAVING: NOBODY})


def remove_left_namespace(context: Context) -> Steps[None]:
    """Of a detach that was cut short in this boot. Raises ValueError, KeyError, TypeError, StoreError."""
    name, _, body = (context.database.meta(LEAVING) or NOBODY).partition(" ")
    if name:
        yield from remove_namespace(context, attachment_from_text(VfAddress.parse(name), body))


def remove_unused(attachment: Attachment) -> None:
    """The undo of a namespace that was just made: unless somebody was quick to live there, or to put another in its place."""
    netns = attachment.spec.netns
    if is_the_one(attachment) and not user_of(netns):
        namespaces.remove(netns)


def is_the_one(attachment: Attachment) -> bool:
    """Whether the name stands for the namespace that was made for an attachment, and not for one that somebody made since, which
    may have got its numbers."""
    netns = attachment.spec.netns
    return namespaces.identity(netns) == attachment.netns_id and attachment.netns_cookie in (0, namespaces.cookie(netns))


def user_of(netns: str) -> str | None:
    """Why a namespace that was made for a guest must stay: who uses it; None when nobody does."""
    identity = namespaces.identity(netns)
    if identity is None:
        return None
    pids = namespaces.processes_in(identity)
    if pids:
        return f"process {', '.join(str(pid) for pid in pids[:4])} lives in it"
    try:
        with links_of(netns) as guest:
            strangers = guest.strangers()
    except HostError as error:
        return str(error)
    return f"interface {', '.join(strangers[:4])} is in it" if strangers else None
