"""The seed's story: a guest changes its MAC, and the policy of its port decides. Over raw mailbox bytes and real frames."""

from collections.abc import Iterator

import pytest
from mailbox_wire import ADD_ETH, ADMIN_QUEUE, DEL_ETH, EXTRA, LEGACY, LINK_CHANGE, OK, PARAM, RESET_IMPENDING, RESET_VF, RawMailbox

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

NEW_MAC = "02:00:00:aa:bb:01"
ADMIN_MAC = "02:00:00:00:01:01"
STRICT = {"security": {"mac_changes": "reject", "forged_transmits": "reject", "promiscuous": "reject"}}
GROUPS = [
    {"name": "silent", "vlan": "none", "policy": {**STRICT, "deny_reply": "silent"}},
    {"name": "nack", "vlan": "none", "policy": {**STRICT, "deny_reply": "nack"}},
    {"name": "accept", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}}},
]


class Scene:
    """vm asks, peer watches; vm is attached anew for each test."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.mode = mode
        self.vm: Namespace = lab.namespace("vm")
        self.peer: Namespace = lab.namespace("peer")
        peer = {"guest": self.peer.name, "port_group": "silent", "datapath": "tcx", "mac": "02:00:00:00:01:02"}
        self.daemon: Daemon = lab.daemon(host_config(None, [peer], GROUPS))
        self.peer.address(2)
        self.vf = ""

    def attach(self, group: str) -> None:
        place = ["--guest", self.vm.name, "--port-group", group, "--mac", ADMIN_MAC, "--datapath", self.mode]
        self.vf = self.daemon.ask("vf", "attach", *place)["address"]
        self.vm.address(1)

    def show(self) -> dict:
        return self.daemon.ask("vf", "show", self.vf)

    def change_guest_mac(self, mac: str) -> None:
        self.vm.ip("link", "set", "eth0", "address", mac)
        self.vm.ip("neigh", "flush", "all")
        self.peer.ip("neigh", "flush", "all")


@pytest.fixture(scope="module", params=["xdp", "auto"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("ms") as lab:
        yield Scene(lab, request.param)


@pytest.fixture
def attached(scene: Scene) -> Iterator[Scene]:
    yield scene
    scene.daemon.ask("vf", "detach", scene.vf)


@pytest.mark.parametrize(("group", "status", "outcome"), [("silent", OK, "pretended"), ("nack", ADMIN_QUEUE, "refused")])
def test_denied_change_leaves_the_device_as_it_was(attached: Scene, group: str, status: int, outcome: str) -> None:
    attached.attach(group)
    assert attached.vm.can_ping("10.77.0.2")
    with RawMailbox(attached.vm, attached.vf) as mailbox:
        assert status == mailbox.addresses(ADD_ETH, NEW_MAC)
        assert (attached.show()["effective_mac"], attached.show()["admin_mac"]) == (ADMIN_MAC, ADMIN_MAC)

        attached.change_guest_mac(NEW_MAC)
        assert not attached.vm.can_ping("10.77.0.2")
        assert attached.show()["drops"]["forged_source"] > 0

        with frames.tapped((attached.peer, "eth0"), (attached.vm, "eth0")) as (peer, vm):
            peer.send(frames.frame(NEW_MAC, attached.peer.mac(), b"for the new address"))
            assert vm.seen(payload=b"for the new address", seconds=0.1) == []

    record = attached.daemon.ask("audit", "list", "--vf", attached.vf)[-1]
    assert (outcome, ADMIN_MAC, ADMIN_MAC) == (record["outcome"], record["before"], record["after"])
    assert "mac_changes: reject (port group" in record["rule"]
    assert attached.vm.name == record["guest"]
    warning = next(line for line in attached.daemon.log().splitlines() if NEW_MAC in line and "warning" in line)
    assert attached.vm.name in warning
    assert "mac_changes: reject" in warning


def test_reset_brings_the_devices_mac_and_the_traffic_back(attached: Scene) -> None:
    attached.attach("silent")
    attached.change_guest_mac(NEW_MAC)
    assert not attached.vm.can_ping("10.77.0.2")
    status = attached.vm.vf("status")
    assert (status["guest_mac"], status["device_mac"], status["agree"]) == (NEW_MAC, ADMIN_MAC, False)
    assert {"vf": attached.vf, "interface": "eth0", "mac": ADMIN_MAC} == attached.vm.vf("reset")
    assert attached.vm.vf("status")["agree"]
    assert attached.vm.can_ping("10.77.0.2")


def test_granted_change_is_effective_at_once_and_the_old_address_is_not(attached: Scene) -> None:
    attached.attach("accept")
    with RawMailbox(attached.vm, attached.vf) as mailbox:
        assert mailbox.addresses(ADD_ETH, NEW_MAC) == OK
    assert (attached.show()["effective_mac"], attached.show()["admin_mac"]) == (NEW_MAC, ADMIN_MAC)
    before = attached.show()["drops"].get("forged_source", 0)
    with frames.tapped((attached.vm, "eth0"), (attached.peer, "eth0")) as (vm, peer):
        vm.send(frames.frame(attached.peer.mac(), ADMIN_MAC, b"from the old address"))
        vm.send(frames.frame(attached.peer.mac(), NEW_MAC, b"from the new address"))
        assert peer.seen(payload=b"from the old address", seconds=0.1) == []
        vm.send(frames.frame(attached.peer.mac(), NEW_MAC, b"from the new address again"))
        assert len(peer.seen(payload=b"from the new address again")) == 1
    assert attached.show()["drops"]["forged_source"] > before
    attached.change_guest_mac(NEW_MAC)
    assert attached.vm.can_ping("10.77.0.2")


def test_reset_over_the_mailbox_is_not_answered_but_announced(attached: Scene) -> None:
    attached.attach("accept")
    with RawMailbox(attached.vm, attached.vf) as mailbox:
        assert mailbox.event() == (LINK_CHANGE, 1)
        assert mailbox.addresses(ADD_ETH, NEW_MAC) == OK
        assert mailbox.addresses(ADD_ETH, "02:00:00:aa:bb:02", kind=EXTRA) == OK
        mailbox.send(RESET_VF)
        assert mailbox.event() == (RESET_IMPENDING, 0)
        assert mailbox.is_silent()
        assert mailbox.addresses(ADD_ETH, NEW_MAC) == -64
        mailbox.negotiate()
        assert mailbox.mac == ADMIN_MAC
    after = attached.show()
    assert (after["effective_mac"], after["filters"]) == (ADMIN_MAC, [])
    assert attached.daemon.ask("audit", "list", "--vf", attached.vf)[-2]["outcome"] == "granted"


def test_extra_filter_receives_but_may_not_send(attached: Scene) -> None:
    attached.attach("accept")
    extra = "02:00:00:aa:bb:03"
    with RawMailbox(attached.vm, attached.vf) as mailbox:
        assert mailbox.addresses(ADD_ETH, extra, kind=EXTRA) == OK
        assert [extra] == attached.show()["filters"]
        with frames.tapped((attached.peer, "eth0"), (attached.vm, "eth0")) as (peer, vm):
            sent = frames.frame(extra, attached.peer.mac(), b"to the filter")
            peer.send(sent)
            assert [sent] == vm.seen(payload=b"to the filter")
            vm.send(frames.frame(attached.peer.mac(), extra, b"from the filter"))
            assert peer.seen(payload=b"from the filter", seconds=0.1) == []
        assert mailbox.addresses(DEL_ETH, extra) == OK
    assert attached.show()["filters"] == []


def test_legacy_driver_changes_by_adding_and_deleting(attached: Scene) -> None:
    attached.attach("accept")
    with RawMailbox(attached.vm, attached.vf) as mailbox:
        assert mailbox.addresses(ADD_ETH, NEW_MAC, kind=LEGACY) == OK
        assert attached.show()["effective_mac"] == ADMIN_MAC
        assert mailbox.addresses(DEL_ETH, ADMIN_MAC, kind=LEGACY) == OK
    assert attached.show()["effective_mac"] == NEW_MAC


def test_address_of_a_neighbour_is_refused_even_where_changes_are_accepted(attached: Scene) -> None:
    attached.attach("accept")
    with RawMailbox(attached.vm, attached.vf) as mailbox:
        assert mailbox.addresses(ADD_ETH, "02:00:00:00:01:02") == OK
    assert attached.show()["effective_mac"] == ADMIN_MAC
    record = attached.daemon.ask("audit", "list", "--vf", attached.vf)[-1]
    assert (record["outcome"], record["rule"]) == ("pretended", "address in use")


def test_another_vfs_vsi_is_refused(attached: Scene) -> None:
    attached.attach("accept")
    with RawMailbox(attached.vm, attached.vf) as mailbox:
        assert mailbox.addresses(ADD_ETH, NEW_MAC, vsi=mailbox.vsi + 1) == PARAM
    assert attached.show()["effective_mac"] == ADMIN_MAC
    assert "identity mismatch" in attached.daemon.ask("audit", "list", "--vf", attached.vf)[-1]["request"]


def test_policy_that_is_tightened_takes_back_what_was_granted(attached: Scene) -> None:
    attached.attach("accept")
    with RawMailbox(attached.vm, attached.vf) as mailbox:
        assert mailbox.addresses(ADD_ETH, NEW_MAC) == OK
        assert mailbox.event() == (LINK_CHANGE, 1)
        attached.daemon.ask("port-group", "set", "accept", "--mac-changes", "reject")
        assert mailbox.event() == (RESET_IMPENDING, 0)
    assert attached.show()["effective_mac"] == ADMIN_MAC
    attached.daemon.ask("port-group", "set", "accept", "--mac-changes", "accept")


@pytest.mark.parametrize(("kind", "mac_after"), [("vsphere", NEW_MAC), ("iavf", ADMIN_MAC)])
def test_watching_driver_requests_what_the_guest_sets(attached: Scene, kind: str, mac_after: str) -> None:
    """On a refusal the vsphere kind keeps the guest's MAC, the iavf kind reverts it."""
    attached.attach("nack")
    watch = attached.vm.start(*_vf_command("watch", "--kind", kind))
    try:
        wait_until(lambda: _connected(watch), "the driver connects")
        attached.vm.ip("link", "set", "eth0", "address", NEW_MAC)
        wait_until(lambda: "refused" in json_outcomes(attached), "the request is refused")
        wait_until(lambda: attached.vm.mac() == mac_after, f"the guest's MAC is {mac_after}")
        assert attached.show()["effective_mac"] == ADMIN_MAC
        attached.vm.ip("link", "set", "eth0", "address", NEW_MAC)
        attached.daemon.ask("vf", "reset", attached.vf)
        wait_until(lambda: attached.vm.mac() == ADMIN_MAC, "the driver re-applies the device's MAC")
    finally:
        watch.terminate()
        watch.wait()
        assert watch.stdout
        watch.stdout.close()


def test_watching_driver_gets_a_granted_change_through(attached: Scene) -> None:
    attached.attach("accept")
    watch = attached.vm.start(*_vf_command("watch"))
    try:
        wait_until(lambda: _connected(watch), "the driver connects")
        attached.vm.ip("link", "set", "eth0", "address", NEW_MAC)
        wait_until(lambda: attached.show()["effective_mac"] == NEW_MAC, "the device follows")
        assert attached.vm.can_ping("10.77.0.2")
    finally:
        watch.terminate()
        watch.wait()
        assert watch.stdout
        watch.stdout.close()


def _vf_command(*arguments: str) -> list[str]:
    import sys
    from pathlib import Path

    return [str(Path(sys.executable).parent / "sriov-vf"), *arguments]


def _connected(watch) -> bool:  # noqa: ANN001
    line = watch.stdout.readline()
    return "connected" in line


def json_outcomes(scene: Scene) -> list[str]:
    return [record["outcome"] for record in scene.daemon.ask("audit", "list", "--vf", scene.vf)[-20:]]
