"""A real grpc.aio server whose answers a test writes, and one way to call it through either client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import status_pb2

from ilab_chat import AsyncChatClient, ChatClient, ChatResponse, ChatStarted, StreamChatResponse
from ilab_chat.v1.chat_pb2 import (
    ChatRequest,
    HydratedMemory,
    MemorySource,
    PreviewPromptRequest,
    PreviewPromptResponse,
    PromptMessage,
    PromptRole,
    PromptTokens,
    StreamChatRequest,
    TextDelta,
)
from ilab_chat.v1.chat_pb2_grpc import ChatServiceServicer, add_ChatServiceServicer_to_server
from ilab_chat.v1.memory_pb2_grpc import MemoryServiceServicer, add_MemoryServiceServicer_to_server

Request = ChatRequest | StreamChatRequest | PreviewPromptRequest
Context = grpc.aio.ServicerContext[Any, Any]
Script = Callable[[Request, Context], AsyncIterator[StreamChatResponse]]

REPLY = "Hello Alice"


def started(**fields: Any) -> StreamChatResponse:
    return StreamChatResponse(started=ChatStarted(**fields))


def delta(text: str) -> StreamChatResponse:
    return StreamChatResponse(text_delta=TextDelta(text=text))


def completed(reply: str = REPLY, **fields: Any) -> StreamChatResponse:
    return StreamChatResponse(completed=ChatResponse(reply=reply, **fields))


def events(*answer: StreamChatResponse) -> Script:
    """Make the script that sends *answer* and ends OK."""

    async def script(_request: Request, _context: Context) -> AsyncIterator[StreamChatResponse]:
        for event in answer:
            yield event

    return script


async def greet(request: Request, _context: Context) -> AsyncIterator[StreamChatResponse]:
    yield started(session_id="s-1", request_id=request.request_id, model="scripted")
    yield delta("Hello ")
    yield delta("Alice")
    yield completed(session_id="s-1", request_id=request.request_id, observation_id=7)


def abort(code: grpc.StatusCode, message: str, *details: Message, after: tuple[StreamChatResponse, ...] = ()) -> Script:
    """Make the script that sends *after*, then ends with a status that carries *details*."""
    return abort_raw(code, message, status_details(code, message, *details), after)


def abort_raw(
    code: grpc.StatusCode,
    message: str,
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = (),
    after: tuple[StreamChatResponse, ...] = (),
) -> Script:
    """Make the script that sends *after*, then ends with a status and just these trailers."""

    async def script(_request: Request, context: Context) -> AsyncIterator[StreamChatResponse]:
        for event in after:
            yield event
        await context.abort(code, message, trailing_metadata)

    return script


def status_details(code: grpc.StatusCode, message: str, *details: Message) -> tuple[tuple[str, str | bytes], ...]:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)


async def silent(_request: Request, _context: Context) -> AsyncIterator[StreamChatResponse]:
    """Begin to answer, then say nothing more until the caller is gone."""
    yield started(session_id="s-1")
    yield delta("Hel")
    await asyncio.Event().wait()


class ScriptedChatService(ChatServiceServicer):
    """Runs `script` for each call and remembers what it saw."""

    def __init__(self) -> None:
        self.script: Script = greet
        self.requests: list[Request] = []
        self.metadata: dict[str, str | bytes] = {}
        self.time_remaining: float | None = None
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        """Set when a handler is told that its caller is gone."""

    async def Chat(self, request: ChatRequest, context: Context) -> ChatResponse:  # noqa: N802
        async for event in self._run(request, context):
            if event.HasField("completed"):
                return event.completed
        raise AssertionError("a script for Chat ends with completed")

    async def StreamChat(  # noqa: N802
        self, request: StreamChatRequest, context: Context
    ) -> AsyncIterator[StreamChatResponse]:
        async for event in self._run(request, context):
            yield event

    async def PreviewPrompt(  # noqa: N802
        self, request: PreviewPromptRequest, _context: Context
    ) -> PreviewPromptResponse:
        self.requests.append(request)
        return PreviewPromptResponse(
            messages=[PromptMessage(role=PromptRole.PROMPT_ROLE_USER, content=request.message)],
            memories=[
                HydratedMemory(title="Food", type="preference", score=0.5, source=MemorySource.MEMORY_SOURCE_SEARCH)
            ],
            tokens=PromptTokens(message=1, total=1),
            model="scripted",
        )

    async def _run(
        self, request: ChatRequest | StreamChatRequest, context: Context
    ) -> AsyncIterator[StreamChatResponse]:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata() or ())
        self.time_remaining = context.time_remaining()
        self.entered.set()
        try:
            async for event in self.script(request, context):
                yield event
        except (asyncio.CancelledError, GeneratorExit):  # the latter where grpc was sending what we had yielded
            self.left.set()
            raise


@asynccontextmanager
async def serving(
    servicer: ChatServiceServicer | None, memory: MemoryServiceServicer | None = None
) -> AsyncIterator[str]:
    """Serve on a free loopback port and yield its address. None: a gRPC server without that service."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    if servicer is not None:
        add_ChatServiceServicer_to_server(servicer, server)
    if memory is not None:
        add_MemoryServiceServicer_to_server(memory, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


class Caller(Protocol):
    """One of the two clients, called in the same way."""

    async def chat(self, target: str, *args: Any, **options: Any) -> ChatResponse:
        """Call `chat` of a new client."""

    async def preview(self, target: str, *args: Any, **options: Any) -> PreviewPromptResponse:
        """Call `preview_prompt` of a new client."""

    async def read(self, target: str, *args: Any, **options: Any) -> tuple[list[StreamChatResponse], ChatResponse]:
        """Read a stream of a new client to its end: its events, and its response."""

    async def read_text(self, target: str, take: Callable[[str], object], *args: Any, **options: Any) -> None:
        """Read a stream of a new client to its end, handing each piece to *take*, in any thread."""

    async def begin(self, target: str, *args: Any, **options: Any) -> tuple[ChatStarted, list[StreamChatResponse]]:
        """Begin a stream of a new client twice, then read it: what begin returned, and its events."""

    async def leave(self, target: str, told: asyncio.Event) -> None:
        """Leave a stream after its first piece, then wait for *told* with the client still open."""


class AsyncCaller:
    def __init__(self, **options: Any) -> None:
        self._options = options

    async def chat(self, target: str, *args: Any, **options: Any) -> ChatResponse:
        async with AsyncChatClient(target, **self._options) as client:
            return await client.chat(*args, **options)

    async def preview(self, target: str, *args: Any, **options: Any) -> PreviewPromptResponse:
        async with AsyncChatClient(target, **self._options) as client:
            return await client.preview_prompt(*args, **options)

    async def read(self, target: str, *args: Any, **options: Any) -> tuple[list[StreamChatResponse], ChatResponse]:
        async with AsyncChatClient(target, **self._options) as client, client.stream_chat(*args, **options) as stream:
            return [event async for event in stream], stream.response

    async def read_text(self, target: str, take: Callable[[str], object], *args: Any, **options: Any) -> None:
        async with AsyncChatClient(target, **self._options) as client, client.stream_chat(*args, **options) as stream:
            async for text in stream.text:
                take(text)

    async def begin(self, target: str, *args: Any, **options: Any) -> tuple[ChatStarted, list[StreamChatResponse]]:
        async with AsyncChatClient(target, **self._options) as client, client.stream_chat(*args, **options) as stream:
            await stream.begin()
            return await stream.begin(), [event async for event in stream]

    async def leave(self, target: str, told: asyncio.Event) -> None:
        async with AsyncChatClient(target, **self._options) as client:
            async with client.stream_chat("alice", "hi") as stream:
                await anext(stream.text)
            await told.wait()


class SyncCaller:
    def __init__(self, **options: Any) -> None:
        self._options = options

    async def chat(self, target: str, *args: Any, **options: Any) -> ChatResponse:
        def call() -> ChatResponse:
            with ChatClient(target, **self._options) as client:
                return client.chat(*args, **options)

        return await asyncio.to_thread(call)

    async def preview(self, target: str, *args: Any, **options: Any) -> PreviewPromptResponse:
        def call() -> PreviewPromptResponse:
            with ChatClient(target, **self._options) as client:
                return client.preview_prompt(*args, **options)

        return await asyncio.to_thread(call)

    async def read(self, target: str, *args: Any, **options: Any) -> tuple[list[StreamChatResponse], ChatResponse]:
        def call() -> tuple[list[StreamChatResponse], ChatResponse]:
            with ChatClient(target, **self._options) as client, client.stream_chat(*args, **options) as stream:
                return list(stream), stream.response

        return await asyncio.to_thread(call)

    async def read_text(self, target: str, take: Callable[[str], object], *args: Any, **options: Any) -> None:
        def call() -> None:
            with ChatClient(target, **self._options) as client, client.stream_chat(*args, **options) as stream:
                for text in stream.text:
                    take(text)

        await asyncio.to_thread(call)

    async def begin(self, target: str, *args: Any, **options: Any) -> tuple[ChatStarted, list[StreamChatResponse]]:
        def call() -> tuple[ChatStarted, list[StreamChatResponse]]:
            with ChatClient(target, **self._options) as client, client.stream_chat(*args, **options) as stream:
                stream.begin()
                return stream.begin(), list(stream)

        return await asyncio.to_thread(call)

    async def leave(self, target: str, told: asyncio.Event) -> None:
        def call(client: ChatClient) -> None:
            with client.stream_chat("alice", "hi") as stream:
                next(stream.text)

        with ChatClient(target, **self._options) as client:
            await asyncio.to_thread(call, client)
            await told.wait()
