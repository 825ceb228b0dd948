"""The server retries erasures that a call could not finish, and logs them until they are finished."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ilab_chat.v1 import memory_pb2, memory_pb2_grpc
from ilab_chat_service.failures import MemoryUnavailable
from ilab_chat_service.memory import erasure_retry
from ilab_chat_service.memory.erasure_retry import finish_pending_erasures, retry_erasures
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_chat_service.tasks import in_background
from ilab_memory import ILabMemory, StorageError
from ilab_memory.stores.sqlite import SQLiteStore
from rpcs import reason

LOGGER = erasure_retry.__name__


class Scripted:
    """A memory with pending erasures whose retries have scripted outcomes."""

    def __init__(self, *tries: Exception | None, pending: int = 2) -> None:
        self.tries = list(tries)
        self.pending = pending
        self.looked = asyncio.Semaphore(0)

    async def pending_erasures(self) -> int:
        self.looked.release()
        return self.pending

    async def finish_forgetting(self) -> int:
        failure = self.tries.pop(0)
        if failure:
            raise failure
        self.pending = 0
        return 0


def unavailable(cause: str) -> MemoryUnavailable:
    error = MemoryUnavailable("memory is not available", retry_after_seconds=1)
    error.__cause__ = StorageError(cause)
    return error


async def test_failed_retries_are_logged_with_number_and_cause_and_success_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = Scripted(unavailable("the disk is full"), None)
    with caplog.at_level(logging.INFO, LOGGER):
        for _ in range(3):
            await finish_pending_erasures(memory)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "2 pending erasures: retry failed: the disk is full"),
        ("INFO", "finished 2 pending erasures"),
    ]
    assert memory.tries == []


async def test_retries_run_at_the_start_and_after_each_interval() -> None:
    before = asyncio.all_tasks()
    memory = Scripted(pending=0)
    async with in_background(retry_erasures(memory, interval_seconds=0.001)):
        for _ in range(3):
            await memory.looked.acquire()
    assert asyncio.all_tasks() == before


async def test_stop_does_not_wait_for_a_retry() -> None:
    class Stuck(Scripted):
        async def finish_forgetting(self) -> int:
            await asyncio.Event().wait()
            return 0

    before = asyncio.all_tasks()
    memory = Stuck()
    async with in_background(retry_erasures(memory, interval_seconds=0)):
        await memory.looked.acquire()
    assert asyncio.all_tasks() == before


def leave_unfinished(path: str) -> None:
    """Forget a user while somebody reads."""
    with (
        ILabMemory(SQLiteStore(path, busy_timeout_seconds=0.1)) as memory,
        closing(sqlite3.connect(path, isolation_level=None)) as reader,
    ):
        memory.mem_save("alice", "MARZIPAN", type="discovery", title="t")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM observations").fetchone()
        with pytest.raises(StorageError, match="a reader"):
            memory.mem_forget("alice")


@asynccontextmanager
async def memory_of(settings: Settings) -> AsyncIterator[Any]:
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield memory_pb2_grpc.MemoryServiceStub(channel)


async def test_server_finishes_erasures_of_the_previous_process_at_its_start(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = asyncio.Event()

    async def observed(memory: Any) -> None:
        await finish_pending_erasures(memory)
        done.set()

    monkeypatch.setattr(erasure_retry, "finish_pending_erasures", observed)
    await asyncio.to_thread(leave_unfinished, settings.memory_db_path)
    with caplog.at_level(logging.INFO, LOGGER):
        async with memory_of(settings):
            await done.wait()
            files = Path(settings.memory_db_path).parent.glob("memory.db*")
            left = await asyncio.to_thread(lambda: b"".join(file.read_bytes() for file in files))
    assert b"MARZIPAN" not in left
    assert "finished 1 pending erasures" in caplog.messages


@pytest.mark.slow
async def test_unfinished_erasure_fails_the_call_and_the_next_call_finishes_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_of(settings) as memory:
        await memory.SaveObservation(
            memory_pb2.SaveObservationRequest(user_id="alice", content="MARZIPAN", type="profile", title="t")
        )
        forget = memory_pb2.ForgetUserRequest(user_id="alice")
        with closing(sqlite3.connect(settings.memory_db_path, isolation_level=None, check_same_thread=False)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM observations").fetchone()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await memory.ForgetUser(forget)
            assert reason(caught.value) == "MEMORY_UNAVAILABLE"
            reader.execute("COMMIT")
        assert (await memory.ForgetUser(forget)).observations == 0
