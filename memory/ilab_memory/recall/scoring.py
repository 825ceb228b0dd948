"""The two scores of the documented contract. Pure; both in [0, 1]; never compared with each other.

SearchScore  = 0.60 fts5_rank + 0.25 recency  + 0.15 revision
ContextScore = 0.50 recency   + 0.30 revision + 0.20 type_priority
"""

from datetime import datetime

#: Half-life of recency, in days (documented contract).
HALF_LIFE_DAYS = 30.0
#: Revisions that count (documented contract).
REVISION_CAP = 10

#: Share of the SearchScore that how well the words match decides (documented contract).
RANK_WEIGHT = 0.60

_SECONDS_A_DAY = 86_400.0
_PRIORITIES = {"profile": 1.0, "preference": 0.9, "summary": 0.8, "decision": 0.7, "pattern": 0.6, "discovery": 0.5}
_CUSTOM_PRIORITY = 0.5


def search_score(fts5_rank: float, *, updated_at: str, revision_count: int, now: datetime) -> float:
    """Return the SearchScore of a row whose BM25 is *fts5_rank* of the best one's."""
    return RANK_WEIGHT * fts5_rank + 0.25 * recency(updated_at, now) + 0.15 * revision(revision_count)


def context_score(observation_type: str, *, updated_at: str, revision_count: int, now: datetime) -> float:
    """Return the ContextScore of a row."""
    return 0.50 * recency(updated_at, now) + 0.30 * revision(revision_count) + 0.20 * type_priority(observation_type)


def recency(updated_at: str, now: datetime) -> float:
    """Return 1.0 for now or a date to come, one half after HALF_LIFE_DAYS, and so on."""
    age_days = (now - datetime.fromisoformat(updated_at)).total_seconds() / _SECONDS_A_DAY
    return 1.0 if age_days <= 0 else 0.5 ** (age_days / HALF_LIFE_DAYS)


def revision(revision_count: int) -> float:
    """Return the share of REVISION_CAP that *revision_count* reaches, at most 1.0."""
    return min(revision_count, REVISION_CAP) / REVISION_CAP


def type_priority(observation_type: str) -> float:
    """Return how much an observation of this type is worth at the start of a session."""
    return _PRIORITIES.get(observation_type, _CUSTOM_PRIORITY)
