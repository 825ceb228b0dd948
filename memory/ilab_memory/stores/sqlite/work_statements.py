"""Every statement about the work of consolidation. Built from constants only."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.core.work import SUMMARY_KEY
from ilab_memory.stores.sqlite.schema import FACTS
from ilab_memory.stores.sqlite.statements import OBSERVATION_COLUMNS

# ?1: the user; ?2: the number of the observation, or NULL for the user's last one; ?3: the time of the save. A dead row
# comes to life once its rest is over. The user's earlier observations are not queued: the first cursor is behind them.
QUEUE = """
    INSERT INTO work (user, cursor, pending, first_pending_at, last_turn_at)
    VALUES (?1, coalesce(?2, (SELECT last_number FROM users WHERE key = ?1)) - 1, 1, ?3, ?3)
    ON CONFLICT (user) DO UPDATE SET
        pending = pending + 1, first_pending_at = coalesce(first_pending_at, ?3),
        last_turn_at = max(last_turn_at, ?3), is_dead = is_dead AND not_before > ?3
"""
SESSION_ENDED = "UPDATE work SET is_session_ended = 1 WHERE user = ? AND first_pending_at IS NOT NULL"
ERASE = "DELETE FROM work WHERE user = ?"

# ?1: now; ?2: enough saves; ?3: idle since.
DUE = """
    SELECT w.user FROM work w
    WHERE w.first_pending_at IS NOT NULL AND NOT w.is_dead
        AND (w.lease_until IS NULL OR w.lease_until <= ?1) AND (w.not_before IS NULL OR w.not_before <= ?1)
        AND (w.pending >= ?2 OR w.is_session_ended OR w.last_turn_at <= ?3)
    ORDER BY w.first_pending_at LIMIT 1
"""
CLAIM = f"""
    UPDATE work SET lease = ?4, lease_until = ?5, attempts = attempts + 1 WHERE user = ({DUE})
    RETURNING (SELECT user_id FROM users WHERE key = work.user), cursor, pending, attempts,
        CASE WHEN day = ?6 THEN tokens_used ELSE 0 END
"""
_CLAIMED = "user = (SELECT key FROM users WHERE user_id = ?1) AND lease = ?2"
RENEW = f"UPDATE work SET lease_until = ?3 WHERE {_CLAIMED} RETURNING 1"
CLAIMED = """
    SELECT w.user, u.index_key FROM users u CROSS JOIN work w ON w.user = u.key
    WHERE u.user_id = ?1 AND w.lease = ?2
"""
_SPENT = "day = {day}, tokens_used = CASE WHEN day = {day} THEN tokens_used ELSE 0 END + {tokens}"
# ?3: not before; ?4: dead; ?5: attempts not to count; ?6: the day; ?7: tokens.
FAIL = f"""
    UPDATE work SET lease = NULL, lease_until = NULL, not_before = ?3, is_dead = ?4, attempts = attempts - ?5,
        {_SPENT.format(day="?6", tokens="?7")}
    WHERE {_CLAIMED} RETURNING 1
"""
# ?1: the user's key; ?2: the cursor; ?3: saves that are done with; ?4: now; ?5: the day; ?6: tokens.
FINISH = f"""
    UPDATE work SET
        cursor = ?2, pending = max(pending - ?3, 0),
        first_pending_at = CASE WHEN pending > ?3 THEN ?4 END,
        is_session_ended = is_session_ended AND pending > ?3,
        lease = NULL, lease_until = NULL, attempts = 0, not_before = NULL, {_SPENT.format(day="?5", tokens="?6")}
    WHERE user = ?1
"""
STATS = """
    SELECT count(first_pending_at), count(CASE WHEN is_dead THEN 1 END),
        coalesce(sum(CASE WHEN day = ? THEN tokens_used END), 0),
        min(CASE WHEN NOT is_dead THEN first_pending_at END)
    FROM work
"""

# ?1: the user_id; ?2: the cursor; ?3: prefixes, a JSON array; ?4: one more than the limit; ?5: the key of no turn.
TURNS = f"""
    SELECT o.number, {OBSERVATION_COLUMNS} FROM observations o JOIN sessions s ON s.key = o.session
    WHERE o.user = (SELECT key FROM users WHERE user_id = ?1) AND o.number > ?2 AND o.topic_key IS NOT NULL
        AND substr(o.topic_key, 1, length(?5)) <> ?5 AND EXISTS (
            SELECT 1 FROM json_each(?3) prefix WHERE substr(o.topic_key, 1, length(prefix.value)) = prefix.value
        )
    ORDER BY o.number LIMIT ?4
"""
UNCHANGED = """
    SELECT count(*) FROM observations
    WHERE user = ?1 AND id IN (SELECT value FROM json_each(?2)) AND number <= ?3
"""
SUMMARIES = """
    SELECT topic_key, content FROM observations
    WHERE user = (SELECT key FROM users WHERE user_id = ?1) AND topic_key IN (SELECT value FROM json_each(?2))
"""
# The session and the time of an observation, for what is derived from it.
SOURCE = """
    SELECT s.key, s.id, s.conversation_id, o.updated_at
    FROM observations o CROSS JOIN sessions s ON s.key = o.session WHERE o.user = ? AND o.id = ?
"""
STORED = "SELECT id, pinned, updated_at, content FROM observations WHERE user = ? AND topic_key = ?"
# A summary covers the turns of the earlier one too.
ALL_SOURCES = "UPDATE sources SET is_earlier = 0 WHERE user = ? AND fact = ? AND is_earlier"
RETIRE = f"""
    UPDATE observations SET expire_at = ?2 WHERE id = ?1 AND type IN {FACTS} AND (expire_at IS NULL OR expire_at > ?2)
"""
# The summary that consolidation wrote of a session.
SUMMARY_OF = f"""
    SELECT o.content FROM sessions s
    CROSS JOIN observations o ON o.user = s.user AND o.topic_key = '{SUMMARY_KEY}' || s.id WHERE s.key = ?
"""
# Before the summary with this id is deleted: its session has an automatic one again. `saves.drop_title` writes it.
DROP_SUMMARY = f"""
    UPDATE sessions SET summary = ': ' || o.title, is_auto_generated = 1
    FROM observations o
    WHERE o.user = ?1 AND o.id = ?2 AND sessions.user = ?1 AND '{SUMMARY_KEY}' || sessions.id = o.topic_key
        AND sessions.ended_at IS NOT NULL AND sessions.summary = o.content
"""
# Not one that a caller wrote: one of its own, or the automatic one.
SET_SUMMARY = """
    UPDATE sessions SET summary = ?1, is_auto_generated = 0
    WHERE key = ?2 AND ended_at IS NOT NULL AND (is_auto_generated OR summary = ?3)
"""
