"""The command line as a user meets it: results, exit codes, errors with a remedy, configuration round trips, metrics."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sriov_xdp.api import config
from sriov_xdp.lab.host import QUESTIONS, Daemon, Lab, Namespace, host_config

ROOT = Path(__file__).resolve().parents[2]
GROUPS = [
    {"name": "web", "vlan": {"access": 100}},
    {"name": "lab", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}}, "overrides_allowed": ["security"]},
]
VF_KEYS = {
    "address", "state", "guest", "netns", "interface", "representor", "switch", "port_group", "vlan", "admin_mac", "effective_mac",
    "link", "datapath", "counters", "drops", "generation",
}  # fmt: skip


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.vm: Namespace = lab.namespace("vm")
        guests = [{"guest": self.vm.name, "port_group": "lab", "mac": "02:00:00:00:01:01"}]
        self.config = host_config(None, guests, GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)

    def namespaces(self) -> list[str]:
        """Of this run; the host's others come and go."""
        return sorted(path.name for path in Path("/run/netns").iterdir() if path.name.startswith(self.lab.tag))

    def file(self, document: dict) -> str:
        path = self.lab.folder / "given.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("cm") as lab:
        yield Scene(lab)


def test_vf_document_has_the_published_keys(scene: Scene) -> None:
    listed = scene.daemon.ask("vf", "list")
    assert [True] * len(listed) == [set(vf) >= VF_KEYS for vf in listed]
    shown = scene.daemon.ask("vf", "show", "pf0vf0")
    assert ("attached", scene.vm.name, "02:00:00:00:01:01", "none") == (
        shown["state"],
        shown["guest"],
        shown["admin_mac"],
        shown["vlan"],
    )
    assert {"mode", "active"} <= set(shown["datapath"])
    assert {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes"} == set(shown["counters"])


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["vf", "show", "pf0vf99"], 3, "PF pf0 has VFs 0 to 7"),
        (["vf", "show", "pf9vf0"], 3, "PF pf9: not configured"),
        (["vf", "show", "nonsense"], 2, "expected a PF's name, vf and a number"),
        (["vf", "detach", "pf0vf5"], 3, "free, nothing is attached"),
        (["pf", "show", "pf9"], 3, "not configured"),
        (["switch", "show", "none"], 3, "not configured"),
        (["port-group", "show", "none"], 3, "not configured"),
        (["port-group", "set", "web"], 2, "nothing to set"),
        (["vf", "set", "pf0vf0"], 2, "nothing to set"),
        (["vf", "set", "pf0vf0", "min_tx_rate", "5"], 4, "no port is kept a share of its uplink"),
        (["vf", "set", "pf0vf0", "vlan", "5", "proto", "802.2"], 2, "expected 802.1Q or 802.1ad"),
        (["vf", "set", "pf0vf0", "vlan", "5", "mac", "02:00:00:00:01:77"], 4, "does not let its ports override vlan"),
        (["vf", "set", "pf0vf0", "mac", "01:00:00:00:00:01"], 5, "not a unicast address"),
        (["vf", "set", "pf0vf0", "mac"], 2, "expected mac ADDRESS | vlan N"),
        (["vf", "set", "pf0vf0", "trust", "on", "trust", "off"], 2, "said twice"),
        (["vf", "set", "pf0vf0", "query_rss", "on"], 2, "no such word"),
        (["vf", "set", "pf0vf0", "qos", "3"], 2, "expected vlan N with it"),
        (["vf", "set", "pf0vf0", "vlan", "4095"], 2, "expected a number from 0 to 4094"),
        (["vf", "set", "pf0vf0", "vlan", "0", "qos", "3"], 2, "vlan 0 is none"),
        (["vf", "set", "pf0vf0", "--mac", "02:00:00:00:01:77", "mac", "02:00:00:00:01:78"], 2, "said twice"),
        (["vf", "set", "pf0vf0", "--mac", "03:00:00:00:00:01"], 5, "not a unicast address"),
        (["vf", "attach", "--guest", "g", "--port-group", "none"], 3, "port group none: not configured"),
        (["vf", "attach", "pf0vf0", "--guest", "g", "--port-group", "lab"], 5, "attached to guest"),
        (
            ["vf", "attach", "--guest", "g", "--port-group", "lab", "--mac", "02:00:00:00:01:01"],
            5,
            "belongs to pf0vf0 in this VLAN",
        ),
        (["port-group", "set", "web", "--vlan", "access:5000"], 2, "vlan.access: 5000; expected a number from 1 to 4094"),
        (["port-group", "set", "web", "--vlan", "access:0100"], 2, 'vlan.access: "0100"; expected a number from 1 to 4094'),
        (["port-group", "set", "web", "--vlan", "access:²"], 2, 'vlan.access: "²"; expected a number from 1 to 4094'),
        (["port-group", "set", "web", "--vlan", "access:7;native:7"], 2, "expected none, access:N[;qos:P] or trunk:N,A-B"),
        (["port-group", "set", "web", "--vlan", "access:7;qos:8"], 2, "vlan.qos: 8; expected a number from 0 to 7"),
        (["port-group", "set", "web", "--vlan", "+30"], 4, "expected a trunk, whose VLANs come and go one by one"),
        (["port-group", "set", "web", "--vlan", "+0"], 2, "expected none, {access: N, qos: P}"),
        (["port-group", "set", "web", "--mtu", "9000"], 4, "switch vSwitch0 has 1500"),
        (["port-group", "set", "web", "--private-vlan", "community"], 2, "expected a number from 1 with kind community"),
        (["port-group", "set", "web", "--quotas", "mac=3"], 2, "expected macs=..., vlans=..."),
        (["port-group", "set", "web", "--allowed-macs", "03:00:00:00:00:01"], 2, "is no address that an interface can have"),
        (["port-group", "set", "web", "--shaping-egress", "peak_kbps=3"], 2, "expected no peak_kbps and burst_bytes with it"),
        (["port-group", "create", "web", "--switch", "vSwitch0"], 5, "port group web: is there already"),
        (["port-group", "create", "new", "--switch", "none"], 3, "switch none: not configured"),
        (["port-group", "create", "new", "--switch", "vSwitch0", "--overrides-allowed", "all"], 2, "expected security"),
        (["port-group", "delete", "lab"], 5, "port group lab: 1 ports are connected, as pf0vf0"),
        (["port-group", "delete", "none"], 3, "not configured"),
        (["port-group", "set", "web", "--vlan", "trunk:5,0100"], 2, 'vlan.trunk[1]: "0100"; expected a VLAN from 1 to 4094'),
        (["nonsense"], 2, "No such command"),
        (["apply", "-f", "/nowhere.yaml"], 1, "No such file"),
    ],
)
def test_failures_have_an_exit_code_and_say_what_to_do(scene: Scene, arguments: list[str], code: int, text: str) -> None:
    before = scene.daemon.ask("export"), scene.namespaces()
    done = scene.daemon.command(*arguments)
    assert (code, "") == (done.returncode, done.stdout)
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert before == (scene.daemon.ask("export"), scene.namespaces())


