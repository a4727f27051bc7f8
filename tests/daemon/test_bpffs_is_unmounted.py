"""The file system of pins is unmounted: not while the daemon runs, unless by force, and a start makes anew what went with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov_xdp.datapath import pins as datapath_pins
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, host_config, run, wait_until

TRACEPOINTS = set(datapath_pins.TRACEPOINTS)
PAYLOAD = b"u" * 100_000


class Scene:
    """The pins are on a bpffs of this test's own."""

    def __init__(self, lab: Lab, mount: Path) -> None:
        self.mount = mount
        self.wire: Namespace
        host = lab.namespace("host")  # others of this host would take devices without programs for nobody's
        self.wire, self.uplink = lab.wire(host=host)
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "datapath": "tcx"},
            {"guest": self.two.name, "port_group": "lan", "datapath": "xdp"},
        ]
        folder = lab.folder / "d"
        folder.mkdir()
        self.daemon = Daemon(folder, mount / "pins", host_config(self.uplink, guests, [{"name": "lan"}]), host=host)
        lab._daemons.append(self.daemon)
        self.daemon.start()
        self.daemon.settle()
        for place, host, device in ((self.one, 1, "eth0"), (self.two, 2, "eth0"), (self.wire, 99, "w0")):
            place.address(host, device)

    def assert_all_reach_all(self) -> None:
        for sender, receiver, host in ((self.one, self.two, 2), (self.two, self.wire, 99), (self.wire, self.one, 1)):
            assert PAYLOAD == frames.send_tcp(sender, receiver, f"10.77.0.{host}", PAYLOAD)

    def vfs(self) -> list[tuple[str, ...]]:
        kept = ("address", "guest", "representor", "effective_mac", "interface")
        return [tuple(vf[key] for key in kept) for vf in self.daemon.ask("vf", "list") if vf["guest"]]

    def pins(self) -> list[str]:
        return sorted(path.name for path in (self.daemon.bpffs / "links").iterdir())


def mount_bpffs(folder: Path) -> None:
    run("mount", "-t", "bpf", "bpf", str(folder))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    tmp_path = tmp_path_factory.mktemp("bpffs")
    mount_bpffs(tmp_path)
    try:
        with Lab("bu") as lab:
            yield Scene(lab, tmp_path)
    finally:
        while tmp_path.is_mount():
            run("umount", "-l", str(tmp_path))


def test_nobody_unmounts_it_by_mistake_while_the_daemon_runs(scene: Scene) -> None:
    pins = scene.pins()
    with pytest.raises(LabError, match="target is busy"):
        run("umount", str(scene.mount))
    assert pins == scene.pins()
    scene.assert_all_reach_all()


@pytest.mark.parametrize("when", ["by force while it runs", "while it is away"])
def test_a_start_makes_all_anew(scene: Scene, when: str) -> None:
    """Devices, guests and their addresses are those that were."""
    vfs, pins = scene.vfs(), scene.pins()
    if when == "while it is away":
        scene.daemon.stop()
        run("umount", str(scene.mount))
    else:
        run("umount", "-l", str(scene.mount))
        scene.daemon.stop()
    mount_bpffs(scene.mount)
    assert not scene.daemon.bpffs.exists()
    scene.daemon.start()
    scene.daemon.settle()
    wait_until(lambda: pins == scene.pins(), "programs of the former mount let go of the uplink")
    assert vfs == scene.vfs()
    scene.assert_all_reach_all()


def test_unmounted_by_force_under_the_daemon_frames_go_on_and_pins_come_back_with_the_mount(scene: Scene) -> None:
    """Programs are asked for where they run, not only by their pins."""
    pins, stream = scene.pins(), frames.Stream(scene.one, scene.two, "10.77.0.2")
    run("umount", "-l", str(scene.mount))
    at_end = stream.sent
    wait_until(lambda: stream.sent > at_end + 1000, "frames for a while")
    assert [] == stream.stop()
    mount_bpffs(scene.mount)
    scene.assert_all_reach_all()
    wait_until(
        lambda: (scene.daemon.bpffs / "links").is_dir() and set(pins) - set(scene.pins()) <= TRACEPOINTS, "pins are back", 90
    )
    scene.assert_all_reach_all()
    scene.daemon.stop()
    scene.daemon.start()
    wait_until(lambda: pins == scene.pins(), "programs of the former mount let go of the uplink")
    scene.assert_all_reach_all()
