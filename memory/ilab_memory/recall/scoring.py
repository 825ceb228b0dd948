"""The two scores of the documented contract, and an observation in a list with one of them. Pure.

Both scores are in [0, 1]; never compare one with the other.

SearchScore  = 0.60 fts5_rank + 0.25 recency  + 0.15 revision
ContextScore = 0.50 recency   + 0.30 revision + 0.20 type_priority
"""

from datetime import datetime

from ilab_memory.core.models import ObservationCompact
from ilab_memory.core.store import Preview

#: Half-life of recency, in days (documented contract).
HALF_LIFE_DAYS = 30.0
#: Number of revisions at which `revision` reaches 1 (documented contract).
REVISION_CAP = 10

#: Weight of the text match in SearchScore (documented contract).
RANK_WEIGHT = 0.60

#: A snippet has about 100 tokens (documented contract), of four characters.
SNIPPET_CHARACTERS = 400
#: Characters of the content that a `Preview` needs: one more than a snippet shows whether it has to be cut.
PREVIEW_CHARACTERS = SNIPPET_CHARACTERS + 1

_SECONDS_A_DAY = 86_400.0
_PRIORITIES = {"profile": 1.0, "preference": 0.9, "summary": 0.8, "decision": 0.7, "pattern": 0.6, "discovery": 0.5}
_CUSTOM_PRIORITY = 0.5


def search_score(fts5_rank: float, *, updated_at: str, revision_count: int, now: datetime) -> float:
    """Return the SearchScore of a row. *fts5_rank*: its BM25 divided by the best BM25 of the result."""
    return RANK_WEIGHT * fts5_rank + 0.25 * recency(updated_at, now) + 0.15 * revision(revision_count)


def context_score(observation_type: str, *, updated_at: str, revision_count: int, now: datetime) -> float:
    """Return the ContextScore of a row."""
    return 0.50 * recency(updated_at, now) + 0.30 * revision(revision_count) + 0.20 * type_priority(observation_type)


def recency(updated_at: str, now: datetime) -> float:
    """Return the exponential decay since *updated_at*: 0.5 after HALF_LIFE_DAYS, 1.0 for a future date."""
    age_days = (now - datetime.fromisoformat(updated_at)).total_seconds() / _SECONDS_A_DAY
    return 1.0 if age_days <= 0 else 0.5 ** (age_days / HALF_LIFE_DAYS)


def revision(revision_count: int) -> float:
    """Return *revision_count* as a fraction of REVISION_CAP, at most 1.0."""
    return min(revision_count, REVISION_CAP) / REVISION_CAP


def type_priority(observation_type: str) -> float:
    """Return the priority of an observation type at the start of a session."""
    return _PRIORITIES.get(observation_type, _CUSTOM_PRIORITY)


def compact(row: Preview, score: float) -> ObservationCompact:
    """Return *row* as one of a list, with its score and a snippet of its content."""
    # Faster than model_construct, which goes through the fields in Python.
    return ObservationCompact(
        id=row.id,
        type=row.type,
        title=row.title,
        topic_key=row.topic_key,
        score=score,
        snippet=snippet(row.content),
        updated_at=row.updated_at,
    )


def snippet(content: str) -> str:
    """Return the beginning of *content*, cut at the last space if that is near the end."""
    if len(content) <= SNIPPET_CHARACTERS:
        return content
    cut = content[: SNIPPET_CHARACTERS - 3]
    head, space, last = cut.rpartition(" ")
    return (head if space and len(last) < SNIPPET_CHARACTERS // 10 else cut) + "..."
