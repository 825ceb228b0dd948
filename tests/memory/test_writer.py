"""The writer of SQLite: one transaction for all that waits, one failure for one operation."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ilab_memory import StorageError
from ilab_memory.core.store import Redacted
from ilab_memory.stores.sqlite import erasure, saving
from ilab_memory.stores.sqlite.connections import SYNCHRONOUS, Database
from ilab_memory.stores.sqlite.terms import Indexed
from ilab_memory.stores.sqlite.writer import Transaction, Writer, _Task
from memory.support import EPOCH

Operation = Callable[[Transaction], object]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    database = Database(str(tmp_path / "memory.db"), busy_timeout_seconds=1)
    opened = Writer(database, synchronous=SYNCHRONOUS["full"], lock=threading.Lock())
    opened.run("prepare", lambda transaction: transaction.execute("CREATE TABLE told (number INTEGER PRIMARY KEY)"))
    yield opened
    opened.close()


def told(writer: Writer) -> list[int]:
    rows = writer.run("read", lambda transaction: transaction.execute("SELECT number FROM told ORDER BY 1").fetchall())
    return [number for (number,) in rows]


def tell(number: int, *, then: BaseException | None = None) -> Operation:
    def operation(transaction: Transaction) -> int:
        transaction.execute("INSERT INTO told VALUES (?)", (number,))
        if then:
            raise then
        return id(transaction)

    return operation


def together(writer: Writer, operations: list[Operation]) -> list[object]:
    """Have the writer find all of *operations* waiting at once; return what each returned or raised."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        begun.set()
        go_on.wait(30)

    tasks = [_Task("tell", operation) for operation in [hold, *operations]]
    writer._tasks.put(tasks[0])
    assert begun.wait(30)
    for task in tasks[1:]:
        writer._tasks.put(task)
    go_on.set()
    return [outcome(task) for task in tasks[1:]]


def outcome(task: _Task[object]) -> object:
    try:
        return task.wait()
    except Exception as error:  # noqa: BLE001 - whatever it raised is its outcome
        return error


def test_all_that_waits_is_one_transaction(writer: Writer) -> None:
    done = together(writer, [tell(number) for number in range(20)])
    assert len(set(done)) == 1
    assert told(writer) == list(range(20))


@pytest.mark.parametrize("error", [LookupError("mine"), ZeroDivisionError("mine")])
def test_an_operation_that_fails_after_it_has_written_leaves_nothing_and_fails_alone(
    writer: Writer, error: Exception
) -> None:
    done = together(writer, [tell(number, then=error if number == 3 else None) for number in range(6)])
    assert done[3] is error
    assert not any(isinstance(told, Exception) for place, told in enumerate(done) if place != 3)
    assert told(writer) == [0, 1, 2, 4, 5]


def test_an_error_of_the_database_fails_its_operation_alone(writer: Writer) -> None:
    done = together(writer, [tell(1), tell(1), tell(2)])
    assert isinstance(done[1], StorageError)
    assert str(done[1]).startswith("could not tell: SQLITE_CONSTRAINT")
    assert told(writer) == [1, 2]


def test_what_a_failed_operation_put_off_for_the_index_is_not_done(writer: Writer) -> None:
    def put_off_and_fail(transaction: Transaction) -> None:
        transaction.index("INSERT INTO told VALUES (?)", (7,))
        raise LookupError

    def put_off(transaction: Transaction) -> None:
        transaction.index("INSERT INTO told VALUES (?)", (8,))

    together(writer, [put_off, put_off_and_fail])
    assert told(writer) == [8]


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
def test_saves_are_synced_as_configured_and_touches_are_not(tmp_path: Path, durability: str, level: int) -> None:
    database = Database(str(tmp_path / "memory.db"), busy_timeout_seconds=1)
    writer = Writer(database, synchronous=SYNCHRONOUS[durability], lock=threading.Lock())

    def synchronous(transaction: Transaction) -> int:
        return int(transaction.execute("PRAGMA synchronous").fetchone()[0])

    try:
        assert writer.run("save", synchronous) == level
        assert writer.run("touch", synchronous, synced=False) == 1
        assert writer.run("save", synchronous) == level
    finally:
        writer.close()


def test_a_database_in_memory_shows_a_reader_no_half_batch() -> None:
    lock = threading.Lock()
    writer = Writer(Database(":memory:", busy_timeout_seconds=1), synchronous=SYNCHRONOUS["full"], lock=lock)

    def locked(transaction: Transaction) -> bool:
        return lock.locked()

    try:
        assert writer.run("look", locked)
        assert isinstance(writer.connection, sqlite3.Connection)
    finally:
        writer.close()


def test_an_index_that_fails_fails_the_batch_and_not_the_next(writer: Writer) -> None:
    def put_off(transaction: Transaction) -> None:
        transaction.index("INSERT INTO told VALUES (?)", (1,))

    done = together(writer, [put_off, put_off])
    assert all(isinstance(told, StorageError) for told in done)
    assert done[0] is not done[1]
    assert writer.run("tell", tell(5))
    assert told(writer) == [5]


def test_a_file_removed_while_it_is_written_to_is_told(writer: Writer, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="FileNotFoundError"):
        writer.run("tell", lambda _: (tmp_path / "memory.db").unlink())


def test_a_row_that_two_calls_forget_leaves_the_index_once(writer: Writer) -> None:
    redacted = Redacted(user_id="u", type="t", title="t", content="c", topic_key=None, normalized_hash="00")
    indexed = Indexed("t", "c")

    def forget(transaction: Transaction) -> list[int]:
        saving.save(transaction, redacted, indexed, now=EPOCH, session_timeout=timedelta(days=1))
        erasure.detach(transaction, "u")
        (user,) = transaction.execute("SELECT key, secret FROM users").fetchall()
        waiting = [len(transaction._index)]
        for _ in range(2):
            erasure.erase_rows(transaction, erasure.Doomed(*user), [erasure.DoomedRow(1, indexed.tokens(*user))])
            waiting.append(len(transaction._index))
        return waiting

    assert writer.run("forget", forget) == [1, 2, 2]
