"""From the inventory to what the maps shall say of ports, forwarding and flood lists."""

from dataclasses import replace
from typing import Any

import pytest

from sriov_xdp.datapath.abi import VLAN_NONE, VLAN_TRUNKS, Members, PortFlag, PortValue
from sriov_xdp.datapath.meters import NO_GUARD, Guard, Rate
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.pf.state.attached_vf import AttachedVf, Hop
from sriov_xdp.pf.state.images import member_lists, slot_of, uplink_image, vf_guard, vf_image, vf_value
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, LinkState, PfSpec, VfAddress, WireOwnSource
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.physical_function import PhysicalFunction, UplinkState, XdpMode
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import Override, PolicySettings, Security
from sriov_xdp.vswitch.ports import PortGroup, PortOverrides, Switch
from sriov_xdp.vswitch.shaping import IngressShaping, ShapingMode
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

MAC_VM1 = MacAddress.parse("02:00:00:00:01:01")
MAC_NEW = MacAddress.parse("02:00:00:00:09:01")
MAC_EXTRA = MacAddress.parse("02:00:00:00:09:02")
MAC_WIRE = MacAddress.parse("02:00:00:00:0f:01")
MULTICAST = MacAddress.parse("01:00:5e:00:00:05")
PF_NUMBER = 3
IFINDEX_BASE = 0x40000
JUMBO = JumboXdp(is_allowed=False, because="not known to be fixed")
GROUPS = {
    "plain": NO_VLAN,
    "web": Vlan.access(100),
    "db": Vlan.access(200),
    "trunk": Vlan.trunk(frozenset({100, 300})),
    "wide": Vlan.trunk(frozenset({100, 200})),
}
ORDINARY = PortFlag.LINK_UP | PortFlag.PEER
UPLINK = UplinkState(
    ifindex=7,
    mac=MAC_WIRE,
    mtu_bytes=1500,
    has_carrier=True,
    serves_host=False,
    host_vlans=frozenset(),
    is_silenced=True,
    xdp_mode=XdpMode.NATIVE,
)


def host(*, mtu_bytes: int = 1500, policy: PolicySettings | None = None, uplink: UplinkState | None = None) -> Inventory:
    """One PF with number 3 whose switch has every group of GROUPS."""
    inventory = Inventory(JUMBO)
    groups = tuple(
        PortGroup(name=name, vlan=vlan, overrides_allowed=frozenset({Override.VLAN, Override.SECURITY}))
        for name, vlan in GROUPS.items()
    )
    spec = PfSpec(name="pf0", uplink="wire0" if uplink else None, num_vfs=64)
    inventory.pfs["pf0"] = PhysicalFunction(spec=spec, number=PF_NUMBER, uplink=uplink)
    inventory.switches["vSwitch0"] = Switch(
        name="vSwitch0", pf="pf0", mtu_bytes=mtu_bytes, policy=policy or PolicySettings(), port_groups=groups
    )
    return inventory


def connect(inventory: Inventory, index: int, group: str, *, pf: str = "pf0", state: VfState | None = None) -> AttachedVf:
    """A VF in slot 16 + index."""
    vf = VfAddress(pf, index)
    mac = MacAddress(bytes([0x02, 0, 0, 0, 0x01, index]))
    spec = AdapterSpec(guest=f"vm{index}", netns=f"vm{index}", interface="eth0", port_group=group, mac=None, datapath=Datapath.AUTO)
    attachment = Attachment(
        vf=vf,
        spec=spec,
        admin_mac=mac,
        generation=index + 1,
        representor=f"{pf}r{index}",
        ifindex=IFINDEX_BASE + 16 + index,
        netns_is_ours=True,
        netns_id=(1, index),
    )
    state = state or VfState(admin_mac=mac, effective_mac=mac)
    attached = AttachedVf(attachment=attachment, state=state, active=Datapath.XDP, active_reason="configured")
    inventory.vfs[vf] = attached
    return attached


