"""The monitor of devices on a real kernel: bounded at each look, however fast a guest makes events, and right in the end."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov_xdp.host.folder_monitor import FolderMonitor, names_in
from sriov_xdp.host.monitor import MOST_DEVICES, MOST_MESSAGES, AddressChange, LinkChange, LinkMonitor
from sriov_xdp.lab.host import Lab, Namespace, entered, wait_until


class Place:
    """A namespace with twelve veth pairs a0-b0, a1-b1, ..., all up."""

    pairs = 12

    def __init__(self, lab: Lab) -> None:
        self.namespace: Namespace = lab.namespace("m")
        for number in range(self.pairs):
            self.batch(f"link add a{number} up type veth peer name b{number}", f"link set b{number} up")

    def batch(self, *lines: str) -> None:
        self.namespace.run("sh", "-c", 'echo "$0" | ip -batch -', "\n".join(lines))


@pytest.fixture
def place() -> Iterator[Place]:
    with Lab("lm") as lab:
        yield Place(lab)


@pytest.fixture
def monitor(place: Place) -> Iterator[LinkMonitor]:
    with entered(place.namespace):
        made = LinkMonitor()
    yield made
    made.close()


def drain(monitor: LinkMonitor) -> list[LinkChange | AddressChange]:
    found = monitor.drain()
    assert found is not None
    return found


def test_a_flapping_link_is_one_change_of_each_look(place: Place, monitor: LinkMonitor) -> None:
    place.batch(*["link set b3 down", "link set b3 up"] * 60)
    looks, carrier = 0, False
    while changes := drain(monitor):
        looks += 1
        links = [change for change in changes if isinstance(change, LinkChange)]
        assert len(links) == len({change.name for change in links})
        carrier = next((change.has_carrier for change in links if change.name == "a3"), carrier)
    assert 3 <= looks, f"more than {MOST_MESSAGES} messages were read at once"
    assert carrier


def test_many_devices_are_followed_a_few_at_a_time_and_none_is_lost(place: Place, monitor: LinkMonitor) -> None:
    place.batch(*[f"link set b{number} down" for number in range(place.pairs)])
    carrier: dict[str, bool] = {}
    wanted = {f"a{number}": False for number in range(place.pairs)}

    def are_all_seen() -> bool:
        """The kernel tells of a far end's carrier when it finds the time."""
        while changes := drain(monitor):
            assert MOST_DEVICES >= len({change.ifindex for change in changes})
            carrier.update({change.name: change.has_carrier for change in changes if isinstance(change, LinkChange)})
        return wanted == {name: state for name, state in carrier.items() if name.startswith("a")}

    wait_until(are_all_seen, "each device's last state is seen")


def test_a_port_that_leaves_a_bridge_is_not_gone(place: Place, monitor: LinkMonitor) -> None:
    place.batch("link add bridge0 type bridge", "link set a1 master bridge0", "link set a1 nomaster", "link del a2")
    gone = {change.name for change in _all(monitor) if isinstance(change, LinkChange) and change.is_gone}
    assert {"a2", "b2"} == gone


def test_after_an_overrun_what_waits_is_forgotten_and_later_changes_are_seen(place: Place, monitor: LinkMonitor) -> None:
    flaps = ["link set b3 down", "link set b3 up"] * 500

    def is_overrun() -> bool:
        place.batch(*flaps)
        return monitor.drain() is None

    wait_until(is_overrun, "an overrun")
    assert [] == drain(monitor)
    place.batch("link set b5 down")
    assert {"a5", "b5"} == {change.name for change in _all(monitor) if isinstance(change, LinkChange)}


def _all(monitor: LinkMonitor) -> list[LinkChange | AddressChange]:
    found: list[LinkChange | AddressChange] = []
    while changes := drain(monitor):
        found += changes
    return found


def test_names_that_come_and_go_are_told(tmp_path: Path) -> None:
    monitor = FolderMonitor(tmp_path)
    assert frozenset() == monitor.drain()
    (tmp_path / "one").touch()
    (tmp_path / "ä b").touch()
    (tmp_path / "one").unlink()
    assert frozenset({"one", "ä b"}) == monitor.drain()
    monitor.close()


def test_a_burst_that_lost_names_tells_none() -> None:
    overflow = struct.pack("=iIII", -1, 0x4000, 0, 0)
    assert names_in(struct.pack("=iIII", 1, 0x100, 0, 16) + b"one".ljust(16, b"\0") + overflow) is None
