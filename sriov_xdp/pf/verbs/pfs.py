"""PFs as apply makes, changes and removes them: their uplinks are devices of the host. For the kinds; writer thread only."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace

from sriov_xdp.pf.errors import FAULTS, Conflict
from sriov_xdp.pf.hands import found_uplinks, live, uplinks
from sriov_xdp.pf.hands.commit import commit
from sriov_xdp.pf.hands.context import Actor, Context, Steps, record_of
from sriov_xdp.pf.hands.publish import withdraw_uplink
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.intent import HostIntent, PfSpec
from sriov_xdp.pf.state.physical_function import PfEntry
from sriov_xdp.pf.state.plan import Step, leaving_adapters
from sriov_xdp.pf.verbs import lifecycle
from sriov_xdp.store.audit import Outcome

_log = logging.getLogger("sriov_xdp.pf")


def problems(context: Context, wanted: HostIntent) -> list[str]:
    """Uplinks that cannot be had, a line each."""
    mtu = {switch.pf: switch.mtu_bytes for switch in wanted.switches}
    staying = {pf.name for pf in wanted.pfs}
    found = (uplinks.check(context, pf, mtu.get(pf.name, 0), staying) for pf in wanted.pfs)
    return [problem for problem in found if problem]


def obstacles(context: Context, wanted: HostIntent, steps: list[Step]) -> list[str]:
    """VFs that stay attached and that their PF would have no more, a line each."""
    going = leaving_adapters(steps)
    staying = [vf for vf in context.inventory.vfs.values() if vf.attachment.spec.key not in going]
    return [
        f"PF {pf.name}: num_vfs {pf.num_vfs}: {vf.address} is attached to guest {vf.attachment.spec.guest}; detach it first"
        for pf in wanted.pfs
        for vf in staying
        if vf.address.pf == pf.name and vf.address.index >= pf.num_vfs
    ]


def put(context: Context, spec: PfSpec, actor: Actor) -> Steps[None]:
    """Makes a PF what the spec says; on a fault it is what it was, or not there. Raises PfError, HostError, DataPathError,
    StoreError."""
    inventory = context.inventory
    present = inventory.pfs.get(spec.name)
    former = present.entry if present else None
    if present:
        _shrink_check(context, spec)
    wire = f"uplink {spec.uplink or 'none'}, own sources from the wire: {spec.wire_own_source}, {spec.switching}"
    request = f"set PF {spec.name}: {wire}, {spec.num_vfs} VFs"
    record = record_of(context, "", "", actor, request, Outcome.GRANTED)
    number = former.number if former else inventory.free_pf_number()
    if former and former.spec.uplink == spec.uplink:
        commit(context, Change(pfs={spec.name: replace(former, spec=spec)}), [record])
        yield from live.follow_link_states(context, spec.name)
        return
    link = context.links.by_name(spec.uplink) if spec.uplink else None
    found = found_uplinks.as_found(context.links, link) if link else None
    if present:
        uplinks.give_back(context, present)  # while it is known how it was found
    with _returning_uplink(context, former):
        commit(context, Change(pfs={spec.name: PfEntry(spec=spec, number=number, found=found)}), [record])
        yield None
        try:
            if link:
                uplinks.connect(context, inventory.pf(spec.name), link)
        except FAULTS:
            undone = record_of(context, "", "", actor, f"{request}: undone", Outcome.FAILED)
            commit(context, Change(pfs={spec.name: former}), [undone])
            raise
    yield from live.follow_link_states(context, spec.name)


@contextlib.contextmanager
def _returning_uplink(context: Context, former: PfEntry | None) -> Iterator[None]:
    """On a fault the PF has the uplink again that it had, if it has not become another PF. One that cannot be had is tried again
    with the look at all devices."""
    try:
        yield
    except FAULTS:
        pf = context.inventory.pfs.get(former.spec.name) if former else None
        if former and former.spec.uplink and pf and pf.entry == former:
            try:
                link = found_uplinks.resolve(context.links, pf, uplinks.is_held(context, pf))
                if link:
                    uplinks.connect(context, pf, link)
            except FAULTS as error:
                _log.error("uplink %s of %s: could not be taken again yet: %s", former.spec.uplink, former.spec.name, error)
        raise


def _shrink_check(context: Context, spec: PfSpec) -> None:
    beyond = [vf.address for vf in context.inventory.vfs_of_pf(spec.name) if vf.address.index >= spec.num_vfs]
    if beyond:
        raise Conflict(f"PF {spec.name}: num_vfs {spec.num_vfs}: {beyond[0]} is attached; detach it first")


def remove(context: Context, spec: PfSpec, actor: Actor) -> Steps[None]:
    """With its VFs. Raises PfError, HostError, DataPathError, StoreError."""
    pf = context.inventory.pf(spec.name)
    for vf in context.inventory.vfs_of_pf(spec.name):
        yield from lifecycle.detach(context, vf.address, actor)
    uplinks.give_back(context, pf)
    record = record_of(context, "", "", actor, f"remove PF {spec.name}", Outcome.GRANTED)
    with _returning_uplink(context, pf.entry):
        commit(context, Change(pfs={spec.name: None}), [record])
    withdraw_uplink(context, pf)
