"""A user who talks to a real server over days, and the prompts that reach the upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.prompt import HITS_NOTE
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from upstream import Request, Upstream

#: A conversation that is not the default one: its turns reach later prompts as memory only.
EARLIER = "earlier"

#: General chat, of which nothing is about the user.
CHAT = (
    "Tell me something about Mongolia.",
    "How do I remove coffee stains from a white shirt?",
    "Write a haiku about autumn leaves.",
    "Explain how a diesel engine works.",
    "Was ist der Unterschied zwischen Wetter und Klima?",
    "¿Cómo se hace una tortilla de patatas?",
)


@dataclass(slots=True)
class Days:
    """The clock of a server. It stands still until a test moves it."""

    moment: datetime = datetime(2026, 3, 3, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def go_by(self, days: float) -> None:
        self.moment += timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as it reached the upstream."""

    request: Request

    @property
    def text(self) -> str:
        return "\n".join(each["content"] for each in self.request.messages)

    @property
    def system(self) -> str:
        return self.request.system

    @property
    def facts(self) -> list[str]:
        """The lines of facts, statements and summaries."""
        return [line for line in self.system.splitlines() if line.startswith("- (")]

    @property
    def said(self) -> list[str]:
        """The conversation, and the message."""
        return self.request.said

    @property
    def context(self) -> str:
        """The block before the message."""
        return self.request.messages[-1]["content"].partition("</context>")[0]

    @property
    def hits(self) -> list[str]:
        """The lines of search hits."""
        return [line for line in self.context.partition(HITS_NOTE)[2].splitlines() if line.startswith("- (")]

    @property
    def memory(self) -> str:
        """All lines of memory: what the prompt says of earlier conversations."""
        return "\n".join([*self.facts, *self.hits])

    def memory_of(self, text: str) -> list[str]:
        """The lines of memory that contain *text*."""
        return [line for line in self.memory.splitlines() if text in line]


@dataclass(frozen=True, slots=True)
class Served:
    """A running server, its upstream and its clock."""

    channel: grpc.aio.Channel
    upstream: Upstream
    clock: Days


class Caller:
    """One user, who calls a server."""

    def __init__(self, served: Served, user_id: str = "alice") -> None:
        self.user_id = user_id
        self.stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(served.channel)
        self.memory: memory_pb2_grpc.MemoryServiceAsyncStub = memory_pb2_grpc.MemoryServiceStub(served.channel)
        self.upstream = served.upstream
        self.clock = served.clock

    @property
    def last_prompt(self) -> Prompt:
        """The prompt that reached the upstream last."""
        return Prompt(self.upstream.requests[-1])

    async def say(self, message: str, **fields: Any) -> chat_pb2.ChatResponse:
        return await self.stub.Chat(chat_pb2.ChatRequest(user_id=self.user_id, message=message, **fields))

    async def said_earlier(self, *messages: str) -> None:
        """Say *messages* in another conversation."""
        for message in messages:
            await self.say(message, conversation_id=EARLIER)

    async def chat(self, turns: int) -> None:
        """Have turns that say nothing about the user."""
        for number in range(turns):
            await self.say(f"Please add {number + 17} and {number + 4}.")

    async def prompt(self, message: str = "Tell me a joke.", **fields: Any) -> Prompt:
        """Return the prompt for a message that is not stored."""
        await self.say(message, memory_mode=chat_pb2.MEMORY_MODE_READ_ONLY, **fields)
        return self.last_prompt

    async def save(self, content: str, kind: str = "discovery", title: str = "Note", **fields: Any) -> int:
        """Save an observation; return its id."""
        request = memory_pb2.SaveObservationRequest(
            user_id=self.user_id, type=kind, title=title, content=content, **fields
        )
        return (await self.memory.SaveObservation(request)).result.id

    async def facts(self) -> list[str]:
        response = await self.memory.ListFacts(memory_pb2.ListFactsRequest(user_id=self.user_id))
        return [fact.content for fact in response.facts]

    async def observations(self, types: Iterable[str] = ()) -> list[str]:
        request = memory_pb2.ListObservationsRequest(user_id=self.user_id, types=types)
        return [each.content for each in (await self.memory.ListObservations(request)).observations]

    async def end_session(self, summary: str) -> None:
        await self.memory.EndSession(memory_pb2.EndSessionRequest(user_id=self.user_id, summary=summary))


@asynccontextmanager
async def serving_upstream(settings: Settings, upstream: Upstream, clock: Days | None = None) -> AsyncIterator[Served]:
    """Serve with a clock."""
    clock = clock or Days()
    async with (
        serving(settings, clock=clock) as address,
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        yield Served(channel, upstream, clock)


@asynccontextmanager
async def talking(settings: Settings, upstream: Upstream, clock: Days | None = None) -> AsyncIterator[Caller]:
    """Serve, and yield a user of the server."""
    async with serving_upstream(settings, upstream, clock) as served:
        yield Caller(served)
