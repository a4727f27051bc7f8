"""A guest asks for frames that are for others, and for all multicast: granted or refused by its port's policy, and given back."""

import itertools
import struct
from collections.abc import Iterator

import pytest
from mailbox_wire import ADMIN_QUEUE, CONFIG_PROMISC, OK, PARAM, RawMailbox

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config

GROUP = "01:00:5e:00:00:fb"
OFF, UNICAST, MULTICAST, BOTH = 0, 1, 2, 3
POLICIES = {
    "lan": {},
    "sniffers": {"security": {"promiscuous": "accept"}},
    "choosy": {"flood_multicast": False},
    "trusted": {"flood_multicast": False, "trust": True},
}
_numbers = itertools.count()


class Scene:
    """A sender, and a guest in each group."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.sender = lab.namespace("s")
        self.places: dict[str, Namespace] = {name: lab.namespace(f"{name[:2]}") for name in POLICIES}
        groups = [{"name": name, "policy": {"deny_reply": "nack", **policy}} for name, policy in POLICIES.items()]
        guests = [{"guest": place.name, "port_group": name} for name, place in self.places.items()]
        guests.append({"guest": self.sender.name, "port_group": "lan"})
        self.daemon: Daemon = lab.daemon(host_config(None, [{**guest, "datapath": mode} for guest in guests], groups))
        self.daemon.settle()

    def vf_of(self, name: str) -> str:
        return str(self.daemon.vf_of(self.places[name].name)["address"])

    def ask(self, name: str, flags: int) -> int:
        with RawMailbox(self.places[name], self.vf_of(name)) as mailbox:
            return mailbox.ask(CONFIG_PROMISC, struct.pack("<HH", mailbox.vsi, flags))[0]

    def hears(self, name: str, destination: str) -> bool:
        """Whether a guest gets a frame for somebody else, or for a group. One for itself comes last."""
        number, place = next(_numbers), self.places[name]
        payload, last = b"frame %d" % number, b"%d is over" % number
        with frames.tapped((self.sender, "eth0"), (place, "eth0")) as (sender, tap):
            source = self.sender.mac()
            sender.send(frames.frame(destination, source, payload), frames.frame(place.mac(), source, last))
            return any(payload in seen for seen in tap.until(payload=last))

    def shown(self, name: str) -> object:
        return self.daemon.vf_of(self.places[name].name)["promiscuity_asked"]


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("pr") as lab:
        yield Scene(lab, request.param)


@pytest.fixture(autouse=True)
def fresh(scene: Scene) -> Iterator[None]:
    yield
    for name in POLICIES:
        scene.daemon.ask("vf", "reset", scene.vf_of(name))


def test_who_may_have_frames_for_others_gives_them_up_and_asks_again(scene: Scene) -> None:
    others = scene.places["lan"].mac()
    assert (True, None) == (scene.hears("sniffers", others), scene.shown("sniffers")), "before it said anything"
    for flags, expected in ((OFF, False), (UNICAST, True), (OFF, False)):
        assert OK == scene.ask("sniffers", flags)
        assert expected == scene.hears("sniffers", others)
        assert {"unicast": expected, "multicast": False} == scene.shown("sniffers")
    scene.daemon.ask("vf", "reset", scene.vf_of("sniffers"))
    assert (True, None) == (scene.hears("sniffers", others), scene.shown("sniffers"))


@pytest.mark.parametrize("name", ["lan", "choosy", "trusted"])
def test_who_may_not_is_refused_and_hears_nothing(scene: Scene, name: str) -> None:
    for flags in (UNICAST, BOTH):
        assert ADMIN_QUEUE == scene.ask(name, flags)
    assert not scene.hears(name, scene.places["sniffers"].mac())
    assert scene.shown(name) is None
    record = scene.daemon.ask("audit", "list", "--vf", scene.vf_of(name))[-1]
    assert ("promiscuous on, all multicast on", "promiscuous: reject (default)") == (record["request"], record["rule"])


def test_all_multicast_is_for_the_trusted(scene: Scene) -> None:
    assert [False, False] == [scene.hears(name, GROUP) for name in ("choosy", "trusted")]
    assert [ADMIN_QUEUE, OK] == [scene.ask(name, MULTICAST) for name in ("choosy", "trusted")]
    assert [False, True] == [scene.hears(name, GROUP) for name in ("choosy", "trusted")]
    assert OK == scene.ask("trusted", OFF)
    assert not scene.hears("trusted", GROUP)


def test_trust_that_is_taken_back_takes_all_multicast_along(scene: Scene) -> None:
    assert OK == scene.ask("trusted", MULTICAST)
    scene.daemon.ask("port-group", "set", "trusted", "--trust", "false")
    try:
        assert not scene.hears("trusted", GROUP)
    finally:
        scene.daemon.ask("port-group", "set", "trusted", "--trust", "true")
    assert scene.hears("trusted", GROUP)


def test_what_was_asked_for_holds_over_a_restart(scene: Scene) -> None:
    assert [OK, OK] == [scene.ask("sniffers", OFF), scene.ask("trusted", MULTICAST)]
    scene.daemon.kill()
    scene.daemon.start()
    scene.daemon.settle()
    assert [False, True] == [scene.hears("sniffers", scene.places["lan"].mac()), scene.hears("trusted", GROUP)]
    assert 0 == scene.daemon.command("doctor").returncode


def test_flags_without_a_meaning_are_no_request(scene: Scene) -> None:
    assert PARAM == scene.ask("sniffers", 4)


def test_the_driver_asks_and_gives_back(scene: Scene) -> None:
    place, vf = scene.places["sniffers"], scene.vf_of("sniffers")
    assert {"vf": vf, "promisc": "off", "status": 0, "accepted": True} == place.vf("set-promisc", "off")
    assert not scene.hears("sniffers", scene.places["lan"].mac())
    assert {"vf": vf, "promisc": "on", "status": 0, "accepted": True} == place.vf("set-promisc", "on")
    assert scene.hears("sniffers", scene.places["lan"].mac())
    refused = scene.places["choosy"].vf("set-promisc", "allmulti", check=False)
    assert {"vf": scene.vf_of("choosy"), "promisc": "allmulti", "status": -53, "accepted": False} == refused
