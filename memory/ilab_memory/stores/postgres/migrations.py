"""Bring a database to the schema of this code. A migration and the version it leads to are committed together."""

from collections.abc import Callable, Mapping

import psycopg
from psycopg import Connection, IsolationLevel

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.common.migrations import check_known, unreleased, upgrade
from ilab_memory.stores.postgres import schema

#: Key of the advisory lock under which the schema is changed: ASCII "ILAB". It must never change.
LOCK = 0x494C4142
_OLDEST_SERVER = 15
_WAY_OUT = "drop the schema `ilab_memory`, and import them"


def open_database(conninfo: str, *, partitions: int) -> None:
    """Create or update the schema in one transaction; do nothing if it is the newest.

    Processes that do so at the same time wait for each other. *partitions* counts when the tables are made.

    Raises:
        StorageError: the database cannot be reached or used, or belongs to a newer version of this library.
    """
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            _check_server(connection)
            migrate(connection, partitions)
    except psycopg.Error as error:
        # The text is about the server and quotes no row, and an operator needs it.
        raise StorageError(f"could not open the database: {str(error).strip() or type(error).__name__}") from None


def migrate(connection: Connection, partitions: int) -> None:
    """Create or update the schema, if it is not the newest; see `open_database`."""
    if version(connection) == schema.VERSION:
        return
    # Otherwise this would not see what was committed while it waited for the lock.
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = 0")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        upgrade(version(connection), schema.VERSION, MIGRATIONS, connection, partitions)
        connection.execute(f"UPDATE {schema.SCHEMA}.schema_migrations SET version = {schema.VERSION}")  # noqa: S608 - ours


def version(connection: Connection) -> int:
    """Return the version of the schema in the database, 0 for an empty database.

    Raises:
        StorageError: it is newer than this code, or was made before the first release.
    """
    # Not to_regclass: its cache may not know what was committed during the wait for the lock.
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename = %s"
    if connection.execute(tables, (schema.SCHEMA, schema.UNRELEASED_TABLE)).fetchone() != (0,):
        raise unreleased(_WAY_OUT)
    if connection.execute(tables, (schema.SCHEMA, "schema_migrations")).fetchone() == (0,):
        return 0
    found = connection.execute(f"SELECT version FROM {schema.SCHEMA}.schema_migrations").fetchone()  # noqa: S608 - constant
    (number,) = found or (0,)
    return check_known(int(number), schema.VERSION, min(MIGRATIONS), _WAY_OUT)


def _check_server(connection: Connection) -> None:
    if connection.info.server_version < _OLDEST_SERVER * 10_000:
        raise StorageError(f"could not open the database: PostgreSQL {_OLDEST_SERVER} or newer is needed")
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise StorageError("could not open the database: its encoding must be UTF8")


def _m003_first_schema(connection: Connection, partitions: int) -> None:
    connection.execute(schema.SCHEMA_MIGRATIONS)
    connection.execute(f"INSERT INTO {schema.SCHEMA}.schema_migrations VALUES (0)")  # noqa: S608 - a constant
    for statement in schema.statements(partitions):
        connection.execute(statement)


#: From the version before to this one. A released migration is never changed. Until the first release, a change of the
#: tables raises the only version here: databases of the version before are refused.
MIGRATIONS: Mapping[int, Callable[[Connection, int], None]] = {3: _m003_first_schema}
