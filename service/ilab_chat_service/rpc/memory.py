"""MemoryService: proto in, the library's models, proto out. It decides nothing."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from ilab_chat.v1 import memory_pb2, memory_pb2_grpc
from ilab_chat_service.auth.callers import act_for
from ilab_chat_service.idempotency.chat_answer_codec import METHOD as CHAT
from ilab_chat_service.limits import SEARCH_PAGE_SIZE, SEARCH_PAGE_SIZE_MOST
from ilab_chat_service.memory.adapter import erase_observations
from ilab_chat_service.rpc import memory_admission as limits
from ilab_chat_service.rpc import memory_converters as models
from ilab_chat_service.rpc.deadlines import CallDeadline
from ilab_chat_service.rpc.errors import InvalidFields, NotFound
from ilab_chat_service.rpc.idempotent_writes import M, WriteCall, once
from ilab_chat_service.rpc.memory_admission import admission
from ilab_chat_service.rpc.memory_export import OpenExports
from ilab_chat_service.rpc.memory_import import Import, OpenImports
from ilab_chat_service.rpc.memory_validation import (
    caller_key,
    check_identifiers,
    expire_time,
    fact_types,
    library_limits,
    list_types,
    page_size,
    update_of,
)
from ilab_chat_service.rpc.paging import cursor_in, page_of, timeline_page
from ilab_chat_service.rpc.streams import send_initial_metadata
from ilab_chat_service.rpc.transport import host_of
from ilab_chat_service.telemetry.call_record import CALL
from ilab_chat_service.values import RESERVED_KEYS
from ilab_memory.core.models import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import grpc.aio

    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.ports import ResponseStore
    from ilab_chat_service.rpc.admission import Admission
    from ilab_chat_service.rpc.deadlines import Deadlines
    from ilab_chat_service.rpc.memory_export import Export
    from ilab_memory import ILabMemory
    from ilab_memory.core.models import Fact, Observation, SaveResult

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    SaveRequest: TypeAlias = (
        memory_pb2.SaveObservationRequest | memory_pb2.SummarizeSessionRequest | memory_pb2.UpdateObservationRequest
    )

T = TypeVar("T")
SaveResponse = TypeVar(
    "SaveResponse",
    memory_pb2.SaveObservationResponse,
    memory_pb2.SummarizeSessionResponse,
    memory_pb2.UpdateObservationResponse,
)


class OfUser(Protocol):
    """A request: each names its user."""

    @property
    def user_id(self) -> str:
        """Whose memory it is about."""

    def ByteSize(self) -> int:
        """Return how long it is on the wire."""


class MemoryService(memory_pb2_grpc.MemoryServiceServicer):
    """The library's methods, one to one."""

    def __init__(self, library: MemoryExecutor, responses: ResponseStore) -> None:
        self._library = library
        self._responses = responses
        self._reads = admission(limits.READS, limits.PER_USER, per_share=limits.RUNNING_PER_USER)
        self._writes = admission(limits.WRITES, limits.PER_USER, per_share=limits.RUNNING_PER_USER)
        # With limits of their own: they last until the caller has read or written everything, or a file is rewritten.
        exports = admission(limits.EXPORTS, limits.EXPORTS_PER_USER)
        self._exports = OpenExports(exports)
        imports = admission(limits.IMPORTS, limits.IMPORTS_PER_USER, per_share=limits.IMPORTS_PER_CALLER)
        self._imports = OpenImports(imports)
        self._erasures = admission(limits.ERASURES, limits.ERASURES_PER_USER, per_share=limits.RUNNING_PER_USER)
        self.admissions: Mapping[str, Admission] = {
            "memory_read": self._reads,
            "memory_write": self._writes,
            "export": exports,
            "import": imports,
            "erasure": self._erasures,
        }
        """The limits, by the kind of calls."""

    async def StartSession(
        self, request: memory_pb2.StartSessionRequest, context: Context
    ) -> memory_pb2.StartSessionResponse:
        """Continue or open the session of a conversation."""
        accept(request)

        def start(memory: ILabMemory) -> memory_pb2.StartSessionResponse:
            started = memory.mem_session_start(request.user_id, conversation_id=request.conversation_id)
            return memory_pb2.StartSessionResponse(
                session_id=started.session_id,
                new_session=started.is_new,
                recent_sessions=map(models.session_summary, started.sessions_context),
                memories=map(models.observation_compact, started.memories),
            )

        work = partial(self._library.write, request.user_id, start)
        return await self._admitted(request, context, limits.CALL_TIME, self._writes, work)

    async def EndSession(
        self, request: memory_pb2.EndSessionRequest, context: Context
    ) -> memory_pb2.EndSessionResponse:
        """Complete the active session of a conversation."""
        accept(request)

        def end(memory: ILabMemory) -> memory_pb2.EndSessionResponse:
            try:
                session = memory.mem_session_end(
                    request.user_id,
                    summary=request.summary,
                    conversation_id=request.conversation_id,
                    # So that a search finds it, also when it is no longer one of the last summaries.
                    searchable=True,
                )
            except LookupError:
                raise NotFound("the user has no active session") from None
            return memory_pb2.EndSessionResponse(session=models.session(session))

        call = WriteCall(request, memory_pb2.EndSessionResponse, lambda _: 0)
        return await self._write_once(
            request, context, call, partial(self._library.write, request.user_id, end, size=request.ByteSize())
        )

    async def SummarizeSession(
        self, request: memory_pb2.SummarizeSessionRequest, context: Context
    ) -> memory_pb2.SummarizeSessionResponse:
        """Store a summary of the session so far."""
        accept(request)

        def summarize(memory: ILabMemory) -> SaveResult:
            return memory.mem_session_summary(request.user_id, request.summary, conversation_id=request.conversation_id)

        return await self._save_once(request, context, memory_pb2.SummarizeSessionResponse, summarize)

    async def ListSessions(
        self, request: memory_pb2.ListSessionsRequest, context: Context
    ) -> memory_pb2.ListSessionsResponse:
        """List the user's sessions."""
        accept(request)
        size = page_size(request.page_size)
        chosen = request.conversation_id if request.HasField("conversation_id") else None
        scope = ("ListSessions", request.user_id, chosen)
        start = cursor_in(request.page_token, scope)

        def sessions(memory: ILabMemory) -> memory_pb2.ListSessionsResponse:
            def fetch(count: int, before: Any) -> list[Session]:
                return memory.mem_sessions(request.user_id, conversation_id=chosen, limit=count, before=before)

            page, following = page_of(
                fetch,
                scope=scope,
                page_size=size,
                start=start,
                size_of=lambda row: len((row.summary or "").encode()),
                cursor_of=lambda row: (row.started_at, row.id),
            )
            return memory_pb2.ListSessionsResponse(sessions=map(models.session, page), next_page_token=following)

        return await self._read(request, context, sessions)

    async def SaveObservation(
        self, request: memory_pb2.SaveObservationRequest, context: Context
    ) -> memory_pb2.SaveObservationResponse:
        """Store an observation."""
        accept(request)
        topic_key, expires = caller_key(request), expire_time(request)

        def save(memory: ILabMemory) -> SaveResult:
            return memory.mem_save(
                request.user_id,
                request.content,
                type=request.type,
                title=request.title,
                topic_key=topic_key,
                pinned=request.pinned,
                expire_time=expires,
                conversation_id=request.conversation_id,
            )

        return await self._save_once(request, context, memory_pb2.SaveObservationResponse, save)

    async def UpdateObservation(
        self, request: memory_pb2.UpdateObservationRequest, context: Context
    ) -> memory_pb2.UpdateObservationResponse:
        """Change an observation that is not a turn: what a caller writes is never read back as the assistant's."""
        accept(request)
        changes = update_of(request)

        def update(memory: ILabMemory) -> SaveResult:
            stored = memory.mem_get_observation(request.user_id, request.observation_id)
            if stored and (stored.topic_key or "").startswith(RESERVED_KEYS):
                raise InvalidFields(
                    [("observation_id", "must not be a turn of ChatService: turns can only be deleted")]
                )
            saved = memory.mem_update(request.user_id, request.observation_id, **changes)
            if saved is None:
                raise NotFound("the user has no observation with this id")
            return saved

        return await self._save_once(request, context, memory_pb2.UpdateObservationResponse, update, is_update=True)

    async def DeleteObservation(
        self, request: memory_pb2.DeleteObservationRequest, context: Context
    ) -> memory_pb2.DeleteObservationResponse:
        """Erase an observation, what was derived from it alone, and the stored responses that contain any of it."""
        accept(request)

        async def erase() -> memory_pb2.DeleteObservationResponse:
            named = request.user_id, [request.observation_id]
            if not await erase_observations(self._library, self._responses, *named):
                raise NotFound("the user has no observation with this id")
            return memory_pb2.DeleteObservationResponse()

        call = WriteCall(request, memory_pb2.DeleteObservationResponse, lambda _: 0)
        return await self._erase(request, context, partial(once, self._responses, call, erase))

    async def ListObservations(
        self, request: memory_pb2.ListObservationsRequest, context: Context
    ) -> memory_pb2.ListObservationsResponse:
        """List the user's observations."""
        accept(request)
        size, types = page_size(request.page_size), list_types(request)
        chosen = request.conversation_id if request.HasField("conversation_id") else None
        scope = ("ListObservations", request.user_id, types, chosen)
        start = cursor_in(request.page_token, scope)

        def observations(memory: ILabMemory) -> memory_pb2.ListObservationsResponse:
            def fetch(count: int, before: Any) -> list[Observation]:
                return memory.mem_list(request.user_id, types=types, conversation_id=chosen, limit=count, before=before)

            page, following = page_of(
                fetch,
                scope=scope,
                page_size=size,
                start=start,
                size_of=lambda row: len(row.content.encode()),
                cursor_of=lambda row: (row.updated_at, row.id or 0),
            )
            return memory_pb2.ListObservationsResponse(
                observations=map(models.observation, page), next_page_token=following
            )

        return await self._read(request, context, observations)

    async def ListFacts(self, request: memory_pb2.ListFactsRequest, context: Context) -> memory_pb2.ListFactsResponse:
        """List the facts about the user."""
        accept(request)
        size, types = page_size(request.page_size), fact_types(request)
        scope = ("ListFacts", request.user_id, types)
        start = cursor_in(request.page_token, scope)

        def facts(memory: ILabMemory) -> memory_pb2.ListFactsResponse:
            def fetch(count: int, after: Any) -> list[Fact]:
                before = None if after is None else (after[0].startswith("1"), after[0][1:], after[1])
                return memory.mem_facts(request.user_id, types=types, limit=count, before=before)

            page, following = page_of(
                fetch,
                scope=scope,
                page_size=size,
                start=start,
                size_of=lambda row: len(row.content.encode()),
                cursor_of=lambda row: (f"{row.pinned:d}{row.updated_at}", row.id),
            )
            return memory_pb2.ListFactsResponse(facts=map(models.fact, page), next_page_token=following)

        return await self._read(request, context, facts)

    async def SearchObservations(
        self, request: memory_pb2.SearchObservationsRequest, context: Context
    ) -> memory_pb2.SearchObservationsResponse:
        """Search the user's observations."""
        accept(request)
        limit = page_size(request.page_size, default=SEARCH_PAGE_SIZE, most=SEARCH_PAGE_SIZE_MOST)
        found = await self._read(
            request,
            context,
            lambda memory: memory.mem_search(
                request.user_id,
                request.query,
                limit=limit,
                types=list(request.types) or None,
                types_exclude=list(request.types_exclude) or None,
            ),
        )
        return memory_pb2.SearchObservationsResponse(observations=map(models.observation_compact, found))

    async def GetObservation(
        self, request: memory_pb2.GetObservationRequest, context: Context
    ) -> memory_pb2.GetObservationResponse:
        """Return one observation of the user."""
        accept(request)
        found = await self._read(
            request, context, lambda memory: memory.mem_get_observation(request.user_id, request.observation_id)
        )
        if found is None:
            raise NotFound("the user has no observation with this id")
        return memory_pb2.GetObservationResponse(observation=models.observation(found))

    async def GetTimeline(
        self, request: memory_pb2.GetTimelineRequest, context: Context
    ) -> memory_pb2.GetTimelineResponse:
        """Return a page of the observations around one."""
        accept(request)
        size = page_size(request.page_size)
        rows = await self._read(
            request, context, lambda memory: memory.mem_timeline(request.user_id, request.observation_id)
        )
        scope = ("GetTimeline", request.user_id, request.observation_id)
        page, next_page_token = timeline_page(rows, scope=scope, page_size=size, page_token=request.page_token)
        return memory_pb2.GetTimelineResponse(
            observations=map(models.observation, page), next_page_token=next_page_token
        )

    async def GetStats(self, request: memory_pb2.GetStatsRequest, context: Context) -> memory_pb2.GetStatsResponse:
        """Count what the user has."""
        accept(request)
        counts, types = await self._read(
            request,
            context,
            lambda memory: (
                memory.mem_stats(request.user_id),
                memory.mem_type_stats(request.user_id) if request.by_type else None,
            ),
        )
        return models.stats(counts, types)

    async def ForgetUser(
        self, request: memory_pb2.ForgetUserRequest, context: Context
    ) -> memory_pb2.ForgetUserResponse:
        """Erase the user, the answers stored for repetitions first: the library then rewrites the pages of both."""
        accept(request)

        async def forget() -> int:
            await self._responses.forget(request.user_id)
            observations = await self._library.forget(request.user_id)
            if await self._responses.forget(request.user_id):
                # Another process has stored an answer while this ran; the pages are rewritten without it.
                observations += await self._library.forget(request.user_id)
            return observations

        return memory_pb2.ForgetUserResponse(observations=await self._erase(request, context, forget))

    async def ExportUser(  # type: ignore[override]  # it writes its responses, see ChatService
        self, request: memory_pb2.ExportUserRequest, context: Context
    ) -> None:
        """Send everything of the user."""
        accept(request)
        async with CallDeadline(limits.LONG_CALL_TIME, context.time_remaining()):
            await self._exports.run(request.user_id, partial(self._export, request, context))

    async def ImportUser(
        self, request_iterator: AsyncIterator[memory_pb2.ImportUserRequest], context: Context
    ) -> memory_pb2.ImportUserResponse:
        """Add the items that the caller sends."""
        async with CallDeadline(limits.LONG_CALL_TIME, context.time_remaining()):
            importing = await Import.begun(request_iterator)
            accept(importing.first)
            caller = CALL.get().caller or host_of(context.peer())
            added = await self._imports.run(
                caller, importing, lambda: self._library.import_items(importing.user_id, importing.items)
            )
        return memory_pb2.ImportUserResponse(sessions=added.sessions, observations=added.observations)

    async def _export(self, request: memory_pb2.ExportUserRequest, context: Context, export: Export) -> None:
        begun = False
        with library_limits():
            async for item in self._library.export(request.user_id):
                if isinstance(item, Session):
                    response = memory_pb2.ExportUserResponse(session=models.session(item))
                else:
                    response = memory_pb2.ExportUserResponse(observation=models.observation(item))
                if not begun:
                    begun = True
                    await send_initial_metadata(context)
                await export.write(context.write(response))

    async def _read(self, request: OfUser, context: Context, call: Callable[[ILabMemory], T]) -> T:
        work = partial(self._library.read, request.user_id, call, size=request.ByteSize())
        return await self._admitted(request, context, limits.CALL_TIME, self._reads, work)

    async def _save_once(
        self,
        request: SaveRequest,
        context: Context,
        response: type[SaveResponse],
        save: Callable[[ILabMemory], SaveResult],
        *,
        is_update: bool = False,
    ) -> SaveResponse:
        """Return the result of *save*, or the stored response if *request* is repeated.

        Forget the chat's answers that contain a text which *save* has replaced. Responses of other methods contain no
        text; without them, a repeated save would bring the old text back.
        """

        async def work() -> SaveResponse:
            saved = await self._library.write(request.user_id, save, saves=True, size=request.ByteSize())
            if saved.outcome == "updated" or is_update:
                # After any update: a repetition after a failure here finds that nothing is left to change.
                await self._responses.drop(request.user_id, CHAT, saved.id)
            return response(result=models.save_result(saved))

        call = WriteCall(request, response, lambda response: response.result.id)
        return await self._write_once(request, context, call, work)

    async def _write_once(
        self, request: OfUser, context: Context, call: WriteCall[M], work: Callable[[], Awaitable[M]]
    ) -> M:
        """Return what *work* returns, or the stored response if *call* repeats another one."""
        write = partial(once, self._responses, call, work)
        return await self._admitted(request, context, limits.CALL_TIME, self._writes, write)

    async def _erase(self, request: OfUser, context: Context, work: Callable[[], Awaitable[T]]) -> T:
        async def erase() -> T:
            earliest = time.monotonic() + limits.ERASURE_SECONDS
            try:
                return await work()
            finally:
                await asyncio.sleep(earliest - time.monotonic())

        return await self._admitted(request, context, limits.LONG_CALL_TIME, self._erasures, erase)

    async def _admitted(
        self,
        request: OfUser,
        context: Context,
        deadlines: Deadlines,
        slots: Admission,
        work: Callable[[], Awaitable[T]],
    ) -> T:
        async with CallDeadline(deadlines, context.time_remaining()):
            with library_limits():
                return await slots.run(request.user_id, work, size=request.ByteSize())


def accept(request: OfUser) -> None:
    """Check that the caller may act for the user of *request*, and its identifiers. Every method does this first.

    Raises:
        UserMismatch: the caller may not act for this user.
        InvalidFields: an identifier breaks a limit.
    """
    act_for(request.user_id)
    check_identifiers(request)
    if request_id := getattr(request, "request_id", ""):
        CALL.get().request_id = request_id
