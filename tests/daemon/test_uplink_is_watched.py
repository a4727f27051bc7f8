"""What somebody does to an uplink is seen, said by log, doctor, `pf show` and metrics, and put back where it is ours."""

import json
import re
from collections.abc import Iterator

import pytest

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until
from sriov_xdp.lab.traffic import frame, tapped

LAN = [{"name": "lan"}]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.wire: Namespace
        self.wire, self.uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.daemon: Daemon = lab.daemon(host_config(self.uplink, [{"guest": self.one.name, "port_group": "lan"}], LAN))

    def troubles(self) -> list[str]:
        return list(self.daemon.ask("pf", "show", "pf0")["troubles"])

    def metric(self, name: str) -> str:
        found = re.search(rf'^{name}{{pf="pf0"}} (.*)$', self.daemon.metrics(), re.MULTILINE)
        return found[1] if found else ""

    def doctor(self) -> str:
        return self.daemon.command("doctor").stdout

    def flags(self) -> list[str]:
        return list(json.loads(run("ip", "-j", "link", "show", self.uplink))[0]["flags"])

    def bridge(self) -> str:
        name = self.lab.device("br")
        run("ip", "link", "add", name, "type", "bridge")
        run("ip", "link", "set", name, "up")
        return name


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("uw") as lab:
        yield Scene(lab)


def test_one_in_order_has_no_troubles(scene: Scene) -> None:
    wait_until(lambda: scene.troubles() == [], "there are none")
    assert ("1.0", "0.0") == (scene.metric("sriovxdp_uplink_up"), scene.metric("sriovxdp_uplink_troubles"))
    assert float(scene.metric("sriovxdp_uplink_receive_bytes_total")) >= 0


def test_a_port_of_a_bridge_is_refused_with_its_name(scene: Scene) -> None:
    """Its frames would be ours, and the bridge would be without."""
    bridge, port = scene.bridge(), scene.lab.device("port")
    run("ip", "link", "add", port, "type", "veth", "peer", "name", scene.lab.device("far"))
    run("ip", "link", "set", port, "master", bridge)
    document = host_config(scene.uplink, [], LAN)
    document["pfs"].append({"name": "pf1", "uplink": port, "num_vfs": 2})
    path = scene.lab.folder / "bridged.yaml"
    path.write_text(json.dumps(document))
    done = scene.daemon.command("apply", "-f", str(path), "--yes")
    text = f"uplink {port}: is a port of {bridge}, which would get none of its frames any more; use {bridge} as uplink"
    assert (5, True) == (done.returncode, text in done.stderr), done.stderr
    assert f"ip link set {port} nomaster" in done.stderr


def test_the_far_end_goes_down_and_comes_back(scene: Scene) -> None:
    scene.wire.ip("link", "set", "w0", "down")
    wait_until(lambda: scene.troubles() == ["has no carrier"], "it is seen")
    assert ("0.0", "1.0") == (scene.metric("sriovxdp_uplink_up"), scene.metric("sriovxdp_uplink_troubles"))
    assert "down" == scene.daemon.ask("pf", "show", "pf0")["link"]
    assert "has no carrier" in scene.doctor()
    scene.wire.ip("link", "set", "w0", "up")
    wait_until(lambda: scene.troubles() == [], "it is over")
    assert f"uplink {scene.uplink} of pf0: is in order again" in scene.daemon.log()


def test_it_is_set_down(scene: Scene) -> None:
    run("ip", "link", "set", scene.uplink, "down")
    wait_until(lambda: scene.troubles() == ["is down, so nothing passes to the wire"], "it is seen")
    assert f"ip link set {scene.uplink} up" in scene.doctor()
    run("ip", "link", "set", scene.uplink, "up")
    wait_until(lambda: scene.troubles() == [], "it is over")


def test_its_mtu_is_lowered(scene: Scene) -> None:
    run("ip", "link", "set", scene.uplink, "mtu", "1400")
    wait_until(scene.troubles, "it is seen")
    assert ["has MTU 1400, its switch has 1500: longer frames to the wire are dropped (`oversize`)"] == scene.troubles()
    sent = frame(scene.wire.mac("w0"), scene.one.mac(), bytes(1450))
    before = scene.daemon.vf_of(scene.one.name)["drops"].get("oversize", 0)
    with tapped((scene.one, "eth0")) as (tap,):
        tap.send(sent)
    wait_until(lambda: before + 1 == scene.daemon.vf_of(scene.one.name)["drops"].get("oversize", 0), "it is counted")
    run("ip", "link", "set", scene.uplink, "mtu", "1500")
    wait_until(lambda: scene.troubles() == [], "it is over")


def test_it_is_made_a_port_of_a_bridge(scene: Scene) -> None:
    bridge = scene.lab.name("br")
    run("ip", "link", "set", scene.uplink, "master", bridge)
    wait_until(scene.troubles, "it is seen")
    assert [f"became a port of {bridge}, which gets none of its frames, as they are the switch's first"] == scene.troubles()
    scene.daemon.kill()
    scene.daemon.start()
    assert 1 == len(scene.troubles()), "a restart does not cut off what works"
    run("ip", "link", "set", scene.uplink, "nomaster")
    wait_until(lambda: scene.troubles() == [], "it is over")


def test_it_is_made_deaf(scene: Scene) -> None:
    run("ip", "link", "set", scene.uplink, "promisc", "off")
    wait_until(lambda: "PROMISC" in scene.flags(), "it hears all again")
    assert "was made deaf to all but its own address" in scene.daemon.log()
