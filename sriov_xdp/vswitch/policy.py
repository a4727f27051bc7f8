"""Policy and how it is inherited: a port takes what its group says, a group what its switch says, a switch the defaults.

A port may override its group only in the settings that the group allows (vDS: *OverrideAllowed flags). Defaults are the
strict ones: reject, reject, reject, and a refused guest is not told (the reference's behaviour); storm guards are on.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from sriov_xdp.vswitch.vlan import Vlan

MAX_STORM_PPS = 10_000_000


class Security(StrEnum):
    """A security setting (vSphere: Accept/Reject)."""

    ACCEPT = "accept"
    REJECT = "reject"


class DenyReply(StrEnum):
    """What a guest hears when policy refuses its request: SILENT = success (outcome "pretended"), NACK = an error."""

    SILENT = "silent"
    NACK = "nack"


class Override(StrEnum):
    """Settings that a port group may let its ports override."""

    SECURITY = "security"
    DENY_REPLY = "deny_reply"
    VLAN = "vlan"
    GUARDS = "guards"


_KINDS: dict[str, Override] = {
    "promiscuous": Override.SECURITY,
    "mac_changes": Override.SECURITY,
    "forged_transmits": Override.SECURITY,
    "deny_reply": Override.DENY_REPLY,
    "storm_broadcast_pps": Override.GUARDS,
    "storm_multicast_pps": Override.GUARDS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """What one level says; None = inherited. storm_*: frames that a guest's port may send in a second, 0 = any number."""

    promiscuous: Security | None = None
    mac_changes: Security | None = None
    forged_transmits: Security | None = None
    deny_reply: DenyReply | None = None
    storm_broadcast_pps: int | None = None
    storm_multicast_pps: int | None = None

    def merged(self, change: "PolicySettings", inherited: frozenset[str] = frozenset()) -> "PolicySettings":
        """This level with the settings that change names replaced, and without those that are to be inherited again."""
        named: dict[str, Any] = {item.name: value for item in fields(change) if (value := getattr(change, item.name)) is not None}
        return replace(self, **{**dict.fromkeys(inherited), **named})

    def only(self, kinds: frozenset[Override]) -> "PolicySettings":
        """This level without the settings of other kinds."""
        kept = {name: getattr(self, name) for name, kind in _KINDS.items() if kind in kinds}
        return PolicySettings(**kept)

    def overrides(self) -> frozenset[Override]:
        """Which kinds of override the settings of this level are."""
        return frozenset(kind for name, kind in _KINDS.items() if getattr(self, name) is not None)


DEFAULTS = PolicySettings(
    promiscuous=Security.REJECT,
    mac_changes=Security.REJECT,
    forged_transmits=Security.REJECT,
    deny_reply=DenyReply.SILENT,
    storm_broadcast_pps=10_000,
    storm_multicast_pps=100_000,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for a port, and who said so (by setting: "switch vSwitch0", "port group web", "port pf0vf1")."""

    promiscuous: Security
    mac_changes: Security
    forged_transmits: Security
    deny_reply: DenyReply
    storm_broadcast_pps: int
    storm_multicast_pps: int
    origins: dict[str, str]

    def rule(self, setting: str) -> str:
        """One setting as an audit record names it."""
        return f"{setting}: {getattr(self, setting)} ({self.origins[setting]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortGroup:
    """A policy template and a VLAN."""

    name: str
    vlan: Vlan
    policy: PolicySettings = PolicySettings()
    overrides_allowed: frozenset[Override] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A standard switch on one PF."""

    name: str
    pf: str
    mtu_bytes: int
    policy: PolicySettings
    port_groups: tuple[PortGroup, ...]

    def group(self, name: str) -> PortGroup | None:
        """The port group of that name."""
        return next((group for group in self.port_groups if group.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortOverrides:
    """What a port says itself."""

    policy: PolicySettings = PolicySettings()
    vlan: Vlan | None = None

    def kinds(self) -> frozenset[Override]:
        """Which overrides of its group these are."""
        return self.policy.overrides() | ({Override.VLAN} if self.vlan is not None else frozenset())


def resolve(switch: Switch, group: PortGroup, port: str, overrides: PortOverrides) -> Policy:
    """The policy of a port. Overrides that the group does not allow (any more) do not count."""
    levels: list[tuple[str, PolicySettings]] = [
        ("default", DEFAULTS),
        (f"switch {switch.name}", switch.policy),
        (f"port group {group.name}", group.policy),
    ]
    levels.append((f"port {port}", overrides.policy.only(group.overrides_allowed)))
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, settings in levels:
        for item in fields(settings):
            value = getattr(settings, item.name)
            if value is not None:
                values[item.name], origins[item.name] = value, origin
    return Policy(**values, origins=origins)


def port_vlan(group: PortGroup, overrides: PortOverrides) -> Vlan:
    """The VLAN of a port: its group's, or its own where the group allows that."""
    if overrides.vlan is not None and Override.VLAN in group.overrides_allowed:
        return overrides.vlan
    return group.vlan
