"""When a port gets its final hook: in the quiet after the operator's changes, and at the latest after a while."""

import logging
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.pf.hands.log_budget import BudgetedLog
from sriov_xdp.pf.hands.turns import Turns, finish
from sriov_xdp.pf.state.attached_vf import Stage
from sriov_xdp.pf.verbs.settling import Settling

REST, LONGEST, PAUSE = 0.5, 2.0, 10.0


class Scene:
    """Ports by name; the clock and the operator's changes are the test's."""

    def __init__(self, *ports: str) -> None:
        self.now, self.revision, self.fault = 100.0, 1, ""
        self.settled: list[str] = []
        self.vfs = {name: self.port(name) for name in ports}
        context: Any = SimpleNamespace(
            inventory=SimpleNamespace(vfs=self.vfs),
            database=SimpleNamespace(revision=lambda: self.revision),
            beside=SimpleNamespace(submit=self.submit),
            hooks=SimpleNamespace(settle=self.settle),
            turns=Turns(),
        )
        self.settling = Settling(context, BudgetedLog(logging.getLogger("test"), lambda: self.now), lambda: self.now)

    @staticmethod
    def port(name: str) -> Any:
        return SimpleNamespace(address=name, stage=Stage.IN_SERVICE, is_settled=False, attachment=SimpleNamespace(ifindex=1))

    @staticmethod
    def submit(work: Any) -> "Future[None]":
        done: Future[None] = Future()
        try:
            done.set_result(work(None))
        except DataPathError as error:
            done.set_exception(error)
        return done

    def settle(self, name: str, _program: str, _ifindex: int, *, is_ours: bool) -> None:
        assert is_ours
        self.settled.append(name)
        if name == self.fault:
            raise DataPathError("planted")

    def look(self, seconds: float = 0.0) -> list[str]:
        """After so many seconds: what is settled now."""
        self.now += seconds
        before = len(self.settled)
        steps = self.settling.look()
        if steps is not None:
            finish(steps)
        return self.settled[before:]


@pytest.fixture
def scene() -> Scene:
    return Scene("one", "two", "three")


def test_all_are_settled_once_the_operator_rests(scene: Scene) -> None:
    assert [] == scene.look(REST - 0.1)
    assert ["one", "two", "three"] == scene.look(0.1)
    assert [] == scene.look(REST)


def test_a_change_begins_the_rest_anew(scene: Scene) -> None:
    scene.revision += 1
    assert [] == scene.look(REST)
    assert ["one", "two", "three"] == scene.look(REST)


def test_where_changes_never_end_one_is_settled_after_a_while(scene: Scene) -> None:
    seen = []
    for _look in range(40):
        scene.revision += 1
        seen += scene.look(LONGEST / 16)
    assert ["one", "two"] == seen


@pytest.mark.parametrize("stage", [Stage.PLANNED, Stage.CHANGING])
def test_a_port_that_is_not_in_service_is_left_alone(scene: Scene, stage: Stage) -> None:
    scene.vfs["two"].stage = stage
    assert ["one", "three"] == scene.look(REST)


def test_a_fault_is_said_and_tried_again_later(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.fault = "two"
    assert ["one", "two"] == scene.look(REST)
    assert ["two: its tc program goes on by the hook that it has: planted"] == [record.getMessage() for record in caplog.records]
    assert [] == scene.look(PAUSE - 0.1)
    scene.fault = ""
    assert ["two", "three"] == scene.look(0.1)
