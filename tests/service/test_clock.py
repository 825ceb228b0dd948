"""The clock of a server: what is stored and what the prompt says have its times."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc.aio

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from upstream import Upstream

MOMENT = datetime(2031, 5, 6, 7, 8, tzinfo=UTC)


async def test_injected_clock_dates_prompt_answer_and_turn(settings: Settings, upstream: Upstream) -> None:
    async with (
        serving(settings, clock=lambda: MOMENT) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        chat: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        memory: memory_pb2_grpc.MemoryServiceAsyncStub = memory_pb2_grpc.MemoryServiceStub(channel)
        answer = await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hello"))
        stored = await memory.GetObservation(
            memory_pb2.GetObservationRequest(user_id="alice", observation_id=answer.observation_id)
        )
    assert "Tuesday, 2031-05-06" in upstream.requests[-1].messages[-1]["content"]
    assert answer.create_time.ToDatetime(UTC) == MOMENT
    assert stored.observation.create_time.ToDatetime(UTC) == MOMENT
