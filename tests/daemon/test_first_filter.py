"""By filters alone (clsact): ours come first, whoever else has some there, as one behind judges only what another lets pass."""

import json
from collections.abc import Iterator

import pytest

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

LETS_ALL_PASS = ("bpf", "bytecode", "1,6 0 0 4294967295", "flowid", "1:1")
MATCHES_ALL = ("u32", "match", "u32", "0", "0", "flowid", "1:1")


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        _wire, self.uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [{"guest": place.name, "port_group": "lan"} for place in (self.one, self.two)]
        self.daemon: Daemon = lab.daemon(host_config(self.uplink, guests, [{"name": "lan"}]), "--tc", "clsact")
        for host, place in enumerate((self.one, self.two), 1):
            place.address(host)
        self.representor = str(self.daemon.vf_of(self.one.name)["representor"])

    def add(self, device: str, handle: int, *filter_: str) -> None:
        place = ("pref", "1", "protocol", "all", *(("handle", str(handle)) if handle else ()))
        run("tc", "filter", "add", "dev", device, "ingress", *place, *filter_)

    def filters(self, device: str) -> list[str]:
        """Names, as they are asked; empty of one without."""
        found = json.loads(run("tc", "-j", "filter", "show", "dev", device, "ingress"))
        return [one["options"].get("bpf_name", "") for one in found if "handle" in one.get("options", {})]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("ff") as lab:
        yield Scene(lab)


def ours(scene: Scene, device: str) -> list[int]:
    """Places of our filters: a new one is there before the old one goes."""
    return [place for place, name in enumerate(scene.filters(device)) if name.startswith("tc_")]


@pytest.mark.parametrize("is_running", [True, False])
def test_a_filter_that_was_put_before_ours_comes_behind(scene: Scene, is_running: bool) -> None:
    devices = (scene.representor, scene.uplink)
    if not is_running:
        scene.daemon.kill()
    for device in devices:
        scene.add(device, 7 if is_running else 9, *LETS_ALL_PASS)
        assert not scene.filters(device)[0].startswith("tc_") or is_running
    if not is_running:
        scene.daemon.start()
    for device in devices:
        wait_until(lambda device=device: ours(scene, device) == [0], "ours is first again, and there once")
        assert "" in scene.filters(device), "and the other one stays"
    wait_until(lambda: scene.one.can_ping("10.77.0.2"), "the guest is served")
    if is_running:
        assert "tc_vf was not on its representor any more" in scene.daemon.log()


def test_filters_of_another_kind_at_our_priority_are_told_of(scene: Scene) -> None:
    scene.daemon.stop()
    run("tc", "filter", "del", "dev", scene.uplink, "ingress")
    scene.add(scene.uplink, 0, *MATCHES_ALL)
    scene.daemon.start()
    said = scene.daemon.command("doctor").stdout
    assert "somebody else's tc filter of another kind has priority 1 there" in said
    assert "move it behind" in said
