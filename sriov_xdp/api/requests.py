"""Request documents of the admin socket: what each command is asked with, checked by pydantic. What is then done is in commands."""

from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from sriov_xdp.api.documents import (
    InterfaceName,
    MacOrInherit,
    MacSetting,
    NetnsName,
    ObjectName,
    VlanOrInherit,
    VlanOrStep,
    VlanSetting,
)
from sriov_xdp.api.sentences import Form
from sriov_xdp.api.setting_documents import of_settings, said_in, written_or_inherited
from sriov_xdp.pf.state.intent import Datapath, LinkState, VfAddress
from sriov_xdp.pf.verbs import operate
from sriov_xdp.store.audit import MOST_LISTED
from sriov_xdp.vswitch.policy import INHERIT, Override, PolicySettings
from sriov_xdp.vswitch.ports import MOST_PORTS, Binding, PortName
from sriov_xdp.vswitch.vlan import Vlan, VlanStep

_LAST_PORT = 65535


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


def _parse_port(value: Any) -> PortName:
    if isinstance(value, PortName):
        return value
    if not isinstance(value, str):
        raise ValueError("no text")
    return PortName.parse(value)


Port = Annotated[PortName, BeforeValidator(_parse_port), Form("a switch's name and a number, as in vSwitch0/3")]
_PORT = r"[a-z][a-z0-9]{0,6}vf(0|[1-9][0-9]{0,2})|[^/\x00-\x1f\x7f]{1,63}/[^/\x00-\x1f\x7f]{1,15}"
_SENDER = rf"^([a-z][a-z0-9]{{0,6}}|{_PORT})$"
AnyPort = Annotated[
    str,
    StringConstraints(pattern=f"^({_PORT})$"),
    Form("a port as vSwitch0/3, or who is connected there: a VF as pf0vf3, an adapter as vm1/eth0"),
]
Sender = Annotated[
    str, StringConstraints(pattern=_SENDER), Form("a PF as pf0, or who is connected to one: pf0vf3, vm1/eth0, vSwitch0/3")
]
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


class OnPort(_Request):
    """One port, or who is connected there."""

    port: AnyPort


class AttachVf(_Request):
    """vf: None takes a free one; of port and port_group one can be left out."""

    vf: Vf | None = None
    guest: ObjectName
    netns: NetnsName | None = None
    port_group: ObjectName | None = None
    port: Port | None = None
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
    binding: Binding = Binding.EPHEMERAL
    ports: Annotated[int, Field(strict=True, ge=1, le=MOST_PORTS)] | None = None
    reset_at_disconnect: Annotated[bool, Field(strict=True)] = False


class _PortSettings(_Request):
    policy: SettingsDocument = SettingsDocument()
    vlan: VlanOrInherit | None = None


class SetPort(_PortSettings):
    """What is given overrides the group."""

    port: AnyPort


class CreatePort(_Request):
    """A port more of a static group."""

    port_group: ObjectName


class SetVf(_PortSettings):
    """What is given changes, of the VF and of its port together. mac `inherit`: the host's choice again; of the others, what holds
    where nobody says it."""

    vf: Vf
    mac: MacOrInherit | None = None
    port_group: ObjectName | None = None
    port: Port | None = None
    link_state: LinkStateOrInherit | None = None
    datapath: DatapathOrInherit | None = None
    mailbox: Literal["enable"] | None = None


class TraceFrame(_Request):
    """sender: a VF, or a PF for its wire. frame: in hexadecimal digits; or what it is made up of, with a destination at least."""

    sender: Annotated[
        str, StringConstraints(pattern=_SENDER), Form("a PF as pf0, or who is connected to one: pf0vf3, vm1/eth0, vSwitch0/3")
    ]
    frame: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2}){14,9300}$")] | None = None
    to: MacSetting | None = None
    source: MacSetting | None = None
    vlan: Annotated[int, Field(strict=True, ge=0, le=4095)] | None = None
    tcp: _Endpoint | None = None
    udp: _Endpoint | None = None
    payload_bytes: Annotated[int, Field(strict=True, ge=0, le=9216)] = 46


class WatchFrames(_Request):
    """Real frames of a port; to be asked again and again, as it is watched for some seconds only. cursor: of the last answer."""

    sender: Sender
    cursor: Annotated[list[Annotated[int, Field(strict=True, ge=0)]], Field(max_length=4096)] | None = None


class ListAudit(_Request):
    """vf and port None: of all."""

    vf: Vf | None = None
    port: Port | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_LISTED)] = 100
