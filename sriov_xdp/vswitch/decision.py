"""decide(): whether a guest's configuration request is granted, by the policy of its port. Step 4 of the seed's workflow.

Rules, in order; one refused address refuses the whole request (as i40e does):
1. a port holds at most as many granted addresses beside its effective MAC as its quota says (by default 16: ice and i40e have 18
   with own and broadcast), or, trusted, MOST_MACS. This comes first, so that a message that names hundreds of addresses costs no
   more than counting them;
then for each address:
2. it must be usable: not zero, and a primary address neither broadcast nor multicast;
3. the port's own effective or granted address, and multicast groups, need no permission (floods reach every member), but for the
   groups of LLDP and the like, which only a trusted port is granted (as ice does);
4. mac_changes must accept any other address, or allowed_macs name it: the guest asks to receive frames for it;
5. no other port of the VLAN, nor the uplink, owns the address, unless it is one that the policies of both name (allowed_macs), and
   their segments of a private VLAN meet: such an address may be held by several, but by no trunk of more than MOST_SHARED_VLANS.
Promiscuous reception is granted where the policy accepts it. A VLAN is granted that the port carries as a trunk, as far as the
quota goes; from the first one on the guest receives none but those.
"""

from dataclasses import dataclass, replace
from enum import Enum

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.owners import AddressOwners
from sriov_xdp.vswitch.policy import Policy, Security
from sriov_xdp.vswitch.vlan import Proto, Vlan, VlanMode

LEGACY_REPLACE_SECONDS = 3.0  # ice: an add and a delete of the old address within this time are a change of address


class AddressRole(Enum):
    """Why a guest adds an address. LEGACY drivers do not say."""

    LEGACY = 0
    PRIMARY = 1
    EXTRA = 2


@dataclass(frozen=True, slots=True)
class AddAddresses:
    """The guest wants to receive frames for these."""

    addresses: tuple[tuple[MacAddress, AddressRole], ...]


@dataclass(frozen=True, slots=True)
class RemoveAddresses:
    """The guest gives these up."""

    addresses: tuple[MacAddress, ...]


@dataclass(frozen=True, slots=True)
class AddVlans:
    """The guest wants to receive frames of these VLANs, and from now on no others. proto: whose tags they have."""

    vlans: tuple[int, ...]
    proto: Proto = Proto.CUSTOMER


@dataclass(frozen=True, slots=True)
class RemoveVlans:
    """The guest gives these up."""

    vlans: tuple[int, ...]
    proto: Proto = Proto.CUSTOMER


@dataclass(frozen=True, slots=True)
class SetPromiscuity:
    """The guest wants frames that are for other stations as well, or all multicast groups; or no more."""

    unicast: bool
    multicast: bool


@dataclass(frozen=True, slots=True)
class ResetDevice:
    """The guest starts its device over."""


ConfigurationRequest = AddAddresses | RemoveAddresses | AddVlans | RemoveVlans | SetPromiscuity | ResetDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class VfState:
    """What a VF accepts now. admin_mac is the operator's and survives a reset; effective_mac is the VF's. vlans: which the guest
    asked for; None: it never did, and receives all that its port carries. is_promiscuous: what it said last of frames for others;
    None: nothing, and receives what the policy allows; has_all_groups: that it asked for all multicast."""

    admin_mac: MacAddress
    effective_mac: MacAddress
    filters: frozenset[MacAddress] = frozenset()
    legacy_added: tuple[MacAddress, float] | None = None
    vlans: frozenset[int] | None = None
    is_promiscuous: bool | None = None
    has_all_groups: bool = False

    @classmethod
    def fresh(cls, admin_mac: MacAddress) -> "VfState":
        """Before its guest was granted anything, and after a reset: effective := admin, guest-made filters gone."""
        return cls(admin_mac=admin_mac, effective_mac=admin_mac)

    @property
    def unicast(self) -> frozenset[MacAddress]:
        """Addresses whose frames the port receives."""
        return frozenset({self.effective_mac, *(address for address in self.filters if not address.is_multicast)})

    def shared(self, policy: Policy, vlan: Vlan) -> frozenset[MacAddress]:
        """Of its unicast addresses, those that others may hold too: which the policy of its port names, but for the operator's."""
        if not vlan.shared_places:
            return frozenset()
        return frozenset(address for address in self.unicast - {self.admin_mac} if policy.allows(address))

    @property
    def claimed(self) -> frozenset[MacAddress]:
        """Addresses that nobody else may take: also the admin MAC, which a reset brings back."""
        return self.unicast | {self.admin_mac}


