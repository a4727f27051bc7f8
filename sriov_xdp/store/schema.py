"""The tables of the state file, and how a file of an earlier version becomes one of this version.

Nothing but SQL; for the store's own use. A new version has a new number, the text of the tables as they are now, and the
statements that lead there from the version before, which run in one transaction.
"""

import sqlite3

SCHEMA_VERSION = 5
# An audit row belongs to a guest of its VF (by_guest) or to the operator. audit_of_guest finds a guest's oldest, as rows with
# equal keys stand in the order of seq; audit_of_operator finds the operator's, and guests' rows cost it nothing.
_TABLES = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE intent(kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID",
)
_GRANTED = "CREATE TABLE granted(vf TEXT PRIMARY KEY, generation INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID"
_AUDIT_TABLE = """
CREATE TABLE audit(
    seq INTEGER PRIMARY KEY, by_guest INTEGER NOT NULL, time REAL NOT NULL, vf TEXT NOT NULL, guest TEXT NOT NULL,
    peer_pid INTEGER NOT NULL, peer_uid INTEGER NOT NULL, request TEXT NOT NULL, rule TEXT NOT NULL, outcome TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, login_uid INTEGER, port TEXT NOT NULL DEFAULT '', asked TEXT NOT NULL DEFAULT '')
"""
_AUDIT_OF_GUEST = "CREATE INDEX audit_of_guest ON audit(vf, by_guest, guest)"
_AUDIT_OF_PORT = "CREATE INDEX audit_of_port ON audit(port) WHERE port <> ''"
_AUDIT = (
    _AUDIT_TABLE,
    _AUDIT_OF_GUEST,
    "CREATE INDEX audit_of_operator ON audit(seq) WHERE by_guest = 0",
    _AUDIT_OF_PORT,
)
# Version 1 knew a grant by its VF only. It belongs to the attachment that stands there now, whose document has the generation;
# one without an attachment outlived its guest and goes.
_GRANTS_FROM_1 = """
INSERT INTO granted
SELECT old.vf, old.generation, old.body FROM (
    SELECT granted_1.vf, granted_1.body,
        CASE WHEN json_valid(intent.body) THEN json_extract(intent.body, '$.generation') END AS generation
    FROM granted_1 JOIN intent ON intent.kind = 'attachment' AND intent.name = granted_1.vf) AS old
WHERE typeof(old.generation) = 'integer'
"""
# Only what is kept from now on is copied: the newest of each owner, and of all guests together.
_AUDIT_FROM_1 = """
INSERT INTO audit(seq, by_guest, time, vf, guest, peer_pid, peer_uid, request, rule, outcome, before, after)
SELECT seq, by_guest, time, vf, guest, peer_pid, peer_uid, request, rule, outcome, before, after FROM (
    SELECT *, row_number() OVER (PARTITION BY by_guest ORDER BY age, seq DESC) AS rank FROM (
        SELECT *, row_number() OVER (
            PARTITION BY by_guest, CASE by_guest WHEN 1 THEN vf END, CASE by_guest WHEN 1 THEN guest END ORDER BY seq DESC) AS age
        FROM (SELECT *, rule <> 'operator' AND vf <> '' AS by_guest FROM audit_1)))
WHERE CASE by_guest WHEN 1 THEN age <= :rows_of_a_guest AND rank <= :rows_of_guests ELSE age <= :rows_of_operator END
ORDER BY seq
"""


# Version 2 did not know who had logged in.
_AUDIT_FROM_2 = ("ALTER TABLE audit ADD COLUMN login_uid INTEGER",)
# Version 3 knew neither ports nor what exactly was asked.
_AUDIT_FROM_3 = (
    "ALTER TABLE audit ADD COLUMN port TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE audit ADD COLUMN asked TEXT NOT NULL DEFAULT ''",
    _AUDIT_OF_PORT,
)
# Version 4 kept so many rows of a VF, whichever guest's they were.
_AUDIT_FROM_4 = ("DROP INDEX audit_of_vf", _AUDIT_OF_GUEST)
_AUDIT_FROM = {2: (*_AUDIT_FROM_2, *_AUDIT_FROM_3, *_AUDIT_FROM_4), 3: (*_AUDIT_FROM_3, *_AUDIT_FROM_4), 4: _AUDIT_FROM_4}


class UnknownVersionError(Exception):
    """The file was written by a version that this one does not know."""


def prepare(connection: sqlite3.Connection, kept: dict[str, int]) -> None:
    """Makes an empty file, or one of an earlier version, a file of this version, in one transaction. kept: how many audit rows
    are, by rows_of_a_guest, rows_of_guests and rows_of_operator. Raises UnknownVersionError, sqlite3.Error; then the file is as
    it was."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version not in (0, 1, *_AUDIT_FROM):
        raise UnknownVersionError(f"written by another version (schema {version}, this is {SCHEMA_VERSION})")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version == 0:
            for statement in (*_TABLES, _GRANTED, *_AUDIT):
                connection.execute(statement)
        elif version == 1:
            _migrate_from_1(connection, kept)
        else:
            for statement in _AUDIT_FROM[version]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate_from_1(connection: sqlite3.Connection, kept: dict[str, int]) -> None:
    connection.execute("ALTER TABLE granted RENAME TO granted_1")
    connection.execute(_GRANTED)
    connection.execute(_GRANTS_FROM_1)
    connection.execute("DROP TABLE granted_1")
    connection.execute("DROP INDEX audit_of_vf")
    connection.execute("ALTER TABLE audit RENAME TO audit_1")
    for statement in _AUDIT:
        connection.execute(statement)
    connection.execute(_AUDIT_FROM_1, kept)
    connection.execute("DROP TABLE audit_1")
