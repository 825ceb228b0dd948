"""Export of a user of a PostgreSQL store. Each statement names the user, as in `statements`."""
# ruff: noqa: S608 - nothing but constants is interpolated

from collections.abc import Sequence
from typing import Any

from ilab_memory.core.models import Observation, Session
from ilab_memory.limits import EXPORT_BYTES, EXPORT_PAGE
from ilab_memory.stores.common import exports, rows
from ilab_memory.stores.postgres import statements
from ilab_memory.stores.postgres.connections import Connections
from ilab_memory.stores.postgres.schema import SCHEMA
from ilab_memory.stores.postgres.statements import OBSERVATION_COLUMNS, SESSION_COLUMNS

_EXPORTING = "export"
_USERS, _SESSIONS, _OBSERVATIONS_TABLE = f"{SCHEMA}.users", f"{SCHEMA}.sessions", f"{SCHEMA}.observations"

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
        ORDER BY started_at, number LIMIT {EXPORT_PAGE}
    ) page WHERE bytes_before IS NULL OR bytes_before < {EXPORT_BYTES} ORDER BY started_at, number
"""
EXPORT_OBSERVATIONS = f"""
    SELECT o.created_at, o.id, s.number, {OBSERVATION_COLUMNS} FROM (
        SELECT *, sum(octet_length(content) + coalesce(octet_length(about), 0)) OVER (
            ORDER BY created_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
        FROM {_OBSERVATIONS_TABLE}
        WHERE user_id = %(user_id)s AND (created_at, id) > (%(moment)s, %(key)s) AND id <= %(last)s
        ORDER BY created_at, id LIMIT {EXPORT_PAGE}
    ) o JOIN {_SESSIONS} s ON s.user_id = %(user_id)s AND s.number = o.session
    WHERE o.bytes_before IS NULL OR o.bytes_before < {EXPORT_BYTES} ORDER BY o.created_at, o.id
"""
EXPORT_LATER_SESSION = f"""
    SELECT {SESSION_COLUMNS} FROM {_SESSIONS} WHERE user_id = %(user_id)s AND number = %(session)s
"""


def extent(connections: Connections, user_id: str) -> exports.Extent | None:
    """Return what exists of the user now, None if there is no such user."""
    found = connections.rows(_EXPORTING, EXPORT_BEGINS, user_id=user_id)
    return exports.Extent(bytes(found[0][0]), *found[0][1:]) if found else None


class Export(exports.Export):
    """One export of a database."""

    _SESSIONS, _OBSERVATIONS, _LATER_SESSION = EXPORT_SESSIONS, EXPORT_OBSERVATIONS, EXPORT_LATER_SESSION
    _BEFORE_ALL = "-infinity"

    def __init__(self, connections: Connections, user_id: str, extent: exports.Extent) -> None:
        super().__init__(user_id, extent)
        self._connections = connections

    def _rows(self, statement: str, **asked: Any) -> Sequence[exports.Row]:
        return self._connections.rows(_EXPORTING, statement, user_id=self._user_id, **asked)

    def _user(self) -> bytes | None:
        users = self._rows(statements.USER)
        return bytes(users[0][0]) if users else None

    def _session(self, row: exports.Row) -> Session:
        return rows.session(self._user_id, row)

    def _observation(self, row: exports.Row) -> Observation:
        return rows.observation(self._user_id, row)
