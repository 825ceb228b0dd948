"""The vectors of a SQLite store. See `VectorStore`."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ilab_memory.core.vector_store import Batch, Block, Unembedded, VectorStore
from ilab_memory.stores.common.vectors import by_block, next_batch, placed
from ilab_memory.stores.sqlite.connections import Readers, SharedReader
from ilab_memory.stores.sqlite.group_commit import Writer
from ilab_memory.stores.sqlite.write_queue import Transaction

_EMBEDDING = "embed observations"

# Users behind ?2 with observations that are not embedded by ?1. ?4: also those with vectors of another embedder.
_WAITING = """
    FROM users u LEFT JOIN embedded e ON e.user = u.key
    WHERE u.user_id > ?2 AND u.observations > 0
        AND (e.user IS NULL OR (e.model = ?1 AND e.cursor < u.last_number) OR (e.model <> ?1 AND ?4))
"""
WAITING_USERS = f"SELECT u.user_id {_WAITING} ORDER BY u.user_id LIMIT ?3"
COUNT_WAITING = f"SELECT coalesce(sum(u.last_number - iif(e.model = ?1, e.cursor, 0)), 0) {_WAITING} AND ?3 IS NOT NULL"
# One row, of one moment: the user's last number is that of the rows.
NEXT = """
    SELECT u.index_key, e.model, iif(e.model = ?2, e.cursor, 0), u.last_number, (
        SELECT json_group_array(json_array(number, title, content)) FROM (
            SELECT o.number, o.title, substr(coalesce(o.preview, o.content), 1, ?4) AS content
            FROM observations o WHERE o.user = u.key AND o.number > iif(e.model = ?2, e.cursor, 0)
            ORDER BY o.number LIMIT ?3
        )
    )
    FROM users u LEFT JOIN embedded e ON e.user = u.key
    WHERE u.user_id = ?1 AND (e.user IS NULL OR e.model <> ?2 OR e.cursor < u.last_number)
"""
STATE = """
    SELECT u.key, e.model, e.cursor FROM users u LEFT JOIN embedded e ON e.user = u.key
    WHERE u.user_id = ? AND u.index_key = ?
"""
SET_STATE = """
    INSERT INTO embedded (user, model, cursor) VALUES (?1, ?2, ?3)
    ON CONFLICT (user) DO UPDATE SET model = ?2, cursor = ?3
"""
STILL_THERE = "SELECT number FROM observations WHERE user = ? AND number IN (SELECT value FROM json_each(?))"
BLOCK_DATA = "SELECT data FROM vectors WHERE user = ? AND block = ?"
PUT_BLOCK = """
    INSERT INTO vectors (user, block, stamp, size, data) VALUES (?1, ?2, random(), ?3, ?4)
    ON CONFLICT (user, block) DO UPDATE SET stamp = excluded.stamp, size = ?3, data = ?4
"""
# One JSON array: the driver releases the GIL at each row.
STAMPS = """
    SELECT json_group_array(json_array(block, size, stamp)) FROM (
        SELECT v.block, v.size, v.stamp
        FROM users u CROSS JOIN embedded e ON e.user = u.key CROSS JOIN vectors v ON v.user = u.key
        WHERE u.user_id = ? AND e.model = ? ORDER BY v.block
    )
"""
BLOCKS = """
    SELECT v.block, v.stamp, v.data
    FROM users u CROSS JOIN vectors v ON v.user = u.key AND v.block IN (SELECT value FROM json_each(?2))
    WHERE u.user_id = ?1
"""
REMOVE_ALL = "DELETE FROM vectors WHERE user = ?"
# Of a user who is erased: a page at a time.
REMOVE_SOME = """
    DELETE FROM vectors
    WHERE user = ?1 AND block IN (SELECT block FROM vectors WHERE user = ?1 ORDER BY block LIMIT ?2)
"""
REMOVE_STATE = "DELETE FROM embedded WHERE user = ?"


class SQLiteVectors(VectorStore):
    """The vectors of the users of one file."""

    _writer: Writer
    _readers: Readers | SharedReader

    def users_to_embed(self, model: str, *, after: str, limit: int, rebuild: bool) -> Sequence[str]:
        found = self._read(WAITING_USERS, (model, after, limit, rebuild))
        return [user_id for (user_id,) in found]

    def unembedded(self, model: str, *, rebuild: bool) -> int:
        ((count,),) = self._read(COUNT_WAITING, (model, "", 0, rebuild))
        return int(count)

    def to_embed(self, user_id: str, model: str, *, limit: int, characters: int) -> Batch | None:
        found = self._read(NEXT, (user_id, model, limit, characters))
        if not found:
            return None
        *row, texts = found[0]
        return next_batch(user_id, row, list(map(Unembedded._make, json.loads(texts))), limit=limit)

    def add_vectors(self, batch: Batch, model: str, vectors: Mapping[int, bytes]) -> bool:
        add = partial(_add, batch=batch, model=model, vectors=vectors)
        # Not synced on its own: vectors that are lost with the power are made again.
        return self._writer.run(_EMBEDDING, add, synced=False)

    def vectors(self, user_id: str, model: str, known: Collection[int]) -> Sequence[Block]:
        ((text,),) = self._read(STAMPS, (user_id, model))
        blocks = [Block(number, size, stamp, None) for number, size, stamp in json.loads(text)]
        new = [block.number for block in blocks if block.stamp not in known]
        if not new:
            return blocks
        asked = (user_id, json.dumps(new))
        read = {row[:2]: row[2] for row in self._read(BLOCKS, asked)}
        # A block that was changed between the two reads is missing until the next search.
        blocks = [block._replace(data=read.get((block.number, block.stamp))) for block in blocks]
        return [block for block in blocks if block.data is not None or block.stamp in known]

    def _read(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        with self._readers.connection(_EMBEDDING) as connection:
            return connection.execute(statement, parameters).fetchall()


def _add(transaction: Transaction, batch: Batch, model: str, vectors: Mapping[int, bytes]) -> bool:
    found = transaction.execute(STATE, (batch.user_id, batch.index_key)).fetchone()
    if found is None:
        return False
    user, stored, cursor = found
    if stored != batch.model or (stored == model and cursor != batch.cursor):
        return False
    if stored != model:
        transaction.execute(REMOVE_ALL, (user,))
    asked = (user, json.dumps(list(vectors)))
    there = {number for (number,) in transaction.execute(STILL_THERE, asked)}
    for block, of_block in by_block({number: vectors[number] for number in there}):
        row = transaction.execute(BLOCK_DATA, (user, block)).fetchone()
        data = placed(b"" if row is None else row[0], of_block)
        size = len(next(iter(of_block.values())))
        transaction.execute(PUT_BLOCK, (user, block, size, data))
    transaction.execute(SET_STATE, (user, model, batch.end))
    return True
