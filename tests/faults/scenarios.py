"""The faults, one function each: it runs the load, does the harm, and returns what the callers saw."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from faults.load import CHANNEL_OPTIONS, Ledger, load
from faults.stage import Stage, descriptors_left, full_disk, reserved_port, threads
from faults.talk import Mood, well
from processes import ServerProcess

#: Calls that are answered before and after a fault, so that there is something to lose and it is seen to go on.
WARM = 40

#: What a server may have open when nobody calls: a connection to the file for each of 16 threads, some to the model.
DESCRIPTORS = 80
THREADS = 40

#: https://grpc.io/docs/guides/health-checking/#client-library-support
HEALTH_WATCHED = """{
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "ilab_chat.v1.ChatService"}
}"""

SERVING = health_pb2.HealthCheckResponse.SERVING


async def killed(stage: Stage, times: int) -> Ledger:
    """Kill the server (SIGKILL) at a random moment and start it again, this many times."""
    return await ended(stage, times, signal.SIGKILL, -signal.SIGKILL)


async def drained(stage: Stage, times: int) -> Ledger:
    """End the server (SIGTERM) at a random moment and start it again, this many times."""
    return await ended(stage, times, signal.SIGTERM, 0)


async def ended(stage: Stage, times: int, number: signal.Signals, code: int) -> Ledger:
    """Send the server a signal that ends it with this exit code, at a random moment, this many times."""

    def one_life() -> None:
        with stage.server() as server:
            stage.moments.plan(stage.rng, lambda: server.process.send_signal(number))
            assert server.process.wait(60) == code

    with ExitStack() as last_life:
        async with load(stage.address, stage.moments, stage.seed) as ledger:
            for _ in range(times):
                await asyncio.to_thread(one_life)
            server = await asyncio.to_thread(last_life.enter_context, stage.server())
            await ledger.more(WARM)
        assert await asyncio.to_thread(server.stop) == 0
    return ledger


async def troubled(stage: Stage, calls: int, *, mood: Mood = well, leaving: float = 0.0) -> Ledger:
    """Let the model have a *mood*, and this share of the callers leave, until so many *calls* more are answered."""
    async with stage.serving(ILAB_CHAT_MODEL_TIMEOUT_SECONDS="0.5") as server:
        async with load(stage.address, stage.moments, stage.seed, leaving=leaving) as ledger:
            await ledger.more(WARM)
            stage.model.mood = mood
            await ledger.more(calls, seconds=600)
            stage.model.mood = well
        await check_nothing_leaked(server)
    return ledger


async def without_space(stage: Stage, times: int) -> Ledger:
    """Let the disk be full for a while, this many times."""
    async with stage.serving() as server:
        async with load(stage.address, stage.moments, stage.seed) as ledger:
            for _ in range(times):
                await ledger.more(WARM)
                with full_disk(server):
                    await ledger.more(WARM, "MEMORY_UNAVAILABLE")
            await ledger.more(WARM)
        await check_nothing_leaked(server)
    return ledger


async def without_model(stage: Stage, seconds: float) -> Ledger:
    """Let the model be down for some *seconds*; the figures say how fast calls failed and succeeded again."""
    async with stage.serving() as server:
        async with load(stage.address, stage.moments, stage.seed) as ledger:
            await ledger.more(WARM)
            await asyncio.to_thread(stage.model_down)
            down = time.monotonic()
            await ledger.more(WARM, "UNAVAILABLE MODEL_UNAVAILABLE")
            ledger.open_at = time.monotonic()
            while time.monotonic() < down + seconds:
                assert await health(stage.address) == [SERVING, SERVING]
                await ledger.more(WARM, "UNAVAILABLE MODEL_UNAVAILABLE")
            assert await health(stage.address) == [SERVING, SERVING]
            ledger.figures["slowest failure, s"] = ledger.slowest
            await asyncio.to_thread(stage.model_up)
            up = time.monotonic()
            await ledger.more(1)
            ledger.figures["first answer after its return, s"] = time.monotonic() - up
            await ledger.more(WARM)
        await check_nothing_leaked(server)
    return ledger


async def one_of_two_drained(stage: Stage, times: int) -> Ledger:
    """End one of two servers on the same file and start it again, in turns, so many times.

    The client knows both, takes them in turns, watches their health, and repeats nothing.
    """
    with ExitStack() as house:
        addresses = [f"127.0.0.1:{house.enter_context(reserved_port())}" for _ in range(2)]

        async def start(address: str) -> ServerProcess:
            server = stage.server(ILAB_CHAT_ADDRESS=address, ILAB_CHAT_PROPAGATION_SECONDS="1")
            return await asyncio.to_thread(house.enter_context, server)

        servers = [await start(address) for address in addresses]
        async with load(
            f"ipv4:{','.join(addresses)}", stage.moments, stage.seed, options=[("grpc.service_config", HEALTH_WATCHED)]
        ) as ledger:
            await ledger.more(WARM)
            for number in range(times):
                left = number % 2
                assert await asyncio.to_thread(servers[left].stop) == 0
                await ledger.more(WARM)
                servers[left] = await start(addresses[left])
                await ledger.more(WARM)
        for server in servers:
            assert await asyncio.to_thread(server.stop) == 0
    return ledger


async def health(address: str) -> list[int]:
    """Return the health of the process and of the chat."""
    async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        requests = [health_pb2.HealthCheckRequest(service=name) for name in ("", "ilab_chat.v1.ChatService")]
        return [(await stub.Check(request, timeout=10)).status for request in requests]


async def check_nothing_leaked(server: ServerProcess) -> None:
    """Check that a server whose callers are gone has closed what they had opened."""
    assert await asyncio.to_thread(descriptors_left, server, DESCRIPTORS) <= DESCRIPTORS
    assert threads(server) <= THREADS
