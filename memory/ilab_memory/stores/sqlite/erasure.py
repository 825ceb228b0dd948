"""Forgetting a user, in steps that other calls may come between.

The user first loses its user_id, in one commit: from then on nobody finds anything of it, and a save for the same
user_id begins anew. Its rows then go page by page, so that saves of other users come between. At the end
the file is written anew, for which they wait. What an interrupted
call has left is found by the missing user_id and goes with the next call.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from ilab_memory.stores.sqlite import statements
from ilab_memory.stores.sqlite.reading import up_to
from ilab_memory.stores.sqlite.saving import row_number
from ilab_memory.stores.sqlite.terms import Indexed
from ilab_memory.stores.sqlite.transaction import Transaction

#: Rows that are erased in one operation of the writer, and the bytes of text after which it ends before that: what it
#: takes from the index takes as long as putting it there did, and other saves wait.
PAGE, PAGE_BYTES = 200, 256 * 1024
# How long one attempt to empty the WAL keeps the writer, in milliseconds.
_PATIENCE_MS = 50


class Doomed(NamedTuple):
    """A user without a user_id."""

    key: int
    secret: bytes


class DoomedRow(NamedTuple):
    """An observation of one, with what the index holds of it."""

    number: int
    tokens: Sequence[str]


def detach(transaction: Transaction, user_id: str) -> int:
    """Take the user_id from the user; return how many observations are to be erased."""
    row = transaction.execute(statements.DETACH_USER, (user_id,)).fetchone()
    return 0 if row is None else int(row[0])


def doomed_users(connection: sqlite3.Connection) -> list[Doomed]:
    """Return every user without a user_id."""
    return [Doomed._make(row) for row in connection.execute(statements.DETACHED_USERS)]


def doomed_rows(connection: sqlite3.Connection, user: Doomed) -> list[DoomedRow]:
    """Return the next page of the user's rows; none when all are gone."""
    rows = up_to(PAGE_BYTES, connection.execute(statements.DETACHED_ROWS, (user.key, PAGE)))
    return [DoomedRow(number, Indexed(title, content).tokens(*user)) for number, title, content in rows]


def erase_rows(transaction: Transaction, user: Doomed, rows: Sequence[DoomedRow]) -> None:
    """Erase *rows*, but for those that another call has erased meanwhile: the index must lose each row once."""
    for number, tokens in rows:
        if transaction.execute(statements.ERASE_ROW, (user.key, number)).fetchone():
            transaction.index(statements.TAKE_FROM_INDEX, (row_number(user.key, number), *tokens))


def erase_user(transaction: Transaction, user: Doomed) -> None:
    """Erase what is left of a user without observations."""
    transaction.execute(statements.ERASE_SESSIONS, (user.key,))
    transaction.execute(statements.ERASE_USER, (user.key,))


def write_anew(transaction: Transaction) -> None:
    """Write the database anew, without what is left of erased rows between those that stay."""
    transaction.execute(statements.WRITE_ANEW)


def empty_wal(transaction: Transaction) -> bool:
    """Move the WAL into the database and cut it to nothing; return whether no reader was in the way."""
    (timeout,) = transaction.execute("PRAGMA busy_timeout").fetchone()
    transaction.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    try:
        busy, _, _ = transaction.execute(statements.EMPTY_WAL).fetchone()
    finally:
        transaction.execute(f"PRAGMA busy_timeout = {timeout}")
    return not busy
