"""Damage of a file: found by SQLite's own checks, and by the invariants of this library's rows.

Nothing is written. Everything is read in one transaction, so a file that is in use can be checked: others go on, but
the write-ahead log cannot shrink until the check has ended.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ilab_memory.core.errors import StorageError
from ilab_memory.core.vector_store import BLOCK
from ilab_memory.limits import LONG_CHARACTERS, PREVIEW_CHARACTERS
from ilab_memory.stores.sqlite import schema
from ilab_memory.stores.sqlite.connections import DAMAGED, reading, storage_errors
from ilab_memory.stores.sqlite.migrations import check_version

#: Maximum number of faults of one kind that are listed.
MOST_LISTED = 20
_CHECKING = "check the file"

_INVARIANTS = {
    "observations without a session of their user": """
        SELECT count(*) FROM observations o LEFT JOIN sessions s ON s.key = o.session AND s.user = o.user
        WHERE s.key IS NULL
    """,
    "observations whose conversation is not that of their session": """
        SELECT count(*) FROM observations o JOIN sessions s ON s.key = o.session
        WHERE s.conversation_id <> o.conversation_id
    """,
    "observations without a user": """
        SELECT count(*) FROM observations o LEFT JOIN users u ON u.key = o.user WHERE u.key IS NULL
    """,
    "sessions without a user": """
        SELECT count(*) FROM sessions s LEFT JOIN users u ON u.key = s.user WHERE u.key IS NULL
    """,
    "deleted users whose erasure is not recorded": """
        SELECT count(*) FROM users u WHERE u.user_id IS NULL
            AND NOT EXISTS (SELECT 1 FROM erasures e WHERE e.user = u.key)
    """,
    "users whose observations or terms are miscounted": """
        SELECT count(*) FROM users u WHERE u.user_id IS NOT NULL AND
        (u.observations, u.title_terms, u.said_terms, u.reply_terms, u.tail_terms) <> (
            SELECT count(*), coalesce(sum(title_terms), 0), coalesce(sum(said_terms), 0),
                coalesce(sum(reply_terms), 0), coalesce(sum(tail_terms), 0)
            FROM observations o WHERE o.user = u.key
        )
    """,
    "observations numbered beyond the last number of their user": """
        SELECT count(*) FROM observations o JOIN users u ON u.key = o.user WHERE o.number > u.last_number
    """,
    "observations with an id beyond the ids of their user": """
        SELECT count(*) FROM observations o JOIN users u ON u.key = o.user WHERE o.id > u.first_id + u.last_number
    """,
    "observations that share a number with another one": """
        SELECT coalesce(sum(again), 0)
        FROM (SELECT count(*) - 1 AS again FROM observations GROUP BY user, number HAVING again > 0)
    """,
    "observations whose content does not match its hash": """
        SELECT count(*) FROM observations WHERE sha256(content) <> normalized_hash
    """,
    "sources of a fact without the fact or the source": """
        SELECT count(*) FROM sources link
        LEFT JOIN observations fact ON fact.id = link.fact AND fact.user = link.user
        LEFT JOIN observations source ON source.id = link.source AND source.user = link.user
        WHERE fact.id IS NULL OR source.id IS NULL
    """,
    "observations whose preview is not the beginning of their content": f"""
        SELECT count(*) FROM observations
        WHERE preview IS NOT iif(
            length(content) > {LONG_CHARACTERS}, substr(content, 1, {PREVIEW_CHARACTERS}), NULL
        )
    """,  # noqa: S608 - constants
    "vectors without their observation, or blocks without any": f"""
        SELECT coalesce(sum(v.data = zeroblob(length(v.data)) OR length(v.data) % v.size <> 0), 0)
            + (SELECT count(*) FROM vectors v, json_each(places(v.data, v.size)) place WHERE NOT EXISTS (
                SELECT 1 FROM observations o WHERE o.user = v.user AND o.number = v.block * {BLOCK} + place.value))
            + (SELECT count(*) FROM vectors v WHERE NOT EXISTS (SELECT 1 FROM embedded e WHERE e.user = v.user)
                AND EXISTS (SELECT 1 FROM users u WHERE u.key = v.user AND u.user_id IS NOT NULL))
        FROM vectors v
    """,  # noqa: S608 - a constant
    # A row without any word is not in the index.
    "observations that are not indexed by their words, or index entries without one": f"""
        WITH indexed AS (
            SELECT doc, sum(col = 'title') AS title, sum(col = 'said') AS said, sum(col = 'reply') AS reply,
                sum(col = 'tail') AS tail
            FROM search_places GROUP BY doc
        )
        SELECT
            (SELECT count(*) FROM observations o
            LEFT JOIN indexed i ON i.doc = (o.user << {schema.NUMBER_BITS}) | o.number
            WHERE (o.title_terms, o.said_terms, o.reply_terms, o.tail_terms)
                <> (coalesce(i.title, 0), coalesce(i.said, 0), coalesce(i.reply, 0), coalesce(i.tail, 0)))
            + (SELECT count(*) FROM indexed i WHERE NOT EXISTS (
                SELECT 1 FROM observations o
                WHERE o.user = i.doc >> {schema.NUMBER_BITS} AND o.number = i.doc & {schema.NUMBER_MASK}))
    """,  # noqa: S608 - constants
}

# A change adds to the last number of its user, so the observations to embed are about these.
_EMBEDDED = """
    SELECT e.model, count(*), sum(u.last_number - e.cursor) FROM embedded e JOIN users u ON u.key = e.user
    WHERE u.user_id IS NOT NULL GROUP BY e.model ORDER BY e.model
