"""VLANs on real frames: none, access (VST), trunk (VGT), and 802.1Q in band on the wire."""

import time
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config

GROUPS = [
    {"name": "plain", "vlan": "none"},
    {"name": "web", "vlan": {"access": 100}},
    {"name": "db", "vlan": {"access": 200}},
    {"name": "router", "vlan": {"trunk": [100, "200-202"]}},
    {"name": "blue", "vlan": {"access": 300}},
    {"name": "late", "vlan": {"trunk": [300]}},
    {"name": "tenant", "vlan": {"access": 100, "qos": 5, "proto": "802.1ad"}},
    {"name": "provider", "vlan": {"trunk": [100], "proto": "802.1ad"}},
]
GUESTS = {"p": "plain", "a": "web", "b": "web", "d": "db", "r": "router", "t": "tenant", "u": "tenant", "v": "provider"}


class Scene:
    def __init__(self, lab: Lab, mode: str) -> None:
        self.lab = lab
        self.wire, uplink = lab.wire()
        self.guests: dict[str, Namespace] = {name: lab.namespace(name) for name in GUESTS}
        adapters = [{"guest": self.guests[name].name, "port_group": group, "datapath": mode} for name, group in GUESTS.items()]
        config = host_config(uplink, adapters, GROUPS)
        config["pfs"][0]["num_vfs"] = len(GUESTS) + 3
        self.daemon: Daemon = lab.daemon(config)
        self.taps = {name: frames.Tap(guest) for name, guest in self.guests.items()}
        self.taps["w"] = frames.Tap(self.wire, "w0")
        self.macs = {name: guest.mac() for name, guest in self.guests.items()} | {"w": self.wire.mac("w0")}

    def fate(self, sender: str, sent: bytes, payload: bytes) -> dict[str, list[bytes]]:
        """Who received what; only those who received something."""
        self.taps[sender].send(sent)
        deadline = time.monotonic() + 0.2  # for all of them together
        left = {name: tap.seen(payload=payload, seconds=max(0.01, deadline - time.monotonic())) for name, tap in self.taps.items()}
        return {name: got for name, got in left.items() if got}


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("vl") as lab:
        made = Scene(lab, request.param)
        yield made
        for tap in made.taps.values():
            tap.close()


def test_broadcast_stays_in_its_vlan_and_is_tagged_where_it_must_be(scene: Scene) -> None:
    sent = frames.frame(frames.BROADCAST, scene.macs["a"], b"web all")
    tagged = frames.frame(frames.BROADCAST, scene.macs["a"], b"web all", tags=(100,))
    assert {"b": [sent], "r": [tagged], "w": [tagged]} == scene.fate("a", sent, b"web all")


def test_a_trunk_that_comes_last_hears_the_floods_of_the_wire(scene: Scene) -> None:
    """Two access ports alone are served by XDP, which knows no trunks."""
    ask, tagged = scene.daemon.ask, frames.frame(frames.BROADCAST, scene.macs["w"], b"blue all", tags=(300,))
    blue = [scene.lab.namespace(name) for name in ("blue1", "blue2", "late")]
    for guest, group in zip(blue, ("blue", "blue", "late"), strict=True):
        ask("vf", "attach", "--guest", guest.name, "--port-group", group)
    with frames.tapped(*((guest, "eth0") for guest in blue)) as taps:
        scene.taps["w"].send(tagged)
        arrived = [tap.seen(payload=b"blue all") for tap in taps]
    for guest in blue:
        ask("vf", "detach", scene.daemon.vf_of(guest.name)["address"])
    plain = frames.frame(frames.BROADCAST, scene.macs["w"], b"blue all")
    assert [[plain], [plain], [tagged]] == arrived


def test_unicast_between_members_is_untagged(scene: Scene) -> None:
    sent = frames.frame(scene.macs["b"], scene.macs["a"], b"a to b")
    assert {"b": [sent]} == scene.fate("a", sent, b"a to b")


