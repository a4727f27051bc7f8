"""A device is its kernel object, a namespace its inode: names are for people, and may change."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab import programs
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

LAN = [{"name": "lan"}]
PAYLOAD = b"p" * 200_000


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.wire, self.uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [{"guest": guest.name, "port_group": "lan"} for guest in (self.one, self.two)]
        self.daemon: Daemon = lab.daemon(host_config(self.uplink, guests, LAN))
        for place, host, device in ((self.one, 1, "eth0"), (self.two, 2, "eth0"), (self.wire, 99, "w0")):
            place.address(host, device)

    def streams(self) -> list[frames.Stream]:
        made = [frames.Stream(self.one, self.two, "10.77.0.2"), frames.Stream(self.one, self.wire, "10.77.0.99")]
        wait_until(lambda: min(stream.sent for stream in made) > 100, "the streams run")
        return made

    def mode(self, vf: str) -> str:
        return str(self.daemon.ask("vf", "show", vf)["datapath"]["active"])

    def is_free(self, vf: str) -> bool:
        return self.daemon.ask("vf", "show", vf)["state"] == "free"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("id") as lab:
        yield Scene(lab)


def rename(device: str, name: str) -> None:
    """Frames may go on meanwhile: since 6.2 the kernel renames a device that is up."""
    run("ip", "link", "set", device, "name", name)


@pytest.mark.parametrize("when", ["while it runs", "while it is away"])
def test_uplink_that_is_renamed(scene: Scene, when: str) -> None:
    name, former = scene.lab.device(f"n{when[-1]}"), scene.daemon.ask("pf", "show", "pf0")["uplink"]
    streams = scene.streams()
    if when == "while it is away":
        scene.daemon.stop()
    rename(former, name)
    if when == "while it is away":
        scene.daemon.start()
    wait_until(lambda: scene.daemon.ask("pf", "show", "pf0")["uplink"] == name, "the new name is taken up")
    assert [[], []] == [stream.stop() for stream in streams]
    assert f"uplink {former} of pf0: is called {name} now" in scene.daemon.log()
    assert name == scene.daemon.ask("export")["pfs"][0]["uplink"]
    assert scene.wire.can_ping("10.77.0.1")


@pytest.mark.parametrize("when", ["while it runs", "while it is away"])
def test_representor_that_is_renamed(scene: Scene, when: str) -> None:
    name, former = scene.lab.name(f"r{when[-1]}"), scene.daemon.ask("vf", "show", "pf0vf0")["representor"]
    streams = scene.streams()
    if when == "while it is away":
        scene.daemon.stop()
    rename(former, name)
    if when == "while it is away":
        scene.daemon.start()
    wait_until(lambda: scene.daemon.ask("vf", "show", "pf0vf0")["representor"] == name, "the new name is taken up")
    assert [[], []] == [stream.stop() for stream in streams]
    assert f"representor {former} of pf0vf0: is called {name} now" in scene.daemon.log()
    assert scene.wire.can_ping("10.77.0.1")


def test_guest_that_renames_its_interface_and_gives_it_another_alias(scene: Scene) -> None:
    """Offloads are still set when the mode changes: otherwise TCP would arrive broken, and ping would not show it."""
    scene.two.ip("link", "set", "eth0", "down")
    scene.two.ip("link", "set", "eth0", "name", "mine7", "alias", "sriov-xdp pf0vf6 vlan none")
    scene.two.ip("link", "set", "mine7", "up")
    try:
        for mode in ("xdp", "tcx", "auto"):
            scene.daemon.ask("vf", "set", "pf0vf1", "--datapath", mode)
            assert PAYLOAD == frames.send_tcp(scene.two, scene.one, "10.77.0.1", PAYLOAD)
            assert PAYLOAD == frames.send_tcp(scene.two, scene.wire, "10.77.0.99", PAYLOAD)
        with programs.attached(scene.two, "mine7", programs.constant(programs.XDP_PASS)):
            wait_until(lambda: scene.mode("pf0vf1") == "xdp", "the VF follows its guest")
            assert PAYLOAD == frames.send_tcp(scene.two, scene.one, "10.77.0.1", PAYLOAD)
            doctor = scene.daemon.command("doctor")
            assert 0 == doctor.returncode, doctor.stdout
        wait_until(lambda: scene.mode("pf0vf1") == "tcx", "the VF follows its guest back")
    finally:
        scene.two.ip("link", "set", "mine7", "down")
        scene.two.ip("link", "set", "mine7", "name", "eth0", "alias", "sriov-xdp pf0vf1 vlan none")
        scene.two.ip("link", "set", "eth0", "up")


@pytest.mark.parametrize(("name", "shown"), [("a;id>&2", "'a;id>&2'"), ("x\x1b[7mx", "'interface ")])
def test_what_a_guest_calls_its_interface_is_no_command(scene: Scene, name: str, shown: str) -> None:
    """Remedies are there to be pasted into a root's shell, and what is printed goes to its terminal."""
    scene.two.ip("link", "set", "eth0", "down")
    scene.two.ip("link", "set", "eth0", "name", name)
    try:
        doctor = scene.daemon.command("doctor").stdout
        checks = json.loads(scene.daemon.command("doctor", "-j").stdout)
        problems = [check["remedy"] for check in checks if not check["is_ok"]]
        assert "\x1b" not in doctor
        assert [True] == [f"ip link set {shown}" in problem for problem in problems]
    finally:
        scene.two.ip("link", "set", name, "name", "eth0")
        scene.two.ip("link", "set", "eth0", "up")


