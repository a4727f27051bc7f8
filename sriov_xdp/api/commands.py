"""The commands of the admin socket, and what each does in the PF's writer thread. Their documents are in requests.

One function a command; its name and document are the API. pydantic checks the document, the PF decides. Work that grows with what
is asked for is a generator of steps, as guests wait for each of them.
"""

from collections.abc import Callable, Generator
from typing import Any

from pydantic import BaseModel

from sriov_xdp.api import health, port_views, traces, views, what_ifs
from sriov_xdp.api.documents import ports_of
from sriov_xdp.api.frames import MadeUp
from sriov_xdp.api.reading import Configuration, Wanted
from sriov_xdp.api.requests import (
    AttachVf,
    CreateGroup,
    CreatePort,
    ListAudit,
    Nothing,
    OnName,
    OnPort,
    OnVf,
    SetGroup,
    SetPort,
    SetSwitch,
    SetVf,
    TraceFrame,
    WatchFrames,
)
from sriov_xdp.pf.errors import FAULTS, Conflict, Incomplete, Invalid, Refused
from sriov_xdp.pf.hands.context import Actor, Context, Steps
from sriov_xdp.pf.state import places
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.intent import AdapterSpec
from sriov_xdp.pf.state.plan import Step
from sriov_xdp.pf.verbs import applied_files, confirmation, lifecycle, operate
from sriov_xdp.pf.verbs import apply as applying
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import INHERIT
from sriov_xdp.vswitch.ports import PortGroup
from sriov_xdp.vswitch.vlan import NO_VLAN

_A_WEEK_SECONDS = 7 * 86_400
_STRANGER = MacAddress.parse("02:00:00:ff:ff:fe")


def _step(step: Step) -> dict[str, Any]:
    before, after = step.documents
    return {
        "action": step.action.value,
        "kind": step.kind.name,
        "name": step.name,
        "before": before,
        "after": after,
        "consequence": step.consequence,
    }


def _apply(context: Context, wanted: Wanted, actor: Actor) -> Steps[list[dict[str, Any]]]:
    text, request = wanted.fingerprint, wanted.request
    is_of_the_start = request.path is not None and request.path == context.started_with
    begun = list[Step]()

    def begin(steps: list[Step]) -> None:
        if not request.yes:
            require_consent(steps, frozenset(request.consented))
        confirmation.require_none_that_may_end(context)
        if steps and request.confirm_timeout_seconds:
            confirmation.begin(context, text, request.confirm_timeout_seconds)
        if steps:
            applied_files.note_begin(context.database, text, is_of_the_start=is_of_the_start)
        begun.extend(steps)

    confirmation.require_none_that_may_end(context)
    try:
        done = yield from applying.apply(context, wanted.intent, actor, begin)
    except Incomplete as error:  # for all others it counts, with what is set by command from now on
        applied_files.note_apply(context.database, text, error.missing, is_of_the_start=is_of_the_start)
        confirmation.replaced_by(context, actor, text)
        raise
    except FAULTS:
        if begun:
            confirmation.take_back_now(context, text)
            applied_files.note_end(context.database)
        raise
    applied_files.note_apply(context.database, text, is_of_the_start=is_of_the_start)
    confirmation.replaced_by(context, actor, text)
    return [_step(step) for step in done]


def require_consent(steps: list[Step], consented: frozenset[str] = frozenset()) -> None:
    """Raises Refused, naming what somebody would lose beside the steps that were consented to."""
    named = {str(step): step for step in steps if step.consequence}
    losses = [f"{name}: {step.consequence}" for name, step in named.items() if name not in consented]
    if losses:
        text = "\n".join(losses)
        raise Refused(
            f"{text}\napply: nothing was done; steps that take something away: {len(losses)}; --yes says that they are meant"
        )


def _diff(context: Context, wanted: Wanted, _actor: Actor) -> Any:
    return [_step(step) for step in applying.check(context, wanted.intent)]


def _what_if(context: Context, wanted: Wanted, _actor: Actor) -> Steps[Any]:
    numbered, steps = applying.checked(context, wanted.intent)
    since = context.wall_clock() - (wanted.request.since_seconds or _A_WEEK_SECONDS)
    found = yield from what_ifs.what_if(context, numbered, since)
    return {**found, "steps": [_step(step) for step in steps]}


