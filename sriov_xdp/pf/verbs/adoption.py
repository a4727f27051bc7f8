"""What a start takes up: the state, the devices, the maps and the programs that an earlier run left, without a moment in which a
guest is cut or let in.

    read       state to memory; a row that cannot be read costs one object, whose device is left as it is
    know       each attachment's device by its number and mark, each uplink by its number or hardware address, whatever they
               are called now
    publish    memory to maps, differences only
    serve      uplinks, then each VF: what of its programs is missing is attached with the port down
    sweep      what is marked as ours and belongs to nothing
For the pf package, before the writer runs.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sriov_xdp.host import namespaces
from sriov_xdp.host.links import Link, Links, boot_id
from sriov_xdp.pf.errors import FAULTS, Conflict
from sriov_xdp.pf.hands import damaged, found_uplinks, hops, leaving, live, representors, speakers, uplinks
from sriov_xdp.pf.hands.commit import commit, vf_state_from_text
from sriov_xdp.pf.hands.context import SELF, Context, Steps
from sriov_xdp.pf.hands.hooks import VF_TC, VF_XDP
from sriov_xdp.pf.hands.publish import publish_all, publish_ports, publish_uplink
from sriov_xdp.pf.hands.turns import finish
from sriov_xdp.pf.state.attached_vf import AttachedVf, Hop, Stage
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.device_marks import (
    group_of,
    hop_alias,
    hop_number,
    is_group_of,
    is_hop_entrance,
    is_marked,
    is_of,
    is_ready,
)
from sriov_xdp.pf.state.intent import Datapath
from sriov_xdp.pf.state.stored import PORT_RECORD, TABLES
from sriov_xdp.pf.verbs import connecting, lifecycle
from sriov_xdp.store.database import Change as RowChange
from sriov_xdp.store.database import Grant
from sriov_xdp.store.errors import StoreError

_log = logging.getLogger("sriov_xdp.pf")
_NAMES = "names"  # which folder of names was seen
_ROW_FAULTS = (*FAULTS, ValueError, KeyError, TypeError)


def adopt(context: Context) -> None:
    """All of it. Raises StoreError, DataPathError; Conflict before anything is done."""
    database = context.database
    is_after_boot = database.meta("boot_id") not in (None, boot_id()) and context.marks.instance() is None  # bpffs ends with a boot
    if is_after_boot:
        database.forget_granted()
    _read_state(context)
    found = context.links.dump()  # once, as a thousand take half a second
    _know_carriers(context, found)
    devices = {} if is_after_boot else {link.ifindex: link for link in found}
    stale = [] if is_after_boot else _know_devices(context, devices)
    if context.marks.instance() is None:  # as after a boot: what went with the pins was not unplugged
        stale = [vf for vf in stale if _has_device(context, vf, devices)]
    speakers.take_up(context)
    publish_all(context, damaged.slots(context))
    context.pins.attach_tracepoints()
    for pf in context.inventory.pfs.values():
        take_uplink(context, pf.spec.name)
    publish_ports(context, context.inventory.vfs.values())  # what follows the uplinks' carriers, which are known now
    for vf in list(context.inventory.vfs.values()):
        if vf not in stale:
            serve(context, vf, devices.get(vf.attachment.ifindex))
    for vf in stale:
        _let_go(context, vf)
    with _or_later():
        connecting.number_all(context)
    _withdraw_grants(context)
    _mark_group(context, sweep(context, found))
    close_strays(context, found)
    if not is_after_boot:
        _finish_leaving(context)
    context.pins.remove_other_builds()
    note_start(context)
    context.marks.write_instance(context.instance)
    context.marks.write_revision(database.revision())
    if context.inventory.vfs:
        _log.info("adopted %d VFs of %d PFs", len(context.inventory.vfs), len(context.inventory.pfs))


def note_start(context: Context) -> None:
    """Writes down where the daemon runs now. A disk that is full keeps nobody from its start: it is tried again then."""
    known = {
        "boot_id": boot_id(),
        "instance": context.instance,
        leaving.LEAVING: leaving.NOBODY,
        _NAMES: namespaces.names_folder(),
    }
    try:
        if known != {key: context.database.meta(key) for key in known}:  # a restart says nothing new, and needs no space then
            context.database.write_intent([], [], known)
        context.is_start_noted = True
    except StoreError as error:
        if context.database.meta("instance") is None:
            raise
        _log.error("this start could not be written down yet: %s", error)


def _let_go(context: Context, vf: AttachedVf) -> None:
    """Of a VF whose guest is gone. Where that cannot be written down, the next look at its device finds it again."""
    try:
        finish(lifecycle.detach(context, vf.address, SELF, "unplugged while the daemon was away"))
    except StoreError as error:
        vf.stage, vf.active_reason = Stage.CHANGING, f"unplugged while the daemon was away; not written down yet: {error}"
        _log.error("%s: %s", vf.address, vf.active_reason)


def _read_state(context: Context) -> None:
    granted = context.database.granted()
    for table in TABLES:
        for name, body in context.database.documents(table.kind).items():
            try:
                _take_up_row(context, table.read(name, body), granted)
            except _ROW_FAULTS as error:
                if table.kind == PORT_RECORD:  # what was counted once is worth nobody's trouble
                    _log.error("port %s: what was counted there cannot be read (%r), and begins anew", name, error)
                    context.database.write_intent([RowChange(kind=table.kind, name=name, body=None)], [])
                    continue
                context.damaged[name] = f"{table.kind} {name}: its stored form cannot be read: {error!r}"
                _log.error("%s; it stays as it is, unmanaged; `sriov-xdp recover` mends the state", context.damaged[name])


def _take_up_row(context: Context, row: Change, granted: Mapping[str, Grant]) -> None:
    """With what its guest was granted, of an attachment. Raises what is among _ROW_FAULTS; then nothing of it counts."""
    states = {}
    for vf, attachment in row.attachments.items():
        assert attachment is not None
        context.inventory.group(attachment.spec.port_group)
        context.inventory.pf(vf.pf)
        generation, text = granted.get(str(vf), (0, ""))
        if generation == attachment.generation:
            states[vf] = vf_state_from_text(attachment.admin_mac, text)
    context.inventory.install(replace(row, states=states))


def _know_devices(context: Context, devices: Mapping[int, Link]) -> list[AttachedVf]:
    """Of each attachment the device that the kernel has under its number. Returns those whose device or namespace is gone. Raises
    Conflict where that cannot be told."""
    stale = []
    is_elsewhere = context.database.meta(_NAMES) not in (None, namespaces.names_folder())
    for vf in context.inventory.vfs.values():
        link = devices.get(vf.attachment.ifindex)
        is_there = _has_device(context, vf, devices)
        if link is None or not is_there or not _has_namespace(context, vf):
            stale.append(vf)
            if is_there and is_elsewhere and namespaces.is_named(vf.attachment.spec.netns):
                text = f"namespace {vf.attachment.spec.netns} of {vf.address}: {namespaces.NAMED} is another folder here"
                raise Conflict(f"{text} than where the daemon ran; start it in the host's mount namespace")
            continue
        vf.stage = Stage.CHANGING
        vf.has_carrier, vf.guest_runs_xdp = link.has_carrier, link.peer_runs_xdp
        vf.active, vf.active_reason = live.mode_of(context, vf)
        vf.hop = _hop_of(context, vf, devices)
        with _or_later():
            lifecycle.take_up_name(context, vf, link.name)
    return stale


def _hop_of(context: Context, vf: AttachedVf, devices: Mapping[int, Link]) -> Hop | None:
    """That its guest's frames go through, as the last run left it. What of it is missing is put right as the port is served."""
    far = devices.get(hop_number(vf.attachment.ifindex))
    is_whole = far is not None and far.alias == hop_alias(context.instance, vf.address) and far.has_carrier
    return Hop(near=far.peer_ifindex, far=far.ifindex) if far and is_whole else None


