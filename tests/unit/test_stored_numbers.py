"""A stored number that no host can have is damage, and is found where the row is read."""

import json
from typing import Any

import pytest

from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.state.intent_text import attachment_from_text, switch_from_json
from sriov_xdp.pf.state.uplink_text import pf_from_text

ATTACHMENT = {
    "guest": "a",
    "netns": "a",
    "interface": "eth0",
    "port_group": "g",
    "mac": None,
    "datapath": "auto",
    "admin_mac": "02:00:00:00:00:01",
    "generation": 1,
    "representor": "pf0vf0",
    "ifindex": 1 << 20,
    "netns_is_ours": False,
    "netns_id": [4, 7],
    "link_state": "auto",
    "policy": {},
    "vlan": None,
}
FOUND = {
    "boot_id": "b",
    "ifindex": 3,
    "permanent_mac": "",
    "was_up": True,
    "was_promiscuous": False,
    "ipv6_is_disabled": "0",
    "ipv6_address_mode": 0,
    "features": {},
}
PF = {"number": 0, "uplink": "u0", "num_vfs": 4, "wire_own_source": "drop", "found": FOUND}
SWITCH = {"name": "s", "kind": "standard", "pf": "pf0", "mtu": 1500, "port_groups": []}


def test_what_is_stored_is_read() -> None:
    assert 1 << 20 == attachment_from_text(VfAddress("pf0", 0), json.dumps(ATTACHMENT)).ifindex
    assert 4 == pf_from_text("pf0", json.dumps(PF)).spec.num_vfs
    assert 1500 == switch_from_json(SWITCH).mtu_bytes


@pytest.mark.parametrize(
    "wrong",
    [{"ifindex": -1}, {"ifindex": 0}, {"ifindex": 1 << 40}, {"generation": -1}, {"generation": 1 << 32}, {"netns": "a\0b"}],
    ids=str,
)
def test_of_an_attachment(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|NUL"):
        attachment_from_text(VfAddress("pf0", 0), json.dumps({**ATTACHMENT, **wrong}))


@pytest.mark.parametrize(
    "wrong", [{"number": -1}, {"number": 99}, {"num_vfs": -1}, {"num_vfs": 0}, {"found": {**FOUND, "ifindex": -1}}], ids=str
)
def test_of_a_pf(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        pf_from_text("pf0", json.dumps({**PF, **wrong}))


@pytest.mark.parametrize("mtu", [0, -1, 1 << 20])
def test_of_a_switch(mtu: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        switch_from_json({**SWITCH, "mtu": mtu})
