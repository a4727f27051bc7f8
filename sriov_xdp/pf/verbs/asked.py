"""What a guest asks of its device: from the mailbox's words to the switch's, and to those of log and audit. Pure.

For the PF controller.
"""

from sriov_xdp.mailbox.messages import (
    AddAddressList,
    AddressType,
    AddVlanList,
    AddVlanTags,
    ConfigPromiscuousMode,
    DelAddressList,
    DelVlanList,
    DelVlanTags,
    DeviceRequest,
    Reset,
    VlanRequest,
)
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import (
    AddAddresses,
    AddressRole,
    AddVlans,
    ConfigurationRequest,
    RemoveAddresses,
    RemoveVlans,
    ResetDevice,
    SetPromiscuity,
    VfState,
)
from sriov_xdp.vswitch.ranges import to_ranges
from sriov_xdp.vswitch.vlan import Proto

_MOST_NAMED = 4
_ROLES = {AddressType.LEGACY: AddressRole.LEGACY, AddressType.PRIMARY: AddressRole.PRIMARY, AddressType.EXTRA: AddressRole.EXTRA}


def to_vswitch(request: DeviceRequest) -> ConfigurationRequest:
    """As the switch knows it."""
    match request:
        case AddAddressList(addresses=addresses):
            return AddAddresses(tuple((MacAddress(entry.mac), _ROLES[entry.type]) for entry in addresses))
        case DelAddressList(addresses=addresses):
            return RemoveAddresses(tuple(MacAddress(entry.mac) for entry in addresses))
        case AddVlanList(vlans=vlans) | AddVlanTags(vlans=vlans):
            return AddVlans(vlans, _proto_of(request))
        case DelVlanList(vlans=vlans) | DelVlanTags(vlans=vlans):
            return RemoveVlans(vlans, _proto_of(request))
        case ConfigPromiscuousMode(unicast=unicast, multicast=multicast):
            return SetPromiscuity(unicast, multicast)
        case Reset():
            return ResetDevice()


def _proto_of(request: VlanRequest) -> Proto:
    """Filters of the first kind know 802.1Q's tags only."""
    is_of_service = isinstance(request, AddVlanTags | DelVlanTags) and request.tpid == Proto.SERVICE.tpid
    return Proto.SERVICE if is_of_service else Proto.CUSTOMER


def describe(asked: ConfigurationRequest) -> str:
    """For log and audit."""
    match asked:
        case AddAddresses(addresses):
            named = [f"{address} ({role.name.lower()})" for address, role in addresses[:_MOST_NAMED]]
            return "add " + _some(named, len(addresses))
        case RemoveAddresses(addresses):
            return "remove " + _some([str(address) for address in addresses[:_MOST_NAMED]], len(addresses))
        case AddVlans(vlans, proto) | RemoveVlans(vlans, proto):
            verb = "add" if isinstance(asked, AddVlans) else "remove"
            return f"{verb} VLAN " + _some([str(vlan) for vlan in vlans[:_MOST_NAMED]], len(vlans)) + f" ({proto})"
        case SetPromiscuity(unicast, multicast):
            return f"promiscuous {'on' if unicast else 'off'}, all multicast {'on' if multicast else 'off'}"
        case ResetDevice():
            return "reset"


def _some(named: list[str], count: int) -> str:
    """A guest may name hundreds of addresses in one message; log and audit name a few."""
    return ", ".join(named) + (f" and {count - len(named)} more" if count > len(named) else "")


def show(state: VfState) -> str:
    """A device before or after a request, for the audit."""
    filters = f" +{len(state.filters)} filters" if state.filters else ""
    vlans = "" if state.vlans is None else f" VLANs {','.join(map(str, to_ranges(state.vlans))) or 'none'}"
    heard = {True: " promiscuous", False: " not promiscuous", None: ""}[state.is_promiscuous]
    return f"{state.effective_mac}{filters}{vlans}{heard}{' all multicast' if state.has_all_groups else ''}"
