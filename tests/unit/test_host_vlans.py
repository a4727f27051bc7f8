"""VLANs that the host has on a device, from the kernel's own list of VLAN devices."""

from pathlib import Path

import pytest

from sriov_xdp.host import links
from sriov_xdp.host.links import Links

CONFIG = """VLAN Dev name	 | VLAN ID
Name-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD
u.100          | 100  | u
storage        | 7  | u
other.100      | 100  | other
u.100.5        | 5  | u.100
"""


@pytest.mark.parametrize(("name", "vlans"), [("u", {7, 100}), ("other", {100}), ("u.100", {5}), ("nothing", set())])
def test_the_vlans_above_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, vlans: set[int]) -> None:
    config = tmp_path / "config"
    config.write_text(CONFIG)
    monkeypatch.setattr(links, "_VLAN_DEVICES", config)
    assert vlans == Links.vlans_above(name)


def test_a_kernel_without_vlan_devices_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_VLAN_DEVICES", tmp_path / "config")
    assert frozenset() == Links.vlans_above("u")
