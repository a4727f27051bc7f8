"""Which configuration files count already, by their fingerprints: what a start finds unchanged is not applied again, so that what
was set by command since stays. Names in the state's meta table; for the pf package and the daemon's start.
"""

import json
from collections.abc import Sequence

from sriov_xdp.store.database import Database

STARTED_WITH = "configuration"  # the file of the last start that counted
APPLIED = "applied"  # the file that was applied last, by a start or by command
UNDER_WAY = "applying"  # the file that is being applied: a daemon that died meanwhile left the host between two
MISSING = "missing"  # adapters of the file that counts that could not be given yet, as JSON: a start goes on with them
TAKEN_BACK = "taken_back"  # the file that was on trial and that nobody confirmed, until another one is applied
RECOVERED = "recovered"  # instead of a file: the state was rebuilt, and no file counts before the operator applies it


def counts_already(database: Database, fingerprint: str) -> bool:
    """Whether a start with this file changes nothing: also where the apply of another one was cut off, as to go back to this one
    would undo what was set by command. One that was cut off itself is gone on with. Raises StoreError."""
    done = (database.meta(STARTED_WITH), database.meta(APPLIED), database.meta(TAKEN_BACK))
    return cut_off(database) != fingerprint in done


def counts_for_starts(database: Database) -> bool:
    """Whether the file of the last start has a text that counts still. Raises StoreError."""
    return bool(database.meta(STARTED_WITH))


def cut_off(database: Database) -> str:
    """The file whose apply did not come to an end, "" for none. Raises StoreError."""
    return database.meta(UNDER_WAY) or ""


def taken_back(database: Database) -> str:
    """The file that was on trial and came to nothing, "" for none. Raises StoreError."""
    return database.meta(TAKEN_BACK) or ""


def is_recovered(database: Database) -> bool:
    """Whether the state was rebuilt, and nobody knows which file counted. Raises StoreError."""
    return database.meta(STARTED_WITH) == RECOVERED


def missing(database: Database) -> list[str]:
    """Names of adapters that the file which counts has, and that could not be given to their guests. Raises StoreError."""
    try:
        names = json.loads(database.meta(MISSING) or "[]")
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def note_missing(database: Database, names: Sequence[str]) -> None:
    """These are all that could not be given yet. Raises StoreError."""
    if list(names) != missing(database):
        database.write_intent([], [], {MISSING: json.dumps(list(names))})


def note_start(database: Database, fingerprint: str, missing_ones: Sequence[str] = ()) -> None:
    """A start that applied this file, but for these adapters. Raises StoreError."""
    counts = {
        STARTED_WITH: fingerprint,
        APPLIED: fingerprint,
        UNDER_WAY: "",
        TAKEN_BACK: "",
        MISSING: json.dumps(list(missing_ones)),
    }
    database.write_intent([], [], counts)


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
    database.write_intent([], [], {STARTED_WITH: "", APPLIED: "", MISSING: "[]"})


def note_end(database: Database) -> None:
    """It was given up, and whoever asked for it knows. Raises StoreError."""
    database.write_intent([], [], {UNDER_WAY: ""})


def note_apply(database: Database, fingerprint: str, missing_ones: Sequence[str] = (), *, is_of_the_start: bool) -> None:
    """An apply of this text, but for these adapters. is_of_the_start: from the file that starts are made with, whose earlier text
    no longer counts: put back, it is a change. After a recovery nobody knows which text that was, so no other file's apply makes it
    one that a start may apply. Raises StoreError."""
    started_with = {STARTED_WITH: fingerprint} if is_of_the_start else {}
    counts = {APPLIED: fingerprint, UNDER_WAY: "", TAKEN_BACK: "", MISSING: json.dumps(list(missing_ones)), **started_with}
    database.write_intent([], [], counts)
