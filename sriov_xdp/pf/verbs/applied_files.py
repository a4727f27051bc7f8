"""Which configuration files count already, by their fingerprints: what a start finds unchanged is not applied again, so that what
was set by command since stays. Names in the state's meta table; for the pf package and the daemon's start.
"""

from sriov_xdp.store.database import Database

STARTED_WITH = "configuration"  # the file of the last start that counted
APPLIED = "applied"  # the file that was applied last, by a start or by command
RECOVERED = "recovered"  # instead of a file: the state was rebuilt, and no file counts before the operator applies it


def counts_already(database: Database, fingerprint: str) -> bool:
    """Whether a start with this file changes nothing. Raises StoreError."""
    return fingerprint in (database.meta(STARTED_WITH), database.meta(APPLIED))


def is_recovered(database: Database) -> bool:
    """Whether the state was rebuilt since a file was applied. Raises StoreError."""
    return database.meta(STARTED_WITH) == RECOVERED


def note_start(database: Database, fingerprint: str) -> None:
    """A start that applied this file. Raises StoreError."""
    database.write_intent([], [], {STARTED_WITH: fingerprint, APPLIED: fingerprint})


def note_unchanged(database: Database, fingerprint: str) -> None:
    """A start with a file that counts already, perhaps since it was applied by command. Raises StoreError."""
    if database.meta(STARTED_WITH) != fingerprint:
        database.write_intent([], [], {STARTED_WITH: fingerprint})


def note_begin(database: Database) -> None:
    """A text of the file that starts are made with is about to be applied: until that is done no text counts. Raises StoreError."""
    database.write_intent([], [], {STARTED_WITH: "", APPLIED: ""})


def note_apply(database: Database, fingerprint: str, *, is_of_the_start: bool) -> None:
    """An apply of this text. is_of_the_start: from the file that starts are made with, whose earlier text no longer counts: put
    back, it is a change. Raises StoreError."""
    started_with = {STARTED_WITH: fingerprint} if is_of_the_start or is_recovered(database) else {}
    database.write_intent([], [], {APPLIED: fingerprint, **started_with})
