"""Calls that hang in the memory, on a lock or a standby, block neither other users nor the shutdown."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.limits import THREADS_PER_USER, WRITE_THREADS
from ilab_chat_service.memory.persist import save
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_chat_service.turn import turn_of
from ilab_chat_service.values import TurnRequest
from ilab_memory import Config, ILabMemory
from postgres import POLL_SECONDS, Cluster, commits_wait, running_cluster, user_locked
from processes import running_server
from upstream import Upstream

WALK = "We walked to the market, then the neighbour came and told us a long story about her dog. " * 45


class Stubs:
    """The services of one channel. Every call has a deadline, so that a failing test ends."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
        self._memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        self._health: Any = health_pb2_grpc.HealthStub(channel)

    def chat(self, user: str, message: str = "Do I like tea?", **more: Any) -> Any:
        return self._chat.Chat(chat_pb2.ChatRequest(user_id=user, message=message, **more), timeout=60)

    def save(self, user: str, content: str = "tea") -> Any:
        request = memory_pb2.SaveObservationRequest(user_id=user, content=content, type="discovery", title="t")
        return self._memory.SaveObservation(request, timeout=60)

    def reads(self, user: str) -> list[Any]:
        return [
            self._memory.GetStats(memory_pb2.GetStatsRequest(user_id=user), timeout=60),
            self._memory.SearchObservations(
                memory_pb2.SearchObservationsRequest(user_id=user, query="tea"), timeout=60
            ),
            self.chat(user, memory_mode=chat_pb2.MEMORY_MODE_READ_ONLY),
        ]

    async def all_arrived(self, calls: int) -> None:
        """Return when the server has had time to start *calls* calls that were sent before."""
        for _ in range(calls):
            await self._health.Check(health_pb2.HealthCheckRequest())


@asynccontextmanager
async def stubs_of(settings: Settings) -> AsyncIterator[Stubs]:
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield Stubs(channel)


async def done_before(first: Iterable[Any], others: Iterable[Any]) -> bool:
    """Return whether all of the calls *first* succeed while all of *others* are still running."""
    waiting = [asyncio.ensure_future(succeeded(call)) for call in others]
    results = await asyncio.gather(*map(succeeded, first))
    hang = not any(each.done() for each in waiting)
    for each in waiting:
        each.cancel()
    return all(results) and hang


async def succeeded(call: Any) -> bool:
    try:
        await call
    except grpc.aio.AioRpcError:
        return False
    return True


async def wait_until(url: str, condition: str, calls: int) -> None:
    """Wait until *calls* sessions of this database are in the state that *condition* describes."""

    def wait() -> None:
        count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
        # Autocommit, because within one transaction the result would not change.
        with psycopg.connect(url, autocommit=True) as connection:
            while (connection.execute(count.encode()).fetchone() or [0])[0] < calls:
                time.sleep(POLL_SECONDS)

    await asyncio.wait_for(asyncio.to_thread(wait), 30)


async def test_calls_waiting_for_a_row_lock_do_not_block_other_users(settings: Settings, postgres: Cluster) -> None:
    url = await asyncio.to_thread(postgres.create_database)
    async with stubs_of(replace(settings, memory_url=url)) as stubs:
        await stubs.chat("alice")
        await stubs.chat("bob")
        with user_locked(url):
            calls = [stubs.chat("alice") for _ in range(settings.max_calls_per_user)]
            await wait_until(url, "wait_event_type = 'Lock'", THREADS_PER_USER)
            assert await done_before([stubs.chat("bob"), stubs.save("bob"), *stubs.reads("bob")], calls)


async def test_commits_waiting_for_a_standby_do_not_block_reads(settings: Settings) -> None:
    with running_cluster() as cluster:
        async with stubs_of(replace(settings, memory_url=cluster.url())) as stubs:
            users = [f"user {number}" for number in range(20)]
            for user in (*users, "bob"):
                await stubs.chat(user)
            with psycopg.connect(cluster.url(), autocommit=True) as connection, commits_wait(connection):
                calls = [stubs.chat(user) for user in users]
                await wait_until(cluster.url(), "wait_event = 'SyncRep'", WRITE_THREADS)
                assert await done_before(stubs.reads("bob"), calls)


async def test_saves_waiting_for_a_file_lock_do_not_block_reads(settings: Settings) -> None:
    async with stubs_of(settings) as stubs:
        await stubs.chat("bob")
        with closing(sqlite3.connect(settings.memory_db_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            calls = [stubs.save(f"user {number}") for number in range(16)]
            await stubs.all_arrived(len(calls))
            assert await done_before(stubs.reads("bob"), calls)
            other.execute("ROLLBACK")


def save_walks(settings: Settings, users: Iterable[str]) -> None:
    """Save turns that take a few milliseconds each to read, and state no address."""
    with closing(ILabMemory.from_path(settings.memory_db_path, Config(durability="normal"))) as memory:
        for user in users:
            for number in range(100):
                save(memory, turn_of(TurnRequest(user_id=user, message=WALK, request_id=f"{number}"), "I see."))


async def test_long_searches_for_what_to_forget_do_not_block_other_users(settings: Settings) -> None:
    users = [f"user {number}" for number in range(WRITE_THREADS // THREADS_PER_USER)]
    await asyncio.to_thread(save_walks, settings, users)
    async with stubs_of(settings) as stubs:
        await stubs.chat("bob")
        calls = [stubs.chat(user, "Forget my address.") for user in users for _ in range(THREADS_PER_USER)]
        await stubs.all_arrived(len(calls))
        assert await done_before([stubs.chat("bob"), stubs.save("bob"), *stubs.reads("bob")], calls)


async def test_searches_for_what_to_forget_take_turns_among_users(settings: Settings) -> None:
    await asyncio.to_thread(save_walks, settings, ["alice"])
    async with stubs_of(settings) as stubs:
        calls = [stubs.chat("alice", "Forget my address.") for _ in range(8)]
        await stubs.all_arrived(len(calls))
        assert await done_before([stubs.chat("bob", "Forget my address.")], calls)


@pytest.mark.parametrize("cause", ["locked row", "stopped standby"])
async def test_server_stops_while_commits_hang(upstream: Upstream, cause: str) -> None:
    with (
        running_cluster() as cluster,
        running_server(
            ILAB_MEMORY_URL=cluster.url(),
            OPENAI_BASE_URL=upstream.base_url,
            OPENAI_MODEL="test-model",
            ILAB_CHAT_DRAIN_SECONDS="0.1",
        ) as server,
    ):
        async with grpc.aio.insecure_channel(server.address) as channel:
            stubs = Stubs(channel)
            await stubs.chat("alice")
            with psycopg.connect(cluster.url(), autocommit=True) as connection:
                hanging = user_locked(cluster.url()) if cause == "locked row" else commits_wait(connection)
                event = "wait_event_type = 'Lock'" if cause == "locked row" else "wait_event = 'SyncRep'"
                with hanging:
                    call = stubs.chat("alice")
                    await wait_until(cluster.url(), event, 1)
                    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call
    # The model was billed and the turn may not be stored: proxies must not retry the call.
    assert caught.value.code() is grpc.StatusCode.ABORTED
