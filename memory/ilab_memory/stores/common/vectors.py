"""Batches of observations to embed, and blocks of vectors: where each has its place."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ilab_memory.core.vector_store import BLOCK, Batch, Unembedded


def next_batch(user_id: str, row: Sequence[Any], observations: Sequence[Unembedded], *, limit: int) -> Batch:
    """Return the next batch of *observations*, at most *limit*.

    *row*: the user's index key, the embedder of what is stored, the cursor, and the user's last number.
    """
    index_key, model, cursor, last = row
    end = observations[-1].number if len(observations) == limit else last
    return Batch(
        user_id=user_id, index_key=bytes(index_key), model=model, cursor=cursor, end=end, observations=observations
    )


def by_block(vectors: Mapping[int, bytes]) -> Iterator[tuple[int, Mapping[int, bytes]]]:
    """Yield the number of each block of *vectors*, with those in it by their places."""
    for block, numbers in groupby(sorted(vectors), key=lambda number: number // BLOCK):
        yield block, {number % BLOCK: vectors[number] for number in numbers}


def placed(data: bytes, vectors: Mapping[int, bytes]) -> bytes:
    """Return the block *data* with *vectors* at their places."""
    size = len(next(iter(vectors.values())))
    block = bytearray(data.ljust((max(vectors) + 1) * size, b"\0"))
    for place, vector in vectors.items():
        block[place * size : (place + 1) * size] = vector
    return bytes(block)
