"""From the inventory to the maps: the only place that makes them say something else.

Everything that a verb touched is published in one go: ports that are gone, then those that stay, then the flood lists and the
PF's own port, which depend on all its VFs. Each write revokes before it grants, and what is said already is not written again.
For the pf package; writer thread only.
"""

from collections.abc import Iterable

from sriov_xdp.datapath.port_image import PortImage
from sriov_xdp.pf.hands import damaged
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.change import Former
from sriov_xdp.pf.state.images import member_lists, slot_of, uplink_image, vf_image
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.state.physical_function import PhysicalFunction


def publish(context: Context, former: Former) -> None:
    """All that a change of the inventory touched, now as the inventory says. Raises DataPathError."""
    slots = {slot_of(kept[0]) for kept in former.vfs.values() if kept}
    present = {vf for vf in former.ports if vf in context.inventory.vfs}
    with context.tables.changing():
        for slot in slots - {slot_of(vf) for vf in context.inventory.vfs.values()}:
            context.tables.clear_port(slot)
        publish_ports(context, [context.inventory.vfs[address] for address in sorted(present)])
        pfs = {vf.pf for vf in former.ports} | _pfs_of(context, former)
        _put_ports(context, _moved(context, pfs))
        _publish_company(context, pfs)
        publish_pfs(context, pfs)


def _pfs_of(context: Context, former: Former) -> set[str]:
    switches = [switch for switch in former.switches.values() if switch]
    switches += [context.inventory.switches[name] for name in former.switches if name in context.inventory.switches]
    return {switch.pf for switch in switches} | set(former.pfs)


def _publish_company(context: Context, pfs: Iterable[str]) -> None:
    """What enters by one port is copied to promiscuous ones of its VLAN, so one that comes or goes makes all others other ones."""
    for pf in filter(None, map(context.inventory.pfs.get, pfs)):
        listened = context.inventory.listened_vlans(pf.spec.name)
        if listened != pf.listened_vlans:
            publish_ports(context, context.inventory.vfs_of_pf(pf.spec.name))
            pf.listened_vlans = listened


def publish_ports(context: Context, ports: Iterable[AttachedVf]) -> None:
    """Ports as they are, one that has no device yet aside, and one that is detached by now; and those to which an address that
    several hold leads now, or does no more. Raises DataPathError."""
    wanted = {vf.address: vf for vf in ports}
    pfs = {address.pf for address in wanted}
    for vf in wanted.values():
        _note_presence(context, vf)
    with context.tables.changing():
        _put_ports(context, [*wanted.values(), *_moved(context, pfs)])
        for pf in filter(None, map(context.inventory.pfs.get, pfs)):
            if bool(pf.owners.shared.holders()) is not pf.tells_of_shared:
                _publish_own_port(context, pf)


def _note_presence(context: Context, vf: AttachedVf) -> None:
    """What a port holds with others leads to one of these while nobody can be reached there."""
    is_present = vf.has_carrier and context.inventory.is_open(vf)
    if vf.was_present is not is_present and vf.address.pf in context.inventory.pfs:
        vf.was_present = is_present
        context.inventory.pfs[vf.address.pf].owners.shared.doubt(str(vf.address))


def _moved(context: Context, pfs: Iterable[str]) -> list[AttachedVf]:
    return [vf for pf in pfs for vf in context.inventory.moved_of_pf(pf)]


def _put_ports(context: Context, ports: Iterable[AttachedVf]) -> None:
    here = {vf.address: vf for vf in ports if vf.stage is not Stage.PLANNED and context.inventory.vfs.get(vf.address) is vf}
    images = [(slot_of(vf), vf_image(context.inventory, vf)) for vf in here.values()]
    # Whom a shared address leads to first, so that it leads from one to the other at once.
    for slot, image in sorted(images, key=lambda one: not one[1].fdb & one[1].shared):
        context.tables.put_port(slot, image)


def withdraw_port(context: Context, port: AttachedVf) -> None:
    """One whose device goes while its attachment stays."""
    context.tables.clear_port(slot_of(port))


def publish_pfs(context: Context, names: Iterable[str]) -> None:
    """Flood lists and the PFs' own ports, which depend on all their VFs. Raises DataPathError."""
    for name in names:
        pf = context.inventory.pfs.get(name)
        if pf:
            _publish_pf(context, pf)


def _publish_pf(context: Context, pf: PhysicalFunction) -> None:
    lists = damaged.with_their_floods(context, pf.number, member_lists(context.inventory, pf))
    context.tables.put_members(pf.number, lists)
    _publish_own_port(context, pf)


def _publish_own_port(context: Context, pf: PhysicalFunction) -> None:
    """Unless its uplink was not looked for yet, and works on as the last run left it."""
    if pf.spec.uplink is None or not pf.is_awaited:
        publish_uplink(context, pf)


def publish_uplink(context: Context, pf: PhysicalFunction) -> None:
    """The PF's own port, without an uplink too, as it says whether the PF has trunks. Raises DataPathError."""
    context.tables.put_port(pf.number, own_port(context, pf))
    pf.tells_of_shared = bool(pf.owners.shared.holders())


def own_port(context: Context, pf: PhysicalFunction) -> PortImage:
    """What the maps say of a PF's own port."""
    return uplink_image(context.inventory, pf, has_unread_trunks=damaged.has_trunks(context, pf.number))


def withdraw_uplink(context: Context, pf: PhysicalFunction) -> None:
    """A PF that is going. Raises DataPathError."""
    context.tables.put_members(pf.number, {})
    context.tables.clear_port(pf.number)


def publish_all(context: Context, kept_slots: Iterable[int] = ()) -> None:
    """After a start: makes the maps say what the inventory says, without ever clearing what stays. kept_slots: of ports about
    which the state says nothing that can be read."""
    here = [vf for vf in context.inventory.vfs.values() if vf.stage is not Stage.PLANNED]
    known = {slot_of(vf) for vf in here} | {pf.number for pf in context.inventory.pfs.values()} | set(kept_slots)
    for slot in context.tables.slots() - known:
        context.tables.clear_port(slot)
    publish_ports(context, here)
    for pf in context.inventory.pfs.values():
        pf.listened_vlans = context.inventory.listened_vlans(pf.spec.name)
        _publish_pf(context, pf)


def start_counters(context: Context, address: VfAddress) -> None:
    """For a new owner of a slot."""
    context.tables.zero_counters(slot_of(context.inventory.attached(address)))


def publish_again(context: Context, former: Former) -> None:
    """After a fault, best effort: what could not be written is found by publish_all() at the next start at the latest."""
    try:
        publish(context, former)
    except Exception:  # noqa: BLE001  # whatever cut it short the first time may do so again
        context.needs_publish = True
