"""What the operator sets for a port holds on the next frame, on both ways into the switch, is counted by its own verdict, shown
with the level that said so, and written down; what it does not concern goes on."""

import contextlib
import json
import time
from collections.abc import Iterator

import pytest
from mailbox_wire import ADD_ETH, ADMIN_QUEUE, DEL_ETH, EXTRA, OK, RawMailbox
from neighbours import losing_nothing

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, host_config, run, wait_until

ALL = ["security", "deny_reply", "vlan", "guards", "trust", "allowed_macs", "quotas", "private_vlan", "mtu"]
ALL += ["flood_multicast", "shaping"]
FIRST, SECOND, WIRE = "10.77.0.1", "10.77.0.2", "10.77.0.99"


class Scene:
    """first and second are guests in one port group, and two who must notice nothing in another; the wire is beyond the uplink."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.wire, uplink = lab.wire()
        self.first, self.second = lab.namespace("1"), lab.namespace("2")
        self.bystanders = lab.namespace("3"), lab.namespace("4")
        places = {self.first: "lan", self.second: "lan", **dict.fromkeys(self.bystanders, "quiet")}
        guests = [{"guest": place.name, "port_group": group, "datapath": mode} for place, group in places.items()]
        groups = [{"name": "lan", "overrides_allowed": ALL}, {"name": "quiet", "vlan": {"access": 7}}]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, groups))
        for number, place in enumerate(places, 1):
            place.address(number)
        self.wire.address(99, "w0")
        self.daemon.settle()

    def port_of(self, guest: Namespace) -> str:
        return str(self.daemon.vf_of(guest.name)["address"])

    def drops(self, guest: Namespace, verdict: str) -> int:
        return int(self.daemon.vf_of(guest.name)["drops"].get(verdict, 0))

    @contextlib.contextmanager
    def holding(self, guest: Namespace, option: str, value: str) -> Iterator[None]:
        """A setting of a guest's port, taken back at the end; nobody else loses a frame by either."""
        neighbours = (self.bystanders[0], self.bystanders[1], "10.77.0.4")
        with losing_nothing(neighbours):
            self.daemon.ask("port", "set", self.port_of(guest), option, value)
        try:
            yield
        finally:
            with losing_nothing(neighbours):
                self.daemon.ask("port", "set", self.port_of(guest), option, "inherit")


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("pp") as lab:
        yield Scene(lab, request.param)


def heard_by(scene: Scene, sender: Namespace, destination: str, payload: bytes) -> set[str]:
    """Who gets a frame of the sender's: first, second, wire."""
    places = {"first": (scene.first, "eth0"), "second": (scene.second, "eth0"), "wire": (scene.wire, "w0")}
    others = {name: place for name, place in places.items() if place[0] is not sender}
    (own_place,) = (place for place in places.values() if place[0] is sender)
    with frames.tapped(own_place, *others.values()) as (own, *taps):
        own.send(frames.frame(destination, sender.mac(own_place[1]), payload))
        return heard(dict(zip(others, taps, strict=True)), payload)


def heard(taps: dict[str, frames.Tap], payload: bytes) -> set[str]:
    """Who got a frame, of all that have a moment for it together."""
    deadline = time.monotonic() + 0.2
    return {name for name, tap in taps.items() if tap.seen(payload=payload, seconds=max(0.01, deadline - time.monotonic()))}


