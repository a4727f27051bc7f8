"""What the data path holds ports to, told as settings: for a state that is rebuilt, in which every port must be held to the same.

Pure. For recover.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sriov_xdp.datapath import abi
from sriov_xdp.datapath.abi import PortFlag, PortValue
from sriov_xdp.datapath.meters import Guard
from sriov_xdp.host.links import Link
from sriov_xdp.pf.state.device_marks import HostMark
from sriov_xdp.pf.state.images import hears_asked_groups_only
from sriov_xdp.pf.state.intent import Datapath, LinkState, PfSpec, Switching, UplinkLoss, WireOwnSource
from sriov_xdp.pf.state.modes import LARGEST_XDP_MTU_BYTES
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import SETTINGS, Override, PolicySettings, PrivateVlan, Security, SegmentKind
from sriov_xdp.vswitch.ports import NO_OVERRIDES, PortGroup, PortOverrides, Switch, resolve
from sriov_xdp.vswitch.shaping import IngressShaping, Shaping
from sriov_xdp.vswitch.values import MacPattern
from sriov_xdp.vswitch.vlan import NO_VLAN, Proto, Vlan

S = TypeVar("S", bound=Shaping)
_ALL_OVERRIDES = frozenset(Override)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedPort:
    """What one representor and its port say. storm_ns: the intervals of its guard, of broadcast and multicast; addresses: under
    which it is reached; heard: of a trunk's VLANs, those that its guest gets; allowed: which its guest may send from beside its
    own; groups: which it asked for, where it does not get all; shaping_egress: by its queue; of_pf: the PF's own port."""

    link: Link
    mark: HostMark
    port: PortValue
    trunk: frozenset[int]
    heard: frozenset[int]
    storm_ns: tuple[int, int]
    addresses: frozenset[MacAddress]
    allowed: tuple[MacPattern, ...]
    groups: frozenset[MacAddress]
    shaping_egress: Shaping
    shaping_ingress: IngressShaping
    of_pf: PortValue | None
    has_tc_program: bool

    @property
    def switch_mtu_bytes(self) -> int:
        """Of the PF."""
        return self.of_pf.mtu_bytes if self.of_pf else self.port.mtu_bytes

    @property
    def has_wire(self) -> bool:
        """Whether the PF's uplink was there, with a carrier, when the port's link was last decided on."""
        return self.of_pf is not None and self.of_pf.ifindex != 0 and PortFlag.NO_CARRIER not in self.of_pf.flags

    @property
    def vlan(self) -> Vlan:
        """The port's."""
        proto = Proto.SERVICE if self.port.flags & PortFlag.SERVICE else Proto.CUSTOMER
        if self.port.flags & PortFlag.TRUNK:
            return Vlan.trunk(self.trunk, self.port.vlan, proto)
        return Vlan.access(self.port.vlan, self.port.priority, proto) if self.port.vlan else NO_VLAN

    @property
    def forged_transmits(self) -> Security:
        """The port's."""
        return Security.ACCEPT if self.port.flags & PortFlag.FORGED_ACCEPT else Security.REJECT

    @property
    def promiscuous(self) -> Security:
        """The port's."""
        return Security.ACCEPT if self.port.flags & PortFlag.PROMISCUOUS else Security.REJECT

    @property
    def private_vlan(self) -> PrivateVlan:
        """The port's."""
        if not self.port.flags & PortFlag.PRIVATE:
            return PrivateVlan()
        community = self.port.segment - abi.SEGMENT_ISOLATED
        return PrivateVlan(SegmentKind.COMMUNITY, community) if community else PrivateVlan(SegmentKind.ISOLATED)

    @property
    def hears_asked_groups_only(self) -> bool:
        """Of multicast."""
        return PortFlag.SUBSCRIBES in self.port.flags

    @property
    def is_blocked(self) -> bool:
        """Whether the port is."""
        return PortFlag.BLOCKED in self.port.flags

    @property
    def state(self) -> VfState:
        """What the guest was granted; of multicast what the data path knows, where it makes a difference."""
        effective = MacAddress(self.port.mac)
        return VfState(
            admin_mac=self.mark.admin_mac,
            effective_mac=effective,
            filters=self.addresses - {effective} | self.groups,
            vlans=None if self.heard == self.trunk else self.heard - {self.port.vlan},
        )

    @property
    def has_granted_mac(self) -> bool:
        """Whether the guest has other addresses than the operator's: its policy allowed it."""
        return self.state.unicast != {self.mark.admin_mac}

    def link_state(self, said: LinkState, pf: PfSpec) -> LinkState:
        """By which the port's link is as it is, in the words of a configuration where they agree."""
        is_isolated = pf.uplink is not None and pf.uplink_loss is UplinkLoss.ISOLATE and not self.has_wire
        candidates = {LinkState.AUTO: not is_isolated, LinkState.ENABLE: True, LinkState.DISABLE: False}
        is_up = PortFlag.LINK_UP in self.port.flags
        return next(state for state in (said, *candidates) if candidates[state] is is_up)

    def datapath(self, said: Datapath) -> Datapath:
        """The mode by which the port keeps the kind of program that it has, as a change of kind takes the frames along that are on
        their way; in the words of a configuration where they agree, or where its programs are gone and none is on its way."""
        if not self.link.xdp_program_id and not self.has_tc_program:
            return said
        active = Datapath.XDP if self.link.xdp_program_id else Datapath.TCX
        wants_xdp = self.link.peer_runs_xdp and self.port.mtu_bytes <= LARGEST_XDP_MTU_BYTES
        automatic = Datapath.XDP if wants_xdp else Datapath.TCX
        candidates = {Datapath.AUTO: automatic, Datapath.XDP: Datapath.XDP, Datapath.TCX: Datapath.TCX}
        return next(mode for mode in (said, Datapath.AUTO, active) if candidates[mode] is active)


