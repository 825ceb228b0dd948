"""The writer of SQLite: one transaction for all that waits, one failure for one operation."""

import hashlib
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ilab_memory import ILabMemory, StorageError
from ilab_memory.core.models import SaveResult, Session
from ilab_memory.core.store import Redacted
from ilab_memory.recall import analysis, message_query
from ilab_memory.stores.sqlite import SQLiteStore, blind_index, saves, user_erasure, write_queue
from ilab_memory.stores.sqlite.blind_index import IndexEntry, UserKey
from ilab_memory.stores.sqlite.bulk_insert import Save, insert_all
from ilab_memory.stores.sqlite.connections import SYNCHRONOUS, Database
from ilab_memory.stores.sqlite.group_commit import Writer
from ilab_memory.stores.sqlite.write_queue import BATCH_CHARACTERS, BulkOperation, Task, Transaction, WriteQueue
from memory.support import EPOCH, Clock, text

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


def run_in_one_batch(
    writer: Writer, operations: Sequence[Operation], *, bulk: BulkOperation[object] | None = None
) -> list[object]:
    """Have the writer find all of *operations* waiting at once; return what each returned or raised."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        begun.set()
        go_on.wait(30)

    tasks: list[Task[object]] = [
        Task("tell", hold),
        *(Task("tell", operation, bulk=bulk) for operation in operations),
    ]
    writer._queue.put(tasks[0])
    assert begun.wait(30)
    for task in tasks[1:]:
        writer._queue.put(task)
    go_on.set()
    return [outcome(task) for task in tasks[1:]]


def outcome(task: Task[object]) -> object:
    try:
        return task.wait()
    except Exception as error:  # noqa: BLE001 - whatever it raised is its outcome
        return error


def test_queued_operations_share_one_transaction(writer: Writer) -> None:
    done = run_in_one_batch(writer, [tell(number) for number in range(20)])
    assert len(set(done)) == 1
    assert told(writer) == list(range(20))


def waiting(*characters: int, alone: int | None = None) -> WriteQueue:
    """Return a queue in which tasks with texts of these lengths wait."""
    queue = WriteQueue()
    for place, length in enumerate(characters):
        queue.put(Task(str(place), tell(place), characters=length, alone=place == alone))
    return queue


def taken(queue: WriteQueue) -> list[str]:
    batch = queue.take(0, 0.0)
    assert batch is not None
    return [task.doing for task in batch.tasks]


def test_short_text_waits_for_one_long_text_at_most() -> None:
    queue = waiting(10**6, 10**6, 10, 10**6, 10)
    assert taken(queue) == ["0"]
    assert taken(queue) == ["2", "4"]
    assert taken(queue) == ["1"]
    assert taken(queue) == ["3"]


def test_the_text_of_a_transaction_is_bounded() -> None:
    queue = waiting(*[BATCH_CHARACTERS // 8] * 12, 0)
    assert taken(queue) == [*map(str, range(8)), "12"]
    assert taken(queue) == ["8", "9", "10", "11"]


def test_an_operation_outside_of_transactions_runs_after_those_before_it() -> None:
    queue = waiting(BATCH_CHARACTERS, BATCH_CHARACTERS, 0, 10, alone=2)
    assert taken(queue) == ["0"]
    assert taken(queue) == ["1", "2"]
    assert taken(queue) == ["3"]


def test_one_thread_at_a_time_analyzes_a_long_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of saves and of what is asked of the memory before a message is answered."""
    analyzing: list[int] = []
    most: list[int] = []
    fields, read = analysis.fields, message_query.read

    def counted(analyze: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            analyzing.append(1)
            most.append(len(analyzing))
            # Others get the GIL here.
            time.sleep(0.001)
            try:
                return analyze(*arguments)
            finally:
                analyzing.pop()

        return count

    monkeypatch.setattr(blind_index, "fields", counted(fields))
    monkeypatch.setattr(message_query, "read", counted(read))
    words = "tea coffee milk " * 1000
    with ILabMemory.from_path(tmp_path / "memory.db") as memory, ThreadPoolExecutor(8) as pool:

        def call(number: int) -> None:
            memory.mem_save(f"user {number % 8}", f"{words} {number}", type="discovery", title="t")
            memory.mem_recall(f"user {number % 8}", words)

        list(pool.map(call, range(32)))
    assert len(most) == 64
    assert max(most) == 1


@pytest.mark.parametrize("error", [LookupError("mine"), ZeroDivisionError("mine")])
def test_a_failed_operation_is_rolled_back_alone(writer: Writer, error: Exception) -> None:
    done = run_in_one_batch(writer, [tell(number, then=error if number == 3 else None) for number in range(6)])
    assert done[3] is error
    assert not any(isinstance(told, Exception) for place, told in enumerate(done) if place != 3)
    assert told(writer) == [0, 1, 2, 4, 5]


def test_a_database_error_fails_only_its_operation(writer: Writer) -> None:
    done = run_in_one_batch(writer, [tell(1), tell(1), tell(2)])
    assert isinstance(done[1], StorageError)
    assert str(done[1]).startswith("could not tell: SQLITE_CONSTRAINT")
    assert told(writer) == [1, 2]


def test_deferred_index_writes_of_a_failed_operation_are_dropped(writer: Writer) -> None:
    def put_off_and_fail(transaction: Transaction) -> None:
        transaction.index("INSERT INTO told VALUES (?)", (7,))
        raise LookupError

    def put_off(transaction: Transaction) -> None:
        transaction.index("INSERT INTO told VALUES (?)", (8,))

    run_in_one_batch(writer, [put_off, put_off_and_fail])
    assert told(writer) == [8]


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
def test_saves_are_synced_as_configured_and_activity_updates_are_not(
    tmp_path: Path, durability: str, level: int
) -> None:
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


@pytest.fixture
def touched(tmp_path: Path, clock: Clock) -> Iterator[SQLiteStore]:
    """A store whose user "alice" is in the session "s", active since EPOCH."""
    with SQLiteStore(tmp_path / "memory.db") as store:
        store._writer.run("prepare", lambda transaction: open_session(transaction, clock.now))
        clock.forward(hours=1)
        yield store


def open_session(transaction: Transaction, now: datetime) -> None:
    saves.open_session(transaction, "alice", conversation_id="", now=now, session_timeout=timedelta(days=1))
    transaction.execute("UPDATE sessions SET id = 's'")


def committed(tmp_path: Path) -> str:
    """The last activity of the session, as other processes see it."""
    with closing(sqlite3.connect(tmp_path / "memory.db")) as connection:
        return str(connection.execute("SELECT last_activity_at FROM sessions").fetchone()[0])


def seen(store: SQLiteStore) -> set[str]:
    """The last activity of the session, as this process sees it."""
    recent = store.recent_sessions("alice", conversation_id="", completed=1, each=1, preview_characters=1, now=EPOCH)
    exported = [row for row in store.export("alice") if isinstance(row, Session)]
    return {session.last_activity_at for session in (recent.active, *exported) if session}


def test_an_activity_update_is_visible_at_once_and_committed_with_the_next_operation(
    touched: SQLiteStore, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "TOUCH_SECONDS", 3600)
    touched._writer.run("sleep for an hour from now on", lambda _: None)
    touched.touch_session("alice", "s", now=clock.now)
    touched.touch_session("alice", "s", now=clock.now - timedelta(minutes=1))
    assert seen(touched) == {text(clock.now)}
    assert committed(tmp_path) == text(EPOCH)
    touched.touch_session("bob", "s", now=clock.now + timedelta(days=1))
    touched._writer.run("do something", lambda _: None)
    assert seen(touched) == {text(clock.now)}
    assert committed(tmp_path) == text(clock.now)


def test_activity_updates_are_committed_soon_without_another_operation(
    touched: SQLiteStore, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the writer waits for more, and when it has given that up."""
    monkeypatch.setattr(write_queue, "TOUCH_SECONDS", 0.01)
    for _ in range(20):
        clock.forward(seconds=1)
        touched.touch_session("alice", "s", now=clock.now)
        deadline = time.monotonic() + 30
        while committed(tmp_path) != text(clock.now):
            assert time.monotonic() < deadline
            time.sleep(0.001)
    # The queue drops a time after its commit.
    deadline = time.monotonic() + 30
    while touched._writer._queue.touched("alice"):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_close_commits_activity_updates(touched: SQLiteStore, tmp_path: Path, clock: Clock) -> None:
    touched.touch_session("alice", "s", now=clock.now)
    touched.close()
    assert committed(tmp_path) == text(clock.now)


def test_the_activity_of_an_ended_or_forgotten_session_is_not_updated(
    touched: SQLiteStore, tmp_path: Path, clock: Clock
) -> None:
    ended = touched.end_session("alice", conversation_id="", summary="s", now=clock.now)
    touched.touch_session("alice", "s", now=clock.now + timedelta(hours=1))
    assert ended is not None
    assert seen(touched) == {ended.last_activity_at}
    touched._writer.run("do something", lambda _: None)
    assert committed(tmp_path) == ended.last_activity_at
    touched.touch_session("alice", "s", now=clock.now + timedelta(hours=1))
    assert touched.forget("alice") == 0
    assert seen(touched) == set()


def test_a_failed_activity_update_is_reported_by_the_next_call_and_retried(
    touched: SQLiteStore, tmp_path: Path, clock: Clock
) -> None:
    path, aside = tmp_path / "memory.db", tmp_path / "aside"
    path.rename(aside)
    touched.touch_session("alice", "s", now=clock.now)
    with pytest.raises(StorageError):
        touched._writer.run("do something", lambda _: None)
    with pytest.raises(StorageError, match="could not open a session"):
        touched.touch_session("alice", "s", now=clock.now)
    aside.rename(path)
    touched._writer.run("do something", lambda _: None)
    assert committed(tmp_path) == text(clock.now)
    touched.touch_session("alice", "s", now=clock.now)


def test_a_spurious_wakeup_of_the_writer_is_harmless(writer: Writer) -> None:
    """As it may be when the main thread is interrupted while it wakes the writer."""
    for _ in range(3):
        with suppress(RuntimeError):
            writer._queue._alarm.release()
        writer.run("do something", lambda _: None)
    writer.close()


def test_an_in_memory_database_shows_readers_no_partial_batch() -> None:
    lock = threading.Lock()
    writer = Writer(Database(":memory:", busy_timeout_seconds=1), synchronous=SYNCHRONOUS["full"], lock=lock)

    def locked(transaction: Transaction) -> bool:
        return lock.locked()

    try:
        assert writer.run("look", locked)
        assert isinstance(writer.connection, sqlite3.Connection)
    finally:
        writer.close()


def test_a_failing_index_fails_only_its_batch(writer: Writer) -> None:
    def put_off(transaction: Transaction) -> None:
        transaction.index("INSERT INTO told VALUES (?)", (1,))

    done = run_in_one_batch(writer, [put_off, put_off])
    assert all(isinstance(told, StorageError) for told in done)
    assert done[0] is not done[1]
    assert writer.run("tell", tell(5))
    assert told(writer) == [5]


def test_a_file_removed_during_a_write_is_reported(writer: Writer, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="FileNotFoundError"):
        writer.run("tell", lambda _: (tmp_path / "memory.db").unlink())


def test_a_row_erased_by_two_calls_is_removed_from_the_index_once(writer: Writer) -> None:
    redacted = Redacted(user_id="u", type="t", title="t", content="c", topic_key=None, normalized_hash="00")
    indexed = IndexEntry("t", "c")

    def forget(transaction: Transaction) -> list[int]:
        saves.save(transaction, redacted, indexed, now=EPOCH, session_timeout=timedelta(days=1))
        user_erasure.mark_deleted(transaction, "u")
        (user,) = transaction.execute("SELECT key, index_key FROM users").fetchall()
        waiting = [len(transaction._index)]
        for _ in range(2):
            user_erasure.erase_rows(transaction, UserKey(*user), [user_erasure.ErasedRow(1, indexed.tokens(*user))])
            waiting.append(len(transaction._index))
        return waiting

    assert writer.run("forget", forget) == [1, 2, 2]


def test_deferred_index_writes_are_done_in_row_order(writer: Writer) -> None:
    """FTS5 writes out all it holds whenever it is given a row below the last one."""
    writer.run("prepare", lambda transaction: transaction.execute("CREATE TABLE done (told INTEGER)"))
    statement = "INSERT INTO done VALUES (?)"
    run_in_one_batch(writer, [lambda t, row=row: t.index(statement, (row,)) for row in (3, 1, 2)])  # type: ignore[misc]
    rows = writer.run(
        "read", lambda transaction: transaction.execute("SELECT told FROM done ORDER BY rowid").fetchall()
    )
    assert rows == [(1,), (2,), (3,)]


@pytest.mark.parametrize("told", [False, True])
def test_an_interrupted_caller_blocks_no_other(*, told: bool) -> None:
    """Each caller wakes the next one; of one that has left, before it was told or just after, a thread does it."""

    class Interrupted(Task[object]):
        interrupt = True

        def _pass_on(self) -> None:
            if self.interrupt:
                self.interrupt = False
                if told:
                    self._done.acquire()
                raise KeyboardInterrupt
            super()._pass_on()

    first, second = Interrupted("tell", tell(1)), Task("tell", tell(2))
    first.behind = second
    if told:
        first.finish()
    with pytest.raises(KeyboardInterrupt):
        first.wait()
    first.finish()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(second.wait).result(timeout=30) is None


def saves_of_every_kind(*, user_ids: Sequence[str]) -> list[Save]:
    """Return them for each of *user_ids*: new, the same again, of a new and of a known key."""
    drafts = [("a", None), ("b", None), ("a", None), ("c", "new"), ("d", "new"), ("e", "known"), ("f", "known")]
    made = []
    for user_id, (content, topic_key) in itertools.product(user_ids, drafts):
        normalized_hash = hashlib.sha256(content.encode()).hexdigest()
        redacted = Redacted(
            user_id=user_id, type="t", title="t", content=content, topic_key=topic_key, normalized_hash=normalized_hash
        )
        made.append(Save(redacted, IndexEntry("t", content), (), EPOCH, timedelta(days=1)))
    return made


def test_batched_saves_equal_single_saves(writer: Writer) -> None:
    """The first user is known, with a row of the key; the second has no session any more; the third is new."""
    for user_id in ("first", "second"):
        writer.run("save", saves_of_every_kind(user_ids=[user_id])[5])
    writer.run(
        "end",
        lambda transaction: saves.end_session(transaction, "second", conversation_id="", summary="s", now=EPOCH),
    )
    made = saves_of_every_kind(user_ids=["first", "second", "third"])
    done = run_in_one_batch(writer, made, bulk=insert_all)

    outcomes = [result.outcome for result in done if isinstance(result, SaveResult)]
    assert outcomes[:7] == ["created", "created", "deduped", "created", "updated", "deduped", "updated"]
    assert outcomes[7:14] == outcomes[:7]
    assert outcomes[14:] == ["created", "created", "deduped", "created", "updated", "created", "updated"]
    numbers = writer.run(
        "read",
        lambda transaction: transaction.execute(
            "SELECT u.user_id, u.last_number, u.observations, group_concat(o.number || o.content, ' ')"
            " FROM users u JOIN (SELECT * FROM observations ORDER BY user, number) o ON o.user = u.key GROUP BY u.key"
        ).fetchall(),
    )
    assert numbers == [
        ("first", 6, 4, "2a 3b 5d 6f"),
        ("second", 6, 4, "2a 3b 5d 6f"),
        ("third", 6, 4, "1a 2b 4d 6f"),
    ]
    ids = [result.id for result in done if isinstance(result, SaveResult) and result.outcome == "created"]
    assert len(set(ids)) == len(ids)


def test_saves_of_a_failed_batch_are_retried_one_by_one(writer: Writer) -> None:
    made = saves_of_every_kind(user_ids=["user"])

    def fail(transaction: Transaction, operations: Sequence[Save]) -> Sequence[SaveResult]:
        insert_all(transaction, operations)
        raise LookupError

    done = run_in_one_batch(writer, made, bulk=fail)
    assert [result.outcome for result in done if isinstance(result, SaveResult)] == [
        "created", "created", "deduped", "created", "updated", "created", "updated",
    ]  # fmt: skip
