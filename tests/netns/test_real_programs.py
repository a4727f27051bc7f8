"""What people run in guests works with the policy that it needs, and without that it is refused and says so: a virtual router of
keepalived, OSPF of FRR on a trunk's native VLAN, a macvlan and a bridge within a guest, iperf3 through a rate."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_programs import RealProgram

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

SRIOV_VF = str(Path(sys.executable).parent / "sriov-vf")
ROUTER, ROUTER_ADDRESS = "00:00:5e:00:01:0a", "10.77.0.100"
NATIVE, OTHER = 30, 10
RATE_KBPS = 20_000
GROUPS = [
    {"name": "lan"},
    {"name": "routers", "policy": {"allowed_macs": [ROUTER]}, "overrides_allowed": ["allowed_macs"]},
    {"name": "areas", "vlan": {"trunk": [OTHER], "native": NATIVE}, "overrides_allowed": ["vlan"]},
    {"name": "area", "vlan": {"access": NATIVE}},
    {"name": "hosts", "policy": {"security": {"mac_changes": "accept", "forged_transmits": "accept"}}},
    {"name": "slow", "overrides_allowed": ["shaping"]},
]
KEEPALIVED = """
global_defs {{
    router_id {name}
    vrrp_garp_master_delay 0
}}
vrrp_instance router {{
    state BACKUP
    interface eth0
    use_vmac vrrp.10
    virtual_router_id 10
    priority {priority}
    advert_int 0.2
    version 3
    virtual_ipaddress {{
        {address}/24
    }}
}}
"""
OSPFD = """
router ospf
 ospf router-id {loopback}
 network 10.78.0.0/24 area 0
 network 10.99.0.0/24 area 0
