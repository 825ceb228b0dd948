"""The Memory port: read the memory for a message from the library, and store the turn in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ilab_chat_service.failures import MemoryUnavailable, TurnNotStored
from ilab_chat_service.history import since_anchor, without_middle
from ilab_chat_service.limits import CONTENT_BYTES, PROMPT_SUMMARY_BYTES
from ilab_chat_service.memory.earlier import with_earlier
from ilab_chat_service.memory.erasing import erase_observation
from ilab_chat_service.memory.executor import conversation_arguments, peek, start
from ilab_chat_service.memory.forgetting import forgotten_turn
from ilab_chat_service.memory.turn_codec import TITLE, TYPE, is_turn, spoken, stored_turn
from ilab_chat_service.privacy import REDACTED
from ilab_chat_service.statements.worth import says_much
from ilab_chat_service.time_zones import time_zone
from ilab_chat_service.values import (
    RESERVED_KEYS,
    TURN_KEY,
    Context,
    MemoryMode,
    MemorySource,
    PastTurn,
    Persisted,
    Recalled,
    Remembered,
    Turn,
    TurnRetention,
)
from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.models import NewFact
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import tzinfo

    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.ports import ResponseStore
    from ilab_chat_service.statements import Reading
    from ilab_chat_service.values import TurnRequest
    from ilab_memory import ILabMemory
    from ilab_memory.core.models import (
        Fact,
        Observation,
        ObservationCompact,
        RecallHit,
        SaveResult,
        SessionStartResponse,
        SessionSummaryCompact,
        Statement,
    )
    from ilab_memory.recall.meaning import Meaning

#: Number of turns of the session that are read for the conversation: more than fit into a usual prompt.
HISTORY_TURNS = 40
#: Maximum number of bytes of these turns: more than any prompt's budget, and at least one turn.
HISTORY_BYTES = CONTENT_BYTES
#: Number of the oldest of them among which the conversation begins, see `history.since_anchor`.
ANCHOR_TURNS = 16
#: Number of facts and of statements that are read for a prompt.
FACTS = 100
STATEMENTS = 100
#: Number of further statements, the nearest to the message, that are read for the space that is left.
RELATED = 12
#: Prefix of the topic_keys of facts that users stated. Callers may use it too: the newest value of a key wins.
FACT_KEY = "fact/"
#: Number of rows among which the turn of a repeated call is searched: other request ids may begin with this one.
REPETITIONS = 10
#: Type of the summaries of sessions, which are not observations.
SUMMARY_TYPE = "summary"


class MemoryAdapter:
    """The Memory port over the library.

    Args:
        library: the open library.
        responses: stored answers. They are erased with the observations that they contain.
        search_limit: maximum number of observations that the search for the message returns.
        queue_work: queue turns for consolidation.
    """

    def __init__(
        self, library: MemoryExecutor, responses: ResponseStore, *, search_limit: int, queue_work: bool = False
    ) -> None:
        self._library = library
        self._responses = responses
        self._search_limit = search_limit
        self._queue_work = queue_work

    async def hydrate(self, request: TurnRequest) -> Context:
        """See `ports.Memory.hydrate`. All reads of a call run in one visit to a thread.

        If it opens or touches a session, that is a thread for writes. So while writes are blocked, no model is asked
        for a reply that cannot be stored.
        """
        zone = await time_zone(request.time_zone)
        visit = self._library.write if request.memory_mode is MemoryMode.READ_WRITE else self._library.read
        return await visit(
            request.user_id, lambda memory: self._context(memory, request, zone), size=len(request.message.encode())
        )

    async def persist(self, turn: Turn) -> Persisted:
        """See `ports.Memory.persist`."""
        try:
            return await self._library.write(
                turn.user_id,
                lambda memory: save(memory, turn, queue_work=self._queue_work),
                has_deadline=False,
                saves=True,
                size=len(turn.message.encode()) + len(turn.reply.encode()),
            )
        except MemoryUnavailable as error:
            raise TurnNotStored("the turn could not be stored", cause=error.cause) from error

    async def forget(self, user_id: str, observation_id: int) -> None:
        """See `ports.Memory.forget`."""
        try:
            await erase_observation(self._library, self._responses, user_id, observation_id)
        except MemoryUnavailable as error:
            raise TurnNotStored("the turn could not be erased", cause=error.cause) from error

    def _context(self, memory: ILabMemory, request: TurnRequest, zone: tzinfo) -> Context:
        message = self._searched(request)
        # Embedded while everything else is read.
        meaning = memory.mem_meaning(message) if message and hasattr(memory, "mem_meaning") else None
        find = partial(self._found, memory, request, message, meaning=meaning, zone=zone)
        session = (
            start(memory, request.user_id, request.conversation_id)
            if request.memory_mode is MemoryMode.READ_WRITE
            else peek(memory, request.user_id, request.conversation_id)
        )
        if session is None:
            return Context(found=find(turns=()))
        turns = self._turns(memory, request, session)
        context = Context(
            session_id=session.session_id,
            is_new_session=session.is_new,
            facts=facts(memory, request, session),
            statements=statements(memory, request),
            summaries=summaries(request, session),
            turns=turns,
            found=find(turns=turns),
            related=related(memory, request, message, meaning),
            forgotten_id=forgotten_turn(request.reading, turns),
        )
        return with_earlier(context)

    def _searched(self, request: TurnRequest) -> str:
        """Return the text to search for. Empty: do not search."""
        message = strip_private(request.message).replace(REDACTED, " ")
        return message if message.strip() and self._search_limit else ""

    def _found(
        self,
        memory: ILabMemory,
        request: TurnRequest,
        message: str,
        *,
        meaning: Meaning | None,
        zone: tzinfo,
        turns: Sequence[PastTurn],
    ) -> tuple[Recalled, ...]:
        if not message:
            return ()
        previous = turns[-1].message if turns else None
        if not hasattr(memory, "mem_recall"):
            # The published library.
            found = memory.mem_search(
                request.user_id, message, limit=self._search_limit, types=list(request.memory_types) or None
            )
            return tuple(recalled(each, MemorySource.SEARCH, each.snippet) for each in found)
        hits = memory.mem_recall(
            request.user_id,
            message,
            limit=self._search_limit,
            previous=previous,
            types=request.memory_types,
            time_zone=zone,
            meaning=meaning,
        )
        return tuple(map(recalled_hit, hits))

    def _turns(self, memory: ILabMemory, request: TurnRequest, session: SessionStartResponse) -> tuple[PastTurn, ...]:
        """Return the last turns of *session*, oldest first."""
        if session.is_new or not session.session_id or not allows(request, TYPE):
            return ()
        rows = recent(memory, request, session.session_id, RESERVED_KEYS, HISTORY_TURNS)
        if len(rows) == HISTORY_TURNS:
            rows = list(since_anchor(rows[::-1], ANCHOR_TURNS, id_of=observation_id))[::-1]
        return tuple(past_turns(reversed(rows)))


def allows(request: TurnRequest, *types: str) -> bool:
    """Return whether observations of one of *types* may enter the prompt."""
    return not request.memory_types or any(each in request.memory_types for each in types)


def facts(memory: ILabMemory, request: TurnRequest, session: SessionStartResponse) -> tuple[Recalled, ...]:
    """Return the facts about the user, most important first."""
    types = [each for each in FACT_TYPES if allows(request, each)]
    if not types:
        return ()
    if not hasattr(memory, "mem_facts"):
        # The published library: the best of the last sessions.
        return tuple(recalled(item, MemorySource.FACT, item.snippet) for item in session.memories if item.type in types)
    rows = memory.mem_facts(request.user_id, types=types if request.memory_types else (), limit=FACTS)
    return tuple(map(recalled_fact, rows))


def statements(memory: ILabMemory, request: TurnRequest) -> tuple[Recalled, ...]:
    """Return the user's statements about themselves, oldest first, without replaced ones."""
    if not (allows(request, TYPE) and hasattr(memory, "mem_about")):
        return ()
    rows = memory.mem_about(request.user_id, limit=STATEMENTS)
    return tuple(recalled_statement(row) for row in reversed(rows) if not row.is_earlier)


