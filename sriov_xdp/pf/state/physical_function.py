"""A PF and its uplink: what is stored of it, and what it is now. Memory only; for the pf package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sriov_xdp.pf.state.intent import PfSpec
from sriov_xdp.pf.state.uplink_troubles import Trouble
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.owners import AddressOwners


class XdpMode(StrEnum):
    """Whether the uplink's XDP program runs in its driver, or there is none and tc serves it alone."""

    NATIVE = "native"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundUplink:
    """A netdev as it was before it became an uplink: to know it again (ifindex within this boot, the hardware's address beyond
    it; mac, "" in earlier versions, where hardware says none), and to give it back so. ipv6_is_disabled None: a kernel without
    IPv6."""

    boot_id: str
    ifindex: int
    permanent_mac: str
    was_up: bool
    was_promiscuous: bool
    ipv6_is_disabled: str | None
    ipv6_address_mode: int
    features: Mapping[str, bool]
    mac: str = ""

    @classmethod
    def unknown(cls, features: Mapping[str, bool]) -> "FoundUplink":
        """Where nobody knows any more: it will be given back as devices are by default, and is known again by its name."""
        return cls(
            boot_id="",
            ifindex=0,
            permanent_mac="",
            was_up=True,
            was_promiscuous=False,
            ipv6_is_disabled="0",
            ipv6_address_mode=0,
            features=features,
        )


@dataclass(slots=True)
class UplinkState:
    """The netdev on the wire side as it is. serves_host: the host has an IP address on it; host_vlans: and devices for these VLANs;
    is_silenced: whether the host's IPv6 was ended on it. troubles: what is wrong with
    it."""

    ifindex: int
    mac: MacAddress
    mtu_bytes: int
    has_carrier: bool
    serves_host: bool
    host_vlans: frozenset[int]
    is_silenced: bool
    xdp_mode: XdpMode
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PfEntry:
    """What is stored of a PF."""

    spec: PfSpec
    number: int
    found: FoundUplink | None = None


@dataclass(slots=True)
class PhysicalFunction:
    """A PF; number is its slot and its part of the forwarding domain, kept over restarts. found None: no uplink taken yet.
    is_awaited: its uplink was not looked for since the start, and works on as the last run left it. awaits_carrier: and
    has none now, as a look at all devices showed. refusal: why it was not to be had, the last time. listened_vlans: with
    promiscuous ports, as the maps say; tells_of_shared: that some port holds addresses with others, as its own port says;
    watched_until: how long somebody wants to see what comes from its wire, 0 = nobody does."""

    spec: PfSpec
    number: int
    found: FoundUplink | None = None
    uplink: UplinkState | None = None
    is_awaited: bool = True
    awaits_carrier: bool = False
    refusal: str = ""
    listened_vlans: frozenset[int] = frozenset()
    tells_of_shared: bool = False
    watched_until: float = 0.0
    owners: AddressOwners = field(default_factory=AddressOwners)

    @property
    def entry(self) -> PfEntry:
        """As stored."""
        return PfEntry(spec=self.spec, number=self.number, found=self.found)

    @entry.setter
    def entry(self, entry: PfEntry) -> None:
        self.spec, self.number, self.found = entry.spec, entry.number, entry.found