def test_a_blocked_port_neither_sends_nor_hears_and_keeps_its_carrier(scene: Scene) -> None:
    assert scene.first.can_ping(SECOND)
    mac, verdict = scene.second.mac(), "blocked"
    before = {guest: scene.drops(guest, verdict) for guest in (scene.first, scene.second)}
    with scene.holding(scene.second, "--block", "true"):
        assert set() == heard_by(scene, scene.first, mac, b"to it")
        assert {"wire"} == heard_by(scene, scene.first, frames.BROADCAST, b"to all")
        assert set() == heard_by(scene, scene.second, scene.first.mac(), b"from it")
        assert set() == heard_by(scene, scene.second, frames.BROADCAST, b"from it to all")
        assert scene.drops(scene.first, verdict) > before[scene.first]
        assert scene.drops(scene.second, verdict) > before[scene.second]
        assert "LOWER_UP" in scene.second.ip("link", "show", "eth0")
        shown = scene.daemon.ask("port", "show", scene.port_of(scene.second))["policy"]["block"]
        assert {"value": True, "set_by": f"port {scene.port_of(scene.second)}"} == shown
        assert 'reason="blocked"' in scene.daemon.metrics()
    assert scene.first.can_ping(SECOND)
    set_it, took_it_back = scene.daemon.ask("audit", "list", "--vf", scene.port_of(scene.second))[-2:]
    assert (True, True) == ('"block": true' in set_it["after"], '"block": true' in took_it_back["before"])


VIRTUAL, OF_PREFIX, OTHER = "00:00:5e:00:01:0a", "02:00:5e:00:01:77", "02:00:5e:00:02:77"


def test_allowed_addresses_are_granted_and_sent_from_whatever_the_rest_of_the_policy(scene: Scene) -> None:
    """As VRRP needs it, by address; and a prefix of them."""

    def sent_from(mac: str) -> set[str]:
        with frames.tapped((scene.first, "eth0"), (scene.second, "eth0")) as (own, tap):
            own.send(frames.frame(scene.second.mac(), mac, mac.encode()))
            return {mac} if tap.seen(payload=mac.encode(), seconds=0.2) else set()

    before = scene.drops(scene.first, "forged_source")
    with (
        scene.holding(scene.second, "--deny-reply", "nack"),
        scene.holding(scene.first, "--deny-reply", "nack"),
        scene.holding(scene.first, "--allowed-macs", f"{VIRTUAL},02:00:5e:00:01:00/40"),
        RawMailbox(scene.first, scene.port_of(scene.first)) as mailbox,
    ):
        for mac in (VIRTUAL, OF_PREFIX):
            assert OK == mailbox.addresses(ADD_ETH, mac, kind=EXTRA)
            assert {mac} == sent_from(mac)
            with frames.tapped((scene.second, "eth0"), (scene.first, "eth0")) as (second, tap):
                second.send(frames.frame(mac, scene.second.mac(), b"back"))
                assert 1 == len(tap.seen(payload=b"back"))
        assert ADMIN_QUEUE == mailbox.addresses(ADD_ETH, OTHER, kind=EXTRA)
        assert set() == sent_from(OTHER)
        assert before + 1 == scene.drops(scene.first, "forged_source")
        shown = scene.daemon.ask("port", "show", scene.port_of(scene.first))["policy"]["allowed_macs"]
        assert [VIRTUAL, "02:00:5e:00:01:00/40"] == shown["value"]
    assert [] == scene.daemon.vf_of(scene.first.name)["filters"], "what the policy bears no longer is taken back"
    assert set() == sent_from(VIRTUAL)


def test_a_quota_is_how_many_addresses_a_guest_is_granted_and_trust_lifts_it(scene: Scene) -> None:
    def granted(count: int) -> int:
        macs = [f"02:00:00:00:77:{number:02x}" for number in range(count)]
        with RawMailbox(scene.first, scene.port_of(scene.first)) as mailbox:
            answers = [mailbox.addresses(ADD_ETH, mac, kind=EXTRA) for mac in macs]
            assert OK == mailbox.addresses(DEL_ETH, *macs, kind=EXTRA)
        assert [OK] * answers.count(OK) == answers[: answers.count(OK)], "the first ones"
        return answers.count(OK)

    with scene.holding(scene.first, "--mac-changes", "accept"), scene.holding(scene.first, "--deny-reply", "nack"):
        assert 16 == granted(20)
        with scene.holding(scene.first, "--quotas", "macs=3"):
            assert 3 == granted(5)
            rules = [record["rule"] for record in scene.daemon.ask("audit", "list", "--vf", scene.port_of(scene.first))]
            assert f"quotas: macs=3,vlans=8 (port {scene.port_of(scene.first)})" in rules
            with scene.holding(scene.first, "--trust", "true"):
                assert 20 == granted(20)


