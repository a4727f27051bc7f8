"""A trunk port's guest asks for some of its VLANs by the mailbox: from then on it gets their frames and no others, on both ways
into the switch, over restarts, until a reset."""

import itertools
import struct
from collections.abc import Iterator

import pytest
from mailbox_wire import ADMIN_QUEUE, GET_VF_RESOURCES, NOT_SUPPORTED, OK, VERSION, RawMailbox

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, host_config

ADD_VLAN, DEL_VLAN, GET_CAPS, ADD_VLAN_V2, DEL_VLAN_V2 = 12, 13, 51, 52, 53
L2, VLAN_V2, VLAN = 1, 1 << 15, 1 << 16
CARRIED = (10, 20, 30)
_numbers = itertools.count()


class Scene:
    """router is a trunk of VLANs 10, 20 and 30, the last one native; web is in 10, and peer beyond the uplink."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.peer, uplink = lab.wire()
        self.router, self.web = lab.namespace("r"), lab.namespace("a")
        vlan = {"trunk": [*CARRIED], "native": 30}
        groups = [
            {"name": "routers", "vlan": vlan, "policy": {"deny_reply": "nack", "quotas": {"vlans": 2}}},
            {"name": "web", "vlan": {"access": 10}, "policy": {"deny_reply": "nack"}},
        ]
        guests = [{"guest": self.router.name, "port_group": "routers"}, {"guest": self.web.name, "port_group": "web"}]
        self.daemon: Daemon = lab.daemon(host_config(uplink, [{**guest, "datapath": mode} for guest in guests], groups))
        self.daemon.settle()

    def heard(self, destination: str | None = None) -> list[int]:
        """In which VLANs the router gets what comes from the wire; None: its own address."""
        number = next(_numbers)
        payloads = {vlan: b"frame %d in %d" % (number, vlan) for vlan in CARRIED}
        with frames.tapped((self.peer, "w0"), (self.router, "eth0")) as (wire, tap):
            target, source = destination or self.router.mac(), self.peer.mac("w0")
            wire.send(*(frames.frame(target, source, payload, tags=(vlan,)) for vlan, payload in payloads.items()))
            wire.send(frames.frame(target, source, b"frame %d at last" % number, tags=(30,)))
            seen = tap.until(payload=b"frame %d at last" % number)
            return [vlan for vlan, payload in payloads.items() if any(payload in frame for frame in seen)]

    def shown(self) -> object:
        return self.daemon.vf_of(self.router.name)["vlans_asked"]


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("vf") as lab:
        yield Scene(lab, request.param)


@pytest.fixture(autouse=True)
def fresh(scene: Scene) -> Iterator[None]:
    yield
    scene.daemon.ask("vf", "reset", "pf0vf0")


class Mailbox(RawMailbox):
    """With whatever capabilities are offered."""

    def __init__(self, guest: Namespace, vf: str, asked: int = L2 | VLAN) -> None:
        super().__init__(guest, vf, negotiate=False)
        self.ask(VERSION, struct.pack("<II", 1, 1))
        _status, body = self.ask(GET_VF_RESOURCES, struct.pack("<I", asked))
        self.capabilities = struct.unpack_from("<I", body, 8)[0]
        self.vsi = struct.unpack_from("<H", body, 20)[0]

    def vlans(self, opcode: int, *vlans: int) -> int:
        return self.ask(opcode, struct.pack(f"<HH{len(vlans)}H2x", self.vsi, len(vlans), *vlans))[0]

    def tags(self, opcode: int, *vlans: int) -> int:
        filters = b"".join(struct.pack("<HHHHHHHH16x", vlan, 0xFFF, 0x8100, 0, 0, 0, 0, 0) for vlan in vlans)
        return self.ask(opcode, struct.pack("<HHI", self.vsi, len(vlans), 0) + filters)[0]


def test_who_never_asked_gets_all_that_its_port_carries(scene: Scene) -> None:
    assert [*CARRIED] == scene.heard()
    assert [*CARRIED] == scene.heard(frames.BROADCAST)
    assert scene.shown() is None


@pytest.mark.parametrize("destination", [None, frames.BROADCAST], ids=["unicast", "broadcast"])
def test_who_asked_gets_those_and_the_native_vlan(scene: Scene, destination: str | None) -> None:
    with Mailbox(scene.router, "pf0vf0") as mailbox:
        assert OK == mailbox.vlans(ADD_VLAN, 10)
        assert [10, 30] == scene.heard(destination)
        assert [10] == scene.shown()
        assert OK == mailbox.vlans(ADD_VLAN, 20)
        assert [10, 20, 30] == scene.heard(destination)
        assert OK == mailbox.vlans(DEL_VLAN, 10)
        assert [20, 30] == scene.heard(destination)
        assert OK == mailbox.vlans(DEL_VLAN, 20)
        assert [30] == scene.heard(destination)
    scene.daemon.ask("vf", "reset", "pf0vf0")
    assert [*CARRIED] == scene.heard(destination)


def test_the_second_kind_of_filters_does_the_same(scene: Scene) -> None:
    with Mailbox(scene.router, "pf0vf0", L2 | VLAN | VLAN_V2) as mailbox:
        assert L2 | VLAN_V2 == mailbox.capabilities
        assert (OK, struct.pack("<IIIH2x24x", 0, 1, 1, 2)) == mailbox.ask(GET_CAPS)
        assert OK == mailbox.tags(ADD_VLAN_V2, 10, 20)
        assert [10, 20, 30] == scene.heard()
        assert OK == mailbox.tags(DEL_VLAN_V2, 10)
        assert [20, 30] == scene.heard()
        assert (NOT_SUPPORTED, b"") == mailbox.ask(ADD_VLAN, struct.pack("<HHHH", mailbox.vsi, 1, 10, 0))


def test_what_the_port_does_not_carry_and_what_is_too_many_is_refused(scene: Scene) -> None:
    with Mailbox(scene.router, "pf0vf0") as mailbox:
        assert ADMIN_QUEUE == mailbox.vlans(ADD_VLAN, 10, 40)
        assert ADMIN_QUEUE == mailbox.vlans(ADD_VLAN, 10, 20, 30)
        assert [*CARRIED] == scene.heard(), "nothing of it was granted"
    refused = [record for record in scene.daemon.ask("audit", "list", "--vf", "pf0vf0") if record["outcome"] == "refused"]
    assert [
        ("add VLAN 10, 40 (802.1Q)", "vlan"),
        ("add VLAN 10, 20, 30 (802.1Q)", "quotas: macs=16,vlans=2 (port group routers)"),
    ] == [(record["request"], record["rule"]) for record in refused][-2:]


def test_a_port_that_shows_its_guest_no_tags_offers_no_vlans(scene: Scene) -> None:
    with Mailbox(scene.web, "pf0vf1", L2 | VLAN | VLAN_V2) as mailbox:
        assert L2 == mailbox.capabilities
        assert (NOT_SUPPORTED, b"") == mailbox.ask(GET_CAPS)


def test_what_was_asked_for_is_asked_for_after_a_restart(scene: Scene) -> None:
    with Mailbox(scene.router, "pf0vf0") as mailbox:
        assert OK == mailbox.vlans(ADD_VLAN, 10)
    scene.daemon.kill()
    assert [10, 30] == scene.heard()
    scene.daemon.start()
    scene.daemon.settle()
    assert ([10, 30], [10]) == (scene.heard(), scene.shown())
    assert 0 == scene.daemon.command("doctor").returncode


def test_a_vlan_that_comes_back_to_the_trunk_is_heard_again_by_who_asked_for_it(scene: Scene) -> None:
    with Mailbox(scene.router, "pf0vf0") as mailbox:
        assert OK == mailbox.vlans(ADD_VLAN, 10)
    scene.daemon.ask("port-group", "set", "routers", "--vlan", "-10")
    try:
        assert [30] == scene.heard()
    finally:
        scene.daemon.ask("port-group", "set", "routers", "--vlan", "+10")
    assert [10, 30] == scene.heard()


def test_the_guest_may_send_in_what_it_did_not_ask_for(scene: Scene) -> None:
    with Mailbox(scene.router, "pf0vf0") as mailbox:
        assert OK == mailbox.vlans(ADD_VLAN, 10)
    with frames.tapped((scene.router, "eth0"), (scene.peer, "w0")) as (tap, wire):
        sent = frames.frame(scene.peer.mac("w0"), scene.router.mac(), b"in twenty", tags=(20,))
        tap.send(sent)
        assert [sent] == wire.seen(payload=b"in twenty")


def test_the_driver_asks_and_gives_back(scene: Scene) -> None:
    assert {"vf": "pf0vf0", "vlan": 20, "status": 0, "accepted": True} == scene.router.vf("add-vlan", "20")
    assert [20, 30] == scene.heard()
    assert {"vf": "pf0vf0", "vlan": 40, "status": -53, "accepted": False} == scene.router.vf("add-vlan", "40", check=False)
    assert {"vf": "pf0vf0", "vlan": 20, "status": 0, "accepted": True} == scene.router.vf("del-vlan", "20")
    assert [30] == scene.heard()


def test_the_driver_says_when_the_port_offers_none(scene: Scene) -> None:
    with pytest.raises(LabError, match="its port offers no VLANs to its guest; only a trunk port does"):
        scene.web.vf("add-vlan", "10")