def test_interface_that_the_guest_moved_inward_cannot_run_xdp(scene: Scene) -> None:
    """Its offloads cannot be set there; on tc it works on."""
    inner = scene.lab.namespace("inner")
    scene.two.ip("link", "set", "eth0", "netns", inner.name)
    inner.address(2)
    before = scene.daemon.ask("export")
    done = scene.daemon.command("vf", "set", "pf0vf1", "--datapath", "xdp")
    assert 0 != done.returncode
    assert "not in namespace" in done.stderr
    assert "where its offloads cannot be set" in done.stderr
    assert (before, "tcx") == (scene.daemon.ask("export"), scene.mode("pf0vf1"))
    assert PAYLOAD == frames.send_tcp(inner, scene.one, "10.77.0.1", PAYLOAD)
    doctor = scene.daemon.command("doctor")
    assert (1, True) == (doctor.returncode, "the guest moved it" in doctor.stdout)
    scene.daemon.stop()
    scene.daemon.start()
    assert PAYLOAD == frames.send_tcp(inner, scene.one, "10.77.0.1", PAYLOAD)
    inner.ip("link", "set", "eth0", "netns", scene.two.name)
    scene.two.address(2)


def test_symlinked_namespace_whose_process_dies(scene: Scene) -> None:
    hidden = scene.lab.namespace("hidden")
    life = hidden.start("sleep", "600")
    wait_until(lambda: Path(f"/proc/{life.pid}/ns/net").stat().st_ino == (NAMED / hidden.name).stat().st_ino, "it is inside")
    link = NAMED / scene.lab.name("link")
    link.symlink_to(f"/proc/{life.pid}/ns/net")
    try:
        vf = scene.daemon.ask("vf", "attach", "--guest", "g-link", "--netns", link.name, "--port-group", "lan")["address"]
        scene.lab.remove(hidden)
        life.communicate()
        wait_until(lambda: scene.is_free(vf), "the VF is free", 2)
        assert "unplugged: namespace removed" == scene.daemon.ask("audit", "list", "--vf", vf)[-1]["request"]
    finally:
        link.unlink()


@pytest.mark.parametrize("form", ["--pid", "--netns"])
def test_namespace_of_a_process(scene: Scene, form: str) -> None:
    guest = scene.lab.namespace(f"proc{form.strip('-')}")
    life = guest.start("sleep", "600")
    path = f"/proc/{life.pid}/ns/net"
    wait_until(lambda: Path(path).stat().st_ino == (NAMED / guest.name).stat().st_ino, "it is inside")
    place = str(life.pid) if form == "--pid" else path
    vf = scene.daemon.ask("vf", "attach", "--guest", "g-proc", form, place, "--port-group", "lan")
    assert path == vf["netns"]
    guest.address(7)
    assert guest.can_ping("10.77.0.1")
    assert [vf["address"]] == guest.vf("list")
    life.kill()
    life.communicate()
    wait_until(lambda: scene.is_free(vf["address"]), "the VF is free", 2)


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--netns", "123456"], 2, "--pid 123456"),
        (["--netns", "name", "--pid", "1"], 2, "give one of them"),
        (["--netns", "/proc/999999999/ns/net"], 1, "a path must be that of a namespace that lives"),
        (["--netns", "/proc/self/ns/net"], 1, "is the host's own"),
    ],
)
def test_namespace_that_cannot_be(scene: Scene, options: list[str], code: int, text: str) -> None:
    devices = {link["ifname"] for link in json.loads(run("ip", "-j", "link")) if scene.lab.tag in link["ifname"]}
    done = scene.daemon.command("vf", "attach", "--guest", "g-none", *options, "--port-group", "lan")
    assert code == done.returncode, done.stderr
    assert text in done.stderr
    assert devices == {link["ifname"] for link in json.loads(run("ip", "-j", "link")) if scene.lab.tag in link["ifname"]}


NO_TEXT = os.fsencode("\udcff\udcfe")  # a name that is no UTF-8


def rename_in(guest: Namespace, before: bytes, after: bytes) -> None:
    for change in (["down"], ["name", after], ["up"]):
        device = after if change == ["up"] else before
        subprocess.run(["ip", "-n", guest.name, "link", "set", "dev", device, *change], check=True)


