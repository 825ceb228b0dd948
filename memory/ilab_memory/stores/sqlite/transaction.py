"""The transaction that an operation of the writer shares with others."""

import sqlite3
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
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

        The first of *parameters* is the row. The statements of one row run in the order of these calls.
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
        """Run the statements that `index` has deferred.

        In ascending order of rows: FTS5 flushes its buffer whenever a row is below the one before.
        """
        self._index.sort(key=lambda deferred: int(deferred[1][0]))
        for statement, deferred in groupby(self._index, key=itemgetter(0)):
            self.executemany(statement, [parameters for _, parameters in deferred])


#: Runs several operations of one kind together. Returns the result of each, in their order.
BulkOperation: TypeAlias = Callable[[Transaction, Sequence[Any]], Sequence[T]]