def pf_in_force(said: PfSpec, of_pf: PortValue | None) -> PfSpec:
    """A PF with the rules that its own port tells, for all of its guests. uplink_loss makes no difference while the wire is there,
    so nothing tells it."""
    if of_pf is None:
        return said
    if PortFlag.VEPA in of_pf.flags:  # which takes own sources from the wire whatever wire_own_source says
        return replace(said, switching=Switching.VEPA)
    accepts = PortFlag.OWN_SOURCE_ACCEPT in of_pf.flags
    own_source = WireOwnSource.ACCEPT if accepts else WireOwnSource.DROP
    return replace(said, switching=Switching.VEB, wire_own_source=own_source)


def group_of(name: str, ports: Sequence[MarkedPort]) -> PortGroup:
    """A port group by its ports alone: what most of them have; strict where they tell nothing."""
    vlan = Counter(entry.vlan for entry in ports).most_common(1)[0][0]
    may_forge = all(entry.forged_transmits is Security.ACCEPT for entry in ports)
    broadcast_ns, multicast_ns = Counter(entry.storm_ns for entry in ports).most_common(1)[0][0]
    defaults = (SETTINGS["storm_broadcast_pps"].default, SETTINGS["storm_multicast_pps"].default)
    policy = PolicySettings(forged_transmits=Security.ACCEPT if may_forge else None)
    if (broadcast_ns, multicast_ns) != _storm_ns(*defaults):
        policy = policy.merged(_storms(broadcast_ns, multicast_ns))
    return PortGroup(name=name, vlan=vlan, policy=policy)


def overrides_of(
    entry: MarkedPort, switch: Switch, group: PortGroup, said: PortOverrides, kept: PortOverrides = NO_OVERRIDES
) -> tuple[PortOverrides, frozenset[Override]]:
    """What an adapter must say itself, beside what a configuration said of it and of its port, to be held to what it is held to;
    and which kinds of that its group may not know yet. kept: what is set for its port, whoever is connected."""
    policy = resolve(switch, replace(group, overrides_allowed=_ALL_OVERRIDES), str(entry.mark.vf), kept.below(said))
    in_force = {
        "forged_transmits": entry.forged_transmits,
        "promiscuous": entry.promiscuous,
        "block": entry.is_blocked,
        "private_vlan": entry.private_vlan,
        "allowed_macs": entry.allowed,
        "mtu": entry.port.mtu_bytes,
        "shaping_ingress": _in_words_of(policy.shaping_ingress, entry.shaping_ingress),
        "shaping_egress": _in_words_of(policy.shaping_egress, entry.shaping_egress),
    }
    own = PolicySettings(**{name: value for name, value in in_force.items() if getattr(policy, name) != value})
    if hears_asked_groups_only(policy) is not entry.hears_asked_groups_only:
        own = own.merged(PolicySettings(flood_multicast=not entry.hears_asked_groups_only))
    others = entry.state.unicast - {entry.mark.admin_mac}
    is_allowed = all(any(pattern.matches(address) for pattern in entry.allowed) for address in others)
    if entry.has_granted_mac and policy.mac_changes is Security.REJECT and not is_allowed:
        own = own.merged(PolicySettings(mac_changes=Security.ACCEPT))
    if _storm_ns(policy.storm_broadcast_pps, policy.storm_multicast_pps) != entry.storm_ns:
        own = own.merged(_storms(*entry.storm_ns))
    has_vlan = (said.vlan or kept.vlan or group.vlan) == entry.vlan
    overrides = PortOverrides(policy=said.policy.merged(own), vlan=said.vlan if has_vlan else entry.vlan)
    return overrides, own.overrides() | (frozenset() if has_vlan else {Override.VLAN})


def _in_words_of(said: S, found: S) -> S:
    """What was found, as it was said where that is the same: the kernel keeps a burst as a time, so nearly."""
    is_alike = replace(said, burst_bytes=0) == replace(found, burst_bytes=0)
    is_same = is_alike and abs(said.burst_bytes - found.burst_bytes) <= said.burst_bytes / 1000 + 1
    return said if is_same else found


def _storm_ns(broadcast_pps: int, multicast_pps: int) -> tuple[int, int]:
    guard = Guard(broadcast_pps=broadcast_pps, multicast_pps=multicast_pps)
    return Guard.intervals_in(guard.pack())


def _storms(broadcast_ns: int, multicast_ns: int) -> PolicySettings:
    return PolicySettings(storm_broadcast_pps=_pps(broadcast_ns), storm_multicast_pps=_pps(multicast_ns))


def _pps(interval_ns: int) -> int:
    """A rate whose share of a second, rounded up, is this."""
    if not interval_ns:
        return 0
    rate = 10**9 // interval_ns
    return rate if rate and -(-(10**9) // rate) == interval_ns else rate + 1
