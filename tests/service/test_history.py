"""The conversation in a prompt: what every API accepts, whatever happened to the turns before."""

from __future__ import annotations

import json
from dataclasses import replace

import grpc
import grpc.aio
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from upstream import Reply, Upstream, chunk

REFUSAL = chunk([{"index": 0, "delta": {"refusal": "I can't help with that."}, "finish_reason": "stop"}])
TOOL_CALL = chunk([{"index": 0, "delta": {"tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"}])
REASONING = chunk([{"index": 0, "delta": {"reasoning_content": "Hmm."}, "finish_reason": "length"}])
BROKEN = json.dumps({"error": {"message": "boom"}})

#: Outcomes of a turn, and whether it becomes part of the conversation.
ENDINGS: dict[str, tuple[Reply, bool]] = {
    "answered": (Reply(), True),
    "empty": (Reply(pieces=()), False),
    "white space": (Reply(pieces=(" \n\t",)), False),
    "control characters": (Reply(pieces=("\x07\x1b",)), False),
    "tool call": (Reply(events=[TOOL_CALL]), False),
    "refused": (Reply(events=[REFUSAL]), True),
    "only reasoning": (Reply(events=[REASONING]), False),
    "broken off": (Reply(events=[chunk([{"index": 0, "delta": {"content": "Hel"}}]), BROKEN]), False),
    "failed": (Reply(status=400), False),
    "filtered": (Reply(pieces=(), finish_reason="content_filter"), False),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_roles_alternate_and_no_message_is_empty(settings: Settings, upstream: Upstream, ending: str) -> None:
    reply, is_spoken = ENDINGS[ending]
    upstream.replies(Reply(), reply, Reply(), Reply())
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        for message in ("first", "odd one", "third", "last"):
            try:
                await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message=message))
            except grpc.aio.AioRpcError:
                assert message == "odd one"
    messages = upstream.requests[-1].messages
    assert [each["role"] for each in messages] == ["system", *["user", "assistant"] * (2 + is_spoken), "user"]
    assert all(each["content"].strip() for each in messages)
    assert ("odd one" in upstream.requests[-1].said) == is_spoken


@pytest.mark.parametrize("escape", [False, True])
async def test_a_message_is_escaped_once_it_is_recalled_and_before_only_if_asked_for(
    settings: Settings, upstream: Upstream, *, escape: bool
) -> None:
    upstream.replies(Reply(), Reply())
    settings = replace(settings, escape_message=escape)
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        for message in ("What is [THINK]?", "What is <|end|>?"):
            await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message=message))
    said = upstream.requests[-1].said[::2]
    assert said == ["What is [ THINK]?", "What is < |end| >?" if escape else "What is <|end|>?"]


async def test_interrupted_turn_stays_in_the_conversation(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        stream = stub.StreamChat(chat_pb2.StreamChatRequest(user_id="alice", message="odd one", request_id="r-1"))
        async for event in stream:
            if event.HasField("text_delta"):
                break
        stream.cancel()
        # The same request waits until the first has been stored, and is then answered again.
        await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="odd one", request_id="r-1"))
        await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="last"))
    assert [each["role"] for each in upstream.requests[-1].messages] == ["system", "user", "assistant", "user"]
