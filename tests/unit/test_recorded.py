"""What a guest asked, as the audit keeps it, is read back as it was."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st
from intents import macs

from sriov_xdp.vswitch import recorded
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
from sriov_xdp.vswitch.vlan import Proto

# What a guest may hold by the default quota, and more than a driver asks at once.
sixteen = frozenset(MacAddress.parse(f"02:00:00:00:01:{number:02x}") for number in range(16))
full = VfState(
    admin_mac=MacAddress.parse("02:00:00:00:00:01"), effective_mac=MacAddress.parse("02:00:00:00:00:02"), filters=sixteen
)
five = tuple((MacAddress.parse(f"02:00:00:00:02:{number:02x}"), AddressRole.EXTRA) for number in range(5))

addresses = st.lists(macs, max_size=6).map(tuple)
vlans = st.frozensets(st.integers(1, 4094), max_size=8)
requests: st.SearchStrategy[ConfigurationRequest] = st.one_of(
    st.just(ResetDevice()),
    st.builds(AddAddresses, st.lists(st.tuples(macs, st.sampled_from(AddressRole)), max_size=6).map(tuple)),
    st.builds(RemoveAddresses, addresses),
    st.builds(SetPromiscuity, st.booleans(), st.booleans()),
    st.builds(AddVlans, vlans.map(lambda numbers: tuple(sorted(numbers))), st.sampled_from(Proto)),
    st.builds(RemoveVlans, vlans.map(lambda numbers: tuple(sorted(numbers))), st.sampled_from(Proto)),
)
plain = st.builds(VfState, admin_mac=macs, effective_mac=macs, filters=addresses.map(frozenset), vlans=st.none() | vlans)
states = plain | st.builds(replace, plain, is_promiscuous=st.booleans(), has_all_groups=st.booleans())


@given(requests, states)
@example(AddAddresses(five), full)
@example(RemoveAddresses(tuple(address for address, _role in five)), full)
def test_it_comes_back(request: ConfigurationRequest, state: VfState) -> None:
    assert (request, state) == recorded.read(recorded.text_of(request, state))


@given(states, st.lists(macs, min_size=60, max_size=60, unique=True))
def test_one_that_names_very_many_is_not_kept(state: VfState, many: list) -> None:
    assert "" == recorded.text_of(RemoveAddresses(tuple(many)), state)
