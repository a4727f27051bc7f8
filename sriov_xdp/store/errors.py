"""Faults of the state store."""


class StoreError(Exception):
    """State could not be read or written; nothing was changed. The text names file, observation and remedy."""
