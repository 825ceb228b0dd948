"""A prompt that is too long for the model: memory is dropped, the message is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import grpc
import grpc.aio
import pytest

import upstream as fake
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings

TOO_LONG = json.dumps({"error": {"code": "context_length_exceeded"}}).encode()
FACTS = [f"My fact number {number} is about hiking." for number in range(6)]
QUESTION = "What are my facts about hiking?"


def prompt_of(request: fake.Request) -> str:
    return "".join(message["content"] for message in request.messages)


def known(request: fake.Request) -> int:
    """How many of the facts are in the prompt."""
    return sum(fact in prompt_of(request) for fact in FACTS)


async def ask(settings: Settings, accepts: Callable[[fake.Request], bool]) -> tuple[object, list[fake.Request]]:
    """Tell the facts, then ask a model that refuses what it does not accept; return the answer and the requests."""
    with fake.running() as upstream:
        async with (
            serving(replace(settings, openai_base_url=upstream.base_url)) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
            for fact in FACTS:
                await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message=fact))
            told = len(upstream.requests)
            upstream.otherwise = lambda request: (
                fake.Reply() if accepts(request) else fake.Reply(status=400, body=TOO_LONG)
            )
            try:
                answer: object = await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message=QUESTION))
            except grpc.aio.AioRpcError as error:
                answer = error
            return answer, upstream.requests[told:]


async def test_half_of_memory_is_dropped_first(settings: Settings) -> None:
    asked: list[int] = []

    def accepts(request: fake.Request) -> bool:
        asked.append(len(prompt_of(request)))
        return asked[-1] < asked[0]

    answer, (whole, half) = await ask(settings, accepts)
    assert isinstance(answer, chat_pb2.ChatResponse)
    assert known(whole) == len(FACTS)
    assert known(half) > 0
    assert QUESTION in prompt_of(half)


async def test_then_all_of_it(settings: Settings) -> None:
    answer, requests = await ask(settings, lambda request: known(request) == 0)
    assert isinstance(answer, chat_pb2.ChatResponse)
    assert [known(request) == 0 for request in requests] == [False, False, True]
    assert QUESTION in prompt_of(requests[-1])
    assert list(answer.memories) == []


async def test_message_that_does_not_fit_alone_is_told_to_the_caller(settings: Settings) -> None:
    answer, requests = await ask(settings, lambda _: False)
    assert isinstance(answer, grpc.aio.AioRpcError)
    assert answer.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(requests) == 3


@pytest.mark.parametrize("mode", [chat_pb2.MEMORY_MODE_OFF])
async def test_prompt_without_memory_is_sent_once(
    settings: Settings, upstream: fake.Upstream, mode: chat_pb2.MemoryMode.ValueType
) -> None:
    upstream.replies(fake.Reply(status=400, body=TOO_LONG))
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message=QUESTION, memory_mode=mode))
    assert len(upstream.requests) == 1
