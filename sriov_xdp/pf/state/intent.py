"""What the operator wants of this host, and what is attached: values and their JSON form for the store.

Pure. The api package makes a HostIntent from a configuration file; the inventory makes one from what is there; the plan is
their difference.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import SETTINGS, Override, PolicySettings, PortGroup, PortOverrides, Switch, nested
from sriov_xdp.vswitch.vlan import Vlan, VlanMode

NAMESPACE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
PF_NAME = re.compile(r"[a-z][a-z0-9]{0,6}")
# What a stored number may be; a configuration's are narrower.
_MOST_IFINDEX, MOST_GENERATION = (1 << 31) - 1, (1 << 32) - 1
_LEAST_MTU_BYTES, _MOST_MTU_BYTES = 68, 65_535
_VLAN_RANGE = re.compile(r"(0|[1-9][0-9]{0,3})(-(0|[1-9][0-9]{0,3}))?")  # without leading zeros, which some take for octal
SETTING_AT = {setting.path: setting for setting in SETTINGS.values()}
_VF_ADDRESS = re.compile(r"(?P<pf>[a-z][a-z0-9]{0,6}?)vf(?P<index>0|[1-9][0-9]{0,2})")


class Datapath(StrEnum):
    """How a VF's frames enter the switch. AUTO chooses."""

    AUTO = "auto"
    XDP = "xdp"
    TCX = "tcx"


class PlugKind(StrEnum):
    """What a guest is plugged in by: a veth pair into its network namespace."""

    VETH = "veth"


class LinkState(StrEnum):
    """As `ip link set PF vf N state`: AUTO follows the uplink, as the PF's uplink_loss says; ENABLE is up (VF to VF goes on without
    the uplink), DISABLE cuts the VF off."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


class WireOwnSource(StrEnum):
    """What becomes of frames from the wire whose source is the uplink's own address, or one of a VF of the PF in that VLAN."""

    DROP = "drop"
    ACCEPT = "accept"


class Switching(StrEnum):
    """Who switches between the VFs of a PF (IEEE 802.1Qbg): VEB = the PF; VEPA = the next bridge on the wire, which gives back what
    is for another VF."""

    VEB = "veb"
    VEPA = "vepa"


class UplinkLoss(StrEnum):
    """What becomes of a PF's VFs whose link state is AUTO while its uplink has no carrier. ISOLATE: they have none either, and
    nothing passes between them; KEEP_LOCAL: they go on among themselves."""

    ISOLATE = "isolate"
    KEEP_LOCAL = "keep_local"


@dataclass(frozen=True, slots=True, order=True)
class VfAddress:
    """pf0vf3."""

    pf: str
    index: int

    @classmethod
    def parse(cls, text: str) -> "VfAddress":
        """Raises ValueError."""
        match = _VF_ADDRESS.fullmatch(text)
        if not match:
            raise ValueError(f"VF address {text!r}: expected a PF's name, vf and a number, as in pf0vf3")
        return cls(match["pf"], int(match["index"]))

    def __str__(self) -> str:
        return f"{self.pf}vf{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PfSpec:
    """A PF as configured. uplink None: a switch without a wire."""

    name: str
    uplink: str | None
    num_vfs: int
    wire_own_source: WireOwnSource = WireOwnSource.DROP
    switching: Switching = Switching.VEB
    uplink_loss: UplinkLoss = UplinkLoss.ISOLATE


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSpec:
    """An adapter as configured, with all that an operator can set for its port. netns: a name or an absolute path. mac None: the
    host chooses, always the same."""

    guest: str
    netns: str
    interface: str
    port_group: str
    mac: MacAddress | None
    datapath: Datapath
    link_state: LinkState = LinkState.AUTO
    overrides: PortOverrides = field(default_factory=PortOverrides)

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same adapter in two configurations."""
        return self.guest, self.interface

    @property
    def plug(self) -> PlugKind:
        """What its guest needs."""
        return PlugKind.VETH

    def effective(self, group: PortGroup) -> "AdapterSpec":
        """Without what its group does not let it override (any more), which has no effect."""
        allowed = group.overrides_allowed
        vlan = self.overrides.vlan if Override.VLAN in allowed else None
        return replace(self, overrides=PortOverrides(policy=self.overrides.policy.only(allowed), vlan=vlan))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIntent:
    """A whole host."""

    pfs: tuple[PfSpec, ...]
    switches: tuple[Switch, ...]
    adapters: tuple[AdapterSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A VF given to a guest. ifindex is the representor's: its low bits are the slot, its high ones come from the generation, so
    that no number is used again soon. netns_id tells a namespace from a later one of the same name; netns_cookie, of one that is
    ours to remove, also from one that got its numbers; 0: nobody asked."""

    vf: VfAddress
    spec: AdapterSpec
    admin_mac: MacAddress
    generation: int
    representor: str
    ifindex: int
    netns_is_ours: bool
    netns_id: tuple[int, int]
    netns_cookie: int = 0


