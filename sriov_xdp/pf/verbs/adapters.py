"""Adapters as apply attaches and detaches them: their namespaces are the guests'. For the kinds; writer thread only."""

from collections.abc import Iterator

from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.hands.context import Actor, Context, Steps
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent
from sriov_xdp.pf.state.kinds import Action
from sriov_xdp.pf.state.modes import pinned_problem
from sriov_xdp.pf.state.plan import Step, leaving_adapters
from sriov_xdp.pf.state.port_record import PortRecord
from sriov_xdp.pf.verbs import connecting, lifecycle, operate
from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.vswitch.owners import AddressOwners
from sriov_xdp.vswitch.ports import PortName, port_mtu_bytes, port_vlan


def problems(context: Context, wanted: HostIntent) -> list[str]:
    """Data paths that cannot be had, a line each."""
    places = {group.name: (switch, group) for switch in wanted.switches for group in switch.port_groups}
    found = []
    for spec in wanted.adapters:
        switch, group = places[spec.port_group]
        mtu_bytes = port_mtu_bytes(switch, group, spec.overrides_in(group))
        subject = f"guests: {spec.guest}: adapter {spec.interface}"
        found.append(pinned_problem(subject, spec.datapath, mtu_bytes, context.jumbo_xdp))
    return [problem for problem in found if problem]


def obstacles(context: Context, wanted: HostIntent, steps: list[Step]) -> list[str]:
    """Interfaces that their namespaces have already, of others; namespaces that no guest can have; and addresses that others will
    have then. A line each."""
    going = leaving_adapters(steps)
    found = list(_shared_addresses(wanted, steps))
    for step in steps:
        spec = step.after
        if not isinstance(spec, AdapterSpec) or step.action not in (Action.ADD, Action.REATTACH):
            continue
        try:
            lifecycle.validate_namespace(spec.netns)
            number = namespaces.interface_number(spec.netns, spec.interface) if namespaces.identity(spec.netns) else None
        except (Invalid, HostError) as error:
            found.append(f"guests: {spec.guest}: {error}")
            continue
        if number and number not in _guest_ends(context, namespaces.identity(spec.netns), going):
            text = f"guests: {spec.guest}: adapter {spec.interface}: namespace {spec.netns} has a device of that name"
            found.append(f"{text}; choose another name, or leave this guest out")
    return found


def _shared_addresses(wanted: HostIntent, steps: list[Step]) -> Iterator[str]:
    """Of an adapter that comes or changes and another one, in a VLAN of both: with addresses that nobody said but the host chose.
    What a guest was granted is in nobody's way."""
    changed = {step.after.key for step in steps if isinstance(step.after, AdapterSpec)}
    places = {group.name: (switch, group) for switch in wanted.switches for group in switch.port_groups}
    owners: dict[str, AddressOwners] = {}
    keys: dict[str, tuple[str, str]] = {}
    for spec in wanted.adapters if changed else ():
        switch, group = places[spec.port_group]
        name, vlan = f"guest {spec.guest}'s {spec.interface}", port_vlan(group, spec.overrides_in(group))
        keys[name] = spec.key
        of_pf = owners.setdefault(switch.pf, AddressOwners())
        mac = spec.mac or lifecycle.default_mac(spec)
        other = of_pf.other_owner(name, mac, vlan.address_domains)
        if other and changed & {spec.key, keys[other]}:
            subject = f"guests: {spec.guest}: adapter {spec.interface}"
            yield f"{subject}: {mac} is {other}'s {vlan.address_place}; give one of the two another address"
        of_pf.replace(name, frozenset({mac}), vlan.address_domains)


def _guest_ends(context: Context, place: tuple[int, int] | None, going: set[tuple[str, str]]) -> set[int]:
    """Numbers of interfaces that leave a namespace with what goes, whatever their guests call them."""
    attachments = [vf.attachment for vf in context.inventory.vfs.values() if vf.attachment.netns_id == place]
    links = [context.links.find(attachment.ifindex) for attachment in attachments if attachment.spec.key in going]
    return {link.peer_ifindex for link in links if link}


def change(context: Context, so_far: Change, steps: list[Step], actor: Actor) -> tuple[Change, list[AuditRecord]]:
    """Those that keep their interface. Seen with the rest of the change, which may have the groups that they move to. Raises
    NotFound, Refused, Conflict."""
    moving = (context.inventory.adapter(*step.after.key) for step in steps if isinstance(step.after, AdapterSpec))
    kept = {vf.address: connecting.left_by(context, vf, is_declared=True).port_records for vf in moving if vf}
    seen = context.inventory.install(so_far)
    try:
        attachments, records, left = {}, [], dict[PortName, PortRecord | None]()
        for step in steps:
            assert isinstance(step.after, AdapterSpec)
            attached = context.inventory.adapter(*step.after.key)
            if attached:
                if connecting.has_moved(attached.attachment.spec, step.after):
                    left |= kept[attached.address]
                changed = operate.changed_attachment(context, attached, step.after)
                attachments[attached.address] = changed
                records.append(operate.adapter_record(context, attached.attachment, changed, actor, "apply"))
        return Change(attachments=attachments, port_records=left), records
    finally:
        context.inventory.restore(seen)


def put(context: Context, spec: AdapterSpec, actor: Actor) -> Steps[None]:
    """On a free VF. A guest that holds its mailbox's name keeps itself from requests, and nobody from its interface, which may be
    attached anew. Raises as lifecycle.attach() does."""
    yield from lifecycle.attach(context, spec, None, actor, needs_mailbox=False)


def remove(context: Context, spec: AdapterSpec, actor: Actor) -> Steps[None]:
    """One that is gone by now is fine. Raises as lifecycle.detach() does."""
    attached = context.inventory.adapter(*spec.key)
    if attached:
        yield from lifecycle.detach(context, attached.address, actor, is_declared=True)
