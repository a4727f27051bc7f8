"""Strategies for what an operator can want: any values, and whole hosts that make sense."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from sriov_xdp.pf.state.intent import (
    PF_NAME,
    AdapterSpec,
    Attachment,
    Datapath,
    HostIntent,
    LinkState,
    PfSpec,
    Switching,
    UplinkLoss,
    VfAddress,
    WireOwnSource,
)
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import MOST_MTU_BYTES, SETTINGS, Override, PolicySettings, PrivateVlan, SegmentKind, Setting
from sriov_xdp.vswitch.ports import LAST_PORT, MOST_PORTS, NO_OVERRIDES, Binding, PortGroup, PortOverrides, Switch
from sriov_xdp.vswitch.shaping import IngressShaping, Shaping, ShapingMode
from sriov_xdp.vswitch.values import Choice, Kind, MacPattern, Number, Patterns, Structure, Truth
from sriov_xdp.vswitch.vlan import NO_VLAN, Proto, Vlan

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
macs = st.binary(min_size=6, max_size=6).map(MacAddress)
vlan_numbers = st.integers(1, 4094)
vlans = st.one_of(
    st.just(NO_VLAN),
    st.builds(Vlan.access, vlan_numbers, st.integers(0, 7), st.sampled_from(Proto)),
    st.builds(Vlan.trunk, st.frozensets(vlan_numbers, min_size=1, max_size=30), st.just(0) | vlan_numbers, st.sampled_from(Proto)),
)


# Those whose parts do not go together at will.
_rate = (st.integers(1, 10**6), st.just(0) | st.integers(10**6 + 1, 10**7), st.integers(0, 30_000))
STRUCTURES: dict[type, st.SearchStrategy[Any]] = {
    PrivateVlan: st.builds(PrivateVlan, st.just(SegmentKind.COMMUNITY), st.integers(1, 4094))
    | st.builds(PrivateVlan, st.sampled_from([SegmentKind.ISOLATED, SegmentKind.PROMISCUOUS])),
    Shaping: st.just(Shaping()) | st.builds(Shaping, *_rate),
    IngressShaping: st.just(IngressShaping()) | st.builds(IngressShaping, *_rate, st.sampled_from(ShapingMode)),
}


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    return _values(setting.values)


def _values(kind: Kind) -> st.SearchStrategy[Any]:
    match kind:
        case Choice(of):
            return st.sampled_from(of)
        case Number(most, least):
            return st.integers(least, most)
        case Truth():
            return st.booleans()
        case Patterns(most):
            return st.frozensets(patterns, max_size=most).map(lambda found: tuple(sorted(found)))
        case Structure(of=of) if of in STRUCTURES:
            return STRUCTURES[of]
        case Structure(of, kinds):
            return st.builds(of, **{name: _values(kind) for name, kind in kinds.items()})
    pytest.fail(f"no values of {kind} are drawn")


def _pattern(octets: bytes, bits: int) -> MacPattern:
    """Unicast, and nothing behind the prefix."""
    number = int.from_bytes(bytes([octets[0] & 0xFE]) + octets[1:]) >> (48 - bits) << (48 - bits)
    return MacPattern(MacAddress(number.to_bytes(6)), bits)


patterns = st.builds(_pattern, st.binary(min_size=6, max_size=6), st.integers(1, 48)).filter(
    lambda pattern: pattern.bits < 48 or not pattern.address.is_zero
)
policies = st.builds(PolicySettings, **{name: st.none() | values_of(setting) for name, setting in SETTINGS.items()})
overrides = st.builds(PortOverrides, policy=policies, vlan=st.none() | vlans)
port_numbers = st.integers(0, LAST_PORT)
_of_groups = {"name": names, "vlan": vlans, "policy": policies, "overrides_allowed": st.frozensets(st.sampled_from(Override))}
static_groups = st.builds(
    PortGroup,
    **_of_groups,
    binding=st.just(Binding.STATIC),
    ports=st.integers(1, MOST_PORTS),
    reset_at_disconnect=st.booleans(),
    port_settings=st.dictionaries(port_numbers, overrides.filter(lambda said: said != NO_OVERRIDES), max_size=3).map(
        lambda said: tuple(sorted(said.items(), key=lambda pair: pair[0]))
    ),
    numbers=st.frozensets(port_numbers, max_size=8).map(lambda found: tuple(sorted(found))),
)
groups = st.builds(PortGroup, **_of_groups)
switches = st.builds(
    Switch,
    name=names,
    pf=names,
    mtu_bytes=st.integers(68, 9216),
    policy=policies,
    port_groups=st.lists(groups | static_groups, max_size=4).map(tuple),
)
vf_addresses = st.builds(VfAddress, pf=st.from_regex(PF_NAME, fullmatch=True), index=st.integers(0, 999))
adapters = st.builds(
    AdapterSpec,
    guest=names,
    netns=names,
    interface=names,
    port_group=names,
    mac=st.none() | macs,
    datapath=st.sampled_from(Datapath),
    link_state=st.sampled_from(LinkState),
    overrides=overrides,
    port=st.none() | port_numbers,
    number=st.none() | port_numbers,
)
attachments = st.builds(
    Attachment,
    vf=vf_addresses,
    spec=adapters,
    admin_mac=macs,
    generation=st.integers(0, 2**32 - 1),
    representor=names,
    ifindex=st.integers(1, 2**31 - 1),
    netns_is_ours=st.booleans(),
    netns_id=st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)),
    netns_cookie=st.integers(0, 2**64 - 1),
)
# What YAML would take for something else than a text.
TRICKY_NAMES = (
    "on",
    "no",
    "yes",
    "null",
    "0100",
    "0x64",
    "1_500",
    "1e3",
    "1.5",
    "2026-01-01",
    "true",
    "NaN",
    "0",
    "7",
    "a.b-c_d",
    "A",
)


MOST_ADAPTERS, MOST_SET_PORTS = 6, 2  # of a host, and of one of its groups


def _drawn_switch(draw: st.DrawFn, pf: str, free_names: Iterator[str], free_ports: Iterator[int]) -> Switch:
    """No level says a longer MTU than the switch's, no port is of two groups, and none is too few."""
    mtu_bytes = draw(st.just(MOST_MTU_BYTES) | st.integers(68, MOST_MTU_BYTES - 1))
    inherited = frozenset() if mtu_bytes == MOST_MTU_BYTES else frozenset({"mtu"})
    drawn = [replace(draw(groups), name=next(free_names)) for _group in range(draw(st.integers(1, 3)))]
    drawn = [_drawn_static(draw, group, inherited, free_ports) if draw(st.booleans()) else group for group in drawn]
    return Switch(
        name=next(free_names),
        pf=pf,
        mtu_bytes=mtu_bytes,
        policy=draw(policies).merged(PolicySettings(), inherited),
        port_groups=tuple(replace(group, policy=group.policy.merged(PolicySettings(), inherited)) for group in drawn),
    )


