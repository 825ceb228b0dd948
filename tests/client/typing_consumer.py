"""A caller whose types mypy --strict checks. It is never run."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import grpc

from ilab_chat import (
    AsyncChatClient,
    AsyncChatStream,
    ChatClient,
    ChatError,
    ChatResponse,
    ChatStarted,
    ChatStream,
    ContextDocument,
    FieldViolation,
    FinishReason,
    GenerationOptions,
    GetStatsResponse,
    MemoryMode,
    Observation,
    ObservationCompact,
    ResourceExhausted,
    SaveResult,
    Session,
    StartSessionResponse,
    StreamChatResponse,
    TurnRetention,
    enum_name,
)


def with_threads() -> None:
    with ChatClient("127.0.0.1:50051", timeout=None, metadata=(("k", "v"),)) as client:
        response = client.chat(
            "alice",
            "hi",
            request_id="r",
            generation=GenerationOptions(temperature=0.5, stop_sequences=["END"]),
            memory_mode=MemoryMode.MEMORY_MODE_OFF,
            turn_retention=TurnRetention.TURN_RETENTION_LATEST_ONLY,
            timeout=5,
            metadata=[("k-bin", b"v")],
        )
        assert_type(response, ChatResponse)
        assert_type(response.reply, str)
        with client.stream_chat("alice", "hi") as stream:
            assert_type(stream, ChatStream)
            assert_type(stream.text, Iterator[str])
            assert_type(next(stream), StreamChatResponse)
            assert_type(stream.started, ChatStarted | None)
            assert_type(stream.response, ChatResponse)
        client.chat(
            "alice",
            "hi",
            memory_mode="read_only",
            turn_retention="latest_only",
            generation={"temperature": 0.5, "reasoning_effort": "low", "response_format": "json_object"},
            context=[{"title": "Huts", "text": "Open in May."}, ContextDocument(text="Closed in June.")],
        )
        assert_type(enum_name(FinishReason, response.finish_reason), str)
    ChatClient(channel=grpc.insecure_channel("127.0.0.1:50051")).close()


def with_memory(client: ChatClient) -> None:
    memory = client.memory
    assert_type(memory.start_session("alice"), StartSessionResponse)
    assert_type(memory.end_session("alice", "hiked"), Session)
    assert_type(memory.summarize_session("alice", "hiked", timeout=None), SaveResult)
    assert_type(memory.save("alice", "hikes", type="preference", title="Hobby", topic_key=None), SaveResult)
    found = memory.search("alice", "hiking", limit=3, types=["preference"], metadata=[("k-bin", b"v")])
    assert_type(found, tuple[ObservationCompact, ...])
    assert_type(memory.get("alice", 1), Observation)
    assert_type(memory.timeline("alice", 1), tuple[Observation, ...])
    assert_type(memory.stats("alice"), GetStatsResponse)
    assert_type(memory.forget("alice", timeout=5), int)
    with memory.export("alice") as export:
        assert_type(next(export), Session | Observation)


async def with_memory_and_asyncio(client: AsyncChatClient) -> None:
    memory = client.memory
    assert_type(await memory.search("alice", "hiking", types_exclude=("summary",)), tuple[ObservationCompact, ...])
    assert_type(await memory.forget("alice"), int)
    async for item in memory.export("alice", timeout=None):
        assert_type(item, Session | Observation)


async def with_asyncio() -> None:
    async with AsyncChatClient(credentials=grpc.ssl_channel_credentials()) as client:
        assert_type(await client.chat("alice", "hi"), ChatResponse)
        async with client.stream_chat("alice", "hi", timeout=None) as stream:
            assert_type(stream, AsyncChatStream)
            assert_type(stream.text, AsyncIterator[str])
            assert_type(stream.events, AsyncIterator[StreamChatResponse])
            async for event in stream:
                assert_type(event, StreamChatResponse)
            assert_type(stream.response, ChatResponse)
    await AsyncChatClient(channel=grpc.aio.insecure_channel("127.0.0.1:50051")).aclose()


def seconds_to_wait(error: ChatError) -> float:
    assert_type(error.code, grpc.StatusCode)
    assert_type(error.field_violations, tuple[FieldViolation, ...])
    assert_type(error.trailing_metadata, tuple[tuple[str, str | bytes], ...])
    if isinstance(error, ResourceExhausted) and error.retry_after is not None:
        return error.retry_after
    return 0.0