def test_ports_of_a_private_vlan_meet_whom_their_segments_let_them(scene: Scene) -> None:
    """Unicast, broadcast and multicast alike; the wire meets everybody."""
    second, multicast = scene.second.mac(), "01:00:5e:00:00:05"
    meetings = {
        ("isolated", "isolated"): False,
        ("isolated", "community:7"): False,
        ("community:7", "community:8"): False,
        ("community:7", "community:7"): True,
        ("isolated", "promiscuous"): True,
        ("promiscuous", "community:8"): True,
    }
    with scene.holding(scene.first, "--private-vlan", "isolated"), scene.holding(scene.second, "--private-vlan", "isolated"):
        for (one, two), meet in meetings.items():
            for guest, segment in ((scene.first, one), (scene.second, two)):
                scene.daemon.ask("port", "set", scene.port_of(guest), "--private-vlan", segment)
            before = scene.drops(scene.first, "private_vlan")
            for destination in (frames.BROADCAST, multicast):
                wanted = {"wire", *(["second"] if meet else [])}
                assert wanted == heard_by(scene, scene.first, destination, f"{one} {two}".encode()), (one, two)
            assert ({"second"} if meet else set()) == heard_by(scene, scene.first, second, b"to it"), (one, two)
            assert (0 if meet else 1) == scene.drops(scene.first, "private_vlan") - before
            assert {"second", "first"} == heard_by(scene, scene.wire, frames.BROADCAST, b"from the wire")


def test_an_access_port_gives_its_priority_and_a_trunk_has_a_native_vlan(scene: Scene) -> None:
    with scene.holding(scene.first, "--vlan", "access:30;qos:5"), frames.tapped((scene.first, "eth0"), (scene.wire, "w0")) as taps:
        own, wire = taps
        own.send(frames.frame(frames.BROADCAST, scene.first.mac(), b"urgent"))
        (heard,) = wire.seen(payload=b"urgent")
        assert bytes.fromhex("8100a01e") == heard[12:16]
        with scene.holding(scene.second, "--vlan", "trunk:10,20-21;native:30"), frames.tapped((scene.second, "eth0")) as (second,):
            own.send(frames.frame(frames.BROADCAST, scene.first.mac(), b"native"))
            assert [frames.frame(frames.BROADCAST, scene.first.mac(), b"native")] == second.seen(payload=b"native")
            second.send(frames.frame(scene.first.mac(), scene.second.mac(), b"answer"))
            assert [frames.frame(scene.first.mac(), scene.second.mac(), b"answer")] == own.seen(payload=b"answer")
            shown = scene.daemon.ask("port", "show", scene.port_of(scene.second))["vlan"]
            assert {"trunk": [10, "20-21", 30], "native": 30} == shown


def test_a_port_of_its_own_mtu_takes_no_longer_frame_and_super_frames_by_their_segments(scene: Scene) -> None:
    payload = b"m" * 1_000_000
    with scene.holding(scene.second, "--mtu", "1000"):
        assert "mtu 1000 " in scene.second.ip("link", "show", "eth0")
        before = scene.drops(scene.first, "oversize")
        assert set() == heard_by(scene, scene.first, scene.second.mac(), b"long" + bytes(1200))
        assert before + 1 == scene.drops(scene.first, "oversize")
        assert {"wire"} == heard_by(scene, scene.first, frames.BROADCAST, b"long for all" + bytes(1200))
        assert {"second"} == heard_by(scene, scene.first, scene.second.mac(), b"short" + bytes(900))
        for sender, receiver, address in ((scene.first, scene.second, SECOND), (scene.second, scene.first, FIRST)):
            assert payload == frames.send_tcp(sender, receiver, address, payload)
    assert "mtu 1500 " in scene.second.ip("link", "show", "eth0")
    with pytest.raises(LabError, match="mtu 9000: switch vSwitch0 has 1500; raise `mtu` of the switch"):
        scene.daemon.ask("port", "set", scene.port_of(scene.second), "--mtu", "9000")


