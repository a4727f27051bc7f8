"""The difference between two host intents, as steps in the order in which they can be done."""

from dataclasses import replace

import pytest

from sriov_xdp.pf.state.intent import AdapterSpec, Datapath, HostIntent, LinkState, PfSpec, WireOwnSource
from sriov_xdp.pf.state.kinds import ADAPTER, PF, SWITCH, Action, Kind
from sriov_xdp.pf.state.plan import Step, parts_of, plan
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import PolicySettings, Security
from sriov_xdp.vswitch.ports import PortGroup, PortOverrides, Switch
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

MAC_VM1 = MacAddress.parse("02:00:00:00:01:01")
RULES = {"wire_own_source": "drop", "switching": "veb", "uplink_loss": "isolate"}
PF0 = PfSpec(name="pf0", uplink="wire0", num_vfs=8)
PF1 = PfSpec(name="pf1", uplink=None, num_vfs=4)
WEB = PortGroup(name="web", vlan=Vlan.access(100))
LAB = PortGroup(name="lab", vlan=NO_VLAN)
SWITCH0 = Switch(name="vSwitch0", pf="pf0", mtu_bytes=1500, policy=PolicySettings(), port_groups=(WEB,))
SWITCH1 = Switch(name="vSwitch1", pf="pf1", mtu_bytes=1500, policy=PolicySettings(), port_groups=(LAB,))
VM1 = AdapterSpec(guest="vm1", netns="vm1", interface="eth0", port_group="web", mac=MAC_VM1, datapath=Datapath.AUTO)
VM2 = AdapterSpec(guest="vm2", netns="vm2", interface="eth0", port_group="lab", mac=None, datapath=Datapath.XDP)

NOTHING = HostIntent(pfs=(), switches=(), adapters=())
SMALL = HostIntent(pfs=(PF0,), switches=(SWITCH0,), adapters=(VM1,))
OTHER = HostIntent(pfs=(PF1,), switches=(SWITCH1,), adapters=(VM2,))
WHOLE = HostIntent(pfs=(PF0, PF1), switches=(SWITCH0, SWITCH1), adapters=(VM1, VM2))


def summary(steps: list[Step]) -> list[tuple[str, str, str]]:
    return [(step.action.value, step.kind.name, step.name) for step in steps]


@pytest.mark.parametrize("intent", [NOTHING, SMALL, WHOLE], ids=["nothing", "small", "whole"])
def test_equal_intents_need_no_step(intent: HostIntent) -> None:
    assert [] == plan(intent, intent)


def test_the_order_in_which_things_are_written_is_no_difference() -> None:
    turned = HostIntent(pfs=WHOLE.pfs[::-1], switches=WHOLE.switches[::-1], adapters=WHOLE.adapters[::-1])
    assert [] == plan(WHOLE, turned)


def test_what_is_new_is_added_from_the_pf_upwards() -> None:
    wanted = [("add", "pf", "pf0"), ("add", "switch", "vSwitch0"), ("add", "adapter", "vm1/eth0")]
    assert wanted == summary(plan(NOTHING, SMALL))


def test_what_is_gone_is_removed_from_the_adapter_downwards() -> None:
    wanted = [("remove", "adapter", "vm1/eth0"), ("remove", "switch", "vSwitch0"), ("remove", "pf", "pf0")]
    assert wanted == summary(plan(SMALL, NOTHING))


def test_removals_come_before_changes_and_changes_before_additions() -> None:
    current = WHOLE
    wanted = HostIntent(
        pfs=(replace(PF0, num_vfs=16), PfSpec(name="pf2", uplink=None, num_vfs=1)),
        switches=(replace(SWITCH0, mtu_bytes=9000), replace(SWITCH1, name="vSwitch2", pf="pf2")),
        adapters=(replace(VM1, datapath=Datapath.TCX), replace(VM2, guest="vm3")),
    )
    assert [
        ("remove", "adapter", "vm2/eth0"),
        ("remove", "switch", "vSwitch1"),
        ("remove", "pf", "pf1"),
        ("change", "pf", "pf0"),
        ("change", "switch", "vSwitch0"),
        ("change", "adapter", "vm1/eth0"),
        ("add", "pf", "pf2"),
        ("add", "switch", "vSwitch2"),
        ("add", "adapter", "vm3/eth0"),
    ] == summary(plan(current, wanted))