interface eth0
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
"""


class Scene:
    """A guest for each part; client is beside them all."""

    def __init__(self, lab: Lab, mode: str) -> None:
        places = {"master": "routers", "backup": "routers", "client": "lan", "north": "areas", "south": "area"}
        places |= {"nest": "hosts", "slow": "slow"}
        self.folder = lab.folder
        self.inner = lab.namespace("inner")
        self.places = {name: lab.namespace(name) for name in places}
        guests = [{"guest": self.places[name].name, "port_group": group, "datapath": mode} for name, group in places.items()]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, GROUPS))
        for number, name in enumerate(("master", "backup", "client", "nest", "slow"), 1):
            self.places[name].address(number)
        for number, name in enumerate(("north", "south"), 1):
            self.places[name].address(number, network="10.78.0", prefix6="fd78:")
            self.places[name].ip("addr", "add", f"10.99.0.{number}/32", "dev", "lo")
        for name in ("master", "backup"):  # only the router's own device speaks of its address
            settings = [f"net.ipv4.conf.eth0.{setting}" for setting in ("arp_ignore=1", "arp_announce=2")]
            self.places[name].run("sysctl", "-qw", *settings)
        self.daemon.settle()

    def __getitem__(self, name: str) -> Namespace:
        return self.places[name]

    def vf(self, name: str) -> str:
        return str(self.daemon.vf_of(self[name].name)["address"])

    def set_port(self, name: str, *settings: str) -> None:
        self.daemon.ask("port", "set", self.vf(name), *settings)

    def drops(self, name: str) -> dict[str, int]:
        return dict(self.daemon.vf_of(self[name].name)["drops"])

    @contextlib.contextmanager
    def driver(self, name: str) -> Iterator[None]:
        watch = self[name].start(SRIOV_VF, "watch")
        assert watch.stdout
        try:
            assert "connected" in watch.stdout.readline()
            yield
        finally:
            watch.terminate()
            watch.wait()
            watch.stdout.close()

    def keepalived(self, name: str, priority: int) -> RealProgram:
        configuration = self.folder / f"keepalived-{name}.conf"
        configuration.write_text(KEEPALIVED.format(name=name, priority=priority, address=ROUTER_ADDRESS))
        pids = [f"--{kind}={self.folder / f'{name}-{kind}'}" for kind in ("pid", "vrrp_pid")]
        words = ["--dont-fork", "--log-console", "--vrrp", "--use-file", str(configuration), *pids]
        return RealProgram(self[name], self.folder, "usr/sbin/keepalived", *words)

    @contextlib.contextmanager
    def ospf(self, name: str, loopback: str) -> Iterator[None]:
        folder = self.folder / f"frr-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "zebra.conf").write_text("")
        (folder / "ospfd.conf").write_text(OSPFD.format(loopback=loopback))
        common = ["-u", "root", "-g", "root", "-z", str(folder / "zserv"), "--vty_socket", str(folder), "-P", "0"]
        with contextlib.ExitStack() as running:
            for program in ("zebra", "ospfd"):
                files = ["-f", str(folder / f"{program}.conf"), "-i", str(folder / f"{program}.pid")]
                running.enter_context(RealProgram(self[name], folder, f"usr/lib/frr/{program}", *common, *files))
                wait_until(lambda program=program: (folder / f"{program}.vty").exists(), f"{program} runs")
            yield

    def routes(self, name: str) -> set[str]:
        """Which networks others told of."""
        return {route["dst"] for route in json.loads(self[name].ip("-j", "route", "show", "proto", "ospf"))}


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("rp") as lab:
        yield Scene(lab, request.param)


def router_answers(scene: Scene) -> bool:
    return scene["client"].can_ping(ROUTER_ADDRESS)


def is_router(place: Namespace) -> bool:
    return ROUTER_ADDRESS in place.ip("addr", "show", check=False)


def test_a_virtual_router_of_keepalived_moves_to_its_backup(scene: Scene) -> None:
    """use_vmac: it speaks by an address of its own, which both ports are allowed."""
    with scene.driver("master"), scene.driver("backup"), scene.keepalived("backup", 100):
        with scene.keepalived("master", 200):
            wait_until(lambda: is_router(scene["master"]) and not is_router(scene["backup"]), "the better one is master")
            wait_until(lambda: router_answers(scene), "it answers")
        wait_until(lambda: is_router(scene["backup"]), "the other one takes over")
        wait_until(lambda: router_answers(scene), "and answers")
        assert ROUTER == neighbour_of(scene["client"], ROUTER_ADDRESS)
    assert {"forged_source": 0, "spoof_mac": 0} == {
        name: scene.drops("backup").get(name, 0) for name in ("forged_source", "spoof_mac")
    }


def neighbour_of(place: Namespace, address: str) -> str:
    return str(json.loads(place.ip("-j", "neigh", "show", address))[0]["lladdr"])


def test_a_virtual_router_that_no_policy_names_is_not_heard(scene: Scene) -> None:
    scene.set_port("master", "--allowed-macs", "02:00:00:00:00:99")
    scene["client"].ip("neigh", "flush", "all")
    try:
        with scene.driver("master"), scene.keepalived("master", 200):
            wait_until(lambda: is_router(scene["master"]), "it takes itself for the master")
            wait_until(lambda: scene.drops("master").get("forged_source", 0) >= 3, "what it says is dropped")
            assert not router_answers(scene)
    finally:
        scene.set_port("master", "--allowed-macs", "inherit")


def test_routers_of_frr_meet_on_a_trunks_native_vlan(scene: Scene) -> None:
    with scene.ospf("north", "10.99.0.1"), scene.ospf("south", "10.99.0.2"):
        wait_until(lambda: {"10.99.0.1"} <= scene.routes("south"), "south knows north's network", 30)
        wait_until(lambda: {"10.99.0.2"} <= scene.routes("north"), "north knows south's network", 30)
        assert scene["south"].can_ping("10.99.0.1")


def test_routers_of_frr_do_not_meet_where_the_trunk_has_no_native_vlan(scene: Scene) -> None:
    scene.set_port("north", "--vlan", f"trunk:{OTHER}")
    try:
        before = scene.drops("north").get("untagged", 0)
        with scene.ospf("north", "10.99.0.1"), scene.ospf("south", "10.99.0.2"):
            wait_until(lambda: scene.drops("north").get("untagged", 0) >= before + 3, "its hellos are dropped", 30)
            assert set() == scene.routes("north") | scene.routes("south")
    finally:
        scene.set_port("north", "--vlan", "inherit")


@pytest.fixture(params=["macvlan", "bridge"])
def nested(request: pytest.FixtureRequest, scene: Scene) -> Iterator[Namespace]:
    """A host within nest, by either device."""
    nest, inner = scene["nest"], scene.inner
    if request.param == "macvlan":
        nest.ip("link", "add", "link", "eth0", "name", "m0", "type", "macvlan", "mode", "bridge")
        nest.ip("link", "set", "m0", "netns", inner.name)
        inner.ip("link", "set", "m0", "name", "in0")
    else:
        nest.ip("link", "add", "br0", "up", "type", "bridge")
        nest.ip("link", "set", "eth0", "master", "br0")
        nest.ip("link", "add", "to-in", "type", "veth", "peer", "name", "in0", "netns", inner.name)
        nest.ip("link", "set", "to-in", "master", "br0", "up")
    inner.address(50, "in0")
    yield inner
    inner.ip("link", "del", "in0")
    nest.ip("link", "del", "br0", check=False)


def test_a_host_within_a_guest_is_reached_when_policy_and_driver_are_there(scene: Scene, nested: Namespace) -> None:
    with scene.driver("nest"):
        wait_until(lambda: nested.can_ping("10.77.0.3"), "it reaches the client")
        assert scene["client"].can_ping("10.77.0.50")


def test_a_host_within_a_guest_is_not_heard_where_the_policy_is_the_strict_one(scene: Scene, nested: Namespace) -> None:
    scene.daemon.ask("port-group", "set", "hosts", "--mac-changes", "reject", "--forged-transmits", "reject")
    try:
        with scene.driver("nest"):
            before = scene.drops("nest").get("forged_source", 0)
            assert not nested.can_ping("10.77.0.3")
            assert scene.drops("nest")["forged_source"] > before
    finally:
        scene.daemon.ask("port-group", "set", "hosts", "--mac-changes", "accept", "--forged-transmits", "accept")


@pytest.fixture(params=["--shaping-ingress", "--shaping-egress"])
def slow(request: pytest.FixtureRequest, scene: Scene) -> Iterator[str]:
    """Which direction of slow's port is held to the rate."""
    scene.set_port("slow", request.param, f"average_kbps={RATE_KBPS},burst_bytes=20000")
    yield request.param
    scene.set_port("slow", request.param, "inherit")


def received_kbps(server: Namespace, client: Namespace, address: str) -> float:
    with contextlib.ExitStack() as ending:
        listening = server.start("iperf3", "-s", "-1", "-J", "--forceflush")
        ending.callback(listening.wait)
        ending.callback(listening.terminate)
        wait_until(lambda: ":5201" in server.run("ss", "-Hltn"), "the server listens")
        return (
            float(json.loads(client.run("iperf3", "-c", address, "-t", "1", "-J"))["end"]["sum_received"]["bits_per_second"]) / 1000
        )


def test_iperf3_gets_no_more_than_the_rate(scene: Scene, slow: str) -> None:
    """How near it comes is the benchmark's to say; without the rate it gets a multiple."""
    sender, receiver = (scene["slow"], scene["client"]) if slow == "--shaping-ingress" else (scene["client"], scene["slow"])
    address = "10.77.0.3" if slow == "--shaping-ingress" else "10.77.0.5"
    held = received_kbps(receiver, sender, address)
    assert 0 < held < RATE_KBPS * 1.1
    scene.set_port("slow", slow, "inherit")
    assert received_kbps(receiver, sender, address) > RATE_KBPS * 2
