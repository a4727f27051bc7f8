"""The host configuration file: YAML, strict. Unknown keys, duplicate keys, values of another form and contradictions are errors
with line, path, what was observed and expected, and a remedy; all are reported at once.

The schema here is the contract of version 1; pf.validation adds what needs the whole document, yaml_text is what is read as YAML,
sentences says what does not fit the schema. Pure but for load(). Used by the admin socket's commands and the command line.
"""

import hashlib
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from sriov_xdp.api import sentences, yaml_text
from sriov_xdp.api.findings import Finding, Path, Unreadable
from sriov_xdp.api.sentences import Form
from sriov_xdp.api.well_formed import AnyPath, Doubt, well_formed
from sriov_xdp.api.yaml_nodes import Node
from sriov_xdp.api.yaml_text import Reading, read_file
from sriov_xdp.pf import validation
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.intent import AdapterSpec, Datapath, HostIntent, PfSpec, vlan_from_json, vlan_range
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import DenyReply, Override, PolicySettings, PortGroup, Security, Switch
from sriov_xdp.vswitch.vlan import FIRST_VLAN, LAST_VLAN, Vlan

MAX_FINDINGS = 5000  # lines; a file with more mistakes is none that a person wrote

_NAME_FORM = Form("a name: a letter or digit, then at most 62 letters, digits, dots, dashes or underscores")
_NETNS_FORM = Form("a namespace's name: a letter, digit or underscore, then at most 62 of these, dots or dashes")
_INTERFACE_FORM = Form("an interface name: at most 15 characters, without blanks, slashes, colons and percent signs")

PfName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9]{0,6}$"),
    Form("a PF's name: a lower-case letter, then at most six lower-case letters or digits"),
]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"), _NAME_FORM]
InterfaceName = Annotated[str, StringConstraints(pattern=r"^[^\s/:%]{1,15}$"), _INTERFACE_FORM]
NetnsName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$"), _NETNS_FORM]


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
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


TrunkPart = Annotated[
    Any,
    BeforeValidator(_check_vlan_range),
    Form(f'a VLAN from {FIRST_VLAN} to {LAST_VLAN}, or a range such as "20-29"', is_number=True),
]


class VlanDocument(_Document):
    """vlan, where it is not none: one of both"""

    access: Annotated[int, Field(strict=True, ge=FIRST_VLAN, le=LAST_VLAN)] | None = None
    trunk: Annotated[list[TrunkPart], Field(min_length=1), Form('a list of VLANs and ranges, as in [10, "20-29"]')] | None = None


MacSetting = Annotated[MacAddress, BeforeValidator(_parse_mac), Form("six hexadecimal bytes, as in 02:00:00:00:01:01")]
VlanSetting = Annotated[Vlan, BeforeValidator(_parse_vlan), Form('none, {access: N} or {trunk: [N, "A-B"]}', keys=VlanDocument)]


class SecurityDocument(_Document):
    """policy.security"""

    promiscuous: Security | None = None
    mac_changes: Security | None = None
    forged_transmits: Security | None = None


class PolicyDocument(_Document):
    """policy of a switch, a port group or a port"""

    security: SecurityDocument = SecurityDocument()
    deny_reply: DenyReply | None = None

    def settings(self) -> PolicySettings:
        """As the vSwitch sees it."""
        return PolicySettings(
            promiscuous=self.security.promiscuous,
            mac_changes=self.security.mac_changes,
            forged_transmits=self.security.forged_transmits,
            deny_reply=self.deny_reply,
        )


class PfDocument(_Document):
    """pfs[]"""

    name: PfName
    uplink: InterfaceName | None = None
    num_vfs: Annotated[int, Field(strict=True, ge=1, le=validation.MAX_VFS_OF_PF)]


class PortGroupDocument(_Document):
    """switches[].port_groups[]"""

    name: ObjectName
    vlan: VlanSetting = vlan_from_json("none")
    policy: PolicyDocument = PolicyDocument()
    overrides_allowed: list[Override] = []


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
            pfs=tuple(PfSpec(name=pf.name, uplink=pf.uplink, num_vfs=pf.num_vfs) for pf in self.pfs),
            switches=tuple(_switch(switch) for switch in self.switches),
            adapters=tuple(_adapter(guest, adapter) for guest in self.guests for adapter in guest.adapters),
        )

    def adapter_places(self) -> list[tuple[int, int]]:
        """Of each adapter of the intent: the numbers of its guest and of itself there."""
        return [(guest, number) for guest, document in enumerate(self.guests) for number in range(len(document.adapters))]


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
    )


def examine(text: str) -> tuple[HostIntent | None, list[Finding]]:
    """A configuration from its text, or all that is wrong with it, by line."""
    reading = yaml_text.read(text)
    if reading.root is None:
        return None, reading.findings or [Finding(None, (), "empty; expected a mapping; begin it with `version: 1`")]
    return _examine(yaml_text.plain(reading.root), reading)


