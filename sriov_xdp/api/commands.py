"""Request documents of the admin socket, and what each does in the PF's writer thread.

One function a command; its name and document are the API. pydantic checks the document, the PF decides. Work that grows with what
is asked for is a generator of steps, as guests wait for each of them.
"""

from collections.abc import Callable, Generator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from sriov_xdp.api import health, traces, views
from sriov_xdp.api.documents import (
    INHERIT,
    InterfaceName,
    MacOrInherit,
    MacSetting,
    NetnsName,
    ObjectName,
    VlanOrInherit,
    VlanOrStep,
    VlanSetting,
    of_settings,
    said_in,
    written_or_inherited,
)
from sriov_xdp.api.frames import MadeUp
from sriov_xdp.api.reading import Configuration, Wanted
from sriov_xdp.api.sentences import Form
from sriov_xdp.pf.errors import FAULTS, Conflict, Incomplete, Invalid, NotFound, Refused
from sriov_xdp.pf.hands.context import Actor, Context, Steps
from sriov_xdp.pf.state.intent import AdapterSpec, Datapath, LinkState, VfAddress
from sriov_xdp.pf.state.plan import Step
from sriov_xdp.pf.verbs import applied_files, lifecycle, operate
from sriov_xdp.pf.verbs import apply as applying
from sriov_xdp.store.audit import MOST_LISTED
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import Override, PolicySettings, PortGroup
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan, VlanStep

_RECORDS_A_STEP = 250
_LAST_PORT = 65535
_STRANGER = MacAddress.parse("02:00:00:ff:ff:fe")


def _parse_vf(value: Any) -> VfAddress:
    if isinstance(value, VfAddress):
        return value
    if not isinstance(value, str):
        raise ValueError("no text")
    return VfAddress.parse(value)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("should have printable characters only")
    return value


Vf = Annotated[VfAddress, BeforeValidator(_parse_vf), Form("a PF's name, vf and a number, as in pf0vf3")]


def _parse_endpoint(value: Any) -> tuple[str, int]:
    if not isinstance(value, str):
        raise ValueError("no text")
    address, _, port = value.rpartition(":")
    address = str(ip_address(address.removeprefix("[").removesuffix("]")))
    if not port.isdecimal() or not 0 <= int(port) <= _LAST_PORT:
        raise ValueError("no port")
    return address, int(port)


