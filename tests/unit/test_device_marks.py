"""What devices say of their owner comes back as it was written, and nobody else's words count."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_xdp.pf.state.device_marks import (
    HostMark,
    group_of,
    guest_alias,
    host_alias,
    instance_of,
    is_group_of,
    is_of,
    read_host_mark,
)
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, VfAddress
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

MINE, OTHER = "4e8d1c57", "4e8d1c58"
MAC = MacAddress.parse("02:00:00:00:01:01")
VF = VfAddress("pf0", 3)
SPEC = AdapterSpec(guest="vm1", netns="vm1-ns", interface="eth0", port_group="lab", mac=None, datapath=Datapath.AUTO)
ATTACHMENT = Attachment(
    vf=VF, spec=SPEC, admin_mac=MAC, generation=4, representor="pf0vf3", ifindex=99, netns_is_ours=False, netns_id=(1, 2)
)
MARK = HostMark(vf=VF, guest="vm1", interface="eth0", port_group="lab", admin_mac=MAC, netns="vm1-ns")


def device(alias: str = "", group: int = 0) -> Any:
    return SimpleNamespace(alias=alias, group=group)


@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("netns", ["vm1-ns", "vm1", "/run/containers/vm1"])
def test_a_representors_mark_is_read_as_it_was_written(netns: str, is_ours: bool) -> None:
    link = device(host_alias(MINE, replace(ATTACHMENT, spec=replace(SPEC, netns=netns), netns_is_ours=is_ours), NO_VLAN))
    assert replace(MARK, netns=netns, netns_is_ours=is_ours) == read_host_mark(MINE, link)
    assert MINE == instance_of(link)


def test_a_mark_of_an_earlier_version_is_read() -> None:
    assert MARK == read_host_mark(MINE, device(f"sriov-xdp {MINE} pf0vf3 vm1 eth0 lab {MAC} vm1-ns"))


def test_a_mark_tells_whether_the_guest_end_says_another_vlan() -> None:
    assert host_alias(MINE, ATTACHMENT, Vlan.access(7)) != host_alias(MINE, ATTACHMENT, Vlan.access(8))


def test_a_mark_belongs_to_its_instance() -> None:
    link = device(host_alias(MINE, ATTACHMENT, NO_VLAN))
    assert (None, True, False) == (read_host_mark(OTHER, link), is_of(MINE, link), is_of(OTHER, link))


@pytest.mark.parametrize(
    "alias",
    [
        "",
        "sriov-xdp",
        f"sriov-xdp {MINE}",
        guest_alias(VF, Vlan.access(7)),
        f"sriov-xdp {MINE} junk vm1 eth0 lab {MAC} vm1-ns",
        f"sriov-xdp {MINE} pf0vf3 vm1 eth0 lab junk vm1-ns",
        f"sriov-xdp {MINE} pf0vf3 vm1 eth0 lab {MAC} /a path",
    ],
)
def test_other_words_are_no_mark(alias: str) -> None:
    assert read_host_mark(MINE, device(alias)) is None


@pytest.mark.parametrize("netns", ["/" + "n" * 200, "n" * 63])
def test_a_mark_fits_into_an_alias_with_all_names_at_their_longest(netns: str) -> None:
    """The kernel takes 254 bytes. A namespace that has no room is not told, everything else is."""
    vf = VfAddress("pf01234", 255)
    spec = replace(SPEC, guest="g" * 63, interface="\N{LATIN SMALL LETTER E WITH ACUTE}" * 7, port_group="p" * 63, netns=netns)
    text = host_alias(MINE, replace(ATTACHMENT, vf=vf, spec=spec), Vlan.trunk(frozenset(range(1, 4094, 2))))
    assert len(text.encode()) <= 254
    mark = HostMark(vf=vf, guest=spec.guest, interface=spec.interface, port_group=spec.port_group, admin_mac=MAC, netns=None)
    assert mark == read_host_mark(MINE, device(text))


def test_a_guest_named_as_its_namespace_at_the_longest_is_told_whole() -> None:
    spec = replace(SPEC, guest="g" * 63, interface="i" * 15, port_group="p" * 63, netns="g" * 63)
    found = read_host_mark(MINE, device(host_alias(MINE, replace(ATTACHMENT, spec=spec), NO_VLAN)))
    assert found
    assert spec.netns == found.netns


@given(instance=st.integers(0, 2**32 - 1), pf=st.integers(0, 15))
def test_a_group_tells_instance_and_pf(instance: int, pf: int) -> None:
    name = f"{instance:08x}"
    group = group_of(name, pf)
    assert (True, pf, True) == (is_group_of(name, group), group & 15, 0 < group < 2**31)
    assert not is_group_of(f"{instance ^ 1:08x}", group)
    assert is_of(name, device(group=group))
