"""Fixtures of all tests: the fake upstream, a PostgreSQL and a real server in this process."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc.aio
import hypothesis
import pytest
from blockbuster import BlockBuster

import postgres as servers
import upstream as fake
from ilab_chat.v1 import chat_pb2_grpc
from ilab_chat_service.rpc import grpc_internals
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background starts like this, and what it starts inherits it: Ctrl-C could not be tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Else every process that the tests start compiles the service again, and pytest every module of tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Threads of the embedded model spin while they wait for each other, which takes the CPU from other tests.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

# On a busy machine an example may take long.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

HERE = Path(__file__).parent

#: Folders whose tests all start programs, and modules for starting them.
WITH_PROGRAMS = {"bench", "contract", "e2e", "faults", "fuzz"}
STARTING = {"client.terminal", "memory.killed", "mounts", "postgres", "processes", "service.leases", "subprocess"}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what is collected out of garbage collections: it stays, and each would look at all of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        # Later collections look at the tables of the service each time, and were 7 % of the CPU.
        gc.set_threshold(50_000, 20, 20)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make test-unit` leaves out, and put long tests first, so that no process ends with one.

    Marked are the tests of a file that imports what starts programs.
    """
    for item in items:
        if folder_of(item) in WITH_PROGRAMS or starts_programs(getattr(item, "module", None)):
            item.add_marker("process")
    items.sort(key=duration_rank)


def folder_of(item: pytest.Item) -> str:
    return top_folder(item.path)


@cache
def top_folder(path: Path) -> str:
    return path.relative_to(HERE).parts[0]


def duration_rank(item: pytest.Item) -> int:
    """Return a number that is smaller for files whose tests take longer."""
    if folder_of(item) in WITH_PROGRAMS:
        return 0
    return 1 if starts_programs(getattr(item, "module", None)) else 2


@cache
def starts_programs(module: Any) -> bool:
    return any(
        getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", None) in STARTING
        for value in vars(module).values()
    )


class Guard:
    """Refuses to start a process while a test runs that is not marked `process`."""

    def __init__(self) -> None:
        self.refuses = False
        # An audit hook cannot be removed, hence the switch: https://docs.python.org/3/library/sys.html#sys.addaudithook
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.refuses and event in {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec"}:
            raise RuntimeError(f"This test starts a program, so it needs the mark `process`: {arguments}")


guard = Guard()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Check the marks: a test without `process` starts no process, nor do its fixtures."""
    guard.refuses = item.get_closest_marker("process") is None
    try:
        return (yield)
    finally:
        guard.refuses = False


@pytest.fixture(scope="session", autouse=True)
async def grpc_aio_stays_open() -> AsyncIterator[None]:
    """Hold grpc.aio open: else it shuts down, blocking, whenever the last channel of some test is collected."""
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    yield
    await channel.close()


@pytest.fixture(scope="session", autouse=True)
def accepted_at_once() -> Iterator[int]:
    """Let servers of this process accept one call of a method at a time: the tasks for more are half of each start.

    Yield the number that is usual.
    """
    usual = grpc_internals.ACCEPTED_AT_ONCE
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(grpc_internals, "ACCEPTED_AT_ONCE", 1)
        yield usual


@pytest.fixture(scope="session")
def blocking() -> BlockBuster:
    """Finds blocking calls of the service and the library. Making it takes longer than to activate it."""
    return BlockBuster(["ilab_chat_service", "ilab_memory"])


@pytest.fixture(autouse=True)
def no_blocking_calls_on_the_event_loop(blocking: BlockBuster) -> Iterator[None]:
    blocking.activate()
    yield
    blocking.deactivate()


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Cluster]:
    """A PostgreSQL that all tests share; what a crash would lose does not matter to them."""
    with servers.running_cluster() as cluster:
        yield cluster


@pytest.fixture
def memory_database(postgres: servers.Cluster) -> Iterator[str]:
    """The URL of a memory without users, in PostgreSQL."""
    with postgres.memory() as url:
        yield url


@pytest.fixture
def upstream() -> Iterator[fake.Upstream]:
    with fake.running() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path, upstream: fake.Upstream) -> Settings:
    return Settings(
        address="127.0.0.1:0",
        memory_db_path=str(tmp_path / "memory.db"),
        openai_base_url=upstream.base_url,
        openai_model="test-model",
        model_retries=0,
        propagation_seconds=0,
        drain_seconds=5,
        consolidation="off",
        embedder="none",
    )


@pytest.fixture
async def address(settings: Settings) -> AsyncIterator[str]:
    """A running server."""
    async with serving(settings) as address:
        yield address


@pytest.fixture
async def stub(address: str) -> AsyncIterator[chat_pb2_grpc.ChatServiceAsyncStub]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield chat_pb2_grpc.ChatServiceStub(channel)
