"""What the clock on the wall says is for people: audit, log lines and names of copies. Nothing waits or counts by it, as somebody
may set it by a day."""

import ast
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from records import NOON, REFUSAL

from sriov_xdp.pf.hands.guest_records import GuestRecords
from sriov_xdp.store.database import Database

PRODUCT = Path(__file__).resolve().parents[2] / "sriov_xdp"
DAY_SECONDS = 86_400.0
WALL_CLOCKS = {"time.time", "time.time_ns", "time.localtime", "time.ctime", "datetime.now", "datetime.utcnow", "datetime.today"}
FOR_PEOPLE = {("pf/hands/context.py", "time.time"), ("pf/process/recover.py", "datetime.now")}


def asked(path: Path) -> set[str]:
    """Which clocks on the wall a module asks."""
    attributes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute))
    return {ast.unparse(attribute) for attribute in attributes} & WALL_CLOCKS


def test_only_what_people_read_asks_for_it() -> None:
    modules = [path for path in PRODUCT.rglob("*.py") if path.relative_to(PRODUCT).parts[0] not in ("bench", "lab")]
    assert FOR_PEOPLE == {(str(path.relative_to(PRODUCT)), clock) for path in modules for clock in asked(path)}


@pytest.mark.parametrize("times", [[NOON], [NOON, NOON + DAY_SECONDS], [NOON, NOON - DAY_SECONDS]], ids=["steady", "on", "back"])
def test_a_guests_records_are_as_many_whatever_it_says(tmp_path: Path, times: list[float]) -> None:
    """A burst, then five a second, then the sum of the others."""
    now = 0.0
    with closing(Database(tmp_path)) as database:
        records = GuestRecords(database, lambda: now)
        for request in range(1000):
            records.unchanged(replace(REFUSAL, time=times[request % len(times)]))
        now = 1.0
        for _request in range(1000):
            records.unchanged(replace(REFUSAL, time=times[-1]))
        now = 3.0
        records.write_sums()
        rows = database.audit("pf0vf0", 1000)
    assert (20 + 5 + 1, "1,975") == (len(rows), rows[-1].request.split()[1])
