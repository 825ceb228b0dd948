"""Callers who leave their streams, by the thousand, and what that leaves behind in the server."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio

from faults.load import CHANNEL_OPTIONS, DEADLINE_SECONDS, NOTICED_SECONDS, USERS, Ledger, Said
from faults.stage import Servers, Stage
from faults.talk import PIECES, message_of
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from processes import ServerProcess
from rpcs import reason
from upstream import Reply

#: Streams that are open at the same time, and the most time until one is left, in seconds.
TOGETHER = 24
STAY_SECONDS = 0.3

#: One stream in this number ends by closing the connection instead of cancelling.
HANGS_UP = 50

#: How much more memory the server may hold after thousands of streams, in MiB: what SQLite and the allocator keep. Ten
#: thousand streams that are stored as interrupted turns were seen to add 5, and 1 when nothing is stored.
MEMORY_GROWN = 16.0


def slow(pieces: list[str], rng: random.Random) -> Reply:
    """Fall silent somewhere in every answer, so that no stream ends before it is left."""
    return Reply(pieces=pieces, hold_before=rng.randrange(PIECES))


async def leave_streams(stage: Stage, ledger: Ledger, numbers: Sequence[int]) -> None:
    """Open a stream for each number and leave it at a random moment, some at a time."""
    waiting = iter(numbers)

    async def leave_some(channel: grpc.aio.Channel) -> None:
        for number in waiting:
            if number % HANGS_UP:
                await leave(stage, ledger, channel, number)
            else:
                async with grpc.aio.insecure_channel(stage.target, CHANNEL_OPTIONS) as own:
                    await leave(stage, ledger, own, number, hang_up=True)

    async with grpc.aio.insecure_channel(stage.target, CHANNEL_OPTIONS) as channel, asyncio.TaskGroup() as together:
        for _ in range(TOGETHER):
            together.create_task(leave_some(channel))


async def leave(stage: Stage, ledger: Ledger, channel: grpc.aio.Channel, number: int, *, hang_up: bool = False) -> None:
    """Open a stream and leave it at a random moment, by cancelling it or by closing the channel."""
    user = f"user-{number % USERS}"
    message = message_of(user, number)
    ledger.said.append(Said(user, message, answered=False))
    began = time.monotonic()
    call = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(
        chat_pb2.StreamChatRequest(user_id=user, message=message), timeout=DEADLINE_SECONDS
    )
    ending = "left"
    try:
        async with asyncio.timeout(stage.rng.uniform(0, STAY_SECONDS)):
            async for _ in call:
                pass
        ending = "OK"
    except TimeoutError:
        if hang_up:
            await channel.close()
        else:
            call.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(call.code(), NOTICED_SECONDS)
    except grpc.aio.AioRpcError as error:
        ending = f"{error.code().name} {reason(error)}".rstrip()
    ledger.note(ending, began)


def resident_bytes(servers: Servers) -> int:
    """Return how much memory *servers* hold."""
    return sum(resident_bytes_of(server) for server in servers.running.values())


def resident_bytes_of(server: ServerProcess) -> int:
    """Return how much memory *server* holds."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the system does not say")