def slots_of(inventory: Inventory) -> dict[int, tuple[int, ...]]:
    """Who is in the flood lists of pf0."""
    return {vlan: members.slots for vlan, members in member_lists(inventory, inventory.pf("pf0")).items()}


def lists_of(*groups: str) -> dict[int, Members]:
    """Flood lists of a PF whose VFs are in these groups, in this order."""
    inventory = host()
    for index, group in enumerate(groups):
        connect(inventory, index, group)
    return member_lists(inventory, inventory.pf("pf0"))


def key(vlan: int, mac: MacAddress) -> int:
    """Written down a second time: the PF, the VLAN and the address with its first byte lowest, from the top down."""
    return PF_NUMBER << 60 | vlan << 48 | int.from_bytes(mac.octets[::-1], "big")


# A VF's port.


def test_the_slot_is_the_low_ten_bits_of_the_representors_number() -> None:
    attached = connect(host(), 5, "web")
    attached.attachment = replace(attached.attachment, ifindex=0x7FF0_0000 | 1023)
    assert 1023 == slot_of(attached)


def test_a_port_says_who_and_where_it_is() -> None:
    inventory = host(mtu_bytes=2000)
    wanted = PortValue(
        ifindex=IFINDEX_BASE + 21, generation=6, mac=MAC_NEW.octets, flags=ORDINARY, vlan=100, mtu_bytes=2000, pf=PF_NUMBER
    )
    assert wanted == vf_value(inventory, connect(inventory, 5, "web", state=VfState(admin_mac=MAC_VM1, effective_mac=MAC_NEW)))


@pytest.mark.parametrize(
    ("group", "vlan", "flags"),
    [
        ("plain", VLAN_NONE, ORDINARY),
        ("web", 100, ORDINARY),
        ("trunk", VLAN_NONE, ORDINARY | PortFlag.TRUNK),
    ],
)
def test_the_vlan_of_the_group_decides_between_access_and_trunk(group: str, vlan: int, flags: PortFlag) -> None:
    inventory = host()
    value = vf_value(inventory, connect(inventory, 0, group))
    assert (vlan, flags) == (value.vlan, value.flags)


@pytest.mark.parametrize(("state", "is_up"), [(LinkState.AUTO, True), (LinkState.ENABLE, True), (LinkState.DISABLE, False)])
def test_only_a_disabled_link_is_down(state: LinkState, is_up: bool) -> None:
    inventory = host()
    attached = connect(inventory, 0, "web")
    attached.attachment = replace(attached.attachment, spec=replace(attached.attachment.spec, link_state=state))
    assert is_up == (PortFlag.LINK_UP in vf_value(inventory, attached).flags)


@pytest.mark.parametrize(("setting", "is_set"), [(Security.ACCEPT, True), (Security.REJECT, False), (None, False)])
def test_forged_sources_pass_only_where_policy_accepts_them(setting: Security | None, is_set: bool) -> None:
    inventory = host(policy=PolicySettings(forged_transmits=setting, mac_changes=Security.ACCEPT, promiscuous=Security.ACCEPT))
    assert is_set == (PortFlag.FORGED_ACCEPT in vf_value(inventory, connect(inventory, 0, "web")).flags)


@pytest.mark.parametrize("active", [Datapath.TCX, Datapath.XDP])
@pytest.mark.parametrize("guest_runs_xdp", [True, False])
def test_frames_do_not_jump_past_the_xdp_program_of_a_guest(active: Datapath, guest_runs_xdp: bool) -> None:
    inventory = host()
    attached = connect(inventory, 0, "web")
    attached.active, attached.guest_runs_xdp = active, guest_runs_xdp
    assert guest_runs_xdp != (PortFlag.PEER in vf_value(inventory, attached).flags)


