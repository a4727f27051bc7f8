"""A fault that stays: said once when it comes and once, with how often it struck, when it is over. Pure: time comes as an
argument. For what is tried again and again, by a timer or by guests."""

from dataclasses import dataclass

_QUIET_SECONDS = 10.0  # so that what fails and works by turns is one fault, and not a line each time


@dataclass(slots=True, kw_only=True)
class LastingFault:
    """what names it in both lines."""

    what: str
    _times: int = 0
    _last_at: float = 0.0

    def struck(self, why: object, now: float) -> str | None:
        """The line to log, None when it was said already."""
        self._times += 1
        self._last_at = now
        return f"{self.what}: {why}" if self._times == 1 else None

    def worked(self, now: float) -> str | None:
        """The line to log when it is over."""
        if not self._times or now - self._last_at < _QUIET_SECONDS:
            return None
        times, self._times = self._times, 0
        return f"{self.what}: works again; it failed {times:,} times"
