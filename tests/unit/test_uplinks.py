"""What the store keeps of a PF, and what is read that an earlier version kept."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sriov_xdp.pf.state.intent import PfSpec, WireOwnSource
from sriov_xdp.pf.state.physical_function import FoundUplink, PfEntry, PhysicalFunction
from sriov_xdp.pf.state.uplink_text import found_from_mark, found_to_mark, is_marked_by, pf_from_text, pf_to_text

FOUND = FoundUplink(
    boot_id="5c0ffee5",
    ifindex=7,
    permanent_mac="02:00:00:00:0f:01",
    was_up=False,
    was_promiscuous=True,
    ipv6_is_disabled="1",
    ipv6_address_mode=1,
    features={"rx-vlan-hw-parse": True},
)


@pytest.mark.parametrize("own_source", WireOwnSource)
@pytest.mark.parametrize("found", [None, FOUND], ids=["no uplink yet", "as it was found"])
def test_a_pf_comes_back_as_it_was_stored(own_source: WireOwnSource, found: FoundUplink | None) -> None:
    entry = PfEntry(spec=PfSpec(name="pf0", uplink="wire0", num_vfs=8, wire_own_source=own_source), number=3, found=found)
    stored = pf_to_text(PhysicalFunction(spec=entry.spec, number=3, found=found))
    assert entry == pf_from_text("pf0", stored)


def test_what_an_earlier_version_stored_is_given_back_by_default() -> None:
    text = json.dumps({"number": 3, "uplink": "wire0", "num_vfs": 8, "features_before": {"rx-vlan-hw-parse": True}})
    spec = PfSpec(name="pf0", uplink="wire0", num_vfs=8, wire_own_source=WireOwnSource.DROP)
    found = FoundUplink(
        boot_id="",
        ifindex=0,
        permanent_mac="",
        was_up=True,
        was_promiscuous=False,
        ipv6_is_disabled="0",
        ipv6_address_mode=0,
        features={"rx-vlan-hw-parse": True},
    )
    assert PfEntry(spec=spec, number=3, found=found) == pf_from_text("pf0", text)


@pytest.mark.parametrize("ipv6", ["0", "1", None])
def test_what_bpffs_keeps_of_an_uplink_is_read_as_it_was_written(ipv6: str | None) -> None:
    """Of the device that is there, in this boot; and no more than a name may have."""
    link: Any = SimpleNamespace(ifindex=7, permanent_mac=FOUND.permanent_mac, mac="02:00:00:00:0f:02")
    features = {"rx-vlan-hw-parse": True, "tx-vlan-hw-insert": False}
    found = replace(FOUND, mac="02:00:00:00:0f:01", ipv6_is_disabled=ipv6, features=features)
    text = found_to_mark(found)
    assert replace(found, mac=link.mac) == found_from_mark(text, link, FOUND.boot_id)
    assert "/" not in text
    assert len(text) < 200
    link.mac = found.mac
    assert is_marked_by(text, link), "the same address"
    link.mac = "02:00:00:00:0f:03"
    assert not is_marked_by(text, link), "another device of this number"
    link.ifindex = 8
    assert found_from_mark(text, link, FOUND.boot_id) is None, "another device"


@pytest.mark.parametrize(
    "text", [None, "", "7", "x:000:0:", "7:00:0:", "7:000:x:", "7:000:0:rx", "7:000:0:rx=1=1", "7:000:0:a=1:b:c"]
)
def test_what_nobody_wrote_says_nothing_of_an_uplink(text: str | None) -> None:
    link: Any = SimpleNamespace(ifindex=7, permanent_mac="", mac="")
    assert found_from_mark(text, link, "5c0ffee5") is None
