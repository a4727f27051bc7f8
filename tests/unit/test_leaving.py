"""A namespace that was made for a guest goes with it, and what lives there is looked through beside the writer."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from sriov_xdp.pf.hands import leaving
from sriov_xdp.pf.hands.turns import finish

MADE = SimpleNamespace(
    vf="pf0vf0", netns_is_ours=True, netns_id=(1, 7), netns_cookie=0, spec=SimpleNamespace(netns="vm", guest="vm", interface="eth0")
)


class Beside:
    """Work that waits for its turn in the other thread."""

    def __init__(self) -> None:
        self.work: Any = None
        self.future: Future[Any] = Future()

    def submit(self, work: Any) -> Future[Any]:
        self.work = work
        return self.future


@pytest.mark.parametrize(("user", "removed"), [(None, ["vm"]), ("process 1 lives in it", [])])
def test_who_lives_there_is_not_looked_for_by_the_writer(
    monkeypatch: pytest.MonkeyPatch, user: str | None, removed: list[str]
) -> None:
    looked: list[str] = []
    gone: list[str] = []
    monkeypatch.setattr(leaving.namespaces, "identity", lambda _name: (1, 7))
    monkeypatch.setattr(leaving.namespaces, "remove", gone.append)
    monkeypatch.setattr(leaving, "user_of", lambda name: looked.append(name) or user)
    beside = Beside()
    context: Any = SimpleNamespace(
        inventory=SimpleNamespace(vfs={}), beside=beside, database=SimpleNamespace(write_intent=lambda *_arguments: None)
    )
    steps = leaving.remove_namespace(context, MADE)  # type: ignore[arg-type]
    assert beside.future is next(steps)
    assert ([], []) == (looked, gone)
    beside.future.set_result(beside.work(None))
    finish(steps)
    assert (["vm"], removed) == (looked, gone)


@pytest.mark.parametrize(("cookie", "removed"), [(5, ["vm"]), (6, []), (0, [])])
def test_one_that_was_made_since_and_got_its_numbers_stays(
    monkeypatch: pytest.MonkeyPatch, cookie: int, removed: list[str]
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(leaving.namespaces, "identity", lambda _name: (1, 7))
    monkeypatch.setattr(leaving.namespaces, "cookie", lambda _name: cookie)
    monkeypatch.setattr(leaving.namespaces, "remove", gone.append)
    monkeypatch.setattr(leaving, "user_of", lambda _name: None)
    leaving.remove_unused(SimpleNamespace(**{**vars(MADE), "netns_cookie": 5}))  # type: ignore[arg-type]
    assert removed == gone


@pytest.mark.parametrize(
    ("identity", "user", "removed"),
    [((1, 7), None, ["vm"]), ((1, 7), "process 1 lives in it", []), ((1, 8), None, []), (None, None, [])],
    ids=["as it was made", "somebody lives there by then", "another has its name by then", "gone"],
)
def test_the_undo_of_a_new_namespace_takes_nothing_from_others(
    monkeypatch: pytest.MonkeyPatch, identity: tuple[int, int] | None, user: str | None, removed: list[str]
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(leaving.namespaces, "identity", lambda _name: identity)
    monkeypatch.setattr(leaving.namespaces, "remove", gone.append)
    monkeypatch.setattr(leaving, "user_of", lambda _name: user)
    leaving.remove_unused(MADE)  # type: ignore[arg-type]
    assert removed == gone
