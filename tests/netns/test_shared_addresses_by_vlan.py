"""An address that several ports may hold leads, in each VLAN, to the one that spoke last there; nobody takes it away from a port
that it never meets. On both ways into the switch, and over the wire."""

import itertools
import time
from collections.abc import Iterator

import pytest
from mailbox_wire import ADD_ETH, ADMIN_QUEUE, EXTRA, OK, RawMailbox

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

ROUTER, BROADCAST = "00:00:5e:00:01:0a", "ff:ff:ff:ff:ff:ff"
POLICY = {"allowed_macs": [ROUTER], "deny_reply": "nack"}
COMMUNITIES = {f"community{number}": {"private_vlan": {"kind": "community", "community": number}} for number in (1, 2)}
_numbers = itertools.count()


class Scene:
    """left is in VLANs 10 and 20, right in 20 and 30, and both hold ROUTER; a client in each of 10 and 20; two communities of VLAN
    40; peer is beyond the uplink."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.peer, uplink = lab.wire()
        names = ("left", "right", "client10", "client20", *COMMUNITIES)
        self.places = {name: lab.namespace(f"{name[:1]}{name[-2:]}") for name in names}
        vlans = {"left": {"trunk": [10, 20]}, "right": {"trunk": [20, 30]}, "client10": {"access": 10}, "client20": {"access": 20}}
        groups = [
            {
                "name": name,
                "vlan": vlans.get(name, {"access": 40}),
                "policy": ({} if name.startswith("client") else POLICY) | COMMUNITIES.get(name, {}),
            }
            for name in names
        ]
        guests = [{"guest": place.name, "port_group": name, "datapath": mode} for name, place in self.places.items()]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, groups))
        self.daemon.settle()
        self.places["peer"] = self.peer
        for name in ("left", "right"):
            assert OK == self.ask(name)

    def ask(self, name: str) -> int:
        """To hold ROUTER."""
        with RawMailbox(self.places[name], self.vf_of(name)) as mailbox:
            return mailbox.addresses(ADD_ETH, ROUTER, kind=EXTRA)

    def vf_of(self, name: str) -> str:
        return str(self.daemon.vf_of(self.places[name].name)["address"])

    def speak(self, name: str, vlan: int) -> None:
        """By ROUTER, in a VLAN."""
        with frames.tapped(self._tap(name)) as (own,):
            own.send(frames.frame(BROADCAST, ROUTER, b"here I am", tags=(vlan,)))

    def leads_to(self, vlan: int) -> set[str]:
        """Who gets what the client of a VLAN sends to ROUTER."""
        payload, sender = f"frame {next(_numbers)}".encode(), f"client{vlan}"
        names = ("left", "right", "peer")
        with frames.tapped(self._tap(sender), *map(self._tap, names)) as (own, *taps):
            own.send(frames.frame(ROUTER, self.places[sender].mac(), payload))
            deadline = time.monotonic() + 0.2
            left = (max(0.01, deadline - time.monotonic()) for _tap in taps)
            return {
                name for name, tap, seconds in zip(names, taps, left, strict=True) if tap.seen(payload=payload, seconds=seconds)
            }

    def _tap(self, name: str) -> tuple[Namespace, str]:
        return self.places[name], "w0" if name == "peer" else "eth0"


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("sv") as lab:
        yield Scene(lab, request.param)


@pytest.fixture
def routers(scene: Scene) -> Scene:
    """left spoke last in both of its VLANs."""
    for vlan in (10, 20):
        scene.speak("left", vlan)
        wait_until(lambda vlan=vlan: {"left"} == scene.leads_to(vlan), f"it is left's in VLAN {vlan}")
    return scene


def test_who_speaks_in_a_common_vlan_has_it_there_alone(routers: Scene) -> None:
    routers.speak("right", 20)
    wait_until(lambda: {"right"} == routers.leads_to(20), "it is right's")
    assert {"left"} == routers.leads_to(10)
    right = routers.vf_of("right")
    shown = routers.daemon.vf_of(routers.places["left"].name)["shared_macs"]
    assert {ROUTER: f"VLAN 10: {routers.vf_of('left')}, VLAN 20: {right}"} == shown
    assert 0 == routers.daemon.command("doctor").returncode


def test_who_speaks_in_a_vlan_of_its_own_takes_it_nowhere_else(routers: Scene) -> None:
    routers.speak("right", 30)
    routers.speak("right", 20)
    wait_until(lambda: {"right"} == routers.leads_to(20), "what came after it was taken up")
    routers.speak("left", 20)
    wait_until(lambda: {"left"} == routers.leads_to(20), "it is left's again")
    routers.speak("right", 30)
    routers.daemon.ask("vf", "list")
    assert [{"left"}] * 2 == [routers.leads_to(vlan) for vlan in (10, 20)]


def test_a_router_on_the_wire_has_it_where_it_speaks(routers: Scene) -> None:
    routers.speak("peer", 20)
    wait_until(lambda: {"peer"} == routers.leads_to(20), "it is beyond the uplink")
    assert {"left"} == routers.leads_to(10)


def test_it_leads_where_it_did_after_a_restart(routers: Scene) -> None:
    routers.speak("right", 20)
    wait_until(lambda: {"right"} == routers.leads_to(20), "it is right's")
    routers.daemon.kill()
    assert [{"left"}, {"right"}] == [routers.leads_to(vlan) for vlan in (10, 20)]
    routers.daemon.start()
    routers.daemon.settle()
    assert [{"left"}, {"right"}] == [routers.leads_to(vlan) for vlan in (10, 20)]


def test_a_vlan_that_comes_is_one_more_and_one_that_goes_is_gone(routers: Scene) -> None:
    routers.daemon.ask("port-group", "set", "left", "--vlan", "-20")
    try:
        wait_until(lambda: {"right"} == routers.leads_to(20), "who is left there has it")
        assert {"left"} == routers.leads_to(10)
    finally:
        routers.daemon.ask("port-group", "set", "left", "--vlan", "+20")
    routers.speak("left", 20)
    wait_until(lambda: {"left"} == routers.leads_to(20), "it is left's again")


def test_communities_that_never_meet_do_not_share_an_address(scene: Scene) -> None:
    assert OK == scene.ask("community1")
    assert ADMIN_QUEUE == scene.ask("community2")