def related(memory: ILabMemory, request: TurnRequest, message: str, meaning: Meaning | None) -> tuple[Recalled, ...]:
    """Return what the user said that is nearest to *message* in meaning, the nearest first."""
    if not (message and meaning and hasattr(memory, "mem_related")):
        return ()
    rows = memory.mem_related(request.user_id, message, limit=RELATED, types=request.memory_types, meaning=meaning)
    return tuple(replace(recalled_hit(row), source=MemorySource.FACT, score=0.0) for row in rows)


def summaries(request: TurnRequest, session: SessionStartResponse) -> tuple[Recalled, ...]:
    """Return the summaries of the last sessions, newest first, without automatic ones, which have no content."""
    if not allows(request, SUMMARY_TYPE):
        return ()
    return tuple(recalled_summary(each) for each in session.sessions_context if not each.is_auto_generated)


def save(memory: ILabMemory, turn: Turn, *, queue_work: bool = False) -> Persisted:
    """Save *turn* as an observation, and the facts in its message. *queue_work*: queue it for consolidation."""
    stored = stored_turn(turn)
    if turn.interrupted and (answered := same_turn(memory, turn, stored.topic_key)):
        return Persisted(observation_id=answered)
    conversation = conversation_arguments(memory, turn.conversation_id)
    stated = new_facts(turn.reading) if hasattr(memory, "mem_facts") else []
    results: Sequence[SaveResult] = ()
    if turn.retention is TurnRetention.LATEST_ONLY:
        # The next turn overwrites the observation of this one, and the facts must stay.
        results = [memory.mem_save(turn.user_id, **fact.model_dump(), **conversation) for fact in stated]
    # The published library has no such argument.
    queued: dict[str, Any] = {"queue_work": True} if queue_work else {}
    saved = memory.mem_save(
        turn.user_id,
        stored.content,
        type=TYPE,
        title=stored.title,
        topic_key=stored.topic_key,
        **queued,
        **conversation,
        **stating(memory, turn.reading, [] if results else stated),
    )
    if stated and not results:
        results = saved.facts
    return Persisted(observation_id=saved.id, remembered=tuple(remembered(stated, results)))