def test_a_group_comes_changes_one_vlan_at_a_time_and_goes(scene: Scene) -> None:
    before = scene.daemon.ask("export")
    options = ["--vlan", "trunk:10,20-21;native:30", "--quotas", "macs=4", "--overrides-allowed", "vlan,shaping"]
    made = scene.daemon.ask("port-group", "create", "uplinks", "--switch", "vSwitch0", *options)
    expected = {"vlan": {"trunk": [10, "20-21", 30], "native": 30}, "policy": {"quotas": {"macs": 4, "vlans": 8}}}
    assert expected == {key: made[key] for key in expected}
    assert ["shaping", "vlan"] == made["overrides_allowed"]
    for step, trunk in (("+22", [10, "20-22", 30]), ("-21", [10, 20, 22, 30]), ("-10", [20, 22, 30])):
        assert trunk == scene.daemon.ask("port-group", "set", "uplinks", "--vlan", step)["vlan"]["trunk"]
    assert 4 == scene.daemon.command("port-group", "set", "uplinks", "--vlan", "-30").returncode, "the native one stays"
    vf = scene.daemon.ask("vf", "attach", "--guest", scene.vm.name, "--ifname", "eth9", "--port-group", "uplinks")["address"]
    assert [20, 22, 30, 40] == scene.daemon.ask("port", "set", vf, "--vlan", "+40")["vlan"]["trunk"]
    assert 5 == scene.daemon.command("port-group", "delete", "uplinks").returncode
    scene.daemon.ask("vf", "detach", vf)
    scene.daemon.ask("port-group", "delete", "uplinks")
    assert before == scene.daemon.ask("export")


