"""A VF that is plugged: put in service, moved between kinds of program, and its MTU, address and link.

What makes the kernel wait runs beside the writer, in steps. Knows nothing of how a VF comes or goes (lifecycle). For the pf
package only.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links
from sriov_xdp.mailbox.messages import Event, EventCode
from sriov_xdp.pf.errors import FAULTS
from sriov_xdp.pf.hands import hops, representors
from sriov_xdp.pf.hands.context import Context, Steps
from sriov_xdp.pf.hands.hooks import VF_TC, VF_XDP
from sriov_xdp.pf.hands.plugs import plug_of
from sriov_xdp.pf.hands.publish import publish_ports
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.device_marks import group_of
from sriov_xdp.pf.state.intent import Attachment, Datapath
from sriov_xdp.pf.state.modes import active_datapath, xdp_problem

_log = logging.getLogger("sriov_xdp.pf")
LINK_SPEED_MBPS = 10_000
T = TypeVar("T")


def beside(context: Context, work: Callable[[Links], T]) -> Steps[T]:
    """A step that waits beside the writer. Raises what work raises."""
    future: Future[T] = context.beside.submit(work)
    yield future
    return future.result()


def mode_of(context: Context, attached: AttachedVf) -> tuple[Datapath, str]:
    """The program kind that the VF should have now, and why."""
    mode = attached.attachment.spec.datapath
    active, reason = active_datapath(
        mode,
        guest_runs_xdp=attached.guest_runs_xdp,
        mtu_bytes=context.inventory.port_mtu_bytes(attached),
        jumbo=context.jumbo_xdp,
    )
    if attached.is_restless and mode is Datapath.AUTO and active is Datapath.XDP:
        reason = "auto: the guest's XDP program comes and goes"
    return active, reason


def prepare(context: Context, attached: AttachedVf) -> Steps[None]:
    """Both ends of a pair that was made, but perhaps not made ready."""
    vlan = context.inventory.vlan(attached)
    yield from beside(
        context,
        lambda links: representors.prepare(plug_of(attached.attachment), links, attached.attachment, context.instance, vlan),
    )


def put_in_service(context: Context, attached: AttachedVf, *, may_fall_back: bool = False) -> Steps[None]:
    """Programs, then up. May be done again. may_fall_back: a VF whose guest end cannot be made fit for XDP any more, as the guest
    hid it, keeps the XDP that it has, and else is served by tc. Raises HostError, DataPathError; then the port is down or as it
    was."""
    attached.stage = Stage.CHANGING
    active, reason = mode_of(context, attached)
    attachment, hooks = attached.attachment, context.hooks
    name, before = str(attached.address), dict(attached.guest_features_before)
    is_open = context.inventory.is_open(attached)

    def choose_mode(links: Links) -> tuple[dict[str, bool], Datapath, str]:
        if active is Datapath.XDP:
            try:
                return _enter_xdp(context, links, attachment, before), active, reason
            except HostError as error:
                if not may_fall_back:
                    raise
                kept = _keep_xdp(context, links, attachment)
                return before, Datapath.XDP if kept else Datapath.TCX, f"{attachment.spec.datapath}: {error}"
        if hooks.has_xdp(name):
            _leave_xdp(context, links, attachment, before)
            return {}, active, reason
        return before, active, reason

    def attach_and_open(links: Links) -> tuple[tuple[dict[str, bool], Datapath, str], Link | None]:
        hooks.hold(name, VF_TC, attachment.ifindex)
        if attached.hop:
            hops.open_again(links, hooks, attachment, attached.hop)
        chosen = choose_mode(links)
        representors.open_port(links, attachment, is_up=is_open)
        return chosen, links.find(attachment.ifindex)

    chosen, link = yield from beside(context, attach_and_open)
    attached.guest_features_before, attached.active, attached.active_reason = chosen
    if link and link.has_carrier != attached.has_carrier:
        attached.has_carrier = link.has_carrier
        publish_ports(context, [attached])
    attached.is_settled = hooks.is_settled(name, attachment.ifindex)
    attached.stage, attached.is_open = Stage.IN_SERVICE, is_open


def _keep_xdp(context: Context, links: Links, attachment: Attachment) -> bool:
    """XDP that is on a representor goes on, by this build's program: the guest end was made fit for it when it came. Where there is
    none, or its MTU forbids it, none is."""
    name, link = str(attachment.vf), links.find(attachment.ifindex)
    is_kept = link is not None and context.hooks.is_xdp_on(name, link.ifindex)
    if link is None or not is_kept or xdp_problem(link.mtu_bytes, context.jumbo_xdp):
        context.hooks.detach_xdp(name)
        return False
    context.hooks.attach_xdp(name, VF_XDP, link.ifindex)
    return True


def settle(context: Context, attached: AttachedVf) -> Steps[None]:
    """The link that a working VF is meant to have takes the place of its filter, or the reverse. Raises DataPathError, HostError;
    then it is held as it was."""
    if context.inventory.vfs.get(attached.address) is attached and attached.stage is Stage.IN_SERVICE:
        name, ifindex = str(attached.address), attached.attachment.ifindex
        yield from beside(context, lambda _links: context.hooks.settle(name, VF_TC, ifindex, is_ours=True))
        attached.is_settled = True


def set_active(context: Context, attached: AttachedVf) -> Steps[None]:
    """Moves a working VF to the kind of program that it should have now. The tc program stays throughout, so no frame finds the
    port without a policy; at most those in flight are lost. Raises HostError, DataPathError; then it is as it was."""
    active, reason = mode_of(context, attached)
    if attached.active is active or attached.stage is not Stage.IN_SERVICE:
        attached.active_reason = reason if attached.active is active else attached.active_reason
        return
    attachment, before = attached.attachment, dict(attached.guest_features_before)

    def move(links: Links) -> dict[str, bool]:
        if active is Datapath.XDP:
            return _enter_xdp(context, links, attachment, before)
        _leave_xdp(context, links, attachment, before)
        return {}

    attached.stage = Stage.CHANGING
    try:
        attached.guest_features_before = yield from beside(context, move)
    finally:
        attached.stage = Stage.IN_SERVICE
    _is_served_by(context, attached, active, reason)


def _is_served_by(context: Context, attached: AttachedVf, active: Datapath, reason: str) -> None:
    """Notes the kind of program that serves a port now; a change of it is counted and told."""
    has_changed = attached.active is not active
    attached.active, attached.active_reason = active, reason
    if has_changed:
        context.mode_switches[attached.address] = context.mode_switches.get(attached.address, 0) + 1
        _log.info("%s: data path is %s now: %s", attached.address, active, reason)


def _leave_xdp(context: Context, links: Links, attachment: Attachment, before: dict[str, bool]) -> None:
    """The program first, as it does not see what a checksum that is left to hardware misses."""
    context.hooks.detach_xdp(str(attachment.vf))
    plug_of(attachment).leave_xdp(links, attachment, before)


def _enter_xdp(context: Context, links: Links, attachment: Attachment, before: dict[str, bool]) -> dict[str, bool]:
    """Refuses while the representor's MTU, which is what keeps longer frames out, is still too large for it, and when the guest
    end cannot be made fit for it."""
    name = str(attachment.vf)
    _require_xdp_mtu(context, links, attachment)
    former = {**plug_of(attachment).enter_xdp(links, attachment), **before}
    try:
        context.hooks.attach_xdp(name, VF_XDP, attachment.ifindex)
        _require_xdp_mtu(context, links, attachment)  # somebody may have raised it in between
    except (DataPathError, HostError):
        _leave_xdp(context, links, attachment, former)
        raise
    return former


def _require_xdp_mtu(context: Context, links: Links, attachment: Attachment) -> None:
    link = links.find(attachment.ifindex)
    problem = xdp_problem(link.mtu_bytes, context.jumbo_xdp) if link else None
    if problem:
        raise HostError(f"representor {attachment.representor}: no XDP yet: {problem}")


def guest_xdp_changed(context: Context, attached: AttachedVf, *, guest_runs_xdp: bool) -> Steps[None]:
    """The guest attached a program to its end, or took it off. First of all its frames must pass through the program, in
    every mode; then an automatic VF changes its own, when it is its turn."""
    attached.guest_runs_xdp = guest_runs_xdp
    publish_ports(context, [attached])
    attachment = attached.attachment
    yield from beside(
        context, lambda links: plug_of(attachment).set_checksum_for_guest_program(links, attachment, is_needed=guest_runs_xdp)
    )
    context.start(follow_mode(context, attached))


def follow_mode(context: Context, attached: AttachedVf) -> Steps[None]:
    """The kind of program that a VF should have now. Where it cannot be had, the one that is there goes on: it is told once, and
    tried again."""
    if context.inventory.vfs.get(attached.address) is not attached:
        return
    try:
        yield from set_active(context, attached)
    except FAULTS as error:
        reason = f"{attached.attachment.spec.datapath}: {error}"
        if attached.active_reason != reason:
            attached.active_reason = reason
            _log.error("%s: the data path is %s still: %s", attached.address, attached.active, error)


def follow(context: Context, attached: AttachedVf) -> Steps[None]:
    """All that a VF needs beside the maps to be what its port says. May be done again. Raises DataPathError."""
    if context.inventory.vfs.get(attached.address) is attached:
        yield from follow_port(context, attached)
        yield from follow_mode(context, attached)


def follow_port(context: Context, attached: AttachedVf) -> Steps[None]:
    """What the ends of a VF's pair take and say of its port: MTU, VLAN, address. May be done again. Raises DataPathError."""
    yield from follow_as_far(context, attached, keep_to_mtu, keep_to_rate, keep_to_hop, show)


