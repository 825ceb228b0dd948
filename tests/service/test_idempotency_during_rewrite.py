"""Stored answers while another process rewrites the SQLite file, which takes longer than the timeout for locks."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ilab_chat_service.failures import MemoryUnavailable
from ilab_chat_service.idempotency import sqlite as sqlite_store
from ilab_chat_service.idempotency.chat_answer_codec import TurnCall
from ilab_memory import ILabMemory
from rewriting import locked, refusals
from service.leases import ANSWERED, NOW, REQUEST


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sqlite_store, "BUSY_SECONDS", 0.01)
    path = tmp_path / "memory.db"
    ILabMemory.from_path(path).close()
    return path


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    return refusals(monkeypatch)


async def test_answer_is_stored_after_a_rewrite(path: Path, refused: threading.Semaphore) -> None:
    async with sqlite_store.open_sqlite_store(str(path), lambda: NOW) as log:
        lease = await log.begin(TurnCall(REQUEST))
        with locked(path, rewritten=True):
            putting = asyncio.create_task(lease.put(ANSWERED))
            for _ in range(3):
                assert await asyncio.to_thread(refused.acquire, timeout=60)
            assert not putting.done()
        await putting
        lease.release()
        repeated = await log.begin(TurnCall(REQUEST))
        assert repeated.earlier == ANSWERED
        repeated.release()


async def test_store_opens_after_a_rewrite(path: Path, refused: threading.Semaphore) -> None:
    async with AsyncExitStack() as stack:
        with locked(path, rewritten=True):
            opening = asyncio.create_task(
                stack.enter_async_context(sqlite_store.open_sqlite_store(str(path), lambda: NOW))
            )
            for _ in range(3):
                assert await asyncio.to_thread(refused.acquire, timeout=60)
            assert not opening.done()
        log = await opening
        lease = await log.begin(TurnCall(REQUEST))
        assert lease.earlier is None
        lease.release()


async def test_answer_does_not_wait_for_another_lock(path: Path, refused: threading.Semaphore) -> None:
    async with sqlite_store.open_sqlite_store(str(path), lambda: NOW) as log:
        lease = await log.begin(TurnCall(REQUEST))
        with locked(path, rewritten=False), pytest.raises(MemoryUnavailable):
            await lease.put(ANSWERED)
        lease.release()
    assert refused.acquire(blocking=False)
    assert not refused.acquire(blocking=False), "it asked once"


async def test_closing_ends_the_wait_for_a_rewrite(path: Path, refused: threading.Semaphore) -> None:
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(sqlite_store.open_sqlite_store(str(path), lambda: NOW))
        lease = await log.begin(TurnCall(REQUEST))
        with locked(path, rewritten=True):
            putting = asyncio.create_task(lease.put(ANSWERED))
            assert await asyncio.to_thread(refused.acquire, timeout=60)
            await stack.aclose()
            with pytest.raises(MemoryUnavailable):
                await putting
