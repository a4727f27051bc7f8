"""Minutes of what a host does all day: guests come and go, daemons are restarted and killed, policies change, while others send.
Not a frame of theirs is lost, and the daemon is as large afterwards as before."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, OK, RawMailbox

from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

SOAK_SECONDS = 120
LATE = 4
_GROWTH_KIB = 8 << 10
GROUPS = [{"name": "lan", "policy": {"security": {"mac_changes": "accept"}}}, {"name": "late"}]


class Scene:
    """one by XDP, two by tc, and the wire send to each other in a ring."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.wire: Namespace
        self.wire, uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "datapath": "xdp"},
            {"guest": self.two.name, "port_group": "lan", "datapath": "tcx"},
        ]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, GROUPS))
        self.daemon.settle()
        for place, host, device in ((self.one, 1, "eth0"), (self.two, 2, "eth0"), (self.wire, 99, "w0")):
            place.address(host, device)

    def streams(self) -> list[frames.Stream]:
        ring = ((self.one, self.two, 2), (self.two, self.wire, 99), (self.wire, self.one, 1))
        return [frames.Stream(sender, receiver, f"10.77.0.{host}") for sender, receiver, host in ring]

    def pins(self) -> list[str]:
        return sorted(path.name for path in (self.daemon.bpffs / "links").iterdir())

    def size(self) -> tuple[int, int, list[str], list[str]]:
        """Memory of its own, descriptors, pins and namespaces."""
        process = Path(f"/proc/{self.daemon.process.pid}")
        memory = next(line.split()[1] for line in (process / "status").read_text().splitlines() if line.startswith("RssAnon"))
        names = sorted(path.name for path in NAMED.iterdir() if path.name.startswith(self.lab.tag))
        return int(memory), len(list((process / "fd").iterdir())), self.pins(), names


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("sk") as lab:
        yield Scene(lab)


def a_day(scene: Scene, number: int) -> None:
    """Of a host."""
    guests = [scene.lab.adopt(scene.lab.name(f"late{late}")) for late in range(LATE)]
    mode = ("xdp", "tcx", "auto")[number % 3]
    attach = ("vf", "attach", "--port-group", "late", "--datapath", mode)
    vfs = [scene.daemon.ask(*attach, "--guest", guest.name)["address"] for guest in guests]
    with RawMailbox(scene.one, scene.daemon.vf_of(scene.one.name)["address"]) as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, f"02:00:00:00:41:{number % 256:02x}", kind=2)
    scene.daemon.ask("port-group", "set", "late", "--vlan", f"access:{number % 4000 + 1}")
    if number % 2:
        scene.daemon.kill()
    else:
        scene.daemon.stop()
    scene.daemon.start()
    scene.daemon.ask("vf", "reset", scene.daemon.vf_of(scene.one.name)["address"])
    for vf in vfs[: LATE // 2]:
        scene.daemon.ask("vf", "detach", vf)
    for guest in guests[LATE // 2 :]:
        scene.lab.remove(guest)
    wait_until(
        lambda: [] == [vf for vf in scene.daemon.ask("vf", "list") if vf["guest"] in {g.name for g in guests}], "all are gone"
    )
    wait_until(lambda: not [pin for pin in scene.pins() if pin.startswith(tuple(f"{vf}_" for vf in vfs))], "and their programs")
    scene.daemon.settle()


def test_nothing_is_lost_and_nothing_grows(scene: Scene) -> None:
    a_day(scene, 0)
    before = scene.size()
    streams = scene.streams()
    try:
        deadline, days = time.monotonic() + SOAK_SECONDS, 1
        while time.monotonic() < deadline:
            a_day(scene, days)
            days += 1
    finally:
        lost = [stream.stop() for stream in streams]
    assert [[], [], []] == lost, f"{days} days, {[stream.sent for stream in streams]} frames"
    after = scene.size()
    assert before[0] + _GROWTH_KIB > after[0]
    assert before[1] >= after[1]
    assert before[2:] == after[2:]
    assert [] == [line for line in scene.daemon.log().splitlines() if "Traceback" in line]
