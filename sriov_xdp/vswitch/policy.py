"""Policy: its settings, a row each, and what one level says of them. How levels inherit is in ports.

Defaults are the strict ones: reject, reject, reject, and a refused guest is not told (the reference's behaviour); storm guards
are on. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.shaping import MOST_BURST_BYTES, MOST_KBPS, IngressShaping, Shaping, ShapingMode
from sriov_xdp.vswitch.values import Choice, Kind, MacPattern, Number, Patterns, Structure, Truth

MAX_STORM_PPS = 10_000_000
MOST_MACS, MOST_VLANS = 256, 4094  # of one port, whatever its quotas
MOST_COMMUNITIES = 4094
LEAST_MTU_BYTES, MOST_MTU_BYTES = 68, 9216  # of RFC 791, and what jumbo frames are
MOST_ALLOWED = 16  # the data path compares a source with each
INHERIT = "inherit"  # in commands: what a level says no more


class Security(StrEnum):
    """A security setting (vSphere: Accept/Reject)."""

    ACCEPT = "accept"
    REJECT = "reject"


class DenyReply(StrEnum):
    """What a guest hears when policy refuses its request: SILENT = success (outcome "pretended"), NACK = an error."""

    SILENT = "silent"
    NACK = "nack"


class Override(StrEnum):
    """Settings that a port group may let its ports override; what is in none of these needs no permission."""

    SECURITY = "security"
    DENY_REPLY = "deny_reply"
    VLAN = "vlan"
    GUARDS = "guards"
    TRUST = "trust"
    ALLOWED_MACS = "allowed_macs"
    QUOTAS = "quotas"
    PRIVATE_VLAN = "private_vlan"
    MTU = "mtu"
    FLOOD_MULTICAST = "flood_multicast"
    SHAPING = "shaping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row: all that is known of a setting, its effect aside. path: where configurations say it; values: what it may be; kind:
    which override it is, None = a port needs no permission; text: what it does, for people."""

    name: str
    path: tuple[str, ...]
    values: Kind
    kind: Override | None
    default: Any
    text: str

    @property
    def option(self) -> str:
        """As commands name it."""
        return f"--{self.name.replace('_', '-')}"

    def parse(self, plain: Any) -> Any:
        """As it is stored, or as a person wrote it. Raises ValueError, TypeError."""
        try:
            return self.values.parse(plain)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error


def _row(path: str, kind: Override | None, values: Kind, default: Any, text: str) -> dict[str, Any]:
    """Raises TypeError for a default that is no such value."""
    if not values.has(default):
        raise TypeError(f"{path}: its default is {default!r}; expected {values.words}")
    return {"path": tuple(path.split(".")), "kind": kind, "values": values, "default": default, "text": text}


@dataclass(frozen=True, slots=True)
class Quotas:
    """What a guest may be granted by its mailbox, beside the effective MAC."""

    macs: int = 16
    vlans: int = 8


class SegmentKind(StrEnum):
    """Of a port in its private VLAN (RFC 5517)."""

    PROMISCUOUS = "promiscuous"
    ISOLATED = "isolated"
    COMMUNITY = "community"


@dataclass(frozen=True, slots=True)
class PrivateVlan:
    """Whom a port meets in its VLAN. community: its number, of a community's port only."""

    kind: SegmentKind = SegmentKind.PROMISCUOUS
    community: int = 0

    def __post_init__(self) -> None:
        if (self.kind is SegmentKind.COMMUNITY) is not (self.community > 0):
            raise ValueError(
                f"{self.kind}, community {self.community}: expected a number from 1 with kind community, and with no other"
            )

    def meets(self, other: "PrivateVlan") -> bool:
        """Whether ports of the two meet within a VLAN (RFC 5517)."""
        if SegmentKind.PROMISCUOUS in (self.kind, other.kind):
            return True
        return self == other and self.kind is SegmentKind.COMMUNITY


