"""What every test can ask for: the fake upstream, a PostgreSQL and a real server in this process."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
from blockbuster import blockbuster_ctx

import postgres as servers
import upstream as fake
from ilab_chat.v1 import chat_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background starts like this, and what it starts inherits it: Ctrl-C could not be tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
async def grpc_aio_stays_open() -> AsyncIterator[None]:
    """Hold grpc.aio open: else it shuts down, blocking, whenever the last channel of some test is collected."""
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    yield
    await channel.close()


@pytest.fixture(autouse=True)
def no_blocking_calls_on_the_event_loop() -> Iterator[None]:
    with blockbuster_ctx(["ilab_chat_service", "ilab_memory"]):
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Cluster]:
    """A PostgreSQL that all tests share; what a crash would lose does not matter to them."""
    with servers.running_cluster() as cluster:
        yield cluster


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
