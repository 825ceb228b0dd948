"""Damage of the memory is logged, and health reports NOT_SERVING for the services."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ilab_chat.v1 import memory_pb2, memory_pb2_grpc
from ilab_chat_service.memory import executor as library
from ilab_chat_service.server import HEALTH_NAMES, OUR_SERVICES, serving
from ilab_chat_service.settings import Settings
from ilab_memory import ILabMemory
from processes import run_server, running_server
from rpcs import reason

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def fill(path: Path) -> None:
    with ILabMemory.from_path(path) as mem:
        for number in range(50):
            mem.mem_save("alice", f"content {number}", type="discovery", title="t")


def damage(path: Path, name: str) -> None:
    """Overwrite the first page of a table or index, in the file and not in its log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name]).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        # Readers drop what they have cached when they see a commit of another process.
        connection.execute("UPDATE users SET observations = observations")
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        with path.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)


def health(channel: grpc.Channel) -> list[int]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return [stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status for name in HEALTH_NAMES]


def test_a_call_that_finds_the_memory_damaged_turns_health_and_is_named_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    fill(path)
    settings = {"ILAB_MEMORY_DB_PATH": str(path), "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    with running_server(**settings) as server, grpc.insecure_channel(server.address) as channel:
        assert health(channel) == [SERVING] * 3
        watched: Any = health_pb2_grpc.HealthStub(channel)
        watch = watched.Watch(health_pb2.HealthCheckRequest(service=OUR_SERVICES[0]), timeout=60)
        assert next(watch).status == SERVING
        damage(path, "observations_timeline")
        stub = memory_pb2_grpc.MemoryServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ExportUser(memory_pb2.ExportUserRequest(user_id="alice"), timeout=10))
        error: Any = caught.value
        assert reason(error) == "MEMORY_UNAVAILABLE"
        assert next(watch).status == NOT_SERVING
        assert health(channel) == [SERVING, NOT_SERVING, NOT_SERVING]
        server.read_until("the memory is damaged: SQLITE_CORRUPT; run `ilab-memory check`")
        server.read_until(r"memory.error_code\W+SQLITE_CORRUPT")
        watch.cancel()


def test_small_damaged_file_is_rejected_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    fill(path)
    damage(path, "observations_timeline")
    settings = {"ILAB_MEMORY_DB_PATH": str(path), "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    ended = run_server("--address", "127.0.0.1:0", **settings)
    assert ended.returncode == 1
    assert re.fullmatch(
        r"ilab-chat-server: ILAB_MEMORY_DB_PATH: .* is damaged: .*`ilab-memory check`.*\n", ended.stderr
    )


async def test_large_damaged_file_is_detected_while_the_server_serves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "CHECKED_AT_START_BYTES", 0)
    path = Path(settings.memory_db_path)
    await asyncio.to_thread(fill, path)
    await asyncio.to_thread(damage, path, "observations_timeline")
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=OUR_SERVICES[1]), timeout=60)
        while (await watch.read()).status != NOT_SERVING:
            pass
        assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)).status == SERVING
        watch.cancel()
