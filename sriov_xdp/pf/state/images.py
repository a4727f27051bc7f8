"""From the inventory to what the maps shall say: pure functions, one direction."""

from sriov_xdp.datapath import abi
from sriov_xdp.datapath.abi import Members, PortFlag, PortValue
from sriov_xdp.datapath.meters import NO_RATE, Guard, Rate
from sriov_xdp.datapath.port_image import PortImage
from sriov_xdp.pf.state.attached_vf import AttachedVf, Hop
from sriov_xdp.pf.state.intent import Switching, WireOwnSource
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.modes import LARGEST_XDP_MTU_BYTES, xdp_problem
from sriov_xdp.pf.state.physical_function import PhysicalFunction, XdpMode
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import Policy, PrivateVlan, Security, SegmentKind
from sriov_xdp.vswitch.vlan import SERVICE_DOMAINS, Proto, VlanMode

# Up to here a frame that is one byte too long still shows its excess in the first XDP buffer; above, its whole length must be
# asked for.
LARGEST_SINGLE_BUFFER_MTU_BYTES = LARGEST_XDP_MTU_BYTES - 1
_NO_MAC = bytes(6)


def slot_of(vf: AttachedVf) -> int:
    """The port's number in the data path."""
    return vf.attachment.ifindex & abi.SLOT_MASK


def vf_value(inventory: Inventory, vf: AttachedVf) -> PortValue:
    """Struct sxdp_port of a VF."""
    vlan, policy = inventory.vlan(vf), inventory.policy(vf)
    mtu_bytes, hop = policy.mtu, _hop(inventory, vf)
    return PortValue(
        ifindex=vf.attachment.ifindex,
        generation=vf.attachment.generation,
        mac=vf.state.effective_mac.octets,
        flags=_flags(_conditions(inventory, vf)),
        vlan=vlan.untagged_vlan,
        mtu_bytes=mtu_bytes,
        pf=inventory.pf(vf.address.pf).number,
        device_mtu_bytes=mtu_bytes if _is_narrow(inventory, vf) else 0,
        segment=_segment(policy.private_vlan),
        priority=vlan.qos,
        hop_ifindex=hop.near if hop else 0,
        shaped_ifindex=hop.far if hop else 0,
    )


def _is_narrow(inventory: Inventory, vf: AttachedVf) -> bool:
    return inventory.policy(vf).mtu < inventory.mtu_bytes(vf.address.pf)


def _conditions(inventory: Inventory, vf: AttachedVf) -> dict[PortFlag, bool]:
    """Which flag stands in the port's value."""
    vlan, policy, hop = inventory.vlan(vf), inventory.policy(vf), _hop(inventory, vf)
    is_vepa = inventory.pf(vf.address.pf).spec.switching is Switching.VEPA
    return {
        PortFlag.LINK_UP: inventory.is_open(vf),
        PortFlag.NARROW: _is_narrow(inventory, vf),
        PortFlag.SUBSCRIBES: hears_asked_groups_only(policy) and not (vf.state.has_all_groups and policy.may_hear_all_groups),
        PortFlag.TRUNK: vlan.mode is VlanMode.TRUNK,
        PortFlag.BLOCKED: policy.block,
        PortFlag.PRIVATE: policy.private_vlan.kind is not SegmentKind.PROMISCUOUS,
        PortFlag.ALLOWS: bool(policy.allowed_macs),
        PortFlag.FORGED_ACCEPT: policy.forged_transmits is Security.ACCEPT,
        # redirect_peer enters the guest's stack behind its XDP program, which would never see the frame.
        # It also passes by the queue of a port that is held to a rate.
        PortFlag.PEER: not vf.guest_runs_xdp and not policy.shaping_egress.average_kbps,
        PortFlag.QUEUED: policy.shaping_egress.average_kbps > 0,
        PortFlag.SHAPED: hop is not None,
        PortFlag.PROMISCUOUS: is_promiscuous(policy, vf.state),
        PortFlag.VEPA: is_vepa,
        PortFlag.COPIED: not is_vepa and not vlan.domains.isdisjoint(inventory.listened_vlans(vf.address.pf)),
        PortFlag.POLICED: policy.shaping_ingress.average_kbps > 0 and hop is None,
        PortFlag.JUMBO: policy.mtu > LARGEST_SINGLE_BUFFER_MTU_BYTES,
        PortFlag.AWAY: inventory.is_open(vf) and not vf.has_carrier,  # what is for a closed port goes nowhere
        PortFlag.ONE_BUFFER: vf.guest_runs_xdp and xdp_problem(policy.mtu, inventory.jumbo_xdp) is not None,
        PortFlag.LOOP: vf.cut_for_loop_with is not None,
        PortFlag.SERVICE: vlan.proto is Proto.SERVICE,
        PortFlag.WATCHED: bool(vf.watched_until),
        PortFlag.SHARES: bool(vf.state.shared(policy, vlan)),
        PortFlag.SPEAKS: vf.state.effective_mac in vf.state.shared(policy, vlan),
    }


