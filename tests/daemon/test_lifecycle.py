"""Guests come and go, daemons die and return; frames and other guests do not notice."""

import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, GET_STATS, OK, RawMailbox

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, run, wait_until

LAN = [{"name": "lan", "vlan": "none", "policy": {"security": {"mac_changes": "accept", "forged_transmits": "reject"}}}]


class Scene:
    def __init__(self, lab: Lab, *extra: str) -> None:
        self.lab = lab
        self.wire, self.uplink = lab.wire()
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "datapath": "xdp"},
            {"guest": self.two.name, "port_group": "lan", "datapath": "auto"},
        ]
        self.daemon: Daemon = lab.daemon(host_config(self.uplink, guests, LAN), *extra)
        self.one.address(1)
        self.two.address(2)
        self.wire.address(99, "w0")

    def attach(self, guest: Namespace, *options: str) -> str:
        return str(self.daemon.ask("vf", "attach", "--guest", guest.name, "--port-group", "lan", *options)["address"])


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("lc") as lab:
        yield Scene(lab)


@pytest.mark.parametrize("end", ["kill -9", "SIGTERM"])
def test_frames_go_on_without_the_daemon_and_a_restart_adopts(scene: Scene, end: str) -> None:
    with RawMailbox(scene.two, "pf0vf1") as mailbox:
        assert mailbox.addresses(ADD_ETH, "02:00:00:aa:00:01", kind=2) == OK
    before = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    scene.daemon.settle()
    links = sorted(path.name for path in (scene.daemon.bpffs / "links").iterdir())
    streams = [frames.Stream(scene.one, scene.two, "10.77.0.2"), frames.Stream(scene.wire, scene.one, "10.77.0.1")]
    wait_until(lambda: min(stream.sent for stream in streams) > 200, "the streams run")
    if end == "kill -9":
        scene.daemon.kill()
    else:
        assert scene.daemon.stop() == 0
    at_end = streams[0].sent
    wait_until(lambda: streams[0].sent > at_end + 200, "frames go without a daemon")
    scene.daemon.start()
    at_start = streams[0].sent
    wait_until(lambda: streams[0].sent > at_start + 200, "frames go with the new daemon")
    assert [stream.stop() for stream in streams] == [[], []]

    after = {vf["address"]: vf for vf in scene.daemon.ask("vf", "list")}
    kept = ("representor", "effective_mac", "filters", "generation", "guest", "state")
    assert {name: {key: vf[key] for key in kept if key in vf} for name, vf in before.items()} == {
        name: {key: vf[key] for key in kept if key in vf} for name, vf in after.items()
    }
    assert links == sorted(path.name for path in (scene.daemon.bpffs / "links").iterdir())
    with RawMailbox(scene.two, "pf0vf1") as mailbox:
        assert mailbox.ask(GET_STATS, struct.pack("<HHII", mailbox.vsi, 0, 0, 0))[0] == OK


def test_a_second_daemon_on_the_same_state_refuses(scene: Scene) -> None:
    done = subprocess.run(scene.daemon._command(), capture_output=True, text=True, check=False, timeout=30)
    assert 5 == done.returncode
    assert "another daemon runs with this run directory" in done.stderr
    assert scene.daemon.ask("vf", "list")


def test_guest_that_deletes_its_interface_frees_the_vf(scene: Scene) -> None:
    guest = scene.lab.namespace("del")
    vf = scene.attach(guest)
    representor = socket.if_nametoindex(scene.daemon.ask("vf", "show", vf)["representor"])
    guest.address(7)
    assert guest.can_ping("10.77.0.2")
    stream = frames.Stream(scene.one, scene.two, "10.77.0.2")
    guest.ip("link", "del", "eth0")
    wait_until(lambda: scene.daemon.ask("vf", "show", vf)["state"] == "free", "the VF is free")
    assert stream.stop() == []
    with pytest.raises(ConnectionRefusedError):
        RawMailbox(guest, vf)
    assert scene.daemon.ask("audit", "list", "--vf", vf)[-1]["request"] == "unplugged: interface deleted"
    assert representor not in {number for number, _name in socket.if_nameindex()}, "another daemon's may have its name by now"
    pins = scene.daemon.bpffs / "links"
    wait_until(lambda: not [path for path in pins.iterdir() if path.name.startswith(f"{vf}_")], "its pins are gone")

    assert vf == scene.attach(guest)
    guest.address(7)
    assert guest.can_ping("10.77.0.2")
    scene.daemon.ask("vf", "detach", vf)


