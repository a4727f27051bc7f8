"""One verb at a time: what an operator or an event sets off waits until the one before is done, in the order of arrival.

Verbs are work in steps, between which guests are served; two that were in the middle of each other would see half of what the
other does. Mailbox requests are no verbs: they are done in one step. For the pf package; writer thread only.
"""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Turns:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: deque[Future[None]] = deque()

    @property
    def is_taken(self) -> bool:
        """Whether a verb is under way."""
        return self._is_taken

    def take(self, steps: Generator[Future[Any] | None, None, T]) -> Generator[Future[Any] | None, None, T]:
        """The steps, from when it is their turn."""
        if self._is_taken:
            mine: Future[None] = Future()
            self._waiting.append(mine)
            yield mine
        self._is_taken = True
        try:
            return (yield from steps)
        finally:
            if self._waiting:
                self._waiting.popleft().set_result(None)
            else:
                self._is_taken = False


def finish(steps: Generator[Future[Any] | None, None, T]) -> T:
    """All steps at once, where nobody else is to be served yet. Raises what they raise."""
    try:
        while True:
            waited_for = next(steps)
            if waited_for is not None:
                waited_for.exception()
    except StopIteration as end:
        result: T = end.value
        return result