def _drawn_static(draw: st.DrawFn, group: PortGroup, inherited: frozenset[str], free_ports: Iterator[int]) -> PortGroup:
    said = [draw(overrides).only(group.overrides_allowed) for _port in range(draw(st.integers(0, MOST_SET_PORTS)))]
    said = [replace(one, policy=one.policy.merged(PolicySettings(), inherited)) for one in said]
    settings = {next(free_ports): one for one in said if one != NO_OVERRIDES}
    return replace(
        group,
        binding=Binding.STATIC,
        ports=draw(st.integers(MOST_ADAPTERS + MOST_SET_PORTS, 20)),
        reset_at_disconnect=draw(st.booleans()),
        port_settings=tuple(sorted(settings.items(), key=lambda pair: pair[0])),
    )


def _without_mtu(spec: AdapterSpec) -> AdapterSpec:
    policy = spec.overrides.policy.merged(PolicySettings(), frozenset({"mtu"}))
    return replace(spec, overrides=replace(spec.overrides, policy=policy))


@st.composite
def hosts(draw: st.DrawFn) -> HostIntent:
    """A host that validation finds nothing against: unique names and addresses, overrides that groups allow."""
    pfs = tuple(
        PfSpec(
            name=f"pf{number}",
            uplink=draw(st.none() | st.just(f"up{number}")),
            num_vfs=draw(st.integers(8, 256)),
            wire_own_source=draw(st.sampled_from(WireOwnSource)),
            switching=draw(st.sampled_from(Switching)),
            uplink_loss=draw(st.sampled_from(UplinkLoss)),
        )
        for number in range(draw(st.integers(1, 3)))
    )
    free_names = iter(draw(st.permutations([*TRICKY_NAMES, *(f"name{number}" for number in range(8))])))
    free_ports = iter(draw(st.permutations(range(30))))
    switches = tuple(_drawn_switch(draw, pf.name, free_names, free_ports) for pf in pfs)
    all_groups = [group for switch in switches for group in switch.port_groups]
    found = [
        replace(
            draw(adapters),
            guest=next(free_names),
            interface=f"eth{number}",
            mac=draw(st.none() | st.just(_mac(number))),
            port=(port := draw(st.none() | st.just(next(free_ports)))),
            number=port,
        )
        for number in range(draw(st.integers(0, MOST_ADAPTERS)))
    ]
    chosen = [(spec, draw(st.sampled_from(all_groups))) for spec in found]
    long = {group.name for switch in switches if switch.mtu_bytes == MOST_MTU_BYTES for group in switch.port_groups}
    specs = [replace(spec, port_group=group.name).effective(group) for spec, group in chosen]
    specs = [spec if spec.port_group in long else _without_mtu(spec) for spec in specs]
    return HostIntent(pfs=pfs, switches=switches, adapters=tuple(sorted(specs, key=lambda spec: spec.key)))


def _mac(number: int) -> MacAddress:
    return MacAddress(bytes([2, 0, 0, 0, 0, number]))