@dataclass(frozen=True, slots=True, kw_only=True)
class PortView:
    """What decide() may know of the port that asks."""

    name: str
    policy: Policy
    vlan: Vlan
    state: VfState
    owners: AddressOwners


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The VF as it shall be. state is the old one when nothing changes."""

    state: VfState
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """Refused by policy. reason is a sentence for the log."""

    rule: str
    reason: str


Decision = Grant | Deny


def refused_by(policy: Policy, state: VfState) -> str | None:
    """The setting by which a policy, which may be another than the one by which they were made, does not bear a VF's grants any
    more; None when it does."""
    others = state.unicast - {state.admin_mac}
    if policy.mac_changes is Security.REJECT and not all(policy.allows(address) for address in others):
        return "mac_changes"
    if len(state.filters) > policy.most_macs or len(state.vlans or ()) > policy.most_vlans:
        return "quotas"
    return "trust" if not policy.trust and any(address.is_link_local_group for address in state.filters) else None


def decide(request: ConfigurationRequest, port: PortView, now_seconds: float) -> Decision:
    """Grants or denies one request. now_seconds: any clock that only moves forward."""
    match request:
        case ResetDevice():
            return Grant(state=VfState.fresh(port.state.admin_mac), rule="reset: always granted")
        case AddAddresses(addresses):
            return _decide_add(addresses, port, now_seconds)
        case RemoveAddresses(addresses):
            return _decide_remove(addresses, port, now_seconds)
        case AddVlans(vlans, proto):
            return _decide_add_vlans(vlans, proto, port)
        case RemoveVlans(vlans, proto):
            return _decide_remove_vlans(vlans, proto, port)
        case SetPromiscuity():
            return _decide_promiscuity(request, port)


@dataclass(slots=True)
class _Change:
    """A VF while a request is carried out on it: each address costs the same, however many there are."""

    effective_mac: MacAddress
    filters: set[MacAddress]
    legacy_added: tuple[MacAddress, float] | None

    @classmethod
    def of(cls, state: VfState) -> "_Change":
        return cls(state.effective_mac, set(state.filters), state.legacy_added)

    def add(self, address: MacAddress, role: AddressRole, now_seconds: float) -> None:
        """As if it were granted."""
        if role is AddressRole.PRIMARY:
            if address != self.effective_mac:
                self.effective_mac, self.legacy_added = address, None
                self.filters.discard(address)
        elif address != self.effective_mac and not address.is_broadcast:
            self.filters.add(address)
            if role is AddressRole.LEGACY and not address.is_multicast:
                self.legacy_added = (address, now_seconds)

    def remove(self, address: MacAddress, now_seconds: float) -> bool:
        """Whether the address was the effective MAC and its successor took its place."""
        if address != self.effective_mac:
            self.filters.discard(address)
            return False
        if self.legacy_added is None:
            return False
        successor, added_at = self.legacy_added
        if successor not in self.filters or now_seconds - added_at > LEGACY_REPLACE_SECONDS:
            return False
        self.effective_mac, self.legacy_added = successor, None
        self.filters.discard(successor)
        return True

    def on(self, state: VfState) -> VfState:
        """The VF after it."""
        filters = frozenset(self.filters)
        return replace(state, effective_mac=self.effective_mac, filters=filters, legacy_added=self.legacy_added)


def _decide_add(addresses: tuple[tuple[MacAddress, AddressRole], ...], port: PortView, now_seconds: float) -> Decision:
    most = port.policy.most_macs
    count = _filters_wanted(addresses, port.state, most, now_seconds)
    if count > most:
        text = f"{count} addresses beside the effective MAC; the port may have {most}"
        return Deny(rule=port.policy.rule("quotas"), reason=text)
    change, rule = _Change.of(port.state), "own address: no change"
    for address, role in addresses:
        is_own = address == change.effective_mac
        if is_own and role is AddressRole.PRIMARY:
            continue
        needs_no_permission = is_own or address in change.filters or address.is_multicast
        denied = _refusal(address, role, port, change.effective_mac, needs_no_permission=needs_no_permission)
        if denied:
            return denied
        if address.is_multicast:
            rule = "multicast group: always granted"
        elif not needs_no_permission:
            rule = port.policy.rule(_accepted_by(port.policy))
        change.add(address, role, now_seconds)
    return Grant(state=change.on(port.state), rule=rule)


def _accepted_by(policy: Policy) -> str:
    return "mac_changes" if policy.mac_changes is Security.ACCEPT else "allowed_macs"


def _filters_wanted(addresses: tuple[tuple[MacAddress, AddressRole], ...], state: VfState, most: int, now_seconds: float) -> int:
    """How many filters the device would have. Where more addresses are new than could ever be granted, in whatever roles, that
    is their number, and nobody looks closer."""
    others = {address for address, _role in addresses if address != state.effective_mac and not address.is_broadcast}
    if len(others - state.filters) > most + 1:
        return len(others | state.filters)
    change = _Change.of(state)
    for address, role in addresses:
        change.add(address, role, now_seconds)
    return len(change.filters)


def _refusal(
    address: MacAddress, role: AddressRole, port: PortView, effective_mac: MacAddress, *, needs_no_permission: bool
) -> Deny | None:
    if address.is_zero or (role is AddressRole.PRIMARY and address.is_multicast):
        return Deny(rule="address form", reason=f"{address} cannot be the address of an interface")
    if address.is_link_local_group and not port.policy.trust and address not in port.state.filters:
        text = f"{address}: is a group of LLDP and the like, which end at the port; only a trusted one is granted it"
        return Deny(rule=port.policy.rule("trust"), reason=text)
    if needs_no_permission:
        return None
    if port.policy.mac_changes is Security.REJECT and not port.policy.allows(address):
        text = f"{address}: the port's policy does not accept other addresses than {effective_mac}"
        return Deny(rule=port.policy.rule("mac_changes"), reason=text)
    vlan, may_share = port.vlan, port.policy.allows(address) and bool(port.vlan.shared_places)
    domains = vlan.shared_places if may_share else vlan.address_domains
    segment = port.policy.private_vlan if may_share else None
    owner = port.owners.other_owner(port.name, address, domains, segment)
    if owner is not None:
        return Deny(rule="address in use", reason=f"{address} belongs to {owner} {vlan.address_place}")
    return None


def _decide_remove(addresses: tuple[MacAddress, ...], port: PortView, now_seconds: float) -> Decision:
    """Absent addresses are no error (ice: ENOENT is skipped). The effective MAC stays, unless a legacy driver added its
    successor just before."""
    change, rule = _Change.of(port.state), "own filter: always granted"
    for address in addresses:
        if address == change.effective_mac:
            was_replaced = change.remove(address, now_seconds)
            rule = port.policy.rule("mac_changes") if was_replaced else "effective MAC: stays"
        else:
            change.remove(address, now_seconds)
    return Grant(state=change.on(port.state), rule=rule)


def _decide_add_vlans(vlans: tuple[int, ...], proto: Proto, port: PortView) -> Decision:
    """VLAN 0 stands for frames without a tag, which no filter holds back (iavf asks for it always)."""
    asked, before = frozenset(vlans) - {0}, port.state.vlans or frozenset()
    foreign = sorted(asked - _offered(port.vlan, proto))
    if foreign:
        text = f"VLAN {foreign[0]} of {proto}: the port is in {_in_words(port.vlan)}"
        return Deny(rule="vlan", reason=text)
    if len(asked | before) > port.policy.most_vlans:
        text = f"{len(asked | before)} VLANs; the port's guest may ask for {port.policy.most_vlans}"
        return Deny(rule=port.policy.rule("quotas"), reason=text)
    if not asked:
        return Grant(state=port.state, rule="frames without a tag: no change")
    return Grant(state=replace(port.state, vlans=before | asked), rule="vlan: the port carries it")


def _decide_remove_vlans(vlans: tuple[int, ...], proto: Proto, port: PortView) -> Decision:
    """Absent ones are no error. Who gave up the last one receives no VLAN any more, until a reset."""
    is_own = proto is port.vlan.proto
    if port.state.vlans is None or not is_own:
        return Grant(state=port.state, rule="not asked for: no change")
    return Grant(state=replace(port.state, vlans=port.state.vlans - frozenset(vlans)), rule="own filter: always granted")


def _decide_promiscuity(wanted: SetPromiscuity, port: PortView) -> Decision:
    """Less than before is always granted."""
    policy = port.policy
    if wanted.unicast and policy.promiscuous is Security.REJECT:
        return Deny(rule=policy.rule("promiscuous"), reason="the port's policy does not accept it")
    if wanted.multicast and not policy.may_hear_all_groups:
        text = "all multicast groups; the port hears those that its guest asks for, and is neither promiscuous nor trusted"
        return Deny(rule=policy.rule("flood_multicast"), reason=text)
    rule = policy.rule("promiscuous") if wanted.unicast else "no frames for others: always granted"
    return Grant(state=replace(port.state, is_promiscuous=wanted.unicast, has_all_groups=wanted.multicast), rule=rule)


def _offered(vlan: Vlan, proto: Proto) -> frozenset[int]:
    """What a guest may ask for: of a trunk, what it carries. Only there does a guest see tags of the switch."""
    return vlan.vlans if vlan.mode is VlanMode.TRUNK and vlan.proto is proto else frozenset()


def _in_words(vlan: Vlan) -> str:
    return "no VLAN, so tags are not its business" if vlan.mode is VlanMode.NONE else str(vlan)


def address_form_problem(address: MacAddress) -> str | None:
    """Why no interface can have the address; None when one can."""
    if address.is_zero or address.is_multicast:
        return f"{address} is not a unicast address; choose one whose first byte is even, as 02:00:00:00:01:01"
    return None