def test_a_guest_of_another_vlan_is_not_found_but_looked_for_on_the_wire(scene: Scene) -> None:
    sent = frames.frame(scene.macs["d"], scene.macs["a"], b"web to db")
    tagged = frames.frame(scene.macs["d"], scene.macs["a"], b"web to db", tags=(100,))
    assert {"w": [tagged]} == scene.fate("a", sent, b"web to db")


def test_frames_of_the_plain_group_are_untagged_on_the_wire(scene: Scene) -> None:
    sent = frames.frame(scene.macs["w"], scene.macs["p"], b"plain to wire")
    assert {"w": [sent]} == scene.fate("p", sent, b"plain to wire")


def test_wire_to_access_loses_the_tag(scene: Scene) -> None:
    tagged = frames.frame(scene.macs["d"], scene.macs["w"], b"wire to db", tags=(200,))
    assert {"d": [frames.frame(scene.macs["d"], scene.macs["w"], b"wire to db")]} == scene.fate("w", tagged, b"wire to db")


def test_wire_frames_with_a_foreign_tag_reach_nobody(scene: Scene) -> None:
    tagged = frames.frame(scene.macs["d"], scene.macs["w"], b"wrong tag", tags=(100,))
    assert scene.fate("w", tagged, b"wrong tag") == {}


def test_untagged_wire_frames_do_not_reach_access_ports(scene: Scene) -> None:
    sent = frames.frame(frames.BROADCAST, scene.macs["w"], b"native")
    assert {"p": [sent]} == scene.fate("w", sent, b"native")


def test_trunk_reaches_each_of_its_vlans_by_tag(scene: Scene) -> None:
    for vlan, target in ((100, "a"), (200, "d")):
        payload = f"trunk {vlan}".encode()
        sent = frames.frame(scene.macs[target], scene.macs["r"], payload, tags=(vlan,))
        assert {target: [frames.frame(scene.macs[target], scene.macs["r"], payload)]} == scene.fate("r", sent, payload)


def test_access_to_trunk_gains_the_tag(scene: Scene) -> None:
    sent = frames.frame(scene.macs["r"], scene.macs["d"], b"db to router")
    tagged = frames.frame(scene.macs["r"], scene.macs["d"], b"db to router", tags=(200,))
    assert {"r": [tagged]} == scene.fate("d", sent, b"db to router")


def test_trunk_vlan_without_access_ports_works_with_the_wire(scene: Scene) -> None:
    """VLAN 201 has no member but the trunk; priority bits stay."""
    tci = 5 << 13 | 201
    for sender, target in (("r", "w"), ("w", "r")):
        payload = f"{sender} to {target} in 201".encode()
        sent = frames.frame(frames.BROADCAST, scene.macs[sender], payload, tags=(tci,))
        assert {target: [sent]} == scene.fate(sender, sent, payload)
        sent = frames.frame(scene.macs[target], scene.macs[sender], payload + b"!", tags=(tci,))
        assert {target: [sent]} == scene.fate(sender, sent, payload + b"!")


@pytest.mark.parametrize("tags", [(), (300,), (0,), (4095,), (100, 200)], ids=str)
def test_trunk_takes_listed_tags_only(scene: Scene, tags: tuple[int, ...]) -> None:
    payload = f"trunk with {tags}".encode()
    assert scene.fate("r", frames.frame(frames.BROADCAST, scene.macs["r"], payload, tags=tags), payload) == {}


def test_a_priority_tag_of_a_guest_counts_as_untagged(scene: Scene) -> None:
    untagged = frames.frame(scene.macs["b"], scene.macs["a"], b"urgent")
    sent = frames.frame(scene.macs["b"], scene.macs["a"], b"urgent", tags=(5 << 13,))
    assert {"b": [untagged]} == scene.fate("a", sent, b"urgent")
    tagged = frames.frame(scene.macs["w"], scene.macs["a"], b"urgent too", tags=(100,))
    sent = frames.frame(scene.macs["w"], scene.macs["a"], b"urgent too", tags=(5 << 13,))
    assert {"w": [tagged]} == scene.fate("a", sent, b"urgent too")