class _Segment(Structure):
    """A command says isolated, promiscuous or community:7."""

    def plain(self, value: PrivateVlan) -> dict[str, Any]:
        return {"kind": value.kind.value, **({"community": value.community} if value.community else {})}

    def read(self, text: str) -> dict[str, Any]:
        kind, colon, number = text.partition(":")
        plain = {"kind": kind, **({"community": self.kinds["community"].read(number)} if colon else {})}
        return self.plain(self.parse(plain))

    def text(self, value: PrivateVlan) -> str:
        return f"{value.kind}:{value.community}" if value.community else value.kind.value


class _Shaped(Structure):
    """What is not said is chosen, and so not told."""

    def plain(self, value: Shaping) -> dict[str, Any]:
        if not value.average_kbps:
            return {"average_kbps": 0}
        return {name: plain for name, plain in Structure.plain(self, value).items() if plain}

    def text(self, value: Shaping) -> str:
        return ",".join(f"{name}={number}" for name, number in self.plain(value).items())


_KBPS = Number(most=MOST_KBPS)
_RATE = {"average_kbps": _KBPS, "peak_kbps": _KBPS, "burst_bytes": Number(most=MOST_BURST_BYTES)}
_EGRESS, _INGRESS = _Shaped(Shaping, _RATE), _Shaped(IngressShaping, {**_RATE, "mode": Choice(ShapingMode)})
_PRIVATE_VLAN = _Segment(PrivateVlan, {"kind": Choice(SegmentKind), "community": Number(most=MOST_COMMUNITIES)})
_QUOTAS = Structure(Quotas, {"macs": Number(most=MOST_MACS), "vlans": Number(most=MOST_VLANS)})
_SECURITY, _STORM_PPS = Choice(Security), Number(most=MAX_STORM_PPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for a port, and who said so (by setting: "switch vSwitch0", "port group web", "port pf0vf1"). Each setting is a
    row here: its name and type are the field's, and YAML, store, commands, inheritance and reference follow from the rest."""

    promiscuous: Security = field(
        metadata=_row(
            "security.promiscuous", Override.SECURITY, _SECURITY, Security.REJECT, "whether a port may receive frames for others"
        )
    )
    mac_changes: Security = field(
        metadata=_row(
            "security.mac_changes",
            Override.SECURITY,
            _SECURITY,
            Security.REJECT,
            "whether a guest may receive for another address than the admin MAC",
        )
    )
    forged_transmits: Security = field(
        metadata=_row(
            "security.forged_transmits",
            Override.SECURITY,
            _SECURITY,
            Security.REJECT,
            "whether a guest may send from an address that is not its own",
        )
    )
    deny_reply: DenyReply = field(
        metadata=_row(
            "deny_reply",
            Override.DENY_REPLY,
            Choice(DenyReply),
            DenyReply.SILENT,
            "what a guest hears when its request is refused: success, or an error",
        )
    )
    storm_broadcast_pps: int = field(
        metadata=_row(
            "guards.storm.broadcast_pps",
            Override.GUARDS,
            _STORM_PPS,
            10_000,
            "broadcast frames of a guest in a second; 0 = any number",
        )
    )
    storm_multicast_pps: int = field(
        metadata=_row(
            "guards.storm.multicast_pps",
            Override.GUARDS,
            _STORM_PPS,
            100_000,
            "multicast frames of a guest in a second; 0 = any number",
        )
    )
    trust: bool = field(
        metadata=_row("trust", Override.TRUST, Truth(), False, "whether quotas are lifted, and LLDP's groups granted; never more")
    )
    allowed_macs: tuple[MacPattern, ...] = field(
        metadata=_row(
            "allowed_macs",
            Override.ALLOWED_MACS,
            Patterns(most=MOST_ALLOWED),
            (),
            "addresses, and prefixes of them, that a guest may receive for and send from beside its own",
        )
    )
    quotas: Quotas = field(
        metadata=_row("quotas", Override.QUOTAS, _QUOTAS, Quotas(), "how many addresses and VLANs a guest may be granted")
    )
    private_vlan: PrivateVlan = field(
        metadata=_row(
            "private_vlan",
            Override.PRIVATE_VLAN,
            _PRIVATE_VLAN,
            PrivateVlan(),
            "whom a port meets in its VLAN: all, promiscuous ports alone, or these and its community",
        )
    )
    mtu: int = field(
        metadata=_row(
            "mtu",
            Override.MTU,
            Number(least=LEAST_MTU_BYTES, most=MOST_MTU_BYTES),
            MOST_MTU_BYTES,
            "longest payload of a frame behind its Ethernet header and tag; at most the switch's, which is the default",
        )
    )
    flood_multicast: bool = field(
        metadata=_row(
            "flood_multicast",
            Override.FLOOD_MULTICAST,
            Truth(),
            True,
            "whether a port gets all multicast of its VLAN, or only the groups that its guest asked for",
        )
    )
    shaping_egress: Shaping = field(
        metadata=_row(
            "shaping.egress",
            Override.SHAPING,
            _EGRESS,
            Shaping(),
            "how fast a guest receives: average_kbps (1000 bit/s, 0 = any), peak_kbps while a burst of burst_bytes leaves",
        )
    )
    shaping_ingress: IngressShaping = field(
        metadata=_row(
            "shaping.ingress",
            Override.SHAPING,
            _INGRESS,
            IngressShaping(),
            "how fast a guest sends, as shaping.egress; mode police: what is too much is dropped, not kept waiting",
        )
    )
    block: bool = field(metadata=_row("block", None, Truth(), False, "whether nothing enters or leaves, with the link up"))
    origins: dict[str, str]

    def allows(self, address: MacAddress) -> bool:
        """Whether the operator named the address."""
        return any(pattern.matches(address) for pattern in self.allowed_macs)

    @property
    def most_macs(self) -> int:
        """How many addresses a guest may have beside the effective MAC."""
        return MOST_MACS if self.trust else self.quotas.macs

    @property
    def may_hear_all_groups(self) -> bool:
        """Whether a guest may have all multicast, where it does not have it anyway."""
        return self.flood_multicast or self.trust or self.promiscuous is Security.ACCEPT

    @property
    def most_vlans(self) -> int:
        """How many VLANs of its port a guest may ask for."""
        return MOST_VLANS if self.trust else self.quotas.vlans

    def rule(self, setting: str) -> str:
        """One setting as an audit record names it."""
        return f"{setting}: {SETTINGS[setting].values.text(getattr(self, setting))} ({self.origins[setting]})"


SETTINGS: dict[str, Setting] = {item.name: Setting(name=item.name, **item.metadata) for item in fields(Policy) if item.metadata}


def nested(said: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values by setting → in the shape of configuration files."""
    document: dict[str, Any] = {}
    for name, value in said.items():
        *outer, last = SETTINGS[name].path
        place = document
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return document


@dataclass(frozen=True, slots=True, init=False)
class PolicySettings:
    """What one level says, by setting; what it does not say is inherited."""

    said: tuple[tuple[str, Any], ...]

    def __init__(self, **values: Any) -> None:
        """None is not said. Raises KeyError for what is no setting, TypeError for a value of another type."""
        said = {name: value for name, value in values.items() if value is not None}
        for name, value in said.items():
            if not SETTINGS[name].values.has(value):
                raise TypeError(f"{name}: {value!r}: expected {SETTINGS[name].values.words}")
        object.__setattr__(self, "said", tuple((name, said[name]) for name in SETTINGS if name in said))

    def merged(self, change: "PolicySettings", inherited: frozenset[str] = frozenset()) -> "PolicySettings":
        """This level with the settings that change names replaced, and without those that are to be inherited again."""
        kept = {name: value for name, value in self.said if name not in inherited}
        return PolicySettings(**{**kept, **dict(change.said)})

    def only(self, kinds: frozenset[Override]) -> "PolicySettings":
        """This level without the settings of other kinds, but for those that need no permission."""
        return PolicySettings(**{name: value for name, value in self.said if SETTINGS[name].kind in {*kinds, None}})

    def overrides(self) -> frozenset[Override]:
        """Which kinds of override the settings of this level are, as far as those need a permission."""
        kinds = {SETTINGS[name].kind for name, _value in self.said}
        return frozenset(kind for kind in kinds if kind is not None)


NOTHING_SAID = PolicySettings()
DEFAULTS = PolicySettings(**{name: setting.default for name, setting in SETTINGS.items()})
