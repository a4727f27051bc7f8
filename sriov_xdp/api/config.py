"""The host configuration file: YAML, strict. Unknown keys, duplicate keys and contradictions are errors with path, value and
remedy, all reported at once.

The schema here is the contract of version 1; pf.validation adds what needs the whole document.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from sriov_xdp.pf import validation
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.intent import AdapterSpec, Datapath, HostIntent, LinkState, PfSpec, WireOwnSource, vlan_from_json
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import (
    MAX_STORM_PPS,
    DenyReply,
    Override,
    PolicySettings,
    PortGroup,
    PortOverrides,
    Security,
    Switch,
)
from sriov_xdp.vswitch.vlan import Vlan

MAX_FILE_BYTES = 4 << 20
# PyYAML's constructors let Python's own errors through for values such as `!!int one`.
_YAML_FAULTS = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
MAX_VALUES = 200_000  # a bomb of aliases is small as text and endless as values

PfName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,6}$")]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
InterfaceName = Annotated[str, StringConstraints(pattern=r"^[^\s/:%]{1,15}$")]
StormRate = Annotated[int, Field(strict=True, ge=0, le=MAX_STORM_PPS)]
NetnsName = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,62}|/[!-~]{1,200})$")]  # or a path


def _parse_mac(value: Any) -> MacAddress:
    if not isinstance(value, str):
        raise ValueError(f"MAC address {value!r}: put it in quotes, as YAML reads it as a number")
    return MacAddress.parse(value)


def _require_integer(value: Any) -> Any:
    """True equals 1 in Python, and 1.0 does; neither is a version."""
    if type(value) is not int:
        raise ValueError(f"should be 1, an integer, not {value!r}")
    return value


def _parse_vlan(value: Any) -> Vlan:
    return value if isinstance(value, Vlan) else vlan_from_json(value)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class SecurityDocument(_Document):
    """policy.security"""

    promiscuous: Security | None = None
    mac_changes: Security | None = None
    forged_transmits: Security | None = None


class StormDocument(_Document):
    """policy.guards.storm"""

    broadcast_pps: StormRate | None = None
    multicast_pps: StormRate | None = None


class GuardsDocument(_Document):
    """policy.guards"""

    storm: StormDocument = StormDocument()


class PolicyDocument(_Document):
    """policy of a switch, a port group or a port"""

    security: SecurityDocument = SecurityDocument()
    deny_reply: DenyReply | None = None
    guards: GuardsDocument = GuardsDocument()

    def settings(self) -> PolicySettings:
        """As the vSwitch sees it."""
        return PolicySettings(
            promiscuous=self.security.promiscuous,
            mac_changes=self.security.mac_changes,
            forged_transmits=self.security.forged_transmits,
            deny_reply=self.deny_reply,
            storm_broadcast_pps=self.guards.storm.broadcast_pps,
            storm_multicast_pps=self.guards.storm.multicast_pps,
        )


class PfDocument(_Document):
    """pfs[]"""

    name: PfName
    uplink: InterfaceName | None = None
    num_vfs: Annotated[int, Field(strict=True, ge=1, le=validation.MAX_VFS_OF_PF)]
    wire_own_source: WireOwnSource = WireOwnSource.DROP

    def spec(self) -> PfSpec:
        """As the PF sees it."""
        return PfSpec(name=self.name, uplink=self.uplink, num_vfs=self.num_vfs, wire_own_source=self.wire_own_source)


class PortGroupDocument(_Document):
    """switches[].port_groups[]"""

    name: ObjectName
    vlan: Annotated[Vlan, BeforeValidator(_parse_vlan)] = vlan_from_json("none")
    policy: PolicyDocument = PolicyDocument()
    overrides_allowed: list[Override] = []


class SwitchDocument(_Document):
    """switches[]"""

    name: ObjectName
    kind: Literal["standard"] = "standard"
    pf: PfName
    mtu: Annotated[int, Field(strict=True)] = 1500
    policy: PolicyDocument = PolicyDocument()
    port_groups: list[PortGroupDocument] = []


class AdapterDocument(_Document):
    """guests[].adapters[]"""

    name: InterfaceName
    kind: Literal["vf"] = "vf"
    port_group: ObjectName
    mac: Annotated[MacAddress | None, BeforeValidator(lambda value: None if value is None else _parse_mac(value))] = None
    datapath: Datapath = Datapath.AUTO
    link_state: LinkState = LinkState.AUTO
    policy: PolicyDocument = PolicyDocument()
    vlan: Annotated[Vlan | None, BeforeValidator(lambda value: None if value is None else _parse_vlan(value))] = None


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


def _switch(document: SwitchDocument) -> Switch:
    groups = tuple(
        PortGroup(
            name=group.name,
            vlan=group.vlan,
            policy=group.policy.settings(),
            overrides_allowed=frozenset(group.overrides_allowed),
        )
        for group in document.port_groups
    )
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
    )


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that remembers a key given twice in one mapping."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                self.duplicates.append(f"line {key_node.start_mark.line + 1}: key {key_node.value}: given twice; keep one")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def parse(text: str) -> HostIntent:
    """A configuration from its text. Raises Invalid with every problem, a line each."""
    if len(text.encode(errors="replace")) > MAX_FILE_BYTES:
        raise Invalid(f"configuration: larger than {MAX_FILE_BYTES} bytes; split the host")
    try:
        content, duplicates = _load_yaml(text)
    except _YAML_FAULTS as error:
        raise Invalid(f"configuration: not YAML: {error}") from error
    return from_content(content, duplicates)


def _load_yaml(text: str) -> tuple[Any, list[str]]:
    loader = _StrictLoader(text)
    try:
        node = loader.get_single_node()
        if _values_in(node, {}) > MAX_VALUES:
            raise Invalid(f"configuration: more than {MAX_VALUES} values, aliases written out; split the host")
        return loader.construct_document(node) if node else None, loader.duplicates
    finally:
        loader.dispose()


def _values_in(node: Any, known: dict[int, int]) -> int:
    """How many values a YAML node stands for with every alias written out; a node inside itself is too many."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_VALUES + 1
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    children = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
    known[id(node)] = 1 + sum(_values_in(child, known) for child in children)
    return known[id(node)]


def from_content(content: Any, found: list[str] | None = None) -> HostIntent:
    """A configuration from parsed YAML or JSON. Raises Invalid."""
    found = list(found or [])
    if not isinstance(content, dict):
        raise Invalid("configuration: empty or no mapping; it starts with `version: 1`")
    try:
        intent = HostDocument.model_validate(content).intent()
    except ValidationError as error:
        raise Invalid("\n".join([*found, *(_line(item) for item in error.errors())])) from error
    found += validation.problems(intent)
    if found:
        raise Invalid("\n".join(found))
    return intent


def _line(item: Any) -> str:
    """path: value: what was expected."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]]
    path = "".join(parts).lstrip(".") or "configuration"
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown key; remove it or correct its spelling"
    if item["type"] == "missing":
        return f"{path}: missing; add it"
    value = item["input"] if not isinstance(item["input"], dict | list) else "given"
    return f"{path}: {value!r}: {item['msg'].removeprefix('Value error, ')}"


def load(path: Path) -> tuple[HostIntent, str]:
    """A configuration file and its fingerprint. Raises Invalid."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"configuration {path}: {error}") from error
    return parse(text), fingerprint(text)


def fingerprint(text: str) -> str:
    """Names a version of the file."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
