"""An address that the policies of several ports name, as a virtual router's (VRRP, RFC 5798), leads to the one that spoke last by
it: a request to the PF, or a frame. On both ways into the switch, and over the wire."""

import contextlib
import itertools
import time
from collections.abc import Iterator

import pytest
from mailbox_wire import ADD_ETH, ADMIN_QUEUE, DEL_ETH, EXTRA, OK, PRIMARY, RawMailbox

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

ROUTER, VRRP_GROUP = "00:00:5e:00:01:0a", "01:00:5e:00:00:12"
POLICY = {"allowed_macs": [ROUTER], "deny_reply": "nack"}
_numbers = itertools.count()


class Scene:
    """master and backup may both have ROUTER; client may not; peer is beyond the uplink."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.peer, uplink = lab.wire()
        self.master, self.backup, self.client = lab.namespace("m"), lab.namespace("b"), lab.namespace("c")
        guests = [{"guest": place.name, "port_group": "routers", "datapath": mode} for place in (self.master, self.backup)]
        guests += [{"guest": self.client.name, "port_group": "lan", "datapath": mode}]
        groups = [{"name": "routers", "policy": POLICY}, {"name": "lan", "policy": {"deny_reply": "nack"}}]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, groups))
        for number, place in enumerate((self.master, self.backup, self.client), 1):
            place.address(number)
        self.peer.address(99, "w0")
        self.daemon.settle()
        self.places = {"master": self.master, "backup": self.backup, "client": self.client, "peer": self.peer}

    def vf_of(self, guest: Namespace) -> str:
        return str(self.daemon.vf_of(guest.name)["address"])

    @contextlib.contextmanager
    def mailbox_of(self, guest: Namespace) -> Iterator[RawMailbox]:
        with RawMailbox(guest, self.vf_of(guest)) as mailbox:
            yield mailbox

    def send(self, sender: str, destination: str, source: str, down: str = "") -> set[str]:
        """Who of the others gets a frame. down: whose interface takes none."""
        payload = f"frame {next(_numbers)}".encode()
        interfaces = {name: "w0" if name == "peer" else "eth0" for name in self.places}
        others = {name: place for name, place in self.places.items() if name not in (sender, down)}
        taps = [(place, interfaces[name]) for name, place in others.items()]
        with frames.tapped((self.places[sender], interfaces[sender]), *taps) as (own, *open_taps):
            own.send(frames.frame(destination, source, payload))
            deadline = time.monotonic() + 0.2
            return {
                name
                for name, tap in zip(others, open_taps, strict=True)
                if tap.seen(payload=payload, seconds=max(0.01, deadline - time.monotonic()))
            }

    def to_router(self, down: str = "") -> set[str]:
        """Who gets what the client sends to the router."""
        return self.send("client", ROUTER, self.client.mac(), down)

    def advertise(self, sender: str) -> set[str]:
        """Who hears the advertisement of the router that somebody is."""
        return self.send(sender, VRRP_GROUP, ROUTER)

    def shown(self, guest: Namespace) -> object:
        return self.daemon.vf_of(guest.name)["shared_macs"]


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("sa") as lab:
        yield Scene(lab, request.param)


@pytest.fixture
def routers(scene: Scene) -> Iterator[Scene]:
    """Both have ROUTER, and master asked last."""
    for guest in (scene.backup, scene.master):
        with scene.mailbox_of(guest) as mailbox:
            assert OK == mailbox.addresses(ADD_ETH, ROUTER, kind=EXTRA)
    wait_until(lambda: {"master"} == scene.to_router(), "it is the master's")
    yield scene
    for guest in (scene.master, scene.backup):
        scene.daemon.ask("vf", "reset", scene.vf_of(guest))


def test_it_leads_to_who_asked_last(routers: Scene) -> None:
    assert {"master"} == routers.to_router()
    with routers.mailbox_of(routers.backup) as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, ROUTER, kind=EXTRA)
    wait_until(lambda: {"backup"} == routers.to_router(), "it is the backup's")
    backup = routers.vf_of(routers.backup)
    assert [{ROUTER: backup}] * 2 == [routers.shown(guest) for guest in (routers.master, routers.backup)]
    assert 0 == routers.daemon.command("doctor").returncode


def test_it_leads_to_who_sent_last(routers: Scene) -> None:
    assert {"master", "client", "peer"} == routers.advertise("backup")
    wait_until(lambda: {"backup"} == routers.to_router(), "it is the backup's")
    assert {"backup", "client", "peer"} == routers.advertise("master")
    wait_until(lambda: {"master"} == routers.to_router(), "it is the master's again")


def test_the_wire_may_have_it_and_lose_it(routers: Scene) -> None:
    """The other router is on another host."""
    assert {"master", "backup", "client"} == routers.advertise("peer"), "both hear who is the master"
    wait_until(lambda: {"peer"} == routers.to_router(), "it is beyond the uplink")
    assert {ROUTER: "uplink"} == routers.shown(routers.master)
    assert {"peer", "backup", "client"} == routers.advertise("master")
    wait_until(lambda: {"master"} == routers.to_router(), "it is the master's again")


def test_whom_no_policy_names_neither_gets_it_nor_speaks_by_it(routers: Scene) -> None:
    with routers.mailbox_of(routers.client) as mailbox:
        assert ADMIN_QUEUE == mailbox.addresses(ADD_ETH, ROUTER, kind=EXTRA)
    assert set() == routers.advertise("client")
    assert routers.daemon.vf_of(routers.client.name)["drops"]["spoof_mac"] >= 1
    assert {"master"} == routers.to_router()


def test_one_that_loses_its_carrier_leaves_it_to_the_other(routers: Scene) -> None:
    routers.master.ip("link", "set", "eth0", "down")
    wait_until(lambda: {"backup"} == routers.to_router("master"), "the backup is who is there")
    routers.master.ip("link", "set", "eth0", "up")
    wait_until(lambda: {"master"} == routers.to_router(), "who spoke last has it again")


def test_one_that_gives_it_up_leaves_it_to_the_other(routers: Scene) -> None:
    with routers.mailbox_of(routers.master) as mailbox:
        assert OK == mailbox.addresses(DEL_ETH, ROUTER, kind=EXTRA)
    assert {"backup"} == routers.to_router()
    assert {} == routers.shown(routers.master)


def test_a_guest_that_has_it_as_its_own_address_is_told_apart_as_well(routers: Scene) -> None:
    with routers.mailbox_of(routers.backup) as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, ROUTER, kind=PRIMARY)
    wait_until(lambda: {"backup"} == routers.to_router(), "it is the backup's")
    assert {"backup", "client", "peer"} == routers.advertise("master")
    wait_until(lambda: {"master"} == routers.to_router(), "the master spoke last")
    assert {"client"} == routers.send("backup", routers.client.mac(), ROUTER)
    wait_until(lambda: {"backup"} == routers.to_router(), "the backup spoke last")


def test_it_leads_where_it_did_after_a_restart(routers: Scene) -> None:
    routers.advertise("backup")
    wait_until(lambda: {"backup"} == routers.to_router(), "it is the backup's")
    routers.daemon.kill()
    assert {"backup"} == routers.to_router()
    routers.daemon.start()
    assert {"backup"} == routers.to_router()
    routers.daemon.settle()
    assert 0 == routers.daemon.command("doctor").returncode


def test_a_port_that_loses_the_permission_loses_the_address(routers: Scene) -> None:
    routers.daemon.ask("port-group", "set", "routers", "--allowed-macs", "inherit")
    try:
        assert {"peer"} == routers.to_router(), "nobody here has it"
        assert set() == routers.advertise("master")
    finally:
        routers.daemon.ask("port-group", "set", "routers", "--allowed-macs", ROUTER)
