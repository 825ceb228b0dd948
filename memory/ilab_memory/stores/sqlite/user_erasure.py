"""The steps of erasing a user. Other calls come between them.

The user's row first loses its user_id and becomes a tombstone, in one commit: from then on nobody finds anything of the
user, and a save for the same user_id makes another user. Its rows are then deleted page by page. Each erasure has a row
in `erasures` until the file is rewritten and its write-ahead log is empty, so that a killed process loses none.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ilab_memory.stores.sqlite import reads, statements, vectors, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry, UserKey
from ilab_memory.stores.sqlite.saves import row_number
from ilab_memory.stores.sqlite.write_queue import Transaction

#: Rows that are erased in one operation of the writer, and the bytes of text after which it ends before that: what it
#: takes from the index takes as long as putting it there did, and other saves wait.
PAGE, PAGE_BYTES = 50, 64 * 1024
#: Blocks of vectors that are erased in one operation of the writer.
VECTOR_BLOCKS = 16
#: Sessions that are erased in one operation of the writer.
SESSIONS = 500
#: Pages of the full-text index that are merged in one operation of the writer: about 10 ms.
MERGED_PAGES = 64
_SALT_BYTES = _HASH_BYTES = 16

HAS_ERASURES = "SELECT count(*) FROM sqlite_schema WHERE name = 'erasures'"
ERASURES = "SELECT salt, user_hash FROM erasures"
COUNT_ERASURES = "SELECT count(*) FROM erasures"
MARK_DELETED = "UPDATE users SET user_id = NULL WHERE user_id = ? RETURNING key, observations"
ADD_ERASURE = "INSERT INTO erasures (user, in_index, salt, user_hash) VALUES (?, ?, ?, ?)"
TOMBSTONES = "SELECT u.key, u.index_key FROM erasures e CROSS JOIN users u ON u.key = e.user"
TOMBSTONE_ROWS = "SELECT number, title, content FROM observations WHERE user = ? ORDER BY number LIMIT ?"
ERASE_ROW = "DELETE FROM observations WHERE user = ? AND number = ? RETURNING id"
ERASE_SESSIONS = "DELETE FROM sessions WHERE key IN (SELECT key FROM sessions WHERE user = ? LIMIT ?)"
ERASE_USER = "DELETE FROM users WHERE key = ?"
ROWS_ERASED = "UPDATE erasures SET user = NULL WHERE user = ?"
# FTS5 marks what is deleted; a merge of all segments drops it. A negative number of pages begins one.
# https://www.sqlite.org/fts5.html#the_merge_command
MERGE_INDEX = "INSERT INTO search (search, rank) VALUES ('merge', ?)"
INDEX_SEGMENTS = """
    WITH RECURSIVE segments (id) AS (
        SELECT min(segid) FROM search_idx
        UNION ALL
        SELECT (SELECT min(segid) FROM search_idx WHERE segid > segments.id) FROM segments WHERE id IS NOT NULL
    )
    SELECT id FROM segments WHERE id IS NOT NULL
"""
ERASURES_IN_INDEX = "SELECT id FROM erasures WHERE in_index"
MERGED = "UPDATE erasures SET in_index = 0 WHERE id = ?"
# Of which the file's pages may have bytes, and nothing else.
ERASED = "SELECT id FROM erasures WHERE user IS NULL AND NOT in_index"
END_ERASURE = "DELETE FROM erasures WHERE id = ?"
# Where there is no file.
END_ERASED = "DELETE FROM erasures WHERE user IS NULL"
LAST_REWRITE = "SELECT ended_at, seconds FROM last_rewrite"
CLEAR_LAST_REWRITE = "DELETE FROM last_rewrite"
SET_LAST_REWRITE = "INSERT INTO last_rewrite (ended_at, seconds) VALUES (?, ?)"
# All of the WAL into the database, as far as no reader needs what that was before. It is all when the last two columns
# are the same, unless the first is 1.
MOVE_WAL = "PRAGMA wal_checkpoint(PASSIVE)"
# The same, then cut to nothing. Its first column is 0 when that was possible.
EMPTY_WAL = "PRAGMA wal_checkpoint(TRUNCATE)"


class ErasedRow(NamedTuple):
    """An observation to erase, with what the index contains of it."""

    number: int
    tokens: Sequence[str]


def mark_deleted(transaction: Transaction, user_id: str) -> int:
    """Make the user a tombstone, if there is such a user; return how many observations are to be erased."""
    row = transaction.execute(MARK_DELETED, (user_id,)).fetchone()
    if row is None:
        return 0
    key, observations = row
    transaction.execute(work_statements.ERASE, (key,))
    transaction.execute(vectors.REMOVE_STATE, (key,))
    add_erasure(transaction, user_id, key)
    return int(observations)


def request_rewrite(connection: sqlite3.Connection, user_id: str) -> None:
    """Record that the file must be rewritten before `mem_forget` may return for this user.

    For an application that deletes rows of the user from tables of its own in the same file, with `secure_delete` on:
    call it in the transaction that deletes them, and `mem_forget` after it. Does nothing in a database that is not a
    memory.
    """
    if connection.execute(HAS_ERASURES).fetchone()[0]:
        add_erasure(connection, user_id, None)


def is_known(connection: sqlite3.Connection, user_id: str) -> bool:
    """Return whether there is anything to erase of the user: rows, or what an earlier erasure has left."""
    return reads.user_key(connection, user_id) is not None or is_pending(connection, user_id)


def is_pending(connection: sqlite3.Connection, user_id: str) -> bool:
    """Return whether an erasure of the user, or of something of the user, is not finished."""
    return any(
        secrets.compare_digest(_hash(user_id, salt), user_hash) for salt, user_hash in connection.execute(ERASURES)
    )


def count(connection: sqlite3.Connection) -> int:
    """Return how many erasures are not finished."""
    return int(connection.execute(COUNT_ERASURES).fetchone()[0])


def tombstones(connection: sqlite3.Connection) -> list[UserKey]:
    """Return the deleted users that have rows left."""
    return [UserKey._make(row) for row in connection.execute(TOMBSTONES)]


def erase_vectors(transaction: Transaction, user: UserKey) -> bool:
    """Erase some of the user's vectors; return whether any were left. They go before the observations."""
    return transaction.execute(vectors.REMOVE_SOME, (user.key, VECTOR_BLOCKS)).rowcount > 0


