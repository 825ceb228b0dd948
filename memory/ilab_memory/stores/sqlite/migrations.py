"""Bring a file to the schema of this code. A migration and the version it leads to are committed together."""

import sqlite3
from collections.abc import Callable, Mapping

from ilab_memory.core.errors import StorageError
from ilab_memory.recall.analysis import INDEXED_CHARACTERS
from ilab_memory.stores.sqlite import saving, schema
from ilab_memory.stores.sqlite.terms import Indexed

# Each batch of the writer asks. As a PRAGMA statement, either would be compiled anew each time.
_VERSION = "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id"
# Rows that are indexed anew at once.
_PAGE = 100


def migrate(connection: sqlite3.Connection) -> None:
    """Create or update the schema, in one transaction; do nothing if it is the newest.

    Raises:
        StorageError: the file belongs to a newer version of this library or to another program.
        sqlite3.Error: nothing was changed.
    """
    if check_version(connection) == schema.VERSION:
        return
    # Taken before the version is read again: another process may be at the same.
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply(connection, check_version(connection))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_version(connection: sqlite3.Connection) -> int:
    """Return the version of the schema in the file, 0 if there is none.

    Raises:
        StorageError: the file belongs to a newer version of this library or to another program.
    """
    version, application = connection.execute(_VERSION).fetchone()
    if version == schema.VERSION and application == schema.APPLICATION_ID:
        return schema.VERSION
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != schema.APPLICATION_ID and (version or application or tables):
        raise StorageError("could not open the database: it belongs to another program")
    if version > schema.VERSION:
        raise StorageError(
            f"could not open the database: its schema version {version} is newer than {schema.VERSION},"
            " the newest that this version of ilab-memory knows"
        )
    return int(version)


def _apply(connection: sqlite3.Connection, version: int) -> None:
    for target in range(version + 1, schema.VERSION + 1):
        MIGRATIONS[target](connection)
    # PRAGMA takes no parameters; both are integers of ours.
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")


def _m001_first_schema(connection: sqlite3.Connection) -> None:
    for statement in (*schema.TABLES, *schema.TRIGGERS, *schema.INDEXES):
        connection.execute(statement)


_M002_ROWS = """
    SELECT u.key, o.number, o.id, u.secret, o.title, o.content FROM users u JOIN observations o ON o.user = u.key
    WHERE (u.key, o.number) > (:user, :number) ORDER BY u.key, o.number LIMIT :page
"""
_M002_LENGTHS = """
    UPDATE observations SET title_terms = :title_terms, said_terms = :said_terms, reply_terms = :reply_terms,
        tail_terms = :tail_terms
    WHERE id = :id
"""
_M002_INDEX = "INSERT INTO search (rowid, title, said, reply, tail) VALUES (?, ?, ?, ?, ?)"
_M002_TOTALS = """
    UPDATE users SET (title_terms, said_terms, reply_terms, tail_terms) = (
        SELECT coalesce(sum(title_terms), 0), coalesce(sum(said_terms), 0), coalesce(sum(reply_terms), 0),
            coalesce(sum(tail_terms), 0)
        FROM observations WHERE user = users.key
    )
"""


def _m002_hyphenated_words(connection: sqlite3.Connection) -> None:
    """Index every row anew: "e-mail" is found as "email" too."""
    # It counts what changes as saved now, which nothing is.
    connection.execute("DROP TRIGGER observation_changed")
    connection.execute("INSERT INTO search (search) VALUES ('delete-all')")
    place = {"user": 0, "number": 0, "page": _PAGE}
    # By rising row of the index, see Transaction.flush_index.
    while page := connection.execute(_M002_ROWS, place).fetchall():
        for user, number, observation_id, secret, title, content in page:
            indexed = Indexed(title, content)
            connection.execute(_M002_LENGTHS, {**indexed.lengths, "id": observation_id})
            row = user << schema.NUMBER_BITS | number
            connection.execute(_M002_INDEX, (row, *indexed.tokens(user, secret)))
        place |= {"user": user, "number": number}
    connection.execute(_M002_TOTALS)
    connection.execute(schema.TRIGGERS[1])


_M003_TOMBSTONES = """
    INSERT INTO erasures (user, salt, user_hash) SELECT key, x'', x'' FROM users WHERE user_id IS NULL
"""


def _m003_durable_erasures(connection: sqlite3.Connection) -> None:
    """Record erasures until the file is rewritten; adopt those that an earlier version did not finish."""
    for statement in schema.ERASURE_TABLES:
        connection.execute(statement)
    connection.execute(_M003_TOMBSTONES)


# Characters that folding makes of one, at most.
_MOST_FOLDED = 18
_M004_ROWS = """
    SELECT u.key, o.number, o.id, u.secret, o.title, o.title_terms, o.said_terms, o.reply_terms, o.tail_terms, o.content
    FROM users u JOIN observations o ON o.user = u.key
    WHERE (u.key, o.number) > (:user, :number) AND length(o.content) > :characters
    ORDER BY u.key, o.number LIMIT 1
"""
_M004_TAKE = "INSERT INTO search (search, rowid, title, said, reply, tail) VALUES ('delete', ?, ?, ?, ?, ?)"


def _m004_bounded_index(connection: sqlite3.Connection) -> None:
    """Take what follows the first INDEXED_CHARACTERS of a long row out of the index."""
    connection.execute("DROP TRIGGER observation_changed")
    place = {"user": 0, "number": 0, "characters": INDEXED_CHARACTERS // _MOST_FOLDED}
    while found := connection.execute(_M004_ROWS, place).fetchone():
        user, number, observation_id, secret, title, *lengths, content = found
        whole, bounded = Indexed(title, content, most_characters=len(content) * _MOST_FOLDED), Indexed(title, content)
        # A row that an earlier migration of this code has indexed is bounded already.
        if lengths == [*whole.lengths.values()] != [*bounded.lengths.values()]:
            row = user << schema.NUMBER_BITS | number
            connection.execute(_M004_TAKE, (row, *whole.tokens(user, secret)))
            connection.execute(_M002_INDEX, (row, *bounded.tokens(user, secret)))
            connection.execute(_M002_LENGTHS, {**bounded.lengths, "id": observation_id})
        place |= {"user": user, "number": number}
    connection.execute(_M002_TOTALS)
    connection.execute(schema.TRIGGERS[1])


def _m005_ids_of_each_user(connection: sqlite3.Connection) -> None:
    """Give each user ids of its own for what is saved from now on. Rows keep the ids that they have."""
    for statement in schema.FIRST_ID:
        connection.execute(statement)
    for (user,) in connection.execute("SELECT key FROM users").fetchall():
        while not connection.execute(
            "UPDATE OR IGNORE users SET first_id = ? WHERE key = ?", (saving.random_first_id(), user)
        ).rowcount:
            pass


#: From the version before to this one. A released migration is never changed.
MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {
    1: _m001_first_schema,
    2: _m002_hyphenated_words,
    3: _m003_durable_erasures,
    4: _m004_bounded_index,
    5: _m005_ids_of_each_user,
}
