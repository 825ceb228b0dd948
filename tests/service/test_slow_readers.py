"""Streams that nobody reads end, and leave their slots to other calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest

from fuzz import http2
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.rpc import streams
from ilab_chat_service.rpc.streams import CROWDED_SECONDS, UNREAD_SECONDS, number_to_end
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from rpcs import reason
from upstream import Reply, Upstream

PATH = "/ilab_chat.v1.ChatService/StreamChat"
#: Room for `started`, and not for the text of LONG.
ROOM = 2000
LONG = Reply(pieces=("word " * 2000, " end"), hold_before=1)
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


@pytest.mark.parametrize(
    ("seconds", "slots", "waiting", "expected"),
    [
        ([], 8, 5, 0),
        ([CROWDED_SECONDS] * 6, 8, 0, 0),
        ([CROWDED_SECONDS] * 8, 8, 0, 2),
        ([CROWDED_SECONDS] * 6, 8, 2, 2),
        ([CROWDED_SECONDS] * 6, 8, 9, 6),
        ([CROWDED_SECONDS, CROWDED_SECONDS / 2], 2, 2, 1),
        ([UNREAD_SECONDS, UNREAD_SECONDS, CROWDED_SECONDS], 8, 0, 2),
        ([CROWDED_SECONDS], 1, 0, 0),
    ],
)
def test_unread_streams_end_for_waiting_calls_beyond_their_share_and_when_overdue(
    seconds: list[float], slots: int, waiting: int, expected: int
) -> None:
    assert number_to_end(seconds, slots=slots, waiting=waiting) == expected


@asynccontextmanager
async def unread_streams(address: str, *users: str, room: int = 0) -> AsyncIterator[list[http2.Connection]]:
    """A connection for each user with a stream of which the client takes *room* bytes."""
    async with AsyncExitStack() as stack:
        connections = []
        for user in users:
            connection = await asyncio.to_thread(http2.Connection, address)
            stack.enter_context(connection)
            body = chat_pb2.StreamChatRequest(user_id=user, message="Hi").SerializeToString()
            call = http2.request(http2.fields(PATH), http2.message(body))
            await asyncio.to_thread(connection.send, [http2.PREFACE, http2.window(room), call])
            connections.append(connection)
        yield connections


async def status_of(connection: http2.Connection) -> int | None:
    """Read the stream to its end."""
    await asyncio.to_thread(connection.send, [http2.window(65_535)])
    return await asyncio.to_thread(connection.status)


@pytest.mark.parametrize("room", [0, ROOM])
async def test_unread_streams_give_their_slots_to_calls_that_wait(
    settings: Settings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(streams, "CROWDED_SECONDS", 0.1)
    upstream.replies(LONG, LONG)
    limits = replace(settings, max_calls=2, max_queued_calls=1, queue_seconds=60)
    async with (
        serving(limits) as address,
        unread_streams(address, "alice", "bob", room=room) as [alice, bob],
        grpc.aio.insecure_channel(address) as channel,
    ):
        await asyncio.to_thread(upstream.wait_for, 2)
        chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
        answer = await chat.Chat(chat_pb2.ChatRequest(user_id="carol", message="Hi"), timeout=60)
        assert answer.reply == "Hello there."
        upstream.release()
        if room:
            # One of them was enough. Its turn is stored as that of a caller who left.
            ended = await status_of(alice) == DEADLINE_EXCEEDED
            assert [ended, await status_of(bob) == DEADLINE_EXCEEDED].count(True) == 1
            user, other = ("alice", "bob") if ended else ("bob", "alice")
            assert (await turn(channel, user)).endswith("[interrupted]")
            assert (await turn(channel, other)).endswith(" end")
        else:
            assert DEADLINE_EXCEEDED in {await status_of(alice), await status_of(bob)}


async def turn(channel: grpc.aio.Channel, user: str) -> str:
    """Return the only turn of a user."""
    memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
    while not (found := await memory.ListObservations(memory_pb2.ListObservationsRequest(user_id=user))).observations:
        pass
    [turn] = found.observations
    content: str = turn.content
    return content


async def test_unread_stream_ends_although_no_call_waits(
    settings: Settings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "UNREAD_SECONDS", 0.1)
    upstream.replies(LONG)
    async with (
        serving(replace(settings, max_calls_per_user=1)) as address,
        unread_streams(address, "alice", room=ROOM) as [stuck],
        grpc.aio.insecure_channel(address) as channel,
    ):
        while not (await turn(channel, "alice")).endswith("[interrupted]"):
            pass
        # It counts for its user until its caller is gone, because gRPC still buffers a message.
        chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"), timeout=60)
        assert reason(caught.value) == "SERVER_BUSY"
        assert await status_of(stuck) == DEADLINE_EXCEEDED