def test_a_port_that_is_not_flooded_gets_the_multicast_that_its_guest_asked_for(scene: Scene) -> None:
    asked, other = "01:00:5e:00:00:05", "01:00:5e:00:00:06"
    with (
        scene.holding(scene.second, "--flood-multicast", "false"),
        RawMailbox(scene.second, scene.port_of(scene.second)) as mailbox,
    ):
        assert OK == mailbox.addresses(ADD_ETH, asked, kind=EXTRA)
        for sender in (scene.first, scene.wire):
            others = {"wire"} if sender is scene.first else {"first"}
            assert others | {"second"} == heard_by(scene, sender, asked, b"asked for")
            assert others == heard_by(scene, sender, other, b"not asked for")
            assert others | {"second"} == heard_by(scene, sender, frames.BROADCAST, b"for all")
        assert OK == mailbox.addresses(DEL_ETH, asked, kind=EXTRA)
        assert {"wire"} == heard_by(scene, scene.first, asked, b"given up")
    assert {"wire", "second"} == heard_by(scene, scene.first, other, b"all again")


def test_a_promiscuous_port_gets_what_others_get_in_its_vlan_and_nobody_else_does(scene: Scene) -> None:
    """G25: unicast between two others is seen by nobody, unless the operator has it so."""
    first, wire, nobody = scene.first.mac(), scene.wire.mac("w0"), "02:00:00:00:77:77"
    assert {"first"} == heard_by(scene, scene.wire, first, b"for one")
    assert {"wire"} == heard_by(scene, scene.first, wire, b"for the wire")
    assert set() == heard_by(scene, scene.wire, nobody, b"for nobody")
    before = scene.daemon.vf_of(scene.second.name)["counters"]["rx_packets"]
    with scene.holding(scene.second, "--promiscuous", "accept"):
        assert {"first", "second"} == heard_by(scene, scene.wire, first, b"for one and all that listen")
        assert {"wire", "second"} == heard_by(scene, scene.first, wire, b"for the wire, listened to")
        assert {"second"} == heard_by(scene, scene.wire, nobody, b"for nobody, listened to")
        assert {"first"} == heard_by(scene, scene.second, first, b"from the listener")
        shown = scene.daemon.ask("port", "show", scene.port_of(scene.first))["slow_path"]
        assert {"sends": ["promiscuous port in its VLAN"], "receives": []} == shown
        assert 'direction="sends",pf="pf0",reason="promiscuous port in its VLAN"' in scene.daemon.metrics()
        assert scene.first.can_ping("10.77.0.99")
        assert scene.daemon.vf_of(scene.second.name)["counters"]["rx_packets"] >= before + 3
        assert {"bystander"} == heard_in_another_vlan(scene, b"of another VLAN")
        scene.daemon.kill()
        scene.daemon.start()
        assert {"first", "second"} == heard_by(scene, scene.wire, first, b"after a restart")
    assert {"first"} == heard_by(scene, scene.wire, first, b"for one again")


def heard_in_another_vlan(scene: Scene, payload: bytes) -> set[str]:
    """Of a frame from the wire: the bystander whose it is, and the listener."""
    places = {"bystander": (scene.bystanders[0], "eth0"), "listener": (scene.second, "eth0")}
    with frames.tapped((scene.wire, "w0"), *places.values()) as (own, *taps):
        own.send(frames.frame(scene.bystanders[0].mac(), scene.wire.mac("w0"), payload, tags=(7,)))
        return heard(dict(zip(places, taps, strict=True)), payload)


def queue_of(scene: Scene, guest: Namespace) -> dict:
    """At the root of its representor."""
    qdiscs = json.loads(run("tc", "-j", "-s", "qdisc", "show", "dev", scene.daemon.vf_of(guest.name)["representor"]))
    return next((qdisc for qdisc in qdiscs if qdisc.get("root")), {})


def dropped_by_queue(scene: Scene) -> int:
    """Of what was for second."""
    return int(scene.daemon.vf_of(scene.second.name)["drops"].get("queue_full", 0))


