"""Every contract test runs against every store of STORES: another store proves itself by one line here."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from ilab_memory import Config, ILabMemory, Store
from ilab_memory.stores.postgres import PostgresStore
from ilab_memory.stores.sqlite import SQLiteStore
from memory.support import Clock
from postgres import Cluster


@pytest.fixture(scope="session")
def database(postgres: Cluster) -> str:
    return postgres.create_database()


def empty_postgres(request: pytest.FixtureRequest) -> Store:
    """A store in a database that all tests share: making the tables takes longer than a test."""
    url: str = request.getfixturevalue("database")
    store = PostgresStore(url)
    with psycopg.connect(url) as connection:
        for table in ("observations", "sources", "sessions", "users", "work", "embedded", "vectors"):
            connection.execute(f"DELETE FROM ilab_memory.{table}")
    return store


STORES: dict[str, Callable[[pytest.FixtureRequest], Store]] = {
    "sqlite-file": lambda request: SQLiteStore(request.getfixturevalue("tmp_path") / "memory.db"),
    "sqlite-memory": lambda _request: SQLiteStore(":memory:"),
    "postgres": empty_postgres,
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
def mem(store: Store, clock: Clock) -> ILabMemory:
    return ILabMemory(store, Config(clock=clock))
