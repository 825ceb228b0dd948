"""Reads of one visit share a connection; what they see and raise stays the same."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ilab_memory import ILabMemory
from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite.connections import Database, Readers
from ilab_memory.time_limit import visit


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[Readers]:
    path = str(tmp_path / "memory.db")
    ILabMemory.from_path(path).close()
    database = Database(path, busy_timeout_seconds=1)
    readers = Readers(database)
    yield readers
    readers.close()
    database.close()


def test_reads_of_a_visit_share_a_connection(readers: Readers) -> None:
    with visit():
        with readers.connection("read") as first:
            pass
        with readers.connection("read") as second, readers.connection("read") as nested:
            assert first is second is nested
    with readers.connection("read") as later:
        assert later is first


def test_without_a_visit_each_read_has_its_own(readers: Readers) -> None:
    with readers.connection("read") as first, readers.connection("read") as second:
        assert first is not second


def test_visits_on_two_threads_have_their_own(readers: Readers) -> None:
    def read() -> sqlite3.Connection:
        with visit(), readers.connection("read") as connection:
            return connection

    with ThreadPoolExecutor(1) as pool, visit(), readers.connection("read") as mine:
        assert pool.submit(read).result() is not mine


def test_failed_read_gives_the_connection_back_at_the_end(readers: Readers) -> None:
    def fail() -> None:
        with readers.connection("read the rows") as connection:
            connection.execute("SELECT * FROM missing")

    with visit():
        with pytest.raises(StorageError, match="could not read the rows: SQLITE_ERROR"):
            fail()
        with readers.connection("read") as first:
            assert first.execute("SELECT 1").fetchone() == (1,)
    with readers.connection("read") as later:
        assert later is first


def test_connection_of_a_visit_is_closed_if_the_memory_was(readers: Readers) -> None:
    with visit():
        with readers.connection("read") as connection:
            pass
        readers.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    with pytest.raises(RuntimeError, match="closed"), readers.connection("read"):
        pass


def test_visit_sees_what_it_and_others_have_saved(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    with ILabMemory.from_path(path) as mine, ILabMemory.from_path(path) as other, visit():
        assert mine.mem_recall("alice", "lighthouse keeper") == []
        other.mem_save("alice", "The lighthouse keeper is called Ada", type="discovery", title="t")
        [hit] = mine.mem_recall("alice", "lighthouse keeper")
        mine.mem_save("alice", "The lighthouse keeper sails", type="discovery", title="u")
        assert {row.id for row in mine.mem_recall("alice", "lighthouse keeper")} > {hit.id}


def test_visit_leaves_the_log_free_to_be_checkpointed(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    with ILabMemory.from_path(path) as memory, visit():
        memory.mem_save("alice", "first", type="discovery", title="t")
        assert memory.mem_search("alice", "first")
        memory.mem_save("alice", "second", type="discovery", title="t")
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
        connection.close()
