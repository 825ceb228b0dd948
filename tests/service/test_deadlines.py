"""Deadlines of calls over a real channel."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.rpc.deadlines import CallDeadline, Deadlines
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_chat_service.telemetry.call_record import CALL, Call, seconds_to_deadline
from ilab_memory import ILabMemory
from ilab_memory.core.models import Observation
from upstream import Reply, Upstream

DEADLINES = Deadlines(default=300, maximum=600, reserve=0.5)


@pytest.mark.parametrize(("remaining", "seconds"), [(None, 300), (10, 10), (1e9, 600)])
def test_call_time_is_the_deadline_or_the_default_up_to_the_maximum(remaining: float | None, seconds: float) -> None:
    assert DEADLINES.call_seconds(remaining) == seconds


@pytest.mark.parametrize(("call", "model"), [(10, 9.5), (1, 0.5), (0.2, 0.1)])
def test_model_time_is_the_call_time_without_the_reserve_and_at_least_half(call: float, model: float) -> None:
    assert DEADLINES.model_seconds(call) == model


async def test_reads_of_memory_end_with_the_call_also_if_its_caller_sets_no_deadline() -> None:
    CALL.set(Call(method="m", correlation_id="c", retry_attempt=0))
    assert seconds_to_deadline() is None
    CallDeadline(DEADLINES, None)
    assert 0 < (seconds_to_deadline() or 0) <= DEADLINES.default


def stored(settings: Settings) -> list[str]:
    """Return the stored observations of alice."""
    with ILabMemory.from_path(settings.memory_db_path) as memory:
        return [item.content for item in memory.mem_export("alice") if isinstance(item, Observation)]


def reason(error: grpc.aio.AioRpcError) -> str:
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


@pytest.mark.parametrize("setting", ["default_deadline_seconds", "max_deadline_seconds"])
async def test_silent_model_is_cancelled_at_our_deadline_and_nothing_is_stored(
    settings: Settings, upstream: Upstream, setting: str
) -> None:
    upstream.replies(Reply(hold_before=0))
    limits: dict[str, Any] = {setting: 1.5}
    async with serving(replace(settings, **limits)) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason(caught.value) == "DEADLINE_EXCEEDED"
    assert upstream.requests[0].gone.wait(10)
    assert await asyncio.to_thread(stored, settings) == []


@pytest.mark.slow
async def test_partial_reply_is_stored_before_the_callers_deadline(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("Hel", "lo"), hold_before=1))
    reserve = replace(settings, persist_reserve_seconds=59.5)
    async with serving(reserve) as address, grpc.aio.insecure_channel(address) as channel:
        request = chat_pb2.StreamChatRequest(user_id="alice", message="Hi")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            # The model gets half of it, so our limit ends the call long before gRPC's deadline.
            async for _ in chat_pb2_grpc.ChatServiceStub(channel).StreamChat(request, timeout=4):
                pass
    assert reason(caught.value) == "DEADLINE_EXCEEDED"
    assert await asyncio.to_thread(stored, settings) == ["User: Hi\nAssistant: Hel [interrupted]"]


@pytest.mark.slow
async def test_preview_has_the_whole_deadline(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=0))
    limits = replace(settings, persist_reserve_seconds=59.5, max_calls=1, queue_seconds=2.5)
    async with serving(limits) as address, grpc.aio.insecure_channel(address) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        running = stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"))
        await asyncio.to_thread(upstream.wait_for, 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            # A model would get half of it, which ends before the wait for a slot.
            await stub.PreviewPrompt(chat_pb2.PreviewPromptRequest(user_id="alice", message="Hi"), timeout=4.5)
        upstream.release()
        await running
    assert reason(caught.value) == "SERVER_BUSY"
