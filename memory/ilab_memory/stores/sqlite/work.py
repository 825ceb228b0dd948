"""The work of consolidation of a SQLite store. See `WorkStore`."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ilab_memory.core.work import SUMMARY_KEY, Work, WorkStats, WorkTurns, day
from ilab_memory.core.work_store import Derived, Due, Finished, Retired, WorkStore
from ilab_memory.stores.common.rows import observation
from ilab_memory.stores.common.work import claimed, fitting, ids, replaces
from ilab_memory.stores.sqlite import fact_statements, saves, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry, UserKey
from ilab_memory.stores.sqlite.connections import Readers, SharedReader
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
        return claimed(lease, self._returned(work_statements.CLAIM, claim))

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
        return self._writer.run(_CONSOLIDATING, partial(_finish, work=work, turns=turns, finished=finished))

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


def _finish(transaction: Transaction, *, work: Work, turns: WorkTurns, finished: Finished) -> bool:
    """See `WorkStore.finish_work`."""
    keys = transaction.execute(work_statements.CLAIMED, (work.user_id, work.lease)).fetchone()
    if keys is None:
        return False
    user = UserKey._make(keys)
    read = ids(turns.observations)
    (unchanged,) = transaction.execute(work_statements.UNCHANGED, (user.key, json.dumps(read), turns.cursor)).fetchone()
    if unchanged != len(read):
        return False
    for fact in finished.facts:
        _derive(transaction, user, fact)
    for retired in finished.retired:
        _retire(transaction, user, retired, to_text(finished.now))
    for summary in finished.summaries:
        _summarize(transaction, user, summary)
    end = (turns.cursor, finished.consumed, to_text(finished.now), day(finished.now), finished.tokens_used)
    transaction.execute(work_statements.FINISH, (user.key, *end))
    return True


def _derive(transaction: Transaction, user: UserKey, derived: Derived) -> saves.UserNow | None:
    """Store *derived* in the session of its last source, at the time of that; None if a newer value is stored."""
    sources = [transaction.execute(work_statements.SOURCE, (user.key, each)).fetchone() for each in derived.source_ids]
    *session, moment = max(sources, key=lambda source: str(source[3]))
    redacted = derived.redacted
    stored = transaction.execute(work_statements.STORED, (user.key, redacted.topic_key)).fetchone()
    if not replaces(stored and stored[1:3], moment):
        return None
    now = saves.UserNow(*user, *session)
    entry = IndexEntry(redacted.title, redacted.content)
    made, _ = saves.save_keyed(transaction, now, redacted, saves.row(now, redacted, entry, moment), entry)
    transaction.executemany(fact_statements.ADD_SOURCE, [(user.key, made, source) for source in derived.source_ids])
    return now


def _retire(transaction: Transaction, user: UserKey, retired: Retired, now: str) -> None:
    """Let the fact expire, unless it was changed after the turn that says so."""
    stored = transaction.execute(work_statements.STORED, (user.key, retired.topic_key)).fetchone()
    source = transaction.execute(work_statements.SOURCE, (user.key, retired.source_id)).fetchone()
    if stored is not None and replaces(stored[1:3], source[3]):
        transaction.execute(work_statements.RETIRE, (stored[0], now))
        transaction.execute(fact_statements.MAKE_EARLIER, (user.key, stored[0]))


def _summarize(transaction: Transaction, user: UserKey, summary: Derived) -> None:
    """Store the summary of a session. If that is completed, it also replaces the automatic one."""
    stored = transaction.execute(work_statements.STORED, (user.key, summary.redacted.topic_key)).fetchone()
    if session := _derive(transaction, user, summary):
        earlier = stored[3] if stored else None
        if stored:
            transaction.execute(work_statements.ALL_SOURCES, (user.key, stored[0]))
        transaction.execute(work_statements.SET_SUMMARY, (summary.redacted.content, session.session, earlier))