def test_a_name_that_is_no_text_keeps_nobody_from_anything(scene: Scene) -> None:
    """The kernel takes any bytes, and the guest chooses."""
    scene.daemon.ask("vf", "set", "pf0vf1", "--datapath", "xdp")
    rename_in(scene.two, b"eth0", NO_TEXT)
    scene.two.run("sh", "-c", "ip addr add 10.77.0.2/24 dev $(ip -br link | grep -v ^lo | cut -d@ -f1)", check=False)
    try:
        scene.daemon.kill()
        scene.daemon.start()
        assert ["xdp", "auto"] == [scene.daemon.ask("vf", "show", vf)["datapath"]["mode"] for vf in ("pf0vf1", "pf0vf0")]
        assert "not in service" not in scene.daemon.ask("vf", "show", "pf0vf1")["datapath"]["reason"]
        scene.daemon.ask("vf", "set", "pf0vf1", "--datapath", "auto")
        assert 0 == scene.daemon.command("doctor").returncode
        assert scene.one.can_ping("10.77.0.99")
    finally:
        rename_in(scene.two, NO_TEXT, b"eth0")
        scene.two.ip("addr", "replace", "10.77.0.2/24", "dev", "eth0")


def test_a_namespace_of_the_daemons_making_with_a_device_of_no_text_stays(scene: Scene) -> None:
    made = scene.lab.adopt(scene.lab.name("made"))
    vf = scene.daemon.ask("vf", "attach", "--guest", made.name, "--port-group", "lan")["address"]
    command = ["ip", "-n", made.name, "link", "add", NO_TEXT, "type", "veth", "peer", "name", "theirs"]
    subprocess.run(command, check=True)
    scene.daemon.ask("vf", "detach", vf)
    assert (NAMED / made.name).exists()
    assert "left as interface" in scene.daemon.log()
    scene.lab.remove(made)


def test_a_namespace_of_the_daemons_making_with_a_device_that_is_called_as_the_kernels_own_stays(scene: Scene) -> None:
    made = scene.lab.adopt(scene.lab.name("made2"))
    vf = scene.daemon.ask("vf", "attach", "--guest", made.name, "--port-group", "lan")["address"]
    made.ip("link", "add", "sit0", "type", "bridge")
    scene.daemon.ask("vf", "detach", vf)
    assert (NAMED / made.name).exists()
    scene.lab.remove(made)


def test_a_namespace_that_is_renamed_is_the_same(scene: Scene) -> None:
    place, other = scene.lab.namespace("old"), scene.lab.adopt(scene.lab.name("new"))
    vf = scene.daemon.ask("vf", "attach", "--guest", "renamed", "--netns", place.name, "--port-group", "lan")["address"]
    (NAMED / other.name).touch()
    run("mount", "--bind", str(NAMED / place.name), str(NAMED / other.name))
    run("ip", "netns", "del", place.name)
    wait_until(lambda: scene.daemon.ask("vf", "show", vf)["netns"] == other.name, "the new name is taken up")
    assert "eth0" in other.ip("link")
    scene.daemon.ask("vf", "detach", vf)


def test_what_is_no_network_namespace_is_told(scene: Scene) -> None:
    for path in ("/etc/hostname", "/proc/self/ns/mnt"):
        done = scene.daemon.command("vf", "attach", "--guest", "x", "--netns", path, "--port-group", "lan")
        assert (1, True) == (done.returncode, "no network namespace" in done.stderr), done.stderr


@pytest.mark.parametrize("pid", ["1_0", "0100", "+7", "0"])
def test_a_number_of_a_process_is_digits(scene: Scene, pid: str) -> None:
    assert 2 == scene.daemon.command("vf", "attach", "--guest", "x", "--pid", pid, "--port-group", "lan").returncode


def test_a_guest_that_hid_its_interface_is_served_over_a_restart(scene: Scene) -> None:
    """Pinned to XDP: what it has goes on; and one that has none is served by tc."""
    inner = scene.lab.namespace("inner2")
    scene.daemon.ask("vf", "set", "pf0vf1", "--datapath", "xdp")
    scene.two.ip("link", "set", "eth0", "netns", inner.name)
    inner.address(2)
    try:
        scene.daemon.stop()
        scene.daemon.start()
        shown = scene.daemon.ask("vf", "show", "pf0vf1")
        assert ("xdp", True) == (shown["datapath"]["active"], "not in namespace" in shown["datapath"]["reason"])
        assert scene.one.can_ping("10.77.0.2")
        scene.daemon.kill()
        (scene.daemon.bpffs / "links" / "pf0vf1_xdp").unlink()
        scene.daemon.start()
        assert "tcx" == scene.mode("pf0vf1")
        assert scene.one.can_ping("10.77.0.2")
        scene.daemon.ask("vf", "set", "pf0vf1", "--link-state", "disable")
        assert not scene.one.can_ping("10.77.0.2")
        scene.daemon.ask("vf", "set", "pf0vf1", "--link-state", "auto")
    finally:
        inner.ip("link", "set", "eth0", "netns", scene.two.name)
        scene.two.address(2)
    wait_until(lambda: scene.mode("pf0vf1") == "xdp", "it is in its mode again")
    scene.daemon.ask("vf", "set", "pf0vf1", "--datapath", "auto")
