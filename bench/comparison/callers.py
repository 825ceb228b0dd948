"""In-process callers, which time events inside an answer. They check every status and reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import grpc.aio
import openai

from comparison.contestants import MESSAGE
from comparison.upstream import MODEL
from ilab_chat.v1 import chat_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from comparison.contestants import Contestant
    from comparison.upstream import Scenario

#: Number of connections, like a client in another service: calls on one connection wait for each other.
CONNECTIONS = 8
#: First byte of a StreamChatResponse that is a text_delta: field 2, length-delimited.
TEXT_DELTA = b"\x12"
READ_BYTES = 65536


class WrongAnswer(Exception):
    """An answer is not the expected one."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of one call, in seconds: to the first token, and to the end."""

    first: float
    whole: float


#: Function that makes one call for a user.
Call: TypeAlias = Callable[[str], Awaitable[Timing]]


async def closed_loop(call: Call, users: list[str], *, each: int, apart_seconds: float = 0.0) -> list[Timing]:
    """Return the timings of *each* sequential calls for every user, with all users in parallel.

    Users start *apart_seconds* apart, so that their calls do not synchronize.
    """

    async def caller(number: int, user: str) -> list[Timing]:
        await asyncio.sleep(number * apart_seconds)
        return [await call(user) for _ in range(each)]

    return [timing for timings in await asyncio.gather(*map(caller, range(len(users)), users)) for timing in timings]


@asynccontextmanager
async def caller_of(contestant: Contestant, scenario: Scenario, *, streams: bool) -> AsyncIterator[Call]:
    """Yield a function that calls *contestant*."""
    if not contestant.speaks_grpc:
        async with http_caller(contestant, scenario, streams=streams) as call:
            yield call
        return
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(
                    f"127.0.0.1:{contestant.child.port}", options=[("grpc.use_local_subchannel_pool", 1)]
                )
            )
            for _ in range(CONNECTIONS)
        ]
        yield grpc_stream(contestant, scenario, channels) if streams else grpc_unary(contestant, scenario, channels)


def grpc_unary(contestant: Contestant, scenario: Scenario, channels: list[grpc.aio.Channel]) -> Call:
    """Return a function that makes a unary call."""
    methods: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = [
        channel.unary_unary(contestant.chat_path(scenario)) for channel in channels
    ]

    async def call(user: str) -> Timing:
        method = methods[hash(user) % CONNECTIONS]
        begun = time.perf_counter()
        answer = await method(contestant.body(user))  # raises, unless the status is OK
        whole = time.perf_counter() - begun
        check(chat_pb2.ChatResponse.FromString(answer), scenario)
        return Timing(whole, whole)

    return call


def grpc_stream(contestant: Contestant, scenario: Scenario, channels: list[grpc.aio.Channel]) -> Call:
    """Return a function that makes a streaming call."""
    methods: list[grpc.aio.UnaryStreamMultiCallable[bytes, bytes]] = [
        channel.unary_stream(contestant.stream_path(scenario)) for channel in channels
    ]

    async def call(user: str) -> Timing:
        method = methods[hash(user) % CONNECTIONS]
        first = 0.0
        event = b""
        begun = time.perf_counter()
        async for event in method(contestant.body(user)):  # raises, unless the status is OK
            if not first and event.startswith(TEXT_DELTA):
                first = time.perf_counter() - begun
        whole = time.perf_counter() - begun
        check(chat_pb2.StreamChatResponse.FromString(event).completed, scenario)
        return Timing(first, whole)

    return call


def check(answer: chat_pb2.ChatResponse, scenario: Scenario) -> None:
    """Raise WrongAnswer if *answer* is not the model's reply, or was not stored."""
    if len(answer.reply) != scenario.reply_characters or not answer.observation_id:
        raise WrongAnswer(f"a reply of {len(answer.reply)} characters, observation {answer.observation_id}")


@asynccontextmanager
async def http_caller(contestant: Contestant, scenario: Scenario, *, streams: bool) -> AsyncIterator[Call]:
    """Yield a function that calls the recipe, on one keep-alive connection per user."""
    path = contestant.stream_path(scenario) if streams else contestant.chat_path(scenario)
    connections: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def call(user: str) -> Timing:
        body = contestant.body(user)
        head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        begun = time.perf_counter()
        if user not in connections:
            connections[user] = await asyncio.open_connection("127.0.0.1", contestant.child.port)
        reader, writer = connections[user]
        writer.write(head.encode() + b"\r\n\r\n" + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        received = await (chunked(reader) if b"chunked" in answered else sized(reader, answered))
        whole = time.perf_counter() - begun
        if not answered.startswith(b"http/1.1 200") or received.characters < scenario.reply_characters:
            raise WrongAnswer(f"{answered[:30]!r} with {received.characters} characters")
        return Timing(received.at - begun, whole)

    try:
        yield call
    finally:
        for _, writer in connections.values():
            writer.close()


@dataclass(frozen=True, slots=True)
class Received:
    """Arrival time of the first byte of a body, and its length."""

    at: float
    characters: int


async def chunked(reader: asyncio.StreamReader) -> Received:
    """Read a chunked body."""
    end = data = await reader.read(READ_BYTES)
    at = time.perf_counter()
    characters = len(data)
    while not end.endswith(b"\r\n0\r\n\r\n"):
        data = await reader.read(READ_BYTES)
        if not data:
            raise WrongAnswer("the stream is truncated")
        characters += len(data)
        end = end[-len(b"\r\n0\r\n\r\n") :] + data
    if b"[DONE]" not in end[-100:] and characters > READ_BYTES:
        raise WrongAnswer("the stream has no end marker")
    return Received(at, characters)


async def sized(reader: asyncio.StreamReader, head: bytes) -> Received:
    """Read a body with the content-length in *head*."""
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    return Received(time.perf_counter(), len(body))


@asynccontextmanager
async def direct(upstream_port: int, *, streams: bool) -> AsyncIterator[Call]:
    """Yield a function that calls the model directly with the openai package.

    For a stream, it times the first bytes and does not parse the rest, so that this process keeps up. This is the
    lowest latency that a user of the package can see.
    """
    base_url = f"http://127.0.0.1:{upstream_port}/v1"
    async with openai.AsyncOpenAI(api_key="bench", base_url=base_url, max_retries=0) as client:

        async def whole(_user: str) -> Timing:
            begun = time.perf_counter()
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": MESSAGE}])
            taken = time.perf_counter() - begun
            return Timing(taken, taken)

        async def stream(_user: str) -> Timing:
            begun = time.perf_counter()
            first = 0.0
            async with client.chat.completions.with_streaming_response.create(
                model=MODEL, messages=[{"role": "user", "content": MESSAGE}], stream=True
            ) as answer:
                async for _ in answer.iter_bytes():
                    first = first or time.perf_counter() - begun
            return Timing(first, time.perf_counter() - begun)

        yield stream if streams else whole
