"""The two scores of the documented contract. Both are in [0, 1]; never compare one with the other. Pure.

SearchScore  = 0.60 fts5_rank + 0.25 recency  + 0.15 revision
ContextScore = 0.50 recency   + 0.30 revision + 0.20 type_priority
"""

from datetime import datetime

#: Half-life of recency, in days (documented contract).
HALF_LIFE_DAYS = 30.0
#: Number of revisions at which `revision` reaches 1 (documented contract).
REVISION_CAP = 10

#: Weight of the text match in SearchScore (documented contract).
RANK_WEIGHT = 0.60

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
