"""How a plan tells people what changes."""

from typing import Any

import pytest

from sriov_xdp.cli.differences import differences, yaml_differences

LAB = {"name": "lab", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}, "deny_reply": "nack"}}
WEB = {"name": "web", "vlan": {"access": 100}, "policy": {}}


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"mtu": 1500, "pf": "pf0"}, {"mtu": 9000, "pf": "pf0"}, ["mtu: 1500 -> 9000"]),
        ({"mac": None}, {"mac": "02:00:00:00:01:01"}, ["mac: - -> 02:00:00:00:01:01"]),
        ({"mac": "02:00:00:00:01:01"}, {}, ["mac: 02:00:00:00:01:01 -> -"]),
        ({"port_groups": [LAB, WEB]}, {"port_groups": [WEB, LAB]}, []),
        (
            {"port_groups": [LAB, WEB]},
            {"port_groups": [{**LAB, "policy": {"security": {"mac_changes": "reject"}}}, WEB]},
            ["port_groups.lab.policy.security.mac_changes: accept -> reject", "port_groups.lab.policy.deny_reply: nack -> -"],
        ),
        (
            {"port_groups": [LAB]},
            {"port_groups": [LAB, {**WEB, "policy": None}]},
            ["port_groups.web: - -> vlan=access=100 policy=-"],
        ),
        ({"vlan": "none"}, {"vlan": {"trunk": [10, "20-29"]}}, ["vlan: none -> trunk=10,20-29"]),
        ({"uplink": None}, {"uplink": ""}, ["uplink: - -> -"]),
    ],
)
def test_each_value_that_differs_is_told_by_its_path(before: Any, after: Any, lines: list[str]) -> None:
    assert lines == list(differences(before, after))


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (None, {"name": "pf0", "num_vfs": 8}, ["+name: pf0", "+num_vfs: 8"]),
        ({"name": "pf0", "num_vfs": 8}, None, ["-name: pf0", "-num_vfs: 8"]),
        (
            {"name": "s", "mtu": 1500, "pf": "pf0"},
            {"name": "s", "mtu": 9000, "pf": "pf0"},
            [" name: s", "-mtu: 1500", "+mtu: 9000", " pf: pf0"],
        ),
        (WEB, WEB, []),
        ({"name": "a\x1bb"}, None, ['-name: "a\\eb"']),
    ],
)
def test_a_plan_is_shown_as_lines_of_yaml_that_go_and_come(before: Any, after: Any, lines: list[str]) -> None:
    assert lines == list(yaml_differences(before, after))
