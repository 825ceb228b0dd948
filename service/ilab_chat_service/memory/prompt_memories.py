"""Conversion of the library's rows to memories of a prompt. Pure functions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ilab_chat_service.history import without_middle
from ilab_chat_service.limits import PROMPT_SUMMARY_BYTES
from ilab_chat_service.memory.turn_codec import TITLE, TYPE, decoded_turn, is_turn
from ilab_chat_service.message_statements.outdated import says_much
from ilab_chat_service.values import MemorySource, PastTurn, Recalled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ilab_memory.core.models import (
        Fact,
        Observation,
        ObservationCompact,
        RecallHit,
        SessionSummaryCompact,
        Statement,
    )

#: Type of the summaries of sessions, which are not observations.
SUMMARY_TYPE = "summary"


def past_turns(rows: Iterable[Observation]) -> Iterator[PastTurn]:
    """Yield those of *rows* that this service stored as turns."""
    for row in rows:
        if is_turn(row) and (pair := decoded_turn(row.content)):
            yield PastTurn(message=pair[0], reply=pair[1], recalled=recalled_turn(row))


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
