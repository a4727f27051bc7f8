"""The schema of the host configuration file: the contract of version 1, and what each part of it is to the PF. What people read
when something does not fit is in sentences.py. Pure. For config.py and the admin socket's commands.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from sriov_xdp.api.sentences import Form
from sriov_xdp.api.setting_documents import DOCUMENT, of_settings, or_inherit, said_in, written_as
from sriov_xdp.pf.state import validation
from sriov_xdp.pf.state.intent import (
    NAMESPACE_NAME,
    AdapterSpec,
    Datapath,
    HostIntent,
    LinkState,
    PfSpec,
    Switching,
    UplinkLoss,
    WireOwnSource,
)
from sriov_xdp.pf.state.intent_text import numbers_in, vlan_from_json, vlan_range
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import Override, PolicySettings
from sriov_xdp.vswitch.ports import LAST_PORT, MOST_PORTS, Binding, PortGroup, PortOverrides, Switch
from sriov_xdp.vswitch.vlan import FIRST_VLAN, LAST_PRIORITY, LAST_VLAN, Vlan, VlanStep

_NAME_FORM = Form("a name: a letter or digit, then at most 62 letters, digits, dots, dashes or underscores")
_NETNS_FORM = Form("a namespace's name (a letter, digit or underscore, then at most 62 of these, dots or dashes) or absolute path")
_INTERFACE_FORM = Form("an interface name: at most 15 bytes, without blanks, slashes, colons and percent signs")

_MOST_INTERFACE_BYTES = 15  # IFNAMSIZ with its end


def _fits_into_a_device(name: str) -> str:
    """What else the kernel refuses (dev_valid_name()): it counts bytes."""
    if len(name.encode(errors="surrogatepass")) > _MOST_INTERFACE_BYTES:
        raise ValueError("no name of a device")
    return name


PfName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9]{0,6}$"),
    Form("a PF's name: a lower-case letter, then at most six lower-case letters or digits"),
]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"), _NAME_FORM]
InterfaceName = Annotated[
    str, StringConstraints(pattern=r"^[^\s/:%\x00]{1,15}$"), AfterValidator(_fits_into_a_device), _INTERFACE_FORM
]
_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")
_NAMED_NETNS = re.compile(rf"(?:/var)?/run/netns/({NAMESPACE_NAME.pattern})")


def _netns_by_name(value: str) -> str:
    """One namespace shall have one name: what `ip netns` knows by a name has that one."""
    named = _NAMED_NETNS.fullmatch(value)
    return named[1] if named else value


NetnsName = Annotated[
    str,
    StringConstraints(pattern=rf"^({NAMESPACE_NAME.pattern}|/[^\x00-\x1f\x7f]{{0,199}}[^\s\x00-\x1f\x7f])$"),
    AfterValidator(_netns_by_name),
    _NETNS_FORM,
]


def _parse_mac(value: Any) -> MacAddress:
    if isinstance(value, MacAddress):
        return value
    if not isinstance(value, str):
        raise ValueError("no text")
    return MacAddress.parse(value)


def _require_integer(value: Any) -> Any:
    """True equals 1 in Python, and 1.0 does; neither is a version."""
    if type(value) is not int:
        raise ValueError("no integer")
    return value


def _parse_vlan(value: Any) -> Vlan:
    if isinstance(value, Vlan):
        return value
    if isinstance(value, dict):
        VlanDocument.model_validate(value)  # names the part that is wrong
    return vlan_from_json(value)


def _check_vlan_range(value: Any) -> Any:
    vlan_range(value)
    return value


class _Document(BaseModel):
    model_config = DOCUMENT


TrunkPart = Annotated[
    Any,
    BeforeValidator(_check_vlan_range),
    Form(f'a VLAN from {FIRST_VLAN} to {LAST_VLAN}, or a range such as "20-29"', is_number=True),
]


class VlanDocument(_Document):
    """vlan, where it is not none: access or trunk, and what belongs to it"""

    access: Annotated[int, Field(strict=True, ge=FIRST_VLAN, le=LAST_VLAN)] | None = None
    trunk: Annotated[list[TrunkPart], Field(min_length=1), Form('a list of VLANs and ranges, as in [10, "20-29"]')] | None = None
    qos: Annotated[int, Field(strict=True, ge=0, le=LAST_PRIORITY)] | None = None
    native: Annotated[int, Field(strict=True, ge=FIRST_VLAN, le=LAST_VLAN)] | None = None
    proto: Literal["802.1Q", "802.1ad"] | None = None


MacSetting = Annotated[MacAddress, BeforeValidator(_parse_mac), Form("six hexadecimal bytes, as in 02:00:00:00:01:01")]
_VLAN_WORDS = 'none, {access: N, qos: P} or {trunk: [N, "A-B"], native: N}'
VlanSetting = Annotated[Vlan, BeforeValidator(_parse_vlan), Form(_VLAN_WORDS, keys=VlanDocument)]

MacOrInherit = Annotated[Any, or_inherit(_parse_mac), Form("six hexadecimal bytes, as in 02:00:00:00:01:01, or inherit")]


def _parse_vlan_or_step(value: Any) -> Vlan | VlanStep:
    return VlanStep.parse(value) if isinstance(value, str) and value[:1] in ("+", "-") else _parse_vlan(value)


VlanOrStep = Annotated[Any, BeforeValidator(_parse_vlan_or_step), Form(f"{_VLAN_WORDS}, +N or -N", keys=VlanDocument)]
VlanOrInherit = Annotated[Any, or_inherit(_parse_vlan_or_step), Form(f"{_VLAN_WORDS}, +N, -N or inherit", keys=VlanDocument)]


class _PolicyBase(_Document):
    def settings(self) -> PolicySettings:
        """As the vSwitch sees it."""
        return PolicySettings(**said_in(self))


if TYPE_CHECKING:

    class PolicyDocument(_PolicyBase):
        """policy of a switch, a port group or a port"""

else:
    PolicyDocument = of_settings("policy", _PolicyBase, written_as)


class PfDocument(_Document):
    """pfs[]"""

    name: PfName
    uplink: InterfaceName | None = None
    num_vfs: Annotated[int, Field(strict=True, ge=1, le=validation.MAX_VFS_OF_PF)]
    wire_own_source: WireOwnSource = WireOwnSource.DROP
    switching: Switching = Switching.VEB
    uplink_loss: UplinkLoss = UplinkLoss.ISOLATE

    def spec(self) -> PfSpec:
        """As the PF sees it."""
        return PfSpec(
            name=self.name,
            uplink=self.uplink,
            num_vfs=self.num_vfs,
            wire_own_source=self.wire_own_source,
            switching=self.switching,
            uplink_loss=self.uplink_loss,
        )


class PortSettingsDocument(_Document):
    """switches[].port_groups[].port_settings, of one port"""

    policy: PolicyDocument = PolicyDocument()
    vlan: VlanSetting | None = None


_PORT_FORM = Form(f"the number of a port, from 0 to {LAST_PORT}", is_number=True)
PortNumber = Annotated[int, Field(strict=True, ge=0, le=LAST_PORT), _PORT_FORM]


def _number_of_key(key: Any) -> Any:
    """Keys of YAML and JSON are texts."""
    return int(key) if isinstance(key, str) and _NUMBER.fullmatch(key) else key


_PortKey = Annotated[PortNumber, BeforeValidator(_number_of_key), _PORT_FORM]


def _check_port_range(value: Any) -> Any:
    numbers_in([value])
    return value


_PortRange = Annotated[
    Any,
    BeforeValidator(_check_port_range),
    Form(f'the number of a port from 0 to {LAST_PORT}, or a range such as "0-7"', is_number=True),
]
DEFAULT_PORTS = 8  # of a static group, as on distributed switches of vSphere


class PortGroupDocument(_Document):
    """switches[].port_groups[]"""

    name: ObjectName
    vlan: VlanSetting = vlan_from_json("none")
    policy: PolicyDocument = PolicyDocument()
    overrides_allowed: list[Override] = []
    binding: Binding = Binding.EPHEMERAL
    ports: Annotated[int, Field(strict=True, ge=1, le=MOST_PORTS)] | None = None
    reset_at_disconnect: Annotated[bool, Field(strict=True)] = False
    port_settings: dict[_PortKey, PortSettingsDocument] = {}
    numbers: list[_PortRange] = []

    def group(self) -> PortGroup:
        """As the vSwitch sees it."""
        settings = {
            number: PortOverrides(policy=said.policy.settings(), vlan=said.vlan) for number, said in self.port_settings.items()
        }
        return PortGroup(
            name=self.name,
            vlan=self.vlan,
            policy=self.policy.settings(),
            overrides_allowed=frozenset(self.overrides_allowed),
            binding=self.binding,
            ports=ports_of(self.binding, self.ports),
            reset_at_disconnect=self.reset_at_disconnect,
            port_settings=tuple((number, said) for number, said in sorted(settings.items()) if said != PortOverrides()),
            numbers=numbers_in(self.numbers),
        )


def ports_of(binding: Binding, said: int | None) -> int:
    """How many ports a group has by itself. What is said of ports that come and go is kept, for validation to refuse."""
    return said or (0 if binding is Binding.EPHEMERAL else DEFAULT_PORTS)


class SwitchDocument(_Document):
    """switches[]"""

    name: ObjectName
    kind: Literal["standard"] = "standard"
    pf: PfName
    mtu: Annotated[int, Field(strict=True, ge=validation.MIN_MTU_BYTES, le=validation.MAX_MTU_BYTES)] = 1500
    policy: PolicyDocument = PolicyDocument()
    port_groups: list[PortGroupDocument] = []


class AdapterDocument(_Document):
    """guests[].adapters[]"""

    name: InterfaceName
    kind: Literal["vf"] = "vf"
    port_group: ObjectName
    mac: MacSetting | None = None
    datapath: Datapath = Datapath.AUTO
    link_state: LinkState = LinkState.AUTO
    policy: PolicyDocument = PolicyDocument()
    vlan: VlanSetting | None = None
    port: PortNumber | None = None


class GuestDocument(_Document):
    """guests[]"""

    name: ObjectName
    netns: NetnsName | None = None
    adapters: list[AdapterDocument] = []


class HostDocument(_Document):
    """The whole file."""

    version: Annotated[Literal[1], BeforeValidator(_require_integer)]
    pfs: list[PfDocument] = []
    switches: list[SwitchDocument] = []
    guests: list[GuestDocument] = []

    def intent(self) -> HostIntent:
        """As the PF sees it."""
        return HostIntent(
            pfs=tuple(pf.spec() for pf in self.pfs),
            switches=tuple(_switch(switch) for switch in self.switches),
            adapters=tuple(_adapter(guest, adapter) for guest in self.guests for adapter in guest.adapters),
        )

    def adapter_places(self) -> list[tuple[int, int]]:
        """Of each adapter of the intent: the numbers of its guest and of itself there."""
        return [(guest, number) for guest, document in enumerate(self.guests) for number in range(len(document.adapters))]


def _switch(document: SwitchDocument) -> Switch:
    groups = tuple(group.group() for group in document.port_groups)
    settings = document.policy.settings()
    return Switch(name=document.name, pf=document.pf, mtu_bytes=document.mtu, policy=settings, port_groups=groups)


def _adapter(guest: GuestDocument, adapter: AdapterDocument) -> AdapterSpec:
    return AdapterSpec(
        guest=guest.name,
        netns=guest.netns or guest.name,
        interface=adapter.name,
        port_group=adapter.port_group,
        mac=adapter.mac,
        datapath=adapter.datapath,
        link_state=adapter.link_state,
        overrides=PortOverrides(policy=adapter.policy.settings(), vlan=adapter.vlan),
        port=adapter.port,
        number=adapter.port,
    )