def follow_as_far(context: Context, attached: AttachedVf, *parts: Callable[[Context, AttachedVf], Steps[None]]) -> Steps[None]:
    """A guest end that cannot (its own XDP program may forbid an MTU, and the guest may have moved it) keeps nobody from
    anything: it lags, which is told once, and is tried again. Raises what is no HostError."""
    if attached.stage is Stage.PLANNED:
        return
    faults = []
    for part in parts:
        try:
            yield from part(context, attached)
        except HostError as error:
            faults.append(str(error))
    lag = "; ".join(dict.fromkeys(faults))
    if lag and lag != attached.lag:
        _log.warning("%s: its device does not follow its port yet: %s", attached.address, lag)
    attached.lag = lag


def show(context: Context, attached: AttachedVf) -> Steps[None]:
    """What both ends say of the port. Raises HostError."""
    vlan = context.inventory.vlan(attached)
    yield from beside(
        context, lambda links: representors.show(plug_of(attached.attachment), links, attached.attachment, context.instance, vlan)
    )


def keep_to_mtu(context: Context, attached: AttachedVf) -> Steps[None]:
    """XDP goes before a larger MTU comes, and at once from where one came by another hand; whether it is there, the pins say, as a
    port may have it before it is in service. Raises HostError, DataPathError."""
    wanted_bytes = context.inventory.port_mtu_bytes(attached)
    ifindex = attached.attachment.ifindex
    link = yield from beside(context, lambda links: links.find(ifindex))
    if link is None:
        return
    yield from leave_xdp_for(context, attached, max(link.mtu_bytes, wanted_bytes))
    if not has_its_mtu(context, attached, link):
        yield from beside(
            context,
            lambda links: representors.set_mtu(
                plug_of(attached.attachment), links, attached.attachment, wanted_bytes, context.jumbo_xdp
            ),
        )