def same_turn(memory: ILabMemory, turn: Turn, topic_key: str) -> int:
    """Return the id of the turn that a faster repeat of the call has stored under *topic_key*, or 0.

    Always 0 for the rolling key of a conversation, under which any turn may be stored.
    """
    session = peek(memory, turn.user_id, turn.conversation_id)
    if not (session and session.session_id and topic_key.startswith(TURN_KEY)):
        return 0
    rows = recent(memory, turn, session.session_id, [topic_key], REPETITIONS)
    return next((observation_id(row) for row in rows if row.topic_key == topic_key), 0)


def recent(
    memory: ILabMemory, call: TurnRequest | Turn, session_id: str, key_prefixes: Sequence[str], limit: int
) -> list[Observation]:
    """Return the newest rows of the call's session with keys that begin with *key_prefixes*, newest first.

    Empty with the published library, which has no `mem_recent`: then the prompt contains no conversation.
    """
    if not hasattr(memory, "mem_recent"):
        return []
    return memory.mem_recent(
        call.user_id,
        session_id,
        limit,
        key_prefixes=list(key_prefixes),
        max_bytes=HISTORY_BYTES,
        **conversation_arguments(memory, call.conversation_id),
    )


def past_turns(rows: Iterable[Observation]) -> Iterator[PastTurn]:
    """Yield those of *rows* that this service stored as turns."""
    for row in rows:
        if is_turn(row) and (pair := spoken(row.content)):
            yield PastTurn(message=pair[0], reply=pair[1], recalled=recalled_turn(row))


