"""Values of the host and their JSON form: there and back, and what a person may write."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from intents import attachments, groups, policies, switches, vf_addresses, vlans

from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, VfAddress
from sriov_xdp.pf.state.intent_text import (
    attachment_from_text,
    attachment_to_text,
    group_from_json,
    group_to_json,
    settings_from_json,
    settings_to_json,
    switch_from_json,
    switch_to_json,
    vlan_from_json,
    vlan_to_json,
)
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import DenyReply, Override, PolicySettings, Security
from sriov_xdp.vswitch.ports import PortGroup, Switch
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan


def through_json(document: Any) -> Any:
    return json.loads(json.dumps(document))


@settings(deadline=None, max_examples=200)
@given(vlan=vlans)
def test_a_vlan_comes_back_as_it_was(vlan: Vlan) -> None:
    assert vlan == vlan_from_json(through_json(vlan_to_json(vlan)))


@settings(deadline=None, max_examples=100)
@given(policy=policies)
def test_a_policy_comes_back_as_it_was(policy: PolicySettings) -> None:
    assert policy == settings_from_json(through_json(settings_to_json(policy)))


@settings(deadline=None, max_examples=100)
@given(group=groups)
def test_a_port_group_comes_back_as_it_was(group: PortGroup) -> None:
    assert group == group_from_json(through_json(group_to_json(group)))


@settings(deadline=None, max_examples=100)
@given(switch=switches)
def test_a_switch_comes_back_as_it_was(switch: Switch) -> None:
    assert switch == switch_from_json(through_json(switch_to_json(switch)))


@settings(deadline=None, max_examples=200)
@given(attachment=attachments)
def test_an_attachment_comes_back_as_it_was(attachment: Attachment) -> None:
    assert attachment == attachment_from_text(attachment.vf, attachment_to_text(attachment))


@settings(deadline=None, max_examples=200)
@given(address=vf_addresses)
def test_a_vf_address_comes_back_as_it_was(address: VfAddress) -> None:
    assert address == VfAddress.parse(str(address))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("pf0vf3", VfAddress("pf0", 3)),
        ("pf0vf0", VfAddress("pf0", 0)),
        ("avf1vf255", VfAddress("avf1", 255)),
        ("vfvf1", VfAddress("vf", 1)),
    ],
)
def test_a_vf_address_is_a_pf_and_a_number(text: str, address: VfAddress) -> None:
    assert address == VfAddress.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pf0",
        "pf0vf",
        "vf3",
        "pf0vf03",
        "pf0vf-1",
        "pf0vf1000",
        "PF0vf3",
        "0pfvf3",
        "toolongpf0vf3",
        "pf0vf3 ",
        "pf0vf3\n",
        "pf0vf٣",
    ],
)
def test_anything_else_is_no_vf_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected a PF's name, vf and a number, as in pf0vf3"):
        VfAddress.parse(text)


@pytest.mark.parametrize(
    ("written", "vlan"),
    [
        ("none", NO_VLAN),
        ({"access": 1}, Vlan.access(1)),
        ({"access": 4094}, Vlan.access(4094)),
        ({"trunk": [10]}, Vlan.trunk(frozenset({10}))),
        ({"trunk": ["10"]}, Vlan.trunk(frozenset({10}))),
        ({"trunk": [10, "20-22"]}, Vlan.trunk(frozenset({10, 20, 21, 22}))),
        ({"trunk": ["20-22", "21-23", 21]}, Vlan.trunk(frozenset({20, 21, 22, 23}))),
        ({"trunk": ["7-7"]}, Vlan.trunk(frozenset({7}))),
        ({"trunk": ["1-4094"]}, Vlan.trunk(frozenset(range(1, 4095)))),
    ],
)
def test_a_person_writes_a_vlan_as_mode_numbers_and_ranges(written: Any, vlan: Vlan) -> None:
    assert vlan == vlan_from_json(written)


@pytest.mark.parametrize(
    "written",
    [
        None,
        100,
        True,
        "access",
        "100",
        [],
        {},
        {"access": None},
        {"access": "100"},
        {"access": 100.0},
        {"access": True},
        {"access": [100]},
        {"access": 0},
        {"access": 4095},
        {"access": -1},
        {"trunk": None},
        {"trunk": []},
        {"trunk": 100},
        {"trunk": "10-20"},
        {"trunk": [0]},
        {"trunk": [4095]},
        {"trunk": [True]},
        {"trunk": [10.5]},
        {"trunk": [[10]]},
        {"trunk": ["20-10"]},
        {"trunk": ["10-"]},
        {"trunk": ["-10"]},
        {"trunk": ["10-20-30"]},
        {"trunk": ["10 - 20"]},
        {"trunk": ["4000-4095"]},
        {"trunk": ["1-99999999999999999999"]},
        {"trunk": ["²"]},
        {"trunk": ["010"]},
        {"trunk": ["010-020"]},
        {"trunk": ["10-020"]},
        {"trunk": [""]},
        {"Access": 100},
        {"none": None},
        {"access": 100, "trunk": [10]},
    ],
    ids=repr,
)
def test_anything_else_is_no_vlan(written: Any) -> None:
    with pytest.raises(ValueError, match=r"VLAN.*expected"):
        vlan_from_json(written)


ROW = Attachment(
    vf=VfAddress("pf0", 1),
    spec=AdapterSpec(guest="vm", netns="vm", interface="eth0", port_group="lan", mac=None, datapath=Datapath.AUTO),
    admin_mac=MacAddress.parse("02:00:00:00:00:01"),
    generation=1,
    representor="pf0vf1",
    ifindex=5000,
    netns_is_ours=False,
    netns_id=(4, 7),
)


STORED = json.loads(attachment_to_text(ROW))
OF_ANOTHER_TYPE = [
    (key, value)
    for key in sorted(STORED.keys() - {"mac", "vlan"})
    for value in (None, "seven", 7.5, ["x"], {})
    if type(STORED[key]) is not type(value)
]


@pytest.mark.parametrize(("key", "value"), OF_ANOTHER_TYPE)
def test_a_stored_value_of_another_type_is_damage(key: str, value: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        attachment_from_text(ROW.vf, json.dumps({**STORED, key: value}))


def test_a_policy_says_only_what_is_set() -> None:
    policy = PolicySettings(mac_changes=Security.ACCEPT, deny_reply=DenyReply.NACK)
    assert {"security": {"mac_changes": "accept"}, "deny_reply": "nack"} == settings_to_json(policy)
    assert {} == settings_to_json(PolicySettings())
    assert {"guards": {"storm": {"broadcast_pps": 0}}} == settings_to_json(PolicySettings(storm_broadcast_pps=0))


def test_a_group_is_written_as_configuration_files_write_it() -> None:
    group = PortGroup(
        name="web",
        vlan=Vlan.trunk(frozenset({10, 20, 21})),
        policy=PolicySettings(promiscuous=Security.REJECT),
        overrides_allowed=frozenset({Override.VLAN, Override.SECURITY}),
    )
    assert {
        "name": "web",
        "vlan": {"trunk": [10, "20-21"]},
        "policy": {"security": {"promiscuous": "reject"}},
        "overrides_allowed": ["security", "vlan"],
    } == through_json(group_to_json(group))


def test_a_group_and_a_switch_say_nothing_of_what_they_inherit() -> None:
    group = PortGroup(name="web", vlan=NO_VLAN)
    switch = Switch(name="vSwitch0", pf="pf0", mtu_bytes=1500, policy=PolicySettings(), port_groups=(group,))
    wanted = {"name": "vSwitch0", "kind": "standard", "pf": "pf0", "mtu": 1500, "port_groups": [{"name": "web", "vlan": "none"}]}
    assert wanted == switch_to_json(switch)