_Endpoint = Annotated[tuple[str, int], BeforeValidator(_parse_endpoint), Form("an address and a port, as in 10.0.0.2:80")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Nothing(_Request):
    """No arguments."""


class OnVf(_Request):
    """One VF."""

    vf: Vf


class OnName(_Request):
    """One named object."""

    name: ObjectName


class AttachVf(_Request):
    """vf: None takes a free one."""

    vf: Vf | None = None
    guest: ObjectName
    netns: NetnsName | None = None
    port_group: ObjectName
    mac: MacSetting | None = None
    interface: Annotated[InterfaceName, AfterValidator(_printable)] = "eth0"
    datapath: Datapath = Datapath.AUTO


LinkStateOrInherit = Annotated[LinkState, BeforeValidator(lambda said: LinkState.AUTO if said == INHERIT else said)]
DatapathOrInherit = Annotated[Datapath, BeforeValidator(lambda said: Datapath.AUTO if said == INHERIT else said)]


class _SettingsBase(_Request):
    def change(self, vlan: Vlan | VlanStep | Literal["inherit"] | None = None) -> operate.SettingsChange:
        """As the PF sees it."""
        said = said_in(self)
        inherited = {name for name, value in {**said, "vlan": vlan}.items() if value == INHERIT}
        values = {name: value for name, value in said.items() if value != INHERIT}
        return operate.SettingsChange(
            policy=PolicySettings(**values),
            vlan=vlan if isinstance(vlan, Vlan | VlanStep) else None,
            inherited=frozenset(inherited),
        )


if TYPE_CHECKING:

    class SettingsDocument(_SettingsBase):
        """Settings of one level, as configuration files name them; `inherit` takes one back."""

else:
    SettingsDocument = of_settings("settings", _SettingsBase, written_or_inherited)


class SetSwitch(_Request):
    """What is given changes."""

    name: ObjectName
    policy: SettingsDocument


class SetGroup(_Request):
    """What is given changes."""

    name: ObjectName
    policy: SettingsDocument = SettingsDocument()
    vlan: VlanOrStep | None = None


class CreateGroup(_Request):
    """A port group of a switch."""

    name: ObjectName
    switch: ObjectName
    policy: SettingsDocument = SettingsDocument()
    vlan: VlanSetting | None = None
    overrides_allowed: list[Override] = []


class SetPort(_Request):
    """What is given overrides the group."""

    vf: Vf
    policy: SettingsDocument = SettingsDocument()
    vlan: VlanOrInherit | None = None


class SetVf(SetPort):
    """What is given changes, of the VF and of its port together. mac `inherit`: the host's choice again; of the others, what holds
    where nobody says it."""

    mac: MacOrInherit | None = None
    port_group: ObjectName | None = None
    link_state: LinkStateOrInherit | None = None
    datapath: DatapathOrInherit | None = None


class TraceFrame(_Request):
    """sender: a VF, or a PF for its wire. frame: in hexadecimal digits; or what it is made up of, with a destination at least."""

    sender: ObjectName
    frame: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2}){14,9300}$")] | None = None
    to: MacSetting | None = None
    source: MacSetting | None = None
    vlan: Annotated[int, Field(strict=True, ge=0, le=4095)] | None = None
    tcp: _Endpoint | None = None
    udp: _Endpoint | None = None
    payload_bytes: Annotated[int, Field(strict=True, ge=0, le=9216)] = 46


class ListAudit(_Request):
    """vf None: of all."""

    vf: Vf | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_LISTED)] = 100


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
    steps = [] if context.is_applying else applying.check(context, wanted.intent)
    if not wanted.request.yes:
        require_consent(steps, frozenset(wanted.request.consented))
    is_of_the_start = wanted.request.path is not None and wanted.request.path == context.started_with
    if steps:
        applied_files.note_begin(context.database, wanted.fingerprint, is_of_the_start=is_of_the_start)
    try:
        done = yield from applying.apply(context, wanted.intent, actor)
    except Incomplete:  # for all others it counts, with what is set by command from now on
        applied_files.note_apply(context.database, wanted.fingerprint, is_of_the_start=is_of_the_start)
        raise
    except FAULTS:
        if steps:  # nothing was begun where another configuration is being applied, whose note stays
            applied_files.note_end(context.database)
        raise
    applied_files.note_apply(context.database, wanted.fingerprint, is_of_the_start=is_of_the_start)
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


def _attach(context: Context, request: AttachVf, actor: Actor) -> Steps[Any]:
    spec = AdapterSpec(
        guest=request.guest,
        netns=request.netns or request.guest,
        interface=request.interface,
        port_group=request.port_group,
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
        port=request.policy.change(request.vlan),
    )
    yield from operate.set_vf(context, request.vf, asked, actor)
    return views.vf_show(context, request.vf)


def _set_switch(context: Context, request: SetSwitch, actor: Actor) -> Steps[Any]:
    yield from operate.set_switch(context, request.name, request.policy.change(), actor)
    return views.switch_show(context, request.name)


def _set_group(context: Context, request: SetGroup, actor: Actor) -> Steps[Any]:
    yield from operate.set_group(context, request.name, request.policy.change(request.vlan), actor)
    return views.group_show(context, request.name)


def _create_group(context: Context, request: CreateGroup, actor: Actor) -> Steps[Any]:
    group = PortGroup(
        name=request.name,
        vlan=request.vlan or NO_VLAN,
        policy=request.policy.change().policy,
        overrides_allowed=frozenset(request.overrides_allowed),
    )
    yield from operate.create_group(context, request.switch, group, actor)
    return views.group_show(context, request.name)


