"""When ports get the tcx links that they are meant to have: in the quiet after the verbs.

Attaching a link holds the kernel's lock of all devices for a grace period of RCU, 10 ms and more, and so keeps every verb
waiting; a port works without it, by a filter that costs some percent (hooks). So links come when nobody has wanted anything for a
moment, and one every few seconds where somebody always does. For the pf package; writer thread only.
"""

import logging
import time
from collections.abc import Callable

from sriov_xdp.pf.errors import FAULTS
from sriov_xdp.pf.hands import live
from sriov_xdp.pf.hands.context import Context, Steps
from sriov_xdp.pf.hands.log_budget import BudgetedLog, LogKind
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage

LOOK_SECONDS = 0.25
_REST_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 2.0
_PAUSE_SECONDS = 10.0  # after a fault


class Settling:
    """look() is a timer's."""

    def __init__(self, context: Context, log: BudgetedLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._log = log
        self._clock = clock
        self._last_at = clock()
        self._paused_until = 0.0
        self._revision = context.database.revision()
        self._changed_at = clock()

    def look(self) -> Steps[None] | None:
        """Steps, when a port is to be settled now."""
        if not any(self._waits(vf) for vf in self._context.inventory.vfs.values()):
            self._last_at = self._clock()
            return None
        is_quiet = self._is_quiet()
        waits_long = self._clock() - self._last_at >= _LONGEST_WAIT_SECONDS
        return self._settle() if self._clock() >= self._paused_until and (waits_long or is_quiet) else None

    @staticmethod
    def _waits(vf: AttachedVf) -> bool:
        return vf.stage is Stage.IN_SERVICE and not vf.is_settled

    def _is_quiet(self) -> bool:
        """Whether the operator has changed nothing for a while."""
        revision = self._context.database.revision()
        if revision != self._revision:
            self._revision, self._changed_at = revision, self._clock()
        return self._clock() - self._changed_at >= _REST_SECONDS

    def _settle(self) -> Steps[None]:
        """One port, and more of them while it stays quiet."""
        for vf in list(self._context.inventory.vfs.values()):
            if not self._waits(vf):
                continue
            self._last_at = self._clock()
            try:
                yield from self._context.turns.take(live.settle(self._context, vf))
            except FAULTS as error:
                text = "%s: its tc program goes on by the hook that it has: %s"
                self._log.write(logging.ERROR, str(vf.address), LogKind.FAILURES, text, vf.address, error)
                self._paused_until = self._clock() + _PAUSE_SECONDS
                return
            if not self._is_quiet():
                return