def parse(text: str, file: str | None = None) -> HostIntent:
    """A configuration from its text; file: its name, for messages. Raises Invalid with every problem, a line each."""
    return _intent_of(*examine(text), file)


def from_content(content: Any) -> HostIntent:
    """A configuration from parsed YAML or JSON. Raises Invalid."""
    return _intent_of(*_examine(content, Reading(None, [])), None)


def _intent_of(intent: HostIntent | None, findings: list[Finding], file: str | None) -> HostIntent:
    if intent is None:
        raise Invalid("\n".join(finding.at(file) for finding in findings))
    return intent


def _examine(content: Any, reading: Reading) -> tuple[HostIntent | None, list[Finding]]:
    root, findings = reading.root, list(reading.findings)
    doubt = Doubt(finding.path for finding in findings)
    if not isinstance(content, dict):
        text = f"{sentences.observed(content, root)}; expected a mapping; begin it with `version: 1`"
        return None, [*findings, Finding(root.line if root else None, (), text)]
    document: HostDocument | None
    content = _without_groups_beyond_limit(content, findings, doubt, root)
    try:
        document = HostDocument.model_validate(content)
    except ValidationError as error:
        findings += sentences.findings(HostDocument, error, root, MAX_FINDINGS)
        document = well_formed(HostDocument, content, error, doubt) if error.error_count() <= MAX_FINDINGS else None
    if document:
        findings += _contradictions(document, root, doubt)
    if document and not findings:
        return document.intent(), []
    findings.sort(key=lambda finding: finding.line or 0)
    return None, _first_of(findings)


def _without_groups_beyond_limit(
    content: dict[Any, Any], findings: list[Finding], doubt: Doubt, root: Node | None
) -> dict[Any, Any]:
    """A trunk of many VLANs is large as a value, so too many port groups do not even become values."""
    switches = content.get("switches")
    lists = [(number, _groups_in(switch)) for number, switch in enumerate(switches if isinstance(switches, list) else [])]
    count = sum(len(groups) for _number, groups in lists)
    if count <= validation.MAX_PORT_GROUPS_OF_HOST:
        return content
    path: Path = ("switches",)
    findings.append(Finding(root.line_of(path) if root else None, path, validation.too_many_groups(count)))
    kept, room = list(switches or []), validation.MAX_PORT_GROUPS_OF_HOST
    for number, groups in lists:
        if len(groups) > room:
            kept[number] = {**kept[number], "port_groups": groups[:room]}
            doubt.add(("switches", number, "port_groups"))
        room -= min(room, len(groups))
    return {**content, "switches": kept}


def _groups_in(switch: Any) -> list[Any]:
    groups = switch.get("port_groups") if isinstance(switch, dict) else None
    return groups if isinstance(groups, list) else []


def _contradictions(document: HostDocument, root: Node | None, doubt: Doubt) -> list[Finding]:
    """What does not go together, where nothing that it is concluded from is doubtful."""
    places, found = document.adapter_places(), []
    for problem in validation.find(document.intent()):
        path = _path_in_file(problem.path, places)
        if any(doubt.covers(_path_in_file(other, places)) for other in (problem.path, *problem.rests_on)):
            continue
        exact: Path = tuple(part for part in path if part is not None)
        found.append(Finding(root.line_of(exact) if root else None, exact, problem.text))
        if len(found) == MAX_FINDINGS:
            break
    return found


_ADAPTER_KEYS = {"interface": "name"}
_GUEST_KEYS = {"guest": "name", "netns": "netns"}


def _path_in_file(path: AnyPath, places: list[tuple[int, int]]) -> AnyPath:
    """Of a value that pf.validation names: an adapter's is below its guest."""
    if path[0] != "adapters":
        return path
    _adapters, number, name = path
    guest, adapter = places[number] if isinstance(number, int) else (None, None)
    if name in _GUEST_KEYS:
        return "guests", guest, _GUEST_KEYS[str(name)]
    return "guests", guest, "adapters", adapter, _ADAPTER_KEYS.get(str(name), name)


def _first_of(findings: list[Finding]) -> list[Finding]:
    if len(findings) < MAX_FINDINGS:
        return findings
    return [*findings[:MAX_FINDINGS], Finding(None, (), "too many problems for one list; mend these first")]


def load(path: FilePath) -> tuple[HostIntent, str]:
    """A configuration file and its fingerprint. Raises Invalid."""
    try:
        text = read_file(path)
    except Unreadable as error:
        raise Invalid(error.finding.at(str(path))) from error
    return parse(text, str(path)), fingerprint(text)


def fingerprint(text: str) -> str:
    """Names a version of the file."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