def _attach(context: Context, request: AttachVf, actor: Actor) -> Steps[Any]:
    port_group, port = places.asked_for(context.inventory, request.port, request.port_group)
    spec = AdapterSpec(
        guest=request.guest,
        netns=request.netns or request.guest,
        interface=request.interface,
        port_group=port_group,
        port=port,
        mac=request.mac,
        datapath=request.datapath,
    )
    attached = yield from lifecycle.attach(context, spec, request.vf, actor)
    return views.vf_show(context, attached.address)


def _detach(context: Context, request: OnVf, actor: Actor) -> Steps[Any]:
    yield from lifecycle.detach(context, request.vf, actor)
    return views.vf_show(context, request.vf)


def _reset(context: Context, request: OnVf, actor: Actor) -> Any:
    operate.reset_vf(context, request.vf, actor)
    return views.vf_show(context, request.vf)


def _set_vf(context: Context, request: SetVf, actor: Actor) -> Steps[Any]:
    asked = operate.VfSettings(
        mac=request.mac if isinstance(request.mac, MacAddress) else None,
        inherits_mac=request.mac == INHERIT,
        link_state=request.link_state,
        datapath=request.datapath,
        port_group=request.port_group,
        port=request.port,
        settings=request.policy.change(request.vlan),
    )
    if request.mailbox:
        operate.enable_mailbox(context, request.vf, actor)
    if asked != operate.VfSettings() or not request.mailbox:
        yield from operate.set_vf(context, request.vf, asked, actor)
    return views.vf_show(context, request.vf)


def _set_switch(context: Context, request: SetSwitch, actor: Actor) -> Steps[Any]:
    yield from operate.set_switch(context, request.name, request.policy.change(), actor)
    return port_views.switch_show(context, request.name)


def _set_group(context: Context, request: SetGroup, actor: Actor) -> Steps[Any]:
    yield from operate.set_group(context, request.name, request.policy.change(request.vlan), actor)
    return port_views.group_show(context, request.name)


def _create_group(context: Context, request: CreateGroup, actor: Actor) -> Steps[Any]:
    group = PortGroup(
        name=request.name,
        vlan=request.vlan or NO_VLAN,
        policy=request.policy.change().policy,
        overrides_allowed=frozenset(request.overrides_allowed),
        binding=request.binding,
        ports=ports_of(request.binding, request.ports),
        reset_at_disconnect=request.reset_at_disconnect,
    )
    yield from operate.create_group(context, request.switch, group, actor)
    return port_views.group_show(context, request.name)


def _delete_group(context: Context, request: OnName, actor: Actor) -> Steps[Any]:
    shown = port_views.group_show(context, request.name)
    yield from operate.delete_group(context, request.name, actor)
    return shown


def _set_port(context: Context, request: SetPort, actor: Actor) -> Steps[Any]:
    yield from operate.set_port(context, request.port, request.policy.change(request.vlan), actor)
    return port_views.port_show(context, request.port)


def _create_port(context: Context, request: CreatePort, actor: Actor) -> Steps[Any]:
    name = yield from operate.create_port(context, request.port_group, actor)
    return port_views.port_show(context, str(name))


def _delete_port(context: Context, request: OnPort, actor: Actor) -> Steps[Any]:
    shown = port_views.port_show(context, request.port)
    yield from operate.delete_port(context, request.port, actor)
    return shown


def _trace(context: Context, request: TraceFrame, _actor: Actor) -> Any:
    pf = context.inventory.pfs.get(request.sender)
    vf = None if pf else _connected_at(context, request.sender)
    pf = pf or context.inventory.pf(vf.address.pf if vf else request.sender)
    if (request.frame is None) is (request.to is None):
        raise Invalid(f"trace from {request.sender}: expected frame or to, one of them; give --frame HEX or --to MAC")
    if request.frame is not None:
        return traces.trace(context, pf, vf, bytes.fromhex(request.frame))
    assert request.to is not None
    made_up = MadeUp(
        destination=request.to,
        source=request.source or (vf.state.effective_mac if vf else _STRANGER),
        vlan=request.vlan,
        tcp=request.tcp,
        udp=request.udp,
        payload_bytes=request.payload_bytes,
    )
    return traces.trace(context, pf, vf, made_up.octets())


