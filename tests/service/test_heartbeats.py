"""Heartbeats of a stream while the model is silent, over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.rpc.streams import EventWriter
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from upstream import Reply, Upstream

NEVER_SILENT_FOR_LONG = 0.01


@asynccontextmanager
async def stub_of(settings: Settings, heartbeat_seconds: float) -> AsyncIterator[Any]:
    async with (
        serving(replace(settings, heartbeat_seconds=heartbeat_seconds)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield chat_pb2_grpc.ChatServiceStub(channel)


def stream(user: str) -> chat_pb2.StreamChatRequest:
    return chat_pb2.StreamChatRequest(user_id=user, message="Hi")


async def next_kind(call: Any) -> str:
    event = await call.read()
    kind: str = event.WhichOneof("event")
    return kind


async def read_heartbeats(call: Any, count: int) -> None:
    assert [await next_kind(call) for _ in range(count)] == ["heartbeat"] * count


async def rest_of(call: Any) -> list[chat_pb2.StreamChatResponse]:
    events = []
    while (event := await call.read()) is not grpc.aio.EOF:
        events.append(event)
    return events


def but_heartbeats(events: Iterable[chat_pb2.StreamChatResponse]) -> list[str | None]:
    return [kind for event in events if (kind := event.WhichOneof("event")) != "heartbeat"]


async def test_heartbeats_are_sent_while_the_model_is_silent(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with stub_of(settings, NEVER_SILENT_FOR_LONG) as stub:
        call = stub.StreamChat(stream("alice"))
        assert await next_kind(call) == "started"
        while (kind := await next_kind(call)) == "heartbeat":
            pass
        assert kind == "text_delta"
        await read_heartbeats(call, 5)
        upstream.release()
        rest = await rest_of(call)
    assert but_heartbeats(rest) == ["text_delta", "completed"]
    assert rest[-1].completed.reply == "Hello there."


async def test_no_heartbeat_precedes_the_first_event(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=0), Reply(hold_before=1))
    async with stub_of(settings, NEVER_SILENT_FOR_LONG) as stub:
        call = stub.StreamChat(stream("alice"))
        metadata = asyncio.create_task(call.initial_metadata())
        await asyncio.to_thread(upstream.wait_for, 1)
        other = stub.StreamChat(stream("bob"))
        while await next_kind(other) != "text_delta":
            pass
        await read_heartbeats(other, 5)
        assert not metadata.done()
        upstream.release()
        assert await next_kind(call) == "started"
        await metadata


async def test_heartbeats_can_be_disabled(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with stub_of(settings, 0) as stub:
        call = stub.StreamChat(stream("alice"))
        assert [await next_kind(call) for _ in range(2)] == ["started", "text_delta"]
        assert await asyncio.to_thread(upstream.requests[0].held.wait, 10)
        upstream.release()
        assert [event.WhichOneof("event") for event in await rest_of(call)] == ["text_delta", "completed"]


async def test_caller_cancelling_between_heartbeats_stops_the_model(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with stub_of(settings, NEVER_SILENT_FOR_LONG) as stub:
        call = stub.StreamChat(stream("alice"))
        while await next_kind(call) != "text_delta":
            pass
        await read_heartbeats(call, 2)
        call.cancel()
        assert await asyncio.to_thread(upstream.requests[0].gone.wait, 10)


async def test_failure_after_heartbeats_has_its_usual_status(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("a", "b", "c"), hold_before=1, cut_before=2))
    async with stub_of(settings, NEVER_SILENT_FOR_LONG) as stub:
        call = stub.StreamChat(stream("alice"))
        while await next_kind(call) != "text_delta":
            pass
        await read_heartbeats(call, 2)
        upstream.release()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rest_of(call)
    assert caught.value.code() is grpc.StatusCode.ABORTED


async def test_event_waits_for_a_heartbeat_blocked_by_flow_control() -> None:
    written, room, beating = [], asyncio.Event(), asyncio.Event()

    async def write(event: chat_pb2.StreamChatResponse) -> None:
        if event.HasField("heartbeat"):
            beating.set()
            await room.wait()
        written.append(event.WhichOneof("event"))

    writer = EventWriter(write, NEVER_SILENT_FOR_LONG)
    await writer.write(chat_pb2.StreamChatResponse(started=chat_pb2.ChatStarted()))
    await asyncio.wait_for(beating.wait(), 10)
    last = asyncio.create_task(writer.write(chat_pb2.StreamChatResponse(completed=chat_pb2.ChatResponse())))
    await asyncio.sleep(0)
    assert written == ["started"]
    room.set()
    await last
    writer.close()
    assert written == ["started", "heartbeat", "completed"]


async def test_no_heartbeat_while_an_event_is_blocked_by_flow_control() -> None:
    written: list[str | None] = []
    beating = asyncio.Event()

    async def write(event: chat_pb2.StreamChatResponse) -> None:
        kind = event.WhichOneof("event")
        if kind == "text_delta":
            await asyncio.sleep(5 * NEVER_SILENT_FOR_LONG)  # a caller who reads slowly
        written.append(kind)
        if kind == "heartbeat":
            beating.set()

    writer = EventWriter(write, NEVER_SILENT_FOR_LONG)
    await writer.write(chat_pb2.StreamChatResponse(started=chat_pb2.ChatStarted()))
    await writer.write(chat_pb2.StreamChatResponse(text_delta=chat_pb2.TextDelta(text="Hi")))
    assert written == ["started", "text_delta"]
    await asyncio.wait_for(beating.wait(), 10)
    writer.close()
