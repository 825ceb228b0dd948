"""Hydrate: read what the memory knows for a message, on one thread."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from ilab_chat_service.history import since_anchor, without_middle
from ilab_chat_service.limits import CONTENT_BYTES, PROMPT_SUMMARY_BYTES
from ilab_chat_service.memory.outdated_marks import states_replaced, with_outdated_marks
from ilab_chat_service.memory.turn_codec import TITLE, TYPE, decoded_turn, is_turn
from ilab_chat_service.message_statements.outdated import says_much
from ilab_chat_service.values import RESERVED_KEYS, Context, MemoryMode, MemorySource, PastTurn, Recalled
from ilab_memory.core.config import FACT_TYPES
from ilab_memory.redaction import REDACTED, strip_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import tzinfo

    from ilab_chat_service.memory.outdated_marks import Sources
    from ilab_chat_service.values import Turn, TurnRequest
    from ilab_memory import ILabMemory
    from ilab_memory.core.models import (
        Fact,
        Observation,
        RecallHit,
        SessionStartResponse,
        SessionSummaryCompact,
        Statement,
    )
    from ilab_memory.recall.meaning import Meaning

#: Type of the summaries of sessions, which are not observations.
SUMMARY_TYPE = "summary"

#: Number of turns of the session that are read for the conversation: more than fit into a usual prompt.
HISTORY_TURNS = 40
#: Maximum number of bytes of these turns: more than any prompt's budget, and at least one turn.
HISTORY_BYTES = CONTENT_BYTES
#: Number of the oldest of them among which the conversation begins, see `history.since_anchor`.
ANCHOR_TURNS = 16
#: Number of facts and of statements that are read for a prompt.
FACTS = 100
STATEMENTS = 100
#: Number of messages whose fact was replaced that are read again for their other statements, the newest.
EARLIER_MESSAGES = 16
#: Number of further statements, the nearest to the message, that are read for the space that is left.
RELATED = 12


def hydrated(memory: ILabMemory, request: TurnRequest, zone: tzinfo, *, search_limit: int) -> Context:
    """Return the context of *request*, whose dates are in *zone*. Opens or touches a session if the call may write.

    *search_limit*: maximum number of observations that the search for the message returns; 0: do not search.
    """
    message = strip_private(request.message).replace(REDACTED, " ").strip() if search_limit else ""
    # Embedded while everything else is read.
    meaning = memory.mem_meaning(message) if message else None
    writes = request.memory_mode is MemoryMode.READ_WRITE
    session_of = memory.mem_session_start if writes else memory.mem_session_peek
    session = session_of(request.user_id, conversation_id=request.conversation_id, with_memories=False)
    past = turns(memory, request, session)
    known = facts(memory, request)
    sources = {row.topic_key: row.source_ids for row in known if row.topic_key}
    previous = past[-1].message if past else None
    context = Context(
        session_id=session.session_id,
        is_new_session=session.is_new,
        facts=tuple(map(recalled_fact, known)),
        statements=statements(memory, request, sources),
        summaries=summaries(request, session),
        turns=past,
        found=found(memory, request, message, meaning=meaning, zone=zone, previous=previous, limit=search_limit),
        related=related(memory, request, message, meaning),
    )
    return with_outdated_marks(context, sources)


def allows(request: TurnRequest, *types: str) -> bool:
    """Return whether observations of one of *types* may enter the prompt."""
    return not request.memory_types or any(each in request.memory_types for each in types)


def turns(memory: ILabMemory, request: TurnRequest, session: SessionStartResponse) -> tuple[PastTurn, ...]:
    """Return the last turns of *session*, oldest first."""
    if session.is_new or not session.session_id or not allows(request, TYPE):
        return ()
    rows = recent(memory, request, session.session_id, RESERVED_KEYS, HISTORY_TURNS)
    if len(rows) == HISTORY_TURNS:
        rows = list(since_anchor(rows[::-1], ANCHOR_TURNS, id_of=observation_id))[::-1]
    return tuple(past_turns(reversed(rows)))


def facts(memory: ILabMemory, request: TurnRequest) -> list[Fact]:
    """Return the facts about the user, most important first."""
    types = [each for each in FACT_TYPES if allows(request, each)]
    if not types:
        return []
    return memory.mem_facts(request.user_id, types=types if request.memory_types else (), limit=FACTS)


def statements(memory: ILabMemory, request: TurnRequest, sources: Sources) -> tuple[Recalled, ...]:
    """Return the user's statements about themselves, oldest first, without replaced ones.

    If a fact that was replaced is a sentence of the message ("I live in Hamburg."), the statements are its other
    sentences, which hold. Otherwise it was derived from them.
    """
    if not allows(request, TYPE):
        return ()

    def others_hold(observation_id: int) -> bool:
        row = memory.mem_get_observation(request.user_id, observation_id)
        pair = decoded_turn(row.content) if row else None
        return pair is not None and states_replaced(pair[0], observation_id, sources)

    rows = memory.mem_about(request.user_id, limit=STATEMENTS)
    earlier = dict.fromkeys(row.observation_id for row in rows if row.is_earlier)
    hold = {each for each in islice(earlier, EARLIER_MESSAGES) if others_hold(each)}
    kept = (row for row in reversed(rows) if not row.is_earlier or row.observation_id in hold)
    return tuple(map(recalled_statement, kept))


def summaries(request: TurnRequest, session: SessionStartResponse) -> tuple[Recalled, ...]:
    """Return the summaries of the last sessions, newest first, without automatic ones, which have no content."""
    if not allows(request, SUMMARY_TYPE):
        return ()
    return tuple(recalled_summary(each) for each in session.sessions_context if not each.is_auto_generated)


def found(
    memory: ILabMemory,
    request: TurnRequest,
    message: str,
    *,
    meaning: Meaning | None,
    zone: tzinfo,
    previous: str | None,
    limit: int,
) -> tuple[Recalled, ...]:
    """Return the *limit* observations that are relevant to *message*, best first. *previous*: the message before."""
    if not message:
        return ()
    hits = memory.mem_recall(
        request.user_id,
        message,
        limit=limit,
        previous=previous,
        types=request.memory_types,
        time_zone=zone,
        meaning=meaning,
        hits_only=True,
    )
    return tuple(map(recalled_hit, hits))


def related(memory: ILabMemory, request: TurnRequest, message: str, meaning: Meaning | None) -> tuple[Recalled, ...]:
    """Return what the user said that is nearest to *message* in meaning, the nearest first."""
    if not meaning:
        return ()
    rows = memory.mem_related(request.user_id, message, limit=RELATED, types=request.memory_types, meaning=meaning)
    return tuple(replace(recalled_hit(row), source=MemorySource.FACT, score=0.0) for row in rows)


def recent(
    memory: ILabMemory, call: TurnRequest | Turn, session_id: str, key_prefixes: Sequence[str], limit: int
) -> list[Observation]:
    """Return the newest rows of the call's session with keys that begin with *key_prefixes*, newest first."""
    return memory.mem_recent(
        call.user_id,
        session_id,
        limit,
        key_prefixes=list(key_prefixes),
        max_bytes=HISTORY_BYTES,
        conversation_id=call.conversation_id,
    )


def past_turns(rows: Iterable[Observation]) -> Iterator[PastTurn]:
    """Yield those of *rows* that this service stored as turns."""
    for row in rows:
        if is_turn(row) and (pair := decoded_turn(row.content)):
            recalled = Recalled(
                observation_id=observation_id(row),
                type=row.type,
                title="",
                updated_at=datetime.fromisoformat(row.updated_at),
                source=MemorySource.TURN,
            )
            yield PastTurn(message=pair[0], reply=pair[1], recalled=recalled)


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
