"""Which configuration files count already, by their fingerprints: what a start finds unchanged is not applied again, so that what
was set by command since stays. Names in the state's meta table; for the pf package and the daemon's start.
"""

from sriov_xdp.store.database import Database

STARTED_WITH = "configuration"  # the file of the last start that counted
APPLIED = "applied"  # the file that was applied last, by a start or by command
UNDER_WAY = "applying"  # the file that is being applied: a daemon that died meanwhile left the host between two
RECOVERED = "recovered"  # instead of a file: the state was rebuilt, and no file counts before the operator applies it


def counts_already(database: Database, fingerprint: str) -> bool:
    """Whether a start with this file changes nothing: also where the apply of another one was cut off, as to go back to this one
    would undo what was set by command. One that was cut off itself is gone on with. Raises StoreError."""
    return cut_off(database) != fingerprint in (database.meta(STARTED_WITH), database.meta(APPLIED))


def cut_off(database: Database) -> str:
    """The file whose apply did not come to an end, "" for none. Raises StoreError."""
    return database.meta(UNDER_WAY) or ""


def is_recovered(database: Database) -> bool:
    """Whether the state was rebuilt since a file was applied. Raises StoreError."""
    return database.meta(STARTED_WITH) == RECOVERED


def note_start(database: Database, fingerprint: str) -> None:
    """A start that applied this file. Raises StoreError."""
    database.write_intent([], [], {STARTED_WITH: fingerprint, APPLIED: fingerprint, UNDER_WAY: ""})


def note_unchanged(database: Database, fingerprint: str) -> None:
    """A start with a file that counts already, perhaps since it was applied by command. Raises StoreError."""
    if database.meta(STARTED_WITH) != fingerprint:
        database.write_intent([], [], {STARTED_WITH: fingerprint})


def note_begin(database: Database, fingerprint: str, *, is_of_the_start: bool) -> None:
    """A text is about to be applied. is_of_the_start: of the file that starts are made with, of which no text counts until it is
    done, nor after it was given up. Raises StoreError."""
    database.write_intent([], [], {UNDER_WAY: fingerprint, **({STARTED_WITH: "", APPLIED: ""} if is_of_the_start else {})})


def forget(database: Database) -> None:
    """No text counts any more, as everything is being removed. Raises StoreError."""
    database.write_intent([], [], {STARTED_WITH: "", APPLIED: ""})


def note_end(database: Database) -> None:
    """It was given up, and whoever asked for it knows. Raises StoreError."""
    database.write_intent([], [], {UNDER_WAY: ""})


def note_apply(database: Database, fingerprint: str, *, is_of_the_start: bool) -> None:
    """An apply of this text. is_of_the_start: from the file that starts are made with, whose earlier text no longer counts: put
    back, it is a change. Raises StoreError."""
    started_with = {STARTED_WITH: fingerprint} if is_of_the_start or is_recovered(database) else {}
    database.write_intent([], [], {APPLIED: fingerprint, UNDER_WAY: "", **started_with})
