"""Facts and their sources: writes inside an operation of the writer, and reads on a reader's connection."""

import json
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from ilab_memory.core.models import Fact, SaveResult, Statement
from ilab_memory.core.store import FactCursor, Redacted, Source
from ilab_memory.limits import LARGEST_ID
from ilab_memory.stores.common import rows
from ilab_memory.stores.sqlite import fact_statements, removing, saving, statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry
from ilab_memory.stores.sqlite.transaction import Transaction
from ilab_memory.timestamps import to_text

_FIRST: FactCursor = (True, "~", 0)


class Facts(NamedTuple):
    """The facts of a save, with their index entries."""

    user_id: str
    redacted: Sequence[Redacted]
    indexed: Sequence[IndexEntry]


def settle(transaction: Transaction, user: saving.UserNow, saved: SaveResult, facts: Facts, now: str) -> SaveResult:
    """Save the *facts* of the observation that was *saved*, see `Store.save`; return its result with theirs."""
    derived = {} if saved.outcome == "created" else removing.derived(transaction, user.key, saved.id)
    results = []
    for fact, entry in zip(facts.redacted, facts.indexed, strict=True):
        if saved.outcome == "deduped" and (known := _id(transaction, user, fact)) in derived:
            results.append(saving.result(known, "deduped", user, fact))
            continue
        fact_id, outcome = saving.save_keyed(transaction, user, fact, saving.row(user, fact, entry, now), entry)
        transaction.execute(fact_statements.ADD_SOURCE, (user.key, fact_id, saved.id))
        results.append(saving.result(fact_id, outcome, user, fact))
    if saved.outcome == "updated":
        kept = {result.id for result in results}
        removing.unlink(transaction, facts.user_id, user.key, saved.id, kept=kept, analyzed=IndexEntry)
    return saved.model_copy(update={"facts": tuple(results)}) if results else saved


def add_sources(transaction: Transaction, user_id: str, sources: Sequence[Source]) -> None:
    """See `Store.add_sources`."""
    transaction.executemany(
        fact_statements.IMPORT_SOURCE,
        [(user_id, fact, source, is_earlier) for fact, source, is_earlier in sources],
    )


def facts(
    connection: sqlite3.Connection,
    user_id: str,
    *,
    types: Collection[str] | None,
    now: datetime,
    limit: int,
    before: FactCursor | None,
) -> list[Fact]:
    """See `Store.facts`."""
    pinned, moment, observation_id = before or _FIRST
    asked = (
        user_id,
        to_text(now),
        None if types is None else json.dumps(list(types)),
        pinned,
        moment,
        min(observation_id, LARGEST_ID),
        limit,
    )
    (found,) = connection.execute(fact_statements.LIST_FACTS, asked).fetchone()
    return [rows.fact(row) for row in json.loads(found)]


def about(
    connection: sqlite3.Connection, user_id: str, *, now: datetime, limit: int, characters: int
) -> list[Statement]:
    """See `Store.about`."""
    asked = (user_id, to_text(now), limit, characters)
    (found,) = connection.execute(fact_statements.LIST_ABOUT, asked).fetchone()
    return [rows.statement(row) for row in json.loads(found)]


def earlier_sources(connection: sqlite3.Connection, user_id: str, observation_ids: Collection[int]) -> Collection[int]:
    """See `Store.earlier_sources`."""
    found = connection.execute(fact_statements.EARLIER_SOURCES, (user_id, json.dumps(list(observation_ids))))
    return {observation_id for (observation_id,) in found}


def _id(transaction: Transaction, user: saving.UserNow, fact: Redacted) -> int:
    """Return the id of the stored fact of this topic key, or 0."""
    found = transaction.execute(statements.BY_KEY, (user.key, fact.topic_key)).fetchone()
    return 0 if found is None else int(found[0])