def test_a_vf_is_set_in_the_words_of_ip_link(scene: Scene) -> None:
    before = scene.daemon.ask("export")
    scene.daemon.ask("port-group", "create", "free", "--switch", "vSwitch0", "--overrides-allowed", "vlan,security,trust,shaping")
    vf = scene.daemon.ask("vf", "attach", "--guest", scene.vm.name, "--ifname", "eth9", "--port-group", "free")["address"]
    first_mac = scene.daemon.ask("vf", "show", vf)["admin_mac"]

    def said() -> dict:
        adapters = [a for guest in scene.daemon.ask("export")["guests"] for a in guest["adapters"] if a["name"] == "eth9"]
        return {key: adapters[0][key] for key in ("mac", "vlan", "link_state", "policy") if key in adapters[0]}

    words = "mac 02:00:00:00:01:77 vlan 100 qos 5 proto 802.1Q max_tx_rate 50 spoofchk off trust on state enable"
    scene.daemon.ask("vf", "set", vf, *words.split())
    policy = {
        "security": {"forged_transmits": "accept"},
        "trust": True,
        "shaping": {"ingress": {"average_kbps": 50000, "mode": "shape"}},
    }
    vlan = {"access": 100, "qos": 5}
    assert {"mac": "02:00:00:00:01:77", "vlan": vlan, "link_state": "enable", "policy": policy} == said()
    scene.daemon.ask(
        "vf",
        "set",
        vf,
        *["mac", "00:00:00:00:00:00", "vlan", "0", "max_tx_rate", "0", "min_tx_rate", "0", "spoofchk", "on", "state", "auto"],
    )
    now = said()
    assert first_mac == scene.daemon.ask("vf", "show", vf)["admin_mac"]
    assert ("none", {"average_kbps": 0}) == (now["vlan"], now["policy"]["shaping"]["ingress"])
    assert ("reject", True) == (now["policy"]["security"]["forged_transmits"], now["policy"]["trust"])
    scene.daemon.ask("vf", "detach", vf)
    scene.daemon.ask("port-group", "delete", "free")
    assert before == scene.daemon.ask("export")


def test_port_may_override_only_what_its_group_allows(scene: Scene) -> None:
    done = scene.daemon.command("port", "set", "pf0vf0", "--deny-reply", "nack")
    assert done.returncode == 4
    assert "port group lab does not let its ports override deny_reply" in done.stderr
    assert scene.daemon.ask("audit", "list", "--vf", "pf0vf0")[-1]["outcome"] == "refused"

    scene.daemon.ask("port", "set", "pf0vf0", "--mac-changes", "reject")
    policy = scene.daemon.ask("port", "show", "pf0vf0")["policy"]
    assert policy["mac_changes"] == {"value": "reject", "set_by": "port pf0vf0"}
    assert policy["deny_reply"] == {"value": "silent", "set_by": "default"}
    scene.daemon.ask("port", "set", "pf0vf0", "--mac-changes", "accept")


def test_unreachable_daemon_is_exit_6(tmp_path: Path, scene: Scene) -> None:
    command = [str(Path(scene.daemon._command()[0])), "--run-dir", str(tmp_path), "vf", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (6, "")
    assert "daemon: not reachable" in done.stderr


def test_run_dir_comes_from_the_environment_too(scene: Scene) -> None:
    command = [scene.daemon._command()[0], "export", "-j"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"SRIOV_XDP_RUN_DIR": str(scene.daemon.run_dir)})
    assert scene.daemon.ask("export") == json.loads(done.stdout)


def test_export_applies_without_a_change(scene: Scene) -> None:
    exported = scene.daemon.command("export").stdout
    path = scene.lab.folder / "exported.yaml"
    path.write_text(exported)
    assert scene.daemon.command("diff", "-f", str(path)).returncode == 0
    assert scene.daemon.ask("apply", "-f", str(path)) == []
    assert scene.daemon.ask("export") == yaml.safe_load(exported)


