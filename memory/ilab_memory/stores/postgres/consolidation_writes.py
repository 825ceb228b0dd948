"""Writes of what a consolidation found. Each function runs inside one transaction, and commits it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from ilab_memory.core.work import Work, WorkTurns, day
from ilab_memory.core.work_store import Derived, Finished, Retired
from ilab_memory.stores.common.work import ids, replaces
from ilab_memory.stores.postgres import fact_statements, statements, work_statements
from ilab_memory.stores.postgres.blind_index import IndexEntry
from ilab_memory.stores.postgres.connections import Query, Row, Transaction
from ilab_memory.stores.postgres.saves import Saving
from ilab_memory.stores.postgres.user_sessions import SessionNow, User


class _Source(NamedTuple):
    """A turn that something is derived from."""

    updated_at: datetime
    session: SessionNow


class _Found(NamedTuple):
    """The stored rows that a consolidation needs."""

    sources: Mapping[int, _Source]
    """The turns, by id."""
    rows: Mapping[str, Row]
    """The observations of the keys that it writes, for `Saving.save`."""
    stored: Mapping[str, Row]
    """The id, `pinned`, the time and the content of the same."""


def finish(transaction: Transaction, *, work: Work, turns: WorkTurns, finished: Finished) -> bool:
    """See `WorkStore.finish_work`. Repeated after a lost connection, it finds its own lease ended."""
    read = ids(turns.observations)
    keys = [derived.redacted.topic_key for derived in (*finished.facts, *finished.summaries)]
    asked: dict[str, Any] = {
        "user_id": work.user_id,
        "lease": work.lease,
        "ids": read,
        "cursor": turns.cursor,
        "topic_keys": [*keys, *(retired.topic_key for retired in finished.retired)],
    }
    users, claimed, sources, rows, stored = transaction.ask(
        (statements.LOCK_USER, asked),
        (work_statements.CLAIMED, asked),
        (work_statements.SOURCES, asked),
        (statements.FACTS_BY_KEY, asked),
        (work_statements.STORED, asked),
    )
    if not users or not claimed or len(sources) != len(read):
        return False
    found = _Found(
        {each[0]: _Source(each[1], SessionNow(*each[2:])) for each in sources},
        {row[0]: row[1:] for row in rows},
        {row[0]: row[1:] for row in stored},
    )
    writing = _Consolidating(work.user_id, User._make(users[0]), found)
    for fact in finished.facts:
        writing.derive(fact)
    for retired in finished.retired:
        writing.retire(retired, finished.now)
    for summary in finished.summaries:
        writing.summarize(summary)
    end = {
        "consumed": finished.consumed,
        "now": finished.now,
        "day": day(finished.now),
        "tokens_used": finished.tokens_used,
    }
    writing.commit(transaction, (work_statements.FINISH, asked | end))
    return True


class _Consolidating:
    """The rows that one consolidation writes."""

    def __init__(self, user_id: str, user: User, found: _Found) -> None:
        self._user_id = user_id
        self._found = found
        self._saving = Saving(user_id, user)
        self._other: list[Query] = []

    def derive(self, derived: Derived) -> _Source | None:
        """Store *derived* in the session of its last source, at the time of that; None if a newer value is stored."""
        key = derived.redacted.topic_key or ""
        source = max((self._found.sources[each] for each in derived.source_ids), key=lambda each: each.updated_at)
        stored = self._found.stored.get(key)
        if not replaces(stored and stored[1:3], source.updated_at):
            return None
        redacted = replace(derived.redacted, conversation_id=source.session.conversation_id)
        self._saving.enter(source.session, source.updated_at)
        entry = IndexEntry(redacted.title, redacted.content)
        saved = self._saving.save(redacted, entry, self._found.rows.get(key))
        for each in derived.source_ids:
            link = {"user_id": self._user_id, "fact": saved.id, "source": each}
            self._saving.queries.append((fact_statements.ADD_SOURCE, link))
        return source

    def retire(self, retired: Retired, now: datetime) -> None:
        """Let the fact expire, unless it was changed after the turn that says so."""
        stored = self._found.stored.get(retired.topic_key)
        if stored is not None and replaces(stored[1:3], self._found.sources[retired.source_id].updated_at):
            asked = {"user_id": self._user_id, "id": stored[0], "now": now}
            self._other += [(work_statements.RETIRE, asked), (fact_statements.MAKE_EARLIER, asked)]

    def summarize(self, summary: Derived) -> None:
        """Store the summary of a session. If that is completed, it also replaces the automatic one."""
        key = summary.redacted.topic_key or ""
        stored = self._found.stored.get(key)
        if (source := self.derive(summary)) is None:
            return
        asked = {
            "user_id": self._user_id,
            "topic_key": key,
            "session": source.session.number,
            "content": summary.redacted.content,
            "earlier": stored[3] if stored else None,
        }
        self._other += [(work_statements.ALL_SOURCES, asked), (work_statements.SET_SUMMARY, asked)]

    def commit(self, transaction: Transaction, end: Query) -> None:
        """Write all and *end*, and commit."""
        self._saving.queries += [*self._other, end]
        self._saving.commit(transaction)
