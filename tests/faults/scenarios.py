"""The faults, one function each: it runs the load, does the harm, and returns what the callers saw."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AbstractAsyncContextManager
from itertools import cycle, islice
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from faults.leaving import leave_streams, resident_bytes, slow
from faults.load import CHANNEL_OPTIONS, DEADLINE_SECONDS, Ledger, load
from faults.stage import Servers, Stage, descriptors_left, full_disk, threads
from faults.talk import Mood, well
from processes import WORKER

#: Calls that are answered before and after a fault, so that there is something to lose and it is seen to go on.
WARM = 40

#: Files and sockets that an idle server may have open: 16 connections to the memory, and some to the model.
DESCRIPTORS = 80
THREADS = 40

BALANCED = '{"loadBalancingConfig": [{"round_robin": {}}]}'

#: https://grpc.io/docs/guides/health-checking/#client-library-support
HEALTH_WATCHED = """{
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "ilab_chat.v1.ChatService"}
}"""

SERVING = health_pb2.HealthCheckResponse.SERVING


def talking(
    stage: Stage, *, leaving: float = 0.0, config: str = BALANCED, deadline: float = DEADLINE_SECONDS
) -> AbstractAsyncContextManager[Ledger]:
    """Let users talk to the servers of *stage*, by turns."""
    options = [("grpc.service_config", config)]
    return load(stage.target, stage.moments, stage.seed, leaving=leaving, options=options, deadline=deadline)


async def killed(stage: Stage, times: int) -> Ledger:
    """Kill a server (SIGKILL) at a random moment and start it again, this many times."""
    return await ended(stage, times, signal.SIGKILL, -signal.SIGKILL)


async def drained(stage: Stage, times: int) -> Ledger:
    """End a server (SIGTERM) at a random moment and start it again, this many times."""
    return await ended(stage, times, signal.SIGTERM, 0)


async def ended(stage: Stage, times: int, number: signal.Signals, code: int) -> Ledger:
    """Send a server a signal that ends it with this exit code, at a random moment, this many times."""
    async with stage.serving() as servers:

        def one_death() -> None:
            address = stage.rng.choice(stage.addresses)
            server = servers.running[address]
            stage.moments.plan(stage.rng, lambda: server.process.send_signal(number))
            assert server.process.wait(60) == code
            servers.start(address)

        async with talking(stage) as ledger:
            for _ in range(times):
                await asyncio.to_thread(one_death)
            await ledger.more(WARM)
    return ledger


async def worker_killed(stage: Stage, times: int) -> Ledger:
    """Kill one of two workers of a server (SIGKILL) at a random moment, this many times; another takes its place."""
    async with stage.serving(ILAB_CHAT_WORKERS="2") as servers:
        [server] = servers.running.values()

        def one_death() -> None:
            worker = stage.rng.choice(server.workers())
            stage.moments.plan(stage.rng, lambda: os.kill(worker, signal.SIGKILL))
            server.read_until(rf"process {worker}\) exited with {-signal.SIGKILL}")
            server.read_until(WORKER)

        async with talking(stage) as ledger:
            for _ in range(times):
                await asyncio.to_thread(one_death)
            await ledger.more(WARM)
    return ledger


async def troubled(stage: Stage, calls: int, *, mood: Mood = well, leaving: float = 0.0) -> Ledger:
    """Set the model's *mood* and let a share of the callers leave, until *calls* more calls are answered."""
    async with stage.serving(ILAB_CHAT_MODEL_TIMEOUT_SECONDS="0.5") as servers:
        async with talking(stage, leaving=leaving) as ledger:
            await ledger.more(WARM)
            stage.model.mood = mood
            await ledger.more(calls, seconds=600)
            stage.model.mood = well
        await check_nothing_leaked(servers)
    return ledger


async def without_space(stage: Stage, times: int) -> Ledger:
    """Let the disk of the server be full for a while, this many times."""
    async with stage.serving() as servers:
        async with talking(stage) as ledger:
            for _ in range(times):
                await ledger.more(WARM)
                with full_disk(servers.running[stage.addresses[0]]):
                    await ledger.more(WARM, "MEMORY_UNAVAILABLE")
            await ledger.more(WARM)
        await check_nothing_leaked(servers)
    return ledger


async def without_model(stage: Stage, seconds: float) -> Ledger:
    """Let the model be down for some *seconds*; the figures say how fast calls failed and succeeded again."""
    healthy = [SERVING, SERVING] * len(stage.addresses)
    async with stage.serving() as servers:
        async with talking(stage) as ledger:
            await ledger.more(WARM)
            await asyncio.to_thread(stage.model_down)
            down = time.monotonic()
            await ledger.more(WARM, "UNAVAILABLE MODEL_UNAVAILABLE")
            ledger.open_at = time.monotonic()
            while time.monotonic() < down + seconds:
                assert await health(stage) == healthy
                await ledger.more(WARM, "UNAVAILABLE MODEL_UNAVAILABLE")
            assert await health(stage) == healthy
            ledger.figures["slowest failure, s"] = ledger.slowest
            await asyncio.to_thread(stage.model_up)
            up = time.monotonic()
            await ledger.more(1)
            ledger.figures["first answer after its return, s"] = time.monotonic() - up
            await ledger.more(WARM)
        await check_nothing_leaked(servers)
    return ledger


async def one_drained(stage: Stage, times: int) -> Ledger:
    """Stop the servers in turn and start each again, repeatedly.

    The client knows all, takes them in turns, watches their health, and repeats nothing.
    """
    async with (
        stage.serving(ILAB_CHAT_PROPAGATION_SECONDS="1") as servers,
        talking(stage, config=HEALTH_WATCHED) as ledger,
    ):
        await ledger.more(WARM)
        for address in islice(cycle(stage.addresses), times):
            assert await asyncio.to_thread(servers.running[address].stop) == 0
            await ledger.more(WARM)
            await asyncio.to_thread(servers.start, address)
            await ledger.more(WARM)
    return ledger


async def health(stage: Stage) -> list[int]:
    """Return the health of each process and of its chat."""
    return [status for address in stage.addresses for status in await health_at(address)]


async def health_at(address: str) -> list[int]:
    """Return the health of the process and of its chat."""
    async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        requests = [health_pb2.HealthCheckRequest(service=name) for name in ("", "ilab_chat.v1.ChatService")]
        return [(await stub.Check(request, timeout=10)).status for request in requests]


async def check_nothing_leaked(servers: Servers) -> None:
    """Check that servers whose callers are gone have closed what they had opened."""
    for server in servers.running.values():
        assert await asyncio.to_thread(descriptors_left, server, DESCRIPTORS) <= DESCRIPTORS
        assert threads(server) <= THREADS


async def left(stage: Stage, streams: int) -> Ledger:
    """Abandon *streams* streams; the figure says how much more the server holds at the end than after a third."""
    stage.model.mood = slow
    ledger = Ledger()
    first, others = range(streams // 3), range(streams // 3, streams)
    async with stage.serving() as servers:
        await leave_streams(stage, ledger, first)
        before = await asyncio.to_thread(resident_bytes, servers)
        await leave_streams(stage, ledger, others)
        after = await asyncio.to_thread(resident_bytes, servers)
        ledger.figures["memory grown, MiB"] = (after - before) / 2**20
        await check_nothing_leaked(servers)
        assert await asyncio.to_thread(stage.abandoned_requests) == 0
    log = [line for server in servers.running.values() for line in server.log]
    assert [line for line in log if '"level": "error"' in line] == []
    return ledger
