"""One past each limit of a host that is reached only by many VFs: a clear error. (Limits of a PF: tests/daemon/test_scale.py.)"""

import pytest

from sriov_xdp.api.config import MAX_FINDINGS, from_content
from sriov_xdp.datapath.abi import FIRST_VF_SLOT, MAX_PORTS, MAX_VLANS
from sriov_xdp.pf.errors import Conflict, Invalid
from sriov_xdp.pf.hands.representors import choose_ifindex
from sriov_xdp.pf.state.validation import MAX_PORT_GROUPS_OF_HOST, MAX_VFS_OF_HOST


class EmptyHost:
    """Links of a host on which every ifindex is free."""

    @staticmethod
    def find(_ifindex: int) -> None:
        return None


def host_with(vfs: int) -> dict[str, object]:
    """VFs spread over five PFs."""
    guests = [{"name": f"g{pf}", "netns": f"g{pf}", "adapters": []} for pf in range(5)]
    for number in range(vfs):
        guests[number % 5]["adapters"].append({"name": f"e{number}", "port_group": f"group{number % 5}"})  # type: ignore[attr-defined]
    return {
        "version": 1,
        "pfs": [{"name": f"pf{pf}", "num_vfs": 256} for pf in range(5)],
        "switches": [{"name": f"s{pf}", "pf": f"pf{pf}", "port_groups": [{"name": f"group{pf}"}]} for pf in range(5)],
        "guests": guests,
    }


def test_a_host_holds_as_many_vfs_as_there_are_slots() -> None:
    assert MAX_PORTS - FIRST_VF_SLOT == MAX_VFS_OF_HOST
    assert MAX_VFS_OF_HOST == len(from_content(host_with(MAX_VFS_OF_HOST)).adapters)


def test_one_vf_too_many_for_the_host_is_said_before_anything_is_touched() -> None:
    with pytest.raises(Invalid, match=r"guests: 1009 adapters; a host has at most 1008 VFs; remove adapters"):
        from_content(host_with(MAX_VFS_OF_HOST + 1))


def test_one_port_group_too_many_is_said_with_what_else_is_wrong() -> None:
    """Before it becomes a value; adapters of a group that was left out are not told that there is none."""
    document = host_with(5)
    groups = [{"name": f"g{number}", "vlan": {"trunk": ["1-4094"]}} for number in range(MAX_PORT_GROUPS_OF_HOST - 4)]
    document["switches"][4]["port_groups"] += groups  # type: ignore[index]
    document["guests"][4]["adapters"].append({"name": "last", "port_group": groups[-1]["name"]})  # type: ignore[index]
    document["pfs"][0]["num_vfs"] = 0  # type: ignore[index]
    with pytest.raises(Invalid) as refusal:
        from_content(document)
    assert [
        "configuration: switches: 1025 port groups; a host has at most 1024; remove port groups",
        "configuration: pfs[0].num_vfs: 0; expected a number from 1 to 256; write one in this range",
    ] == str(refusal.value).splitlines()
    groups.pop()
    document = host_with(5)
    document["switches"][4]["port_groups"] += groups  # type: ignore[index]
    assert MAX_PORT_GROUPS_OF_HOST == sum(len(switch.port_groups) for switch in from_content(document).switches)


def test_a_list_of_problems_ends() -> None:
    with pytest.raises(Invalid) as refusal:
        from_content({"version": 1, "pfs": ["x"] * (MAX_FINDINGS + 10)})
    lines = str(refusal.value).splitlines()
    assert MAX_FINDINGS + 1 == len(lines)
    assert "configuration: too many problems for one list; mend these first" == lines[-1]


def test_the_last_slot_is_given_and_then_no_more() -> None:
    all_slots = frozenset(range(FIRST_VF_SLOT, MAX_PORTS))
    assert MAX_PORTS - 1 == choose_ifindex(all_slots - {MAX_PORTS - 1}, "0000c0de", 1) % MAX_PORTS
    with pytest.raises(Conflict, match="VFs: all 1008 slots of this host are in use; detach one first"):
        choose_ifindex(all_slots, "0000c0de", 1)


def test_a_number_does_not_come_again_soon() -> None:
    """A late event of the slot's earlier owner names a device that is not the new one."""
    numbers = [choose_ifindex(frozenset(), "0000c0de", generation) for generation in range(1, 5000)]
    assert {FIRST_VF_SLOT} == {number % MAX_PORTS for number in numbers}
    assert len(numbers) == len(set(numbers))
    last = choose_ifindex(frozenset(), "ffffffff", 2**40 - 1)
    assert 1 << 20 <= last < 1 << 31


def test_vlans_cannot_run_out() -> None:
    """A flood list has at least one VF of its own, and each PF at most one list more, for its trunk ports."""
    assert MAX_VFS_OF_HOST + FIRST_VF_SLOT <= MAX_VLANS
