"""Request documents of the admin socket, and what each does in the PF's writer thread.

One function a command; its name and document are the API. pydantic checks the document, the PF decides.
"""

from collections.abc import Callable, Generator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from sriov_xdp.api import config
from sriov_xdp.api.config import InterfaceName, MacSetting, NetnsName, ObjectName, PolicyDocument, VlanSetting
from sriov_xdp.api.sentences import Form
from sriov_xdp.pf import configure, lifecycle, views
from sriov_xdp.pf.context import Actor, Context
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.health import guest_ends
from sriov_xdp.pf.intent import AdapterSpec, Datapath, LinkState, VfAddress
from sriov_xdp.pf.plan import Step, describe


def _parse_vf(value: Any) -> VfAddress:
    return value if isinstance(value, VfAddress) else VfAddress.parse(str(value))


Vf = Annotated[VfAddress, BeforeValidator(_parse_vf), Form("a PF's name, vf and a number, as in pf0vf3")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Nothing(_Request):
    """No arguments."""


class OnVf(_Request):
    """One VF."""

    vf: Vf


class OnName(_Request):
    """One named object."""

    name: str


class Configuration(_Request):
    """A whole configuration, as text, so that the daemon sees what a person wrote. file: its name, for messages."""

    text: str
    file: str | None = None


class AttachVf(_Request):
    """vf: None takes a free one."""

    vf: Vf | None = None
    guest: ObjectName
    netns: NetnsName | None = None
    port_group: ObjectName
    mac: MacSetting | None = None
    interface: InterfaceName = "eth0"
    datapath: Datapath = Datapath.AUTO


class SetVf(_Request):
    """What is given changes."""

    vf: Vf
    mac: MacSetting | None = None
    link_state: LinkState | None = None
    datapath: Datapath | None = None


class SetGroup(_Request):
    """What is given changes."""

    name: ObjectName
    policy: PolicyDocument = PolicyDocument()
    vlan: VlanSetting | None = None


class SetPort(_Request):
    """What is given overrides the group."""

    vf: Vf
    policy: PolicyDocument = PolicyDocument()
    vlan: VlanSetting | None = None


class ListAudit(_Request):
    """vf None: of all."""

    vf: Vf | None = None
    limit: int = 100


def _step(step: Step) -> dict[str, Any]:
    return {
        "action": step.action.value,
        "kind": step.kind,
        "name": step.name,
        "before": describe(step.before),
        "after": describe(step.after),
    }


def _apply(context: Context, request: Configuration, actor: Actor) -> Any:
    wanted = config.parse(request.text, request.file)

    def steps() -> Generator[None, None, list[dict[str, Any]]]:
        done = yield from configure.apply(context, wanted, actor)
        return [_step(step) for step in done]

    return steps()


def _diff(context: Context, request: Configuration, _actor: Actor) -> Any:
    return [_step(step) for step in configure.check(context, config.parse(request.text, request.file))]


def _attach(context: Context, request: AttachVf, actor: Actor) -> Any:
    spec = AdapterSpec(
        guest=request.guest,
        netns=request.netns or request.guest,
        interface=request.interface,
        port_group=request.port_group,
        mac=request.mac,
        datapath=request.datapath,
    )
    attached = lifecycle.attach(context, spec, request.vf, actor)
    return views.vf_show(context, attached.address)


def _detach(context: Context, request: OnVf, actor: Actor) -> Any:
    lifecycle.detach(context, request.vf, actor)
    return views.vf_show(context, request.vf)


def _reset(context: Context, request: OnVf, actor: Actor) -> Any:
    configure.reset_vf(context, request.vf, actor)
    return views.vf_show(context, request.vf)


def _set_vf(context: Context, request: SetVf, actor: Actor) -> Any:
    configure.set_vf(context, request.vf, actor, mac=request.mac, link_state=request.link_state, datapath=request.datapath)
    return views.vf_show(context, request.vf)


def _set_group(context: Context, request: SetGroup, actor: Actor) -> Any:
    configure.set_group(context, request.name, actor, policy=request.policy.settings(), vlan=request.vlan)
    return views.group_show(context, request.name)


def _set_port(context: Context, request: SetPort, actor: Actor) -> Any:
    configure.set_port(context, request.vf, actor, policy=request.policy.settings(), vlan=request.vlan)
    return views.port_show(context, request.vf)


def _audit(context: Context, request: ListAudit, _actor: Actor) -> Any:
    records = context.database.audit(str(request.vf) if request.vf else None, request.limit)
    return [views.audit_document(record) for record in records]


def _alone(run: Callable[[Context, Any, Actor], Any]) -> Callable[[Context, Any, Actor], Any]:
    """Not between the steps of a configuration that is being applied."""

    def guarded(context: Context, request: Any, actor: Actor) -> Any:
        if context.is_applying:
            raise Conflict("another configuration is being applied; try again when it is done")
        return run(context, request, actor)

    return guarded


Command = tuple[type[_Request], Callable[[Context, Any, Actor], Any]]

COMMANDS: dict[str, Command] = {
    "apply": (Configuration, _apply),
    "diff": (Configuration, _diff),
    "export": (Nothing, lambda context, _request, _actor: views.export(context)),
    "pf-list": (Nothing, lambda context, _request, _actor: views.pf_list(context)),
    "pf-show": (OnName, lambda context, request, _actor: views.pf_show(context, request.name)),
    "vf-list": (Nothing, lambda context, _request, _actor: views.vf_list(context)),
    "vf-show": (OnVf, lambda context, request, _actor: views.vf_show(context, request.vf)),
    "vf-attach": (AttachVf, _alone(_attach)),
    "vf-detach": (OnVf, _alone(_detach)),
    "vf-reset": (OnVf, _reset),
    "vf-set": (SetVf, _alone(_set_vf)),
    "switch-list": (Nothing, lambda context, _request, _actor: views.switch_list(context)),
    "switch-show": (OnName, lambda context, request, _actor: views.switch_show(context, request.name)),
    "port-group-list": (Nothing, lambda context, _request, _actor: views.group_list(context)),
    "port-group-show": (OnName, lambda context, request, _actor: views.group_show(context, request.name)),
    "port-group-set": (SetGroup, _alone(_set_group)),
    "port-list": (Nothing, lambda context, _request, _actor: views.port_list(context)),
    "port-show": (OnVf, lambda context, request, _actor: views.port_show(context, request.vf)),
    "port-set": (SetPort, _alone(_set_port)),
    "audit-list": (ListAudit, _audit),
    "guest-ends": (Nothing, lambda context, _request, _actor: guest_ends(context)),
}
