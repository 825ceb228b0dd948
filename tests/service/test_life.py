"""Drain and health: replacing a server fails no call that could succeed."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.rpc.health import HealthService
from ilab_chat_service.rpc.transport import descriptors, hang_up
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from processes import running_server
from upstream import Upstream

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
CALLERS = 6
#: Pause of a caller between two calls.
PAUSE_SECONDS = 0.02
CHECKS_HEALTH = (
    '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": "ilab_chat.v1.ChatService"}}'
)
NEVER_BLOCKING = 60.0


def watch(channel: grpc.aio.Channel, service: str = "") -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service))


async def test_pitfall_04_health_starts_as_not_serving(address: str) -> None:
    checks = HealthService(["", "a"])
    assert (await checks.check(health_pb2.HealthCheckRequest(service="a"), None)).status == NOT_SERVING  # type: ignore[arg-type]
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING


async def test_pitfall_04_open_watch_is_notified_and_ended_without_delaying_the_stop(settings: Settings) -> None:
    stack = AsyncExitStack()
    address = await stack.enter_async_context(serving(replace(settings, drain_seconds=NEVER_BLOCKING)))
    async with grpc.aio.insecure_channel(address) as channel:
        watches = [watch(channel), watch(channel, "ilab_chat.v1.ChatService")]
        for each in watches:
            assert (await each.read()).status == SERVING
        await asyncio.wait_for(stack.aclose(), NEVER_BLOCKING / 2)
        for each in watches:
            assert (await each.read()).status == NOT_SERVING
            assert await each.code() is grpc.StatusCode.UNAVAILABLE


async def test_watch_receives_the_last_status_before_an_immediate_end() -> None:
    checks = HealthService([""])
    checks.serving(is_serving=True)
    server = grpc.aio.server()
    checks.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        each = watch(channel)
        assert (await each.read()).status == SERVING
        checks.serving(is_serving=False)
        await checks.end()
        assert (await each.read()).status == NOT_SERVING
        assert await each.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop(None)


async def test_watch_of_an_unknown_service_stays_open(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        watching = watch(channel, "other")
        assert (await watching.read()).status == SERVICE_UNKNOWN
        assert not watching.done()


async def test_calls_are_answered_during_propagation(settings: Settings, upstream: Upstream) -> None:
    stack, skip_propagation = AsyncExitStack(), asyncio.Event()
    settings = replace(settings, propagation_seconds=NEVER_BLOCKING)
    address = await stack.enter_async_context(serving(settings, skip_propagation))
    async with grpc.aio.insecure_channel(address) as channel:
        watching = watch(channel)
        await watching.read()
        leaving = asyncio.create_task(stack.aclose())
        assert (await watching.read()).status == NOT_SERVING
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        assert (await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"))).observation_id
        skip_propagation.set()
        await asyncio.wait_for(leaving, NEVER_BLOCKING / 2)


def test_closing_connections_leaks_no_descriptor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as near, server.accept()[0]:
            before = len(list(descriptors()))
            hang_up(port)
            assert len(list(descriptors())) == before
            assert near.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def hammer(target: str, options: list[tuple[str, Any]], until: threading.Event, codes: Counter[str], name: str) -> None:
    """Call in a loop on a new channel until *until* is set."""
    with grpc.insecure_channel(target, [*options, ("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        while not until.is_set():
            request = chat_pb2.ChatRequest(user_id=name, message="Hi", memory_mode=chat_pb2.MEMORY_MODE_OFF)
            try:
                stub.Chat(request, timeout=NEVER_BLOCKING, wait_for_ready=bool(options))
                codes["OK"] += 1
            except grpc.RpcError as error:
                call: Any = error
                codes[call.code().name] += 1
            until.wait(PAUSE_SECONDS)


def hammering(target: str, options: list[tuple[str, Any]], until: threading.Event, codes: Counter[str]) -> list[Any]:
    threads = [
        threading.Thread(target=hammer, args=(target, options, until, codes, f"user {number}"))
        for number in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    return threads


def wait_for_more(codes: Counter[str], upstream: Upstream, count: int) -> None:
    upstream.wait_for(len(upstream.requests) + count, NEVER_BLOCKING)


@pytest.mark.parametrize(("replaced", "workers"), [(0, 1), (1, 1), (0, 2)])
def test_stopping_one_of_two_replicas_fails_no_call(
    tmp_path: Path, upstream: Upstream, replaced: int, workers: int
) -> None:
    variables = {
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": upstream.base_url,
        "ILAB_CHAT_PROPAGATION_SECONDS": "1",
        "ILAB_CHAT_WORKERS": str(workers),
    }
    codes: Counter[str] = Counter()
    until = threading.Event()
    with running_server(**variables) as first, running_server(**variables) as second:
        servers = [first, second]
        target = f"ipv4:{first.address},{second.address}"
        threads = hammering(target, [("grpc.service_config", CHECKS_HEALTH)], until, codes)
        try:
            wait_for_more(codes, upstream, 5 * CALLERS)
            assert servers[replaced].stop() == 0
            wait_for_more(codes, upstream, 5 * CALLERS)
        finally:
            until.set()
            for thread in threads:
                thread.join()
    assert set(codes) == {"OK"}, codes


def test_call_after_the_drain_is_unavailable_and_not_cancelled(tmp_path: Path, upstream: Upstream) -> None:
    variables = {"ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"), "OPENAI_BASE_URL": upstream.base_url}
    codes: Counter[str] = Counter()
    until = threading.Event()
    with running_server(**variables) as server:
        threads = hammering(server.address, [], until, codes)
        try:
            wait_for_more(codes, upstream, 5 * CALLERS)
            assert server.stop(signal.SIGTERM) == 0
        finally:
            until.set()
            for thread in threads:
                thread.join()
    assert set(codes) == {"OK", "UNAVAILABLE"}, codes
