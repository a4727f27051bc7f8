"""Who changes something too often to be followed each time. Pure: time comes as an argument. For the PF's event handling."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True, kw_only=True)
class Restlessness(Generic[Key]):
    """Restless is whose last changes, most of them, are all younger than within_seconds."""

    most: int
    within_seconds: float
    _changes_at: dict[Key, deque[float]] = field(default_factory=dict)

    def changed(self, key: Key, now: float) -> None:
        """Notes a change."""
        self._changes_at.setdefault(key, deque(maxlen=self.most)).append(now)

    def is_restless(self, key: Key, now: float) -> bool:
        """Whether to wait with the next change."""
        changes_at = self._changes_at.get(key)
        return changes_at is not None and len(changes_at) == self.most and now - changes_at[0] < self.within_seconds

    def forget_all_but(self, keys: frozenset[Key]) -> None:
        """Others are gone."""
        for key in self._changes_at.keys() - keys:
            del self._changes_at[key]