def test_replacing_everything_removes_all_before_it_adds_any() -> None:
    assert ["remove"] * 3 + ["add"] * 3 == [action for action, _kind, _name in summary(plan(SMALL, OTHER))]


def parts(current: HostIntent, wanted: HostIntent) -> list[list[tuple[str, str, str]]]:
    return [summary(part) for part in parts_of(plan(current, wanted))]


def test_devices_come_and_go_one_by_one_and_what_is_in_place_is_one_part_between_what_it_needs_and_what_needs_it() -> None:
    wanted = HostIntent(
        pfs=(replace(PF0, num_vfs=16), PfSpec(name="pf2", uplink=None, num_vfs=1)),
        switches=(replace(SWITCH0, mtu_bytes=9000), replace(SWITCH1, name="vSwitch2", pf="pf2")),
        adapters=(replace(VM1, datapath=Datapath.TCX), replace(VM2, guest="vm3")),
    )
    in_place = [
        ("remove", "switch", "vSwitch1"),
        ("change", "switch", "vSwitch0"),
        ("change", "adapter", "vm1/eth0"),
        ("add", "switch", "vSwitch2"),
    ]
    assert [
        [("remove", "adapter", "vm2/eth0")],
        [("remove", "pf", "pf1")],
        [("change", "pf", "pf0")],
        [("add", "pf", "pf2")],
        in_place,
        [("add", "adapter", "vm3/eth0")],
    ] == parts(WHOLE, wanted)


def test_what_is_attached_anew_goes_at_first_and_comes_at_last() -> None:
    wanted = replace(SMALL, pfs=(replace(PF0, num_vfs=16),), adapters=(replace(VM1, netns="other"),))
    assert [
        [("remove", "adapter", "vm1/eth0")],
        [("change", "pf", "pf0")],
        [("add", "adapter", "vm1/eth0")],
    ] == parts(SMALL, wanted)


def test_a_step_carries_what_was_and_what_shall_be() -> None:
    bigger = replace(PF0, num_vfs=16)
    changed, gone = plan(SMALL, replace(SMALL, pfs=(bigger,))), plan(SMALL, replace(SMALL, adapters=()))
    assert [Step(action=Action.CHANGE, kind=PF, name="pf0", before=PF0, after=bigger)] == changed
    assert [Step(action=Action.REMOVE, kind=ADAPTER, name="vm1/eth0", before=VM1, after=None)] == gone


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"pfs": (replace(PF0, uplink=None),)}, "pf"),
        ({"pfs": (replace(PF0, wire_own_source=WireOwnSource.ACCEPT),)}, "pf"),
        ({"switches": (replace(SWITCH0, policy=PolicySettings(storm_broadcast_pps=0)),)}, "switch"),
        ({"switches": (replace(SWITCH0, policy=PolicySettings(mac_changes=Security.ACCEPT)),)}, "switch"),
        ({"switches": (replace(SWITCH0, port_groups=(replace(WEB, vlan=Vlan.access(101)),)),)}, "switch"),
        ({"adapters": (replace(VM1, datapath=Datapath.TCX),)}, "adapter"),
    ],
)
def test_any_field_that_differs_is_a_change(change: dict[str, tuple[object, ...]], kind: str) -> None:
    steps = plan(SMALL, replace(SMALL, **change))
    assert [("change", kind)] == [(action, found) for action, found, _name in summary(steps)]


@pytest.mark.parametrize(
    "change",
    [
        {"mac": None},
        {"port_group": "db"},
        {"link_state": LinkState.DISABLE},
        {"overrides": PortOverrides(vlan=Vlan.access(7))},
        {"overrides": PortOverrides(policy=PolicySettings(mac_changes=Security.ACCEPT))},
    ],
    ids=str,
)
def test_an_adapter_changes_in_place_while_its_namespace_and_its_pf_stay(change: dict[str, object]) -> None:
    both = replace(SWITCH0, port_groups=(WEB, replace(WEB, name="db")))
    before = replace(SMALL, switches=(both,))
    steps = plan(before, replace(before, adapters=(replace(VM1, **change),)))
    assert [("change", "adapter", "vm1/eth0")] == summary(steps)
    assert [None] == [step.consequence for step in steps]


