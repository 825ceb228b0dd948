"""Bring a file to the schema of this code. A migration and the version it leads to are committed together."""

import sqlite3
from collections.abc import Callable, Mapping

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite import schema


def migrate(connection: sqlite3.Connection) -> None:
    """Create or update the schema, in one transaction; do nothing if it is the newest.

    Raises:
        StorageError: the file belongs to a newer version of this library or to another program.
        sqlite3.Error: nothing was changed.
    """
    if _version(connection) == schema.VERSION:
        return
    # Taken before the version is read again: another process may be at the same.
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply(connection, _version(connection))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
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


#: From the version before to this one. A released migration is never changed.
MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _m001_first_schema}