def vlan_to_json(vlan: Vlan) -> Any:
    """As configuration files write it: "none", {"access": 100, "qos": 5}, {"trunk": [10, "20-29"], "native": 10}."""
    match vlan.mode:
        case VlanMode.NONE:
            return "none"
        case VlanMode.ACCESS:
            return {"access": vlan.untagged_vlan, **({"qos": vlan.qos} if vlan.qos else {})}
        case VlanMode.TRUNK:
            return {"trunk": vlan.ranges(), **({"native": vlan.native} if vlan.native else {})}


def vlan_from_json(value: Any) -> Vlan:
    """The reverse; also takes what a person writes. Raises ValueError."""
    if value == "none":
        return Vlan(VlanMode.NONE)
    match value:
        case {"access": int(vlan), **rest} if set(rest) <= {"qos", "proto"} and not isinstance(vlan, bool):
            return Vlan.access(vlan, _number_in(rest, "qos"))
        case {"trunk": [_, *_] as parts, **rest} if set(rest) <= {"native", "proto"}:
            bits = 0  # many ranges may say the same VLANs again
            for part in parts:
                bits |= vlan_range(part)
            native = _number_in(rest, "native")
            return _trunk_of(bits | (1 << native if native else 0), native)
    raise ValueError(f'VLAN {value!r}: expected none, {{access: N}} or {{trunk: [N, "A-B"]}}')


def _number_in(document: Mapping[Any, Any], key: str) -> int:
    """0 where it is not said. Raises ValueError."""
    value = document.get(key)
    if value is not None and type(value) is not int:
        raise ValueError(f"{key} {value!r}: expected a number")
    return value or 0