def _watch(context: Context, request: WatchFrames, _actor: Actor) -> Any:
    pf = context.inventory.pfs.get(request.sender)
    return traces.watch(context, pf or _connected_at(context, request.sender), request.cursor)


def _connected_at(context: Context, port: str) -> AttachedVf:
    place = places.find(context.inventory, port)
    if place.attached is None:
        raise Conflict(f"port {place}: nobody is connected there, so nothing is sent; `sriov-xdp port list` shows who is where")
    return place.attached


def _audit(context: Context, request: ListAudit, _actor: Actor) -> Any:
    def steps() -> Generator[None, None, list[dict[str, Any]]]:
        documents: list[dict[str, Any]] = []
        vf, port = (str(asked) if asked else None for asked in (request.vf, request.port))
        for page in context.database.audit_pages(vf, request.limit, port):
            documents += map(views.audit_document, page)
            yield
        return documents

    return steps()


def _verb(run: Callable[[Context, Any, Actor], Steps[Any]]) -> Callable[[Context, Any, Actor], Steps[Any]]:
    """One at a time, and not between the steps of a configuration that is being applied."""

    def require_its_turn(context: Context) -> None:
        if context.is_applying:
            raise Conflict("another configuration is being applied; try again when it is done")
        confirmation.require_none(context)

    def when_it_is_its_turn(context: Context, request: Any, actor: Actor) -> Steps[Any]:
        require_its_turn(context)  # again: a trial may have begun while it waited
        return (yield from run(context, request, actor))

    def guarded(context: Context, request: Any, actor: Actor) -> Steps[Any]:
        require_its_turn(context)
        return context.turns.take(when_it_is_its_turn(context, request, actor))

    return guarded


# What a request is validated by, and what is then done. A Configuration comes read, as a Wanted.
Command = tuple[type[BaseModel], Callable[[Context, Any, Actor], Any]]

COMMANDS: dict[str, Command] = {
    "apply": (Configuration, _apply),
    "confirm": (Nothing, lambda context, _request, actor: {"configuration": confirmation.confirm(context, actor)}),
    "diff": (Configuration, _diff),
    "what-if": (Configuration, _what_if),
    "export": (Nothing, lambda context, _request, _actor: views.export(context)),
    "pf-list": (Nothing, lambda context, _request, _actor: views.pf_list(context)),
    "pf-show": (OnName, lambda context, request, _actor: views.pf_show(context, request.name)),
    "vf-list": (Nothing, lambda context, _request, _actor: views.vf_list(context)),
    "vf-show": (OnVf, lambda context, request, _actor: views.vf_show(context, request.vf)),
    "vf-attach": (AttachVf, _verb(_attach)),
    "vf-detach": (OnVf, _verb(_detach)),
    "vf-reset": (OnVf, _reset),
    "vf-set": (SetVf, _verb(_set_vf)),
    "switch-list": (Nothing, lambda context, _request, _actor: port_views.switch_list(context)),
    "switch-show": (OnName, lambda context, request, _actor: port_views.switch_show(context, request.name)),
    "switch-set": (SetSwitch, _verb(_set_switch)),
    "port-group-list": (Nothing, lambda context, _request, _actor: port_views.group_list(context)),
    "port-group-show": (OnName, lambda context, request, _actor: port_views.group_show(context, request.name)),
    "port-group-create": (CreateGroup, _verb(_create_group)),
    "port-group-delete": (OnName, _verb(_delete_group)),
    "port-group-set": (SetGroup, _verb(_set_group)),
    "port-list": (Nothing, lambda context, _request, _actor: port_views.port_list(context)),
    "port-show": (OnPort, lambda context, request, _actor: port_views.port_show(context, request.port)),
    "port-create": (CreatePort, _verb(_create_port)),
    "port-delete": (OnPort, _verb(_delete_port)),
    "port-set": (SetPort, _verb(_set_port)),
    "audit-list": (ListAudit, _audit),
    "trace": (TraceFrame, _trace),
    "trace-live": (WatchFrames, _watch),
    "guest-ends": (Nothing, lambda context, _request, _actor: health.guest_ends(context)),
    "host-health": (Nothing, lambda context, _request, _actor: health.host(context)),
}
