"""The memory: ilab_memory, off the event loop.

Of the library's methods it calls only the documented ones, and `mem_session_peek` where the library has it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from ilab_chat_service.adapters.stored_turn import KEY_PREFIX, REDACTED, TYPE, spoken, stored_turn
from ilab_chat_service.ports import (
    Context,
    MemoryMode,
    MemorySource,
    MemoryUnreadable,
    PastTurn,
    Recalled,
    Turn,
    TurnNotStored,
)
from ilab_memory import Config, ILabMemory
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from concurrent.futures import Executor

    from ilab_chat_service.settings import Settings
    from ilab_memory.core.models import Observation, ObservationCompact, SessionStartResponse, SessionSummaryCompact

T = TypeVar("T")

#: How long to wait before asking a memory that could not be read or written again, in seconds.
RETRY_AFTER_SECONDS = 1.0

#: Threads for the memory's blocking calls. Reads run side by side; concurrent saves share one commit in the library.
THREADS = 16

#: Longest beginning of a session's summary that is shown as its title, in characters.
SUMMARY_CHARACTERS = 200


@asynccontextmanager
async def open_memory(settings: Settings) -> AsyncIterator[ILabMemoryAdapter]:
    """Open the memory that *settings* names; leaving closes it.

    Raises:
        RuntimeError: it cannot be opened; the text says why.
    """
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="memory")
    config = Config(session_timeout_hours=settings.session_timeout_hours)
    try:
        memory = await in_thread(threads, lambda: ILabMemory.from_path(settings.memory_db_path, config))
        try:
            yield ILabMemoryAdapter(
                memory, threads, history_turns=settings.history_turns, search_limit=settings.search_limit
            )
        finally:
            await in_thread(threads, memory.close)
    finally:
        # It joins the threads, so not on the event loop.
        await asyncio.to_thread(threads.shutdown)


async def in_thread(threads: Executor, call: Callable[[], T]) -> T:
    """Return what *call* returns on one of *threads*."""
    return await asyncio.get_running_loop().run_in_executor(threads, call)


class ILabMemoryAdapter:
    """The Memory port over an open ILabMemory, whose calls run on *threads*."""

    def __init__(self, memory: ILabMemory, threads: Executor, *, history_turns: int, search_limit: int) -> None:
        self._memory = memory
        self._threads = threads
        self._history_turns = history_turns
        self._search_limit = search_limit

    async def hydrate(self, user_id: str, message: str, mode: MemoryMode) -> Context:
        """See `ports.Memory.hydrate`. All reads of a call are one visit to a thread."""
        try:
            return await in_thread(self._threads, lambda: self._context(user_id, message, mode))
        except RuntimeError as error:
            raise MemoryUnreadable("memory cannot be read", retry_after_seconds=RETRY_AFTER_SECONDS) from error

    async def persist(self, turn: Turn) -> int:
        """See `ports.Memory.persist`."""
        try:
            return await in_thread(self._threads, lambda: self._save(turn))
        except RuntimeError as error:
            raise TurnNotStored("the turn could not be stored", retry_after_seconds=RETRY_AFTER_SECONDS) from error

    def _save(self, turn: Turn) -> int:
        stored = stored_turn(turn)
        saved = self._memory.mem_save(
            turn.user_id, stored.content, type=TYPE, title=stored.title, topic_key=stored.topic_key
        )
        return saved.id

    def _context(self, user_id: str, message: str, mode: MemoryMode) -> Context:
        found = self._found(user_id, message)
        session = self._session(user_id, mode)
        if session is None:
            return Context(found=found)
        return Context(
            session_id=session.session_id,
            is_new_session=session.is_new,
            memories=tuple(recalled(item, MemorySource.SESSION) for item in session.memories),
            turns=self._turns(user_id, session),
            found=found,
            summaries=tuple(map(recalled_summary, session.sessions_context)),
        )

    def _session(self, user_id: str, mode: MemoryMode) -> SessionStartResponse | None:
        if mode is MemoryMode.READ_WRITE:
            return self._memory.mem_session_start(user_id)
        peek = getattr(self._memory, "mem_session_peek", None)
        return peek(user_id) if peek else None

    def _found(self, user_id: str, message: str) -> tuple[Recalled, ...]:
        query = strip_private(message).replace(REDACTED, " ")
        if not (query.strip() and self._search_limit):
            return ()
        hits = self._memory.mem_search(user_id, query, limit=self._search_limit)
        return tuple(recalled(hit, MemorySource.SEARCH, hit.snippet) for hit in hits)

    def _turns(self, user_id: str, session: SessionStartResponse) -> tuple[PastTurn, ...]:
        """Return the last turns of *session*, oldest first."""
        if session.is_new or not (session.session_id and session.memories and self._history_turns):
            return ()
        rows = self._newest_rows(user_id, max(item.id for item in session.memories))
        turns = past_turns(rows, session.session_id)
        while rows and rows[0].session_id == session.session_id and len(turns) < self._history_turns:
            rows = self._rows_before(user_id, rows[0])
            turns = past_turns(rows, session.session_id) + turns
        return tuple(turns[-self._history_turns :])

    def _newest_rows(self, user_id: str, near_id: int) -> list[Observation]:
        """Return the user's last rows. No documented method asks for them, so walk there from a row that is near."""
        rows = self._memory.mem_timeline(user_id, near_id)
        while rows and rows[-1].id != near_id:
            near_id = observation_id(rows[-1])
            rows = self._memory.mem_timeline(user_id, near_id)
        return rows

    def _rows_before(self, user_id: str, row: Observation) -> list[Observation]:
        rows = self._memory.mem_timeline(user_id, observation_id(row))
        return rows[: next((index for index, other in enumerate(rows) if other.id == row.id), 0)]


def past_turns(rows: Iterable[Observation], session_id: str) -> list[PastTurn]:
    """Return those of *rows* that this service stored as turns of the session."""
    turns = []
    for row in rows:
        pair = spoken(row.content) if (row.topic_key or "").startswith(KEY_PREFIX) else None
        if pair and row.session_id == session_id:
            turns.append(PastTurn(message=pair[0], reply=pair[1], recalled=recalled_turn(row)))
    return turns


def recalled(item: ObservationCompact, source: MemorySource, snippet: str = "") -> Recalled:
    """Return *item* as the loop sees it; without a snippet only its title enters the prompt."""
    return Recalled(
        observation_id=item.id,
        type=item.type,
        title=item.title,
        snippet=snippet,
        score=item.score,
        updated_at=datetime.fromisoformat(item.updated_at),
        source=source,
    )


def recalled_turn(row: Observation) -> Recalled:
    """Return a turn of the session in short."""
    return Recalled(
        observation_id=observation_id(row),
        type=row.type,
        title=row.title,
        updated_at=datetime.fromisoformat(row.updated_at),
        source=MemorySource.TURN,
    )


def recalled_summary(summary: SessionSummaryCompact) -> Recalled:
    """Return the summary of an earlier session in short."""
    return Recalled(
        observation_id=0,
        type="summary",
        title=summary.summary[:SUMMARY_CHARACTERS],
        updated_at=datetime.fromisoformat(summary.date),
        source=MemorySource.SUMMARY,
    )


def observation_id(row: Observation) -> int:
    """Return the id of a stored row; only an observation that was never stored has none."""
    return row.id or 0
