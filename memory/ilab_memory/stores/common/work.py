"""The rules of consolidation that both stores share."""

from collections.abc import Iterable, Sequence
from typing import Any

from ilab_memory.core.models import Observation
from ilab_memory.core.work import Work, WorkTurns


def claimed(lease: str, row: Sequence[Any] | None) -> Work | None:
    """Return the work of a row that was claimed with *lease*, None without a row."""
    if row is None:
        return None
    user_id, cursor, pending, attempts, tokens_used = row
    return Work(
        user_id=user_id, lease=lease, cursor=cursor, pending=pending, attempts=attempts, tokens_used=tokens_used
    )


def fitting(work: Work, rows: Sequence[tuple[int, Observation]], *, limit: int, most_bytes: int, now: str) -> WorkTurns:
    """Return the first of *rows*, numbers and observations, that fit; those that have expired only move the cursor."""
    taken: list[Observation] = []
    cursor, size = work.cursor, 0
    for number, row in rows[:limit]:
        if row.expire_time is None or row.expire_time > now:
            size += len(row.content.encode())
            if taken and size > most_bytes:
                return WorkTurns.model_construct(observations=taken, cursor=cursor, has_more=True)
            taken.append(row)
        cursor = number
    return WorkTurns.model_construct(observations=taken, cursor=cursor, has_more=len(rows) > limit)


def replaces(stored: Sequence[Any] | None, moment: str) -> bool:
    """Return whether what was derived from an observation of *moment* may replace what is *stored* under its key.

    *stored*: `pinned` and `updated_at` of the row, if there is one.
    """
    if stored is None:
        return True
    pinned, updated_at = stored
    return not pinned and bool(updated_at <= moment)


def ids(turns: Iterable[Observation]) -> list[int]:
    """Return the ids of *turns*."""
    return [turn.id or 0 for turn in turns]