def _delete_group(context: Context, request: OnName, actor: Actor) -> Steps[Any]:
    shown = views.group_show(context, request.name)
    yield from operate.delete_group(context, request.name, actor)
    return shown


def _set_port(context: Context, request: SetPort, actor: Actor) -> Steps[Any]:
    yield from operate.set_port(context, request.vf, request.policy.change(request.vlan), actor)
    return views.port_show(context, request.vf)


def _trace(context: Context, request: TraceFrame, _actor: Actor) -> Any:
    pf = context.inventory.pfs.get(request.sender)
    vf = None if pf else context.inventory.attached(_vf_named(request.sender))
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


def _vf_named(name: str) -> VfAddress:
    try:
        return VfAddress.parse(name)
    except ValueError as error:
        raise NotFound(f"{name}: no PF of that name, and no VF's address as pf0vf3; `sriov-xdp vf list` shows them") from error


def _audit(context: Context, request: ListAudit, _actor: Actor) -> Any:
    def steps() -> Generator[None, None, list[dict[str, Any]]]:
        documents: list[dict[str, Any]] = []
        for record in context.database.audit(str(request.vf) if request.vf else None, request.limit):
            documents.append(views.audit_document(record))
            if len(documents) % _RECORDS_A_STEP == 0:
                yield
        return documents

    return steps()


def _verb(run: Callable[[Context, Any, Actor], Steps[Any]]) -> Callable[[Context, Any, Actor], Steps[Any]]:
    """One at a time, and not between the steps of a configuration that is being applied."""

    def guarded(context: Context, request: Any, actor: Actor) -> Steps[Any]:
        if context.is_applying:
            raise Conflict("another configuration is being applied; try again when it is done")
        return context.turns.take(run(context, request, actor))

    return guarded


# What a request is validated by, and what is then done. A Configuration comes read, as a Wanted.
Command = tuple[type[BaseModel], Callable[[Context, Any, Actor], Any]]

COMMANDS: dict[str, Command] = {
    "apply": (Configuration, _apply),
    "diff": (Configuration, _diff),
    "export": (Nothing, lambda context, _request, _actor: views.export(context)),
    "pf-list": (Nothing, lambda context, _request, _actor: views.pf_list(context)),
    "pf-show": (OnName, lambda context, request, _actor: views.pf_show(context, request.name)),
    "vf-list": (Nothing, lambda context, _request, _actor: views.vf_list(context)),
    "vf-show": (OnVf, lambda context, request, _actor: views.vf_show(context, request.vf)),
    "vf-attach": (AttachVf, _verb(_attach)),
    "vf-detach": (OnVf, _verb(_detach)),
    "vf-reset": (OnVf, _reset),
    "vf-set": (SetVf, _verb(_set_vf)),
    "switch-list": (Nothing, lambda context, _request, _actor: views.switch_list(context)),
    "switch-show": (OnName, lambda context, request, _actor: views.switch_show(context, request.name)),
    "switch-set": (SetSwitch, _verb(_set_switch)),
    "port-group-list": (Nothing, lambda context, _request, _actor: views.group_list(context)),
    "port-group-show": (OnName, lambda context, request, _actor: views.group_show(context, request.name)),
    "port-group-create": (CreateGroup, _verb(_create_group)),
    "port-group-delete": (OnName, _verb(_delete_group)),
    "port-group-set": (SetGroup, _verb(_set_group)),
    "port-list": (Nothing, lambda context, _request, _actor: views.port_list(context)),
    "port-show": (OnVf, lambda context, request, _actor: views.port_show(context, request.vf)),
    "port-set": (SetPort, _verb(_set_port)),
    "audit-list": (ListAudit, _audit),
    "trace": (TraceFrame, _trace),
    "guest-ends": (Nothing, lambda context, _request, _actor: health.guest_ends(context)),
    "host-health": (Nothing, lambda context, _request, _actor: health.host(context)),
}