def test_names_that_yaml_takes_for_something_else_survive_export_and_apply(scene: Scene) -> None:
    changed = json.loads(json.dumps(scene.config))
    names = ["on", "123", "0100", "0x64", "true", "null", "2026-01-01", "1e3", "1_500"]
    changed["switches"][0]["port_groups"] += [{"name": name} for name in names]
    scene.daemon.ask("apply", "-f", scene.file(changed))
    exported = scene.lab.folder / "exported.yaml"
    exported.write_text(scene.daemon.command("export").stdout)
    assert scene.daemon.command("diff", "-f", str(exported)).returncode == 0
    found = [group["name"] for group in scene.daemon.ask("export")["switches"][0]["port_groups"]]
    assert names == found[-len(names) :]
    scene.daemon.ask("apply", "-f", scene.file(scene.config))


def test_diff_shows_what_apply_does(scene: Scene) -> None:
    name = scene.lab.name("new")
    scene.lab.adopt(name)
    scene.daemon.ask("apply", "-f", scene.file(scene.config))
    changed = json.loads(json.dumps(scene.config))
    changed["switches"][0]["port_groups"][0]["vlan"] = {"access": 101}
    changed["guests"].append({"name": name, "adapters": [{"name": "eth0", "port_group": "web", "datapath": "xdp"}]})
    file = scene.file(changed)
    done = scene.daemon.command("diff", "-f", file, "-j")
    assert done.returncode == 7
    planned = json.loads(done.stdout)
    assert [("change", "switch", "vSwitch0"), ("add", "adapter", f"{name}/eth0")] == [
        (step["action"], step["kind"], step["name"]) for step in planned
    ]
    assert planned == scene.daemon.ask("apply", "-f", file)
    assert scene.daemon.vf_of(name)["vlan"] == {"access": 101}
    assert scene.daemon.command("diff", "-f", file).returncode == 0
    assert sorted(
        (step["action"], step["kind"]) for step in scene.daemon.ask("apply", "-f", scene.file(scene.config), "--yes")
    ) == [
        ("change", "switch"),
        ("remove", "adapter"),
    ]
    assert not Path(f"/run/netns/{name}").exists()


def test_bad_configuration_is_refused_whole_with_every_problem(scene: Scene) -> None:
    bad = json.loads(json.dumps(scene.config))
    bad["pfs"][0]["num_vf"] = 3
    bad["switches"][0]["port_groups"][0]["vlan"] = {"access": 4095}
    bad["guests"][0]["adapters"][0]["datapath"] = "fast"
    before = scene.daemon.ask("export")
    bad["guests"][0]["adapters"][0]["port_group"] = "none"
    file = scene.file(bad)
    refused = scene.daemon.command("apply", "-f", file)
    lines = refused.stderr.splitlines()
    assert [1, True, True, True, True] == [refused.returncode, *(line.startswith(f"{file}:") for line in lines)]
    assert [
        "guests[0].adapters[0].datapath",
        "guests[0].adapters[0].port_group",
        "pfs[0].num_vf",
        "switches[0].port_groups[0].vlan.access",
    ] == sorted(line.split(": ")[1] for line in lines)
    for verb in ("diff", "validate"):
        done = scene.daemon.command(verb, "-f", file)
        assert (1, refused.stderr) == (done.returncode, done.stderr)
    assert before == scene.daemon.ask("export")


def test_missing_uplink_is_refused_before_anything_changes(scene: Scene) -> None:
    bad = json.loads(json.dumps(scene.config))
    bad["pfs"].append({"name": "pf1", "uplink": "nodevice0", "num_vfs": 1})
    done = scene.daemon.command("apply", "-f", scene.file(bad))
    assert done.returncode == 1
    assert "PF pf1: uplink: device nodevice0: not found" in done.stderr


def test_what_was_set_by_command_survives_a_restart_with_the_same_file(scene: Scene) -> None:
    guest = scene.lab.namespace("stay")
    attached = scene.daemon.ask("vf", "attach", "--guest", guest.name, "--port-group", "lab")["address"]
    scene.daemon.ask("vf", "set", attached, "--link-state", "disable")
    scene.daemon.stop()
    scene.daemon.start()
    shown = scene.daemon.ask("vf", "show", attached)
    assert (guest.name, "disable", "down") == (shown["guest"], shown["link_state"], shown["link"])
    scene.daemon.ask("vf", "detach", attached)