def new_facts(reading: Reading) -> list[NewFact]:
    """Return the facts that a message states, for saving them with its turn."""
    return [
        NewFact(
            type=fact.type,
            title=fact.topic_key.replace("/", ": ", 1),
            content=fact.text,
            topic_key=FACT_KEY + fact.topic_key,
            pinned=fact.standing,
        )
        # The last statement of a message about a topic counts.
        for fact in {each.topic_key: each for each in reading.facts}.values()
    ]


def stating(memory: ILabMemory, reading: Reading, stated: Sequence[NewFact]) -> dict[str, Any]:
    """Return the arguments of a save for the statements of a message. The published library does not have them."""
    if not hasattr(memory, "mem_facts") or not (stated or reading.pool):
        return {}
    return {"facts": stated, "about": "\n".join(reading.pool) or None}


def remembered(stated: Iterable[NewFact], results: Iterable[SaveResult]) -> Iterator[Remembered]:
    """Yield those of the facts *stated* that were added or changed."""
    for fact, result in zip(stated, results, strict=True):
        if result.outcome != "deduped":
            yield Remembered(
                observation_id=result.id,
                type=fact.type,
                title=fact.title,
                content=fact.content,
                topic_key=fact.topic_key,
                pinned=fact.pinned,
            )


def recalled(item: ObservationCompact, source: MemorySource, snippet: str) -> Recalled:
    """Convert an observation of a list."""
    return Recalled(
        observation_id=item.id,
        type=item.type,
        title=item.title,
        snippet=snippet,
        updated_at=datetime.fromisoformat(item.updated_at),
        source=source,
    )


def recalled_fact(row: Fact) -> Recalled:
    """Convert a fact."""
    return Recalled(
        observation_id=row.id,
        type=row.type,
        title=row.title,
        snippet=row.content,
        updated_at=datetime.fromisoformat(row.updated_at),
        source=MemorySource.FACT,
        pinned=row.pinned,
        source_ids=tuple(row.source_ids),
    )


def recalled_statement(row: Statement) -> Recalled:
    """Convert a statement of the user about themselves."""
    return Recalled(
        observation_id=row.observation_id,
        type=TYPE,
        title="",
        snippet=row.text,
        updated_at=datetime.fromisoformat(row.updated_at),
        source=MemorySource.FACT,
        says_little=not says_much(row.text),
    )


def recalled_hit(hit: RecallHit) -> Recalled:
    """Convert a search hit. Omit the title of a turn, which is only the beginning of its message."""
    return Recalled(
        observation_id=hit.id,
        type=hit.type,
        title="" if hit.title.startswith(TITLE) else hit.title,
        snippet=hit.passage,
        score=hit.score,
        updated_at=datetime.fromisoformat(hit.updated_at),
        source=MemorySource.SEARCH,
        is_earlier=hit.is_earlier,
    )


def recalled_turn(row: Observation) -> Recalled:
    """Convert a turn of the session."""
    return Recalled(
        observation_id=observation_id(row),
        type=row.type,
        title="",
        updated_at=datetime.fromisoformat(row.updated_at),
        source=MemorySource.TURN,
    )


def recalled_summary(summary: SessionSummaryCompact) -> Recalled:
    """Convert the summary of an earlier session."""
    return Recalled(
        observation_id=0,
        type=SUMMARY_TYPE,
        title="",
        snippet=without_middle(summary.summary, PROMPT_SUMMARY_BYTES),
        updated_at=datetime.fromisoformat(summary.date),
        source=MemorySource.SUMMARY,
    )


def observation_id(row: Observation) -> int:
    """Return the id of a stored row. Only an observation that was never stored has no id."""
    return row.id or 0
