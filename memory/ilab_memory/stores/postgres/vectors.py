"""The vectors of a PostgreSQL store. See `VectorStore`."""
# ruff: noqa: S608 - nothing but constants is interpolated

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ilab_memory.core.vector_store import BLOCK, Batch, Block, Unembedded, VectorStore
from ilab_memory.stores.common.vectors import by_block, next_batch, placed
from ilab_memory.stores.postgres import statements
from ilab_memory.stores.postgres.connections import Connections, Query, Transaction
from ilab_memory.stores.postgres.schema import SCHEMA

_EMBEDDING = "embed observations"

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


class PostgresVectors(VectorStore):
    """The vectors of the users of one database."""

    _connections: Connections

    def users_to_embed(self, model: str, *, after: str, limit: int, rebuild: bool) -> Sequence[str]:
        asked = {"model": model, "after": after, "limit": limit, "rebuild": rebuild}
        return [user_id for (user_id,) in self._connections.rows(_EMBEDDING, WAITING_USERS, **asked)]

    def unembedded(self, model: str, *, rebuild: bool) -> int:
        asked = {"model": model, "after": "", "rebuild": rebuild}
        ((count,),) = self._connections.rows(_EMBEDDING, COUNT_WAITING, **asked)
        return int(count)

    def to_embed(self, user_id: str, model: str, *, limit: int, characters: int) -> Batch | None:
        asked = {"user_id": user_id, "model": model, "limit": limit, "characters": characters}
        rows = self._connections.rows(_EMBEDDING, NEXT, **asked)
        if not rows:
            return None
        observations = [Unembedded._make(row[4:]) for row in rows if row[4] is not None]
        return next_batch(user_id, rows[0][:4], observations, limit=limit)

    def add_vectors(self, batch: Batch, model: str, vectors: Mapping[int, bytes]) -> bool:
        """See VectorStore. Repeated after a lost connection, it finds the cursor moved."""
        add = partial(_add, batch=batch, model=model, vectors=vectors)
        return self._connections.write(_EMBEDDING, add, repeatable=True)

    def vectors(self, user_id: str, model: str, known: Collection[int]) -> Sequence[Block]:
        asked = {"user_id": user_id, "model": model, "known": list(known)}
        rows = self._connections.rows(_EMBEDDING, BLOCKS, **asked)
        return [Block(number, size, stamp, None if data is None else bytes(data)) for number, size, stamp, data in rows]


def _add(transaction: Transaction, batch: Batch, model: str, vectors: Mapping[int, bytes]) -> bool:
    numbers = list(vectors)
    asked: dict[str, Any] = {
        "user_id": batch.user_id,
        "numbers": numbers,
        "blocks": [block for block, _ in by_block(vectors)],
    }
    users, state, there, blocks = transaction.ask(
        (statements.LOCK_USER, asked),
        (STATE, asked),
        (STILL_THERE, asked),
        (BLOCKS_DATA, asked),
    )
    stored, cursor = state[0] if state else (None, 0)
    if not users or bytes(users[0][0]) != batch.index_key:
        return False
    if stored != batch.model or (stored == model and cursor != batch.cursor):
        return False
    queries: list[Query] = [(statements.NOT_SYNCED, {})]
    data = {block: bytes(each) for block, each in blocks}
    if stored != model:
        queries.append((ERASE_VECTORS, asked))
        data = {}
    for block, of_block in by_block({number: vectors[number] for (number,) in there}):
        row = {
            "user_id": batch.user_id,
            "block": block,
            "size": len(next(iter(of_block.values()))),
            "data": placed(data.get(block, b""), of_block),
        }
        queries.append((PUT_BLOCK, row))
    state_now = {"user_id": batch.user_id, "model": model, "cursor": batch.end}
    transaction.commit(*queries, (SET_STATE, state_now))
    return True


def removal(user_id: str, ids: Sequence[int]) -> list[Query]:
    """Return the write that removes the vectors of observations, before these are changed or deleted."""
    asked = {"user_id": user_id, "ids": list(ids)}
    return [(REMOVE_VECTORS, asked), (REMOVE_EMPTY_BLOCKS, asked)]
