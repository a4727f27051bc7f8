"""A guest that bridges two of its VFs: found, cut, told, healed; and a guest that does not is left alone, however loud it is."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until
from sriov_xdp.lab.programs import attached_to_tc, instruction

STRANGER = "02:66:66:66:66:66"
OPEN = {"security": {"forged_transmits": "accept"}}
UNGUARDED = {**OPEN, "guards": {"storm": {"broadcast_pps": 0, "multicast_pps": 0}}}


class Watched:
    """A guest with several ports, and what its daemon says of them."""

    def __init__(self, twin: Namespace, daemon: Daemon) -> None:
        self.twin, self.daemon = twin, daemon

    def vf(self, interface: str) -> dict:
        vfs = self.daemon.ask("vf", "list")
        return next(vf for vf in vfs if (vf["guest"], vf["interface"]) == (self.twin.name, interface))

    def is_cut(self, interface: str) -> bool:
        return self.vf(interface)["loop"] is not None

    def cut(self) -> set[str]:
        return {interface for interface in ("eth0", "eth1") if self.is_cut(interface)}

    def told(self, level: str) -> list[str]:
        lines = [json.loads(line) for line in self.daemon.log().splitlines()]
        return [line["message"] for line in lines if line["level"] == level and " loop " in line["message"]]


class Scene(Watched):
    """A guest with eth0 and eth1, in any mode, and two others; all in one VLAN."""

    def __init__(self, lab: Lab, mode: str, policy: dict, switching: str = "veb") -> None:
        self.wire, uplink = lab.wire()
        twin = lab.namespace("t")
        self.one: Namespace = lab.namespace("a")
        self.two: Namespace = lab.namespace("b")
        names = [(twin, "eth0"), (twin, "eth1"), (self.one, "eth0"), (self.two, "eth0")]
        guests = [{"guest": place.name, "name": name, "port_group": "lan", "datapath": mode} for place, name in names]
        config = host_config(uplink, guests, [{"name": "lan", "policy": policy}])
        config["guests"] = [
            {"name": twin.name, "adapters": [adapter["adapters"][0] for adapter in config["guests"][:2]]},
            *config["guests"][2:],
        ]
        config["pfs"][0]["switching"] = switching
        super().__init__(twin, lab.daemon(config))
        for place in (self.twin, self.one, self.two):
            place.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        self.one.ip("addr", "add", "10.77.0.2/24", "dev", "eth0")
        self.two.ip("addr", "add", "10.77.0.3/24", "dev", "eth0")


def bridge(twin: Namespace, *ports: str) -> None:
    """ports: settings of both of its ports, of a bridge that knows nothing of groups."""
    twin.ip("link", "add", "br0", "type", "bridge", *(("mcast_snooping", "0") if ports else ()))
    for device in ("eth0", "eth1"):
        twin.ip("link", "set", device, "master", "br0")
        if ports:
            twin.ip("link", "set", device, "type", "bridge_slave", *ports)
    twin.ip("link", "set", "br0", "up")


def start_loop(scene: Scene) -> None:
    """One broadcast from a station that no port owns, as one on the wire."""
    with frames.tapped((scene.wire, "w0")) as (wire,):
        wire.send(frames.frame(frames.BROADCAST, STRANGER, b"round and round"))


@pytest.fixture(scope="module", params=[("xdp", OPEN), ("tcx", UNGUARDED)], ids=["xdp", "tcx, without a storm guard"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("gl") as lab:
        yield Scene(lab, *request.param)


def hears(scene: Scene, sender: str, receiver: str) -> bool:
    """Whether a broadcast that leaves the guest by one interface comes in by the other."""
    payload = f"{sender} to {receiver}, {time.monotonic_ns()}".encode()
    with frames.tapped((scene.twin, sender), (scene.twin, receiver)) as (left, right):
        left.send(frames.frame(frames.BROADCAST, scene.twin.mac(sender), payload))
        return bool(right.seen(payload=payload, seconds=0.3))


def test_a_loop_is_cut_told_and_healed(scene: Scene) -> None:
    assert set() == scene.cut()
    bridge(scene.twin)
    start_loop(scene)
    wait_until(lambda: scene.is_cut("eth1"), "the loop is found")
    assert {"eth1"} == scene.cut(), "one of the two stays in service"
    kept, lost = scene.vf("eth0"), scene.vf("eth1")
    assert f"cut: floods come back by {kept['address']}" == lost["loop"]
    wait_until(lambda: scene.vf("eth1")["drops"].get("loop", 0) > 0, "what came back is dropped")
    warnings = scene.told("warning")
    assert 1 == len(warnings)
    for word in (scene.twin.name, kept["address"], lost["address"], "take one of the two out of the guest's bridge"):
        assert word in warnings[0]
    metrics = scene.daemon.metrics()
    assert f'sriovxdp_vf_loop_cut{{pf="pf0",vf="{lost["address"]}"}} 1.0' in metrics
    assert f'sriovxdp_vf_loop_cut{{pf="pf0",vf="{kept["address"]}"}} 0.0' in metrics
    assert scene.one.can_ping("10.77.0.3")


def test_nothing_goes_round_while_the_port_is_cut(scene: Scene) -> None:
    """Each broadcast from the wire arrives once, and nothing comes back to the wire."""
    assert {"eth1"} == scene.cut()
    with frames.tapped((scene.wire, "w0"), (scene.one, "eth0")) as (wire, one):
        payload = b"once"
        sent = frames.frame(frames.BROADCAST, STRANGER, payload)
        wire.send(sent)
        assert [sent] == one.seen(payload=payload, seconds=0.3, count=2)
        assert [] == wire.seen(payload=payload, seconds=0.1)


def test_it_stays_cut_while_the_bridge_is_there(scene: Scene) -> None:
    """For longer than a loop that is gone takes to heal."""
    deadline = time.monotonic() + 4.5
    while time.monotonic() < deadline:
        assert {"eth1"} == scene.cut()


def test_unicast_of_the_cut_port_goes_on(scene: Scene) -> None:
    with frames.tapped((scene.twin, "eth1"), (scene.one, "eth0")) as (twin, one):
        there = frames.frame(scene.one.mac(), scene.twin.mac("eth1"), b"unicast of the cut one")
        twin.send(there)
        assert [there] == one.seen(payload=b"unicast of the cut one")
        back = frames.frame(scene.twin.mac("eth1"), scene.one.mac(), b"unicast to the cut one")
        one.send(back)
        assert [back] == twin.seen(payload=b"unicast to the cut one")


def test_a_restarted_daemon_finds_it_again(scene: Scene) -> None:
    scene.daemon.kill()
    scene.daemon.start()
    start_loop(scene)
    wait_until(lambda: scene.is_cut("eth1"), "the loop is found again")
    assert {"eth1"} == scene.cut()


def test_without_the_bridge_the_port_takes_part_again(scene: Scene) -> None:
    scene.twin.ip("link", "del", "br0")
    wait_until(lambda: not scene.is_cut("eth1"), "the loop is gone")
    assert 1 == len([line for line in scene.told("info") if "is gone" in line])
    assert hears(scene, "eth0", "eth1")
    assert hears(scene, "eth1", "eth0")
    assert f'sriovxdp_vf_loop_cut{{pf="pf0",vf="{scene.vf("eth1")["address"]}"}} 0.0' in scene.daemon.metrics()


@contextlib.contextmanager
def shouting(scene: Scene) -> Iterator[None]:
    """2,000 broadcasts a second by each interface."""
    loud = [[frames.frame(frames.BROADCAST, scene.twin.mac(name), bytes(46))] * 20 for name in ("eth0", "eth1")]
    is_over = threading.Event()

    def shout() -> None:
        with frames.tapped((scene.twin, "eth0"), (scene.twin, "eth1")) as taps:
            while not is_over.wait(0.01):
                for tap, shouts in zip(taps, loud, strict=True):
                    tap.send(*shouts)

    thread = threading.Thread(target=shout)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_two_vfs_of_a_loud_guest_without_a_bridge_hear_each_other_and_are_never_cut(scene: Scene) -> None:
    """The ports are probed, and no probe comes back."""
    assert hears(scene, "eth0", "eth1")
    assert hears(scene, "eth1", "eth0")
    told = scene.told("warning")
    with frames.tapped((scene.twin, "eth0")) as (tap,), shouting(scene):
        wait_until(lambda: [data for data in tap.drain() if data[:6] == bytes.fromhex("cf0000000000")], "a probe is sent")
        for _time in range(10):
            assert set() == scene.cut()
            assert hears(scene, "eth0", "eth1")
            assert hears(scene, "eth1", "eth0")
    assert set() == scene.cut()
    assert told == scene.told("warning")
    assert hears(scene, "eth0", "eth1")
    assert hears(scene, "eth1", "eth0")


@pytest.fixture
def strict() -> Iterator[Scene]:
    with Lab("gs") as lab:
        yield Scene(lab, "auto", {})


def test_a_guest_whose_sources_are_held_to_its_own_loops_with_them(strict: Scene) -> None:
    """A bridge speaks with the address of one of its ports: what it sends there is admitted each time it comes round."""
    bridge(strict.twin)
    strict.twin.ip("link", "set", "br0", "address", strict.twin.mac("eth0"))
    with frames.tapped((strict.twin, "eth0")) as (tap,):
        tap.send(frames.frame(frames.BROADCAST, strict.twin.mac("eth0"), b"my own"))
    wait_until(strict.cut, "the loop is found")
    assert {"eth1"} == strict.cut()


def test_trunks_are_cut_too() -> None:
    """A bridge of two trunk VFs forwards tags as they are."""
    with Lab("gt") as lab:
        twin, one = lab.namespace("t"), lab.namespace("a")
        groups = [
            {"name": "routers", "vlan": {"trunk": [100, 200]}, "policy": OPEN},
            {"name": "web", "vlan": {"access": 100}, "policy": OPEN},
        ]
        guests = [{"guest": twin.name, "name": name, "port_group": "routers"} for name in ("eth0", "eth1")]
        config = host_config(None, [*guests, {"guest": one.name, "port_group": "web"}], groups)
        config["guests"] = [
            # Two guests by name, whose adapters are in one namespace: what a loop goes through is the namespace.
            {**config["guests"][0], "name": "first"},
            {**config["guests"][1], "name": "second"},
            config["guests"][2],
        ]
        daemon = lab.daemon(config)
        bridge(twin)
        with frames.tapped((one, "eth0")) as (tap,):

            def is_found() -> bool:
                """One that goes round alone meets the storm guard within a tenth of a second, perhaps before the first look."""
                tap.send(frames.frame(frames.BROADCAST, STRANGER, b"round and round"))
                return daemon.ask("vf", "show", "pf0vf1")["loop"] is not None

            wait_until(is_found, "the loop is found")
        assert daemon.ask("vf", "show", "pf0vf0")["loop"] is None


@contextlib.contextmanager
def tagged_frames_only(twin: Namespace, *devices: str) -> Iterator[None]:
    """What a bridge does that is for VLANs of the guest's own only (vlan_filtering 1, vlan_default_pvid 0), by a tc program of the
    guest's: not every kernel has such bridges."""
    asks_for_a_tag = (instruction(0x61, 2, 1, 20), instruction(0xB7, 0, immediate=-1), instruction(0x55, 2, 0, 1, 0))
    drop = (instruction(0xB7, 0, immediate=2), instruction(0x95))
    with contextlib.ExitStack() as attached:
        for device in devices:
            attached.enter_context(attached_to_tc(twin, device, b"".join((*asks_for_a_tag, *drop))))
        yield


