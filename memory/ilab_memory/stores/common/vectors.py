"""Blocks of vectors: where each has its place."""

from collections.abc import Iterator, Mapping
from itertools import groupby

from ilab_memory.core.vector_store import BLOCK


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
