"""The transaction that an operation of the writer shares with others."""

import sqlite3
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Parameters = Sequence[Any]


class Transaction:
    """The statements that an operation may run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany
        self._connection = connection
        self._index: list[tuple[str, Parameters]] = []

    def index(self, statement: str, parameters: Parameters) -> None:
        """Run *statement* on the full-text index just before the commit.

        The first of *parameters* is the row; what is done to one row is done in order.
        """
        self._index.append((statement, parameters))

    def isolated(self, operation: "Callable[[Transaction], T]") -> T:
        """Run *operation*; if it raises, undo what it did and nothing else."""
        indexed = len(self._index)
        self.execute("SAVEPOINT operation")
        try:
            return operation(self)
        except BaseException:
            del self._index[indexed:]
            # A full disk, for one, has already undone the whole transaction.
            if self._connection.in_transaction:
                self.execute("ROLLBACK TO operation")
            raise
        finally:
            if self._connection.in_transaction:
                self.execute("RELEASE operation")

    def flush_index(self) -> None:
        """Do what `index` has put off.

        By rising row: FTS5 writes out all it holds whenever it is given a row below the last one.
        """
        self._index.sort(key=_row_of_index)
        for statement, put_off in groupby(self._index, key=_statement):
            self.executemany(statement, [parameters for _, parameters in put_off])


#: Does several operations of one kind at once; returns the result of each, in their order.
BulkOperation: TypeAlias = Callable[[Transaction, Sequence[Any]], Sequence[T]]


def _statement(put_off: tuple[str, Parameters]) -> str:
    return put_off[0]


def _row_of_index(put_off: tuple[str, Parameters]) -> int:
    return int(put_off[1][0])
