"""The tables of the idempotency store in PostgreSQL. Needs the extra `postgres`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilab_chat_service.failures import StoreNotOpened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

#: Number of the advisory lock under which the schema is changed. Arbitrary, but unique in the database: ASCII "ILCH".
LOCK = 0x494C4348

#: Number of partitions, the same as that of the memory's tables.
PARTITIONS = 16


def first_version() -> Iterator[str]:
    """Yield the statements of version 1.

    user_id is the first column of the key, so that the table can be sharded by it like those of the memory.
    """
    yield """
        CREATE TABLE ilab_chat.idempotency_records (
            user_id text COLLATE "C" NOT NULL,
            method text COLLATE "C" NOT NULL,
            request_id text COLLATE "C" NOT NULL,
            created_at timestamptz NOT NULL,
            fingerprint text COLLATE "C" NOT NULL,
            answer text COLLATE "C" NOT NULL,
            observation_ids bigint[] NOT NULL,
            PRIMARY KEY (user_id, method, request_id)
        ) PARTITION BY HASH (user_id)
    """
    for remainder in range(PARTITIONS):
        # Rows are erased after a day. Vacuum soon, not only when a fifth of the table is dead.
        yield f"""
            CREATE TABLE ilab_chat.idempotency_records_{remainder} PARTITION OF ilab_chat.idempotency_records
            FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {remainder})
            WITH (autovacuum_vacuum_scale_factor = 0.02)
        """
    yield "CREATE INDEX idempotency_by_age ON ilab_chat.idempotency_records (created_at)"


def second_version() -> Iterator[str]:
    """Yield the statement that deletes the answers of version 1: this code cannot read their memories."""
    yield "DELETE FROM ilab_chat.idempotency_records"


#: Statements that migrate to each version from the previous one. They never change once released.
MIGRATIONS = (first_version, second_version)


def migrate(connection: Connection) -> None:
    """Create or update the schema `ilab_chat` in one transaction. Concurrent processes wait for each other.

    Raises:
        StoreNotOpened: the schema is of a newer version of this service.
    """
    if version(connection) == len(MIGRATIONS):
        return
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = 0")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        found = version(connection)
        if found == 0:
            connection.execute("CREATE SCHEMA IF NOT EXISTS ilab_chat")
            connection.execute("CREATE TABLE ilab_chat.schema_version (version integer NOT NULL)")
            connection.execute("INSERT INTO ilab_chat.schema_version VALUES (0)")
        for statements in MIGRATIONS[found:]:
            for statement in statements():
                connection.execute(statement)
        connection.execute("UPDATE ilab_chat.schema_version SET version = %s", (len(MIGRATIONS),))


def version(connection: Connection) -> int:
    """Return the version of the schema in the database, 0 if the schema is missing.

    Raises:
        StoreNotOpened: the version is newer than this code.
    """
    # Not to_regclass: its cache may miss tables that were committed during the wait for the lock.
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'ilab_chat' AND tablename = 'schema_version'"
    if connection.execute(tables).fetchone() == (0,):
        return 0
    [found] = connection.execute("SELECT version FROM ilab_chat.schema_version").fetchone() or [0]
    if found > len(MIGRATIONS):
        raise StoreNotOpened("the idempotency store is of a newer version of this service")
    return int(found)
