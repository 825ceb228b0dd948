"""Behaviour of PostgreSQL only: races between processes, lost connections, errors, migrations."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import psycopg
import pytest

from ilab_memory import Config, ILabMemory, Observation, Session, StorageError
from ilab_memory.stores.postgres import PostgresStore, migrations, schema
from ilab_memory.stores.postgres.connections import Query, Row, Transaction
from ilab_memory.stores.postgres.pool import NotConnected, Pool
from memory.support import Clock
from memory.test_facts import linked
from postgres import Cluster, commits_wait, running_cluster, running_pair, user_locked, waiting

T = TypeVar("T")
REPLICAS = 3
CALLERS = 8


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.create_database()


@contextmanager
def opened(
    url: str, *, clock: Clock | None = None, partitions: int = 2, wait_seconds: float = 30
) -> Iterator[ILabMemory]:
    store = PostgresStore(url, partitions=partitions, wait_seconds=wait_seconds)
    with ILabMemory(store, Config(clock=clock) if clock else None) as mem:
        yield mem


@pytest.fixture
def replicas(url: str, clock: Clock) -> Iterator[list[ILabMemory]]:
    """Several instances on one database, as several processes have them: with no lock in common but the database's."""
    with opened(url, clock=clock) as a, opened(url, clock=clock) as b, opened(url, clock=clock) as c:
        yield [a, b, c]


def at_once(replicas: list[ILabMemory], call: Callable[[ILabMemory, int], T]) -> list[T]:
    """Return what *call* returns to CALLERS callers that begin together, spread over *replicas*."""
    together = threading.Barrier(CALLERS)

    def one(caller: int) -> T:
        together.wait()
        return call(replicas[caller % len(replicas)], caller)

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(one, range(CALLERS)))


def save(mem: ILabMemory, content: str, *, topic_key: str | None = None) -> int:
    return mem.mem_save("alice", content, type="discovery", title="t", topic_key=topic_key).id


def observations(mem: ILabMemory) -> list[Observation]:
    return [row for row in mem.mem_export("alice") if isinstance(row, Observation)]


def test_replicas_that_start_a_session_share_it(replicas: list[ILabMemory], clock: Clock) -> None:
    seen = set()
    for _ in range(5):
        started = at_once(replicas, lambda mem, _: mem.mem_session_start("alice"))
        assert len({response.session_id for response in started}) == 1
        assert [response.is_new for response in started].count(True) == 1
        seen.add(started[0].session_id)
        clock.forward(hours=25)
    assert len(seen) == 5
    assert replicas[0].mem_stats("alice")["sessions"] == 5


def test_the_database_rejects_a_second_active_session(url: str, replicas: list[ILabMemory]) -> None:
    replicas[0].mem_session_start("alice")
    with (
        psycopg.connect(url) as connection,
        pytest.raises(psycopg.errors.UniqueViolation, match="_user_id_conversation_id_idx"),
    ):
        connection.execute(
            "INSERT INTO ilab_memory.sessions (user_id, number, id, started_at, last_activity_at)"
            " VALUES ('alice', 2, 'x', now(), now())"
        )


def test_an_expired_session_is_closed_once(replicas: list[ILabMemory], clock: Clock) -> None:
    save(replicas[0], "one")
    clock.forward(hours=24)
    at_once(replicas, lambda mem, caller: save(mem, f"c{caller}"))
    (past,) = replicas[0].mem_session_start("alice").sessions_context
    assert past.summary == "Closed after inactivity. 1 observation; last: t"


def test_replicas_that_save_one_key_update_one_row_and_count_every_revision(replicas: list[ILabMemory]) -> None:
    ids = at_once(replicas, lambda mem, caller: save(mem, f"by {caller}", topic_key="k"))
    (row,) = observations(replicas[0])
    assert set(ids) == {row.id}
    assert row.revision_count == CALLERS
    assert [found.id for found in replicas[1].mem_search("alice", row.content)] == [row.id]


def test_replicas_that_save_the_same_content_create_one_row(replicas: list[ILabMemory]) -> None:
    ids = at_once(replicas, lambda mem, _: save(mem, "the same"))
    assert [row.id for row in observations(replicas[0])] == [ids[0]]
    assert set(ids) == {ids[0]}


def test_saves_of_replicas_have_distinct_sequence_numbers_and_ids(replicas: list[ILabMemory]) -> None:
    ids = at_once(replicas, lambda mem, caller: save(mem, f"one of {caller}"))
    ids += at_once(replicas, lambda mem, caller: save(mem, f"another of {caller}"))
    assert len(set(ids)) == len(ids) == replicas[0].mem_stats("alice")["observations"]


def test_a_save_during_an_erasure_is_stored_or_erased_as_a_whole(replicas: list[ILabMemory]) -> None:
    for turn in range(10):

        def act(mem: ILabMemory, caller: int, turn: int = turn) -> int:
            return mem.mem_forget("alice") if caller % 4 == 0 else save(mem, f"zebra {turn} {caller}")

        at_once(replicas, act)
        left = observations(replicas[0])
        assert replicas[0].mem_stats("alice")["observations"] == len(left)
        assert {row.id for row in replicas[0].mem_search("alice", "zebra", limit=1000)} == {row.id for row in left}
        assert {row.session_id for row in left} <= {replicas[1].mem_session_start("alice").session_id}


