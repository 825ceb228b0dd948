"""Every statement of an export. Built from constants only."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.stores.sqlite.statements import OBSERVATION_COLUMNS, SESSION_COLUMNS

# Exporting, a page at a time: each begins behind the last row of the one before. The user, its last session and the id
# of its last observation when the export begins: what has a greater one was added later.
EXPORT_BEGINS = """
    SELECT u.key, (SELECT coalesce(max(s.key), 0) FROM sessions s WHERE s.user = u.key), u.first_id + u.last_number
    FROM users u WHERE u.user_id = ?
"""
EXPORT_SESSIONS = f"""
    SELECT s.key, {SESSION_COLUMNS} FROM sessions s
    WHERE s.user = (SELECT key FROM users WHERE user_id = ?1) AND (s.started_at, s.key) > (?2, ?3) AND s.key <= ?4
    ORDER BY s.started_at, s.key LIMIT ?5
"""
EXPORT_OBSERVATIONS = f"""
    SELECT {OBSERVATION_COLUMNS}, s.key FROM observations o JOIN sessions s ON s.key = o.session
    WHERE o.user = (SELECT key FROM users WHERE user_id = ?1) AND (o.created_at, o.id) > (?2, ?3) AND o.id <= ?4
    ORDER BY o.created_at, o.id LIMIT ?5
"""
EXPORT_LATER_SESSION = f"""
    SELECT {SESSION_COLUMNS} FROM sessions s
    WHERE s.key = ?2 AND s.user = (SELECT key FROM users WHERE user_id = ?1)
"""
