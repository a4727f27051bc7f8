"""An event tells of a device that was; whoever has its place now keeps it."""

import json
import subprocess
from collections.abc import Iterator

import pytest
import yaml
from mailbox_wire import ADD_ETH, OK, RawMailbox

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

GROUPS = [{"name": "lan", "policy": {"security": {"mac_changes": "accept"}}}, {"name": "other"}]
ROUNDS = 20


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.guest: Namespace = lab.namespace("vm")
        self.peer: Namespace = lab.namespace("peer")
        self.config = host_config(None, [{"guest": guest.name, "port_group": "lan"} for guest in (self.guest, self.peer)], GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)
        self.guest.address(1)
        self.peer.address(2)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [*self.daemon.program, "--run-dir", str(self.daemon.run_dir), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def requests(self) -> list[str]:
        return [record["request"] for record in self.daemon.ask("audit", "list", "--vf", "pf0vf0", "--limit", "1000")]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("se") as lab:
        yield Scene(lab)


def test_detach_and_attach_at_the_same_time(scene: Scene) -> None:
    """Whichever comes first: one that says that it attached has its device, now and after all events were read."""
    attach = ["vf", "attach", "pf0vf0", "--guest", scene.guest.name, "--port-group", "lan"]
    for _round in range(ROUNDS):
        both = [scene.start("vf", "detach", "pf0vf0"), scene.start(*attach)]
        texts = [process.communicate()[1] for process in both]
        assert 0 == both[0].returncode, texts
        if both[1].returncode:
            assert "attached to guest" in texts[1]
            scene.daemon.ask(*attach)
        assert scene.guest.name == scene.daemon.ask("vf", "show", "pf0vf0")["guest"]
        assert scene.guest.ip("link", "show", "eth0")
    scene.guest.address(1)
    wait_until(lambda: scene.guest.can_ping("10.77.0.2"), "the guest is connected")
    assert [] == [request for request in scene.requests() if request.startswith("unplugged")]


def test_start_with_a_file_in_which_an_adapter_changed_its_group(scene: Scene) -> None:
    before = json.loads(scene.guest.ip("-j", "link", "show", "eth0"))[0]["ifindex"]
    scene.daemon.stop()
    scene.config["guests"][0]["adapters"][0]["port_group"] = "other"
    scene.daemon.config_file.write_text(yaml.safe_dump(scene.config))
    scene.daemon.start()
    vf = scene.daemon.vf_of(scene.guest.name)
    assert ("other", "attached") == (vf["port_group"], vf["state"])
    assert before == json.loads(scene.guest.ip("-j", "link", "show", "eth0"))[0]["ifindex"]
    assert scene.guest.can_ping("10.77.0.2")
    scene.daemon.ask("vf", "set", vf["address"], "--port-group", "lan")


@pytest.mark.parametrize("end", ["detached", "killed meanwhile", "unplugged while the daemon is away"])
def test_a_grant_does_not_outlive_its_guest(scene: Scene, end: str) -> None:
    """The next guest of the same VF has its own address."""
    with RawMailbox(scene.guest, "pf0vf0") as mailbox:
        assert OK == mailbox.addresses(ADD_ETH, "02:00:00:00:06:66")
    assert "02:00:00:00:06:66" == scene.daemon.ask("vf", "show", "pf0vf0")["effective_mac"]
    if end == "detached":
        scene.daemon.ask("vf", "detach", "pf0vf0")
    elif end == "killed meanwhile":
        process = scene.start("vf", "detach", "pf0vf0")
        wait_until(lambda: any("detach" in request for request in scene.requests()[-1:]) or process.poll() is not None, "it goes")
        scene.daemon.kill()
        process.communicate()
        scene.daemon.start()
    else:
        scene.daemon.kill()
        scene.guest.ip("link", "del", "eth0")
        scene.daemon.start()
    assert "free" == scene.daemon.ask("vf", "show", "pf0vf0")["state"]
    next_guest = scene.lab.namespace(f"next{end[0]}{len(end)}")
    vf = scene.daemon.ask("vf", "attach", "pf0vf0", "--guest", next_guest.name, "--port-group", "lan")
    assert (vf["admin_mac"], []) == (vf["effective_mac"], vf["filters"])
    with RawMailbox(next_guest, "pf0vf0") as mailbox:
        assert vf["admin_mac"] == mailbox.mac == next_guest.mac()
    scene.daemon.ask("vf", "detach", "pf0vf0")
    scene.daemon.ask("vf", "attach", "pf0vf0", "--guest", scene.guest.name, "--port-group", "lan")
