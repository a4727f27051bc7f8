"""A daemon that dies between two steps of a verb: no port is open without its programs until the next start, which finishes what
can be finished and leaves nothing of what cannot."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov_xdp.api.client import CommandFailed, call
from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run

SHAPED = {"name": "shaped", "policy": {"shaping": {"ingress": {"average_kbps": 50000}}}}
LAN = [{"name": "lan"}, {"name": "tagged", "vlan": {"access": 77}}, SHAPED]
NEW_MAC = "02:00:00:00:05:05"
_DIES = """import importlib, os, signal, sys
def die():
    os.kill(os.getpid(), signal.SIGKILL)
moment, place = sys.argv.pop(1), sys.argv.pop(1)
module, _, path = place.partition(":")
*outer, name = path.split(".")
owner = importlib.import_module(module)
for part in outer:
    owner = getattr(owner, part)
real = getattr(owner, name)
def dies(*arguments, **named):
    if moment == "before":
        die()
    real(*arguments, **named)
    die()
setattr(owner, name, dies)
from sriov_xdp.cli.main import run
run()
"""
LIFECYCLE, HOOKS = "sriov_xdp.pf.verbs.lifecycle:", "sriov_xdp.pf.hands.hooks:Hooks."
VETH, REPRESENTORS = "sriov_xdp.pf.hands.veth:", "sriov_xdp.pf.hands.representors:"
UNDONE = [
    ("before", f"{LIFECYCLE}commit"),
    ("after", f"{LIFECYCLE}commit"),
    ("after", "sriov_xdp.host.namespaces:NewNamespace.give_name"),
    ("before", f"{VETH}create"),
]
DONE = [
    ("after", f"{VETH}create"),
    ("before", "sriov_xdp.host.links:Links.silence"),
    ("after", f"{REPRESENTORS}prepare"),
    ("after", "sriov_xdp.pf.process.mailboxes:Mailboxes.open"),
    ("before", f"{HOOKS}hold"),
    ("after", f"{HOOKS}hold"),
    ("after", f"{VETH}enter_xdp"),
    ("after", f"{HOOKS}attach_xdp"),
    ("before", f"{REPRESENTORS}open_port"),
    ("after", f"{REPRESENTORS}open_port"),
    ("before", f"{HOOKS}settle"),
    ("before", "sriov_xdp.host.clsact:remove_filter"),
    ("after", f"{HOOKS}settle"),
]
CHANGING = [
    ("after", "sriov_xdp.pf.verbs.operate:commit"),
    ("before", f"{REPRESENTORS}show"),
    ("after", f"{REPRESENTORS}show"),
    ("before", "sriov_xdp.pf.hands.live:follow_link_state"),
    ("after", f"{HOOKS}detach_xdp"),
]
HOPS = "sriov_xdp.pf.hands.hops:"
SHAPING = [
    ("after", "sriov_xdp.host.links:Links.create_hop"),
    ("before", "sriov_xdp.host.tbf:put"),
    ("before", f"{HOPS}open_again"),
    ("after", f"{HOPS}open_again"),
]
DETACHING = [
    ("after", f"{LIFECYCLE}commit"),
    ("after", f"{VETH}remove"),
    ("after", f"{HOOKS}forget"),
    ("before", "sriov_xdp.pf.hands.leaving:remove_namespace"),
    ("after", "sriov_xdp.host.namespaces:remove"),
]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: Namespace = lab.namespace("h")
        self.daemon: Daemon = lab.daemon(host_config(None, [], LAN), host=self.host)
        self.guest: Namespace = lab.adopt(lab.name("vm"))
        self.program = self.daemon.program
        self.empty = self.leavings()

    def restart(self, *dies: str) -> None:
        if self.daemon.process.poll() is None:
            self.daemon.stop()
        self.daemon.program = [sys.executable, "-c", _DIES, *dies] if dies else self.program
        self.daemon.start()

    def call(self, verb: str, **document: str) -> None:
        call(self.daemon.run_dir, verb, {"vf": "pf0vf0", **document})

    def attach(self, group: str = "lan") -> None:
        self.call("vf-attach", guest=self.guest.name, port_group=group, datapath="xdp")

    def hops(self) -> list[str]:
        """Names of the ends of hops that are up and have a carrier."""
        is_open = {link["ifname"]: {"UP", "LOWER_UP"} <= set(link["flags"]) for link in self.links()}
        return sorted(name for name, is_so in is_open.items() if name.startswith("hop") and is_so)

    def leavings(self) -> tuple[list[str], list[str], list[str]]:
        """Devices of the host, pins of links, namespaces of this lab."""
        pins = sorted(path.name for path in (self.daemon.bpffs / "links").iterdir())
        names = sorted(path.name for path in NAMED.iterdir() if path.name.startswith(self.lab.tag))
        return sorted(link["ifname"] for link in self.links()), pins, names

    def links(self) -> list[dict]:
        return [link for link in json.loads(run("ip", "-n", self.host.name, "-j", "link")) if link["ifname"] != "lo"]

    def assert_no_open_port(self) -> None:
        """Up, only with a program that holds what comes in."""
        has_link = (self.daemon.bpffs / "links" / "pf0vf0_tc").exists()
        for link in self.links():
            if link["ifname"].startswith("hop") and link["ifname"].endswith("n"):
                continue  # where frames go in
            filters = run("tc", "-n", self.host.name, "filter", "show", "dev", link["ifname"], "ingress", check=False)
            assert "UP" not in link["flags"] or has_link or "tc_vf" in filters


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("da") as lab:
        yield Scene(lab)


@pytest.mark.parametrize(("moment", "place"), [*UNDONE, *DONE])
def test_attaching(scene: Scene, moment: str, place: str) -> None:
    scene.restart(moment, place)
    with contextlib.suppress(CommandFailed):
        scene.attach()
    scene.daemon.process.wait(10)
    scene.assert_no_open_port()
    scene.restart()
    state = scene.daemon.ask("vf", "show", "pf0vf0")["state"]
    if (moment, place) in UNDONE:
        assert ("free", scene.empty) == (state, scene.leavings())
    else:
        assert "attached" == state
        scene.daemon.settle()
        assert ["pf0vf0_tc", "pf0vf0_xdp"] == [pin for pin in scene.leavings()[1] if pin.startswith("pf0vf0")]
        assert ["pf0vf0"] == scene.guest.vf("list")
        assert scene.guest.vf("status")["agree"]
        assert 0 == scene.daemon.command("doctor").returncode
        scene.call("vf-detach")
    assert scene.empty == scene.leavings()


@pytest.mark.parametrize(("moment", "place"), CHANGING)
def test_changing(scene: Scene, moment: str, place: str) -> None:
    """What was committed holds at the next start, in the guest too."""
    scene.restart()
    scene.attach()
    try:
        scene.restart(moment, place)
        with contextlib.suppress(CommandFailed):
            scene.call("vf-set", port_group="tagged", mac=NEW_MAC, datapath="tcx", link_state="disable")
        scene.daemon.process.wait(10)
        scene.restart()
        shown = scene.daemon.ask("vf", "show", "pf0vf0")
        assert ("tagged", NEW_MAC, "disable") == (shown["port_group"], shown["effective_mac"], shown["link_state"])
        (link,) = json.loads(scene.guest.ip("-j", "link", "show", "eth0"))
        assert (NEW_MAC, True) == (link["address"], "NO-CARRIER" in link["flags"])
        assert "sriov-xdp pf0vf0 vlan access 77" == link["ifalias"]
        assert {"tcx"} == {shown["datapath"]["mode"], shown["datapath"]["active"]}
        if place != f"{HOOKS}detach_xdp":  # between the two nothing says what the offloads were
            assert "tx-checksumming: on" in scene.guest.run("ethtool", "-k", "eth0")
    finally:
        scene.call("vf-detach")


@pytest.mark.parametrize(("moment", "place"), DETACHING)
def test_detaching(scene: Scene, moment: str, place: str) -> None:
    scene.restart()
    scene.attach()
    scene.restart(moment, place)
    with contextlib.suppress(CommandFailed):
        scene.call("vf-detach")
    scene.daemon.process.wait(10)
    scene.assert_no_open_port()
    scene.restart()
    assert "free" == scene.daemon.ask("vf", "show", "pf0vf0")["state"]
    assert scene.empty == scene.leavings()
    assert not Path(NAMED / scene.guest.name).exists()


@pytest.mark.parametrize(("moment", "place"), SHAPING)
@pytest.mark.parametrize("is_attached", [True, False])
def test_shaping_what_a_guest_sends(scene: Scene, moment: str, place: str, *, is_attached: bool) -> None:
    """As it is attached, and as its port is changed."""
    scene.restart()
    if is_attached:
        scene.attach()
    scene.restart(moment, place)
    with contextlib.suppress(CommandFailed):
        scene.call("vf-set", port_group="shaped") if is_attached else scene.attach("shaped")
    scene.daemon.process.wait(10)
    scene.assert_no_open_port()
    scene.restart()
    assert "shaped" == scene.daemon.ask("vf", "show", "pf0vf0")["port_group"]
    far, near = scene.hops()
    assert "rate 50Mbit" in run("tc", "-n", scene.host.name, "qdisc", "show", "dev", near)
    assert "tc_vf" in run("tc", "-n", scene.host.name, "filter", "show", "dev", far, "ingress")
    assert 0 == scene.daemon.command("doctor").returncode
    scene.call("vf-detach")
    assert scene.empty == scene.leavings()


@pytest.mark.parametrize(("moment", "place"), [("before", f"{HOPS}remove"), ("after", f"{HOPS}remove")])
@pytest.mark.parametrize("stays", [True, False])
def test_shaping_nothing_any_more(scene: Scene, moment: str, place: str, *, stays: bool) -> None:
    scene.restart()
    scene.attach("shaped")
    scene.restart(moment, place)
    with contextlib.suppress(CommandFailed):
        scene.call("vf-set", port_group="lan") if stays else scene.call("vf-detach")
    scene.daemon.process.wait(10)
    scene.assert_no_open_port()
    scene.restart()
    assert [] == scene.hops()
    assert 0 == scene.daemon.command("doctor").returncode
    if stays:
        scene.call("vf-detach")
    assert scene.empty == scene.leavings()
