"""Work beside the writer: calls that make the kernel wait (creating, attaching and removing, each some 10 ms for a grace period
of RCU) run here in the meantime of which mailboxes are served.

One thread, as the kernel serialises this work anyway, with a netlink socket of its own. A verb yields what submit() returns and
goes on when it is done. For the pf package.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sriov_xdp.host.links import Links

T = TypeVar("T")


class Beside:
    """submit() from the writer thread only."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside")
        self._links = self._executor.submit(Links).result()

    def submit(self, work: Callable[[Links], T]) -> "Future[T]":
        """Work runs in the other thread, with that thread's netlink socket."""
        return self._executor.submit(work, self._links)

    def close(self) -> None:
        """Waits for what is under way."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._links.close()