def test_what_a_guest_receives_is_held_to_its_rate_by_whatever_way_it_comes(scene: Scene) -> None:
    """Beyond burst and queue nothing arrives faster; what found no room is counted, and each frame once."""
    kbps, frame_bytes, count = 1000, 1000, 400
    payload = b"rate" + bytes(frame_bytes - 14 - 4)
    most_at_once = 16_384 + 16_384 + kbps * 125 // 10  # the burst, then what waits
    with scene.holding(scene.second, "--shaping-egress", f"average_kbps={kbps}"):
        assert ("tbf", kbps * 125) == (queue_of(scene, scene.second)["kind"], queue_of(scene, scene.second)["options"]["rate"])
        for sender, device in ((scene.first, "eth0"), (scene.wire, "w0")):
            before = dropped_by_queue(scene)
            started, arrived = time.monotonic(), list[bytes]()
            with frames.tapped((sender, device), (scene.second, "eth0")) as (own, tap):
                own.send(*[frames.frame(scene.second.mac(), sender.mac(device), payload)] * count)

                def is_over(tap: frames.Tap = tap, arrived: list[bytes] = arrived, before: int = before) -> bool:
                    arrived += tap.seen(payload=payload, seconds=0.1, count=count)
                    return len(arrived) + dropped_by_queue(scene) - before >= count

                wait_until(is_over, "all of it arrived or was dropped", 20)
            assert count == len(arrived) + dropped_by_queue(scene) - before
            assert len(arrived) * frame_bytes <= most_at_once + kbps * 125 * (time.monotonic() - started)
            assert len(arrived) < count
        assert 'reason="queue_full"' in scene.daemon.metrics()
        scene.daemon.kill()
        scene.daemon.start()
        assert "tbf" == queue_of(scene, scene.second)["kind"]
    assert "noqueue" == queue_of(scene, scene.second)["kind"]


def test_what_a_guest_sends_too_fast_is_dropped_to_whomever_it_goes(scene: Scene) -> None:
    """Policed: a burst, then the rate, over all targets together; unicast and floods, and each frame once."""
    kbps, frame_bytes, count = 1000, 1000, 100
    mac = scene.second.mac()
    targets = [mac, scene.wire.mac("w0"), frames.BROADCAST]
    said = f"average_kbps={kbps},burst_bytes=20000,mode=police"
    with scene.holding(scene.first, "--shaping-ingress", said):
        before = scene.daemon.vf_of(scene.first.name)
        payload = b"rate" + bytes(frame_bytes - 14 - 4)
        now, seconds = _after_sending(scene, before, targets, payload, count)
        passed = now["counters"]["tx_packets"] - before["counters"]["tx_packets"]
        assert 20 <= passed <= (20_000 + seconds * kbps * 125) / frame_bytes + 1
        assert len(targets) * count == passed + now["drops"]["rate_limited"] - before["drops"].get("rate_limited", 0)
        assert 'reason="rate_limited"' in scene.daemon.metrics()
        assert scene.second.can_ping("10.77.0.99")
        before = scene.daemon.vf_of(scene.first.name)
        with frames.tapped((scene.wire, "w0")) as (wire,):
            wire.send(*[frames.frame(scene.first.mac(), scene.wire.mac("w0"), payload)] * count)
            received = wait_until(lambda: _received(scene, before, count), "what it receives is not held to the rate")
        assert count <= received


def traced(scene: Scene, *arguments: str) -> dict:
    document: dict = scene.daemon.ask("trace", *arguments)
    return document


def exits(scene: Scene, document: dict) -> set[str]:
    """Where a traced frame leaves, by the names of heard_by()."""
    names = {scene.port_of(scene.first): "first", scene.port_of(scene.second): "second"}
    return {names.get(one["by"].split()[0], "wire") for one in document["leaves"]}


