"""What the state knows of an apply that is under way: only who began it ends the note."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sriov_xdp.api import commands
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.turns import Turns
from sriov_xdp.pf.state.trial import Trial
from sriov_xdp.pf.verbs import applied_files, confirmation
from sriov_xdp.pf.verbs import apply as applying
from sriov_xdp.store.database import Database

STEP = SimpleNamespace(consequence="")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path)) as made:
        yield made


@pytest.mark.parametrize("is_applying", [True, False], ids=["beside another", "alone"])
def test_an_apply_that_is_refused_ends_its_own_note_only(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_applying: bool
) -> None:
    def refuse(_context: Any, _wanted: Any, _actor: Any, begin: Any) -> Any:
        if not is_applying:
            begin([STEP])
        raise Conflict("not now")

    monkeypatch.setattr(applying, "apply", refuse)
    context: Any = SimpleNamespace(is_applying=is_applying, database=database, started_with=None, trial=None)
    wanted: Any = SimpleNamespace(
        intent=None, fingerprint="f", request=SimpleNamespace(yes=True, path=None, consented=[], confirm_timeout_seconds=None)
    )
    if is_applying:
        applied_files.note_begin(database, "other", is_of_the_start=False)
    with pytest.raises(Conflict):
        list(commands._apply(context, wanted, commands.Actor(pid=1, uid=0)))
    assert ("other" if is_applying else "") == applied_files.cut_off(database)


@pytest.mark.parametrize(
    ("cut_off", "counts"),
    [("", True), ("another", True), ("x", True), ("of the start", False)],
    ids=["none", "another", "junk", "it"],
)
def test_a_file_that_counts_counts_on_though_another_was_cut_off(database: Database, cut_off: str, counts: bool) -> None:
    """To go back to it would undo what was set by command since; one that was cut off itself is gone on with."""
    applied_files.note_start(database, "of the start")
    applied_files.note_begin(database, cut_off, is_of_the_start=False)
    assert counts == applied_files.counts_already(database, "of the start")
    assert not applied_files.counts_already(database, "something else")


TRIAL = Trial(fingerprint="f", boot="b", due=60.0)


def test_what_waited_for_its_turn_is_refused_where_a_trial_began_meanwhile() -> None:
    """It would go with it, though its operator was told that it is done."""
    done = []

    def run(_context: Any, _request: Any, _actor: Any) -> Any:
        done.append("it")
        yield None

    context: Any = SimpleNamespace(is_applying=False, trial=None, turns=Turns(), clock=lambda: 0.0)
    before, waiting = context.turns.take(iter_of(2)), commands._verb(run)(context, None, None)
    next(before)
    next(waiting)
    context.trial = TRIAL
    list(before)
    with pytest.raises(Conflict, match="is on trial for 60 s more"):
        list(waiting)
    assert [] == done


def iter_of(steps: int) -> Any:
    for _step in range(steps):
        yield None


def test_nothing_is_confirmed_while_it_is_being_taken_back() -> None:
    context: Any = SimpleNamespace(is_applying=True, trial=TRIAL)
    with pytest.raises(Conflict, match="is being applied, or taken back, just now"):
        confirmation.confirm(context, commands.Actor(pid=1, uid=0))
    assert context.trial is TRIAL