@pytest.mark.parametrize(
    ("mtu_bytes", "guest_runs_xdp", "is_set"), [(3502, True, False), (3503, True, True), (9000, True, True), (9000, False, False)]
)
def test_a_guest_with_a_program_gets_one_buffer_where_several_can_panic(mtu_bytes: int, guest_runs_xdp: bool, is_set: bool) -> None:
    inventory = host(mtu_bytes=mtu_bytes)
    attached = connect(inventory, 0, "plain")
    attached.guest_runs_xdp = guest_runs_xdp
    assert is_set == (PortFlag.ONE_BUFFER in vf_value(inventory, attached).flags)


@pytest.mark.parametrize(
    ("mtu_bytes", "is_set"),
    [(1500, False), (3501, False), (3502, True), (9000, True)],
)
def test_frames_beyond_one_buffer_are_jumbo(mtu_bytes: int, is_set: bool) -> None:
    inventory = host(mtu_bytes=mtu_bytes, uplink=UPLINK)
    values = [vf_value(inventory, connect(inventory, 0, "web")), uplink_image(inventory, inventory.pf("pf0")).value]
    assert [is_set, is_set] == [PortFlag.JUMBO in value.flags for value in values]


def test_a_guest_that_is_shaped_sends_through_its_hop_and_is_policed_until_that_is_there() -> None:
    inventory = host(policy=PolicySettings(shaping_ingress=IngressShaping(average_kbps=1000)))
    attached = connect(inventory, 1, "web")
    before, rate = vf_value(inventory, attached), vf_image(inventory, attached).rate
    assert (PortFlag.POLICED, 1000) == (before.flags & (PortFlag.POLICED | PortFlag.SHAPED), rate.average_kbps)
    attached.hop = Hop(near=11, far=12)
    after, rate = vf_value(inventory, attached), vf_image(inventory, attached).rate
    assert (PortFlag.SHAPED, 0) == (after.flags & (PortFlag.POLICED | PortFlag.SHAPED), rate.average_kbps)
    assert (11, 12) == (after.hop_ifindex, after.shaped_ifindex)


def test_a_guest_that_is_policed_has_no_use_for_a_hop() -> None:
    shaping = IngressShaping(average_kbps=1000, burst_bytes=9000, mode=ShapingMode.POLICE)
    inventory = host(policy=PolicySettings(shaping_ingress=shaping))
    attached = connect(inventory, 1, "web")
    attached.hop = Hop(near=11, far=12)
    value, rate = vf_value(inventory, attached), vf_image(inventory, attached).rate
    assert PortFlag.POLICED == value.flags & (PortFlag.POLICED | PortFlag.SHAPED)
    assert (0, 0) == (value.hop_ifindex, value.shaped_ifindex)
    assert Rate(average_kbps=1000, burst_bytes=9000, said_burst_bytes=9000) == rate


def test_a_port_with_a_loop_takes_no_part_in_floods() -> None:
    inventory = host()
    attached = connect(inventory, 1, "web")
    assert PortFlag.LOOP not in vf_value(inventory, attached).flags
    attached.cut_for_loop_with = VfAddress("pf0", 0)
    assert PortFlag.LOOP in vf_value(inventory, attached).flags


@pytest.mark.parametrize("has_carrier", [True, False])
def test_a_guest_end_that_is_down_has_no_carrier(has_carrier: bool) -> None:
    inventory = host()
    attached = connect(inventory, 0, "web")
    attached.has_carrier = has_carrier
    assert has_carrier != (PortFlag.AWAY in vf_value(inventory, attached).flags)


@pytest.mark.parametrize("has_carrier", [True, False])
def test_the_address_of_a_disabled_port_is_not_looked_for_elsewhere(has_carrier: bool) -> None:
    inventory = host()
    attached = connect(inventory, 0, "web")
    attached.has_carrier = has_carrier
    attached.attachment = replace(attached.attachment, spec=replace(attached.attachment.spec, link_state=LinkState.DISABLE))
    assert PortFlag(0) == vf_value(inventory, attached).flags & (PortFlag.AWAY | PortFlag.LINK_UP)