def _has_namespace(context: Context, vf: AttachedVf) -> bool:
    with _or_later():
        return lifecycle.take_up_namespace(context, vf)
    return True


@contextlib.contextmanager
def _or_later() -> Iterator[None]:
    """What cannot be written down now is met again by the next look at the device."""
    try:
        yield
    except StoreError as error:
        _log.error("%s", error)


def _has_device(context: Context, vf: AttachedVf, devices: Mapping[int, Link]) -> bool:
    link = devices.get(vf.attachment.ifindex)
    return link is not None and lifecycle.is_own(context, link, vf.attachment)


def _know_carriers(context: Context, found: list[Link]) -> None:
    """Whether the wire is there, before anything is published: ports that are isolated without it must not open for a moment."""
    for pf in context.inventory.pfs.values():
        numbers = {pf.found.ifindex} if pf.found and pf.found.boot_id == boot_id() else set[int]()
        is_there = any(link.has_carrier for link in found if link.ifindex in numbers or link.name == pf.spec.uplink)
        pf.awaits_carrier = not is_there


def take_uplink(context: Context, name: str) -> None:
    """The uplink of a PF, under whatever name it has now; a PF whose uplink cannot be had goes on without."""
    pf = context.inventory.pf(name)
    if pf.spec.uplink is None:
        return
    try:
        link = found_uplinks.resolve(context.links, pf, uplinks.is_held(context, pf)) or context.links.by_name(pf.spec.uplink)
        if link.name != pf.spec.uplink:
            uplinks.take_up_name(context, pf, link.name)
        uplinks.connect(context, pf, link)
        pf.refusal = ""
    except FAULTS as error:
        if pf.refusal != str(error):  # it is tried again, and told once
            _log.error("uplink %s of %s: %s", pf.spec.uplink, name, error)
        pf.refusal, pf.is_awaited = str(error), False
        publish_uplink(context, pf)