def test_a_loop_of_a_vlan_of_the_guests_own_is_cut_and_healed() -> None:
    """Behind a service tag of the switch's."""
    with Lab("gq") as lab:
        wire, uplink = lab.wire()
        twin, one = lab.namespace("t"), lab.namespace("a")
        groups = [{"name": "tenant", "vlan": {"access": 10, "proto": "802.1ad"}, "policy": OPEN}]
        guests = [{"guest": twin.name, "name": name, "port_group": "tenant"} for name in ("eth0", "eth1")]
        config = host_config(uplink, [*guests, {"guest": one.name, "port_group": "tenant"}], groups)
        adapters = [guest["adapters"][0] for guest in config["guests"][:2]]
        config["guests"] = [{"name": twin.name, "adapters": adapters}, config["guests"][2]]
        watched = Watched(twin, lab.daemon(config))
        bridge(twin)
        with tagged_frames_only(twin, "eth0", "eth1"), frames.tapped((wire, "w0"), (one, "eth0")) as (tap, heard):

            def is_found() -> bool:
                """One that goes round alone meets the storm guard within a tenth of a second, perhaps before the first look."""
                tap.send(frames.frame(frames.BROADCAST, STRANGER, b"round and round", tags=(5,), service_tci=10))
                return bool(watched.cut())

            wait_until(is_found, "the loop is found")
            assert {"eth1"} == watched.cut()
            heard.drain()
            payload = b"no more"
            tap.send(frames.frame(frames.BROADCAST, STRANGER, payload, tags=(5,), service_tci=10))
            assert 1 == len(heard.seen(payload=payload, seconds=0.5))
            twin.ip("link", "set", "eth1", "nomaster")
            wait_until(lambda: not watched.cut(), "the port takes part again")


