"""What an operator can set for a port, a file can say: commands show in export and diff, and an export makes the same host."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config
from sriov_xdp.vswitch.policy import Override

GROUPS = [
    {"name": "free", "vlan": {"access": 100}, "overrides_allowed": [kind.value for kind in Override]},
    {"name": "plain", "policy": {"deny_reply": "nack"}},
]
ALL_SECURITY = {"promiscuous": "accept", "mac_changes": "accept", "forged_transmits": "accept"}


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.guests: dict[str, Namespace] = {name: lab.namespace(name) for name in "abc"}
        adapters = [{"guest": guest.name, "port_group": "free"} for guest in self.guests.values()]
        self.config = host_config(None, adapters, GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)

    def file(self, document: dict[str, Any]) -> str:
        path = self.lab.folder / "given.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return str(path)

    def diff(self, document: dict[str, Any]) -> list[str]:
        """Names of what differs of the adapters."""
        done = self.daemon.command("diff", "-f", self.file(document), "-j")
        steps = json.loads(done.stdout)
        assert (7 if steps else 0) == done.returncode
        return [key for step in steps for key in step["after"] if step["before"].get(key) != step["after"].get(key)] + [
            key for step in steps for key in step["before"] if key not in step["after"]
        ]

    def adapter(self) -> dict[str, Any]:
        """The first guest's, as exported."""
        return dict(self.daemon.ask("export")["guests"][0]["adapters"][0])


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("fa") as lab:
        yield Scene(lab)


@pytest.fixture(autouse=True)
def as_configured(scene: Scene) -> Iterator[None]:
    yield
    assert 0 == scene.daemon.command("apply", "-f", scene.file(scene.config), "--yes").returncode


SETTINGS = [
    ("vf set pf0vf0 --link-state disable", "link_state", "disable", "vf set pf0vf0 --link-state inherit"),
    ("vf set pf0vf0 --link-state enable", "link_state", "enable", "vf set pf0vf0 --link-state auto"),
    ("vf set pf0vf0 --mac 02:00:00:00:05:01", "mac", "02:00:00:00:05:01", "vf set pf0vf0 --mac inherit"),
    ("vf set pf0vf0 --datapath xdp", "datapath", "xdp", "vf set pf0vf0 --datapath inherit"),
    ("vf set pf0vf0 --port-group plain", "port_group", "plain", "vf set pf0vf0 --port-group free"),
    ("port set pf0vf0 --vlan access:7", "vlan", {"access": 7}, "port set pf0vf0 --vlan inherit"),
    ("port set pf0vf0 --vlan none", "vlan", "none", "port set pf0vf0 --vlan inherit"),
    ("port set pf0vf0 --vlan trunk:7,9-11", "vlan", {"trunk": [7, "9-11"]}, "port set pf0vf0 --vlan inherit"),
    ("port set pf0vf0 --vlan access:7;qos:5", "vlan", {"access": 7, "qos": 5}, "port set pf0vf0 --vlan inherit"),
    (
        "port set pf0vf0 --vlan access:7;proto:802.1ad",
        "vlan",
        {"access": 7, "proto": "802.1ad"},
        "port set pf0vf0 --vlan inherit",
    ),
    ("port set pf0vf0 --vlan trunk:7;native:7", "vlan", {"trunk": [7], "native": 7}, "port set pf0vf0 --vlan inherit"),
    *(
        (f"port set pf0vf0 {option} {text}", "policy", policy, f"port set pf0vf0 {option} inherit")
        for option, text, policy in (
            ("--block", "true", {"block": True}),
            ("--trust", "true", {"trust": True}),
            ("--allowed-macs", "02:00:5e:00:01:00/40", {"allowed_macs": ["02:00:5e:00:01:00/40"]}),
            ("--quotas", "macs=3", {"quotas": {"macs": 3, "vlans": 8}}),
            ("--private-vlan", "community:7", {"private_vlan": {"kind": "community", "community": 7}}),
            ("--mtu", "1400", {"mtu": 1400}),
            ("--flood-multicast", "false", {"flood_multicast": False}),
            (
                "--shaping-ingress",
                "average_kbps=9,mode=police",
                {"shaping": {"ingress": {"average_kbps": 9, "mode": "police"}}},
            ),
            ("--shaping-egress", "average_kbps=9", {"shaping": {"egress": {"average_kbps": 9}}}),
            ("--storm-broadcast-pps", "9", {"guards": {"storm": {"broadcast_pps": 9}}}),
        )
    ),
    ("port set pf0vf0 --deny-reply nack", "policy", {"deny_reply": "nack"}, "port set pf0vf0 --deny-reply inherit"),
    (
        "port set pf0vf0 --promiscuous accept",
        "policy",
        {"security": {"promiscuous": "accept"}},
        "port set pf0vf0 --promiscuous inherit",
    ),
    (
        "port set pf0vf0 --mac-changes accept",
        "policy",
        {"security": {"mac_changes": "accept"}},
        "port set pf0vf0 --mac-changes inherit",
    ),
    (
        "port set pf0vf0 --forged-transmits accept",
        "policy",
        {"security": {"forged_transmits": "accept"}},
        "port set pf0vf0 --forged-transmits inherit",
    ),
]


