"""What a configuration would change is what it changes, and what guests asked is decided again by the same core."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from mailbox_wire import ADD_ETH, OK, PRIMARY, RawMailbox

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config

GROUPS: list[dict[str, Any]] = [
    {"name": "open", "policy": {"security": {"mac_changes": "accept"}}},
    {"name": "strict", "policy": {"deny_reply": "nack"}},
]
OTHER, THIRD = "02:00:00:ab:00:01", "02:00:00:ab:00:02"


class Scene:
    """one may have another address and has it; two may not, and asked for one."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [{"guest": self.one.name, "port_group": "open"}, {"guest": self.two.name, "port_group": "strict"}]
        self.config = host_config(None, guests, GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)
        self.ask_for(self.one, OTHER)
        self.ask_for(self.two, THIRD)

    def ask_for(self, guest: Namespace, mac: str) -> int:
        with RawMailbox(guest, self.daemon.vf_of(guest.name)["address"]) as mailbox:
            return mailbox.addresses(ADD_ETH, mac, kind=PRIMARY)

    def what_if(self, document: dict[str, Any], *options: str) -> tuple[int, str]:
        path = self.lab.folder / "wanted.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        done = self.daemon.command("what-if", "-f", str(path), *options)
        assert "" == done.stderr
        return done.returncode, done.stdout

    def changed(self) -> dict[str, Any]:
        """The other way round."""
        document = copy.deepcopy(self.config)
        first, second = document["switches"][0]["port_groups"]
        first["policy"] = {"security": {"mac_changes": "reject"}}
        second["policy"] = {"security": {"mac_changes": "accept"}, "deny_reply": "nack"}
        return document


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("wi") as lab:
        yield Scene(lab)


def test_as_it_is_nothing_would_be_otherwise(scene: Scene) -> None:
    assert (0, "0 adapters change, 0 of 2 recorded requests are decided otherwise\n") == scene.what_if(scene.config)


def test_who_would_lose_what_and_who_would_be_granted_what(scene: Scene) -> None:
    before = scene.daemon.ask("export")
    code, said = scene.what_if(scene.changed())
    one, two = (f"{place.name}/eth0 ({scene.daemon.vf_of(place.name)['address']})" for place in (scene.one, scene.two))
    lines = said.splitlines()
    assert 7 == code
    assert [
        f"{one}: mac_changes: accept -> reject",
        f"{one}: loses what its guest was granted, by mac_changes: reject (port group open)",
        f"{two}: mac_changes: reject -> accept",
    ] == lines[:3]
    assert "2 adapters change, 2 of 2 recorded requests are decided otherwise" == lines[-1]
    granted, refused = lines[3:5]
    assert granted.endswith("was granted, would be refused by mac_changes: reject (port group open)")
    assert refused.endswith("was refused, would be granted by mac_changes: accept (port group strict)")
    assert before == scene.daemon.ask("export"), "nothing is done"


def test_what_a_pf_would_do_otherwise_is_said_of_its_guests(scene: Scene) -> None:
    document = copy.deepcopy(scene.config)
    document["pfs"][0] |= {"uplink_loss": "keep_local", "wire_own_source": "accept"}
    code, said = scene.what_if(document)
    assert 7 == code
    for guest in (scene.one, scene.two):
        assert f"{guest.name}/eth0 ({scene.daemon.vf_of(guest.name)['address']}): uplink_loss: isolate -> keep_local" in said
        assert f"{guest.name}/eth0 ({scene.daemon.vf_of(guest.name)['address']}): wire_own_source: drop -> accept" in said


def test_it_says_what_then_happens(scene: Scene) -> None:
    assert 7 == scene.what_if(scene.changed())[0]
    path = str(scene.lab.folder / "wanted.yaml")
    try:
        assert 0 == scene.daemon.command("apply", "-f", path).returncode
        assert OTHER != scene.daemon.vf_of(scene.one.name)["effective_mac"]
        assert OK == scene.ask_for(scene.two, THIRD)
    finally:
        scene.what_if(scene.config)
        assert 0 == scene.daemon.command("apply", "-f", path).returncode


def test_who_goes_and_old_requests(scene: Scene) -> None:
    document = copy.deepcopy(scene.config)
    document["guests"].pop()
    code, said = scene.what_if(document, "--since", "1s")
    assert 7 == code
    assert f"remove adapter {scene.two.name}/eth0: the guest loses the interface, with its addresses" in said
    assert f"{scene.two.name}/eth0 (pf0vf1): has no adapter any more" in said


@pytest.mark.parametrize("since", ["7", "d", "0d", "-1d", "7w", "99999999d", "1.5h"])
def test_a_time_that_is_none(scene: Scene, since: str) -> None:
    done = scene.daemon.command("what-if", "-f", str(scene.lab.folder / "wanted.yaml"), "--since", since)
    assert (2, True) == (done.returncode, "expected a number and s, m, h or d, as in 7d" in done.stderr)


def test_a_file_that_cannot_be_had_is_told_as_by_apply(scene: Scene) -> None:
    document = copy.deepcopy(scene.config)
    document["guests"][0]["adapters"][0]["port_group"] = "nowhere"
    path = scene.lab.folder / "wrong.yaml"
    path.write_text(yaml.safe_dump(document))
    done = scene.daemon.command("what-if", "-f", str(path))
    assert (1, True) == (done.returncode, "nowhere: no such port group" in done.stderr)
