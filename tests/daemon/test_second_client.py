"""A driver that was written from docs/mailbox.md alone gets from a daemon what the document says."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from second_client import (
    CAPABILITY_ADV_LINK_SPEED,
    CAPABILITY_L2,
    CAPABILITY_VLAN,
    CAPABILITY_VLAN_V2,
    EXTRA,
    LINK_CHANGE,
    PRIMARY,
    PROMISCUOUS_MULTICAST,
    PROMISCUOUS_UNICAST,
    RESET_IMPENDING,
    TPID_INNER,
    TPID_OUTER,
    Opcode,
    RefusedError,
    SecondClient,
    Status,
    VlanCaps,
)

from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config

GROUPS: list[dict[str, Any]] = [
    {"name": "open", "policy": {"security": {"mac_changes": "accept"}}},
    {"name": "told", "policy": {"deny_reply": "nack"}},
    {"name": "trunks", "vlan": {"trunk": [10, 20]}, "policy": {"deny_reply": "nack", "security": {"promiscuous": "accept"}}},
    {"name": "services", "vlan": {"trunk": [30], "proto": "802.1ad"}, "policy": {"trust": True}},
]
CAPABILITIES = CAPABILITY_L2 | CAPABILITY_ADV_LINK_SPEED
OTHER, MORE = "02:00:00:cc:00:01", "02:00:00:cc:00:02"
DOCUMENT = (Path(__file__).parents[2] / "docs" / "mailbox.md").read_text()
ROW = re.compile(
    r"^\| (\d+) \| \**(\w+)\** \| (\d+)(?: or \d+| \+ (\d+) n, n from (\d+))? \| ([a-z ,]+) \| *(\w*) *\| *(\w*) *\|$", re.MULTILINE
)
NOT_OFFERED = "not offered"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the document's table of opcodes."""

    number: int
    name: str
    shortest: int
    allowed: tuple[str, ...]
    too_early: str
    needs: str

    @property
    def wrong(self) -> int:
        """A length that the opcode never has."""
        return self.shortest - 1 if self.shortest else 1


def rows() -> list[Row]:
    return [
        Row(int(number), name, int(base) + int(each or 0) * int(least or 0), tuple(allowed.split(", ")), too_early, needs)
        for number, name, base, each, least, allowed, too_early, needs in ROW.findall(DOCUMENT)
    ]


def named(row: Row) -> str:
    return row.name


def raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


class Scene:
    """one may have another address; two may not, and is told; three is a trunk of 802.1Q, four one of 802.1ad."""

    def __init__(self, lab: Lab) -> None:
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        self.three: Namespace = lab.namespace("three")
        self.four: Namespace = lab.namespace("four")
        places = {"open": self.one, "told": self.two, "trunks": self.three, "services": self.four}
        guests = [{"guest": place.name, "port_group": group} for group, place in places.items()]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, GROUPS))

    def vf(self, guest: Namespace) -> dict[str, Any]:
        found: dict[str, Any] = self.daemon.vf_of(guest.name)
        return found

    def fresh(self, guest: Namespace) -> SecondClient:
        with entered(guest):
            return SecondClient(self.vf(guest)["address"])

    @contextmanager
    def active(self, guest: Namespace, capabilities: int = CAPABILITIES) -> Iterator[SecondClient]:
        with self.fresh(guest) as client:
            client.version(1, 1)
            client.resources(capabilities)
            yield client


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("sc") as lab:
        yield Scene(lab)


def test_the_table_of_opcodes_is_read_whole() -> None:
    table = DOCUMENT.partition("## Opcodes")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\| \d+ \|", table, re.MULTILINE)) == len(rows()) > 0
    assert {opcode.name: opcode.value for opcode in Opcode if opcode != Opcode.EVENT} == {
        row.name: row.number for row in rows() if (NOT_OFFERED,) != row.allowed
    }


@pytest.mark.parametrize("minor", [1, 0])
def test_the_pf_speaks_version_1_1_and_1_0_to_a_driver_of_1_0(scene: Scene, minor: int) -> None:
    with scene.fresh(scene.one) as client:
        assert (1, minor) == client.version(1, minor)


