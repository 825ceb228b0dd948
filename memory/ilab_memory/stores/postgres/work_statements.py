"""Every statement about the work of consolidation. Built from constants only.

Looking for due work, and the figures of all users, are the only statements of the store that name no user.
"""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.core.work import SUMMARY_KEY
from ilab_memory.stores.postgres.schema import FACTS, SCHEMA
from ilab_memory.stores.postgres.statements import OBSERVATION_COLUMNS

_WORK, _OBSERVATIONS, _SESSIONS = f"{SCHEMA}.work", f"{SCHEMA}.observations", f"{SCHEMA}.sessions"

# A dead row comes to life once its rest is over. The user's earlier observations are not queued: the first cursor is
# behind them.
QUEUE = f"""
    INSERT INTO {_WORK} AS w (user_id, cursor, pending, first_pending_at, last_turn_at)
    VALUES (%(user_id)s, %(number)s - 1, 1, %(now)s, %(now)s)
    ON CONFLICT (user_id) DO UPDATE SET
        pending = w.pending + 1, first_pending_at = coalesce(w.first_pending_at, excluded.first_pending_at),
        last_turn_at = greatest(w.last_turn_at, excluded.last_turn_at),
        is_dead = w.is_dead AND w.not_before > excluded.last_turn_at
"""
SESSION_ENDED = f"""
    UPDATE {_WORK} SET is_session_ended = true WHERE user_id = %(user_id)s AND first_pending_at IS NOT NULL
"""
ERASE = f"DELETE FROM {_WORK} WHERE user_id = %(user_id)s"

# Two workers that look at the same time find different users.
CLAIM = f"""
    WITH due AS MATERIALIZED (
        SELECT user_id FROM {_WORK}
        WHERE first_pending_at IS NOT NULL AND NOT is_dead
            AND (lease_until IS NULL OR lease_until <= %(now)s) AND (not_before IS NULL OR not_before <= %(now)s)
            AND (pending >= %(turns)s OR is_session_ended OR last_turn_at <= %(idle_since)s)
        ORDER BY first_pending_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE {_WORK} w SET lease = %(lease)s, lease_until = %(lease_until)s, attempts = attempts + 1
    FROM due WHERE w.user_id = due.user_id
    RETURNING w.user_id, w.cursor, w.pending, w.attempts, CASE WHEN w.day = %(day)s THEN w.tokens_used ELSE 0 END
"""
_CLAIMED = "user_id = %(user_id)s AND lease = %(lease)s"
RENEW = f"UPDATE {_WORK} SET lease_until = %(lease_until)s WHERE {_CLAIMED} RETURNING 1"
CLAIMED = f"SELECT 1 FROM {_WORK} WHERE {_CLAIMED} FOR UPDATE"
_SPENT = """
    day = %(day)s, tokens_used = CASE WHEN day = %(day)s THEN tokens_used ELSE 0 END + %(tokens_used)s
"""
FAIL = f"""
    UPDATE {_WORK} SET lease = NULL, lease_until = NULL, not_before = %(not_before)s, is_dead = %(is_dead)s,
        attempts = attempts - %(uncounted)s, {_SPENT}
    WHERE {_CLAIMED} RETURNING 1
"""
FINISH = f"""
    UPDATE {_WORK} SET
        cursor = %(cursor)s, pending = greatest(pending - %(consumed)s, 0),
        first_pending_at = CASE WHEN pending > %(consumed)s THEN %(now)s::timestamptz END,
        is_session_ended = is_session_ended AND pending > %(consumed)s,
        lease = NULL, lease_until = NULL, attempts = 0, not_before = NULL, {_SPENT}
    WHERE {_CLAIMED}
"""
STATS = f"""
    SELECT
        (SELECT count(*) FROM {_WORK} WHERE first_pending_at IS NOT NULL),
        (SELECT count(*) FROM {_WORK} WHERE is_dead),
        (SELECT coalesce(sum(tokens_used), 0)::bigint FROM {_WORK} WHERE day = %(day)s),
        (SELECT min(first_pending_at) FROM {_WORK} WHERE first_pending_at IS NOT NULL AND NOT is_dead)
"""
# All tables and partitions, with their indexes and the long values that are stored apart.
SIZE = f"""
    SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
    WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind = 'r'
"""

TURNS = f"""
    SELECT o.number, {OBSERVATION_COLUMNS} FROM {_OBSERVATIONS} o
    JOIN {_SESSIONS} s ON s.user_id = %(user_id)s AND s.number = o.session
    WHERE o.user_id = %(user_id)s AND o.number > %(cursor)s AND o.topic_key IS NOT NULL
        AND NOT starts_with(o.topic_key, %(summary_key)s)
        AND EXISTS (SELECT 1 FROM unnest(%(prefixes)s::text[]) prefix WHERE starts_with(o.topic_key, prefix))
    ORDER BY o.number LIMIT %(limit)s
"""
SUMMARIES = f"""
    SELECT topic_key, content FROM {_OBSERVATIONS}
    WHERE user_id = %(user_id)s AND topic_key = ANY(%(topic_keys)s::text[])
"""
# The turns of a consolidation that are still as they were read, with the sessions of what is derived from them.
SOURCES = f"""
    SELECT o.id, o.updated_at, s.number, s.id, s.started_at, s.last_activity_at, s.conversation_id
    FROM {_OBSERVATIONS} o JOIN {_SESSIONS} s ON s.user_id = %(user_id)s AND s.number = o.session
    WHERE o.user_id = %(user_id)s AND o.id = ANY(%(ids)s::bigint[]) AND o.number <= %(cursor)s
"""
# The rows under the keys that it writes.
STORED = f"""
    SELECT topic_key, id, pinned, updated_at, content FROM {_OBSERVATIONS}
    WHERE user_id = %(user_id)s AND topic_key = ANY(%(topic_keys)s::text[])
"""
# A summary covers the turns of the earlier one too.
ALL_SOURCES = f"""
    UPDATE {SCHEMA}.sources SET is_earlier = false
    WHERE user_id = %(user_id)s AND is_earlier AND fact = (
        SELECT id FROM {_OBSERVATIONS} WHERE user_id = %(user_id)s AND topic_key = %(topic_key)s
    )
"""
RETIRE = f"""
    UPDATE {_OBSERVATIONS} SET expire_at = %(now)s
    WHERE user_id = %(user_id)s AND id = %(id)s AND type IN {FACTS} AND (expire_at IS NULL OR expire_at > %(now)s)
"""
# The summary that consolidation wrote of a session.
SUMMARY_OF = f"""
    SELECT content FROM {_OBSERVATIONS}
    WHERE user_id = %(user_id)s AND topic_key = '{SUMMARY_KEY}' || %(session_id)s
"""
# Before summaries are deleted: their sessions have automatic ones again. `saves.drop_title` writes them.
DROP_SUMMARIES = f"""
    UPDATE {_SESSIONS} s SET summary = ': ' || o.title, is_auto_generated = true
    FROM {_OBSERVATIONS} o
    WHERE o.user_id = %(user_id)s AND o.id = ANY(%(ids)s::bigint[])
        AND s.user_id = %(user_id)s AND '{SUMMARY_KEY}' || s.id = o.topic_key
        AND s.ended_at IS NOT NULL AND s.summary = o.content
"""
# Not one that a caller wrote: one of its own, or the automatic one.
SET_SUMMARY = f"""
    UPDATE {_SESSIONS} SET summary = %(content)s, is_auto_generated = false
    WHERE user_id = %(user_id)s AND number = %(session)s AND ended_at IS NOT NULL
        AND (is_auto_generated OR summary = %(earlier)s)
"""
