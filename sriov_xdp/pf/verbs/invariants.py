"""What holds whenever no verb is under way, also after one that failed or died: state, memory, maps and kernel say the same.

    state = memory      documents and grants
    memory = maps       each port whole, flood lists, devices of floods, and nothing beside them
    memory = kernel     each VF's device, open only with its programs; no device or pin of ours beside them
Everything but memory is read anew, never from what was written. Reads only. For doctor, and for the tests of every verb.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from sriov_xdp.datapath import abi, readback
from sriov_xdp.datapath.pins import TRACEPOINTS
from sriov_xdp.datapath.readback import PortAsItIs
from sriov_xdp.host import namespaces
from sriov_xdp.host.links import Link, Links
from sriov_xdp.pf.hands import damaged, live, uplinks
from sriov_xdp.pf.hands.commit import vf_state_to_text
from sriov_xdp.pf.hands.context import Context, Steps
from sriov_xdp.pf.hands.publish import own_port
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.device_marks import is_of
from sriov_xdp.pf.state.images import member_lists, slot_of, vf_image
from sriov_xdp.pf.state.stored import TABLES, all_documents
from sriov_xdp.pf.verbs import adoption
from sriov_xdp.vswitch.decision import VfState

Breach = tuple[str, str]  # subject, observed
_VFS_A_STEP = 16
_RESTART = "restart the daemon, which puts right what it finds, and report what happened before"


def breaches(context: Context) -> Steps[list[dict[str, Any]]]:
    """A document each: subject, observed, remedy. Empty when all holds. When it is its turn. Raises StoreError, DataPathError,
    HostError."""
    found = yield from context.turns.take(_look(context))
    return [{"subject": subject, "observed": observed, "remedy": _RESTART} for subject, observed in found]


def _look(context: Context) -> Steps[list[Breach]]:
    found = [*_of_state(context), *_of_marks(context)]
    yield None
    found += _of_maps(context)
    links = yield from live.beside(context, lambda links: links.dump())
    ours = {link.ifindex: link for link in links if is_of(context.instance, link)}
    vfs = list(_with_device(context))
    for ifindex in context.inventory.hop_devices():
        ours.pop(ifindex, None)
    for start in range(0, len(vfs), _VFS_A_STEP):
        batch = vfs[start : start + _VFS_A_STEP]
        lacking = yield from live.beside(context, partial(_missing, context, batch))
        for vf, missing in zip(batch, lacking, strict=True):
            found += _of_device(context, vf, ours.pop(vf.attachment.ifindex, None), missing)
    return [*found, *_of_nobody(context, ours)]


def _missing(context: Context, vfs: list[AttachedVf], _links: Links) -> list[list[str]]:
    return [adoption.missing_hooks(context, vf) for vf in vfs]


def _of_state(context: Context) -> Iterator[Breach]:
    inventory = context.inventory
    wanted = {(document.kind, document.name): document.body for document in all_documents(inventory)}
    stored: dict[tuple[str, str], str | None] = {
        (table.kind, name): body
        for table in TABLES
        for name, body in context.database.documents(table.kind).items()
        if name not in context.damaged
    }
    yield from _differing("stored {0[0]} {0[1]}", wanted, stored)
    granted = {
        str(vf.address): (vf.attachment.generation, vf_state_to_text(vf.state))
        for vf in inventory.vfs.values()
        if vf.state != VfState.fresh(vf.attachment.admin_mac)
    }
    yield from _differing("stored grant of {0}", granted, context.database.granted())


def _of_marks(context: Context) -> Iterator[Breach]:
    if context.marks.instance() != context.instance:
        observed = context.marks.instance() or "nothing"
        yield str(context.pins.root), f"tells whose pins are there: {observed}, expected instance {context.instance}"


def _of_maps(context: Context) -> Iterator[Breach]:
    inventory, ports = context.inventory, readback.read_ports(context.pins)
    left = damaged.slots(context)
    wanted = {slot_of(vf): PortAsItIs.of(vf_image(inventory, vf)) for vf in _with_device(context)}
    members: dict[int, bytes] = {}
    for pf in inventory.pfs.values():
        for vlan, list_of in damaged.with_their_floods(context, pf.number, member_lists(inventory, pf)).items():
            members[abi.domain(pf.number, vlan)] = list_of.pack()
        if not pf.is_awaited or pf.spec.uplink is None:
            wanted[pf.number] = PortAsItIs.of(own_port(context, pf))
        elif pf.number in ports:
            wanted[pf.number] = ports[pf.number]  # as the last run left it, until its uplink was looked for
    yield from _differing("port in slot {0}", wanted, {slot: port for slot, port in ports.items() if slot not in left})
    yield from _differing("flood list of domain {0:#x}", members, readback.read_members(context.pins))
    receivers, of_ports = readback.read_receivers(context.pins), readback.receivers_of(ports)
    for domain, devices in receivers.items():
        wanted_devices = of_ports.get(domain, frozenset())
        if devices != wanted_devices and (devices - wanted_devices or len(wanted_devices) > 1):
            yield f"floods of domain {domain:#x}", f"go to devices {sorted(devices)}, expected {sorted(wanted_devices)}"


def _of_device(context: Context, vf: AttachedVf, link: Link | None, missing: list[str]) -> Iterator[Breach]:
    if link is None:
        yield str(vf.address), f"its representor {vf.attachment.representor} is not there"
        return
    is_wanted_up = context.inventory.is_open(vf)
    if link.is_up and missing:
        yield str(vf.address), f"its representor is up without {' and '.join(missing)}"
    elif vf.stage is Stage.IN_SERVICE and (missing or link.is_up != is_wanted_up):  # one that is not yet is told of elsewhere
        yield str(vf.address), f"its representor is {'up' if link.is_up else 'down'}; missing: {', '.join(missing) or 'nothing'}"
    if vf.stage is Stage.IN_SERVICE and not live.keeps_its_rate(context, context.links, vf):
        yield str(vf.address), f"its representor {vf.attachment.representor} is not held to the rate of its port"
    if namespaces.identity(vf.attachment.spec.netns) != vf.attachment.netns_id:
        yield str(vf.address), f"namespace {vf.attachment.spec.netns} is not the one that it was attached in"


def _of_nobody(context: Context, ours: dict[int, Link]) -> Iterator[Breach]:
    """Devices and pins."""
    left = damaged.slots(context)
    for link in ours.values():
        if link.ifindex not in context.leftovers and link.ifindex & abi.SLOT_MASK not in left:
            yield f"device {link.name}", "is marked as ours and belongs to no VF"
    known = {str(vf.address) for vf in context.inventory.vfs.values()}
    known |= {str(attachment.vf) for attachment in context.leftovers.values()}
    known |= {uplinks.link_name(pf) for pf in context.inventory.pfs.values() if pf.uplink or pf.is_awaited}
    for name in context.pins.link_names():
        if name not in TRACEPOINTS and name.rpartition("_")[0] not in known and not context.damaged:
            yield f"pin {name}", "holds a program for nothing that is known"


def _with_device(context: Context) -> Iterator[AttachedVf]:
    return (vf for vf in context.inventory.vfs.values() if vf.stage is not Stage.PLANNED)


def _differing(subject: str, wanted: dict[Any, Any], observed: dict[Any, Any]) -> Iterator[Breach]:
    for key in sorted({*wanted, *observed}, key=str):
        if key not in observed:
            yield subject.format(key), f"is not there, expected {wanted[key]}"
        elif key not in wanted:
            yield subject.format(key), f"is {observed[key]}, expected none"
        elif wanted[key] != observed[key]:
            yield subject.format(key), f"is {observed[key]}, expected {wanted[key]}"
