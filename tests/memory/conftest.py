"""Every contract test runs against every store of STORES: another store proves itself by one line here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from ilab_memory import Config, ILabMemory, Store
from ilab_memory.stores.postgres import PostgresStore
from ilab_memory.stores.sqlite import SQLiteStore
from memory.concepts import Concepts
from memory.support import Clock
from postgres import Cluster


@dataclass(frozen=True, slots=True)
class Database:
    """A database that all tests share: making the tables takes longer than a test."""

    url: str
    connection: psycopg.Connection
    """Stays open: a new one would read the catalog of all partitions."""

    def store(self) -> PostgresStore:
        """Return a store without rows."""
        opened = PostgresStore(self.url)
        for table in ("observations", "sources", "sessions", "users", "work", "embedded", "vectors"):
            self.connection.execute(f"DELETE FROM ilab_memory.{table}".encode())
        return opened


@pytest.fixture(scope="session")
def database(postgres: Cluster) -> Iterator[Database]:
    url = postgres.create_database()
    with psycopg.connect(url, autocommit=True) as connection:
        yield Database(url, connection)


STORES: dict[str, Callable[[pytest.FixtureRequest], Store]] = {
    "sqlite-file": lambda request: SQLiteStore(request.getfixturevalue("tmp_path") / "memory.db"),
    "sqlite-memory": lambda _request: SQLiteStore(":memory:"),
    "postgres": lambda request: request.getfixturevalue("database").store(),
}


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.process) if name == "postgres" else name for name in STORES]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with STORES[request.param](request) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def embedder() -> Concepts | None:
    """None, unless a module tests the meaning of texts."""
    return None


@pytest.fixture
def mem(store: Store, clock: Clock, embedder: Concepts | None) -> ILabMemory:
    return ILabMemory(store, Config(clock=clock, embedder=embedder))
