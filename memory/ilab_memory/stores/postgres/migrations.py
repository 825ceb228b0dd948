"""Bring a database to the schema of this code. A migration and the version it leads to are committed together."""

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import Connection, IsolationLevel

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.postgres import schema
from ilab_memory.stores.postgres.terms import Indexed

#: Names the lock under which the schema is changed; any number of ours, the same for ever. ASCII "ILAB".
LOCK = 0x494C4142
_OLDEST_SERVER = 15
# Rows that are indexed anew at once.
_PAGE = 100


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
        # No row of anybody is in it yet: this text is about the server, and an operator needs it.
        raise StorageError(f"could not open the database: {str(error).strip() or type(error).__name__}") from None


def migrate(connection: Connection, partitions: int) -> None:
    """Create or update the schema, if it is not the newest; see `open_database`."""
    if version(connection) == schema.VERSION:
        return
    # Or, having waited for the lock, this would not see what was committed meanwhile.
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = 0")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        for target in range(version(connection) + 1, schema.VERSION + 1):
            MIGRATIONS[target](connection, partitions)
            connection.execute(f"UPDATE {schema.SCHEMA}.schema_version SET version = {target}")  # noqa: S608 - ours


def version(connection: Connection) -> int:
    """Return the version of the schema in the database, 0 if there is none.

    Raises:
        StorageError: it is newer than this code.
    """
    # Not to_regclass: it may answer from a cache that knows nothing of what was committed during the wait for the lock.
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename = 'schema_version'"
    if connection.execute(tables, (schema.SCHEMA,)).fetchone() == (0,):
        return 0
    found = connection.execute(f"SELECT version FROM {schema.SCHEMA}.schema_version").fetchone()  # noqa: S608 - constant
    (number,) = found or (0,)
    if number > schema.VERSION:
        raise StorageError(
            f"could not open the database: its schema version {number} is newer than {schema.VERSION},"
            " the newest that this version of ilab-memory knows"
        )
    return int(number)


def _check_server(connection: Connection) -> None:
    if connection.info.server_version < _OLDEST_SERVER * 10_000:
        raise StorageError(f"could not open the database: PostgreSQL {_OLDEST_SERVER} or newer is needed")
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise StorageError("could not open the database: its encoding must be UTF8")


def _m001_first_schema(connection: Connection, partitions: int) -> None:
    connection.execute(schema.SCHEMA_VERSION)
    connection.execute(f"INSERT INTO {schema.SCHEMA}.schema_version VALUES (0)")  # noqa: S608 - a constant
    for statement in schema.statements(partitions):
        connection.execute(statement)


def _m002_hyphenated_words(connection: Connection, _partitions: int) -> None:
    """Index every row anew: "e-mail" is found as "email" too."""
    # Who saves meanwhile, with the old code, would put in what the old code finds.
    connection.execute(f"LOCK TABLE {schema.SCHEMA}.users, {schema.SCHEMA}.observations IN SHARE ROW EXCLUSIVE MODE")
    with connection.cursor("rows") as rows, connection.cursor() as writing:
        rows.execute(
            f"SELECT o.user_id, o.id, u.secret, o.title, o.content FROM {schema.SCHEMA}.observations o"  # noqa: S608
            f" JOIN {schema.SCHEMA}.users u USING (user_id)"
        )
        while page := rows.fetchmany(_PAGE):
            writing.executemany(
                f"UPDATE {schema.SCHEMA}.observations SET title_terms = %(title_terms)s, said_terms = %(said_terms)s,"  # noqa: S608
                " reply_terms = %(reply_terms)s, tail_terms = %(tail_terms)s, terms = %(terms)s::tsvector"
                " WHERE user_id = %(user_id)s AND id = %(id)s",
                [_indexed(*row) for row in page],
            )
    connection.execute(
        f"UPDATE {schema.SCHEMA}.users u SET title_terms = o.title, said_terms = o.said, reply_terms = o.reply,"  # noqa: S608
        " tail_terms = o.tail FROM (SELECT user_id, sum(title_terms) AS title, sum(said_terms) AS said,"
        f" sum(reply_terms) AS reply, sum(tail_terms) AS tail FROM {schema.SCHEMA}.observations GROUP BY user_id) o"
        " WHERE o.user_id = u.user_id"
    )


def _indexed(user_id: str, observation_id: int, secret: bytes, title: str, content: str) -> dict[str, Any]:
    indexed = Indexed(title, content)
    return {**indexed.lengths, "terms": indexed.vector(secret), "user_id": user_id, "id": observation_id}


#: From the version before to this one. A released migration is never changed.
MIGRATIONS: Mapping[int, Callable[[Connection, int], None]] = {1: _m001_first_schema, 2: _m002_hyphenated_words}