def test_a_daemon_that_may_not_send_probes_says_so_and_goes_on() -> None:
    code = "from sriov_xdp.pf.verbs.loop_watch import LoopWatch; watch = LoopWatch(None); watch.look(); watch.close()"
    command = ["setpriv", "--bounding-set", "-net_raw", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)
    assert "loops through guests will not be found: packet socket: Operation not permitted; needs CAP_NET_RAW" in done.stderr


@pytest.fixture
def crossing() -> Iterator[Watched]:
    """A guest with two ports in each of two VLANs, which it bridges in pairs: out of one VLAN, through the other, and back."""
    with Lab("gx") as lab:
        _wire, uplink = lab.wire()
        twin = lab.namespace("t")
        groups = [{"name": f"lan{vlan}", "vlan": {"access": vlan}, "policy": OPEN} for vlan in (10, 20)]
        ports = [("eth0", "lan10"), ("eth1", "lan20"), ("eth2", "lan20"), ("eth3", "lan10")]
        config = host_config(uplink, [{"guest": twin.name, "name": name, "port_group": group} for name, group in ports], groups)
        config["guests"] = [{"name": twin.name, "adapters": [guest["adapters"][0] for guest in config["guests"]]}]
        yield Watched(twin, lab.daemon(config))


def test_a_loop_from_one_vlan_through_another_and_back_is_cut_and_healed(crossing: Watched) -> None:
    twin = crossing.twin
    for name, (one, other) in {"br0": ("eth0", "eth1"), "br1": ("eth2", "eth3")}.items():
        twin.ip("link", "add", name, "type", "bridge")
        twin.ip("link", "set", one, "master", name)
        twin.ip("link", "set", other, "master", name)
        twin.ip("link", "set", name, "up")
    with frames.tapped((twin, "eth0")) as (tap,):
        tap.send(frames.frame(frames.BROADCAST, STRANGER, b"from VLAN to VLAN"))
    wait_until(lambda: crossing.is_cut("eth3"), "the loop is found")
    assert [False, False, False, True] == [crossing.is_cut(f"eth{number}") for number in range(4)]
    assert 1 == len(crossing.told("warning"))
    twin.ip("link", "del", "br0")
    wait_until(lambda: not crossing.is_cut("eth3"), "the loop is gone")


