"""The vectors of a PostgreSQL store. See `VectorStore`."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ilab_memory.core.vector_store import Batch, Block, Unembedded, VectorStore
from ilab_memory.stores.common.vectors import by_block, placed
from ilab_memory.stores.postgres import statements, vector_statements
from ilab_memory.stores.postgres.connections import Connections, Query, Transaction

_EMBEDDING = "embed observations"


class PostgresVectors(VectorStore):
    """The vectors of the users of one database."""

    _connections: Connections

    def users_to_embed(self, model: str, *, after: str, limit: int, rebuild: bool) -> Sequence[str]:
        asked = {"model": model, "after": after, "limit": limit, "rebuild": rebuild}
        return [user_id for (user_id,) in self._connections.rows(_EMBEDDING, vector_statements.WAITING_USERS, **asked)]

    def unembedded(self, model: str, *, rebuild: bool) -> int:
        asked = {"model": model, "after": "", "rebuild": rebuild}
        ((count,),) = self._connections.rows(_EMBEDDING, vector_statements.COUNT_WAITING, **asked)
        return int(count)

    def to_embed(self, user_id: str, model: str, *, limit: int, characters: int) -> Batch | None:
        asked = {"user_id": user_id, "model": model, "limit": limit, "characters": characters}
        rows = self._connections.rows(_EMBEDDING, vector_statements.NEXT, **asked)
        if not rows:
            return None
        index_key, stored, cursor, last, *_ = rows[0]
        observations = [Unembedded._make(row[4:]) for row in rows if row[4] is not None]
        end = observations[-1].number if len(observations) == limit else last
        return Batch(
            user_id=user_id,
            index_key=bytes(index_key),
            model=stored,
            cursor=cursor,
            end=end,
            observations=observations,
        )

    def add_vectors(self, batch: Batch, model: str, vectors: Mapping[int, bytes]) -> bool:
        """See VectorStore. Repeated after a lost connection, it finds the cursor moved."""
        add = partial(_add, batch=batch, model=model, vectors=vectors)
        return self._connections.write(_EMBEDDING, add, repeatable=True)

    def vectors(self, user_id: str, model: str, known: Collection[int]) -> Sequence[Block]:
        asked = {"user_id": user_id, "model": model, "known": list(known)}
        rows = self._connections.rows(_EMBEDDING, vector_statements.BLOCKS, **asked)
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
        (vector_statements.STATE, asked),
        (vector_statements.STILL_THERE, asked),
        (vector_statements.BLOCKS_DATA, asked),
    )
    stored, cursor = state[0] if state else (None, 0)
    if not users or bytes(users[0][0]) != batch.index_key:
        return False
    if stored != batch.model or (stored == model and cursor != batch.cursor):
        return False
    queries: list[Query] = [(statements.NOT_SYNCED, {})]
    data = {block: bytes(each) for block, each in blocks}
    if stored != model:
        queries.append((vector_statements.ERASE_VECTORS, asked))
        data = {}
    for block, of_block in by_block({number: vectors[number] for (number,) in there}):
        row = {
            "user_id": batch.user_id,
            "block": block,
            "size": len(next(iter(of_block.values()))),
            "data": placed(data.get(block, b""), of_block),
        }
        queries.append((vector_statements.PUT_BLOCK, row))
    state_now = {"user_id": batch.user_id, "model": model, "cursor": batch.end}
    transaction.commit(*queries, (vector_statements.SET_STATE, state_now))
    return True


def removal(user_id: str, ids: Sequence[int]) -> list[Query]:
    """Return the write that removes the vectors of observations, before these are changed or deleted."""
    asked = {"user_id": user_id, "ids": list(ids)}
    return [(vector_statements.REMOVE_VECTORS, asked), (vector_statements.REMOVE_EMPTY_BLOCKS, asked)]
