"""Ports of a switch, and what holds for one: a port takes what its group says, a group what its switch says, a switch the defaults.

A port has a number on its switch, which names it (vSwitch0/3). Of a static group (vDS: early binding) the ports are there before
anybody is connected, and what is set for one stays while nobody is; of an ephemeral group a port comes and goes with its adapter.
A port may override its group only in the settings that the group allows (vDS: *OverrideAllowed flags). Pure; numbers are given
out in numbering.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sriov_xdp.vswitch.policy import DEFAULTS, NOTHING_SAID, Override, Policy, PolicySettings
from sriov_xdp.vswitch.vlan import Vlan

LAST_PORT = 9999  # a number that people say
MOST_PORTS = 1024  # of one static group; more than a host has VFs
_PORT_NAME = re.compile(r"(?P<switch>[A-Za-z0-9][A-Za-z0-9_.-]{0,62})/(?P<number>0|[1-9][0-9]{0,3})")


class Binding(StrEnum):
    """When the ports of a group are made. EPHEMERAL: with the adapter that is connected; STATIC: with the group."""

    EPHEMERAL = "ephemeral"
    STATIC = "static"


@dataclass(frozen=True, slots=True, order=True)
class PortName:
    """vSwitch0/3."""

    switch: str
    number: int

    @classmethod
    def parse(cls, text: str) -> "PortName":
        """Raises ValueError."""
        match = _PORT_NAME.fullmatch(text)
        if not match:
            raise ValueError(f"port {text!r}: expected a switch's name and a number, as in vSwitch0/3")
        return cls(match["switch"], int(match["number"]))

    def __str__(self) -> str:
        return f"{self.switch}/{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortOverrides:
    """What a port says itself."""

    policy: PolicySettings = NOTHING_SAID
    vlan: Vlan | None = None

    def kinds(self) -> frozenset[Override]:
        """Which overrides of its group these are."""
        return self.policy.overrides() | ({Override.VLAN} if self.vlan is not None else frozenset())

    def only(self, allowed: frozenset[Override]) -> "PortOverrides":
        """Without what a group does not let its ports override."""
        return PortOverrides(policy=self.policy.only(allowed), vlan=self.vlan if Override.VLAN in allowed else None)

    def below(self, other: "PortOverrides") -> "PortOverrides":
        """Both; where both say a setting, as the other does."""
        return PortOverrides(policy=self.policy.merged(other.policy), vlan=self.vlan if other.vlan is None else other.vlan)

    def without(self, other: "PortOverrides") -> "PortOverrides":
        """Less the settings that the other names."""
        names = frozenset(name for name, _value in other.policy.said)
        return PortOverrides(policy=self.policy.merged(NOTHING_SAID, names), vlan=self.vlan if other.vlan is None else None)


NO_OVERRIDES = PortOverrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortGroup:
    """A policy template and a VLAN. Of a static group, ports: how many it has; port_settings: what is set for single ones, by
    number; numbers: theirs on the switch, as far as somebody said them; the others are the switch's to give."""

    name: str
    vlan: Vlan
    policy: PolicySettings = NOTHING_SAID
    overrides_allowed: frozenset[Override] = frozenset()
    binding: Binding = Binding.EPHEMERAL
    ports: int = 0
    reset_at_disconnect: bool = False
    port_settings: tuple[tuple[int, PortOverrides], ...] = ()
    numbers: tuple[int, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether its ports are there before anybody is connected."""
        return self.binding is Binding.STATIC

    def settings_of(self, number: int | None) -> PortOverrides:
        """What is set for one of its ports, whoever is connected there."""
        return next((said for of, said in self.port_settings if of == number), NO_OVERRIDES)

    def with_settings(self, number: int, said: PortOverrides) -> "PortGroup":
        """The group, where this is all that is set for a port."""
        others = [(of, other) for of, other in self.port_settings if of != number]
        kept = sorted([*others, *([(number, said)] if said != NO_OVERRIDES else [])], key=lambda pair: pair[0])
        return replace(self, port_settings=tuple(kept))


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

    def group_of(self, number: int) -> PortGroup | None:
        """The static group that has the port of that number."""
        return next((group for group in self.port_groups if number in group.numbers), None)

    def with_group(self, group: PortGroup) -> "Switch":
        """The switch, with a group as this."""
        return replace(self, port_groups=tuple(group if other.name == group.name else other for other in self.port_groups))


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
        for name, value in settings.said:
            values[name], origins[name] = value, origin
    if values["mtu"] > switch.mtu_bytes:
        values["mtu"], origins["mtu"] = switch.mtu_bytes, f"switch {switch.name}"
    return Policy(**values, origins=origins)


def port_mtu_bytes(switch: Switch, group: PortGroup, overrides: PortOverrides) -> int:
    """The MTU of a port that says this: before it is one, or under a switch that is only wanted."""
    return resolve(switch, group, "", overrides).mtu


def port_vlan(group: PortGroup, overrides: PortOverrides) -> Vlan:
    """The VLAN of a port: its group's, or its own where the group allows that."""
    if overrides.vlan is not None and Override.VLAN in group.overrides_allowed:
        return overrides.vlan
    return group.vlan
