"""How much is in a file: counts and sizes, without any text or id of a user."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite import schema
from ilab_memory.stores.sqlite.connections import storage_errors
from ilab_memory.stores.sqlite.migrations import check_version
from ilab_memory.stores.sqlite.shm_space import space_for_index

_DOING: Final = "read the file"

_COUNTS: Final = """
    SELECT
        (SELECT count(*) FROM users WHERE user_id IS NOT NULL),
        (SELECT count(*) FROM sessions s JOIN users u ON u.key = s.user WHERE u.user_id IS NOT NULL),
        (SELECT coalesce(sum(observations), 0) FROM users WHERE user_id IS NOT NULL),
        (SELECT coalesce(max(observations), 0) FROM users WHERE user_id IS NOT NULL),
        (SELECT count(*) FROM erasures),
        (SELECT count(*) FROM work WHERE pending > 0),
        (SELECT count(*) FROM work WHERE is_dead),
        (SELECT min(created_at) FROM observations),
        (SELECT max(updated_at) FROM observations)
"""
_TYPES: Final = """
    SELECT type, count(*), sum(length(CAST(title AS BLOB)) + length(CAST(content AS BLOB))), min(created_at),
        max(updated_at)
    FROM observations GROUP BY type ORDER BY 2 DESC, 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatistics:
    """Counts and sizes of one type of observations."""

    observations: int
    text_bytes: int
    """Titles and contents, in UTF-8."""
    oldest_time: str
    newest_time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts and sizes of one file, as of one moment."""

    schema_version: int
    file_bytes: int
    log_bytes: int
    """Size of the write-ahead log."""
    free_bytes: int
    """Part of the file that is free for new rows."""
    users: int
    sessions: int
    observations: int
    largest_user_observations: int
    """Observations of the user who has most."""
    pending_erasures: int
    users_to_consolidate: int
    users_given_up: int
    """Users whose consolidation was given up."""
    oldest_time: str | None
    newest_time: str | None
    facts: int
    """Observations of the types of facts, expired ones included."""
    text_bytes: int
    """Titles and contents of all observations, in UTF-8."""
    observations_by_type: dict[str, int]
    """Most frequent first."""
    types: dict[str, TypeStatistics]
    """Most frequent first."""


def statistics(path: str | Path, *, busy_timeout_seconds: float = 5.0) -> Statistics:
    """Return the statistics of the file *path*, which may be in use.

    Raises:
        StorageError: there is no such file, or it is not a memory of this version of the schema.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise StorageError(f"could not {_DOING}: it does not exist")
    with (
        storage_errors(_DOING, file),
        space_for_index(file),
        closing(
            sqlite3.connect(
                f"file://{quote(str(file))}?mode=ro", uri=True, timeout=busy_timeout_seconds, isolation_level=None
            )
        ) as connection,
    ):
        connection.execute("BEGIN")
        version = check_version(connection)
        if version != schema.VERSION:
            raise StorageError(f"could not {_DOING}: its schema version {version} is not {schema.VERSION}")
        counts = connection.execute(_COUNTS).fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        (free_pages,) = connection.execute("PRAGMA freelist_count").fetchone()
        log = Path(f"{file}-wal")
        users, sessions, observations, largest, erasures, pending, dead, oldest, newest = counts
        types = {
            kind: TypeStatistics(observations=count, text_bytes=size, oldest_time=first, newest_time=last)
            for kind, count, size, first, last in connection.execute(_TYPES)
        }
        return Statistics(
            schema_version=version,
            file_bytes=file.stat().st_size,
            log_bytes=log.stat().st_size if log.exists() else 0,
            free_bytes=page_size * free_pages,
            users=users,
            sessions=sessions,
            observations=observations,
            largest_user_observations=largest,
            pending_erasures=erasures,
            users_to_consolidate=pending,
            users_given_up=dead,
            oldest_time=oldest,
            newest_time=newest,
            facts=sum(each.observations for kind, each in types.items() if kind in FACT_TYPES),
            text_bytes=sum(each.text_bytes for each in types.values()),
            observations_by_type={kind: each.observations for kind, each in types.items()},
            types=types,
        )
