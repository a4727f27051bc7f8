"""Faults of the state store."""

from pathlib import Path

from sriov_xdp.faults import Fault


class StoreError(Fault):
    """State could not be read or written; nothing was changed. The text names file, observation and remedy."""


class StateDamaged(StoreError):
    """What is stored cannot be read, or is not ours any more. Not the same as absent: there was an intent, so no daemon may go
    on as if there were none. file, observed and remedy are the parts of the text."""

    def __init__(self, file: Path, observed: str, remedy: str = "run `sriov-xdp recover`") -> None:
        super().__init__(f"{file}: {observed}; {remedy}")
        self.file, self.observed, self.remedy = file, observed, remedy