def _hop(inventory: Inventory, vf: AttachedVf) -> Hop | None:
    """Which its guest's frames go through. Until it is there, and where it cannot be had, a port is policed."""
    return vf.hop if inventory.ingress_queue(vf) else None


def is_promiscuous(policy: Policy, state: VfState) -> bool:
    """Where the policy accepts it, but for a guest that said no. Whether other ports have copies to give is the policy's alone, so
    that a guest that changes its mind changes one port."""
    return policy.promiscuous is Security.ACCEPT and state.is_promiscuous is not False


def hears_asked_groups_only(policy: Policy) -> bool:
    """One that may be promiscuous hears all."""
    return not policy.flood_multicast and policy.promiscuous is Security.REJECT


def _segment(said: PrivateVlan) -> int:
    match said.kind:
        case SegmentKind.PROMISCUOUS:
            return abi.SEGMENT_PROMISCUOUS
        case SegmentKind.ISOLATED:
            return abi.SEGMENT_ISOLATED
        case SegmentKind.COMMUNITY:
            return abi.SEGMENT_ISOLATED + said.community


def vf_guard(inventory: Inventory, vf: AttachedVf) -> Guard:
    """Struct sxdp_guard of a VF."""
    policy = inventory.policy(vf)
    return Guard(broadcast_pps=policy.storm_broadcast_pps, multicast_pps=policy.storm_multicast_pps)


def vf_rate(inventory: Inventory, vf: AttachedVf) -> Rate:
    """Struct sxdp_rate of a VF."""
    policy = inventory.policy(vf)
    policer = policy.shaping_ingress.policer(policy.mtu)
    if policer is None or _hop(inventory, vf):
        return NO_RATE
    return Rate(
        average_kbps=policer.average_kbps,
        peak_kbps=policer.peak_kbps,
        burst_bytes=policer.burst_bytes,
        peak_burst_bytes=policer.peak_burst_bytes,
        said_burst_bytes=policy.shaping_ingress.burst_bytes,
    )


def vf_image(inventory: Inventory, vf: AttachedVf) -> PortImage:
    """All that the maps say of a VF. A trunk port is found under the wildcard VLAN, as it may be in thousands, but in each of its
    VLANs by what it shares with others."""
    vlan = inventory.vlan(vf)
    pf, uplink = inventory.pf(vf.address.pf).number, inventory.pf(vf.address.pf).uplink
    of_host = {uplink.mac} if uplink else set()  # the uplink got it later, and its frames are the host's
    shared = {held: holder for held, holder in inventory.shared_of(vf).items() if held[1] not in of_host}
    held_here = {held for held, holder in shared.items() if holder == str(vf.address)}
    alone = {(vlan.place, mac) for mac in vf.state.unicast - of_host - {mac for _place, mac in shared}}
    return PortImage(
        value=vf_value(inventory, vf),
        trunk=vlan.vlans if vlan.mode is VlanMode.TRUNK else frozenset(),
        heard=vlan.heard(vf.state.vlans),
        fdb=frozenset(fdb_key(pf, place, mac) for place, mac in alone | held_here),
        shared=frozenset(fdb_key(pf, place, mac) for place, mac in shared),
        guard=vf_guard(inventory, vf),
        rate=vf_rate(inventory, vf),
        groups=_groups(inventory, vf),
        allowed=frozenset((pattern.address.octets, pattern.bits) for pattern in inventory.policy(vf).allowed_macs),
    )


def fdb_key(pf: int, place: int, address: MacAddress) -> int:
    """Of the forwarding database. place: Vlan.place, or one of Vlan.shared_places."""
    kind, vlan = divmod(place, SERVICE_DOMAINS)
    return abi.fdb_key(pf, vlan | (abi.VLAN_SERVICE if kind else 0), address.octets)


def _groups(inventory: Inventory, vf: AttachedVf) -> frozenset[bytes]:
    """What its guest asked for, as far as that makes a difference."""
    if not hears_asked_groups_only(inventory.policy(vf)):
        return frozenset()
    return frozenset(address.octets for address in vf.state.filters if address.is_multicast)