@pytest.mark.parametrize(
    ("policy", "guard"),
    [
        (PolicySettings(), Guard(broadcast_pps=10_000, multicast_pps=100_000)),
        (PolicySettings(storm_broadcast_pps=7), Guard(broadcast_pps=7, multicast_pps=100_000)),
        (PolicySettings(storm_broadcast_pps=0, storm_multicast_pps=0), NO_GUARD),
    ],
)
def test_a_guests_port_has_the_guard_of_its_policy(policy: PolicySettings, guard: Guard) -> None:
    inventory = host(policy=policy)
    attached = connect(inventory, 0, "web")
    assert (guard, guard) == (vf_guard(inventory, attached), vf_image(inventory, attached).guard)


# How a VF is reached.


@pytest.mark.parametrize(
    ("group", "key_vlan", "trunk"),
    [("plain", VLAN_NONE, set()), ("web", 100, set()), ("trunk", VLAN_TRUNKS, {100, 300})],
)
def test_a_port_is_reached_in_its_vlan_and_a_trunk_under_the_wildcard(group: str, key_vlan: int, trunk: set[int]) -> None:
    inventory = host()
    image = vf_image(inventory, connect(inventory, 1, group))
    assert ({key(key_vlan, MAC_VM1)}, trunk) == (image.fdb, image.trunk)


def test_a_port_is_reached_by_its_effective_and_extra_addresses_only() -> None:
    inventory = host()
    state = VfState(admin_mac=MAC_VM1, effective_mac=MAC_NEW, filters=frozenset({MAC_EXTRA, MULTICAST}))
    assert {key(100, MAC_NEW), key(100, MAC_EXTRA)} == vf_image(inventory, connect(inventory, 1, "web", state=state)).fdb


def test_a_ports_own_vlan_takes_the_place_of_its_groups() -> None:
    inventory = host()
    attached = connect(inventory, 1, "web")
    attached.attachment = replace(
        attached.attachment, spec=replace(attached.attachment.spec, overrides=PortOverrides(vlan=Vlan.access(200)))
    )
    image = vf_image(inventory, attached)
    assert ({key(200, MAC_VM1)}, 200) == (image.fdb, image.value.vlan)
    assert {200: (17,)} == slots_of(inventory)


# The uplink's port.


def test_an_uplink_is_a_port_of_its_pf_that_nothing_is_forwarded_to_by_address() -> None:
    inventory = host(uplink=UPLINK)
    image = uplink_image(inventory, inventory.pf("pf0"))
    wanted = PortValue(
        ifindex=7,
        generation=1,
        mac=MAC_WIRE.octets,
        flags=PortFlag.UPLINK | PortFlag.LINK_UP | PortFlag.NATIVE_XDP,
        vlan=VLAN_NONE,
        mtu_bytes=1500,
        pf=PF_NUMBER,
        device_mtu_bytes=1500,
    )
    assert (wanted, frozenset(), frozenset(), NO_GUARD) == (image.value, image.trunk, image.fdb, image.guard)


def test_without_an_uplink_the_pfs_port_is_down_and_has_no_address() -> None:
    inventory = host()
    value = uplink_image(inventory, inventory.pf("pf0")).value
    assert (0, bytes(6), PortFlag.UPLINK) == (value.ifindex, value.mac, value.flags)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"serves_host": True}, PortFlag.HOST_STACK | PortFlag.NATIVE_XDP),
        ({"host_vlans": frozenset({100})}, PortFlag.HOST_VLANS | PortFlag.NATIVE_XDP),
        ({"has_carrier": False}, PortFlag.NO_CARRIER | PortFlag.LOST | PortFlag.NATIVE_XDP),
        ({"mtu_bytes": 1499}, PortFlag.NARROW | PortFlag.NATIVE_XDP),
        ({"mtu_bytes": 9000}, PortFlag.NATIVE_XDP),
        ({"xdp_mode": XdpMode.NONE}, PortFlag(0)),
    ],
)
def test_an_uplink_says_how_it_is_served(change: dict[str, Any], flag: PortFlag) -> None:
    inventory = host(uplink=replace(UPLINK, **change))
    assert PortFlag.UPLINK | PortFlag.LINK_UP | flag == uplink_image(inventory, inventory.pf("pf0")).value.flags


