"""A guest's storm of broadcast or multicast on real interfaces: held to the limit, counted, and nobody else's trouble."""

import json
import time
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

SENT = 5000
MULTICAST = "01:00:5e:01:02:03"
BURST_SECONDS = 0.1


class Scene:
    def __init__(self, lab: Lab, mode: str) -> None:
        wire, uplink = lab.wire()
        self.noisy: Namespace = lab.namespace("n")
        self.quiet: Namespace = lab.namespace("q")
        self.other: Namespace = lab.namespace("o")
        guests = [
            {"guest": self.noisy.name, "port_group": "lan", "datapath": mode},
            {"guest": self.quiet.name, "port_group": "lan"},
            {"guest": self.other.name, "port_group": "lan"},
        ]
        groups = [{"name": "lan", "overrides_allowed": ["guards"]}]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, groups))
        self.wire = wire
        self.vf = self.daemon.vf_of(self.noisy.name)["address"]
        self.noisy.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")  # its stack says nothing of its own
        self.quiet.address(2)
        self.other.address(3)
        self.tap = frames.Tap(self.noisy)

    def counted(self) -> dict[str, int]:
        vf = self.daemon.ask("vf", "show", self.vf)
        return {"flooded": vf["counters"]["tx_packets"], "storm": vf["drops"].get("storm", 0)}

    def send(self, destination: str, count: int = SENT) -> tuple[dict[str, int], float]:
        """What became of so many frames; seconds that it took at the most."""
        before, started = self.counted(), time.monotonic()
        self.tap.send(*[frames.frame(destination, self.noisy.mac(), b"storm" + bytes(41))] * count)

        def is_all_counted() -> dict[str, int] | None:
            now = self.counted()
            change = {name: now[name] - before[name] for name in now}
            return change if sum(change.values()) >= count else None

        return wait_until(is_all_counted, "all frames are counted"), time.monotonic() - started


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("st") as lab:
        made = Scene(lab, request.param)
        yield made
        made.tap.close()


@pytest.mark.parametrize(
    ("destination", "option"), [(frames.BROADCAST, "--storm-broadcast-pps"), (MULTICAST, "--storm-multicast-pps")]
)
def test_a_storm_is_held_to_the_limit_and_every_frame_is_counted_once(scene: Scene, destination: str, option: str) -> None:
    scene.daemon.ask("port", "set", scene.vf, option, "100")
    became, seconds = scene.send(destination)
    assert SENT == became["flooded"] + became["storm"]
    assert became["flooded"] <= 100 * (seconds + BURST_SECONDS) + 1
    assert f'sriovxdp_vf_drops_total{{direction="tx",pf="pf0",reason="storm",vf="{scene.vf}"}}' in scene.daemon.metrics()


def test_what_is_let_in_is_what_others_receive(scene: Scene) -> None:
    scene.daemon.ask("port", "set", scene.vf, "--storm-broadcast-pps", "100")
    with frames.tapped((scene.quiet, "eth0"), (scene.wire, "w0")) as taps:
        became, _seconds = scene.send(frames.BROADCAST)
        for tap in taps:
            assert became["flooded"] == len([data for data in tap.drain() if data[14:19] == b"storm"])


def test_zero_is_no_limit(scene: Scene) -> None:
    scene.daemon.ask("port", "set", scene.vf, "--storm-broadcast-pps", "0")
    became, _seconds = scene.send(frames.BROADCAST)
    assert {"flooded": SENT, "storm": 0} == became


def test_the_others_and_the_unicast_of_the_storming_guest_go_on(scene: Scene) -> None:
    scene.daemon.ask("port", "set", scene.vf, "--storm-broadcast-pps", "1")
    became, _seconds = scene.send(frames.BROADCAST)
    assert became["storm"] > 0
    assert scene.quiet.can_ping("10.77.0.3")
    with frames.tapped((scene.quiet, "eth0")) as (quiet,):
        sent = frames.frame(scene.quiet.mac(), scene.noisy.mac(), b"unicast of the noisy one")
        scene.tap.send(sent)
        assert [sent] == quiet.seen(payload=b"unicast of the noisy one")


def test_a_group_and_a_switch_set_it_for_their_ports_and_each_says_who_did(scene: Scene) -> None:
    """Of two ports that were not overridden, as the noisy one was."""
    port = scene.daemon.vf_of(scene.quiet.name)["address"]

    def shown() -> dict[str, object]:
        policy = scene.daemon.ask("port", "show", port)["policy"]
        return {name: policy[name] for name in ("storm_broadcast_pps", "storm_multicast_pps")}

    defaults = {
        "storm_broadcast_pps": {"value": 10_000, "set_by": "default"},
        "storm_multicast_pps": {"value": 100_000, "set_by": "default"},
    }
    assert defaults == shown()
    scene.daemon.ask("switch", "set", "vSwitch0", "--storm-broadcast-pps", "70", "--storm-multicast-pps", "80")
    scene.daemon.ask("port-group", "set", "lan", "--storm-multicast-pps", "90")
    wanted = {
        "storm_broadcast_pps": {"value": 70, "set_by": "switch vSwitch0"},
        "storm_multicast_pps": {"value": 90, "set_by": "port group lan"},
    }
    assert wanted == shown()
    exported = scene.daemon.ask("export")["switches"][0]
    assert {"storm": {"broadcast_pps": 70, "multicast_pps": 80}} == exported["policy"]["guards"]
    assert {"storm": {"multicast_pps": 90}} == exported["port_groups"][0]["policy"]["guards"]
    with frames.tapped((scene.quiet, "eth0")) as (tap,):
        tap.send(*[frames.frame(frames.BROADCAST, scene.quiet.mac(), bytes(46))] * 1000)
    wait_until(lambda: scene.daemon.ask("vf", "show", port)["drops"].get("storm", 0) > 0, "the ports obey the switch")


def test_it_holds_after_a_restart(scene: Scene) -> None:
    scene.daemon.ask("port", "set", scene.vf, "--storm-broadcast-pps", "100")
    scene.daemon.kill()
    scene.daemon.start()
    assert {"value": 100, "set_by": f"port {scene.vf}"} == scene.daemon.ask("port", "show", scene.vf)["policy"][
        "storm_broadcast_pps"
    ]
    became, _seconds = scene.send(frames.BROADCAST)
    assert became["storm"] > 0


def test_a_port_overrides_it_only_where_its_group_allows_that(scene: Scene) -> None:
    done = scene.daemon.command("port", "set", scene.vf, "--storm-broadcast-pps", "10000001")
    assert (2, "") == (done.returncode, done.stdout)
    guest = scene.quiet.name
    document = scene.daemon.ask("export")
    document["switches"][0]["port_groups"][0]["overrides_allowed"] = []
    path = scene.daemon.folder / "stricter.json"
    path.write_text(json.dumps(document))
    refused = scene.daemon.command("apply", "-f", str(path))
    assert (1, True) == (refused.returncode, "does not let its ports override guards" in refused.stderr)
    for one in document["guests"]:
        one["adapters"][0].pop("policy", None)
    path = scene.daemon.folder / "stricter.json"
    path.write_text(json.dumps(document))
    scene.daemon.ask("apply", "-f", str(path))
    done = scene.daemon.command("port", "set", scene.daemon.vf_of(guest)["address"], "--storm-broadcast-pps", "0")
    assert 4 == done.returncode
    assert "does not let its ports override guards" in done.stderr
