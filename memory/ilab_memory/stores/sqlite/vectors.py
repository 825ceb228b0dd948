"""The vectors of a SQLite store. See `VectorStore`."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ilab_memory.core.vector_store import Batch, Block, Unembedded, VectorStore
from ilab_memory.stores.common.vectors import by_block, placed
from ilab_memory.stores.sqlite import vector_statements
from ilab_memory.stores.sqlite.connections import Readers, SharedReader
from ilab_memory.stores.sqlite.group_commit import Writer
from ilab_memory.stores.sqlite.write_queue import Transaction

_EMBEDDING = "embed observations"


class SQLiteVectors(VectorStore):
    """The vectors of the users of one file."""

    _writer: Writer
    _readers: Readers | SharedReader

    def users_to_embed(self, model: str, *, after: str, limit: int, rebuild: bool) -> Sequence[str]:
        found = self._read(vector_statements.WAITING_USERS, (model, after, limit, rebuild))
        return [user_id for (user_id,) in found]

    def unembedded(self, model: str, *, rebuild: bool) -> int:
        ((count,),) = self._read(vector_statements.COUNT_WAITING, (model, "", 0, rebuild))
        return int(count)

    def to_embed(self, user_id: str, model: str, *, limit: int, characters: int) -> Batch | None:
        found = self._read(vector_statements.NEXT, (user_id, model, limit, characters))
        if not found:
            return None
        index_key, stored, cursor, last, rows = found[0]
        observations = [Unembedded._make(row) for row in json.loads(rows)]
        end = observations[-1].number if len(observations) == limit else last
        return Batch(
            user_id=user_id,
            index_key=index_key,
            model=stored,
            cursor=cursor or 0,
            end=end,
            observations=observations,
        )

    def add_vectors(self, batch: Batch, model: str, vectors: Mapping[int, bytes]) -> bool:
        add = partial(_add, batch=batch, model=model, vectors=vectors)
        # Not synced on its own: vectors that are lost with the power are made again.
        return self._writer.run(_EMBEDDING, add, synced=False)

    def vectors(self, user_id: str, model: str, known: Collection[int]) -> Sequence[Block]:
        ((text,),) = self._read(vector_statements.STAMPS, (user_id, model))
        blocks = [Block(number, size, stamp, None) for number, size, stamp in json.loads(text)]
        new = [block.number for block in blocks if block.stamp not in known]
        if not new:
            return blocks
        asked = (user_id, json.dumps(new))
        read = {row[:2]: row[2] for row in self._read(vector_statements.BLOCKS, asked)}
        # A block that was changed between the two reads is missing until the next search.
        blocks = [block._replace(data=read.get((block.number, block.stamp))) for block in blocks]
        return [block for block in blocks if block.data is not None or block.stamp in known]

    def _read(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        with self._readers.connection(_EMBEDDING) as connection:
            return connection.execute(statement, parameters).fetchall()


def _add(transaction: Transaction, batch: Batch, model: str, vectors: Mapping[int, bytes]) -> bool:
    found = transaction.execute(vector_statements.STATE, (batch.user_id, batch.index_key)).fetchone()
    if found is None:
        return False
    user, stored, cursor = found
    if stored != batch.model or (stored == model and cursor != batch.cursor):
        return False
    if stored != model:
        transaction.execute(vector_statements.REMOVE_ALL, (user,))
    asked = (user, json.dumps(list(vectors)))
    there = {number for (number,) in transaction.execute(vector_statements.STILL_THERE, asked)}
    for block, of_block in by_block({number: vectors[number] for number in there}):
        row = transaction.execute(vector_statements.BLOCK_DATA, (user, block)).fetchone()
        data = placed(b"" if row is None else row[0], of_block)
        size = len(next(iter(of_block.values())))
        transaction.execute(vector_statements.PUT_BLOCK, (user, block, size, data))
    transaction.execute(vector_statements.SET_STATE, (user, model, batch.end))
    return True
