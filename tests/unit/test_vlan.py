"""VLAN settings of a port: none, access, trunk."""

import pytest

from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan, VlanMode, VlanStep

EVERY_VLAN = frozenset(range(1, 4095))


@pytest.mark.parametrize("number", [1, 100, 4094])
def test_an_access_port_is_in_its_vlan_only(number: int) -> None:
    vlan = Vlan.access(number)
    assert (VlanMode.ACCESS, number, {number}) == (vlan.mode, vlan.untagged_vlan, vlan.domains)


def test_a_trunk_port_is_in_each_of_its_vlans_and_not_in_the_untagged_one() -> None:
    vlan = Vlan.trunk(frozenset({10, 20}))
    assert (VlanMode.TRUNK, 0, {10, 20}) == (vlan.mode, vlan.untagged_vlan, vlan.domains)


def test_a_port_without_vlan_is_in_the_untagged_domain() -> None:
    assert (VlanMode.NONE, 0, {0}) == (NO_VLAN.mode, NO_VLAN.untagged_vlan, NO_VLAN.domains)


def test_a_trunk_may_carry_every_vlan() -> None:
    assert EVERY_VLAN == Vlan.trunk(EVERY_VLAN).domains


@pytest.mark.parametrize("mode", [VlanMode.ACCESS, VlanMode.TRUNK])
@pytest.mark.parametrize("number", [-1, 0, 4095, 4096])
def test_numbers_outside_1_to_4094_are_refused(mode: VlanMode, number: int) -> None:
    with pytest.raises(ValueError, match=r"expected 1\.\.4094"):
        Vlan(mode, frozenset({number}))


@pytest.mark.parametrize(
    ("mode", "vlans"),
    [(VlanMode.NONE, {1}), (VlanMode.ACCESS, set()), (VlanMode.ACCESS, {1, 2}), (VlanMode.TRUNK, set())],
)
def test_the_mode_says_how_many_vlans_there_are(mode: VlanMode, vlans: set[int]) -> None:
    with pytest.raises(ValueError, match=f"VLAN mode {mode}: {len(vlans)} VLANs"):
        Vlan(mode, frozenset(vlans))


@pytest.mark.parametrize(
    ("vlans", "ranges"),
    [
        ({10}, [10]),
        ({10, 11}, ["10-11"]),
        ({30, 10, 12, 11}, ["10-12", 30]),
        ({1, 3, 5}, [1, 3, 5]),
        (EVERY_VLAN, ["1-4094"]),
    ],
)
def test_neighbouring_vlans_are_written_as_runs(vlans: set[int], ranges: list[int | str]) -> None:
    assert ranges == Vlan.trunk(frozenset(vlans)).ranges()


@pytest.mark.parametrize(
    ("vlan", "text"),
    [(NO_VLAN, "none"), (Vlan.access(100), "access 100"), (Vlan.trunk(frozenset({10, 20, 21})), "trunk 10,20-21")],
)
def test_a_vlan_reads_as_people_say_it(vlan: Vlan, text: str) -> None:
    assert text == str(vlan)


# ---- what belongs to one mode, and one VLAN of a trunk at a time ----


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": VlanMode.TRUNK, "vlans": frozenset({7}), "qos": 1},
        {"mode": VlanMode.ACCESS, "vlans": frozenset({7}), "qos": 8},
        {"mode": VlanMode.ACCESS, "vlans": frozenset({7}), "native": 7},
        {"mode": VlanMode.TRUNK, "vlans": frozenset({7}), "native": 8},
        {"mode": VlanMode.NONE, "qos": 1},
    ],
)
def test_a_priority_is_an_access_ports_and_a_native_vlan_one_of_a_trunks(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        Vlan(**wrong)


def test_a_native_vlan_is_one_of_its_trunks_vlans() -> None:
    assert ({10, 30}, 30) == (Vlan.trunk(frozenset({10}), 30).vlans, Vlan.trunk(frozenset({10}), 30).untagged_vlan)


@pytest.mark.parametrize(
    ("step", "expected"), [("+30", Vlan.trunk(frozenset({10, 20, 30}), 20)), ("-10", Vlan.trunk(frozenset({20}), 20))]
)
def test_one_vlan_of_a_trunk_comes_or_goes(step: str, expected: Vlan) -> None:
    assert expected == VlanStep.parse(step).of(Vlan.trunk(frozenset({10, 20}), 20))


@pytest.mark.parametrize(
    ("step", "before"),
    [
        ("-20", Vlan.trunk(frozenset({10, 20}), 20)),
        ("-10", Vlan.trunk(frozenset({10}))),
        ("-30", Vlan.trunk(frozenset({10, 20}))),
        ("+30", Vlan.access(10)),
        ("-10", NO_VLAN),
    ],
)
def test_the_native_the_last_and_what_is_no_trunks_stay(step: str, before: Vlan) -> None:
    with pytest.raises(ValueError, match="expected"):
        VlanStep.parse(step).of(before)


@pytest.mark.parametrize("text", ["30", "+", "+0", "+4095", "+1x", "++1", "+²"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        VlanStep.parse(text)
