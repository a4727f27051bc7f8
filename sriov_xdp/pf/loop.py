"""The writer: one thread that owns mailboxes, monitors, store and maps, and does the work that others submit.

Other threads call submit() and wait on the future; nothing else of the PF is theirs to touch.
"""

import logging
import os
import queue
import selectors
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sriov_xdp.pf.errors import Conflict

_log = logging.getLogger("sriov_xdp.pf")
T = TypeVar("T")
Steps = Generator["Future[Any] | None", None, Any]


@dataclass(slots=True)
class _Timer:
    interval_seconds: float
    due_at: float
    run: Callable[[], None]


def _guarded(run: Callable[[], None]) -> None:
    """A fault in what one guest or device set off must not end the service of all others."""
    try:
        run()
    except Exception:  # noqa: BLE001  # whatever it is
        _log.exception("internal error; going on")


class WriterLoop:
    """A selector loop with timers and submitted work."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._running_steps: list[tuple[Steps, Future[Any]]] = []
        self._waiting_for: dict[Steps, Future[Any]] = {}
        self._timers: list[_Timer] = []
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_stopping = False
        selector.register(self._wake_reader, selectors.EVENT_READ, self._drain_wake)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Runs work in the writer thread. Work that returns a generator is advanced step by step between mailbox requests,
        and not before a future that it yields is done; its return value is the result."""
        future: Future[T] = Future()
        self._work.put((work, future))
        self._wake()
        return future

    def every(self, interval_seconds: float, run: Callable[[], None]) -> None:
        """A timer."""
        self._timers.append(_Timer(interval_seconds, time.monotonic() + interval_seconds, run))

    def stop(self) -> None:
        """Ends run() soon; from any thread or a signal handler."""
        self._is_stopping = True
        self._wake()

    def run(self) -> None:
        """Until stop()."""
        while not self._is_stopping:
            for key, _events in self._selector.select(self._timeout_seconds()):
                if self._selector.get_map().get(key.fd) is key:
                    _guarded(key.data)
            self._run_timers()
            self._advance_steps()
            self._run_work()

    def abandon(self) -> None:
        """After run(): whoever still waits for work hears that it will not be done."""
        for steps, future in self._running_steps:
            steps.close()
            future.set_exception(Conflict("the daemon is stopping; what was not done yet is not done"))
        self._running_steps.clear()
        while not self._work.empty():
            self._work.get()[1].cancel()

    def close(self) -> None:
        """Ends the wake pipe."""
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _timeout_seconds(self) -> float | None:
        can_go_on = any(steps not in self._waiting_for or self._waiting_for[steps].done() for steps, _future in self._running_steps)
        if can_go_on or not self._work.empty():
            return 0.0
        if not self._timers:
            return None
        return max(0.0, min(timer.due_at for timer in self._timers) - time.monotonic())

    def _run_timers(self) -> None:
        now = time.monotonic()
        for timer in self._timers:
            if timer.due_at <= now:
                timer.due_at = now + timer.interval_seconds
                _guarded(timer.run)

    def _advance_steps(self) -> None:
        for steps, future in list(self._running_steps):
            if steps in self._waiting_for and not self._waiting_for[steps].done():
                continue
            self._waiting_for.pop(steps, None)
            try:
                waited_for = next(steps)
                if waited_for is not None:
                    self._waiting_for[steps] = waited_for
                    waited_for.add_done_callback(lambda _done: self._wake())
            except StopIteration as end:
                self._running_steps.remove((steps, future))
                future.set_result(end.value)
            except Exception as error:  # noqa: BLE001  # whoever submitted it gets it
                self._running_steps.remove((steps, future))
                future.set_exception(error)

    def _run_work(self) -> None:
        while not self._work.empty():
            work, future = self._work.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except Exception as error:  # noqa: BLE001  # whoever submitted it gets it
                future.set_exception(error)
                continue
            if isinstance(result, Generator):
                self._running_steps.append((result, future))
            else:
                future.set_result(result)

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
