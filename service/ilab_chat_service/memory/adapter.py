"""The Memory port: what the library knows that may help to answer a message, and the turn that is stored."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ilab_chat_service.failures import MemoryUnavailable, TurnNotStored
from ilab_chat_service.limits import CONTENT_BYTES
from ilab_chat_service.memory.executor import conversation, peek
from ilab_chat_service.memory.turn_codec import TYPE, is_turn, spoken, stored_turn
from ilab_chat_service.privacy import REDACTED
from ilab_chat_service.values import (
    RESERVED_KEYS,
    TURN_KEY,
    Context,
    MemoryMode,
    MemorySource,
    PastTurn,
    Recalled,
    Turn,
)
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.values import TurnRequest
    from ilab_memory import ILabMemory
    from ilab_memory.core.models import Observation, ObservationCompact, SessionStartResponse, SessionSummaryCompact

#: Most bytes of the turns that come back as conversation: more than any prompt's budget, and one turn at least.
CONVERSATION_BYTES = CONTENT_BYTES
#: Rows among which the turn of a repeated call is looked for: their request ids may begin with the same characters.
REPETITIONS = 10
#: Type of the summaries of sessions, which are not observations.
SUMMARY_TYPE = "summary"
#: Longest beginning of a session's summary that is shown as its title, in characters.
SUMMARY_CHARACTERS = 200


class MemoryAdapter:
    """The Memory port over the library.

    Args:
        library: the open library.
        history_turns: most turns of the session that come back as conversation.
        search_limit: most observations that searching for the message returns.
        queue_work: queue turns for consolidation.
    """

    def __init__(
        self, library: MemoryExecutor, *, history_turns: int, search_limit: int, queue_work: bool = False
    ) -> None:
        self._library = library
        self._history_turns = history_turns
        self._search_limit = search_limit
        self._queue_work = queue_work

    async def hydrate(self, request: TurnRequest) -> Context:
        """See `ports.Memory.hydrate`. All reads of a call are one visit to a thread.

        To one for writes, if it opens or touches a session: while writes wait, no model is asked for a reply that could
        not be stored.
        """
        visit = self._library.write if request.memory_mode is MemoryMode.READ_WRITE else self._library.read
        return await visit(request.user_id, lambda memory: self._context(memory, request))

    async def persist(self, turn: Turn) -> int:
        """See `ports.Memory.persist`."""
        try:
            return await self._library.write(
                turn.user_id, lambda memory: save(memory, turn, queue_work=self._queue_work), has_deadline=False
            )
        except MemoryUnavailable as error:
            raise TurnNotStored("the turn could not be stored", cause=error.cause) from error

    def _context(self, memory: ILabMemory, request: TurnRequest) -> Context:
        found = self._found(memory, request)
        session = (
            memory.mem_session_start(request.user_id, **conversation(memory, request.conversation_id))
            if request.memory_mode is MemoryMode.READ_WRITE
            else peek(memory, request.user_id, request.conversation_id)
        )
        if session is None:
            return Context(found=found)
        types = request.memory_types
        summaries = session.sessions_context if not types or SUMMARY_TYPE in types else []
        return Context(
            session_id=session.session_id,
            is_new_session=session.is_new,
            memories=tuple(
                recalled(item, MemorySource.SESSION) for item in session.memories if not types or item.type in types
            ),
            turns=self._turns(memory, request, session),
            found=found,
            summaries=tuple(map(recalled_summary, summaries)),
        )

    def _found(self, memory: ILabMemory, request: TurnRequest) -> tuple[Recalled, ...]:
        query = strip_private(request.message).replace(REDACTED, " ")
        if not (query.strip() and self._search_limit):
            return ()
        types = list(request.memory_types) or None
        hits = memory.mem_search(request.user_id, query, limit=self._search_limit, types=types)
        return tuple(recalled(hit, MemorySource.SEARCH, hit.snippet) for hit in hits)

    def _turns(self, memory: ILabMemory, request: TurnRequest, session: SessionStartResponse) -> tuple[PastTurn, ...]:
        """Return the last turns of *session*, oldest first."""
        if session.is_new or not (session.session_id and session.memories and self._history_turns):
            return ()
        if request.memory_types and TYPE not in request.memory_types:
            return ()
        rows = recent(memory, request, session.session_id, RESERVED_KEYS, self._history_turns)
        return tuple(past_turns(reversed(rows)))


def save(memory: ILabMemory, turn: Turn, *, queue_work: bool = False) -> int:
    """Save *turn* as an observation and return its id. *queue_work*: it is to be consolidated."""
    stored = stored_turn(turn)
    if turn.interrupted and (answered := same_turn(memory, turn, stored.topic_key)):
        return answered
    # The published library has no such argument.
    queued: dict[str, Any] = {"queue_work": True} if queue_work else {}
    saved = memory.mem_save(
        turn.user_id,
        stored.content,
        type=TYPE,
        title=stored.title,
        topic_key=stored.topic_key,
        **queued,
        **conversation(memory, turn.conversation_id),
    )
    return saved.id


def same_turn(memory: ILabMemory, turn: Turn, topic_key: str) -> int:
    """Return the id of the turn that is stored under *topic_key*, 0 if none is: a repetition of the call was faster.

    Under the rolling key of a conversation, it may be any turn.
    """
    session = peek(memory, turn.user_id, turn.conversation_id)
    if not (session and session.session_id and topic_key.startswith(TURN_KEY)):
        return 0
    rows = recent(memory, turn, session.session_id, [topic_key], REPETITIONS)
    return next((observation_id(row) for row in rows if row.topic_key == topic_key), 0)


def recent(
    memory: ILabMemory, call: TurnRequest | Turn, session_id: str, key_prefixes: Sequence[str], limit: int
) -> list[Observation]:
    """Return the newest rows of the call's session with such keys, newest first; none without `mem_recent`.

    The published library does not have it: its users keep their memories and searches, and get no conversation.
    """
    if not hasattr(memory, "mem_recent"):
        return []
    return memory.mem_recent(
        call.user_id,
        session_id,
        limit,
        key_prefixes=list(key_prefixes),
        max_bytes=CONVERSATION_BYTES,
        **conversation(memory, call.conversation_id),
    )


def past_turns(rows: Iterable[Observation]) -> Iterator[PastTurn]:
    """Yield those of *rows* that this service stored as turns."""
    for row in rows:
        if is_turn(row) and (pair := spoken(row.content)):
            yield PastTurn(message=pair[0], reply=pair[1], recalled=recalled_turn(row))


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
        type=SUMMARY_TYPE,
        title=summary.summary[:SUMMARY_CHARACTERS],
        updated_at=datetime.fromisoformat(summary.date),
        source=MemorySource.SUMMARY,
    )


def observation_id(row: Observation) -> int:
    """Return the id of a stored row; only an observation that was never stored has none."""
    return row.id or 0
