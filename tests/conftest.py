"""Fixtures of all tests: the fake upstream, a PostgreSQL and a real server in this process."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
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


#: The `duration_rank` of files whose tests start no program.
SHORT_RANK = 2

SHARED_MEMORY = Path("/dev/shm")
#: The beginning of the names of folders in it. The process id follows.
FOLDER = "ilab-chat-tests-"
#: Free bytes in it from which the files of tests are there.
ENOUGH_BYTES = 8 * 1024**3


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of tests in memory if several processes run them and there is room.

    To create and delete thousands of files takes a tenth of the CPU elsewhere.
    """
    is_first = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if is_first and "TMPDIR" not in os.environ and has_room(SHARED_MEMORY):
        for left in SHARED_MEMORY.glob(f"{FOLDER}*"):
            # Of a process that was killed.
            if not Path("/proc", left.name.removeprefix(FOLDER).partition("-")[0]).exists():
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=SHARED_MEMORY))
        # PostgreSQL has another user if root runs the tests.
        folder.chmod(0o711)
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def has_room(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= ENOUGH_BYTES


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
    """Mark the tests that `make test-unit` leaves out, and order all.

    Marked are the tests of a file that imports what starts programs.
    """
    for item in items:
        if folder_of(item) in WITH_PROGRAMS or starts_programs(getattr(item, "module", None)):
            item.add_marker("process")
    items[:] = mixed(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def mixed(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """Return *items* in an order in which some of the processes always run tests that wait, and others use the CPU.

    Each process begins with an equal part of the list, and takes tests from the ends of other parts later. So no part
    ends with a long test.
    """
    ranked = sorted(items, key=duration_rank)
    long = sum(duration_rank(item) < SHORT_RANK for item in ranked)
    ordered: list[pytest.Item] = []
    for number in range(processes):
        waiting, short = part(ranked[:long], number, processes), part(ranked[long:], number, processes)
        before = len(short) // 2 if number % 2 else 0
        ordered += [*short[:before], *waiting, *short[before:]]
    return ordered


def part(items: list[pytest.Item], number: int, parts: int) -> list[pytest.Item]:
    return items[len(items) * number // parts : len(items) * (number + 1) // parts]


def folder_of(item: pytest.Item) -> str:
    return top_folder(item.path)


@cache
def top_folder(path: Path) -> str:
    return path.relative_to(HERE).parts[0]


def duration_rank(item: pytest.Item) -> int:
    """Return a number that is smaller for files whose tests take longer."""
    if folder_of(item) in WITH_PROGRAMS:
        return 0
    return 1 if starts_programs(getattr(item, "module", None)) else SHORT_RANK


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