@pytest.mark.parametrize("vlans", [frozenset(), frozenset({1, 100, 4094})], ids=repr)
def test_the_vlans_of_the_host_are_listed_at_its_uplink(vlans: frozenset[int]) -> None:
    inventory = host(uplink=replace(UPLINK, host_vlans=vlans))
    assert vlans == uplink_image(inventory, inventory.pf("pf0")).trunk


@pytest.mark.parametrize("uplink", [UPLINK, None], ids=["with an uplink", "without"])
@pytest.mark.parametrize(("own_source", "is_set"), [(WireOwnSource.ACCEPT, True), (WireOwnSource.DROP, False)])
def test_own_sources_pass_from_the_wire_only_where_the_pf_accepts_them(
    own_source: WireOwnSource, is_set: bool, uplink: UplinkState | None
) -> None:
    inventory = host(uplink=uplink)
    pf = inventory.pf("pf0")
    pf.spec = replace(pf.spec, wire_own_source=own_source)
    assert is_set == (PortFlag.OWN_SOURCE_ACCEPT in uplink_image(inventory, pf).value.flags)


@pytest.mark.parametrize(("groups", "is_set"), [((), False), (("plain", "web"), False), (("web", "trunk"), True)])
def test_the_pf_has_trunks_as_soon_as_one_vf_is_a_trunk(groups: tuple[str, ...], is_set: bool) -> None:
    inventory = host()
    for index, group in enumerate(groups):
        connect(inventory, index, group)
    assert is_set == (PortFlag.PF_HAS_TRUNKS in uplink_image(inventory, inventory.pf("pf0")).value.flags)


# Who gets a flood.


@pytest.mark.parametrize(
    ("groups", "lists"),
    [
        ((), {}),
        (("plain",), {0: (16,)}),
        (("web", "web", "db"), {100: (16, 17), 200: (18,)}),
        (("plain", "web", "plain"), {0: (16, 18), 100: (17,)}),
        (("trunk",), {VLAN_TRUNKS: (16,)}),
        (("trunk", "wide"), {VLAN_TRUNKS: (16, 17)}),
        (("web", "trunk"), {100: (16, 17), VLAN_TRUNKS: (17,)}),
        (("trunk", "web"), {100: (17, 16), VLAN_TRUNKS: (16,)}),
        (("db", "trunk"), {200: (16,), VLAN_TRUNKS: (17,)}),
        (("plain", "trunk"), {0: (16,), VLAN_TRUNKS: (17,)}),
        (
            ("plain", "web", "db", "trunk", "wide"),
            {0: (16,), 100: (17, 19, 20), 200: (18, 20), VLAN_TRUNKS: (19, 20)},
        ),
    ],
    ids=str,
)
def test_a_flood_reaches_the_vlans_ports_and_the_trunks_that_carry_it(
    groups: tuple[str, ...], lists: dict[int, tuple[int, ...]]
) -> None:
    assert lists == {vlan: members.slots for vlan, members in lists_of(*groups).items()}


def test_a_flood_list_says_how_many_trunks_it_has_also_of_ports_that_have_no_device_yet() -> None:
    """XDP serves none of a list with trunks, so it must know of one before its port is published."""
    lists = lists_of("web", "web", "trunk", "wide")
    assert {100: 2, VLAN_TRUNKS: 2} == {vlan: members.of_tc for vlan, members in lists.items() if vlan in (100, VLAN_TRUNKS)}
    assert 0 == lists_of("web", "web")[100].of_tc


def test_a_flood_stays_on_its_pf() -> None:
    inventory = host()
    connect(inventory, 0, "web")
    connect(inventory, 1, "web", pf="pf1")
    assert {100: (16,)} == slots_of(inventory)
