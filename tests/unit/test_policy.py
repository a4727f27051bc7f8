"""A port takes what its group says, a group what its switch says, a switch the defaults; and each value knows its origin."""

from typing import Any

import pytest

from sriov_xdp.vswitch import policy
from sriov_xdp.vswitch.policy import DenyReply, Override, Policy, PolicySettings, PrivateVlan, Quotas, Security, SegmentKind
from sriov_xdp.vswitch.ports import PortGroup, PortOverrides, Switch, port_vlan, resolve
from sriov_xdp.vswitch.shaping import IngressShaping, Shaping
from sriov_xdp.vswitch.values import Choice, Kind, MacPattern, Number, Truth
from sriov_xdp.vswitch.vlan import Vlan

PORT_WEB = "pf0vf0"
VLAN_WEB, VLAN_OWN = Vlan.access(100), Vlan.access(200)
NOTHING = PolicySettings()
# setting → default, the other value, the kind of override it is
SETTINGS = {
    "promiscuous": (Security.REJECT, Security.ACCEPT, Override.SECURITY),
    "mac_changes": (Security.REJECT, Security.ACCEPT, Override.SECURITY),
    "forged_transmits": (Security.REJECT, Security.ACCEPT, Override.SECURITY),
    "deny_reply": (DenyReply.SILENT, DenyReply.NACK, Override.DENY_REPLY),
    "storm_broadcast_pps": (10_000, 0, Override.GUARDS),
    "storm_multicast_pps": (100_000, 0, Override.GUARDS),
    "trust": (False, True, Override.TRUST),
    "allowed_macs": ((), (MacPattern.parse("02:00:5e:00:01:00/40"),), Override.ALLOWED_MACS),
    "quotas": (Quotas(macs=16, vlans=8), Quotas(macs=0, vlans=8), Override.QUOTAS),
    "private_vlan": (PrivateVlan(), PrivateVlan(SegmentKind.COMMUNITY, 7), Override.PRIVATE_VLAN),
    "mtu": (9216, 1000, Override.MTU),
    "flood_multicast": (True, False, Override.FLOOD_MULTICAST),
    "shaping_ingress": (IngressShaping(), IngressShaping(average_kbps=1000), Override.SHAPING),
    "shaping_egress": (Shaping(), Shaping(average_kbps=1000), Override.SHAPING),
    "block": (False, True, None),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS)


def kinds_of(setting: str) -> frozenset[Override]:
    """The permission that an override of it needs; none is."""
    kind = SETTINGS[setting][2]
    return frozenset({kind} if kind else ())


def default(setting: str) -> PolicySettings:
    return PolicySettings(**{setting: SETTINGS[setting][0]})


def changed(setting: str) -> PolicySettings:
    return PolicySettings(**{setting: SETTINGS[setting][1]})


def policy_of_port(
    *,
    switch: PolicySettings = NOTHING,
    group: PolicySettings = NOTHING,
    port: PolicySettings = NOTHING,
    allowed: frozenset[Override] = frozenset(),
    mtu_bytes: int = 9216,
) -> Policy:
    web = PortGroup(name="web", vlan=VLAN_WEB, policy=group, overrides_allowed=allowed)
    vswitch = Switch(name="vSwitch0", pf="pf0", mtu_bytes=mtu_bytes, policy=switch, port_groups=(web,))
    return resolve(vswitch, web, PORT_WEB, PortOverrides(policy=port))


def value_and_origin(policy: Policy, setting: str) -> tuple[Any, str]:
    return getattr(policy, setting), policy.origins[setting]


def test_these_are_all_settings() -> None:
    assert set(SETTINGS) == set(policy.SETTINGS)


@pytest.mark.parametrize(
    ("setting", "value"), [("mac_changes", "accept"), ("storm_broadcast_pps", True), ("deny_reply", Security.ACCEPT)]
)
def test_a_value_of_another_type_is_a_mistake(setting: str, value: Any) -> None:
    with pytest.raises(TypeError, match=setting):
        PolicySettings(**{setting: value})


@every_setting
def test_without_any_word_the_strict_default_holds(setting: str) -> None:
    assert (SETTINGS[setting][0], "default") == value_and_origin(policy_of_port(), setting)


@every_setting
def test_a_switch_replaces_the_default(setting: str) -> None:
    policy = policy_of_port(switch=changed(setting))
    assert (SETTINGS[setting][1], "switch vSwitch0") == value_and_origin(policy, setting)


@every_setting
def test_a_group_inherits_what_it_does_not_say_and_replaces_what_it_says(setting: str) -> None:
    policy = policy_of_port(switch=changed(setting), group=default(setting))
    others = {name for name in SETTINGS if policy.origins[name] != "default"}
    assert (SETTINGS[setting][0], "port group web") == value_and_origin(policy, setting)
    assert {setting} == others


@every_setting
def test_a_level_that_repeats_a_value_is_its_origin(setting: str) -> None:
    policy = policy_of_port(switch=changed(setting), group=changed(setting))
    assert (SETTINGS[setting][1], "port group web") == value_and_origin(policy, setting)