def test_namespace_that_is_deleted_frees_the_vf(scene: Scene) -> None:
    guest = scene.lab.namespace("gone")
    vf = scene.attach(guest, "--datapath", "xdp")
    run("ip", "netns", "del", guest.name)
    wait_until(lambda: scene.daemon.ask("vf", "show", vf)["state"] == "free", "the VF is free")
    assert scene.daemon.ask("audit", "list", "--vf", vf)[-1]["request"] == "unplugged: namespace removed"
    again = scene.lab.namespace("gone")
    assert vf == scene.attach(again)
    again.address(8)
    assert again.can_ping("10.77.0.1")
    scene.daemon.ask("vf", "detach", vf)


def test_guest_that_unplugs_while_the_daemon_is_away_is_noticed_at_the_start(scene: Scene) -> None:
    guest = scene.lab.namespace("away")
    vf = scene.attach(guest)
    scene.daemon.kill()
    guest.ip("link", "del", "eth0")
    scene.daemon.start()
    assert scene.daemon.ask("vf", "show", vf)["state"] == "free"
    assert scene.one.can_ping("10.77.0.2")


def test_namespace_is_made_when_missing_and_removed_with_the_last_adapter(scene: Scene) -> None:
    name = scene.lab.name("made")
    guest = scene.lab.adopt(name)
    place = ["--guest", name, "--netns", name, "--port-group", "lan"]
    first = scene.daemon.ask("vf", "attach", *place)["address"]
    second = scene.daemon.ask("vf", "attach", *place, "--ifname", "eth1")["address"]
    assert {"eth0", "eth1"} <= {link["ifname"] for link in json.loads(guest.ip("-j", "link"))}
    assert sorted([first, second]) == sorted(guest.vf("list"))
    scene.daemon.ask("vf", "detach", first)
    assert Path(f"/run/netns/{name}").exists()
    scene.daemon.ask("vf", "detach", second)
    assert not Path(f"/run/netns/{name}").exists()


def test_namespace_that_was_there_is_left(scene: Scene) -> None:
    guest = scene.lab.namespace("keep")
    scene.daemon.ask("vf", "detach", scene.attach(guest))
    assert Path(f"/run/netns/{guest.name}").exists()
    assert [link["ifname"] for link in json.loads(guest.ip("-j", "link")) if link["ifname"] == "eth0"] == []


def test_settings_of_the_last_owner_do_not_stay_on_a_vf(scene: Scene) -> None:
    first, second = scene.lab.namespace("own1"), scene.lab.namespace("own2")
    vf = scene.attach(first, "--mac", "02:00:00:00:07:01")
    with RawMailbox(first, vf) as mailbox:
        assert mailbox.addresses(ADD_ETH, "02:00:00:00:07:02") == OK
    old = scene.daemon.ask("vf", "show", vf)
    scene.daemon.ask("vf", "detach", vf)
    assert vf == scene.attach(second, "--mac", "02:00:00:00:07:03")
    new = scene.daemon.ask("vf", "show", vf)
    assert (new["admin_mac"], new["effective_mac"], new["filters"]) == ("02:00:00:00:07:03", "02:00:00:00:07:03", [])
    assert new["generation"] > old["generation"]
    assert new["counters"]["tx_packets"] < 20
    scene.daemon.ask("vf", "detach", vf)


def test_squatter_on_the_mailbox_name_makes_the_attachment_fail_whole(scene: Scene) -> None:
    guest = scene.lab.namespace("sq")
    free = next(vf["address"] for vf in scene.daemon.ask("vf", "list") if vf["state"] == "free")
    with entered(guest):
        squatter = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    squatter.bind(f"\0sriov-xdp/{free}")
    representor = scene.daemon.vf_of(scene.two.name)["representor"]
    (group,) = [link["group"] for link in json.loads(run("ip", "-j", "link", "show", representor))]
    ours = ("ip", "-br", "link", "show", "group", str(group))
    before = (run(*ours), guest.ip("-br", "link"))
    done = scene.daemon.command("vf", "attach", free, "--guest", guest.name, "--port-group", "lan")
    squatter.close()
    assert done.returncode == 5
    assert "the name is taken in namespace" in done.stderr
    assert scene.daemon.ask("vf", "show", free)["state"] == "free"
    assert before == (run(*ours), guest.ip("-br", "link"))


