"""The work of consolidation of a SQLite store. See `WorkStore`."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ilab_memory.core.work import SUMMARY_KEY, Work, WorkStats, WorkTurns, day
from ilab_memory.core.work_store import Due, Finished, WorkStore
from ilab_memory.stores.common.rows import observation
from ilab_memory.stores.common.work import fitting
from ilab_memory.stores.sqlite import work_statements
from ilab_memory.stores.sqlite.connections import Readers, SharedReader
from ilab_memory.stores.sqlite.consolidation_writes import finish
from ilab_memory.stores.sqlite.group_commit import Writer
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text

_CONSOLIDATING = "consolidate"


class SQLiteWork(WorkStore):
    """The work of the users of one file."""

    _writer: Writer
    _readers: Readers | SharedReader

    def claim_work(self, lease: str, lease_until: datetime, due: Due) -> Work | None:
        """See WorkStore. Only reads if nothing is due."""
        asked = (to_text(due.now), due.turns, to_text(due.idle_since))
        if not self._rows(work_statements.DUE, asked):
            return None
        claim = (*asked, lease, to_text(lease_until), day(due.now))
        found = self._returned(work_statements.CLAIM, claim)
        if found is None:
            return None
        user_id, cursor, pending, attempts, tokens_used = found
        return Work(
            user_id=user_id, lease=lease, cursor=cursor, pending=pending, attempts=attempts, tokens_used=tokens_used
        )

    def renew_work(self, work: Work, lease_until: datetime) -> bool:
        return self._returned(work_statements.RENEW, (work.user_id, work.lease, to_text(lease_until))) is not None

    def work_turns(
        self, work: Work, *, key_prefixes: Sequence[str], limit: int, most_bytes: int, now: datetime
    ) -> WorkTurns:
        asked = (work.user_id, work.cursor, json.dumps(list(key_prefixes)), limit + 1, SUMMARY_KEY)
        rows = [(row[0], observation(work.user_id, row[1:])) for row in self._rows(work_statements.TURNS, asked)]
        return fitting(work, rows, limit=limit, most_bytes=most_bytes, now=to_text(now))

    def work_summaries(self, user_id: str, topic_keys: Sequence[str]) -> Mapping[str, str]:
        return dict(self._rows(work_statements.SUMMARIES, (user_id, json.dumps(list(topic_keys)))))

    def finish_work(self, work: Work, turns: WorkTurns, finished: Finished) -> bool:
        return self._writer.run(_CONSOLIDATING, partial(finish, work=work, turns=turns, finished=finished))

    def fail_work(
        self, work: Work, *, not_before: datetime, is_dead: bool, counts: bool, tokens_used: int, now: datetime
    ) -> bool:
        failed = (to_text(not_before), is_dead, int(not counts), day(now), tokens_used)
        return self._returned(work_statements.FAIL, (work.user_id, work.lease, *failed)) is not None

    def work_stats(self, now: datetime) -> WorkStats:
        ((pending, dead, tokens_used, oldest),) = self._rows(work_statements.STATS, (day(now),))
        return WorkStats(pending=pending, dead=dead, tokens_used=tokens_used, oldest_pending=oldest)

    def _rows(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        with self._readers.connection(_CONSOLIDATING) as connection:
            return connection.execute(statement, parameters).fetchall()

    def _returned(self, statement: str, parameters: Sequence[Any]) -> Any:
        """Run *statement* in the writer; return its first row, or None."""

        def run(transaction: Transaction) -> Any:
            rows = transaction.execute(statement, parameters).fetchall()
            return rows[0] if rows else None

        # Not synced on its own: a claim that is lost with the power is made again.
        return self._writer.run(_CONSOLIDATING, run, synced=False)
