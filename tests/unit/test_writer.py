"""The writer's turns: nobody waits for more than one turn of each other, and every turn is timed by what it did."""

import logging
import os
import selectors
from collections.abc import Callable, Generator, Iterator
from functools import partial

import pytest

from sriov_xdp.pf.errors import Conflict, PfError
from sriov_xdp.pf.process.writer import Source, TurnKind, WriterLoop


class Clock:
    """Goes on only when work takes time."""

    def __init__(self) -> None:
        self.now_seconds = 100.0

    def __call__(self) -> float:
        return self.now_seconds

    def take(self, seconds: float) -> None:
        self.now_seconds += seconds


class Writer:
    """A loop whose turns note what they did. Ready sources stay ready, as with a guest that sends without end."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.selector = selectors.DefaultSelector()
        self.doubts = 0
        self.loop = WriterLoop(self.selector, self.clock, on_survived=self._doubt)
        self.done: list[str] = []
        self._pipes: list[int] = []

    def _doubt(self) -> None:
        self.doubts += 1

    def note(self, text: str, most: int = 1000) -> None:
        self.done.append(text)
        if len(self.done) >= most:
            self.loop.stop()

    def ready(self, serve: Callable[[], None], owner: str | None = None, kind: TurnKind = TurnKind.MAILBOX) -> None:
        reader, writer = os.pipe()
        os.write(writer, b"\0")
        self._pipes += [reader, writer]
        self.selector.register(reader, selectors.EVENT_READ, Source(kind, serve, owner))

    def steps(self, name: str, count: int) -> Generator[None, None, str]:
        for number in range(count):
            self.note(f"{name}{number}")
            yield
        return name

    def divides(self, numbers: tuple[int, ...]) -> Generator[None, None, None]:
        for number in numbers:
            self.note(f"{1 // number}")
            yield

    def close(self) -> None:
        self.loop.close()
        self.selector.close()
        for fd in self._pipes:
            os.close(fd)


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    made.close()


def count(writer: Writer, kind: TurnKind) -> int:
    return sum(writer.loop.turns.counts.get(kind, []))


# Fairness.


def test_submitted_work_is_done_one_a_round(writer: Writer) -> None:
    """Hundreds of commands at once: a guest's message waits for one of them, not for all."""
    writer.ready(lambda: writer.note("guest", most=6))
    for number in range(100):
        writer.loop.submit(lambda number=number: writer.note(f"work {number}"))
    writer.loop.run()
    assert ["guest", "work 0", "guest", "work 1", "guest", "work 2"] == writer.done[:6]


def test_pieces_of_work_that_go_in_steps_take_turns(writer: Writer) -> None:
    writer.ready(lambda: writer.note("guest", most=9))
    for name in ("a", "b"):
        writer.loop.submit(lambda name=name: writer.steps(name, 3))
    writer.loop.run()
    assert ["guest", "guest", "a0", "guest", "a1", "guest", "b0", "guest", "a2"] == writer.done[:9]


def test_a_guest_with_many_connections_has_one_turn_a_round(writer: Writer) -> None:
    for _connection in range(8):
        writer.ready(lambda: writer.note("greedy", most=6), owner="pf0vf0")
    writer.ready(lambda: writer.note("quiet"), owner="pf0vf1")
    writer.loop.run()
    assert {"greedy": 3, "quiet": 3} == {name: writer.done[:6].count(name) for name in ("greedy", "quiet")}
    assert [{"greedy", "quiet"}] * 3 == [set(writer.done[start : start + 2]) for start in (0, 2, 4)]


def test_a_file_that_was_taken_back_in_this_round_is_not_served(writer: Writer) -> None:
    def end_the_other() -> None:
        for key in list(writer.selector.get_map().values()):
            if key.data is not None and key.data.serve is not end_the_other:
                writer.selector.unregister(key.fileobj)
        writer.note("first", most=3)

    writer.ready(end_the_other)
    writer.ready(lambda: writer.note("second"))
    writer.loop.run()
    assert ["first"] * 3 == writer.done


# Work and its results.