def test_link_state_cuts_a_vf_off_and_tells_its_guest(scene: Scene) -> None:
    vf = scene.daemon.vf_of(scene.two.name)["address"]
    with RawMailbox(scene.two, vf) as mailbox:
        assert mailbox.event() == (1, 1)
        scene.daemon.ask("vf", "set", vf, "--link-state", "disable")
        assert mailbox.event() == (1, 0)
        assert not scene.one.can_ping("10.77.0.2")
        assert scene.daemon.ask("vf", "show", vf)["link"] == "down"
        assert scene.daemon.vf_of(scene.one.name)["drops"]["target_denied"] > 0
        scene.daemon.ask("vf", "set", vf, "--link-state", "auto")
        assert mailbox.event() == (1, 1)
    wait_until(lambda: scene.one.can_ping("10.77.0.2"), "the link is back")


@pytest.mark.parametrize("mode", ["xdp", "tcx", "auto"])
def test_datapath_changes_live(scene: Scene, mode: str) -> None:
    vf = scene.daemon.vf_of(scene.two.name)["address"]
    shown = scene.daemon.ask("vf", "set", vf, "--datapath", mode)["datapath"]
    assert (mode, "xdp" if mode == "xdp" else "tcx") == (shown["mode"], shown["active"])
    payload = b"x" * 300_000
    assert payload == frames.send_tcp(scene.one, scene.two, "10.77.0.2", payload)
    assert payload == frames.send_tcp(scene.two, scene.wire, "10.77.0.99", payload)


def test_new_admin_mac_resets_the_vf(scene: Scene) -> None:
    vf = scene.daemon.vf_of(scene.one.name)["address"]
    former = scene.daemon.ask("vf", "show", vf)["admin_mac"]
    with RawMailbox(scene.one, vf) as mailbox:
        mailbox.event()
        scene.daemon.ask("vf", "set", vf, "--mac", "02:00:00:00:09:09")
        assert mailbox.event() == (2, 0)
        mailbox.negotiate()
        assert mailbox.mac == "02:00:00:00:09:09"
    scene.daemon.ask("vf", "set", vf, "--mac", former)


def test_a_guest_that_is_down_is_looked_for_on_the_wire_and_is_back_with_its_carrier(scene: Scene) -> None:
    """As a station that moved there, as with a bond; what comes from there for it is for nobody."""
    source, target = scene.one.mac(), scene.daemon.vf_of(scene.two.name)["effective_mac"]
    sent = frames.frame(target, source, b"to a guest that is down")
    with frames.tapped((scene.one, "eth0"), (scene.wire, "w0")) as (one, wire):

        def arrives_at(tap: frames.Tap) -> bool:
            one.send(sent)
            return [sent] == tap.seen(payload=b"to a guest that is down", seconds=0.1)

        def no_target() -> int:
            return int(scene.daemon.ask("pf", "show", "pf0")["drops"].get("no_target", 0))

        scene.two.ip("link", "set", "eth0", "down")
        try:
            wait_until(lambda: arrives_at(wire), "it is looked for on the wire")
            before = no_target()
            wire.send(frames.frame(target, scene.wire.mac("w0"), b"from the wire"))
            wait_until(lambda: no_target() == before + 1, "that is counted")
        finally:
            scene.two.ip("link", "set", "eth0", "up")
        with frames.tapped((scene.two, "eth0")) as (two,):
            wait_until(lambda: arrives_at(two), "it is found again")
    assert scene.one.can_ping("10.77.0.2")


