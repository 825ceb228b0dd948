"""Writes of what a consolidation found. Each function runs inside one operation of the writer."""

import json

from ilab_memory.core.work import Work, WorkTurns, day
from ilab_memory.core.work_store import Derived, Finished, Retired
from ilab_memory.stores.common.work import ids, replaces
from ilab_memory.stores.sqlite import fact_statements, saves, work_statements
from ilab_memory.stores.sqlite.blind_index import IndexEntry, UserKey
from ilab_memory.stores.sqlite.write_queue import Transaction
from ilab_memory.timestamps import to_text


def finish(transaction: Transaction, *, work: Work, turns: WorkTurns, finished: Finished) -> bool:
    """See `WorkStore.finish_work`."""
    claimed = transaction.execute(work_statements.CLAIMED, (work.user_id, work.lease)).fetchone()
    if claimed is None:
        return False
    user = UserKey._make(claimed)
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
