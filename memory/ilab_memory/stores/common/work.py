"""The rules of consolidation that both stores share."""

from collections.abc import Iterable, Sequence

from ilab_memory.core.models import Observation
from ilab_memory.core.work import Work, WorkTurns


def fitting(work: Work, rows: Sequence[tuple[int, Observation]], *, limit: int, most_bytes: int, now: str) -> WorkTurns:
    """Return the first of *rows*, numbers and observations, that fit; those that have expired only move the cursor."""
    taken: list[Observation] = []
    cursor, size = work.cursor, 0
    for number, row in rows[:limit]:
        if not has_expired(row, now):
            size += len(row.content.encode())
            if taken and size > most_bytes:
                return WorkTurns.model_construct(observations=taken, cursor=cursor, has_more=True)
            taken.append(row)
        cursor = number
    return WorkTurns.model_construct(observations=taken, cursor=cursor, has_more=len(rows) > limit)


def has_expired(row: Observation, now: str) -> bool:
    """Return whether *row* has expired at *now*."""
    expire_time = getattr(row, "expire_time", None)
    return expire_time is not None and expire_time <= now


def replaces(stored: Sequence[object] | None, moment: object) -> bool:
    """Return whether what was derived from an observation of *moment* may replace what is *stored* under its key.

    *stored*: `pinned` and `updated_at` of the row, if there is one.
    """
    if stored is None:
        return True
    pinned, updated_at = stored
    return not pinned and not _is_after(updated_at, moment)


def ids(turns: Iterable[Observation]) -> list[int]:
    """Return the ids of *turns*."""
    return [turn.id or 0 for turn in turns]


def _is_after(one: object, other: object) -> bool:
    return bool(one > other)  # type: ignore[operator] # both are texts, or both are datetimes