def test_the_host_hears_floods_from_the_wire_while_it_has_an_address_there(scene: Scene) -> None:
    """The address comes after the uplink was taken; the wire's question who has it is a broadcast."""
    address, wire_address = "192.0.2.76", "192.0.2.77"
    assert not scene.daemon.ask("pf", "show", "pf0")["serves_host"]
    run("ip", "addr", "add", address, "peer", wire_address, "dev", scene.uplink)
    wait_until(lambda: scene.daemon.ask("pf", "show", "pf0")["serves_host"], "the address is seen")
    scene.wire.ip("addr", "add", wire_address, "peer", address, "dev", "w0")
    assert scene.wire.can_ping(address)
    run("ip", "addr", "del", address, "peer", wire_address, "dev", scene.uplink)
    scene.wire.ip("addr", "del", wire_address, "peer", address, "dev", "w0")
    wait_until(lambda: not scene.daemon.ask("pf", "show", "pf0")["serves_host"], "the address is gone")


def test_uplink_that_vanishes_and_returns_is_taken_again(scene: Scene) -> None:
    run("ip", "link", "del", scene.uplink)
    wait_until(lambda: scene.daemon.ask("pf", "show", "pf0")["link"] == "down", "the loss is seen")
    wait_until(lambda: "NO-CARRIER" in scene.one.ip("link", "show", "eth0"), "the guest sees it, as its link state is auto")
    run("ip", "link", "add", scene.uplink, "type", "veth", "peer", "name", "w0", "netns", scene.wire.name)
    run("ip", "link", "set", scene.uplink, "up")
    scene.wire.address(99, "w0")
    scene.wire.run("ethtool", "-K", "w0", "gro", "on", "tx", "off", "txvlan", "off")
    scene.one.ip("neigh", "flush", "all")
    wait_until(lambda: scene.daemon.ask("pf", "show", "pf0")["link"] == "up", "the uplink is back")
    wait_until(lambda: scene.one.can_ping("10.77.0.99"), "the wire answers")


def test_clsact_serves_where_tcx_is_not_to_be_had() -> None:
    with Lab("cl") as lab:
        scene = Scene(lab, "--tc", "clsact")
        scene.daemon.settle()
        assert "clsact" in run("tc", "qdisc", "show", "dev", scene.daemon.vf_of(scene.two.name)["representor"])
        assert not [path for path in (scene.daemon.bpffs / "links").iterdir() if path.name.endswith("_tc")]
        payload = b"y" * 300_000
        for sender, receiver, host in ((scene.one, scene.two, 2), (scene.two, scene.one, 1), (scene.two, scene.wire, 99)):
            assert payload == frames.send_tcp(sender, receiver, f"10.77.0.{host}", payload)
        stream = frames.Stream(scene.one, scene.two, "10.77.0.2")
        scene.daemon.kill()
        scene.daemon.start()
        assert stream.stop() == []


def test_teardown_leaves_the_host_as_it_was() -> None:
    with Lab("td") as lab:
        wire, uplink = lab.wire()
        before = _host_state(uplink)
        made = lab.name("auto")
        config = host_config(uplink, [{"guest": made, "port_group": "lan"}], LAN)
        daemon = lab.daemon(config)
        lab.adopt(made)
        [mark] = daemon.bpffs.glob("instance-*")
        instance = mark.name.removeprefix("instance-")
        assert (1, True) == (len(_devices_of(instance)), before != _host_state(uplink))
        daemon.stop()
        assert (
            daemon.command(
                "teardown", "--state-dir", str(daemon.state_dir), "--run-dir", str(daemon.run_dir), "--bpffs", str(daemon.bpffs)
            ).returncode
            == 0
        )
        assert ([], before) == (_devices_of(instance), _host_state(uplink))
        assert not Path(f"/run/netns/{made}").exists()
        assert [True, False, False] == [path.exists() for path in (daemon.state_dir, daemon.run_dir, daemon.bpffs)]
        assert wire.name in run("ip", "netns")


def _devices_of(instance: str) -> list[str]:
    """Of this daemon alone, as others may run on the host meanwhile."""
    return [link["ifname"] for link in json.loads(run("ip", "-j", "link")) if f"sriov-xdp {instance} " in link.get("ifalias", "")]


def _host_state(uplink: str) -> tuple[str, list[str]]:
    features = run("ethtool", "-k", uplink)
    flags = json.loads(run("ip", "-j", "-d", "link", "show", uplink))[0]
    ipv6 = Path(f"/proc/sys/net/ipv6/conf/{uplink}/disable_ipv6").read_text()
    return features, [str(flags.get("promiscuity")), str("xdp" in flags), str(flags.get("inet6_addr_gen_mode")), ipv6]
