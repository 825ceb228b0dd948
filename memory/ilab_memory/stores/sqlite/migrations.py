"""Bring a file to the schema of this code. A migration and the version it leads to are committed together."""

import sqlite3
from collections.abc import Callable, Mapping

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.common.migrations import check_known, unreleased, upgrade
from ilab_memory.stores.sqlite import schema

_WAY_OUT = "and import them into a new file"
# Each batch of the writer asks. As a PRAGMA statement, either would be compiled again each time.
_VERSION = "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id"


def migrate(connection: sqlite3.Connection) -> None:
    """Create or update the schema, in one transaction; do nothing if it is the newest.

    Raises:
        StorageError: the file belongs to a newer version of this library or to another program.
        sqlite3.Error: nothing was changed.
    """
    if check_version(connection) == schema.VERSION:
        return
    # Locked before the version is read again: another process may be migrating too.
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply(connection, check_version(connection))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_version(connection: sqlite3.Connection) -> int:
    """Return the version of the schema in the file, 0 for an empty file.

    Raises:
        StorageError: the file belongs to a newer version of this library or to another program.
    """
    version, application = connection.execute(_VERSION).fetchone()
    if version == schema.VERSION and application == schema.APPLICATION_ID:
        return schema.VERSION
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    # Again: another process that starts at the same time may have created the tables since.
    version, application = connection.execute(_VERSION).fetchone()
    if application == schema.UNRELEASED_APPLICATION_ID:
        raise unreleased(_WAY_OUT)
    if application != schema.APPLICATION_ID and (version or application or tables):
        raise StorageError("could not open the database: it belongs to another program")
    return check_known(int(version), schema.VERSION, min(MIGRATIONS), _WAY_OUT)


def _apply(connection: sqlite3.Connection, version: int) -> None:
    upgrade(version, schema.VERSION, MIGRATIONS, connection)
    # PRAGMA takes no parameters; both are integers of ours.
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")


def _m003_first_schema(connection: sqlite3.Connection) -> None:
    for statement in (*schema.TABLES, *schema.TRIGGERS, *schema.INDEXES):
        connection.execute(statement)


#: From the version before to this one. A released migration is never changed. Until the first release, a change of the
#: tables raises the only version here: databases of the version before are refused.
MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {3: _m003_first_schema}