def test_another_major_version_is_answered_and_leads_nowhere(scene: Scene) -> None:
    with scene.fresh(scene.one) as client:
        assert (1, 1) == client.version(2, 0)
        with pytest.raises(RefusedError) as refused:
            client.resources(CAPABILITIES)
        assert Status.ERR_PARAM == refused.value.status
        assert (1, 1) == client.version(1, 1)


@pytest.mark.parametrize(("minor", "asked", "had"), [(1, CAPABILITIES, CAPABILITIES), (0, None, CAPABILITY_L2)])
def test_resources_tell_the_address_and_the_event_of_the_link_follows(
    scene: Scene, minor: int, asked: int | None, had: int
) -> None:
    with scene.fresh(scene.one) as client:
        client.version(1, minor)
        found = client.resources(asked)
        assert (raw(scene.vf(scene.one)["effective_mac"]), 1500) == (found.default_mac_addr, found.max_mtu)
        assert (1, 1, 1, 1, 6) == (
            *(found.num_vsis, found.num_queue_pairs, found.max_vectors),
            *(found.vsi_num_queue_pairs, found.vsi_type),
        )
        assert had == found.vf_cap_flags
        link = client.next_event()
        assert (LINK_CHANGE, 1, 0) == (link.event, link.link_status, link.severity)
        assert link.link_speed > 0
        assert [link] == client.events


def test_a_granted_primary_address_is_the_device_s_until_a_reset(scene: Scene) -> None:
    with scene.active(scene.one) as client:
        assert Status.SUCCESS == client.add(raw(OTHER), PRIMARY)
        assert OTHER == scene.vf(scene.one)["effective_mac"]
        client.reset()
        assert (RESET_IMPENDING, 255) == (client.events[-1].event, client.events[-1].severity)
        after = scene.vf(scene.one)
        assert after["admin_mac"] == after["effective_mac"]
        client.version(1, 1)
        assert raw(after["admin_mac"]) == client.resources(CAPABILITIES).default_mac_addr


def test_a_reset_is_told_on_each_connection_and_makes_it_fresh(scene: Scene) -> None:
    with scene.active(scene.one) as other, scene.active(scene.one) as client:
        client.reset()
        assert [LINK_CHANGE, RESET_IMPENDING] == [other.next_event().event for _ in range(2)]
        assert Status.ERR_PARAM == other.send_raw(Opcode.GET_VF_RESOURCES, bytes(4))
        assert (1, 1) == other.version(1, 1)


def test_a_refused_address_is_told_where_the_policy_says_so(scene: Scene) -> None:
    with scene.active(scene.two) as client:
        assert Status.ERR_ADMIN_QUEUE == client.add(raw(OTHER), PRIMARY)
        after = scene.vf(scene.two)
        assert after["admin_mac"] == after["effective_mac"]


def test_an_extra_address_is_a_filter_until_it_is_removed(scene: Scene) -> None:
    with scene.active(scene.one) as client:
        assert Status.SUCCESS == client.add(raw(MORE), EXTRA)
        assert [MORE] == scene.vf(scene.one)["filters"]
        assert Status.SUCCESS == client.remove(raw(MORE), EXTRA)
        assert [] == scene.vf(scene.one)["filters"]
        assert Status.SUCCESS == client.remove(raw(MORE), EXTRA), "what it does not have"


def test_stats_count(scene: Scene) -> None:
    table = DOCUMENT.partition("### GET_STATS, answer")[2].partition("\n### ")[0]
    with scene.active(scene.one) as client:
        found = client.stats()
    assert re.findall(r"^\| \d+ \| 8 \| `(\w+)` \|", table, re.MULTILINE) == list(found)
    assert [] == [name for name, count in found.items() if not (isinstance(count, int) and count >= 0)]


