"""A real server with a fake upstream that answers by the name of the requested model."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_memory import ILabMemory
from service.model.apis.case import RETRIES, Behaviour
from upstream import Reply, Request, running

Stub: TypeAlias = "chat_pb2_grpc.ChatServiceAsyncStub"
Method: TypeAlias = Literal["Chat", "StreamChat"]
METHODS: tuple[Method, ...] = ("Chat", "StreamChat")


class Script:
    """Behaviours of the upstream by model. Models without one use `otherwise`."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.otherwise: Behaviour = Reply()
        self.asked: defaultdict[str, list[Request]] = defaultdict(list)

    def __call__(self, request: Request) -> Reply:
        model: str = request.body["model"]
        asked = self.asked[model]
        asked.append(request)
        behaviour = self.behaviours.get(model, self.otherwise)
        if isinstance(behaviour, Reply):
            return behaviour
        if isinstance(behaviour, Sequence):
            return behaviour[len(asked) - 1] if len(asked) <= len(behaviour) else Reply()
        return behaviour(request)

    def bodies(self, model: str) -> list[dict[str, Any]]:
        """Return the bodies of the requests for a model."""
        return [request.body for request in self.asked[model]]


@dataclass(slots=True)
class Told:
    """The result of a call: an error or a response, and the events of a stream."""

    error: grpc.aio.AioRpcError | None = None
    response: chat_pb2.ChatResponse | None = None
    events: list[chat_pb2.StreamChatResponse] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """The kinds of events in order, without repetition and heartbeats."""
        kinds: list[str] = []
        for event in self.events:
            kind = event.WhichOneof("event")
            assert kind
            if kind != "heartbeat" and kinds[-1:] != [kind]:
                kinds.append(kind)
        return kinds

    @property
    def text(self) -> str:
        return "".join(event.text_delta.text for event in self.events)

    @property
    def reasoning(self) -> str:
        return "".join(event.reasoning_delta.text for event in self.events)

    @property
    def status(self) -> status_pb2.Status:
        assert self.error
        trailers = dict(self.error.trailing_metadata() or ())
        return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])

    @property
    def reason(self) -> str:
        info = error_details_pb2.ErrorInfo()
        assert any(each.Unpack(info) for each in self.status.details)
        return info.reason

    @property
    def fields(self) -> list[str]:
        bad_request = error_details_pb2.BadRequest()
        found = any(each.Unpack(bad_request) for each in self.status.details)
        return [each.field for each in bad_request.field_violations] if found else []

    @property
    def wait(self) -> float | None:
        retry = error_details_pb2.RetryInfo()
        found = any(each.Unpack(retry) for each in self.status.details)
        return retry.retry_delay.ToNanoseconds() / 1e9 if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running server. `script` is the behaviour of its upstream."""

    settings: Settings
    script: Script
    stub: Stub
    memory: ILabMemory
    """Another connection to the server's memory."""

    async def ask(self, method: Method, user: str, message: str, **fields: Any) -> Told:
        """Make one call."""
        told = Told()
        try:
            if method == "Chat":
                told.response = await self.stub.Chat(chat_pb2.ChatRequest(user_id=user, message=message, **fields))
            else:
                request = chat_pb2.StreamChatRequest(user_id=user, message=message, **fields)
                async for event in self.stub.StreamChat(request):
                    told.events.append(event)
                told.response = told.events[-1].completed
        except grpc.aio.AioRpcError as error:
            told.error = error
        return told

    async def stored(self, user: str) -> list[tuple[str, str]]:
        """Return title and content of a user's turns, oldest first, read by `memory`."""
        return await asyncio.to_thread(self._read, user)

    def _read(self, user: str) -> list[tuple[str, str]]:
        # Without the facts of the turns.
        return [(row.title, row.content) for row in reversed(self.memory.mem_list(user)) if not row.source_ids]

    async def file_contains(self, word: str) -> bool:
        """Return whether a word is anywhere in the memory's files, ignoring case."""
        folder = Path(self.settings.memory_db_path).parent
        return await asyncio.to_thread(
            lambda: any(word.lower().encode() in each.read_bytes().lower() for each in folder.glob("memory.db*"))
        )


@asynccontextmanager
async def stage_in(folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """Run a server with its memory in a folder."""
    script = Script()
    with running(script) as upstream:
        defaults: dict[str, Any] = {
            "address": "127.0.0.1:0",
            "memory_db_path": str(folder / "memory.db"),
            "durability": "normal",
            "openai_base_url": upstream.base_url,
            "openai_model": "test-model",
            "model_retries": RETRIES,
            "model_timeout_seconds": 10.0,
            "propagation_seconds": 0,
            "drain_seconds": 5,
            "consolidation": "off",
            "embedder": "none",
        }
        given = Settings(**(defaults | settings))
        async with serving(given) as address, grpc.aio.insecure_channel(address) as channel:
            stub = chat_pb2_grpc.ChatServiceStub(channel)
            memory = await asyncio.to_thread(ILabMemory.from_path, given.memory_db_path)
            try:
                yield Stage(settings=given, script=script, stub=stub, memory=memory)
            finally:
                await asyncio.to_thread(memory.close)