"""


class Checked(NamedTuple):
    """The result of a check."""

    damage: list[str]
    """The damage, one line per item, without any text of a user. Empty: the file is sound."""
    remarks: list[str]
    """Other remarks."""


def quick(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds damaged in the pages of the file, without comparing indexes with rows."""
    return _pages(connection, "quick_check")


def check(path: str | Path) -> Checked:
    """Return what is damaged in the file *path*.

    Raises:
        StorageError: it cannot be checked: there is no such file, or it is of another program or a newer version.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise StorageError(f"could not {_CHECKING}: there is no such file")
    if not file.stat().st_size:
        if Path(f"{file}-wal").exists():
            return Checked(["the file is empty, but has a write-ahead log: it was lost"], [])
        raise StorageError(f"could not {_CHECKING}: it is empty")
    try:
        with storage_errors(_CHECKING, file), reading(file) as connection:
            return _check(connection)
    except StorageError as error:
        if isinstance(error.__cause__, sqlite3.Error) and error.__cause__.sqlite_errorname.startswith(DAMAGED):
            return Checked([error.__cause__.sqlite_errorname], [])
        raise


def _check(connection: sqlite3.Connection) -> Checked:
    # Nothing that is sorted on disk is a text.
    connection.execute("PRAGMA temp_store = FILE")
    connection.create_function("sha256", 1, _sha256, deterministic=True)
    connection.create_function("places", 2, _places, deterministic=True)
    connection.execute("BEGIN")
    version = check_version(connection)
    damage = _pages(connection, "integrity_check")
    if version != schema.VERSION:
        return Checked(damage, [f"schema version {version}: the rows were not checked, only the pages"])
    damage += _rows(connection)
    (pending,) = connection.execute("SELECT count(*) FROM erasures").fetchone()
    erasures = [f"erasures that are not finished: {pending}"] if pending else []
    return Checked(damage, [*erasures, *_embedders(connection)])


def _embedders(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield a line about each embedder whose vectors are in the file."""
    with suppress(sqlite3.DatabaseError):
        for model, users, waiting in connection.execute(_EMBEDDED):
            yield f"embedder {model}: {users} users, {waiting} observations to embed"


def _pages(connection: sqlite3.Connection, pragma: str) -> list[str]:
    found = []
    try:
        for (text,) in connection.execute(f"PRAGMA {pragma}({MOST_LISTED})"):
            # A text about pages begins with a headline that names the database.
            found += [line for line in text.splitlines() if not line.startswith("*** ")]
    except sqlite3.DatabaseError as error:
        if not error.sqlite_errorname.startswith(DAMAGED):
            raise
        found.append(error.sqlite_errorname)
    return [] if found == ["ok"] else found


def _rows(connection: sqlite3.Connection) -> Iterator[str]:
    for fault, statement in _INVARIANTS.items():
        try:
            (count,) = connection.execute(statement).fetchone()
        except sqlite3.DatabaseError as error:
            if not error.sqlite_errorname.startswith(DAMAGED):
                raise
            yield f"{fault}: could not be counted: {error.sqlite_errorname}"
        else:
            if count:
                yield f"{fault}: {count}"


def _places(data: bytes, size: int) -> str:
    """Return the places of the vectors in a block, as a JSON array."""
    vectors = (data[start : start + size] for start in range(0, len(data), max(size, 1)))
    return json.dumps([place for place, vector in enumerate(vectors) if any(vector)])


def _sha256(content: object) -> bytes:
    return hashlib.sha256(content.encode() if isinstance(content, str) else b"").digest()
