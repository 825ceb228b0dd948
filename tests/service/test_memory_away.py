"""Health of the services follows the memory on SQLite; that of the process does not."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.memory import availability
from ilab_chat_service.server import CHAT, HEALTH_NAMES, serving
from ilab_chat_service.settings import Settings
from mounts import fill, mounted
from processes import run_server, running_server
from rpcs import reason
from upstream import Upstream

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(availability, "RETRY_SECONDS", 0.05)


@asynccontextmanager
async def watched(settings: Settings) -> AsyncIterator[tuple[Any, grpc.aio.Channel]]:
    """Serve, and yield a watch of the chat's health that has said SERVING."""
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=CHAT), timeout=60)
        assert (await watch.read()).status == SERVING
        yield watch, channel
        watch.cancel()


async def statuses(channel: grpc.aio.Channel) -> list[int]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return [(await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)).status for name in HEALTH_NAMES]


async def chat_until_it_fails(chat: chat_pb2_grpc.ChatServiceAsyncStub) -> None:
    for _ in range(1000):
        await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="word " * 1000), timeout=30)


@pytest.fixture(params=["ext4", "btrfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with mounted(request.param, tmp_path) as folder:
        yield folder


async def test_health_follows_a_file_that_is_removed_and_comes_back(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(settings.memory_db_path)
    async with watched(settings) as (watch, channel):
        await asyncio.to_thread(path.rename, path.with_name("away"))
        assert (await watch.read()).status == NOT_SERVING
        assert await statuses(channel) == [SERVING, NOT_SERVING, NOT_SERVING]
        assert "the memory cannot be used: could not write: FileNotFoundError: No such file or directory" in caplog.text
        await asyncio.to_thread(path.with_name("away").rename, path)
        assert (await watch.read()).status == SERVING
        assert await statuses(channel) == [SERVING] * 3
        assert "the memory can be used again" in caplog.text


async def test_health_follows_a_full_disk(settings: Settings, disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watched(replace(settings, memory_db_path=str(disk / "memory.db"))) as (watch, channel):
        chat: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        filler = await asyncio.to_thread(fill, disk)
        # Until a write needs new space, small ones succeed.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await chat_until_it_fails(chat)
        assert reason(caught.value) == "MEMORY_UNAVAILABLE"
        assert (await watch.read()).status == NOT_SERVING
        assert "the disk is full" in caplog.text or os.strerror(28) in caplog.text
        filler.unlink()
        assert (await watch.read()).status == SERVING
        await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"), timeout=30)


async def test_health_follows_a_disk_that_fills_up_while_nobody_calls(settings: Settings, disk: Path) -> None:
    async with watched(replace(settings, memory_db_path=str(disk / "memory.db"))) as (watch, _):
        filler = await asyncio.to_thread(fill, disk)
        assert (await watch.read()).status == NOT_SERVING
        filler.unlink()
        assert (await watch.read()).status == SERVING


def test_start_on_a_file_system_that_turned_read_only_names_it(tmp_path: Path, upstream: Upstream) -> None:
    with mounted("tmpfs", tmp_path) as folder:
        settings = {"ILAB_MEMORY_DB_PATH": str(folder / "memory.db"), "OPENAI_BASE_URL": upstream.base_url}
        with running_server(**settings):
            pass
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        refused = run_server(**settings)
    assert refused.returncode == 1
    assert re.fullmatch(
        r"ilab-chat-server: ILAB_MEMORY_DB_PATH: .*could not open the idempotency store: SQLITE_\w+: the file system is"
        r" read-only\n",
        refused.stderr,
    )


def test_start_on_a_full_file_system_names_it(tmp_path: Path, upstream: Upstream) -> None:
    with mounted("tmpfs", tmp_path) as folder:
        settings = {"ILAB_MEMORY_DB_PATH": str(folder / "memory.db"), "OPENAI_BASE_URL": upstream.base_url}
        with running_server(**settings) as server:
            assert server.stop() == 0
        fill(folder)
        # SQLite has no code for a -shm that finds no space.
        refused = run_server(**settings)
    assert refused.returncode == 1
    assert re.fullmatch(r"ilab-chat-server: ILAB_MEMORY_DB_PATH: .*: the disk is full\n", refused.stderr)