def uplink_image(inventory: Inventory, pf: PhysicalFunction, *, has_unread_trunks: bool = False) -> PortImage:
    """The PF's own port; also there without an uplink, as it says whether the PF has trunks. has_unread_trunks: that work on,
    though nothing that can be read names them."""
    mtu_bytes, is_vepa = inventory.mtu_bytes(pf.spec.name), pf.spec.switching is Switching.VEPA
    uplink = pf.uplink
    host_vlans = uplink.host_vlans if uplink else frozenset[int]()
    is_narrow = uplink is not None and uplink.mtu_bytes < mtu_bytes  # somebody lowered it since
    vfs = list(inventory.vfs_of_pf(pf.spec.name))
    vlans = set(map(inventory.vlan, vfs))  # few, however many VFs there are
    has_trunks = any(vlan.mode is VlanMode.TRUNK for vlan in vlans)
    of_pf = abi.PF_HAS_SERVICE if any(vlan.proto is Proto.SERVICE for vlan in vlans) else 0
    of_pf |= abi.PF_IS_WATCHED if any(vf.watched_until for vf in vfs) else 0
    conditions = {
        PortFlag.UPLINK: True,
        PortFlag.LINK_UP: uplink is not None,
        PortFlag.HOST_STACK: uplink is not None and uplink.serves_host,
        PortFlag.HOST_VLANS: bool(host_vlans),
        PortFlag.NARROW: is_narrow,
        PortFlag.NO_CARRIER: uplink is not None and not uplink.has_carrier,
        PortFlag.LOST: pf.spec.uplink is not None and (uplink is None or not uplink.has_carrier),
        PortFlag.JUMBO: mtu_bytes > LARGEST_SINGLE_BUFFER_MTU_BYTES,
        PortFlag.COPIED: bool(inventory.listened_vlans(pf.spec.name)),
        PortFlag.PF_HAS_TRUNKS: has_trunks or has_unread_trunks,
        PortFlag.OWN_SOURCE_ACCEPT: pf.spec.wire_own_source is WireOwnSource.ACCEPT or is_vepa,
        PortFlag.VEPA: is_vepa,
        PortFlag.WATCHED: bool(pf.watched_until),
        PortFlag.SHARES: bool(pf.owners.shared.holders()),
        PortFlag.NATIVE_XDP: uplink is not None and uplink.xdp_mode is XdpMode.NATIVE,
    }
    value = PortValue(
        ifindex=uplink.ifindex if uplink else 0,
        generation=1,
        mac=uplink.mac.octets if uplink else _NO_MAC,
        flags=_flags(conditions),
        vlan=abi.VLAN_NONE,
        mtu_bytes=mtu_bytes,
        pf=pf.number,
        device_mtu_bytes=uplink.mtu_bytes if uplink else 0,
        of_pf=of_pf,
    )
    return PortImage(value=value, trunk=host_vlans, fdb=frozenset())


def member_lists(inventory: Inventory, pf: PhysicalFunction) -> dict[int, Members]:
    """By VLAN, with VLAN_SERVICE where it is 802.1ad's: whose VFs get its floods. VLANs that only trunk ports are in share one list
    under the wildcard VLAN of their kind; the program checks each trunk port's own list."""
    trunks: list[tuple[int, int, frozenset[int]]] = []
    lists: dict[int, list[int]] = {}
    of_tc: set[int] = set()
    mtu_bytes = inventory.mtu_bytes(pf.spec.name)
    for vf in inventory.vfs_of_pf(pf.spec.name):
        vlan, policy = inventory.vlan(vf), inventory.policy(vf)
        is_narrow = policy.mtu < mtu_bytes
        if hears_asked_groups_only(policy) or is_narrow or policy.shaping_egress.average_kbps:
            of_tc.add(slot_of(vf))
        kind = abi.VLAN_SERVICE if vlan.proto is Proto.SERVICE else 0
        if vlan.mode is VlanMode.TRUNK:
            trunks.append((slot_of(vf), kind, vlan.vlans))
        else:
            lists.setdefault(vlan.untagged_vlan | kind, []).append(slot_of(vf))
    for number, slots in lists.items():
        slots.extend(slot for slot, kind, vlans in trunks if number & ~abi.VLAN_MASK == kind and number & abi.VLAN_MASK in vlans)
    for slot, kind, _vlans in trunks:
        lists.setdefault(abi.VLAN_TRUNKS | kind, []).append(slot)
    of_tc |= {slot for slot, _kind, _vlans in trunks}
    return {number: Members(tuple(slots), len(of_tc.intersection(slots))) for number, slots in lists.items()}


def _flags(conditions: dict[PortFlag, bool]) -> PortFlag:
    flags = PortFlag(0)
    for flag, holds in conditions.items():
        if holds:
            flags |= flag
    return flags
