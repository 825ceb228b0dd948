"""Connections of the store on PostgreSQL: reads and writes apart, bounded waits, and an end that does not wait."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg
import pytest

from ilab_memory import ILabMemory, StorageError
from ilab_memory.stores.postgres import PostgresStore
from ilab_memory.time_limit import time_limit
from postgres import FAST, Cluster, commits_wait, running_cluster, user_locked, waiting


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.create_database()


@contextmanager
def opened(url: str, *, pool_size: int = 4, wait_seconds: float = 60) -> Iterator[ILabMemory]:
    with ILabMemory(PostgresStore(url, partitions=2, pool_size=pool_size, wait_seconds=wait_seconds)) as mem:
        yield mem


def save(mem: ILabMemory, user: str = "alice", content: str = "green tea") -> int:
    return mem.mem_save(user, content, type="discovery", title="t").id


def test_waiting_writes_take_no_connection_from_reads(url: str) -> None:
    with opened(url) as mem, ThreadPoolExecutor(8) as pool:
        save(mem)
        save(mem, "bob")
        with user_locked(url) as connection:
            saves = [pool.submit(save, mem, "alice", f"tea {number}") for number in range(8)]
            assert waiting(connection, "wait_event_type = 'Lock'")
            for _ in range(20):
                assert mem.mem_search("bob", "tea")
                assert mem.mem_stats("alice")["observations"] == 1
            assert not any(each.done() for each in saves)
        assert len({each.result(60) for each in saves}) == 8


def test_a_read_ends_at_the_time_limit_of_its_call(url: str) -> None:
    with opened(url) as mem:
        save(mem)
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE ilab_memory.users IN ACCESS EXCLUSIVE MODE")
            for read in (lambda: mem.mem_stats("alice"), lambda: mem.mem_search("alice", "tea")):
                with time_limit(0.2), pytest.raises(StorageError, match=r"QueryCanceled \(57014\)"):
                    read()
            with time_limit(-1), pytest.raises(StorageError):
                mem.mem_stats("alice")
        with time_limit(30):
            assert mem.mem_stats("alice")["observations"] == 1
            assert mem.mem_search("alice", "tea")
        with time_limit(None):
            assert mem.mem_stats("alice")["observations"] == 1


def test_reads_have_a_timeout_and_commits_have_none(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET statement_timeout = '1s'".encode())
    store = PostgresStore(url, partitions=2, wait_seconds=7)
    with store:
        assert store._connections.rows("ask", "SHOW statement_timeout") == [("7s",)]
        with store._connections.borrow("ask") as connection:
            assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


def taken_by_others(url: str) -> list[psycopg.Connection]:
    """Take all connections of the server and return them."""
    taken: list[psycopg.Connection] = []
    with suppress(psycopg.OperationalError):
        while True:
            taken.append(psycopg.connect(url))
    return taken


def test_a_refused_connection_means_waiting_for_the_pool() -> None:
    with (
        running_cluster(settings=(*FAST, "max_connections=6", "max_wal_senders=0")) as cluster,
        opened(cluster.url(), pool_size=16) as mem,
        ThreadPoolExecutor(4) as pool,
    ):
        save(mem)
        save(mem, "bob")
        with user_locked(cluster.url()):
            first = pool.submit(save, mem, "alice", "tea")
            others = taken_by_others(cluster.url())
            refused = len(cluster.log)
            second = pool.submit(save, mem, "bob", "tea")
            while not any("too many clients" in line for line in cluster.log[refused:]):
                pass
            assert not first.done()
            assert not second.done()
        assert first.result(60) != second.result(60)
        for other in others:
            other.close()


def test_a_commit_that_is_not_on_the_standby_is_not_acknowledged() -> None:
    with running_cluster() as cluster, opened(cluster.url()) as mem, ThreadPoolExecutor(1) as pool:
        save(mem)
        with psycopg.connect(cluster.url(), autocommit=True) as connection, commits_wait(connection):
            saving = pool.submit(save, mem, "alice", "black coffee")
            for pid in waiting(connection, "wait_event = 'SyncRep'"):
                connection.execute("SELECT pg_cancel_backend(%s)", (pid,))
            with pytest.raises(StorageError, match="could not save the observation: NotReplicated"):
                saving.result(60)
        # It may be stored, or be lost with this server. Later saves are acknowledged again.
        assert save(mem, "alice", "milk")


def test_close_ends_a_hanging_commit() -> None:
    with running_cluster() as cluster, ThreadPoolExecutor(1) as pool:
        mem = ILabMemory(PostgresStore(cluster.url(), partitions=2, wait_seconds=60))
        save(mem)
        with psycopg.connect(cluster.url(), autocommit=True) as connection, commits_wait(connection):
            saving = pool.submit(save, mem, "alice", "black coffee")
            assert waiting(connection, "wait_event = 'SyncRep'")
            mem.close()
            assert isinstance(saving.exception(60), StorageError)
