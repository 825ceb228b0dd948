"""How much is in a file: counts and sizes, without any text or id of a user."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite import schema
from ilab_memory.stores.sqlite.connections import reading, storage_errors
from ilab_memory.stores.sqlite.migrations import check_version

_DOING: Final = "read the file"

# Named as in `Statistics`.
_COUNTS: Final = """
    SELECT
        (SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size) AS free_bytes,
        (SELECT count(*) FROM users WHERE user_id IS NOT NULL) AS users,
        (SELECT count(*) FROM sessions s JOIN users u ON u.key = s.user WHERE u.user_id IS NOT NULL) AS sessions,
        (SELECT coalesce(sum(observations), 0) FROM users WHERE user_id IS NOT NULL) AS observations,
        (SELECT coalesce(max(observations), 0) FROM users WHERE user_id IS NOT NULL) AS largest_user_observations,
        (SELECT count(*) FROM erasures) AS pending_erasures,
        (SELECT count(*) FROM work WHERE pending > 0) AS users_to_consolidate,
        (SELECT count(*) FROM work WHERE is_dead) AS users_given_up,
        (SELECT min(created_at) FROM observations) AS oldest_time,
        (SELECT max(updated_at) FROM observations) AS newest_time
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


def statistics(path: str | Path) -> Statistics:
    """Return the statistics of the file *path*, which may be in use.

    Raises:
        StorageError: there is no such file, or it is not a memory of this version of the schema.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise StorageError(f"could not {_DOING}: it does not exist")
    with storage_errors(_DOING, file), reading(file) as connection:
        connection.execute("BEGIN")
        version = check_version(connection)
        if version != schema.VERSION:
            raise StorageError(f"could not {_DOING}: its schema version {version} is not {schema.VERSION}")
        counts = connection.execute(_COUNTS)
        counted = dict(zip([name for name, *_ in counts.description], counts.fetchone(), strict=True))
        types = {
            kind: TypeStatistics(observations=count, text_bytes=size, oldest_time=first, newest_time=last)
            for kind, count, size, first, last in connection.execute(_TYPES)
        }
        log = Path(f"{file}-wal")
        return Statistics(
            schema_version=version,
            file_bytes=file.stat().st_size,
            log_bytes=log.stat().st_size if log.exists() else 0,
            **counted,
            facts=sum(each.observations for kind, each in types.items() if kind in FACT_TYPES),
            text_bytes=sum(each.text_bytes for each in types.values()),
            observations_by_type={kind: each.observations for kind, each in types.items()},
            types=types,
        )
