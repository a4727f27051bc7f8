"""VLAN settings of a port: none, access, trunk."""

import pytest

from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan, VlanMode

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
