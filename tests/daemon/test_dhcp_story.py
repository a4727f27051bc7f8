"""The seed's story with a real DHCP server on the wire and a real client in the guest."""

from collections.abc import Iterator

import pytest

from sriov_xdp.lab.dhcp import DhcpServer, lease
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config

NEW_MAC = "02:00:00:aa:bb:01"
GROUPS = [
    {"name": "strict", "vlan": "none"},
    {"name": "open", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}}},
]


class Scene:
    def __init__(self, lab: Lab, mode: str) -> None:
        self.folder = lab.folder
        self.mode = mode
        self.wire, uplink = lab.wire()
        self.wire.address(99, "w0")
        self.vm: Namespace = lab.namespace("vm")
        self.daemon: Daemon = lab.daemon(host_config(uplink, [], GROUPS))

    def attach(self, group: str) -> str:
        place = ["--guest", self.vm.name, "--port-group", group, "--datapath", self.mode]
        return str(self.daemon.ask("vf", "attach", *place)["admin_mac"])


@pytest.fixture(scope="module", params=["xdp", "auto"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("dh") as lab:
        made = Scene(lab, request.param)
        server = DhcpServer(made.wire, "w0", lab.folder)
        yield made
        server.close()


@pytest.fixture(autouse=True)
def freed(scene: Scene) -> Iterator[None]:
    yield
    scene.daemon.ask("vf", "detach", scene.daemon.vf_of(scene.vm.name)["address"])


def test_rejected_change_costs_the_lease_and_a_reset_brings_it_back(scene: Scene) -> None:
    admin_mac = scene.attach("strict")
    assert lease(scene.vm, scene.folder)
    assert scene.vm.can_ping("10.77.0.99")

    assert scene.vm.vf("set-mac", NEW_MAC)["accepted"]
    status = scene.vm.vf("status")
    assert (NEW_MAC, admin_mac, False) == (status["guest_mac"], status["device_mac"], status["agree"])
    assert f"add {NEW_MAC} (primary): refused by mac_changes: reject" in scene.daemon.log()
    assert lease(scene.vm, scene.folder) is None
    assert not scene.vm.can_ping("10.77.0.99")

    assert admin_mac == scene.vm.vf("reset")["mac"]
    assert scene.vm.vf("status")["agree"]
    assert lease(scene.vm, scene.folder)
    assert scene.vm.can_ping("10.77.0.99")


def test_accepted_change_leads_to_a_lease_for_the_new_address(scene: Scene) -> None:
    scene.attach("open")
    first = lease(scene.vm, scene.folder)
    assert scene.vm.vf("set-mac", NEW_MAC)["accepted"]
    assert scene.vm.vf("status")["agree"]
    second = lease(scene.vm, scene.folder)
    assert second
    assert second != first
    assert scene.vm.can_ping("10.77.0.99")