def test_vlans_are_asked_for_and_given_back(scene: Scene) -> None:
    with scene.active(scene.three, CAPABILITY_L2 | CAPABILITY_VLAN) as client:
        assert Status.SUCCESS == client.vlans(Opcode.ADD_VLAN, 10, 20)
        assert Status.SUCCESS == client.vlans(Opcode.DEL_VLAN, 20)
        assert Status.ERR_ADMIN_QUEUE == client.vlans(Opcode.ADD_VLAN, 30)
        assert [10] == scene.vf(scene.three)["vlans_asked"]
        client.reset()


@pytest.mark.parametrize(
    ("guest", "tpid", "vlan", "caps"),
    [("three", TPID_INNER, 10, VlanCaps(0, 1, 1, 8)), ("four", TPID_OUTER, 30, VlanCaps(2, 0, 2, 4094))],
)
def test_vlans_of_either_kind_are_asked_for_with_vlan_v2(scene: Scene, guest: str, tpid: int, vlan: int, caps: VlanCaps) -> None:
    place: Namespace = getattr(scene, guest)
    with scene.active(place, CAPABILITY_L2 | CAPABILITY_VLAN_V2 | CAPABILITY_VLAN) as client:
        assert caps == client.vlan_caps()
        assert Status.SUCCESS == client.tags(Opcode.ADD_VLAN_V2, tpid, vlan)
        assert [vlan] == scene.vf(place)["vlans_asked"]
        assert Status.SUCCESS == client.tags(Opcode.DEL_VLAN_V2, tpid, vlan)
        assert [] == scene.vf(place)["vlans_asked"]
        client.reset()


def test_frames_for_others_are_asked_for_and_given_back(scene: Scene) -> None:
    with scene.active(scene.three) as client:
        for flags in (0, PROMISCUOUS_UNICAST, PROMISCUOUS_UNICAST | PROMISCUOUS_MULTICAST):
            assert Status.SUCCESS == client.promiscuous(flags)
            asked = {"unicast": bool(flags & PROMISCUOUS_UNICAST), "multicast": bool(flags & PROMISCUOUS_MULTICAST)}
            assert asked == scene.vf(scene.three)["promiscuity_asked"]
        client.reset()


@pytest.mark.parametrize("row", [row for row in rows() if (NOT_OFFERED,) == row.allowed], ids=named)
def test_what_is_not_offered_is_not_supported(scene: Scene, row: Row) -> None:
    with scene.active(scene.one) as client:
        assert Status.ERR_NOT_SUPPORTED == client.send_raw(row.number, bytes(row.shortest))


@pytest.mark.parametrize("row", [row for row in rows() if row.needs], ids=named)
def test_what_needs_a_capability_is_not_supported_without(scene: Scene, row: Row) -> None:
    with scene.active(scene.one) as client:
        assert Status.ERR_NOT_SUPPORTED == client.send_raw(row.number, bytes(row.shortest))


@pytest.mark.parametrize("row", rows(), ids=named)
def test_a_wrong_length_is_a_wrong_parameter(scene: Scene, row: Row) -> None:
    with scene.active(scene.one) as client:
        assert Status.ERR_PARAM == client.send_raw(row.number, bytes(row.wrong))


@pytest.mark.parametrize("number", [0, 16, Opcode.EVENT, 58, 113, 2**32 - 1])
def test_a_number_that_is_not_in_the_table_is_a_wrong_parameter(scene: Scene, number: int) -> None:
    assert number not in {row.number for row in rows()}
    with scene.active(scene.one) as client:
        assert Status.ERR_PARAM == client.send_raw(number, b"")


@pytest.mark.parametrize("state", ["fresh", "negotiated"])
@pytest.mark.parametrize("row", [row for row in rows() if row.too_early], ids=named)
def test_what_comes_too_early_is_answered_so(scene: Scene, row: Row, state: str) -> None:
    with scene.fresh(scene.one) as client:
        if state == "negotiated":
            client.version(1, 1)
        expected = Status.SUCCESS if state in row.allowed else Status[row.too_early]
        assert expected == client.send_raw(row.number, bytes(row.shortest))
        assert (1, 1) == client.version(1, 1), "the connection goes on"