def serve(context: Context, vf: AttachedVf, link: Link | None) -> bool:
    """Puts one VF into service, or finds it there. link: its device, as it was just now. False: not yet; what is in the way is
    somebody else's to remove, and it is tried again."""
    try:
        has_its_rate = link is not None and live.keeps_its_rate(context, context.links, vf)
        finish(_resume(context, vf, link, has_its_rate=has_its_rate))
    except Exception as error:  # noqa: BLE001  # of one VF, whatever it is: no guest may keep a daemon from its start
        vf.active_reason = f"not in service yet: {error}"
        _log.error("%s: %s", vf.address, vf.active_reason)
        return False
    return True


def resume(context: Context, vf: AttachedVf) -> Steps[None]:
    """The second half of adoption, once maps and uplinks are there. May be tried again."""
    ifindex = vf.attachment.ifindex
    link = yield from live.beside(context, lambda links: links.find(ifindex))
    if link is None and vf.stage is not Stage.PLANNED:
        yield from lifecycle.unplugged(context, vf, "interface deleted")
        return
    yield from _resume(context, vf, link, has_its_rate=False)


def _resume(context: Context, vf: AttachedVf, link: Link | None, *, has_its_rate: bool) -> Steps[None]:
    if vf.stage is Stage.PLANNED:
        yield from lifecycle.restore(context, vf.attachment)
        return
    try:
        if link:
            yield from _bring_in_step(context, vf, link, has_its_rate=has_its_rate)
        if link and _works(context, vf, link):
            vf.is_settled, vf.stage = context.hooks.is_settled(str(vf.address), link.ifindex), Stage.IN_SERVICE
            vf.is_open = link.is_up
        else:
            yield from enforce(context, vf)
    except FAULTS:
        yield from _close_unless_enforced(context, vf)
        raise
    open_mailbox(context, vf)


def _works(context: Context, vf: AttachedVf, link: Link) -> bool:
    """Whether a port is as the last run left it, so that nothing needs to be done. In XDP mode the guest end's offloads are looked
    after in any case."""
    is_wanted_up = context.inventory.is_open(vf)
    has_mode = live.mode_of(context, vf)[0] is Datapath.TCX and not context.hooks.has_xdp(str(vf.address))
    return has_mode and link.is_up is is_wanted_up and not missing_hooks(context, vf)


def _bring_in_step(context: Context, vf: AttachedVf, link: Link, *, has_its_rate: bool) -> Steps[None]:
    """A run may have died between a port and its device, and somebody else may have had a hand in it. The MTU comes first, as XDP
    may be there."""
    has_its_mtu = live.has_its_mtu(context, vf, link)
    is_prepared = is_ready(link, context.instance, vf.attachment, context.inventory.vlan(vf))
    yield from live.follow_as_far(
        context,
        vf,
        *(() if has_its_mtu else (live.keep_to_mtu,)),
        *(() if has_its_rate else (live.keep_to_rate, live.keep_to_hop)),
        *(() if is_prepared else (live.prepare,)),
    )


def open_mailbox(context: Context, vf: AttachedVf) -> None:
    """After the programs: somebody else's socket of that name, which may be the guest's own, must not keep a port from them. Raises
    PfError, HostError; then it is tried again."""
    if not context.mailboxes.is_open(vf.address):
        context.mailboxes.open(vf.address, vf.attachment.spec.netns)


def _close_unless_enforced(context: Context, vf: AttachedVf) -> Steps[None]:
    """What an earlier build's programs let through must not go on because this one's could not be attached."""
    missing = yield from live.beside(context, lambda _links: missing_hooks(context, vf))
    if missing:
        yield from live.beside(context, lambda links: _close(links, vf))
        _log.error("%s: the port is closed until %s can be attached", vf.address, " and ".join(missing))


