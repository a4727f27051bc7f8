"""What is in a start's way is found before anything is done: no device, no pin, no state is left behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov_xdp.lab.host import Daemon, Lab, LabError, host_config, run

SRIOV_XDP = str(Path(sys.executable).parent / "sriov-xdp")
NAMED = Path("/run/netns")
GROUPS = [{"name": "lan", "vlan": "none"}]


class Scene:
    """A daemon that is to start on an uplink, with a guest."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        _wire, self.uplink = lab.wire()
        self.guest = lab.namespace("vm")
        self.before = self.host()
        (lab.folder / "d").mkdir()
        config = host_config(self.uplink, [{"guest": self.guest.name, "port_group": "lan"}], GROUPS)
        self.daemon = Daemon(lab.folder / "d", Path("/sys/fs/bpf") / lab.name("d"), config)

    def host(self) -> tuple[str, str]:
        return run("ip", "-d", "link", "show", self.uplink), self.guest.ip("-br", "link")

    def assert_nothing_was_done(self) -> None:
        assert self.before == self.host()
        assert not self.daemon.state_dir.exists() or [] == [path for path in self.daemon.state_dir.iterdir() if path.name != "lock"]
        assert [] == ([*self.daemon.bpffs.iterdir()] if self.daemon.bpffs.exists() else [])


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("bf") as lab:
        made = Scene(lab)
        try:
            yield made
        finally:
            made.daemon.teardown()


def test_a_metrics_port_that_somebody_has(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", scene.daemon.metrics_port)):
        with pytest.raises(LabError, match=r"metrics: 127\.0\.0\.1:\d+: Address already in use; choose another with --metrics"):
            scene.daemon.start()
        assert 5 == scene.daemon.process.returncode
        scene.assert_nothing_was_done()


def test_something_else_in_the_place_of_the_admin_socket(scene: Scene) -> None:
    (scene.daemon.run_dir / "admin.sock").mkdir(parents=True)
    with pytest.raises(LabError, match=r"admin\.sock: is not a socket"):
        scene.daemon.start()
    assert 5 == scene.daemon.process.returncode
    scene.assert_nothing_was_done()


def test_a_folder_of_somebody_elses_pins(scene: Scene) -> None:
    theirs = scene.daemon.bpffs / "theirs"
    theirs.mkdir(parents=True)
    (theirs / "thing").mkdir()
    with pytest.raises(LabError, match="is no folder of one daemon's pins, as theirs is in it"):
        scene.daemon.start()
    assert (5, [theirs]) == (scene.daemon.process.returncode, [*scene.daemon.bpffs.iterdir()])
    assert scene.before == scene.host()
    (theirs / "thing").rmdir()
    theirs.rmdir()


def test_a_folder_that_is_on_no_bpffs(scene: Scene) -> None:
    scene.daemon.bpffs = scene.lab.folder / "pins"
    with pytest.raises(LabError, match="is on no bpffs; choose a folder under /sys/fs/bpf"):
        scene.daemon.start()
    assert not scene.daemon.bpffs.exists()
    scene.assert_nothing_was_done()


@pytest.mark.parametrize(("command", "options"), [("daemon", ("--config", "host.yaml")), ("recover", ()), ("teardown", ("--yes",))])
def test_somebody_who_is_not_root_is_told_so_in_a_sentence(scene: Scene, command: str, options: tuple[str, ...]) -> None:
    places = (
        "--state-dir",
        str(scene.daemon.state_dir),
        "--run-dir",
        str(scene.daemon.run_dir),
        "--bpffs",
        str(scene.daemon.bpffs),
    )
    done = subprocess.run(
        [SRIOV_XDP, command, *options, *places], user=65534, group=65534, capture_output=True, text=True, check=False, cwd="/"
    )
    sentence = f"{command}: this needs root (programs, devices, namespaces); run it as root, for example with sudo\n"
    assert (1, "", sentence) == (done.returncode, done.stdout, done.stderr)
    scene.assert_nothing_was_done()


def test_ctrl_c_again_and_again_leaves_nothing_of_the_demonstration() -> None:
    """Those after the first come while it is removed."""
    with tempfile.TemporaryDirectory() as folder:  # a short name, as sockets are made there
        demo = subprocess.Popen(
            ["env", "--default-signal=INT", SRIOV_XDP, "demo"],  # whoever runs this may ignore it
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": folder},
            start_new_session=True,
        )
        assert demo.stdout is not None
        assert demo.stdout.readline(), "the first step is told"
        (name,) = (path.name.removesuffix("w") for path in NAMED.iterdir() if path.name.endswith(f"{demo.pid % 100000}w"))
        while demo.poll() is None:
            os.killpg(demo.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                demo.wait(0.2)
        told, said = demo.communicate()
        assert (130, "demo: interrupted; the throw-away host is removed\n") == (demo.returncode, said), told
        assert [] == [*Path(folder).iterdir()]
    places = (NAMED, Path("/sys/class/net"), Path("/sys/fs/bpf"))
    assert [] == [path for place in places for path in place.iterdir() if path.name.startswith(name)]
