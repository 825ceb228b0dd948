"""The trace context of the caller's active span goes to the server."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    format_span_id,
    format_trace_id,
    use_span,
)

from client.scripted import ScriptedChatService
from client.scripted_memory import ScriptedMemoryService
from ilab_chat import AsyncChatClient, ChatClient
from ilab_chat.v1 import memory_pb2 as pb

TRACER = TracerProvider().get_tracer(__name__)
GIVEN = f"00-{'1' * 32}-{'2' * 16}-01"


async def chats(kind: type[ChatClient | AsyncChatClient], target: str, **metadata: str) -> None:
    """Make a call of each kind."""
    pairs = tuple(metadata.items())
    if issubclass(kind, AsyncChatClient):
        async with kind(target) as client:
            await client.chat("alice", "hi", metadata=pairs)
        return

    def chat() -> None:
        with ChatClient(target) as client:
            client.chat("alice", "hi", metadata=pairs)

    await asyncio.to_thread(chat)


both = pytest.mark.parametrize("kind", [ChatClient, AsyncChatClient])


@both
async def test_call_in_a_span_sends_its_context(
    kind: type[ChatClient | AsyncChatClient], service: ScriptedChatService, target: str
) -> None:
    with TRACER.start_as_current_span("caller") as span:
        await chats(kind, target)
    context = span.get_span_context()
    trace, parent = format_trace_id(context.trace_id), format_span_id(context.span_id)
    assert str(service.metadata["traceparent"]).startswith(f"00-{trace}-{parent}-")
    assert "tracestate" not in service.metadata
    assert "baggage" not in service.metadata


@both
async def test_call_outside_of_spans_sends_none(
    kind: type[ChatClient | AsyncChatClient], service: ScriptedChatService, target: str
) -> None:
    await chats(kind, target)
    assert "traceparent" not in service.metadata


@both
async def test_traceparent_of_the_caller_takes_precedence(
    kind: type[ChatClient | AsyncChatClient], service: ScriptedChatService, target: str
) -> None:
    with TRACER.start_as_current_span("caller"):
        await chats(kind, target, traceparent=GIVEN)
    assert service.metadata["traceparent"] == GIVEN


@both
async def test_stream_sends_it(
    kind: type[ChatClient | AsyncChatClient], service: ScriptedChatService, target: str
) -> None:
    def read(client: ChatClient) -> None:
        with client.stream_chat("alice", "hi") as stream:
            list(stream)

    with TRACER.start_as_current_span("caller"):
        if issubclass(kind, AsyncChatClient):
            async with kind(target) as client, client.stream_chat("alice", "hi") as stream:
                async for _ in stream:
                    pass
        else:
            with ChatClient(target) as plain:
                await asyncio.to_thread(read, plain)
    assert "traceparent" in service.metadata


@both
async def test_methods_of_the_memory_send_it(
    kind: type[ChatClient | AsyncChatClient], memory: ScriptedMemoryService, memory_target: str
) -> None:
    def calls(client: ChatClient) -> Iterator[object]:
        yield client.memory.stats("alice")
        yield client.memory.import_items("alice", [])
        yield list(client.memory.export("alice"))

    async def async_calls(client: AsyncChatClient) -> AsyncIterator[object]:
        yield await client.memory.stats("alice")
        yield await client.memory.import_items("alice", [])
        yield [item async for item in client.memory.export("alice")]

    memory.says("GetStats", pb.GetStatsResponse())
    memory.says("ImportUser", pb.ImportUserResponse())
    memory.says("ExportUser")

    def sent() -> bool:
        found = "traceparent" in memory.metadata
        memory.metadata = {}
        return found

    with TRACER.start_as_current_span("caller"):
        if issubclass(kind, AsyncChatClient):
            async with kind(memory_target) as client:
                assert [sent() async for _ in async_calls(client)] == [True] * 3
        else:
            with ChatClient(memory_target) as plain:
                assert await asyncio.to_thread(lambda: [sent() for _ in calls(plain)]) == [True] * 3


async def test_state_of_the_trace_is_sent(service: ScriptedChatService, target: str) -> None:
    state = TraceState([("vendor", "1")])
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    with use_span(NonRecordingSpan(context)):
        await chats(AsyncChatClient, target)
    assert service.metadata["tracestate"] == "vendor=1"


def test_client_does_not_import_opentelemetry() -> None:
    program = (
        "import sys, ilab_chat._calls as calls\n"
        "calls.CallDefaults(None, None, ()).metadata_of(())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
