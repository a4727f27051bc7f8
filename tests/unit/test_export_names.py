"""What `export` prints is read as the host that it was printed of, whatever things are called."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from intents import policies

from sriov_xdp.api.config import parse
from sriov_xdp.api.yaml_text import dump
from sriov_xdp.pf.state.intent import AdapterSpec, Datapath, HostIntent, PfSpec
from sriov_xdp.pf.state.intent_text import switch_to_json
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import MOST_MTU_BYTES, Override
from sriov_xdp.vswitch.ports import PortGroup, Switch
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

# Names that some reader of YAML takes for something else than a name.
TRICKY = ["on", "no", "true", "null", "123", "0100", "0x64", "0o17", "1_500", "1e3", "2026-01-01", "y", "200-299", "0", "None"]
SIGNS = ["a#b", "'", '"', "{", "-", "é", "~", "=", "<<", "&a", "*a", "!a", "|", ">", "@", "`", ",", "?", "...", "---"]


def is_text(name: str) -> bool:
    """Not half a character, and no more bytes than a device's name may have."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name) and len(name.encode()) <= 15


OF_THE_KERNEL = {"lo", "all", "default", ".", ".."}
names = st.sampled_from(TRICKY) | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True)
interfaces = st.sampled_from(TRICKY + SIGNS) | st.from_regex(r"[^\s/:%\x00]{1,15}", fullmatch=True).filter(is_text)
numbers = st.integers(1, 4094)
trunks = st.builds(Vlan.trunk, st.frozensets(numbers, min_size=1, max_size=9))
vlans = st.just(NO_VLAN) | st.builds(Vlan.access, numbers) | trunks
allowed = st.frozensets(st.sampled_from(Override))
port_groups = st.builds(PortGroup, name=names, vlan=vlans, policy=policies, overrides_allowed=allowed)


@st.composite
def switches(draw: st.DrawFn) -> Switch:
    groups = draw(st.lists(port_groups, min_size=1, max_size=4, unique_by=lambda group: group.name))
    mtu_bytes = MOST_MTU_BYTES  # no level may say a longer one
    return Switch(name=draw(names), pf="pf0", mtu_bytes=mtu_bytes, policy=draw(policies), port_groups=tuple(groups))


@st.composite
def hosts(draw: st.DrawFn) -> HostIntent:
    """One PF, and guests whose names are what names may be."""
    switch = draw(switches())
    adapters = [
        AdapterSpec(
            guest=guest,
            netns=guest,
            interface=interface if interface not in OF_THE_KERNEL else "eth0",
            port_group=draw(st.sampled_from(switch.port_groups)).name,
            mac=MacAddress(bytes([2, 0, 0, 0, 0, number])) if draw(st.booleans()) else None,
            datapath=draw(st.sampled_from(Datapath)),
        )
        for number, (guest, interface) in enumerate(draw(st.lists(st.tuples(names, interfaces), max_size=4, unique=True)))
    ]
    pf = PfSpec(name="pf0", uplink=draw(st.none() | interfaces), num_vfs=8)
    return HostIntent(pfs=(pf,), switches=(switch,), adapters=tuple(adapters))


def exported(intent: HostIntent) -> Any:
    """The document that the admin socket sends: each guest once."""
    guests: dict[str, dict[str, Any]] = {}
    for spec in intent.adapters:
        adapter = {"name": spec.interface, "port_group": spec.port_group, "datapath": spec.datapath.value}
        guest = guests.setdefault(spec.guest, {"name": spec.guest, "netns": spec.netns, "adapters": []})
        guest["adapters"].append(adapter | ({"mac": str(spec.mac)} if spec.mac else {}))
    pfs = [{"name": pf.name, "num_vfs": pf.num_vfs} | ({"uplink": pf.uplink} if pf.uplink else {}) for pf in intent.pfs]
    written = [switch_to_json(switch) for switch in intent.switches]
    return json.loads(json.dumps({"version": 1, "pfs": pfs, "switches": written, "guests": [*guests.values()]}))


@settings(deadline=None, max_examples=300)
@given(intent=hosts())
def test_what_is_exported_is_read_as_it_was(intent: HostIntent) -> None:
    found = parse(dump(exported(intent)))
    assert (intent.pfs, intent.switches) == (found.pfs, found.switches)
    assert {spec.key: spec for spec in intent.adapters} == {spec.key: spec for spec in found.adapters}
