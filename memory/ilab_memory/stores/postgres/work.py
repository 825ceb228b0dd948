"""The work of consolidation of a PostgreSQL store. See `WorkStore`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from ilab_memory.core.work import SUMMARY_KEY, Work, WorkStats, WorkTurns, day
from ilab_memory.core.work_store import Derived, Due, Finished, Retired, WorkStore
from ilab_memory.stores.common.rows import observation
from ilab_memory.stores.common.work import claimed, fitting, ids, replaces
from ilab_memory.stores.postgres import fact_statements, statements, work_statements
from ilab_memory.stores.postgres.blind_index import IndexEntry
from ilab_memory.stores.postgres.connections import Connections, Query, Row, Transaction
from ilab_memory.stores.postgres.saves import Saving
from ilab_memory.stores.postgres.user_sessions import SessionNow, User
from ilab_memory.timestamps import to_text

_CONSOLIDATING = "consolidate"


class PostgresWork(WorkStore):
    """The work of the users of one database."""

    _connections: Connections

    def claim_work(self, lease: str, lease_until: datetime, due: Due) -> Work | None:
        found = self._returned(
            work_statements.CLAIM,
            now=due.now,
            turns=due.turns,
            idle_since=due.idle_since,
            lease=lease,
            lease_until=lease_until,
            day=day(due.now),
        )
        return claimed(lease, found)

    def renew_work(self, work: Work, lease_until: datetime) -> bool:
        renewed = self._returned(work_statements.RENEW, user_id=work.user_id, lease=work.lease, lease_until=lease_until)
        return renewed is not None

    def work_turns(
        self, work: Work, *, key_prefixes: Sequence[str], limit: int, most_bytes: int, now: datetime
    ) -> WorkTurns:
        rows = self._connections.rows(
            _CONSOLIDATING,
            work_statements.TURNS,
            user_id=work.user_id,
            cursor=work.cursor,
            prefixes=list(key_prefixes),
            summary_key=SUMMARY_KEY,
            limit=limit + 1,
        )
        turns = [(row[0], observation(work.user_id, row[1:])) for row in rows]
        return fitting(work, turns, limit=limit, most_bytes=most_bytes, now=to_text(now))

    def work_summaries(self, user_id: str, topic_keys: Sequence[str]) -> Mapping[str, str]:
        rows = self._connections.rows(
            _CONSOLIDATING, work_statements.SUMMARIES, user_id=user_id, topic_keys=list(topic_keys)
        )
        return dict(rows)

    def finish_work(self, work: Work, turns: WorkTurns, finished: Finished) -> bool:
        return self._connections.write(
            _CONSOLIDATING, partial(_finish, work=work, turns=turns, finished=finished), repeatable=True
        )

    def fail_work(
        self, work: Work, *, not_before: datetime, is_dead: bool, counts: bool, tokens_used: int, now: datetime
    ) -> bool:
        failed = self._returned(
            work_statements.FAIL,
            user_id=work.user_id,
            lease=work.lease,
            not_before=not_before,
            is_dead=is_dead,
            uncounted=int(not counts),
            day=day(now),
            tokens_used=tokens_used,
        )
        return failed is not None

    def work_stats(self, now: datetime) -> WorkStats:
        rows = self._connections.rows(_CONSOLIDATING, work_statements.STATS, day=day(now))
        ((pending, dead, tokens_used, oldest),) = rows
        return WorkStats(pending=pending, dead=dead, tokens_used=tokens_used, oldest_pending=oldest)

    def _returned(self, statement: str, **parameters: Any) -> Row | None:
        """Run *statement* in a transaction of its own; return its first row, or None."""
        (rows,) = self._connections.write(
            _CONSOLIDATING, lambda transaction: transaction.commit((statement, parameters))
        )
        return rows[0] if rows else None


class _Source(NamedTuple):
    """A turn that something is derived from."""

    updated_at: str
    session: SessionNow


def _finish(transaction: Transaction, *, work: Work, turns: WorkTurns, finished: Finished) -> bool:
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
    users, leases, sources, rows, stored = transaction.ask(
        (statements.LOCK_USER, asked),
        (work_statements.CLAIMED, asked),
        (work_statements.SOURCES, asked),
        (statements.FACTS_BY_KEY, asked),
        (work_statements.STORED, asked),
    )
    if not users or not leases or len(sources) != len(read):
        return False
    writing = _Consolidating(work.user_id, User._make(users[0]))
    writing.sources = {each[0]: _Source(each[1], SessionNow(*each[2:])) for each in sources}
    writing.rows = {row[0]: row[1:] for row in rows}
    writing.stored = {row[0]: row[1:] for row in stored}
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
    writing.finish(transaction, (work_statements.FINISH, asked | end))
    return True


class _Consolidating(Saving):
    """The rows that one consolidation writes."""

    sources: Mapping[int, _Source]
    """The turns, by id."""
    rows: Mapping[str, Row]
    """The stored observations of the keys that are written, for `save`."""
    stored: Mapping[str, Row]
    """The id, `pinned`, the time and the content of the same."""

    def __init__(self, user_id: str, user: User) -> None:
        super().__init__(user_id, user)
        self._last: list[Query] = []
        """Writes behind those of all observations."""

    def derive(self, derived: Derived) -> _Source | None:
        """Store *derived* in the session of its last source, at the time of that; None if a newer value is stored."""
        key = derived.redacted.topic_key or ""
        source = max((self.sources[each] for each in derived.source_ids), key=lambda each: each.updated_at)
        stored = self.stored.get(key)
        if not replaces(stored and stored[1:3], source.updated_at):
            return None
        redacted = replace(derived.redacted, conversation_id=source.session.conversation_id)
        self.enter(source.session, source.updated_at)
        saved = self.save(redacted, IndexEntry(redacted.title, redacted.content), self.rows.get(key))
        for each in derived.source_ids:
            link = {"user_id": self._user_id, "fact": saved.id, "source": each}
            self.queries.append((fact_statements.ADD_SOURCE, link))
        return source

    def retire(self, retired: Retired, now: datetime) -> None:
        """Let the fact expire, unless it was changed after the turn that says so."""
        stored = self.stored.get(retired.topic_key)
        if stored is not None and replaces(stored[1:3], self.sources[retired.source_id].updated_at):
            asked = {"user_id": self._user_id, "id": stored[0], "now": now}
            self._last += [(work_statements.RETIRE, asked), (fact_statements.MAKE_EARLIER, asked)]

    def summarize(self, summary: Derived) -> None:
        """Store the summary of a session. If that is completed, it also replaces the automatic one."""
        key = summary.redacted.topic_key or ""
        stored = self.stored.get(key)
        if (source := self.derive(summary)) is None:
            return
        asked = {
            "user_id": self._user_id,
            "topic_key": key,
            "session": source.session.number,
            "content": summary.redacted.content,
            "earlier": stored[3] if stored else None,
        }
        self._last += [(work_statements.ALL_SOURCES, asked), (work_statements.SET_SUMMARY, asked)]

    def finish(self, transaction: Transaction, end: Query) -> None:
        """Write all and *end*, and commit."""
        self.queries += [*self._last, end]
        self.commit(transaction)
