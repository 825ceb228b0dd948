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

from ilab_memory.stores.sqlite import erasure_statements, reads, statements, vector_statements, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
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


class Tombstone(NamedTuple):
    """A deleted user whose rows are not all erased."""

    key: int
    index_key: bytes


class ErasedRow(NamedTuple):
    """An observation to erase, with what the index contains of it."""

    number: int
    tokens: Sequence[str]


def mark_deleted(transaction: Transaction, user_id: str) -> int:
    """Make the user a tombstone, if there is such a user; return how many observations are to be erased."""
    row = transaction.execute(erasure_statements.MARK_DELETED, (user_id,)).fetchone()
    if row is None:
        return 0
    key, observations = row
    transaction.execute(work_statements.ERASE, (key,))
    transaction.execute(vector_statements.REMOVE_STATE, (key,))
    add_erasure(transaction, user_id, key)
    return int(observations)


def request_rewrite(connection: sqlite3.Connection, user_id: str) -> None:
    """Record that the file must be rewritten before `mem_forget` may return for this user.

    For an application that deletes rows of the user from tables of its own in the same file, with `secure_delete` on:
    call it in the transaction that deletes them, and `mem_forget` after it. Does nothing in a database that is not a
    memory.
    """
    if connection.execute(erasure_statements.HAS_ERASURES).fetchone()[0]:
        add_erasure(connection, user_id, None)


def is_known(connection: sqlite3.Connection, user_id: str) -> bool:
    """Return whether there is anything to erase of the user: rows, or what an earlier erasure has left."""
    return reads.user(connection, user_id) is not None or is_pending(connection, user_id)


def is_pending(connection: sqlite3.Connection, user_id: str) -> bool:
    """Return whether an erasure of the user, or of something of the user, is not finished."""
    return any(
        secrets.compare_digest(_hash(user_id, salt), user_hash)
        for salt, user_hash in connection.execute(erasure_statements.ERASURES)
    )


def count(connection: sqlite3.Connection) -> int:
    """Return how many erasures are not finished."""
    return int(connection.execute(erasure_statements.COUNT_ERASURES).fetchone()[0])


def tombstones(connection: sqlite3.Connection) -> list[Tombstone]:
    """Return the deleted users that have rows left."""
    return [Tombstone._make(row) for row in connection.execute(erasure_statements.TOMBSTONES)]


def erase_vectors(transaction: Transaction, user: Tombstone) -> bool:
    """Erase some of the user's vectors; return whether any were left. They go before the observations."""
    return transaction.execute(vector_statements.REMOVE_SOME, (user.key, VECTOR_BLOCKS)).rowcount > 0


def next_rows(connection: sqlite3.Connection, user: Tombstone) -> list[ErasedRow]:
    """Return the next page of the user's rows; none when all are erased."""
    rows = reads.up_to(PAGE_BYTES, connection.execute(erasure_statements.TOMBSTONE_ROWS, (user.key, PAGE)))
    return [ErasedRow(number, IndexEntry(title, content).tokens(*user)) for number, title, content in rows]


def erase_rows(transaction: Transaction, user: Tombstone, rows: Iterable[ErasedRow]) -> None:
    """Erase *rows*, but for those that another process has erased: the index must lose each row once."""
    for number, tokens in rows:
        if transaction.execute(erasure_statements.ERASE_ROW, (user.key, number)).fetchone():
            transaction.index(statements.TAKE_FROM_INDEX, (row_number(user.key, number), *tokens))


def erase_sessions(transaction: Transaction, user: Tombstone) -> bool:
    """Erase some of the sessions of a user without observations; return whether any were left."""
    return transaction.execute(erasure_statements.ERASE_SESSIONS, (user.key, SESSIONS)).rowcount > 0


def erase_user(transaction: Transaction, user: Tombstone) -> None:
    """Erase what is left of a user without observations and sessions."""
    transaction.execute(erasure_statements.ERASE_USER, (user.key,))
    transaction.execute(erasure_statements.ROWS_ERASED, (user.key,))


def erasures_in_index(connection: sqlite3.Connection) -> list[int]:
    """Return the erasures of observations whose hashes may be in the full-text index."""
    return [erasure for (erasure,) in connection.execute(erasure_statements.ERASURES_IN_INDEX)]


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
    transaction.execute(erasure_statements.MERGE_INDEX, (pages,))
    # All of them are removed together, when the merge is complete. Their numbers may be used again.
    return segments if segments <= _segments(transaction) else frozenset()


def record_merged(transaction: Transaction, erasures: Iterable[int]) -> None:
    """Record that the index has no hashes of *erasures* any more."""
    transaction.executemany(erasure_statements.MERGED, [(erasure,) for erasure in erasures])


def _segments(transaction: Transaction) -> frozenset[int]:
    return frozenset(segment for (segment,) in transaction.execute(erasure_statements.INDEX_SEGMENTS))


def erased(connection: sqlite3.Connection) -> list[int]:
    """Return the erasures whose rows are deleted: they end once no page has bytes of them."""
    return [erasure for (erasure,) in connection.execute(erasure_statements.ERASED)]


def end_erasures(transaction: Transaction, erasures: Iterable[int]) -> None:
    """Remove the records of *erasures*, of which no byte is left."""
    transaction.executemany(erasure_statements.END_ERASURE, [(erasure,) for erasure in erasures])


def empty_wal(transaction: Transaction, patience: float) -> bool:
    """Move the WAL into the database and truncate it; return whether no reader was in the way after *patience*."""
    (timeout,) = transaction.execute("PRAGMA busy_timeout").fetchone()
    transaction.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
    try:
        busy, _, _ = transaction.execute(erasure_statements.EMPTY_WAL).fetchone()
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
    connection.execute(erasure_statements.ADD_ERASURE, (key, is_in_index, salt, _hash(user_id, salt)))


def _hash(user_id: str, salt: bytes) -> bytes:
    return hashlib.blake2b(user_id.encode(), key=salt, digest_size=_HASH_BYTES).digest()