@lru_cache(maxsize=32)
def _trunk_of(bits: int, native: int) -> Vlan:
    """One object for trunks that carry the same."""
    return Vlan.trunk(frozenset(vlan for vlan, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"), native)


def vlan_range(part: Any) -> int:
    """A bit for each VLAN of a number or a range "A-B" as a person writes it. Raises ValueError."""
    first, _dash, last = str(part).partition("-")
    if not _VLAN_RANGE.fullmatch(str(part)):
        raise ValueError(f'VLAN range {part!r}: expected a number or "A-B"')
    numbers = range(int(first), int(last or first) + 1)
    if not numbers or numbers[0] < 1 or numbers[-1] > 4094:
        raise ValueError(f"VLAN range {part!r}: expected numbers from 1 to 4094, the smaller first")
    return (1 << numbers.stop) - (1 << numbers.start)


def settings_to_json(settings: PolicySettings) -> dict[str, Any]:
    """Only what is set, in the shape of configuration files."""
    return nested({name: SETTINGS[name].values.plain(value) for name, value in settings.said})


def settings_from_json(document: dict[str, Any]) -> PolicySettings:
    """The reverse of settings_to_json. Raises ValueError, TypeError, KeyError."""
    return PolicySettings(**{SETTING_AT[path].name: SETTING_AT[path].parse(value) for path, value in _leaves(document)})


def _leaves(document: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in document.items():
        if isinstance(value, dict) and (*path, key) not in SETTING_AT:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def require_type(kind: type, *values: Any) -> None:
    """A stored value of another type is damage, and is found where it is read, not where it is used. Raises TypeError."""
    for value in values:
        if type(value) is not kind:
            raise TypeError(f"{value!r}: expected {kind.__name__}")


def require_range(value: int, first: int, last: int) -> None:
    """As require_type(), of a number. Raises ValueError."""
    if not first <= value <= last:
        raise ValueError(f"{value}: expected {first} to {last}")


def switch_to_json(switch: Switch) -> dict[str, Any]:
    """As configuration files write it."""
    document: dict[str, Any] = {"name": switch.name, "kind": "standard", "pf": switch.pf, "mtu": switch.mtu_bytes}
    policy = settings_to_json(switch.policy)
    if policy:
        document["policy"] = policy
    document["port_groups"] = [group_to_json(group) for group in switch.port_groups]
    return document


def group_to_json(group: PortGroup) -> dict[str, Any]:
    """As configuration files write it."""
    document: dict[str, Any] = {"name": group.name, "vlan": vlan_to_json(group.vlan)}
    policy = settings_to_json(group.policy)
    if policy:
        document["policy"] = policy
    if group.overrides_allowed:
        document["overrides_allowed"] = sorted(group.overrides_allowed)
    return document


def group_from_json(document: dict[str, Any]) -> PortGroup:
    """The reverse of group_to_json."""
    return PortGroup(
        name=document["name"],
        vlan=vlan_from_json(document["vlan"]),
        policy=settings_from_json(document.get("policy", {})),
        overrides_allowed=frozenset(Override(name) for name in document.get("overrides_allowed", ())),
    )


def switch_from_json(document: dict[str, Any]) -> Switch:
    """The reverse of switch_to_json. Raises ValueError, KeyError, TypeError."""
    require_type(str, document["name"], document["pf"], *(group["name"] for group in document["port_groups"]))
    require_type(int, document["mtu"])
    require_range(document["mtu"], _LEAST_MTU_BYTES, _MOST_MTU_BYTES)
    return Switch(
        name=document["name"],
        pf=document["pf"],
        mtu_bytes=document["mtu"],
        policy=settings_from_json(document.get("policy", {})),
        port_groups=tuple(group_from_json(group) for group in document["port_groups"]),
    )


def attachment_to_text(attachment: Attachment) -> str:
    """For the store."""
    spec = attachment.spec
    document = {
        "guest": spec.guest,
        "netns": spec.netns,
        "interface": spec.interface,
        "port_group": spec.port_group,
        "mac": str(spec.mac) if spec.mac else None,
        "datapath": spec.datapath.value,
        "admin_mac": str(attachment.admin_mac),
        "generation": attachment.generation,
        "representor": attachment.representor,
        "ifindex": attachment.ifindex,
        "netns_is_ours": attachment.netns_is_ours,
        "netns_id": list(attachment.netns_id),
        "netns_cookie": attachment.netns_cookie,
        "link_state": spec.link_state.value,
        "policy": settings_to_json(spec.overrides.policy),
        "vlan": vlan_to_json(spec.overrides.vlan) if spec.overrides.vlan else None,
    }
    return json.dumps(document)


def attachment_from_text(vf: VfAddress, text: str) -> Attachment:
    """The reverse of attachment_to_text. Raises ValueError, KeyError, TypeError."""
    document = json.loads(text)
    require_type(str, *(document[name] for name in ("guest", "netns", "interface", "port_group", "representor", "admin_mac")))
    require_type(str, document["mac"] or "")
    require_type(int, document["generation"], document["ifindex"], *document["netns_id"])
    require_range(document["ifindex"], 1, _MOST_IFINDEX)
    require_range(document["generation"], 0, MOST_GENERATION)
    if "\0" in document["netns"] or "\0" in document["interface"]:
        raise ValueError("a name holds a NUL")
    require_type(bool, document["netns_is_ours"])
    require_type(dict, document["policy"])
    vlan = document["vlan"]
    spec = AdapterSpec(
        guest=document["guest"],
        netns=document["netns"],
        interface=document["interface"],
        port_group=document["port_group"],
        mac=MacAddress.parse(document["mac"]) if document["mac"] else None,
        datapath=Datapath(document["datapath"]),
        link_state=LinkState(document["link_state"]),
        overrides=PortOverrides(policy=settings_from_json(document["policy"]), vlan=vlan_from_json(vlan) if vlan else None),
    )
    first, second = document["netns_id"]
    cookie = document.get("netns_cookie", 0)  # earlier versions did not ask
    require_type(int, cookie)
    return Attachment(
        vf=vf,
        spec=spec,
        admin_mac=MacAddress.parse(document["admin_mac"]),
        generation=document["generation"],
        representor=document["representor"],
        ifindex=document["ifindex"],
        netns_is_ours=document["netns_is_ours"],
        netns_id=(first, second),
        netns_cookie=cookie,
    )


def adapter_to_json(spec: AdapterSpec) -> dict[str, Any]:
    """As configuration files write it below its guest; what is as by default is left out."""
    document: dict[str, Any] = {"name": spec.interface, "kind": "vf", "port_group": spec.port_group}
    if spec.mac:
        document["mac"] = str(spec.mac)
    document["datapath"] = spec.datapath.value
    if spec.link_state is not LinkState.AUTO:
        document["link_state"] = spec.link_state.value
    policy = settings_to_json(spec.overrides.policy)
    if policy:
        document["policy"] = policy
    if spec.overrides.vlan:
        document["vlan"] = vlan_to_json(spec.overrides.vlan)
    return document
