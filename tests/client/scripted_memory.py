"""A real MemoryService whose answers a test writes, and one way to call it through either client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from client.scripted import Context
from ilab_chat import AsyncChatClient, ChatClient, Observation, ObservationCompact, Session, SessionState
from ilab_chat.v1 import memory_pb2 as pb
from ilab_chat.v1.memory_pb2_grpc import MemoryServiceServicer

Item = Session | Observation
Script = Callable[[Message, Context], AsyncIterator[Any]]

AT = Timestamp(seconds=1_795_389_480)  # 2026-11-22 23:18 UTC

SESSION = Session(id="s-1", user_id="alice", start_time=AT, state=SessionState.SESSION_STATE_ACTIVE)


def observation(number: int = 1, title: str = "Hobby", **fields: Any) -> Observation:
    made: dict[str, Any] = {
        "user_id": "alice",
        "session_id": "s-1",
        "type": "preference",
        "content": "hikes",
        "update_time": AT,
    }
    return Observation(id=number, title=title, **(made | fields))


def compact(number: int = 1, title: str = "Hobby", **fields: Any) -> ObservationCompact:
    made: dict[str, Any] = {"type": "preference", "score": 0.63, "update_time": AT}
    return ObservationCompact(id=number, title=title, **(made | fields))


def exported(item: Item) -> pb.ExportUserResponse:
    if isinstance(item, Session):
        return pb.ExportUserResponse(session=item)
    return pb.ExportUserResponse(observation=item)


def answers(*responses: Message) -> Script:
    """Make the script that answers with *responses* and ends OK."""

    async def script(_request: Message, _context: Context) -> AsyncIterator[Message]:
        for response in responses:
            yield response

    return script


def unary(method: str) -> Any:
    async def answer(self: "ScriptedMemoryService", request: Message, context: Context) -> Message:
        async for response in self._run(method, request, context):
            assert isinstance(response, Message)
            return response
        raise AssertionError("a script for a unary method answers once")

    return answer


class ScriptedMemoryService(MemoryServiceServicer):
    """Runs `scripts[method]` for each call and remembers what it saw."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.calls: list[tuple[str, Any]] = []
        self.metadata: dict[str, str | bytes] = {}
        self.time_remaining: float | None = None
        self.sent = asyncio.Event()
        """Set when the only item of `endless` is on its way."""
        self.left = asyncio.Event()
        """Set when a handler is told that its caller is gone."""

    def says(self, method: str, *responses: Message) -> None:
        self.scripts[method] = answers(*responses)

    async def endless(self, _request: Message, _context: Context) -> AsyncIterator[Message]:
        """Begin an export, then say nothing more until the caller is gone."""
        yield exported(SESSION)
        self.sent.set()
        await asyncio.Event().wait()

    async def _run(self, method: str, request: Message, context: Context) -> AsyncIterator[Any]:
        self.calls.append((method, request))
        self.metadata = dict(context.invocation_metadata() or ())
        self.time_remaining = context.time_remaining()
        try:
            async for response in self.scripts[method](request, context):
                yield response
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise

    StartSession = unary("StartSession")
    EndSession = unary("EndSession")
    SummarizeSession = unary("SummarizeSession")
    SaveObservation = unary("SaveObservation")
    SearchObservations = unary("SearchObservations")
    GetObservation = unary("GetObservation")
    GetTimeline = unary("GetTimeline")
    GetStats = unary("GetStats")
    ForgetUser = unary("ForgetUser")
    ListSessions = unary("ListSessions")
    ListObservations = unary("ListObservations")
    ListFacts = unary("ListFacts")
    UpdateObservation = unary("UpdateObservation")
    DeleteObservation = unary("DeleteObservation")

    async def ImportUser(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ImportUserRequest], context: Context
    ) -> pb.ImportUserResponse:
        """Answer when the caller has sent everything; the call is remembered with the list of its messages."""
        messages: Any = [message async for message in request_iterator]
        async for response in self._run("ImportUser", messages, context):
            assert isinstance(response, pb.ImportUserResponse)
            return response
        raise AssertionError("a script for a unary method answers once")

    async def ExportUser(  # noqa: N802
        self, request: pb.ExportUserRequest, context: Context
    ) -> AsyncIterator[pb.ExportUserResponse]:
        async for response in self._run("ExportUser", request, context):
            yield response


class MemoryCaller(Protocol):
    """One of the two clients, called in the same way."""

    async def call(self, target: str, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of a new client's memory."""

    async def export(self, target: str, take: Callable[[Item], object], *args: Any, **options: Any) -> None:
        """Read an export of a new client to its end, handing each item to *take*, in any thread."""

    async def listed(self, target: str, method: str, *args: Any, **options: Any) -> list[Any]:
        """Return every item of a list of a new client."""

    async def leave(self, target: str, told: asyncio.Event) -> None:
        """Leave an export after its first item, then wait for *told* with the client still open."""


class AsyncMemoryCaller:
    async def call(self, target: str, method: str, *args: Any, **options: Any) -> Any:
        async with AsyncChatClient(target) as client:
            return await getattr(client.memory, method)(*args, **options)

    async def export(self, target: str, take: Callable[[Item], object], *args: Any, **options: Any) -> None:
        async with AsyncChatClient(target) as client:
            async for item in client.memory.export(*args, **options):
                take(item)

    async def listed(self, target: str, method: str, *args: Any, **options: Any) -> list[Any]:
        async with AsyncChatClient(target) as client:
            return [item async for item in getattr(client.memory, method)(*args, **options)]

    async def leave(self, target: str, told: asyncio.Event) -> None:
        async with AsyncChatClient(target) as client:
            async with client.memory.export("alice") as export:
                await anext(export)
            await told.wait()


class SyncMemoryCaller:
    async def call(self, target: str, method: str, *args: Any, **options: Any) -> Any:
        def call() -> Any:
            with ChatClient(target) as client:
                return getattr(client.memory, method)(*args, **options)

        return await asyncio.to_thread(call)

    async def export(self, target: str, take: Callable[[Item], object], *args: Any, **options: Any) -> None:
        def call() -> None:
            with ChatClient(target) as client:
                for item in client.memory.export(*args, **options):
                    take(item)

        await asyncio.to_thread(call)

    async def listed(self, target: str, method: str, *args: Any, **options: Any) -> list[Any]:
        def call() -> list[Any]:
            with ChatClient(target) as client:
                return list(getattr(client.memory, method)(*args, **options))

        return await asyncio.to_thread(call)

    async def leave(self, target: str, told: asyncio.Event) -> None:
        def call(client: ChatClient) -> None:
            with client.memory.export("alice") as export:
                next(export)

        with ChatClient(target) as client:
            await asyncio.to_thread(call, client)
            await told.wait()