def keep_to_rate(context: Context, attached: AttachedVf) -> Steps[None]:
    """What the guest receives, by the queue of its representor. Raises HostError."""
    queue = context.inventory.egress_queue(attached)
    yield from beside(context, lambda _links: representors.hold_to_rate(attached.attachment, queue))


def keep_to_hop(context: Context, attached: AttachedVf) -> Steps[None]:
    """What the guest sends, by the queue of its hop, where it may wait: the hop first, then the frames; and the reverse. Raises
    HostError, DataPathError."""
    attachment, queue = attached.attachment, context.inventory.ingress_queue(attached)
    group = group_of(context.instance, context.inventory.pf(attached.address.pf).number)
    before = attached.hop
    if queue is None:
        attached.hop = None
        publish_ports(context, [attached] if before else [])
        yield from beside(context, lambda links: hops.remove(links, attachment.ifindex, attached.address, context.instance))
        return
    hop = yield from beside(context, lambda links: hops.hold(links, context.hooks, attachment, context.instance, group, queue))
    if hop != before:
        attached.hop = hop
        publish_ports(context, [attached])


def has_its_rate(context: Context, attached: AttachedVf) -> Steps[bool]:
    """Whether nobody else had a hand in its queues. Raises HostError, DataPathError."""
    return (yield from beside(context, lambda links: keeps_its_rate(context, links, attached)))