def test_results_and_errors_come_back(writer: Writer) -> None:
    value = writer.loop.submit(lambda: 7)
    text = writer.loop.submit(lambda: writer.steps("a", 2))
    fault = writer.loop.submit(lambda: 1 // 0)
    late_fault = writer.loop.submit(lambda: writer.divides((1, 0)))
    writer.loop.submit(lambda: (writer.loop.stop() if number == 9 else None for number in range(10)))
    writer.loop.run()
    assert (7, "a") == (value.result(0), text.result(0))
    assert [ZeroDivisionError, ZeroDivisionError] == [type(future.exception(0)) for future in (fault, late_fault)]


def test_who_waits_when_the_loop_ends_hears_of_it(writer: Writer) -> None:
    begun = writer.loop.submit(lambda: writer.steps("a", 10))
    writer.loop.submit(writer.loop.stop)
    never = writer.loop.submit(lambda: None)
    writer.loop.run()
    writer.loop.abandon()
    assert isinstance(begun.exception(0), Conflict)
    assert never.cancelled()


# Timers and walks.


def test_a_timers_steps_take_turns_and_are_not_started_again_while_they_run(writer: Writer) -> None:
    writer.loop.every(1.0, lambda: writer.steps("look ", 3))

    def guest() -> None:
        writer.clock.take(1.5)
        writer.note("guest", most=12)

    writer.ready(guest)
    writer.loop.run()
    assert ["guest", "look 0", "guest", "look 1", "guest", "look 2", "guest", "guest", "look 0"] == writer.done[:9]


def test_what_is_asked_for_while_it_runs_runs_once_more(writer: Writer) -> None:
    def look() -> Generator[None, None, str]:
        return writer.steps("look ", 2)

    writer.loop.walk(look)
    for _time in range(5):
        writer.loop.walk(look)
    rounds = iter(range(20))
    writer.ready(lambda: writer.loop.stop() if next(rounds) == 10 else None)
    writer.loop.run()
    assert ["look 0", "look 1", "look 0", "look 1"] == writer.done


# What goes wrong.


def test_a_fault_ends_neither_the_loop_nor_a_timer_and_its_log_has_a_budget(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        writer.note("fault", most=100)
        raise ValueError("odd")

    def fail_late() -> Generator[None, None, None]:
        yield
        raise ValueError("late")

    writer.ready(fail)
    writer.loop.every(0.0, fail_late)
    writer.loop.run()
    assert 100 == len(writer.done)
    assert 1 < count(writer, TurnKind.TIMER)
    assert 10 == len(caplog.records)
    assert {logging.ERROR} == {record.levelno for record in caplog.records}


def test_what_it_goes_on_after_is_counted_and_told_of_and_a_fault_of_the_world_is_not(writer: Writer) -> None:
    """Whoever submitted the work hears of either."""

    def failing(error: Exception) -> Generator[None, None, None]:
        yield
        raise error

    faults = [ValueError("odd"), PfError("as foreseen"), OSError("no space")]
    futures = [writer.loop.submit(partial(failing, error)) for error in faults]
    futures[-1].add_done_callback(lambda _done: writer.loop.stop())
    writer.loop.run()
    assert faults == [future.exception() for future in futures]
    assert (1, 1) == (writer.loop.survived, writer.doubts)


# Times.


def test_every_turn_is_timed_by_what_it_did(writer: Writer) -> None:
    def timed(kind: str, seconds: float) -> None:
        writer.clock.take(seconds)
        writer.note(kind)

    def walking() -> Generator[None, None, None]:
        writer.clock.take(0.3)
        writer.loop.stop()
        yield

    writer.ready(lambda: timed("message", 0.0002))
    writer.ready(lambda: timed("event", 0.004), kind=TurnKind.LINK_EVENTS)
    writer.loop.every(0.0, lambda: timed("timer", 0.00005))
    writer.loop.submit(walking)
    writer.loop.run()
    bounds = [*writer.loop.turns.bounds_seconds, None]
    seen = {kind: bounds[next(i for i, n in enumerate(counts) if n)] for kind, counts in writer.loop.turns.counts.items()}
    assert {"mailbox": 0.00025, "link_events": 0.005, "timer": 0.0001, "command": 0.0001, "step": 0.5} == seen
    assert 0.3 == pytest.approx(writer.loop.turns.sums["step"])