@pytest.mark.parametrize(("command", "key", "value", "back"), SETTINGS, ids=[setting[0] for setting in SETTINGS])
def test_setting_by_command(scene: Scene, command: str, key: str, value: Any, back: str) -> None:
    """It shows in export and diff, the same in a file is no difference, and it can be taken back."""
    before = scene.adapter()
    ports = scene.daemon.ask("port", "list")
    scene.daemon.ask(*command.split())
    assert {**before, key: value} == scene.adapter()
    assert [key] == scene.diff(scene.config)
    said = copy.deepcopy(scene.config)
    said["guests"][0]["adapters"][0][key] = value
    assert [] == scene.diff(said)
    scene.daemon.ask(*back.split())
    assert before == scene.adapter()
    assert ports == scene.daemon.ask("port", "list")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--deny-reply", "silent"), ("--promiscuous", "accept"), ("--mac-changes", "accept"), ("--forged-transmits", "accept")],
)
def test_setting_of_a_group_is_inherited_again(scene: Scene, option: str, value: str) -> None:
    before = scene.daemon.ask("port-group", "show", "free")
    assert before != scene.daemon.ask("port-group", "set", "free", option, value)
    assert before == scene.daemon.ask("port-group", "set", "free", option, "inherit")


def test_admin_mac_that_the_host_chose_comes_back(scene: Scene) -> None:
    chosen = scene.daemon.ask("vf", "show", "pf0vf0")["admin_mac"]
    scene.daemon.ask("vf", "set", "pf0vf0", "--mac", "02:00:00:00:05:02")
    assert chosen == scene.daemon.ask("vf", "set", "pf0vf0", "--mac", "inherit")["admin_mac"]


def _all_said(scene: Scene) -> dict[str, Any]:
    document = copy.deepcopy(scene.config)
    said = [
        {"link_state": "disable", "mac": "02:00:00:00:05:03", "datapath": "xdp", "vlan": {"trunk": [5, "7-9"]}},
        {"link_state": "enable", "datapath": "tcx", "policy": {"security": ALL_SECURITY, "deny_reply": "nack"}},
        {"port_group": "plain", "mac": "02:00:00:00:05:04"},
    ]
    for guest, settings in zip(document["guests"], said, strict=True):
        guest["adapters"][0].update(settings)
    document["switches"][0]["policy"] = {"security": {"promiscuous": "accept"}, "deny_reply": "nack"}
    document["switches"][0]["mtu"] = 1400
    return document


def test_export_teardown_and_a_start_from_it_give_the_same_host(scene: Scene) -> None:
    assert 0 == scene.daemon.command("apply", "-f", scene.file(_all_said(scene))).returncode
    assert "down" == scene.daemon.ask("vf", "show", "pf0vf0")["link"]
    exported, ports = scene.daemon.command("export").stdout, scene.daemon.ask("port", "list")
    assert [] == scene.diff(yaml.safe_load(exported))
    scene.daemon.teardown()
    scene.daemon.config_file.write_text(exported)
    scene.daemon.start()
    assert exported == scene.daemon.command("export").stdout
    assert ports == scene.daemon.ask("port", "list")
    assert "down" == scene.daemon.ask("vf", "show", "pf0vf0")["link"]
