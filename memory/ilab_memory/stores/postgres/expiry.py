"""Erasing what has expired or is old, of all users: one transaction for each user."""
# ruff: noqa: S608 - nothing but constants is interpolated

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from ilab_memory.stores.postgres import fact_statements, statements, user_sessions
from ilab_memory.stores.postgres.connections import Connections, Row, Transaction
from ilab_memory.stores.postgres.saves import Writing, old_row
from ilab_memory.stores.postgres.schema import SCHEMA

_EXPIRING = "erase what has expired"
# These two name no user, and read all partitions. The first reads an index of nothing but rows with an expiry; the
# second finds the types of each user in an index, one look-up each.
EXPIRED = f"""
    SELECT user_id, id FROM {SCHEMA}.observations WHERE expire_at <= %(now)s ORDER BY expire_at LIMIT %(limit)s
"""
_NEXT_TYPE = f"""
    SELECT type FROM {SCHEMA}.observations WHERE user_id = u.user_id{{after}} ORDER BY type LIMIT 1
"""
OLD = f"""
    SELECT u.user_id, o.id
    FROM {SCHEMA}.users u
    CROSS JOIN LATERAL (
        WITH RECURSIVE kinds AS (
            ({_NEXT_TYPE.format(after="")})
            UNION ALL
            SELECT ({_NEXT_TYPE.format(after=" AND type > kinds.type")}) FROM kinds WHERE kinds.type IS NOT NULL
        )
        SELECT kinds.type, (
            SELECT age.moment FROM unnest(%(types)s::text[], %(moments)s::timestamptz[]) age (type, moment)
            WHERE age.type IN (kinds.type, '') ORDER BY age.type DESC LIMIT 1
        ) AS moment
        FROM kinds WHERE kinds.type IS NOT NULL
    ) kind
    CROSS JOIN LATERAL (
        SELECT id FROM {SCHEMA}.observations
        WHERE user_id = u.user_id AND type = kind.type AND updated_at < kind.moment LIMIT %(limit)s
    ) o
    LIMIT %(limit)s
"""


def expire(connections: Connections, *, now: datetime, older_than: Mapping[str, datetime], limit: int) -> int:
    """See `Store.expire`."""
    asked = {"now": now, "types": list(older_than), "moments": list(older_than.values())}
    found: dict[Row, None] = dict.fromkeys(connections.rows(_EXPIRING, EXPIRED, now=now, limit=limit))
    if len(found) < limit and older_than:
        found |= dict.fromkeys(connections.rows(_EXPIRING, OLD, **asked, limit=limit))
    erased = 0
    for user_id, of_user in groupby(sorted(list(found)[:limit]), key=itemgetter(0)):
        wanted = asked | {"user_id": user_id, "ids": [observation_id for _, observation_id in of_user]}
        erased += connections.write(_EXPIRING, partial(_erase, wanted=wanted))
    return erased


def _erase(transaction: Transaction, wanted: Mapping[str, Any]) -> int:
    users, rows = transaction.ask((statements.LOCK_USER, wanted), (fact_statements.STILL_EXPIRED, wanted))
    if not rows:
        return 0
    writing = Writing(wanted["user_id"], user_sessions.User._make(users[0]))
    writing.remove(list(map(old_row, rows)))
    writing.commit(transaction)
    return len(rows)
