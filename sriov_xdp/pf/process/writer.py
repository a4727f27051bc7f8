"""The writer: one thread that owns mailboxes, monitors, store and maps, and does the work that others submit.

Other threads call submit() and wait on the future; nothing else of the PF is theirs to touch.

Fairness. The loop goes round: what the selector found ready, one turn for each owner; the timers that are due; one step of
one piece of work that goes in steps; one piece of submitted work. So whoever waits, waits for one turn of each other at most,
and what a turn may cost is for its author to bound. All turns are timed (turns).
"""

import logging
import os
import queue
import selectors
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from sriov_xdp.pf.errors import FAULTS, Conflict
from sriov_xdp.pf.hands.log_budget import BudgetedLog, LogKind
from sriov_xdp.pf.hands.request_metrics import TURN_BUCKETS_SECONDS, Histogram

_log = logging.getLogger("sriov_xdp.pf")
T = TypeVar("T")
Steps = Generator[Future[Any] | None, None, Any]


class TurnKind(StrEnum):
    """What a turn of the writer is spent on."""

    MAILBOX = "mailbox"
    LINK_EVENTS = "link_events"
    NAME_EVENTS = "name_events"
    COMMAND = "command"
    STEP = "step"
    TIMER = "timer"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the selector: registered as its data. serve is called when the file is ready, and once a round for all files
    of one owner (a guest), as more VFs and connections shall not be more turns."""

    kind: TurnKind
    serve: Callable[[], None]
    owner: Hashable = None


@dataclass(slots=True)
class _Timer:
    interval_seconds: float
    due_at: float
    run: Callable[[], Steps | None]


@dataclass(slots=True, eq=False)
class _Walk:
    """Work that goes in steps. future: of whoever submitted it; None for the writer's own, which has a name instead."""

    steps: Steps
    future: Future[Any] | None = None
    name: Callable[[], Steps | None] | None = None
    is_wanted_again: bool = False
    waits_for: Future[Any] | None = None

    def can_go_on(self) -> bool:
        """Whether what it waits for beside the writer is done."""
        return self.waits_for is None or self.waits_for.done()