# ---- what goes round is no flood of the switch ----

LISTENING = {"security": {"forged_transmits": "accept", "promiscuous": "accept"}}
NOBODY, SOME_GROUP = "02:77:77:77:77:77", "01:00:5e:01:02:03"


@pytest.fixture(scope="module", params=[("xdp", "veb"), ("tcx", "veb"), ("tcx", "vepa")], ids=" ".join)
def listening(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """All hear everything. In VEPA mode the wire gives back what it gets."""
    mode, switching = request.param
    with Lab("gu") as lab:
        scene = Scene(lab, mode, LISTENING, switching)
        if switching == "vepa":
            scene.wire.ip("link", "add", "brw", "type", "bridge", "mcast_snooping", "0")
            scene.wire.ip("link", "set", "w0", "master", "brw")
            scene.wire.ip("link", "set", "w0", "type", "bridge_slave", "hairpin", "on")
            scene.wire.ip("link", "set", "brw", "up")
        yield scene


def is_quiet(scene: Scene) -> bool:
    """Whether nothing goes on arriving at a neighbour."""
    before = scene.daemon.vf_of(scene.one.name)["counters"]["rx_packets"]
    time.sleep(0.1)
    return bool(scene.daemon.vf_of(scene.one.name)["counters"]["rx_packets"] - before < 20)


@pytest.mark.parametrize(
    ("destination", "ports"),
    [(NOBODY, ("bcast_flood", "off", "mcast_flood", "off")), (SOME_GROUP, ("flood", "off"))],
    ids=["unicast alone", "multicast alone"],
)
def test_what_a_guest_sends_round_is_cut_whatever_its_bridge_floods(
    listening: Scene, destination: str, ports: tuple[str, ...]
) -> None:
    """Copies for who listens make a loop of unicast; and where the wire switches, group frames are floods of the wire's."""
    bridge(listening.twin, *ports)
    with frames.tapped((listening.wire, "w0")) as (wire,):
        wire.send(frames.frame(destination, STRANGER, b"round and round"))
    wait_until(listening.cut, "the loop is found")
    assert 1 == len(listening.cut()), "one of the two stays in service"
    wait_until(lambda: is_quiet(listening), "what went round has ended")
    with frames.tapped((listening.wire, "w0"), (listening.one, "eth0")) as (wire, one):
        sent = frames.frame(destination, STRANGER, b"once more")
        wire.send(sent)
        assert [sent] == one.seen(payload=b"once more", seconds=0.3, count=2)
    assert 1 == len(listening.cut())
    listening.twin.ip("link", "del", "br0")
    wait_until(lambda: not listening.cut(), "it is healed", 20)
