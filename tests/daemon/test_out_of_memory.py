"""A control group that lets the daemon have no more memory: what it cannot do is refused or undone, or the kernel ends it. Frames
go on in either case, and a start with memory finds the host as it was acknowledged."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from neighbours import losing_nothing

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

CONTROL_GROUPS = Path("/sys/fs/cgroup")
ROOM_BYTES = 1 << 20
MOST_ATTACHED = 60


class MemoryGroup:
    """A control group of the memory controller, of whichever version of them the host has."""

    def __init__(self, name: str) -> None:
        controllers = CONTROL_GROUPS / "cgroup.controllers"
        self.is_unified = controllers.exists() and "memory" in controllers.read_text().split()
        self.path = (CONTROL_GROUPS if self.is_unified else CONTROL_GROUPS / "memory") / name
        self.path.mkdir()

    def take(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def limit(self, room_bytes: int) -> None:
        """To what is in use, and so much more."""
        usage, limit = ("memory.current", "memory.max") if self.is_unified else ("memory.usage_in_bytes", "memory.limit_in_bytes")
        (self.path / limit).write_text(str(int((self.path / usage).read_text()) + room_bytes))

    def remove(self) -> None:
        wait_until(lambda: (self.path / "cgroup.procs").read_text() == "", "nobody is in the control group")
        self.path.rmdir()


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [{"guest": place.name, "port_group": "lan"} for place in (self.one, self.two)]
        config = host_config(None, guests, [{"name": "lan"}])
        config["pfs"][0]["num_vfs"] = 2 + MOST_ATTACHED
        self.daemon: Daemon = lab.daemon(config)
        self.one.address(1)
        self.two.address(2)

    def attached(self) -> set[str]:
        return {str(vf["address"]) for vf in self.daemon.ask("vf", "list") if vf["guest"]}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab("om") as lab:
        yield Scene(lab)


@contextlib.contextmanager
def held_to_its_memory(scene: Scene) -> Iterator[None]:
    """The daemon starts anew in the group, as pages that it has already stay where they were."""
    group = MemoryGroup(f"sriov-xdp-{scene.lab.tag}")
    try:
        group.take(scene.daemon.process.pid)
        group.limit(ROOM_BYTES)
        yield
    finally:
        scene.daemon.kill()
        group.remove()


def test_without_memory_frames_go_on_and_what_was_acknowledged_is_there_afterwards(scene: Scene) -> None:
    guest = scene.lab.namespace("many")
    before, acknowledged, codes = scene.attached(), set[str](), list[int]()
    with losing_nothing((scene.one, scene.two, "10.77.0.2")):
        with held_to_its_memory(scene):
            for number in range(MOST_ATTACHED):
                done = scene.daemon.command("vf", "attach", "--guest", guest.name, "--ifname", f"e{number}", "--port-group", "lan")
                codes.append(done.returncode)
                assert "Traceback" not in done.stderr
                if done.returncode:
                    break
                acknowledged.add(f"e{number}")
            assert "Traceback" not in scene.daemon.log()
        scene.daemon.start()
    assert before <= scene.attached()
    kept = {str(vf["interface"]) for vf in scene.daemon.ask("vf", "list") if vf["guest"] == guest.name}
    in_flight = {f"e{len(acknowledged)}"}  # where the daemon died over it, the next start finishes it
    assert acknowledged <= kept <= acknowledged | in_flight, codes
    assert 0 == scene.daemon.command("doctor").returncode
