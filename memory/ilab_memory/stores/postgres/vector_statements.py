"""Every statement about vectors, in the manner of `statements`."""
# ruff: noqa: S608 - nothing but constants is interpolated

from ilab_memory.core.vector_store import BLOCK
from ilab_memory.stores.postgres.schema import SCHEMA

_USERS, _OBSERVATIONS = f"{SCHEMA}.users", f"{SCHEMA}.observations"
_EMBEDDED, _VECTORS = f"{SCHEMA}.embedded", f"{SCHEMA}.vectors"

# 53 bits: `random()` has no more.
_NEW_STAMP = "(random() * 9007199254740992)::bigint"

# These two read all users.
_WAITING = f"""
    FROM {_USERS} u LEFT JOIN {_EMBEDDED} e ON e.user_id = u.user_id
    WHERE u.user_id > %(after)s AND u.observations > 0 AND (
        e.user_id IS NULL OR (e.model = %(model)s AND e.cursor < u.last_number)
        OR (e.model <> %(model)s AND %(rebuild)s)
    )
"""
WAITING_USERS = f"SELECT u.user_id {_WAITING} ORDER BY u.user_id LIMIT %(limit)s"
COUNT_WAITING = f"""
    SELECT coalesce(sum(u.last_number - CASE WHEN e.model = %(model)s THEN e.cursor ELSE 0 END), 0)::bigint {_WAITING}
"""
_CURSOR = "CASE WHEN e.model = %(model)s THEN e.cursor ELSE 0 END"
# A row for each observation, all of one moment, or one row without an observation.
NEXT = f"""
    SELECT u.index_key, e.model, {_CURSOR}, u.last_number, o.number, o.title, o.content
    FROM {_USERS} u LEFT JOIN {_EMBEDDED} e ON e.user_id = %(user_id)s
    LEFT JOIN LATERAL (
        SELECT number, title, left(content, %(characters)s) AS content
        FROM {_OBSERVATIONS} WHERE user_id = %(user_id)s AND number > {_CURSOR} ORDER BY number LIMIT %(limit)s
    ) o ON true
    WHERE u.user_id = %(user_id)s AND (e.user_id IS NULL OR e.model <> %(model)s OR e.cursor < u.last_number)
    ORDER BY o.number
"""
STATE = f"SELECT model, cursor FROM {_EMBEDDED} WHERE user_id = %(user_id)s"
SET_STATE = f"""
    INSERT INTO {_EMBEDDED} (user_id, model, cursor) VALUES (%(user_id)s, %(model)s, %(cursor)s)
    ON CONFLICT (user_id) DO UPDATE SET model = excluded.model, cursor = excluded.cursor
"""
STILL_THERE = f"""
    SELECT number FROM {_OBSERVATIONS} WHERE user_id = %(user_id)s AND number = ANY(%(numbers)s::bigint[])
"""
BLOCKS_DATA = f"""
    SELECT block, data FROM {_VECTORS} WHERE user_id = %(user_id)s AND block = ANY(%(blocks)s::bigint[])
"""
PUT_BLOCK = f"""
    INSERT INTO {_VECTORS} (user_id, block, stamp, size, data)
    VALUES (%(user_id)s, %(block)s, {_NEW_STAMP}, %(size)s, %(data)s)
    ON CONFLICT (user_id, block) DO UPDATE SET stamp = excluded.stamp, size = excluded.size, data = excluded.data
"""
BLOCKS = f"""
    SELECT v.block, v.size, v.stamp, CASE WHEN v.stamp = ANY(%(known)s::bigint[]) THEN NULL ELSE v.data END
    FROM {_VECTORS} v
    WHERE v.user_id = %(user_id)s AND EXISTS (
        SELECT 1 FROM {_EMBEDDED} e WHERE e.user_id = %(user_id)s AND e.model = %(model)s
    )
    ORDER BY v.block
"""
# Before the observations of these ids are changed or deleted: their vectors become zeros.
REMOVE_VECTORS = f"""
    UPDATE {_VECTORS} v SET stamp = {_NEW_STAMP}, data = (
        SELECT string_agg(
            CASE WHEN place = ANY(gone.places) THEN decode(repeat('00', v.size), 'hex')
            ELSE substring(v.data FROM place * v.size + 1 FOR v.size) END, ''::bytea ORDER BY place
        ) FROM generate_series(0, length(v.data) / v.size - 1) place
    )
    FROM (
        SELECT number / {BLOCK} AS block, array_agg(mod(number, {BLOCK})::int) AS places FROM {_OBSERVATIONS}
        WHERE user_id = %(user_id)s AND id = ANY(%(ids)s::bigint[]) GROUP BY 1
    ) gone
    WHERE v.user_id = %(user_id)s AND v.block = gone.block
"""
REMOVE_EMPTY_BLOCKS = f"""
    DELETE FROM {_VECTORS}
    WHERE user_id = %(user_id)s AND data = decode(repeat('00', length(data)), 'hex') AND block IN (
        SELECT number / {BLOCK} FROM {_OBSERVATIONS} WHERE user_id = %(user_id)s AND id = ANY(%(ids)s::bigint[])
    )
"""
ERASE_VECTORS = f"DELETE FROM {_VECTORS} WHERE user_id = %(user_id)s"
ERASE_STATE = f"DELETE FROM {_EMBEDDED} WHERE user_id = %(user_id)s"