def keeps_its_rate(context: Context, links: Links, attached: AttachedVf) -> bool:
    """The same, where waiting is no matter."""
    attachment, inventory = attached.attachment, context.inventory
    queue = inventory.ingress_queue(attached)
    has_hop = hops.is_as_it_must_be(links, context.hooks, attachment, attached.hop, queue)
    return has_hop and representors.is_held_to_rate(attachment, inventory.egress_queue(attached))


def dropped_by_rate(context: Context, attached: AttachedVf) -> int:
    """Frames for the guest, and from it, that found a queue full, since its port has that."""
    received = representors.dropped_by_rate(attached.attachment) if context.inventory.egress_queue(attached) else 0
    return received + (hops.dropped(attached.hop) if attached.hop else 0)


def has_its_mtu(context: Context, attached: AttachedVf, link: Link) -> bool:
    """Whether a representor has its port's MTU, and stayed silent, as IPv6 begins anew on one whose MTU was below 1280."""
    return link.mtu_bytes == context.inventory.port_mtu_bytes(attached) and not link.answers


def must_leave_xdp_for(context: Context, attached: AttachedVf, mtu_bytes: int) -> bool:
    """Whether a port runs XDP, and must not with this MTU."""
    return bool(xdp_problem(mtu_bytes, context.jumbo_xdp)) and context.hooks.has_xdp(str(attached.address))


def leave_xdp_for(context: Context, attached: AttachedVf, mtu_bytes: int) -> Steps[None]:
    """Before a port's MTU becomes mtu_bytes: one that must not run XDP with it leaves it. Raises DataPathError."""
    attachment, before = attached.attachment, dict(attached.guest_features_before)
    if not must_leave_xdp_for(context, attached, mtu_bytes):
        return
    yield from beside(context, lambda links: _leave_xdp(context, links, attachment, before))
    attached.guest_features_before = {}
    mode = attachment.spec.datapath
    active, reason = active_datapath(mode, guest_runs_xdp=attached.guest_runs_xdp, mtu_bytes=mtu_bytes, jumbo=context.jumbo_xdp)
    _is_served_by(context, attached, active, reason)


def change_live(context: Context, attached: AttachedVf, former: Attachment) -> Steps[None]:
    """What a changed adapter needs beside maps: its device, link, kind of data path; one that has no device yet gets all of it with
    it. The guest keeps its interface."""
    yield from follow_port(context, attached)
    yield from follow_link_state(context, attached)
    if attached.attachment.spec.datapath is not former.spec.datapath:
        yield from set_active(context, attached)
    else:
        yield from follow_mode(context, attached)


def follow_link_state(context: Context, attached: AttachedVf) -> Steps[None]:
    """A VF whose link shall be down has a guest that sees no carrier. One that is not yet in service stays down whatever was said.
    Raises HostError."""
    is_open = context.inventory.is_open(attached)
    if attached.stage is not Stage.IN_SERVICE or attached.is_open is is_open:
        return
    publish_ports(context, [attached])
    attachment = attached.attachment
    yield from beside(context, lambda links: representors.open_port(links, attachment, is_up=is_open))
    attached.is_open = is_open
    context.mailboxes.push(attached.address, link_event(context, attached))


def follow_link_states(context: Context, pf: str) -> Steps[None]:
    """VFs that follow their PF's uplink: first the maps of all of them, in one go, then their devices. One that cannot follow is
    told of once, and tried again each second."""
    publish_ports(context, context.inventory.vfs_of_pf(pf))
    for vf in context.inventory.vfs_of_pf(pf):
        try:
            if context.inventory.vfs.get(vf.address) is vf:
                yield from follow_link_state(context, vf)
            vf.link_lag = ""
        except HostError as error:
            if vf.link_lag != str(error):
                _log.error("%s: its link could not follow the uplink yet: %s", vf.address, error)
            vf.link_lag = str(error)


def pfs_with_lagging_links(context: Context) -> set[str]:
    """PFs with ports that work and are not as open as they shall be."""
    working = (vf for vf in context.inventory.vfs.values() if vf.stage is Stage.IN_SERVICE)
    return {vf.address.pf for vf in working if vf.is_open is not context.inventory.is_open(vf)}


def link_event(context: Context, attached: AttachedVf) -> Event:
    """The VF's link as its driver hears of it."""
    is_up = context.inventory.is_open(attached)
    return Event(code=EventCode.LINK_CHANGE, link_is_up=is_up, link_speed_mbps=LINK_SPEED_MBPS if is_up else 0)