def next_rows(connection: sqlite3.Connection, user: UserKey) -> list[ErasedRow]:
    """Return the next page of the user's rows; none when all are erased."""
    rows = reads.up_to(PAGE_BYTES, connection.execute(TOMBSTONE_ROWS, (user.key, PAGE)))
    return [ErasedRow(number, IndexEntry(title, content).tokens(*user)) for number, title, content in rows]


def erase_rows(transaction: Transaction, user: UserKey, rows: Iterable[ErasedRow]) -> None:
    """Erase *rows*, but for those that another process has erased: the index must lose each row once."""
    for number, tokens in rows:
        if transaction.execute(ERASE_ROW, (user.key, number)).fetchone():
            transaction.index(statements.TAKE_FROM_INDEX, (row_number(user.key, number), *tokens))


def erase_sessions(transaction: Transaction, user: UserKey) -> bool:
    """Erase some of the sessions of a user without observations; return whether any were left."""
    return transaction.execute(ERASE_SESSIONS, (user.key, SESSIONS)).rowcount > 0


def erase_user(transaction: Transaction, user: UserKey) -> None:
    """Erase what is left of a user without observations and sessions."""
    transaction.execute(ERASE_USER, (user.key,))
    transaction.execute(ROWS_ERASED, (user.key,))


def erasures_in_index(connection: sqlite3.Connection) -> list[int]:
    """Return the erasures of observations whose hashes may be in the full-text index."""
    return [erasure for (erasure,) in connection.execute(ERASURES_IN_INDEX)]


def merge_index(transaction: Transaction, segments: frozenset[int] = frozenset()) -> frozenset[int]:
    """Merge some pages of the full-text index, so that the hashes of deleted observations leave it.

    Returns the segments that are being merged, to continue with; none when the merge is complete. Segments that saves
    add while it runs are not part of it. Begins a merge if *segments* is empty.
    """
    pages = MERGED_PAGES
    if not segments:
        segments, pages = _segments(transaction), -MERGED_PAGES
        # One alone was merged from all before it, and has no deleted hashes.
        if len(segments) == 1:
            return frozenset()
    transaction.execute(MERGE_INDEX, (pages,))
    # All of them are removed together, when the merge is complete. Their numbers may be used again.
    return segments if segments <= _segments(transaction) else frozenset()


def record_merged(transaction: Transaction, erasures: Iterable[int]) -> None:
    """Record that the index has no hashes of *erasures* any more."""
    transaction.executemany(MERGED, [(erasure,) for erasure in erasures])


def _segments(transaction: Transaction) -> frozenset[int]:
    return frozenset(segment for (segment,) in transaction.execute(INDEX_SEGMENTS))


def erased(connection: sqlite3.Connection) -> list[int]:
    """Return the erasures whose rows are deleted: they end once no page has bytes of them."""
    return [erasure for (erasure,) in connection.execute(ERASED)]


def end_erasures(transaction: Transaction, erasures: Iterable[int]) -> None:
    """Remove the records of *erasures*, of which no byte is left."""
    transaction.executemany(END_ERASURE, [(erasure,) for erasure in erasures])


def empty_wal(transaction: Transaction, patience: float) -> bool:
    """Move the WAL into the database and truncate it; return whether no reader was in the way after *patience*."""
    (timeout,) = transaction.execute("PRAGMA busy_timeout").fetchone()
    transaction.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
    try:
        busy, _, _ = transaction.execute(EMPTY_WAL).fetchone()
    finally:
        transaction.execute(f"PRAGMA busy_timeout = {timeout}")
    return not busy


def add_erasure(
    connection: Transaction | sqlite3.Connection, user_id: str, key: int | None, *, is_in_index: bool = False
) -> None:
    """Record an erasure for the user.

    *key*: of the tombstone whose rows are to be erased; None if they are. *is_in_index*: the full-text index has hashes
    of erased words, and the user's index key stays.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    connection.execute(ADD_ERASURE, (key, is_in_index, salt, _hash(user_id, salt)))


def _hash(user_id: str, salt: bytes) -> bytes:
    return hashlib.blake2b(user_id.encode(), key=salt, digest_size=_HASH_BYTES).digest()