@pytest.mark.parametrize("tags", [(100,), (200,), (100, 200), (0, 100)], ids=str)
def test_access_port_takes_no_tags(scene: Scene, tags: tuple[int, ...]) -> None:
    payload = f"access with {tags}".encode()
    assert scene.fate("a", frames.frame(scene.macs["b"], scene.macs["a"], payload, tags=tags), payload) == {}


def test_q_in_q_from_the_wire_is_dropped(scene: Scene) -> None:
    assert scene.fate("w", frames.frame(scene.macs["a"], scene.macs["w"], b"qinq", tags=(100, 200)), b"qinq") == {}
    sent = frames.frame(scene.macs["a"], scene.macs["w"], b"88a8", tags=(100,), tpid=0x88A8)
    assert scene.fate("w", sent, b"88a8") == {}


def test_priority_tag_from_the_wire_counts_as_untagged(scene: Scene) -> None:
    sent = frames.frame(scene.macs["p"], scene.macs["w"], b"priority", tags=(3 << 13,))
    assert {"p": [frames.frame(scene.macs["p"], scene.macs["w"], b"priority")]} == scene.fate("w", sent, b"priority")


def test_ping_within_a_group_and_not_across(scene: Scene) -> None:
    for name, host in (("a", 1), ("b", 2), ("d", 3)):
        scene.guests[name].address(host)
    assert scene.guests["a"].can_ping("10.77.0.2")
    assert scene.guests["a"].can_ping("fd77::2")
    assert not scene.guests["a"].can_ping("10.77.0.3")
    assert not scene.guests["a"].can_ping("fd77::3")


# ---- VLANs of 802.1ad, in which guests have their own ----

SERVICE_TCI = 5 << 13 | 100


@pytest.mark.parametrize("own", [(), (7,)])
def test_a_guests_own_tags_go_along_behind_a_service_tag(scene: Scene, own: tuple[int, ...]) -> None:
    payload = b"tenant all"
    sent = frames.frame(frames.BROADCAST, scene.macs["t"], payload, tags=own)
    behind = frames.frame(frames.BROADCAST, scene.macs["t"], payload, tags=own, service_tci=SERVICE_TCI)
    assert {"u": [sent], "v": [behind], "w": [behind]} == scene.fate("t", sent, payload)
    answer = frames.frame(scene.macs["t"], scene.macs["w"], b"answer", tags=own, service_tci=SERVICE_TCI)
    assert {"t": [frames.frame(scene.macs["t"], scene.macs["w"], b"answer", tags=own)]} == scene.fate("w", answer, b"answer")
    from_trunk = frames.frame(scene.macs["u"], scene.macs["v"], b"from trunk", tags=own, service_tci=SERVICE_TCI)
    got = frames.frame(scene.macs["u"], scene.macs["v"], b"from trunk", tags=own)
    assert {"u": [got]} == scene.fate("v", from_trunk, b"from trunk")


def test_vlans_of_one_number_and_two_standards_are_two(scene: Scene) -> None:
    """100 of 802.1Q is the web's, 100 of 802.1ad the tenant's."""
    of_web = frames.frame(frames.BROADCAST, scene.macs["w"], b"to web", tags=(100,))
    assert {"a", "b", "r"} == scene.fate("w", of_web, b"to web").keys()
    of_tenant = frames.frame(frames.BROADCAST, scene.macs["w"], b"to tenant", service_tci=SERVICE_TCI)
    assert {"t", "u", "v"} == scene.fate("w", of_tenant, b"to tenant").keys()
    across = frames.frame(scene.macs["a"], scene.macs["t"], b"across")
    assert {"w"} == scene.fate("t", across, b"across").keys()
    as_the_other = frames.frame(scene.macs["t"], scene.macs["w"], b"as the other", tags=(100,))
    assert {} == scene.fate("w", as_the_other, b"as the other")
