"""Every contract test runs against every store of STORES: another store proves itself by one line here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ilab_memory import Config, ILabMemory, Store
from ilab_memory.stores.sqlite import SQLiteStore
from memory.support import Clock

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite-file": lambda folder: SQLiteStore(folder / "memory.db"),
    "sqlite-memory": lambda _folder: SQLiteStore(":memory:"),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mem(store: Store, clock: Clock) -> ILabMemory:
    return ILabMemory(store, Config(clock=clock))
