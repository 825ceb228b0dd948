"""What was said in a period: the answer to "What did we talk about yesterday?", which has no word to look up."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.models import Observation, RecallHit
from ilab_memory.core.store import Store
from ilab_memory.recall import message_query, passage
from ilab_memory.recall.dates import Period
from ilab_memory.timestamps import to_text

#: Maximum number of results, and of rows that are read for them. A long period is read in parts:
#: the newest rows of each.
MOST_RESULTS, MOST_ROWS, MOST_PARTS = 20, 60, 7
#: Maximum number of bytes of content that are read of each part. One row is always read.
PART_BYTES = 65_536
#: Characters of a row that its features are found in.
READ_CHARACTERS = 512
#: Score of a row, and the gains of a statement about the user and of a row with LONG_ENOUGH characters.
SCORE, STATEMENT_GAIN, LENGTH_GAIN, LONG_ENOUGH = 0.5, 0.2, 0.3, 150


def said_within(store: Store, user_id: str, types: frozenset[str], period: Period, now: datetime) -> list[RecallHit]:
    """Return what the user said in *period*, the most telling first: one row of what was said several times.

    Without greetings and thanks. Facts are left out unless *types* has them: they repeat what was said.
    """
    parts = max(1, min(MOST_PARTS, (period.end - period.start) // timedelta(days=1)))
    length = (period.end - period.start) / parts
    best: dict[str, RecallHit] = {}
    for part in reversed(range(parts)):
        within = Period(period.start + part * length, period.start + (part + 1) * length)
        hits = dict(_hits(_rows(store, user_id, types, within, now, limit=MOST_ROWS // parts)))
        telling = sorted(hits, key=lambda said: (hits[said].score, hits[said].updated_at), reverse=True)
        for said in telling[: -(-MOST_RESULTS // parts)]:
            best.setdefault(said, hits[said])
    return sorted(best.values(), key=lambda hit: (hit.score, hit.updated_at, hit.id), reverse=True)[:MOST_RESULTS]


def _rows(
    store: Store, user_id: str, types: frozenset[str], period: Period, now: datetime, *, limit: int
) -> Iterator[Observation]:
    """Yield the newest rows of *period*, oldest first."""
    start, end = map(to_text, period)
    rows = store.list_observations(
        user_id,
        types=types or None,
        conversation_id=None,
        limit=limit,
        most_bytes=PART_BYTES,
        before=(end, 0),
    )
    for row in reversed(rows):
        if row.updated_at >= start and _is_shown(row, types, now):
            yield row


def _is_shown(row: Observation, types: frozenset[str], now: datetime) -> bool:
    has_expired = row.expire_time is not None and row.expire_time <= to_text(now)
    return not has_expired and (bool(types) or row.type not in FACT_TYPES)


def _hits(rows: Iterable[Observation]) -> Iterator[tuple[str, RecallHit]]:
    """Yield what was said, normalized, with its hit; without greetings and thanks."""
    for row in rows:
        said = passage.parts(row.content[:READ_CHARACTERS]).said
        if message_query.content_terms(said[: passage.PASSAGE_CHARACTERS]):
            yield passage.normalized(said), _hit(row, said)


def _hit(row: Observation, said: str) -> RecallHit:
    is_statement = message_query.speaks_of_user(said) and not message_query.is_question(said)
    length = LENGTH_GAIN * min(1.0, len(said) / LONG_ENOUGH)
    return RecallHit(
        id=row.id or 0,
        type=row.type,
        title=row.title,
        passage=passage.cut(said, passage.SHORT_PASSAGE_CHARACTERS),
        score=SCORE + length + STATEMENT_GAIN * is_statement,
        updated_at=row.updated_at,
    )
