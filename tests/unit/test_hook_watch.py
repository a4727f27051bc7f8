"""Whom an event of pins makes us ask the kernel about: those that it names, however many there are."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from sriov_xdp.pf.hands import uplinks
from sriov_xdp.pf.hands.turns import finish
from sriov_xdp.pf.state.attached_vf import Stage
from sriov_xdp.pf.state.intent import Datapath
from sriov_xdp.pf.verbs import adoption, hook_watch
from sriov_xdp.pf.verbs.hook_watch import HookWatch

VFS = [f"pf0vf{number}" for number in range(1000)]
Names = frozenset[str] | None


class Host:
    """A thousand working VFs and an uplink. pins: what is there; faults: whom the kernel does not answer for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[Names] = []
        self.pins = {f"{vf}_tc" for vf in VFS} | {"uplink0_tc"}
        self.asked: list[str] = []
        self.enforced: list[str] = []
        self.faults: set[str] = set()
        self.started: list[Any] = []
        self.now = 0.0
        vfs = {vf: SimpleNamespace(address=vf, stage=Stage.IN_SERVICE, active=Datapath.TCX, is_settled=True) for vf in VFS}
        uplink = SimpleNamespace(xdp_mode=None, ifindex=5)
        pf = SimpleNamespace(number=0, spec=SimpleNamespace(name="pf0"), uplink=uplink)
        context: Any = SimpleNamespace(
            inventory=SimpleNamespace(vfs=vfs, pfs={"pf0": pf}),
            hooks=SimpleNamespace(has_tcx=True),
            pins=SimpleNamespace(root="pins", link_names=lambda: sorted(self.pins)),
            marks=SimpleNamespace(instance=lambda: "5c0ffee5"),
            beside=SimpleNamespace(submit=self.submit),
            start=self.started.append,
        )
        monkeypatch.setattr(adoption, "missing_of_device", self.missing)
        monkeypatch.setattr(adoption, "enforce", self.enforce)
        monkeypatch.setattr(uplinks, "enforce", lambda _context, pf: self.enforced.append(pf.spec.name))
        monkeypatch.setattr(hook_watch, "_VFS_A_STEP", 16)
        folder: Any = SimpleNamespace(drain=lambda: self.events.pop(0))
        self.watch = HookWatch(context, folder, self.going_on, lambda: self.now)

    def submit(self, work: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(None))
        return future

    def missing(self, _context: Any, _links: Any, vf: Any) -> list[str]:
        self.asked.append(vf.address)
        if vf.address in self.faults:
            raise OSError("no answer")
        return ["tc_vf"] if f"{vf.address}_tc" not in self.pins else []

    def enforce(self, _context: Any, vf: Any) -> Iterator[None]:
        if vf.address in self.faults:
            raise OSError("not yet")
        self.enforced.append(vf.address)
        self.pins.add(f"{vf.address}_tc")
        yield None

    @contextlib.contextmanager
    def going_on(self, _subject: str, _text: str) -> Iterator[None]:
        with contextlib.suppress(OSError):
            yield

    def hear(self, names: Names) -> None:
        self.events.append(names)
        self.now += 1
        self.watch.on_pins()

    def work(self) -> tuple[list[str], list[str]]:
        """What is started, to its end: whom the kernel was asked about, and who was put right."""
        self.watch.settle()
        while self.started:
            finish(self.started.pop(0))
        found = sorted(self.asked), sorted(self.enforced)
        self.asked.clear()
        self.enforced.clear()
        return found


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_what_comes_by_our_own_hand_is_all_that_is_looked_at(host: Host) -> None:
    host.hear(frozenset({"pf0vf7_tc", "pf0vf9_xdp"}))
    assert (["pf0vf7", "pf0vf9"], []) == host.work()
    assert ([], []) == host.work(), "once"


def test_a_pin_that_went_is_missed_at_once(host: Host) -> None:
    host.pins.discard("pf0vf3_tc")
    host.hear(frozenset({"pf0vf3_tc"}))
    assert 1 == len(host.started)
    assert (["pf0vf3"], ["pf0vf3"]) == host.work()


def test_a_pin_that_went_unheard_is_found_with_the_next_event(host: Host) -> None:
    host.pins.discard("pf0vf3_tc")
    host.hear(frozenset({"pf0vf8_tc"}))
    assert (["pf0vf3", "pf0vf8"], ["pf0vf3"]) == host.work()


def test_pins_of_an_uplink(host: Host) -> None:
    host.hear(frozenset({"uplink0_xdp"}))
    assert ([], ["pf0"]) == host.work()


@pytest.mark.parametrize("names", [None, frozenset({""}), frozenset({"pf0vf3_tc", "news"})], ids=["lost", "the folder", "strange"])
def test_all_are_looked_at_when_nobody_knows_who(host: Host, names: Names) -> None:
    host.hear(names)
    assert (sorted(VFS), ["pf0"]) == host.work()


def test_who_could_not_be_put_right_is_tried_again(host: Host) -> None:
    host.faults.add("pf0vf5")
    host.hear(frozenset({"pf0vf5_tc", "pf0vf6_tc"}))
    assert (["pf0vf5", "pf0vf6"], []) == host.work()
    host.faults.clear()
    host.pins.discard("pf0vf5_tc")
    assert (["pf0vf5"], ["pf0vf5"]) == host.work()
    assert ([], []) == host.work()
