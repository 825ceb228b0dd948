"""Every statement of an export. As in `statements`: each names the user, of every table it touches."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.stores.postgres.schema import SCHEMA
from ilab_memory.stores.postgres.statements import OBSERVATION_COLUMNS, SESSION_COLUMNS

_USERS, _SESSIONS, _OBSERVATIONS_TABLE = f"{SCHEMA}.users", f"{SCHEMA}.sessions", f"{SCHEMA}.observations"

# Exporting, a page at a time: each begins behind the last row of the one before, and ends with the row that brings
# its texts to the limit in bytes.
# The user, its last session and the id of its last observation when the export begins: what has a greater one was added
# later.
EXPORT_BEGINS = f"""
    SELECT index_key, last_session, first_id + last_number FROM {_USERS} WHERE user_id = %(user_id)s
"""
EXPORT_SESSIONS = f"""
    SELECT started_at, number, {SESSION_COLUMNS} FROM (
        SELECT *, sum(octet_length(summary)) OVER (
            ORDER BY started_at, number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
        FROM {_SESSIONS}
        WHERE user_id = %(user_id)s AND (started_at, number) > (%(moment)s, %(key)s) AND number <= %(last)s
        ORDER BY started_at, number LIMIT %(page)s
    ) page WHERE bytes_before IS NULL OR bytes_before < %(bytes)s ORDER BY started_at, number
"""
EXPORT_OBSERVATIONS = f"""
    SELECT o.created_at, o.id, s.number, {OBSERVATION_COLUMNS} FROM (
        SELECT *, sum(octet_length(content) + coalesce(octet_length(about), 0)) OVER (
            ORDER BY created_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
        FROM {_OBSERVATIONS_TABLE}
        WHERE user_id = %(user_id)s AND (created_at, id) > (%(moment)s, %(key)s) AND id <= %(last)s
        ORDER BY created_at, id LIMIT %(page)s
    ) o JOIN {_SESSIONS} s ON s.user_id = %(user_id)s AND s.number = o.session
    WHERE o.bytes_before IS NULL OR o.bytes_before < %(bytes)s ORDER BY o.created_at, o.id
"""
EXPORT_LATER_SESSION = f"""
    SELECT {SESSION_COLUMNS} FROM {_SESSIONS} WHERE user_id = %(user_id)s AND number = %(session)s
"""
