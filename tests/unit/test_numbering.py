"""Numbers of ports: a port keeps its number whatever is made beside it, and one that is named is that one or none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_xdp.pf.state.intent import AdapterSpec, Datapath, HostIntent
from sriov_xdp.pf.state.port_numbers import with_numbers
from sriov_xdp.vswitch.numbering import free_port, number_ports, port_problem
from sriov_xdp.vswitch.policy import PolicySettings
from sriov_xdp.vswitch.ports import Binding, PortGroup, PortName, PortOverrides, Switch
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

TAGGED = PortOverrides(vlan=Vlan.access(7))


def static(name: str, ports: int, *settings: int) -> PortGroup:
    said = tuple((number, TAGGED) for number in settings)
    return PortGroup(name=name, vlan=NO_VLAN, binding=Binding.STATIC, ports=ports, port_settings=said)


EPHEMERAL = PortGroup(name="loose", vlan=NO_VLAN)


def switch_of(*groups: PortGroup) -> Switch:
    return Switch(name="vSwitch0", pf="pf0", mtu_bytes=1500, policy=PolicySettings(), port_groups=groups)


def numbers(switch: Switch) -> dict[str, tuple[int, ...]]:
    return {group.name: group.numbers for group in switch.port_groups}


def test_groups_get_the_lowest_free_numbers_and_keep_them() -> None:
    first = number_ports(switch_of(static("web", 3), EPHEMERAL, static("db", 2)), None, {1: "loose"}).switch
    assert {"web": (0, 2, 3), "loose": (), "db": (4, 5)} == numbers(first)
    grown = number_ports(switch_of(static("new", 2), static("web", 4), EPHEMERAL, static("db", 1)), first, {1: "loose"})
    assert ((), {"new": (5, 6), "web": (0, 2, 3, 7), "loose": (), "db": (4,)}) == (grown.problems, numbers(grown.switch))


def test_numbers_that_somebody_names_or_uses_are_the_groups_first() -> None:
    numbered = number_ports(switch_of(static("web", 3, 40)), None, {7: "web"}).switch
    assert {"web": (0, 7, 40)} == numbers(numbered)
    shrunk = number_ports(switch_of(static("web", 2, 40)), numbered, {7: "web"})
    assert ((), {"web": (7, 40)}) == (shrunk.problems, numbers(shrunk.switch))


@pytest.mark.parametrize(
    ("groups", "connected", "problem"),
    [
        ((static("web", 1, 3), static("db", 1, 3)), {}, "port vSwitch0/3: is port group web's, and cannot be db's as well"),
        ((static("web", 1, 3), EPHEMERAL), {3: "loose"}, "port vSwitch0/3: is port group loose's, and cannot be web's as well"),
        ((static("web", 1, 3),), {4: "web"}, "port group web: 1 ports, but 2 are connected, named or have settings of their own"),
    ],
)
def test_what_cannot_be_numbered_is_said(groups: tuple[PortGroup, ...], connected: dict[int, str], problem: str) -> None:
    (told,) = number_ports(switch_of(*groups), None, connected).problems
    assert told.startswith(problem)


@given(st.lists(st.tuples(st.integers(0, 8), st.frozensets(st.integers(0, 12), max_size=3)), max_size=4), st.data())
def test_no_number_is_given_twice_and_none_is_lost(drawn: list[tuple[int, frozenset[int]]], data: st.DataObject) -> None:
    taken: set[int] = set()
    groups = []
    for place, (more, settings) in enumerate(drawn):
        own = settings - taken
        taken |= own
        groups.append(static(f"g{place}", len(own) + more, *sorted(own)))
    first = number_ports(switch_of(*groups), None, {}).switch
    changed = [replace(group, ports=group.ports + data.draw(st.integers(0, 2))) for group in first.port_groups]
    second = number_ports(switch_of(*data.draw(st.permutations(changed))), first, {}).switch
    every = [number for group in second.port_groups for number in group.numbers]
    assert sorted(set(every)) == sorted(every)
    for before in first.port_groups:
        after = second.group(before.name)
        assert after is not None
        assert (after.ports, set()) == (len(after.numbers), set(before.numbers) - set(after.numbers))


def test_who_names_no_port_gets_the_lowest_free_one_of_its_group() -> None:
    switch = number_ports(switch_of(static("web", 2), EPHEMERAL), None, {}).switch
    web, loose = switch.port_groups
    assert (0, 1, None) == (free_port(switch, web, {}), free_port(switch, web, {0: ""}), free_port(switch, web, {0: "", 1: ""}))
    assert (2, 3) == (free_port(switch, loose, {}), free_port(switch, loose, {0: "", 2: ""}))


def test_a_port_that_is_named_is_free_and_the_groups() -> None:
    switch = number_ports(switch_of(static("web", 2), static("db", 1), EPHEMERAL), None, {}).switch
    web, _db, loose = switch.port_groups
    in_use = {0: "VF pf0vf4"}
    assert "port vSwitch0/0: VF pf0vf4 is connected there" in str(port_problem(switch, web, 0, in_use))
    assert "port vSwitch0/2: is port group db's, not web's" in str(port_problem(switch, web, 2, in_use))
    assert "port vSwitch0/9: port group web has no such port" in str(port_problem(switch, web, 9, in_use))
    assert "port vSwitch0/1: is port group web's, not loose's" in str(port_problem(switch, loose, 1, in_use))
    assert (None, None) == (port_problem(switch, web, 1, in_use), port_problem(switch, loose, 9, in_use))


@pytest.mark.parametrize(
    "text", ["vSwitch0", "vSwitch0/", "vSwitch0/01", "vSwitch0/10000", "/3", "a b/3", "vSwitch0/3/4", "vSwitch0/-1"]
)
def test_what_names_no_port(text: str) -> None:
    with pytest.raises(ValueError, match="expected a switch's name and a number"):
        PortName.parse(text)


def adapter(guest: str, group: str, *, port: int | None = None, number: int | None = None) -> AdapterSpec:
    return AdapterSpec(
        guest=guest, netns=guest, interface="eth0", port_group=group, mac=None, datapath=Datapath.AUTO, port=port, number=number
    )


def host(switch: Switch, *adapters: AdapterSpec) -> HostIntent:
    return HostIntent(pfs=(), switches=(switch,), adapters=adapters)


NOTHING = HostIntent(pfs=(), switches=(), adapters=())


def placed(intent: HostIntent) -> dict[str, tuple[int | None, int | None]]:
    return {spec.guest: (spec.number, spec.port) for spec in intent.adapters}


def test_adapters_get_the_ports_that_they_name_and_the_others_what_is_free_in_their_order() -> None:
    wanted = host(
        switch_of(static("web", 3), EPHEMERAL),
        adapter("a", "web"),
        adapter("b", "web", port=0),
        adapter("c", "loose"),
        adapter("d", "web"),
    )
    found, problems = with_numbers(NOTHING, wanted)
    assert ([], {"a": (1, 1), "b": (0, 0), "c": (3, None), "d": (2, 2)}) == (problems, placed(found))
    again, problems = with_numbers(found, wanted)
    assert ([], found) == (problems, again)
    assert placed(found) == placed(again)


def test_an_adapter_keeps_its_port_when_another_comes_before_it() -> None:
    switch = switch_of(static("web", 3))
    current, _none = with_numbers(NOTHING, host(switch, adapter("b", "web")))
    found, problems = with_numbers(current, host(switch, adapter("a", "web"), adapter("b", "web")))
    assert ([], {"a": (1, 1), "b": (0, 0)}) == (problems, placed(found))


def test_two_adapters_exchange_their_ports_when_both_say_so() -> None:
    switch = switch_of(static("web", 2))
    current, _none = with_numbers(NOTHING, host(switch, adapter("a", "web"), adapter("b", "web")))
    found, problems = with_numbers(current, host(switch, adapter("a", "web", port=1), adapter("b", "web", port=0)))
    assert ([], {"a": (1, 1), "b": (0, 0)}) == (problems, placed(found))
    _found, problems = with_numbers(current, host(switch, adapter("a", "web", port=1), adapter("b", "web")))
    assert ["port vSwitch0/1: guest b's eth0 is connected there, and guest a's eth0 names it; say which port each has"] == problems


def test_a_port_of_an_ephemeral_group_makes_room_for_one_that_is_named() -> None:
    current, _none = with_numbers(NOTHING, host(switch_of(EPHEMERAL), adapter("a", "loose")))
    assert {"a": (0, None)} == placed(current)
    found, problems = with_numbers(current, host(switch_of(EPHEMERAL, static("web", 1, 0)), adapter("a", "loose")))
    assert ([], {"a": (1, None)}, {"loose": (), "web": (0,)}) == (problems, placed(found), numbers(found.switches[0]))


def test_a_full_group_is_said_once() -> None:
    wanted = host(switch_of(static("web", 1)), *(adapter(name, "web") for name in "abc"))
    _found, problems = with_numbers(NOTHING, wanted)
    (told,) = problems
    assert told.startswith("port group web: all of its 1 ports are connected; raise ports")
