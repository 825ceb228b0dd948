"""Reads of facts and of what observations say about the user."""

from collections.abc import Collection
from datetime import datetime

from ilab_memory.core.models import Fact, Statement
from ilab_memory.core.store import FactCursor
from ilab_memory.limits import LARGEST_ID
from ilab_memory.stores.postgres import fact_statements, reading
from ilab_memory.stores.postgres.connections import Connections

# Later than every moment.
_AFTER_ALL = "infinity"


def facts(
    connections: Connections,
    user_id: str,
    *,
    types: Collection[str] | None,
    now: datetime,
    limit: int,
    before: FactCursor | None,
) -> list[Fact]:
    """See `Store.facts`."""
    pinned, moment, observation_id = before or (True, _AFTER_ALL, 0)
    rows = connections.rows(
        "list the facts",
        fact_statements.LIST_FACTS,
        user_id=user_id,
        types=None if types is None else list(types),
        now=now,
        pinned=pinned,
        moment=moment,
        key=min(observation_id, LARGEST_ID),
        limit=limit,
    )
    return [reading.fact(row) for row in rows]


def about(connections: Connections, user_id: str, *, now: datetime, limit: int, characters: int) -> list[Statement]:
    """See `Store.about`."""
    rows = connections.rows(
        "list the statements", fact_statements.LIST_ABOUT, user_id=user_id, now=now, limit=limit, characters=characters
    )
    return [reading.statement(row) for row in rows]


def earlier_sources(connections: Connections, user_id: str, observation_ids: Collection[int]) -> Collection[int]:
    """See `Store.earlier_sources`."""
    rows = connections.rows(
        "look for earlier statements", fact_statements.EARLIER_SOURCES, user_id=user_id, ids=list(observation_ids)
    )
    return {observation_id for (observation_id,) in rows}
