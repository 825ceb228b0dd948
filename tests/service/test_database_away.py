"""PostgreSQL that goes away and comes back under a server, and what its idempotency store asks of it."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest

from faults.stage import reserved_port
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.failures import MemoryUnavailable
from ilab_chat_service.idempotency import postgres as postgres_store
from ilab_chat_service.idempotency.postgres import open_lock_session
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, database_url
from ilab_memory.stores.postgres.pool import conninfo
from postgres import FAST, Cluster, running_cluster
from rpcs import reason
from service.leases import NOW, open_log
from upstream import Reply, Upstream

REQUEST = chat_pb2.ChatRequest(user_id="alice", message="Hi", request_id="r-1")


def end_connections(url: str) -> int:
    """End the connections of the idempotency stores; return how many there were."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'ilab-chat' AND datname = current_database()"
        ).rowcount


async def test_calls_fail_while_the_database_is_away_and_succeed_when_it_is_back(settings: Settings) -> None:
    with ExitStack() as stack:
        cluster = await asyncio.to_thread(stack.enter_context, running_cluster())
        async with (
            serving(replace(settings, memory_url=cluster.url())) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
            for mode in (chat_pb2.MEMORY_MODE_READ_WRITE, chat_pb2.MEMORY_MODE_READ_ONLY):
                request = chat_pb2.ChatRequest(user_id="alice", message="Hi", memory_mode=mode)
                await chat.Chat(request)
                await asyncio.to_thread(cluster.stop)
                for _ in range(3):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await chat.Chat(request)
                    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                    assert reason(caught.value) == "MEMORY_UNAVAILABLE"
                await asyncio.to_thread(cluster.start)
                await chat.Chat(request)


async def test_an_answer_is_kept_though_the_connection_with_its_lease_was_lost(
    settings: Settings, postgres: Cluster, upstream: Upstream
) -> None:
    url = await asyncio.to_thread(postgres.create_database)
    upstream.replies(Reply(hold_before=1))
    async with (
        serving(replace(settings, memory_url=url)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
        calling = asyncio.ensure_future(chat.Chat(REQUEST))
        asked = await asyncio.to_thread(upstream.wait_for, 1)
        assert await asyncio.to_thread(asked.held.wait, 10)
        assert await asyncio.to_thread(end_connections, url) == 1
        upstream.release()
        first = await calling
        again = await chat.Chat(REQUEST)
        assert (first.replayed, again.replayed) == (False, True)
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        assert (await memory.GetStats(memory_pb2.GetStatsRequest(user_id="alice"))).observations == 1


async def test_a_request_whose_lease_was_lost_is_answered_twice_and_stored_once(
    settings: Settings, postgres: Cluster, upstream: Upstream
) -> None:
    url = await asyncio.to_thread(postgres.create_database)
    upstream.replies(Reply(hold_before=1, pieces=["one"]), Reply(pieces=["two"]))
    on_postgres = replace(settings, memory_url=url)
    async with (
        serving(on_postgres) as one,
        serving(on_postgres) as two,
        grpc.aio.insecure_channel(one) as first,
        grpc.aio.insecure_channel(two) as second,
    ):
        calling = asyncio.ensure_future(chat_pb2_grpc.ChatServiceStub(first).Chat(REQUEST))
        asked = await asyncio.to_thread(upstream.wait_for, 1)
        assert await asyncio.to_thread(asked.held.wait, 10)
        assert await asyncio.to_thread(end_connections, url) >= 1  # one that prepared the tables may not have gone yet
        answers = [await chat_pb2_grpc.ChatServiceStub(second).Chat(REQUEST)]
        upstream.release()
        answers.append(await calling)
        assert [answer.replayed for answer in answers] == [False, False]
        assert len({answer.observation_id for answer in answers}) == 1
        memory: Any = memory_pb2_grpc.MemoryServiceStub(first)
        assert (await memory.GetStats(memory_pb2.GetStatsRequest(user_id="alice"))).observations == 1


async def test_callers_queued_behind_a_connection_attempt_share_its_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        loop = asyncio.get_running_loop()
        port = silent.getsockname()[1]
        async with open_lock_session(f"postgresql://ilab@127.0.0.1:{port}/db") as connection:
            asked = [asyncio.create_task(connection.run(lambda _: None)) for _ in range(5)]
            accepted, _ = await loop.sock_accept(silent)
            accepted.close()
            assert [type(result) for result in await asyncio.gather(*asked, return_exceptions=True)] == (
                [MemoryUnavailable] * 5
            )
            with pytest.raises(BlockingIOError):
                silent.accept()


def test_hosts_that_vanish_are_given_up_by_client_and_server() -> None:
    with reserved_port() as port:
        settings = (*FAST, "listen_addresses=127.0.0.1", f"port={port}")
        with running_cluster(settings=settings):
            url = f"postgresql://ilab@127.0.0.1:{port}/postgres"
            of_memory = conninfo(url, synchronous_commit="on", lock_seconds=5, statement_seconds=5)
            for made in (database_url.conninfo(url, **postgres_store.SESSION), of_memory):
                with psycopg.connect(made) as connection:
                    client = connection.info.get_parameters()
                    for name, seconds in (("idle", "5"), ("interval", "2"), ("count", "3")):
                        assert connection.execute(f"SHOW tcp_keepalives_{name}".encode()).fetchone() == (seconds,)
                        assert client[f"keepalives_{name}"] == seconds
                    assert connection.execute("SHOW tcp_user_timeout").fetchone() == ("10000",)
                    assert client["tcp_user_timeout"] == "10000"


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (postgres_store.FIND, ("alice", "Chat", "r", NOW)),
        (postgres_store.PUT, ("alice", "Chat", "r", NOW, "f", "a", [1])),
        (postgres_store.ERASE, ("alice", "Chat", "r", NOW)),
        (postgres_store.FORGET, ("alice",)),
        (postgres_store.FORGET_OBSERVATION, ("alice", 1)),
    ],
)
async def test_a_statement_touches_one_partition(
    postgres: Cluster, statement: str, parameters: tuple[object, ...]
) -> None:
    url = await asyncio.to_thread(postgres.create_database)
    async with open_log(url, lambda: NOW):
        pass
    with psycopg.connect(url) as connection:
        plan = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}".encode(), parameters).fetchone()
    relations = set(re.findall(r"'Relation Name': '(\w+)'", repr(plan))) - {"idempotency_records"}
    assert len(relations) <= 1, plan
