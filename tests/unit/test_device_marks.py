"""What devices say of their owner comes back as it was written, and nobody else's words count."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_xdp.pf.state.device_marks import HostMark, group_of, guest_alias, host_alias, is_group_of, is_of, read_host_mark
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, VfAddress
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.vlan import Vlan

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


def test_a_representors_mark_is_read_as_it_was_written() -> None:
    link = device(host_alias(MINE, ATTACHMENT))
    assert MARK == read_host_mark(MINE, link)


def test_a_mark_belongs_to_its_instance() -> None:
    link = device(host_alias(MINE, ATTACHMENT))
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


def test_a_mark_is_cut_where_the_kernel_would_refuse_it() -> None:
    long = replace(ATTACHMENT, spec=replace(SPEC, netns="/" + "n" * 300))
    assert 255 == len(host_alias(MINE, long))


@given(instance=st.integers(0, 2**32 - 1), pf=st.integers(0, 15))
def test_a_group_tells_instance_and_pf(instance: int, pf: int) -> None:
    name = f"{instance:08x}"
    group = group_of(name, pf)
    assert (True, pf, True) == (is_group_of(name, group), group & 15, 0 < group < 2**31)
    assert not is_group_of(f"{instance ^ 1:08x}", group)
    assert is_of(name, device(group=group))
