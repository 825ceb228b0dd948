"""The work of consolidation of a PostgreSQL store. See `WorkStore`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ilab_memory.core.work import SUMMARY_KEY, Work, WorkStats, WorkTurns, day
from ilab_memory.core.work_store import Due, Finished, WorkStore
from ilab_memory.stores.common.work import fitting
from ilab_memory.stores.postgres import reads, work_statements
from ilab_memory.stores.postgres.connections import Connections, Row
from ilab_memory.stores.postgres.consolidation_writes import finish
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
        if found is None:
            return None
        user_id, cursor, pending, attempts, tokens_used = found
        return Work(
            user_id=user_id, lease=lease, cursor=cursor, pending=pending, attempts=attempts, tokens_used=tokens_used
        )

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
        turns = [(row[0], reads.observation(work.user_id, row[1:])) for row in rows]
        return fitting(work, turns, limit=limit, most_bytes=most_bytes, now=to_text(now))

    def work_summaries(self, user_id: str, topic_keys: Sequence[str]) -> Mapping[str, str]:
        rows = self._connections.rows(
            _CONSOLIDATING, work_statements.SUMMARIES, user_id=user_id, topic_keys=list(topic_keys)
        )
        return dict(rows)

    def finish_work(self, work: Work, turns: WorkTurns, finished: Finished) -> bool:
        return self._connections.write(
            _CONSOLIDATING, partial(finish, work=work, turns=turns, finished=finished), repeatable=True
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