def lost_connections(url: str) -> int:
    """End every other connection to the database; return how many there were."""
    with psycopg.connect(url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchall()
    return len(ended)


@pytest.mark.parametrize("call", ["start", "save", "search", "forget"])
def test_a_connection_lost_between_calls_is_replaced(url: str, call: str) -> None:
    calls: dict[str, Callable[[ILabMemory], object]] = {
        "start": lambda mem: mem.mem_session_start("alice"),
        "save": lambda mem: save(mem, "green tea", topic_key="k"),
        "search": lambda mem: mem.mem_search("alice", "tea"),
        "forget": lambda mem: mem.mem_forget("alice"),
    }
    with opened(url) as mem:
        save(mem, "tea")
        assert lost_connections(url)
        assert calls[call](mem)


def test_a_save_is_retried_if_the_connection_is_lost_before_its_commit(url: str) -> None:
    with opened(url) as mem, ThreadPoolExecutor(1) as pool:
        save(mem, "one")
        with user_locked(url) as connection:
            saving = pool.submit(save, mem, "two")
            for pid in waiting(connection, "wait_event_type = 'Lock'"):
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        saving.result(60)
        assert [row.content for row in observations(mem)] == ["one", "two"]


def test_waiting_for_the_lock_of_a_user_is_bounded(url: str) -> None:
    with opened(url, wait_seconds=0.2) as mem:
        save(mem, "secret words")
        with user_locked(url), pytest.raises(StorageError) as told:
            save(mem, "secret words, again")
        assert str(told.value) == "could not save the observation: LockNotAvailable (55P03)"
        save(mem, "more")


def end_a_commit(connection: psycopg.Connection) -> None:
    for pid in waiting(connection, "wait_event = 'SyncRep'"):
        connection.execute("SELECT pg_terminate_backend(%s)", (pid,))


def test_a_session_start_whose_commit_was_lost_finds_its_session() -> None:
    with running_cluster() as cluster, opened(cluster.url()) as mem, ThreadPoolExecutor(1) as pool:
        with psycopg.connect(cluster.url(), autocommit=True) as connection, commits_wait(connection):
            starting = pool.submit(mem.mem_session_start, "alice")
            end_a_commit(connection)
        assert starting.result(60).is_new
        assert mem.mem_stats("alice")["sessions"] == 1


def test_a_save_whose_commit_was_lost_fails_and_is_not_retried() -> None:
    with running_cluster() as cluster, opened(cluster.url()) as mem, ThreadPoolExecutor(1) as pool:
        with psycopg.connect(cluster.url(), autocommit=True) as connection, commits_wait(connection):
            saving = pool.submit(save, mem, "zebra", topic_key="k")
            end_a_commit(connection)
            with pytest.raises(StorageError, match="could not save the observation: "):
                saving.result(60)
        assert [(row.content, row.revision_count) for row in observations(mem)] == [("zebra", 1)]


def test_an_unreachable_server_is_a_storage_error_until_it_is_back() -> None:
    with running_cluster() as cluster, opened(cluster.url(), wait_seconds=1) as mem:
        save(mem, "before")
        cluster.stop()
        for _ in range(2):
            with pytest.raises(StorageError, match="could not save the observation: "):
                save(mem, "meanwhile")
            with pytest.raises(StorageError, match="could not search: "):
                mem.mem_search("alice", "before")
        cluster.start()
        assert mem.mem_search("alice", "before")
        save(mem, "after")


def test_one_caller_checks_for_all_whether_the_server_is_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as other:
        pool = Pool(f"postgresql://ilab@127.0.0.1:{silent.getsockname()[1]}/db", size=4, wait_seconds=60)
        connecting = other.submit(connect, pool)
        silent.accept()[0].close()
        assert isinstance(connecting.exception(60), NotConnected)
        for _ in range(2):
            connecting = other.submit(connect, pool)
            with silent.accept()[0]:
                for _ in range(3):
                    with pytest.raises(NotConnected):
                        connect(pool)
                assert not connecting.done()
            assert isinstance(connecting.exception(60), NotConnected)


def connect(pool: Pool) -> None:
    with pool.connection():
        pass


def test_a_promoted_standby_has_every_save_and_takes_over() -> None:
    with running_pair() as pair, opened(pair.url(), wait_seconds=5) as mem:
        kept = {save(mem, f"before {number}", topic_key=f"{number}") for number in range(20)}
        pair.primary.stop(signal.SIGKILL)
        with pytest.raises(StorageError):
            save(mem, "meanwhile")
        pair.standby.promote()
        assert {row.id for row in observations(mem)} == kept
        kept.add(save(mem, "after"))
        assert {row.id for row in observations(mem)} == kept


def test_no_error_contains_stored_text(url: str) -> None:
    with opened(url) as mem:
        with psycopg.connect(url) as connection:
            connection.execute("ALTER TABLE ilab_memory.observations ADD CHECK (content <> 'secret words')")
        with pytest.raises(StorageError) as told:
            save(mem, "secret words")
        assert str(told.value) == "could not save the observation: CheckViolation (23514)"
        assert told.value.__cause__ is None
        assert told.value.__suppress_context__
        assert mem.mem_stats("alice") == {"observations": 0, "sessions": 0}


@pytest.mark.parametrize(("durability", "setting"), [("full", "on"), ("normal", "off")])
def test_durability_is_synchronous_commit(url: str, durability: str, setting: str) -> None:
    with ILabMemory.from_url(url, Config(durability=durability)) as mem:  # type: ignore[arg-type]  # parametrised
        assert isinstance(mem._store, PostgresStore)
        assert mem._store._connections.rows("ask", "SHOW synchronous_commit") == [(setting,)]


def test_replicas_can_open_an_empty_database_concurrently(url: str) -> None:
    together = threading.Barrier(CALLERS)

    def start(caller: int) -> int:
        together.wait()
        with opened(url, partitions=3) as mem:
            return save(mem, f"by {caller}")

    with ThreadPoolExecutor(CALLERS) as pool:
        assert len(set(pool.map(start, range(CALLERS)))) == CALLERS
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version FROM ilab_memory.schema_migrations").fetchall() == [(schema.VERSION,)]
        assert connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ilab_memory.users'::regclass"
        ).fetchone() == (3,)


