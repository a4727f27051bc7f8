"""What a host intent that makes no sense is told where there is no file: the subject by its name, then the same text."""

from dataclasses import replace

from host_example import EXAMPLE

from sriov_xdp.api.config import parse
from sriov_xdp.pf.state.validation import Problem, find, problems
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import Override
from sriov_xdp.vswitch.ports import PortOverrides
from sriov_xdp.vswitch.vlan import Vlan

HOST = parse(EXAMPLE)
(ADAPTER,) = HOST.adapters


def test_a_host_that_makes_sense_has_no_problems() -> None:
    assert [] == problems(HOST)


def test_an_adapter_is_named_by_guest_and_interface_and_other_objects_by_their_place() -> None:
    adapter = replace(ADAPTER, port_group="www", mac=MacAddress(bytes(6)))
    switch = replace(HOST.switches[0], pf="pf9", mtu_bytes=67)
    assert [
        "switches[0].pf: pf9: no such PF; expected pf0; correct it or add the PF",
        "switches[0].mtu: 67; expected 68 to 9216; write a number in this range",
        "adapter vm1/eth0: port_group: www: no such port group; expected lab, web; correct it or add the group",
        (
            "adapter vm1/eth0: mac: 00:00:00:00:00:00: not a unicast address; "
            "expected an even first byte, as in 02:00:00:00:01:01; choose another"
        ),
    ] == problems(replace(HOST, adapters=(adapter,), switches=(switch,)))


def test_many_names_are_not_all_told() -> None:
    groups = tuple(replace(HOST.switches[0].port_groups[0], name=f"g{number}") for number in range(20))
    host = replace(HOST, switches=(replace(HOST.switches[0], port_groups=groups),))
    text = "web: no such port group; expected g0, g1, g10, g11, g12, g13, g14, g15 or 12 more; correct it or add the group"
    rests_on = (("switches", None, "port_groups", None, "name"),)
    assert [Problem(("adapters", 0, "port_group"), text, rests_on)] == list(find(host))


def test_an_address_is_another_adapters_once_whoever_met_it_before() -> None:
    """Each is told of the first in its VLAN, not of all."""
    host = replace(HOST, adapters=tuple(replace(ADAPTER, guest=f"vm{number}", netns=f"vm{number}") for number in range(4)))
    said = "02:00:00:00:01:01: also vm0's eth0 in the same VLAN; expected an address of its own; give each its own"
    assert [f"adapter vm{number}/eth0: mac: {said}" for number in (1, 2, 3)] == problems(host)


def test_an_address_of_a_trunk_is_no_other_trunks_whatever_their_vlans() -> None:
    """All trunks of a switch find an address in one place."""
    allowing = replace(HOST.switches[0].port_groups[0], overrides_allowed=frozenset({Override.VLAN}))
    adapters = tuple(
        replace(
            ADAPTER,
            guest=f"vm{vlan}",
            netns=f"vm{vlan}",
            port_group=allowing.name,
            overrides=PortOverrides(vlan=Vlan.trunk(frozenset({vlan}))),
        )
        for vlan in (10, 20)
    )
    host = replace(HOST, adapters=adapters, switches=(replace(HOST.switches[0], port_groups=(allowing,)),))
    said = "02:00:00:00:01:01: also vm10's eth0 as a trunk too; expected an address of its own; give each its own"
    assert [f"adapter vm20/eth0: mac: {said}"] == problems(host)