def enforce(context: Context, vf: AttachedVf) -> Steps[None]:
    """Holds a port to its programs: one that lacks any is closed, and opened again when they are back. At a start programs of an
    earlier build hold it until they are replaced."""
    missing = yield from live.beside(context, lambda links: missing_of_device(context, links, vf))
    if missing and vf.stage is Stage.IN_SERVICE:
        text = "%s: %s was not on its representor any more; the port is closed until it is attached again"
        _log.error(text, vf.address, " and ".join(missing))
    if missing and (vf.stage is Stage.IN_SERVICE or not context.hooks.is_held(str(vf.address), VF_TC, vf.attachment.ifindex)):
        yield from live.beside(context, lambda links: _close(links, vf))
    if missing:
        vf.stage = Stage.CHANGING
    if missing or vf.stage is not Stage.IN_SERVICE:
        yield from live.put_in_service(context, vf, may_fall_back=True)
    else:
        xdp = VF_XDP if vf.active is Datapath.XDP else None
        name, ifindex = str(vf.address), vf.attachment.ifindex
        yield from live.beside(context, lambda _links: context.hooks.pin_again(name, VF_TC, xdp, ifindex))


def _close(links: Links, vf: AttachedVf) -> None:
    representors.open_port(links, vf.attachment, is_up=False)
    if vf.hop:
        hops.close(links, vf.hop)


def missing_of_device(context: Context, links: Links, vf: AttachedVf) -> list[str]:
    """As missing_hooks(), of a device that is there: one that is gone, whose end is about to be noticed, lacks nothing."""
    missing = missing_hooks(context, vf)
    return missing if missing and links.find(vf.attachment.ifindex) else []


def missing_hooks(context: Context, vf: AttachedVf) -> list[str]:
    """Programs that the port's mode wants and the kernel does not have there. Raises DataPathError, HostError."""
    xdp = VF_XDP if vf.active is Datapath.XDP else None
    missing = context.hooks.missing(str(vf.address), VF_TC, xdp, vf.attachment.ifindex)
    return missing + (hops.missing(context.hooks, vf.attachment, vf.hop) if vf.hop else [])


def _withdraw_grants(context: Context) -> None:
    """A policy that was tightened in the file while we were away: commit() ends what it accepts no longer."""
    try:
        commit(context, Change(switches=dict(context.inventory.switches)), [])
    except FAULTS as error:  # the maps say what the inventory says already, and every later change looks again
        _log.error("policies that were tightened while the daemon was away: their grants could not be ended yet: %s", error)


def sweep(context: Context, found: list[Link]) -> set[int]:
    """Devices and pins that are marked as ours and belong to nothing: of a run that died between two steps. Returns those that are
    in use and not marked by their group."""
    known = {str(vf) for vf in context.inventory.vfs}
    known |= {uplinks.link_name(pf) for pf in context.inventory.pfs.values()}
    used = {vf.attachment.ifindex for vf in context.inventory.vfs.values()}
    used |= {link.ifindex for link in damaged.devices(context)} | context.inventory.hop_devices()
    unmarked = set()
    for device in found:
        if device.ifindex in used and not is_group_of(context.instance, device.group):
            unmarked.add(device.ifindex)
        now = context.links.find(device.ifindex) if is_of(context.instance, device) and device.ifindex not in used else None
        if now and is_of(context.instance, now):  # one that went with its VF meanwhile is no news
            _log.warning("device %s: is marked as ours and belongs to no VF; removed", device.name)
            context.links.delete(device.ifindex)
    for link in context.pins.link_names():
        owner, _, kind = link.rpartition("_")
        if kind in ("tc", "xdp") and owner not in known and not context.damaged:
            context.pins.detach(link)
    return unmarked


def close_strays(context: Context, found: list[Link]) -> None:
    """Representors of a daemon whose state and pins are both gone, or of one that somebody cleaned up after by hand: without a
    program their guests reach the host's own stack. They are put down and named; whose they were, nobody knows."""
    used = (
        {vf.attachment.ifindex for vf in context.inventory.vfs.values()} | set(context.leftovers) | context.inventory.hop_devices()
    )
    for device in found:
        if device.ifindex in used or not is_marked(device) or not device.is_up or is_hop_entrance(device):
            continue
        try:
            if not context.hooks.is_held_by_anybody(device.ifindex):
                context.links.change(device.ifindex, state="down")
                text = (
                    "device %s: is a representor of a daemon that is gone, without a program; put down; `ip link del %s` removes it"
                )
                _log.error(text, device.name, device.name)
        except FAULTS as error:
            if context.links.find(device.ifindex):  # one that went meanwhile is no news
                _log.error("device %s: is marked as a representor, and could not be looked at: %s", device.name, error)


def _finish_leaving(context: Context) -> None:
    try:
        finish(leaving.remove_left_namespace(context))
    except _ROW_FAULTS as error:
        _log.error("namespace of a guest that was detached: what was written down of it cannot be read: %r", error)


def _mark_group(context: Context, unmarked: set[int]) -> None:
    """Pairs of an earlier version, which were not made in their group."""
    for vf in context.inventory.vfs.values():
        group = group_of(context.instance, context.inventory.pf(vf.address.pf).number)
        if vf.attachment.ifindex in unmarked:
            context.links.change(vf.attachment.ifindex, group=group)
