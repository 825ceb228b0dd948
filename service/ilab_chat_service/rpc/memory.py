"""MemoryService: proto in, the library's models, proto out. It decides nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from ilab_chat.v1 import memory_pb2, memory_pb2_grpc
from ilab_chat_service.auth.callers import act_for
from ilab_chat_service.rpc import memory_converters as models
from ilab_chat_service.rpc.admission import Admission
from ilab_chat_service.rpc.errors import DeadlineExceeded, NotFound
from ilab_chat_service.rpc.initial_metadata import send_initial_metadata
from ilab_chat_service.rpc.paging import page_of
from ilab_chat_service.rpc.repeatable import LARGE_BYTES, M, WriteCall, check_request_id, once
from ilab_chat_service.rpc.validation import caller_key, library_limits, page_size, search_page_size
from ilab_memory.core.models import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import grpc.aio

    from ilab_chat_service.ports import ResponseStore
    from ilab_chat_service.rpc.admission import Slot
    from ilab_chat_service.rpc.repeatable import Write
    from ilab_memory import ILabMemory
    from ilab_memory.core.models import Observation

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

T = TypeVar("T")

#: Most calls that read, exports and calls that write that run at once. They are fewer than the library's threads for
#: reads and those for writes (8 each), so that the chat always has some.
READS, EXPORTS, WRITES = 4, 3, 4
#: Most erasures that run at once. They have threads of their own: one may wait for minutes, see library.py.
ERASURES = 8
#: Most that wait for one of those to end, and for how long, in seconds.
QUEUED, QUEUE_SECONDS = 128, 5.0
#: Most calls, exports and erasures of one user that run or wait. One user alone never fills the line: another one who
#: comes waits until one call ends, not all.
PER_USER, EXPORTS_PER_USER, ERASURES_PER_USER = 8, 2, 4
#: Most calls of one user that run at once, of reads and of writes each: calls of others pass those that wait.
RUNNING_PER_USER = 2
#: Most bytes of the requests that run or wait, in all and of one user: each stays in memory until its call ends.
REQUESTS_BYTES, REQUESTS_BYTES_PER_USER = 32 * 1024 * 1024, 4 * 1024 * 1024
#: An erasure is answered after this many seconds at the earliest, so that callers in a loop do not load the server.
ERASURE_SECONDS = 0.05

#: Seconds for a call whose caller sets no deadline, and the most for one with a later deadline. The second pair is for
#: exports and erasures.
CALL_SECONDS, MOST_CALL_SECONDS = 60.0, 600.0
LONG_SECONDS, MOST_LONG_SECONDS = 600.0, 3600.0
#: Seconds after which an export ends whose caller does not read.
UNREAD_SECONDS = 30.0


class OfUser(Protocol):
    """A request: each names its user."""

    @property
    def user_id(self) -> str:
        """Whose memory it is about."""

    def ByteSize(self) -> int:
        """Return how long it is on the wire."""


class MemoryExecutor(Protocol):
    """The memory library, off the event loop."""

    async def read(self, user_id: str, call: Callable[[ILabMemory], T]) -> T:
        """Return what *call*, which only reads, returns; its ValueError and LookupError come through."""

    async def write(self, user_id: str, call: Callable[[ILabMemory], T]) -> T:
        """Return what *call*, which may write, returns; its ValueError and LookupError come through."""

    async def forget(self, user_id: str) -> int:
        """Erase everything of the user; return how many observations that were."""

    def export(self, user_id: str) -> AsyncIterator[Session | Observation]:
        """Yield everything of the user: the sessions, then the observations."""


class MemoryService(memory_pb2_grpc.MemoryServiceServicer):
    """The library's methods, one to one."""

    def __init__(self, library: MemoryExecutor, responses: ResponseStore) -> None:
        self._library = library
        self._responses = responses
        self._reads, self._writes = (
            Admission(
                running=running,
                queued=QUEUED,
                per_user=PER_USER,
                wait_seconds=QUEUE_SECONDS,
                running_per_user=RUNNING_PER_USER,
                size=REQUESTS_BYTES,
                size_per_user=REQUESTS_BYTES_PER_USER,
            )
            for running in (READS, WRITES)
        )
        # Apart from the others: an export lasts for as long as its caller takes to read it.
        self._exports = Admission(running=EXPORTS, queued=QUEUED, per_user=EXPORTS_PER_USER, wait_seconds=QUEUE_SECONDS)

        self._erasures = Admission(
            running=ERASURES, queued=QUEUED, per_user=ERASURES_PER_USER, wait_seconds=QUEUE_SECONDS
        )

    async def StartSession(
        self, request: memory_pb2.StartSessionRequest, context: Context
    ) -> memory_pb2.StartSessionResponse:
        """Continue or open the user's session."""
        started = await self._write(request, context, lambda memory: memory.mem_session_start(request.user_id))
        return memory_pb2.StartSessionResponse(
            session_id=started.session_id,
            new_session=started.is_new,
            recent_sessions=map(models.session_summary, started.sessions_context),
            memories=map(models.observation_compact, started.memories),
        )

    async def EndSession(
        self, request: memory_pb2.EndSessionRequest, context: Context
    ) -> memory_pb2.EndSessionResponse:
        """Complete the user's active session."""

        def end(memory: ILabMemory) -> memory_pb2.EndSessionResponse:
            try:
                session = memory.mem_session_end(request.user_id, summary=request.summary)
            except LookupError:
                raise NotFound("the user has no active session") from None
            return memory_pb2.EndSessionResponse(session=models.session(session))

        call = WriteCall(request, memory_pb2.EndSessionResponse, lambda _: 0)
        return await self._write_once(request, context, call, end)

    async def SummarizeSession(
        self, request: memory_pb2.SummarizeSessionRequest, context: Context
    ) -> memory_pb2.SummarizeSessionResponse:
        """Store a summary of the session so far."""

        def summarize(memory: ILabMemory) -> memory_pb2.SummarizeSessionResponse:
            saved = memory.mem_session_summary(request.user_id, request.summary)
            return memory_pb2.SummarizeSessionResponse(result=models.save_result(saved))

        call = WriteCall(request, memory_pb2.SummarizeSessionResponse, lambda response: response.result.id)
        return await self._write_once(request, context, call, summarize)

    async def SaveObservation(
        self, request: memory_pb2.SaveObservationRequest, context: Context
    ) -> memory_pb2.SaveObservationResponse:
        """Store an observation."""
        topic_key = caller_key(request)

        def save(memory: ILabMemory) -> memory_pb2.SaveObservationResponse:
            saved = memory.mem_save(
                request.user_id, request.content, type=request.type, title=request.title, topic_key=topic_key
            )
            return memory_pb2.SaveObservationResponse(result=models.save_result(saved))

        call = WriteCall(request, memory_pb2.SaveObservationResponse, lambda response: response.result.id)
        return await self._write_once(request, context, call, save)

    async def SearchObservations(
        self, request: memory_pb2.SearchObservationsRequest, context: Context
    ) -> memory_pb2.SearchObservationsResponse:
        """Search the user's observations."""
        limit = search_page_size(request)
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
        found = await self._read(
            request, context, lambda memory: memory.mem_get_observation(request.user_id, request.observation_id)
        )
        if found is None:
            raise NotFound("the user has no observation of this id")
        return memory_pb2.GetObservationResponse(observation=models.observation(found))

    async def GetTimeline(
        self, request: memory_pb2.GetTimelineRequest, context: Context
    ) -> memory_pb2.GetTimelineResponse:
        """Return a page of the observations around one."""
        rows = await self._read(
            request, context, lambda memory: memory.mem_timeline(request.user_id, request.observation_id)
        )
        page, next_page_token = page_of(rows, page_size=page_size(request.page_size), page_token=request.page_token)
        return memory_pb2.GetTimelineResponse(
            observations=map(models.observation, page), next_page_token=next_page_token
        )

    async def GetStats(self, request: memory_pb2.GetStatsRequest, context: Context) -> memory_pb2.GetStatsResponse:
        """Count what the user has."""
        counts = await self._read(request, context, lambda memory: memory.mem_stats(request.user_id))
        return memory_pb2.GetStatsResponse(observations=counts["observations"], sessions=counts["sessions"])

    async def ForgetUser(
        self, request: memory_pb2.ForgetUserRequest, context: Context
    ) -> memory_pb2.ForgetUserResponse:
        """Erase the user, the answers stored for repetitions first: the library then rewrites the pages of both."""

        async def forget() -> int:
            earliest = time.monotonic() + ERASURE_SECONDS
            await self._responses.forget(request.user_id)
            observations = await self._library.forget(request.user_id)
            if await self._responses.forget(request.user_id):
                # Another process has stored an answer while this ran; the pages are rewritten without it.
                observations += await self._library.forget(request.user_id)
            await asyncio.sleep(earliest - time.monotonic())
            return observations

        async with within(context, LONG_SECONDS, MOST_LONG_SECONDS):
            observations = await self._admitted(request, forget, self._erasures)
        return memory_pb2.ForgetUserResponse(observations=observations)

    async def ExportUser(  # type: ignore[override]  # it writes its responses, see ChatService
        self, request: memory_pb2.ExportUserRequest, context: Context
    ) -> None:
        """Send everything of the user."""
        act_for(request.user_id)
        async with (
            within(context, LONG_SECONDS, MOST_LONG_SECONDS),
            self._exports.slot(request.user_id) as slot,
        ):
            await self._export(request, context, slot)

    async def _export(self, request: memory_pb2.ExportUserRequest, context: Context, slot: Slot) -> None:
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
                try:
                    async with asyncio.timeout(UNREAD_SECONDS):
                        await context.write(response)
                except BaseException as error:
                    # gRPC keeps the response, and the call, until its caller reads, cancels or disconnects.
                    slot.outlived_by(current_call())
                    if isinstance(error, TimeoutError):
                        raise DeadlineExceeded(f"the caller did not read for {UNREAD_SECONDS:g} s") from None
                    raise

    async def _read(self, request: OfUser, context: Context, call: Callable[[ILabMemory], T]) -> T:
        async with within(context, CALL_SECONDS, MOST_CALL_SECONDS):
            return await self._admitted(request, lambda: self._library.read(request.user_id, call), self._reads)

    async def _write(self, request: OfUser, context: Context, call: Callable[[ILabMemory], T]) -> T:
        async with within(context, CALL_SECONDS, MOST_CALL_SECONDS):
            return await self._admitted(request, lambda: self._library.write(request.user_id, call), self._writes)

    async def _write_once(
        self, request: Write, context: Context, call: WriteCall[M], write: Callable[[ILabMemory], M]
    ) -> M:
        """Return what *write* returns, or the stored response if *call* repeats another one."""
        if not request.request_id:
            return await self._write(request, context, write)
        check_request_id(request)

        async def work() -> M:
            if request.ByteSize() > LARGE_BYTES:
                await asyncio.to_thread(lambda: call.fingerprint)
            return await once(self._responses, call, lambda: self._library.write(request.user_id, write))

        async with within(context, CALL_SECONDS, MOST_CALL_SECONDS):
            return await self._admitted(request, work, self._writes)

    async def _admitted(self, request: OfUser, work: Callable[[], Awaitable[T]], admission: Admission) -> T:
        act_for(request.user_id)
        with library_limits():
            return await admission.run(request.user_id, work, size=request.ByteSize())


@asynccontextmanager
async def within(context: Context, default: float, most: float) -> AsyncIterator[None]:
    """End the block when the call's time is over. What runs on a thread then goes on, in its slot.

    Args:
        context: the call, with its caller's deadline.
        default: seconds for a call without a deadline.
        most: seconds for a call with a later deadline.

    Raises:
        DeadlineExceeded: it was ended.
    """
    remaining = context.time_remaining()
    seconds = min(default if remaining is None else remaining, most)
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        raise DeadlineExceeded(f"the call was not done within {seconds:g} s") from None


def current_call() -> asyncio.Task[Any]:
    """Return the task that handles the current call."""
    task = asyncio.current_task()
    assert task  # noqa: S101 - a handler runs in one
    return task