def test_a_trace_says_what_becomes_of_a_frame_and_which_line_of_which_policy_decides(scene: Scene) -> None:
    first, second, wire = scene.first.mac(), scene.second.mac(), scene.wire.mac("w0")
    port, payload = scene.port_of(scene.first), b"as it was traced to be"
    for destination in (second, wire, frames.BROADCAST, first):
        document = traced(scene, "--from", port, "--to", destination)
        assert exits(scene, document) == heard_by(scene, scene.first, destination, payload)
    before = scene.daemon.vf_of(scene.first.name)["drops"]
    document = traced(scene, "--from", port, "--to", second, "--source", "02:00:00:00:77:01", "--tcp", "10.0.0.2:80")
    assert ("forged_source", "forged_transmits: reject (default)") == (document["verdict"], document["decided_by"])
    assert [False] == [rule["passed"] for rule in document["rules"]][-1:]
    assert "spoof_mac" == traced(scene, "--from", port, "--to", wire, "--source", second)["verdict"]
    assert "spoof_vlan" == traced(scene, "--from", port, "--to", wire, "--vlan", "7")["verdict"]
    document = traced(scene, "--from", "pf0", "--to", scene.bystanders[0].mac(), "--vlan", "7", "--udp", "[fd77::2]:53")
    assert ("forwarded", 7, 1) == (document["verdict"], document["vlan"], len(document["leaves"]))
    assert "no tag" in document["leaves"][0]["frame"]
    with scene.holding(scene.second, "--block", "true"):
        document = traced(scene, "--from", port, "--to", second)
        assert ("blocked", f"block: true (port {scene.port_of(scene.second)})") == (document["verdict"], document["decided_by"])
    said = scene.daemon.command("trace", "--from", port, "--frame", frames.frame(wire, first, b"whole").hex()).stdout
    assert "  ok    source is own" in said
    assert "verdict  forwarded: left by the one port" in said
    assert before == scene.daemon.vf_of(scene.first.name)["drops"]
    for arguments in (["--from", "nobody", "--to", wire], ["--from", port], ["--from", port, "--frame", "00"]):
        assert 0 != scene.daemon.command("trace", *arguments).returncode


def hop_of(scene: Scene, guest: Namespace) -> list[str]:
    """Names of its devices: far, near."""
    links = json.loads(run("ip", "-j", "link", "show"))
    representor = scene.daemon.ask("vf", "show", scene.port_of(guest))["representor"]
    (instance,) = (link["ifalias"].split(" ")[1] for link in links if link["ifname"] == representor)
    alias = f"sriov-xdp {instance} hop {scene.port_of(guest)}"  # others' daemons have hops of a VF of that name as well
    return sorted(link["ifname"] for link in links if link.get("ifalias", "").removesuffix(" entrance") == alias)


def sent_by(guest: Namespace) -> int:
    """Frames, by its own device."""
    (link,) = json.loads(guest.ip("-s", "-j", "link", "show", "eth0"))
    return int(link["stats64"]["tx"]["packets"])


def test_what_a_guest_sends_waits_for_its_turn_to_whomever_it_goes(scene: Scene) -> None:
    """Shaped: burst and queue, over all targets together; what found no room is counted, and each frame once."""
    kbps, frame_bytes, count = 1000, 1000, 100
    most_at_once = 2 * 16_384 + kbps * 125 // 10
    targets = [scene.second.mac(), scene.wire.mac("w0"), frames.BROADCAST]
    payload = b"wait" + bytes(frame_bytes - 14 - 4)
    with scene.holding(scene.first, "--shaping-ingress", f"average_kbps={kbps}"):
        assert scene.first.can_ping(SECOND)
        _far, near = hop_of(scene, scene.first)
        (queue,) = [one for one in json.loads(run("tc", "-j", "qdisc", "show", "dev", near)) if one.get("root")]
        assert ("tbf", kbps * 125) == (queue["kind"], queue["options"]["rate"])
        before, sent = scene.daemon.vf_of(scene.first.name), sent_by(scene.first)
        now, seconds = _after_sending(scene, before, targets, payload, count)
        passed = now["counters"]["tx_packets"] - before["counters"]["tx_packets"]
        dropped = now["drops"]["queue_full"] - before["drops"].get("queue_full", 0)
        assert len(targets) * count <= passed + dropped <= sent_by(scene.first) - sent, (
            "each once, and its stack may ask for a neighbour"
        )
        assert passed * frame_bytes <= most_at_once + seconds * kbps * 125
        assert scene.second.can_ping("10.77.0.99")


