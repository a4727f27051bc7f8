"""What guests' requests leave in the audit: bounded in rows and bytes, complete in numbers, and never in the way of an answer."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from records import CHANGE, COMMAND, MAC_A, MAC_B, NOON, REFUSAL, numbered, on

from sriov_xdp.pf.hands.guest_records import GuestRecords
from sriov_xdp.pf.state.lasting_fault import LastingFault
from sriov_xdp.store.audit import AuditRecord
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError
from sriov_xdp.store.retention import Retention


class Scene:
    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.statements: list[str] = []
        self.database = Database(folder, retention=Retention(rows_of_a_guest=100_000))
        self.records = GuestRecords(self.database, lambda: self.now)
        for connection in (self.database._operator, self.database._guest):
            connection.set_trace_callback(self.statements.append)

    def passes(self, seconds: float) -> None:
        """With the timer."""
        for _second in range(int(seconds)):
            self.now += 1.0
            self.records.write_sums()

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.database.path.parent.iterdir())

    def fill(self, *, is_full: bool = True) -> None:
        for connection in (self.database._operator, self.database._guest):
            connection.execute(f"PRAGMA query_only={int(is_full)}")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    with closing(scene.database):
        yield scene


def told(records: list[AuditRecord]) -> int:
    """How many requests records tell of: one each, or what a sum says."""
    words = [record.request.split() for record in records]
    return sum(int(word[1].replace(",", "")) if word[0] == "suppressed:" else 1 for word in words)


def test_beyond_the_budget_no_statement_reaches_sqlite(scene: Scene) -> None:
    for _request in range(20):
        scene.records.unchanged(REFUSAL)
    scene.statements.clear()
    for _request in range(1000):
        scene.records.unchanged(REFUSAL)
    scene.records.write_sums()
    assert [] == scene.statements


def test_every_refusal_is_told_of(scene: Scene) -> None:
    for tenth in range(100):
        for _request in range(50):
            scene.records.unchanged(replace(REFUSAL, time=NOON + tenth // 10))
        scene.now += 0.1
        scene.records.write_sums()
    scene.passes(2)
    records = scene.database.audit("pf0vf0", 1000)
    assert (70, 5000) == (len(records), told(records))
    assert "suppressed: 4,931 requests refused since 2025-06-15T15:06:40Z" == records[-1].request


def test_a_guest_that_pauses_each_second_has_one_sum_a_second(scene: Scene) -> None:
    for _second in range(10):
        for _request in range(500):
            scene.records.unchanged(REFUSAL)
        scene.passes(1)
    records = scene.database.audit("pf0vf0", 1000)
    assert (20 + 9 * 5 + 10, 5000) == (len(records), told(records))


def test_every_change_is_stored_and_told_of(scene: Scene) -> None:
    macs = (MAC_A, MAC_B)
    for number in range(1000):
        before, after = macs[number % 2], macs[1 - number % 2]
        scene.records.granted(7, after, replace(CHANGE, before=before, after=after))
        assert {"pf0vf0": (7, after)} == scene.database.granted()
    scene.passes(2)
    records = scene.database.audit("pf0vf0", 1000)
    assert (201, 1000) == (len(records), told(records))
    assert (MAC_A, MAC_A) == (records[-1].before, records[-1].after)


def test_a_reset_takes_the_grant_back_beyond_the_budget_too(scene: Scene) -> None:
    for _request in range(300):
        scene.records.granted(7, MAC_B, CHANGE)
        scene.records.granted(7, None, CHANGE)
    assert {} == scene.database.granted()


def test_a_stop_writes_what_is_left(scene: Scene) -> None:
    for _request in range(100):
        scene.records.unchanged(REFUSAL)
    scene.records.close()
    assert 100 == told(scene.database.audit("pf0vf0", 1000))


# Where nothing can be written.


def test_a_refusal_that_cannot_be_recorded_is_answered_and_summed_up(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.fill()
    for _second in range(100):
        for _request in range(10):
            scene.records.unchanged(REFUSAL)
        scene.passes(1)
    assert 1 == len(caplog.messages)
    assert caplog.messages[0].startswith("state: audit of guests' requests: ")
    scene.fill(is_full=False)
    scene.passes(2)
    assert [1000] == [told([record]) for record in scene.database.audit("pf0vf0", 10)]
    scene.passes(20)
    assert ["state: audit of guests' requests: works again; it failed 615 times"] == caplog.messages[1:]


def test_a_change_that_cannot_be_stored_is_a_fault_and_not_in_the_audit(scene: Scene) -> None:
    scene.fill()
    for _request in range(1000):
        with pytest.raises(StoreError):
            scene.records.granted(7, MAC_B, CHANGE)
    scene.fill(is_full=False)
    scene.passes(100)
    assert ([], {}) == (scene.database.audit("pf0vf0", 10), scene.database.granted())


def test_a_lasting_fault_is_said_when_it_comes_and_when_it_is_over() -> None:
    fault = LastingFault(what="state: checkpoint")
    assert None is fault.worked(0.0)
    assert ["state: checkpoint: disk full", None] == [fault.struck("disk full", 1.0), fault.struck("disk full", 31.0)]
    assert [None, None] == [fault.worked(31.5), fault.struck("disk full", 32.0)]
    assert ["state: checkpoint: works again; it failed 3 times", None] == [fault.worked(61.0), fault.worked(91.0)]
    assert "state: checkpoint: locked" == fault.struck("locked", 100.0)


# How much disk all of it takes.


def test_state_stays_small_whatever_guests_do(tmp_path: Path) -> None:
    """Two guests, each 10,000 requests a second: 200,000 refusals and 50,000 granted changes; then, one goes on at a pace at
    which all is written. The audit of the operator and of a third guest is what it was."""
    now, macs = 0.0, (MAC_A, MAC_B)
    third = [on(numbered(REFUSAL, number), "pf0vf2", "vm3") for number in range(100)]
    grants = [json.dumps({"effective_mac": mac, "filters": []}) for mac in macs]
    with closing(Database(tmp_path)) as database:
        records = GuestRecords(database, lambda: now)
        database.write_intent([], [numbered(COMMAND, number) for number in range(100)])
        database.write_records(third)
        largest = 0
        for number in range(200_000):
            now = number / 10_000
            records.unchanged(REFUSAL)
            if number % 4 == 0:
                mac = number // 4 % 2
                change = replace(CHANGE, vf="pf0vf1", guest="vm2", before=macs[1 - mac], after=macs[mac])
                records.granted(8, grants[mac], change)
            if number % 10_000 == 0:
                records.write_sums()
                largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
        for _pause in range(200):
            now += 18.0
            for _request in range(30):
                records.unchanged(REFUSAL)
            records.write_sums()
        largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
        assert {"pf0vf1": (8, grants[1])} == database.granted()
        assert (third, 2000) == (database.audit("pf0vf2", 10_000), len(database.audit("pf0vf1", 10_000)) + 800)
        assert 2100 == len(database.audit("pf0vf0", 10_000))
        assert [numbered(COMMAND, number) for number in range(100)] == database.audit("pf0vf0", 10_000)[:100]
    assert largest <= 7 << 20