class WriterLoop:
    """A selector loop with timers and submitted work. clock: seconds, any that only moves forward. on_survived: after a mistake of
    the program, which what it was about may not outlive in order; survived counts them."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        clock: Callable[[], float] = time.perf_counter,
        log: BudgetedLog | None = None,
        on_survived: Callable[[], None] = lambda: None,
    ) -> None:
        self._selector = selector
        self._clock = clock
        self._faults = log or BudgetedLog(_log)
        self._on_survived = on_survived
        self.survived = 0
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._walks: deque[_Walk] = deque()
        self._timers: list[_Timer] = []
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_stopping = False
        self.turns = Histogram(TURN_BUCKETS_SECONDS)
        selector.register(self._wake_reader, selectors.EVENT_READ)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Runs work in the writer thread. Work that returns a generator is advanced step by step between mailbox requests,
        and not before a future that it yields is done; its return value is the result."""
        future: Future[T] = Future()
        self._work.put((work, future))
        self._wake()
        return future

    def every(self, interval_seconds: float, run: Callable[[], Steps | None]) -> None:
        """A timer. run may return a generator, whose steps then take turns with everything else; while they do, it is not
        started again."""
        self._timers.append(_Timer(interval_seconds, self._clock() + interval_seconds, run))

    def walk(self, run: Callable[[], Steps]) -> None:
        """For the writer thread: starts steps of its own. When the same are under way they run once more afterwards, for what
        they have passed already may be different since."""
        walk = self._walk_named(run)
        if walk is not None:
            walk.is_wanted_again = True
        else:
            self._walks.append(_Walk(run(), name=run))

    def stop(self) -> None:
        """Ends run() soon; from any thread or a signal handler."""
        self._is_stopping = True
        self._wake()

    def run(self) -> None:
        """Until stop()."""
        while not self._is_stopping:
            self._serve_ready(self._selector.select(self._timeout_seconds()))
            self._run_timers()
            self._advance_one()
            self._run_one()

    def abandon(self) -> None:
        """After run(): whoever still waits for work hears that it will not be done."""
        for walk in self._walks:
            walk.steps.close()
            if walk.future is not None:
                walk.future.set_exception(Conflict("the daemon is stopping; what was not done yet is not done"))
        self._walks.clear()
        while not self._work.empty():
            self._work.get()[1].cancel()

    def close(self) -> None:
        """Ends the wake pipe."""
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _timeout_seconds(self) -> float | None:
        if any(walk.can_go_on() for walk in self._walks) or not self._work.empty():
            return 0.0
        if not self._timers:
            return None
        return max(0.0, min(timer.due_at for timer in self._timers) - self._clock())

    def _serve_ready(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        served: set[Hashable] = set()
        for key, _events in ready:
            if self._selector.get_map().get(key.fd) is not key:
                continue
            source = key.data
            if source is None:
                self._drain_wake()
            elif source.owner is None or source.owner not in served:
                served.add(source.owner)
                self._turn(source.kind, source.serve)

    def _turn(self, kind: TurnKind, run: Callable[[], T]) -> T | None:
        """A fault in what one guest or device set off must not end the service of all others."""
        started = self._clock()
        try:
            return run()
        except Exception as error:  # noqa: BLE001  # whatever it is
            self._survive(kind, error)
            return None
        finally:
            self.turns.observe(kind, self._clock() - started)

    def _survive(self, kind: TurnKind, error: Exception) -> None:
        """Inside the handler of the error."""
        self._faults.write(logging.ERROR, kind, LogKind.FAILURES, "internal error; going on", is_exception=True)
        if not isinstance(error, FAULTS):
            self.survived += 1
            self._on_survived()

    def _run_timers(self) -> None:
        now = self._clock()
        for timer in self._timers:
            if timer.due_at > now:
                continue
            timer.due_at = now + timer.interval_seconds
            if self._walk_named(timer.run) is None:
                steps = self._turn(TurnKind.TIMER, timer.run)
                if isinstance(steps, Generator):
                    self._walks.append(_Walk(steps, name=timer.run))

    def _walk_named(self, run: Callable[[], Steps | None]) -> _Walk | None:
        return next((walk for walk in self._walks if walk.name == run), None)

    def _advance_one(self) -> None:
        """One step of whoever has waited longest and waits for nothing else."""
        walk = next((walk for walk in self._walks if walk.can_go_on()), None)
        if walk is None:
            return
        self._walks.remove(walk)
        started = self._clock()
        try:
            walk.waits_for = next(walk.steps)
            if walk.waits_for is not None:
                walk.waits_for.add_done_callback(lambda _done: self._wake())
            self._walks.append(walk)
        except StopIteration as end:
            self._finish(walk, end.value)
        except Exception as error:  # noqa: BLE001  # whoever submitted it gets it
            if walk.future is None or not isinstance(error, FAULTS):
                self._survive(TurnKind.STEP, error)
            if walk.future is not None:
                walk.future.set_exception(error)
            else:
                self._finish(walk, None)
        finally:
            self.turns.observe(TurnKind.STEP, self._clock() - started)

    def _finish(self, walk: _Walk, result: Any) -> None:
        if walk.future is not None:
            walk.future.set_result(result)
        elif walk.is_wanted_again and walk.name is not None:
            steps = walk.name()
            if steps is not None:
                self._walks.append(_Walk(steps, name=walk.name))

    def _run_one(self) -> None:
        """One piece of submitted work; a round comes before the next."""
        if self._work.empty():
            return
        work, future = self._work.get()
        if not future.set_running_or_notify_cancel():
            return
        started = self._clock()
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  # whoever submitted it gets it
            if not isinstance(error, FAULTS):
                self._survive(TurnKind.COMMAND, error)
            future.set_exception(error)
        else:
            if isinstance(result, Generator):
                self._walks.append(_Walk(result, future=future))
            else:
                future.set_result(result)
        finally:
            self.turns.observe(TurnKind.COMMAND, self._clock() - started)

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b"\0")
        except BlockingIOError:
            return

    def _drain_wake(self) -> None:
        try:
            while os.read(self._wake_reader, 4096):
                pass
        except BlockingIOError:
            return
