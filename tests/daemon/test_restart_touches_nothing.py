"""A start on a host that is as it should be looks, and leaves all as it is: no entry of a map is taken away or written, no program
is attached, no device changed. And no verb minds what the clock on the wall says."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hands import Host, host

from sriov_xdp.api import config
from sriov_xdp.datapath import libbpf
from sriov_xdp.lab.host import run
from sriov_xdp.mailbox.messages import AddAddressList, AddressType, EtherAddress
from sriov_xdp.pf.hands.context import SELF
from sriov_xdp.pf.state.intent import HostIntent, VfAddress
from sriov_xdp.pf.verbs import apply, operate
from sriov_xdp.pf.verbs.controller import Controller
from sriov_xdp.vswitch.address import MacAddress

PREFIX = f"rt{os.getpid()}"  # of namespaces that the daemon makes
GUESTS = [f"{PREFIX}{name}" for name in ("one", "two", "three")]
VF = VfAddress("pf0", 0)
GRANTED = bytes.fromhex("020000003301")
DAY_SECONDS = 86_400.0
EMPTY = HostIntent(pfs=(), switches=(), adapters=())
# Entries of maps that are written or taken away; devices and namespaces that come or go. What else a start does is said again.
OF_MAPS_AND_DEVICES = {"_store_port", "update_element", "delete_element", "put", "remove", "create_pair", "delete", "give_name"}


def intent(vlan: int = 100) -> HostIntent:
    """Three guests: by XDP, by tc, and on a trunk."""
    groups = [
        {"name": "lan", "policy": {"security": {"mac_changes": "accept"}}},
        {"name": "tagged", "vlan": {"access": vlan}},
        {"name": "trunk", "vlan": {"trunk": [100, "200-299"]}},
    ]
    adapters = {
        "one": {"port_group": "lan", "datapath": "xdp"},
        "two": {"port_group": "tagged", "datapath": "tcx"},
        "three": {"port_group": "trunk"},
    }
    guests = [{"name": f"{PREFIX}{name}", "adapters": [{"name": "eth0", **adapter}]} for name, adapter in adapters.items()]
    return config.from_content(
        {
            "version": 1,
            "pfs": [{"name": "pf0", "num_vfs": 4, "uplink": "u0"}],
            "switches": [{"name": "s", "pf": "pf0", "port_groups": groups}],
            "guests": guests,
        }
    )


@pytest.fixture(scope="module")
def place() -> Iterator[Host]:
    with host("rt") as made:
        made.start()
        run("ip", "-n", made.lab.name("w"), "link", "set", "w0", "up")
        made.do(apply.apply(context_of(made), intent(), SELF))
        for guest in GUESTS:
            run("ip", "-n", guest, "link", "set", "eth0", "up")
        grant(made)
        made.restart()
        yield made
        made.do(apply.apply(context_of(made), EMPTY, SELF))


def context_of(place: Host) -> Any:
    assert place.service is not None
    return place.service.context


def grant(place: Host) -> None:
    controller = Controller(context_of(place), place.service.metrics)  # type: ignore[union-attr]
    address = EtherAddress(mac=GRANTED, type=AddressType.PRIMARY)
    controller.configure(context_of(place).inventory.attached(VF), AddAddressList(vsi_id=1, addresses=(address,)), SELF)


def running(place: Host) -> dict[str, int]:
    """Which program each pinned link runs."""
    found = {}
    for pin in sorted((place.bpffs / "links").iterdir()):
        with libbpf.opened_pin(pin) as fd:
            found[pin.name] = libbpf.link_info(fd).program_id
    return found


def devices() -> str:
    """With numbers, addresses, MTU and programs; the thread is in the namespace that stands for the host."""
    return run("ip", "-d", "link")


@pytest.mark.parametrize("wire", ["up", "down"])
def test_a_start_with_the_same_configuration(place: Host, wire: str) -> None:
    """Without a wire ports are isolated: they must not open for a moment."""
    run("ip", "-n", place.lab.name("w"), "link", "set", "w0", wire)
    place.restart()
    before = running(place), devices()
    assert any("_xdp" in pin for pin in before[0])
    place.hands.begin("dies", 0)
    place.restart_with_hands()
    assert set() == set(place.hands.names) & OF_MAPS_AND_DEVICES
    assert before == (running(place), devices())
    place.do(apply.apply(context_of(place), intent(), SELF))
    assert set() == set(place.hands.names) & OF_MAPS_AND_DEVICES
    assert [] == place.breaches()
    run("ip", "-n", place.lab.name("w"), "link", "set", "w0", "up")
    place.restart()


@pytest.mark.parametrize("step_seconds", [-DAY_SECONDS, DAY_SECONDS], ids=["back", "on"])
def test_a_clock_on_the_wall_that_jumps_a_day_each_time(place: Host, step_seconds: float) -> None:
    """It is in the audit, where records stay in the order in which they came, and nowhere else."""
    context = context_of(place)
    times = itertools.count(context.wall_clock(), step_seconds)
    former, context.wall_clock = context.wall_clock, lambda: next(times)
    try:
        for vlan in (101, 102, 100):
            place.do(apply.apply(context, intent(vlan), SELF))
        operate.reset_vf(context, VF, SELF)
        grant(place)
        assert [] == place.breaches()
        told = [record.time for record in context.database.audit(None, 3)]
        assert [step_seconds, step_seconds] == [round(later - sooner, 3) for sooner, later in itertools.pairwise(told)]
    finally:
        context.wall_clock = former
    place.restart()
    assert [] == place.breaches()
    assert MacAddress(GRANTED) in context_of(place).inventory.vfs[VF].state.unicast