@pytest.mark.parametrize("change", [{"netns": "other"}, {"port_group": "db"}], ids=str)
def test_an_adapter_that_cannot_keep_its_interface_is_named_with_what_its_guest_loses(change: dict[str, object]) -> None:
    """Group db is on another PF."""
    elsewhere = replace(SWITCH1, port_groups=(replace(WEB, name="db"),))
    before = replace(SMALL, pfs=(PF0, PF1), switches=(SWITCH0, elsewhere))
    steps = plan(before, replace(before, adapters=(replace(VM1, **change),)))
    assert [("reattach", "adapter", "vm1/eth0")] == summary(steps)
    assert ["the guest loses the interface, with its addresses, and gets a new one"] == [step.consequence for step in steps]


def test_a_removal_says_what_is_lost() -> None:
    steps = plan(SMALL, HostIntent(pfs=(), switches=(), adapters=()))
    assert [
        ("adapter", "the guest loses the interface, with its addresses"),
        ("switch", None),
        ("pf", "the uplink goes back to the host"),
    ] == [(step.kind.name, step.consequence) for step in steps]


@pytest.mark.parametrize(
    ("uplinks", "is_lost"),
    [(("eth1", None), True), (("eth1", "eth2"), True), ((None, "eth1"), False), (("eth1", "eth1"), False)],
)
def test_an_uplink_that_goes_is_a_loss_of_its_guests(uplinks: tuple[str | None, str | None], is_lost: bool) -> None:
    before, after = (
        replace(SMALL, pfs=(replace(PF0, uplink=uplink, num_vfs=vfs),)) for uplink, vfs in zip(uplinks, (8, 9), strict=True)
    )
    (step,) = plan(before, after)
    text = "its guests lose the wire that they have, and the uplink goes back to the host"
    assert (text if is_lost else None) == step.consequence


def test_adapters_of_a_renamed_switch_keep_their_interfaces() -> None:
    renamed = replace(SWITCH0, name="vSwitch9")
    assert [("remove", "switch", "vSwitch0"), ("add", "switch", "vSwitch9")] == summary(
        plan(SMALL, replace(SMALL, switches=(renamed,)))
    )


def test_another_interface_is_another_adapter() -> None:
    steps = plan(SMALL, replace(SMALL, adapters=(replace(VM1, interface="eth1"),)))
    assert [("remove", "adapter", "vm1/eth0"), ("add", "adapter", "vm1/eth1")] == summary(steps)


@pytest.mark.parametrize(
    ("kind", "spec", "document"),
    [
        (PF, None, None),
        (
            PF,
            PF0,
            {
                "name": "pf0",
                "uplink": "wire0",
                "num_vfs": 8,
                "wire_own_source": "drop",
                "switching": "veb",
                "uplink_loss": "isolate",
            },
        ),
        (
            PF,
            PF1,
            {"name": "pf1", "uplink": None, "num_vfs": 4, **RULES},
        ),
        (
            ADAPTER,
            VM1,
            {
                "guest": "vm1",
                "netns": "vm1",
                "name": "eth0",
                "port_group": "web",
                "mac": "02:00:00:00:01:01",
                "datapath": "auto",
            },
        ),
        (
            SWITCH,
            SWITCH0,
            {
                "name": "vSwitch0",
                "kind": "standard",
                "pf": "pf0",
                "mtu": 1500,
                "port_groups": [{"name": "web", "vlan": {"access": 100}}],
            },
        ),
    ],
)
def test_a_side_of_a_step_reads_as_configuration(
    kind: Kind, spec: PfSpec | Switch | AdapterSpec | None, document: dict[str, object] | None
) -> None:
    assert (document, None) == Step(action=Action.CHANGE, kind=kind, name="any", before=spec, after=None).documents


def test_an_address_that_the_host_chooses_is_not_in_a_document() -> None:
    document = ADAPTER.show(VM2)
    assert ("vm2", False, "xdp") == (document["guest"], "mac" in document, document["datapath"])