def test_a_newer_schema_is_rejected(url: str) -> None:
    with opened(url):
        pass
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE ilab_memory.schema_migrations SET version = version + 1")
    with pytest.raises(StorageError, match=f"schema version {schema.VERSION + 1} is newer than {schema.VERSION}"):
        PostgresStore(url)


@pytest.mark.parametrize("table", [schema.UNRELEASED_TABLE, "schema_migrations"])
def test_an_unreleased_schema_is_rejected_with_instructions(url: str, table: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA ilab_memory")
        connection.execute(f"CREATE TABLE ilab_memory.{table} AS SELECT 1 AS version")
    with pytest.raises(StorageError, match=r"unreleased version of ilab-memory; export .* drop the schema"):
        PostgresStore(url)


def test_a_failed_migration_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: psycopg.Connection, partitions: int) -> None:
        migrations._m003_first_schema(connection, partitions)
        connection.execute("SELECT 1 / 0")

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "MIGRATIONS", {1: broken})
        with pytest.raises(StorageError, match="division by zero"):
            PostgresStore(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regnamespace('ilab_memory')").fetchone() == (None,)
    with opened(url) as mem:
        save(mem, "works")


def test_a_database_with_another_encoding_is_rejected(postgres: Cluster) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StorageError, match="encoding must be UTF8"):
        PostgresStore(postgres.url("latin"))


def test_a_missing_database_is_named(postgres: Cluster) -> None:
    with pytest.raises(StorageError, match='database "nowhere" does not exist'):
        ILabMemory.from_url(postgres.url("nowhere"))


@pytest.mark.parametrize("bad", ["mysql://alice:hunter2@host/db", "/var/memory.db", "postgresql://u:hunter2@h/d?no=1"])
def test_an_invalid_url_is_rejected_and_not_quoted(bad: str) -> None:
    with pytest.raises(ValueError, match="url must") as told:
        ILabMemory.from_url(bad)
    assert "hunter2" not in str(told.value)


def test_ids_of_a_forgotten_user_are_not_reused(url: str, clock: Clock) -> None:
    with opened(url, clock=clock) as mem:
        before = {save(mem, f"c{number}") for number in range(20)}
        mem.mem_forget("alice")
        after = {save(mem, f"c{number}") for number in range(20)}
        assert not before & after
        assert max(before | after) < 2**53


def test_the_last_activity_of_a_session_never_moves_back(url: str, clock: Clock) -> None:
    with opened(url, clock=clock) as mem:
        mem.mem_session_start("alice")
        latest = clock.now
        # No more than the clocks of two machines may differ.
        clock.now -= timedelta(minutes=4)
        mem.mem_session_start("alice")
        (session,) = mem.mem_export("alice")
        assert isinstance(session, Session)
        assert session.last_activity_at == latest.isoformat(timespec="microseconds")


def test_a_chain_of_facts_is_deleted_in_few_round_trips(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    ask = Transaction.ask

    def counted(transaction: Transaction, *queries: Query) -> list[list[Row]]:
        asked.append(queries)
        return ask(transaction, *queries)

    monkeypatch.setattr(Transaction, "ask", counted)
    with opened(url) as mem:
        mem.mem_import("alice", linked((), *((number,) for number in range(1, 100))))
        (first,) = [row for row in mem.mem_list("alice", limit=200) if row.content == "fact 1"]
        asked.clear()
        assert len(mem.mem_forget_observation("alice", first.id or 0)) == 100
    assert len(asked) < 10