def test_a_hop_is_kept_over_a_restart_and_made_again_where_somebody_removed_it(scene: Scene) -> None:
    with scene.holding(scene.first, "--shaping-ingress", "average_kbps=50000"):
        far, near = hop_of(scene, scene.first)
        run("ip", "link", "del", far)
        wait_until(lambda: [far, near] == hop_of(scene, scene.first), "it is made again")
        wait_until(lambda: scene.first.can_ping(SECOND), "frames go on")
        numbers = run("ip", "-o", "link", "show", near).split(":")[0]
        scene.daemon.kill()
        scene.daemon.start()
        assert numbers == run("ip", "-o", "link", "show", near).split(":")[0]
        assert scene.first.can_ping(SECOND)
        assert 0 == scene.daemon.command("doctor").returncode
    assert [] == hop_of(scene, scene.first)
    assert scene.first.can_ping(SECOND)


def test_a_group_that_is_shaped_gives_each_of_its_ports_a_hop(scene: Scene) -> None:
    scene.daemon.ask("port-group", "set", "lan", "--shaping-ingress", "average_kbps=50000")
    assert [2, 2] == [len(hop_of(scene, guest)) for guest in (scene.first, scene.second)]
    assert scene.first.can_ping(SECOND)
    scene.daemon.ask("port-group", "set", "lan", "--shaping-ingress", "inherit")
    assert [0, 0] == [len(hop_of(scene, guest)) for guest in (scene.first, scene.second)]


def test_a_hop_that_lost_its_program_gets_it_back(scene: Scene) -> None:
    with scene.holding(scene.first, "--shaping-ingress", "average_kbps=50000"):
        far, _near = hop_of(scene, scene.first)
        run("tc", "filter", "del", "dev", far, "ingress")
        wait_until(lambda: "tc_vf" in run("tc", "filter", "show", "dev", far, "ingress"), "it is attached again")
        wait_until(lambda: scene.first.can_ping(SECOND), "frames go on")


def _after_sending(scene: Scene, before: dict, targets: list[str], payload: bytes, count: int) -> tuple[dict, float]:
    """first sends so many frames to each: its VF when all of them are counted, and how long that took."""
    with frames.tapped((scene.first, "eth0")) as (own,):
        started = time.monotonic()
        for destination in targets:
            own.send(*[frames.frame(destination, scene.first.mac(), payload)] * count)
    now = wait_until(lambda: _all_told(scene, before, len(targets) * count), "each frame is counted")
    return now, time.monotonic() - started


def _all_told(scene: Scene, before: dict, count: int) -> dict | None:
    now = scene.daemon.vf_of(scene.first.name)
    sent = now["counters"]["tx_packets"] - before["counters"]["tx_packets"]
    dropped = sum(now["drops"].values()) - sum(before["drops"].values())
    return now if sent + dropped >= count else None


def _received(scene: Scene, before: dict, count: int) -> int:
    received = scene.daemon.vf_of(scene.first.name)["counters"]["rx_packets"] - before["counters"]["rx_packets"]
    return int(received) if received >= count else 0


def test_a_queue_that_somebody_took_off_comes_back_with_the_next_look(scene: Scene) -> None:
    with scene.holding(scene.second, "--shaping-egress", "average_kbps=50000,peak_kbps=100000,burst_bytes=100000"):
        run("tc", "qdisc", "del", "dev", scene.daemon.vf_of(scene.second.name)["representor"], "root")
        assert "is not held to the rate of its port" in scene.daemon.command("doctor").stdout
        scene.daemon.ask("port", "set", scene.port_of(scene.second), "--block", "inherit")
        said = run("tc", "qdisc", "show", "dev", scene.daemon.vf_of(scene.second.name)["representor"])
        assert "rate 50Mbit burst 100000b peakrate 100Mbit" in said
