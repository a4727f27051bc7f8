"""Adapters as apply attaches and detaches them: their namespaces are the guests'. For the kinds; writer thread only."""

from sriov_xdp.host import namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.hands.context import Actor, Context, Steps
from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent
from sriov_xdp.pf.state.kinds import Action
from sriov_xdp.pf.state.modes import pinned_problem
from sriov_xdp.pf.state.plan import Step, leaving_adapters
from sriov_xdp.pf.verbs import lifecycle


def problems(context: Context, wanted: HostIntent) -> list[str]:
    """Data paths that cannot be had, a line each."""
    mtu_of_group = {group.name: switch.mtu_bytes for switch in wanted.switches for group in switch.port_groups}
    found = (
        pinned_problem(
            f"guests: {spec.guest}: adapter {spec.interface}", spec.datapath, mtu_of_group[spec.port_group], context.jumbo_xdp
        )
        for spec in wanted.adapters
    )
    return [problem for problem in found if problem]


def obstacles(context: Context, _wanted: HostIntent, steps: list[Step]) -> list[str]:
    """Interfaces that their namespaces have already, of others; and namespaces that no guest can have. A line each."""
    going = leaving_adapters(steps)
    found = []
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
            found.append(f"{text}; choose another name")
    return found


def _guest_ends(context: Context, place: tuple[int, int] | None, going: set[tuple[str, str]]) -> set[int]:
    """Numbers of interfaces that leave a namespace with what goes, whatever their guests call them."""
    attachments = [vf.attachment for vf in context.inventory.vfs.values() if vf.attachment.netns_id == place]
    links = [context.links.find(attachment.ifindex) for attachment in attachments if attachment.spec.key in going]
    return {link.peer_ifindex for link in links if link}


def put(context: Context, spec: AdapterSpec, actor: Actor) -> Steps[None]:
    """On a free VF. Raises as lifecycle.attach() does."""
    yield from lifecycle.attach(context, spec, None, actor)


def remove(context: Context, spec: AdapterSpec, actor: Actor) -> Steps[None]:
    """One that is gone by now is fine. Raises as lifecycle.detach() does."""
    attached = context.inventory.adapter(*spec.key)
    if attached:
        yield from lifecycle.detach(context, attached.address, actor)
