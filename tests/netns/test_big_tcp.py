"""IPv6 super-frames above 64 KB (BIG TCP): a header stands in them that segmentation takes out, so their segments fit."""

from collections.abc import Iterator

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config

MOST_BYTES = "190000"


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.one, self.two = lab.namespace("one"), lab.namespace("two")
        guests: list[dict[str, str]] = [
            {"guest": guest.name, "port_group": "lan", "datapath": "tcx"} for guest in (self.one, self.two)
        ]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, [{"name": "lan", "vlan": "none"}]))
        for host, guest in enumerate((self.one, self.two), 1):
            guest.address(host)
            guest.ip("link", "set", "eth0", "gso_max_size", MOST_BYTES, "gro_max_size", MOST_BYTES)

    def drops(self, guest: Namespace) -> dict[str, int]:
        return dict(self.daemon.vf_of(guest.name)["drops"])


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("bt") as lab:
        yield Scene(lab)


def test_big_tcp_arrives_without_a_drop(scene: Scene) -> None:
    before = scene.drops(scene.one)
    payload = bytes(range(256)) * (1 << 16)
    with frames.tapped((scene.two, "eth0")) as (tap,):
        assert payload == frames.send_tcp(scene.one, scene.two, "fd77::2", payload)
        longest_bytes = max(len(data) for data in tap.drain())
    assert longest_bytes == 1 << 16, "no super-frame was big: the tap sees so much of one"
    assert before == scene.drops(scene.one)
