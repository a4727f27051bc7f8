"""decide(): whether a guest's configuration request is granted, by the policy of its port. Step 4 of the seed's workflow.

Rules, in order, for each address of a request; one refused address refuses the whole request (as i40e does):
1. an address must be usable: not zero, and a primary address neither broadcast nor multicast;
2. the port's own effective or granted address, and multicast groups, need no permission (floods reach every member);
3. mac_changes must accept any other address: the guest asks to receive frames for it;
4. no other port of the VLAN, nor the uplink, owns the address;
5. a port holds at most MAX_FILTERS granted addresses beside its effective MAC (ice and i40e: 18 with own and broadcast).
"""

from dataclasses import dataclass, replace
from enum import Enum

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.owners import AddressOwners
from sriov_xdp.vswitch.policy import Policy, Security
from sriov_xdp.vswitch.vlan import Vlan

MAX_FILTERS = 16
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
class ResetDevice:
    """The guest starts its device over."""


ConfigurationRequest = AddAddresses | RemoveAddresses | ResetDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a VF accepts now. admin_mac is the operator's and survives a reset; effective_mac is the device's."""

    admin_mac: MacAddress
    effective_mac: MacAddress
    filters: frozenset[MacAddress] = frozenset()
    legacy_added: tuple[MacAddress, float] | None = None

    def after_reset(self) -> "Device":
        """Effective := admin, guest-made filters gone."""
        return Device(admin_mac=self.admin_mac, effective_mac=self.admin_mac)

    @property
    def unicast(self) -> frozenset[MacAddress]:
        """Addresses whose frames the port receives."""
        return frozenset({self.effective_mac, *(address for address in self.filters if not address.is_multicast)})

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
    device: Device
    owners: AddressOwners


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The device as it shall be. device is the old one when nothing changes."""

    device: Device
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """Refused by policy. reason is a sentence for the log."""

    rule: str
    reason: str


Decision = Grant | Deny


def decide(request: ConfigurationRequest, port: PortView, now_seconds: float) -> Decision:
    """Grants or denies one request. now_seconds: any clock that only moves forward."""
    match request:
        case ResetDevice():
            return Grant(device=port.device.after_reset(), rule="reset: always granted")
        case AddAddresses(addresses):
            return _decide_add(addresses, port, now_seconds)
        case RemoveAddresses(addresses):
            return _decide_remove(addresses, port, now_seconds)


def _decide_add(addresses: tuple[tuple[MacAddress, AddressRole], ...], port: PortView, now_seconds: float) -> Decision:
    device = port.device
    rule = "own address: no change"
    for address, role in addresses:
        if role is AddressRole.PRIMARY and address == device.effective_mac:
            continue
        denied = _refusal(address, role, port, device)
        if denied:
            return denied
        if address.is_multicast or address in device.unicast:
            rule = "multicast group: always granted" if address.is_multicast else rule
        else:
            rule = port.policy.rule("mac_changes")
        device = _with_address(device, address, role, now_seconds)
    if len(device.filters) > MAX_FILTERS:
        text = f"{len(device.filters)} addresses beside the effective MAC; a port holds {MAX_FILTERS}"
        return Deny(rule=f"filter limit: {MAX_FILTERS}", reason=text)
    return Grant(device=device, rule=rule)


def _refusal(address: MacAddress, role: AddressRole, port: PortView, device: Device) -> Deny | None:
    if address.is_zero or (role is AddressRole.PRIMARY and address.is_multicast):
        return Deny(rule="address form", reason=f"{address} cannot be the address of an interface")
    if address.is_multicast or address in device.unicast:
        return None
    if port.policy.mac_changes is Security.REJECT:
        text = f"{address}: the port's policy does not accept other addresses than {device.effective_mac}"
        return Deny(rule=port.policy.rule("mac_changes"), reason=text)
    owner = port.owners.other_owner(port.name, address, port.vlan.domains)
    if owner is not None:
        return Deny(rule="address in use", reason=f"{address} belongs to {owner} in this VLAN")
    return None


def _with_address(device: Device, address: MacAddress, role: AddressRole, now_seconds: float) -> Device:
    if role is AddressRole.PRIMARY:
        return replace(device, effective_mac=address, filters=device.filters - {address}, legacy_added=None)
    if address == device.effective_mac or address.is_broadcast:
        return device
    legacy = (address, now_seconds) if role is AddressRole.LEGACY and not address.is_multicast else device.legacy_added
    return replace(device, filters=device.filters | {address}, legacy_added=legacy)


def _decide_remove(addresses: tuple[MacAddress, ...], port: PortView, now_seconds: float) -> Decision:
    """Absent addresses are no error (ice: ENOENT is skipped). The effective MAC stays, unless a legacy driver added its
    successor just before."""
    device = port.device
    rule = "own filter: always granted"
    for address in addresses:
        if address != device.effective_mac:
            device = replace(device, filters=device.filters - {address})
            continue
        rule = "effective MAC: stays"
        if device.legacy_added is None:
            continue
        successor, added_at = device.legacy_added
        if successor in device.filters and now_seconds - added_at <= LEGACY_REPLACE_SECONDS:
            rule = port.policy.rule("mac_changes")
            device = replace(device, effective_mac=successor, filters=device.filters - {successor}, legacy_added=None)
    return Grant(device=device, rule=rule)


def address_form_problem(address: MacAddress) -> str | None:
    """Why no interface can have the address; None when one can."""
    if address.is_zero or address.is_multicast:
        return f"{address} is not a unicast address; choose one whose first byte is even, as 02:00:00:00:01:01"
    return None


def admin_mac_problem(address: MacAddress, port: str, vlan: Vlan, owners: AddressOwners) -> str | None:
    """Why an address cannot be a port's admin MAC; None when it can."""
    problem = address_form_problem(address)
    if problem:
        return problem
    owner = owners.other_owner(port, address, vlan.domains)
    if owner is not None:
        return f"{address} belongs to {owner} in this VLAN; choose another or release it first"
    return None