def test_changed_file_is_applied_at_the_start(scene: Scene) -> None:
    changed = json.loads(json.dumps(scene.config))
    changed["switches"][0]["port_groups"].append({"name": "third", "vlan": {"trunk": [5, "7-9"]}})
    scene.daemon.stop()
    scene.daemon.config_file.write_text(yaml.safe_dump(changed))
    scene.daemon.start()
    assert scene.daemon.ask("port-group", "show", "third")["vlan"] == {"trunk": [5, "7-9"]}


@pytest.mark.parametrize(
    "verb",
    [
        "pf list",
        "vf list",
        "vf show pf0vf0",
        "switch list",
        "port-group list",
        "port list",
        "port show pf0vf0",
        "audit list",
        "pf show pf0",
    ],
)
def test_every_list_has_a_table(scene: Scene, verb: str) -> None:
    done = scene.daemon.command(*verb.split())
    assert done.returncode == 0
    assert "pf0" in done.stdout


def test_doctor_finds_a_guest_end_that_lost_its_gro(scene: Scene) -> None:
    scene.vm.run("ethtool", "-K", "eth0", "gro", "off")
    done = scene.daemon.command("doctor", "-j")
    scene.vm.run("ethtool", "-K", "eth0", "gro", "on")
    assert done.returncode == 1
    problem = next(check for check in json.loads(done.stdout) if not check["is_ok"])
    assert ("guest end of pf0vf0", f"nsenter --net=/run/netns/{scene.vm.name} ethtool -K eth0 gro on") == (
        problem["subject"],
        problem["remedy"].strip("`"),
    )
    assert scene.daemon.command("doctor").returncode == 0


def test_metrics_pass_the_linter(scene: Scene) -> None:
    scene.vm.vf("status")
    scene.vm.vf("set-mac", "02:00:00:00:01:01")
    text = scene.daemon.metrics()
    promtool = ROOT / ".tools/usr/bin/promtool"
    done = subprocess.run([str(promtool), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        'sriovxdp_vf_link_up{pf="pf0",vf="pf0vf0"} 1.0',
        'sriovxdp_vf_drops_total{direction="tx",pf="pf0",reason="spoof_mac",vf="pf0vf0"}',
        'sriovxdp_mailbox_requests_total{opcode="add_eth_addr",outcome="granted",pf="pf0",vf="pf0vf0"} 1.0',
        'sriovxdp_mailbox_request_duration_seconds_count{opcode="add_eth_addr"} 1.0',
        'sriovxdp_map_capacity_entries{map="fdb"} 16384.0',
    ):
        assert line in text


@pytest.mark.parametrize("name", ["host-lab.yaml", "host-edge.yaml"])
def test_example_configurations_are_valid(name: str) -> None:
    intent, _fingerprint = config.load(ROOT / "deploy" / name)
    assert len(intent.adapters) == 3


def test_prometheus_takes_the_scrape_configuration() -> None:
    promtool = ROOT / ".tools/usr/bin/promtool"
    done = subprocess.run(
        [str(promtool), "check", "config", str(ROOT / "deploy/prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_admin_socket_is_for_its_group_only(scene: Scene) -> None:
    assert (scene.daemon.run_dir / "admin.sock").stat().st_mode & 0o777 == 0o660
    assert (scene.daemon.state_dir / "state.db").stat().st_mode & 0o777 == 0o600
    assert scene.daemon.bpffs.stat().st_mode & 0o777 == 0o700


_A_NAME = {"vf": "pf0vf0", "port": "pf0vf0", "name": "pf0"}
_ASKED = [(*noun_verb, *([_A_NAME[key]] if key else [])) for noun_verb, (_name, key) in QUESTIONS.items()]


@pytest.mark.parametrize("question", _ASKED, ids=" ".join)
def test_a_command_says_what_the_admin_socket_answers(scene: Scene, question: tuple[str, ...]) -> None:
    """Which the tests rely on, who ask the socket."""
    assert json.loads(scene.daemon.command(*question, "-j").stdout) == scene.daemon.ask(*question)