@every_setting
def test_a_port_overrides_its_group_where_the_group_allows_that(setting: str) -> None:
    policy = policy_of_port(group=default(setting), port=changed(setting), allowed=kinds_of(setting))
    assert (SETTINGS[setting][1], "port pf0vf0") == value_and_origin(policy, setting)


@pytest.mark.parametrize("setting", [name for name in SETTINGS if kinds_of(name)])
def test_a_port_does_not_override_what_its_group_keeps(setting: str) -> None:
    elsewhere = frozenset(Override) - kinds_of(setting)
    policy = policy_of_port(group=default(setting), port=changed(setting), allowed=elsewhere)
    assert (SETTINGS[setting][0], "port group web") == value_and_origin(policy, setting)


@pytest.mark.parametrize(
    ("kept", "lost"),
    [
        ("mac_changes", "deny_reply"),
        ("forged_transmits", "deny_reply"),
        ("deny_reply", "mac_changes"),
        ("storm_broadcast_pps", "mac_changes"),
        ("mac_changes", "storm_multicast_pps"),
    ],
)
def test_an_override_the_group_still_allows_outlives_one_it_withdrew(kept: str, lost: str) -> None:
    """Else withdrawing deny_reply would silently loosen a port's own mac_changes: reject."""
    group, port = changed(kept).merged(changed(lost)), default(kept).merged(default(lost))
    policy = policy_of_port(group=group, port=port, allowed=kinds_of(kept))
    assert (SETTINGS[kept][0], "port pf0vf0") == value_and_origin(policy, kept)
    assert (SETTINGS[lost][1], "port group web") == value_and_origin(policy, lost)


@pytest.mark.parametrize(
    ("allowed", "own", "vlan"),
    [
        ({Override.VLAN}, VLAN_OWN, VLAN_OWN),
        ({Override.VLAN}, None, VLAN_WEB),
        ({Override.SECURITY, Override.DENY_REPLY}, VLAN_OWN, VLAN_WEB),
        (set(), VLAN_OWN, VLAN_WEB),
    ],
)
def test_a_port_has_its_own_vlan_only_where_its_group_allows_that(allowed: set[Override], own: Vlan | None, vlan: Vlan) -> None:
    web = PortGroup(name="web", vlan=VLAN_WEB, overrides_allowed=frozenset(allowed))
    assert vlan == port_vlan(web, PortOverrides(vlan=own))


@every_setting
def test_each_setting_is_an_override_of_its_kind(setting: str) -> None:
    assert kinds_of(setting) == PortOverrides(policy=changed(setting)).kinds()


def test_a_port_that_says_nothing_overrides_nothing() -> None:
    assert PortOverrides().kinds() == frozenset()


def test_a_vlan_is_an_override_too() -> None:
    assert {Override.VLAN, Override.DENY_REPLY} == PortOverrides(policy=changed("deny_reply"), vlan=VLAN_OWN).kinds()


@every_setting
def test_a_change_replaces_only_what_it_names(setting: str) -> None:
    before = PolicySettings(**{name: value for name, (value, _other, _kind) in SETTINGS.items()})
    after = before.merged(changed(setting))
    assert {(setting, SETTINGS[setting][1])} == set(after.said) - set(before.said)
    assert len(SETTINGS) == len(after.said)


def test_a_rule_names_setting_value_and_origin() -> None:
    policy = policy_of_port(switch=changed("mac_changes"))
    assert "mac_changes: accept (switch vSwitch0)" == policy.rule("mac_changes")
    assert "deny_reply: silent (default)" == policy.rule("deny_reply")
    assert "storm_broadcast_pps: 10000 (default)" == policy.rule("storm_broadcast_pps")


@pytest.mark.parametrize(("name", "is_there"), [("web", True), ("Web", False), ("lab", False)])
def test_a_switch_finds_its_groups_by_name(name: str, is_there: bool) -> None:
    web = PortGroup(name="web", vlan=VLAN_WEB)
    switch = Switch(name="vSwitch0", pf="pf0", mtu_bytes=1500, policy=NOTHING, port_groups=(web,))
    assert (web if is_there else None) == switch.group(name)


@pytest.mark.parametrize(("values", "default"), [(Number(most=1), True), (Truth(), 1), (Choice(Security), "accept")])
def test_a_row_that_no_configuration_could_say_is_refused(values: Kind, default: Any) -> None:
    with pytest.raises(TypeError, match="greet: its default is"):
        policy._row("greet", Override.GUARDS, values, default, "whether it greets")


@pytest.mark.parametrize(
    ("said", "expected"), [(None, (1500, "switch vSwitch0")), (9000, (1500, "switch vSwitch0")), (1000, (1000, "port group web"))]
)
def test_a_port_takes_no_longer_frames_than_its_switch(said: int | None, expected: tuple[int, str]) -> None:
    assert expected == value_and_origin(policy_of_port(group=PolicySettings(mtu=said), mtu_bytes=1500), "mtu")
