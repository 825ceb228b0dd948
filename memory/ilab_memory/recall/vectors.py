"""Vectors as they are stored, and their cosines. Pure. Needs numpy: only imported with an embedder.

A stored vector is its components as 8-bit integers, the factor that makes its length 1, and a byte that says what kind
of text it is of: 0 for no vector, 2 for a text in which the user speaks of themself, 1 for any other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ilab_memory.core.vector_store import BLOCK, Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST = 127.0
#: Vectors that the mean of a user is computed from, evenly spaced.
MOST_FOR_MEAN = 512
#: The mean of few rows says little about what all rows have in common, and so does the deviation of their cosines: both
#: are estimated as if there were this many more, with a mean of zero and DEVIATION.
BACKGROUND, DEVIATION = 20, 0.1
#: Vectors whose components are converted at once: they stay in the processor's cache.
_PAGE = 512
# Of a square that would be zero or less by rounding.
_LEAST = np.float32(1e-6)


class Near(NamedTuple):
    """How near a row is to a text."""

    cosine: float
    centred: float
    """The cosine after the mean of the rows was subtracted from both: what all rows have in common says nothing."""
    z: float
    """`centred` in standard deviations from its mean over the user's rows."""
    is_of_user: bool
    """The user speaks of themself in it."""


@dataclass(frozen=True, slots=True)
class Cosines:
    """How near the rows of a user are to a text."""

    numbers: "NDArray[np.int64]"
    """Sequence numbers, ascending."""
    cosine: "NDArray[np.float32]"
    centred: "NDArray[np.float32]"
    is_of_user: "NDArray[np.bool_]"

    def nearest(self, most: int, floor: float, *, more: float) -> list[int]:
        """Return the *most* rows with the largest `centred` among those whose cosine is at least *floor*.

        Rows in which the user speaks of themself have *more* of both.
        """
        gain = self.is_of_user * np.float32(more)
        (above,) = np.nonzero(self.cosine + gain >= floor)
        ranked = (self.centred + gain)[above]
        if len(above) > most:
            best = np.argpartition(ranked, -most)[-most:]
            above, ranked = above[best], ranked[best]
        found: list[int] = self.numbers[above[np.argsort(-ranked, kind="stable")]].tolist()
        return found

    def of(self, numbers: Iterable[int]) -> Mapping[int, Near]:
        """Return how near those of *numbers* are that have a vector."""
        asked = np.array(sorted(numbers), dtype=np.int64)
        places = np.searchsorted(self.numbers, asked)
        known = places < len(self.numbers)
        known[known] = self.numbers[places[known]] == asked[known]
        asked, places = asked[known], places[known]
        rows = len(self.numbers)
        mean = float(self.centred.sum()) / (rows + BACKGROUND)
        squares = float(np.square(self.centred - np.float32(mean)).sum())
        deviation = ((squares + BACKGROUND * DEVIATION**2) / (rows + BACKGROUND)) ** 0.5
        z = (self.centred[places] - np.float32(mean)) / np.float32(deviation)
        columns = (self.cosine[places], self.centred[places], z, self.is_of_user[places])
        rows_of = zip(*(column.tolist() for column in columns), strict=True)
        return dict(zip(asked.tolist(), map(Near._make, rows_of), strict=True))


def packed(vector: Collection[float], *, is_of_user: bool) -> bytes:
    """Return *vector* as it is stored.

    Raises:
        ValueError: it has no direction.
    """
    values = _unit(vector)
    scaled = np.rint(values * (_MOST / np.abs(values).max())).astype(np.int8)
    row = np.zeros(1, dtype=_rows_of(values.size))
    row["values"], row["kind"] = scaled, 1 + is_of_user
    row["factor"] = 1 / np.linalg.norm(scaled.astype(np.float32))
    return row.tobytes()


def cosines(vector: Collection[float], blocks: Sequence[Block]) -> Cosines | None:
    """Return how near the rows of *blocks* are to *vector*; None without any row."""
    asked = _unit(vector)
    form = _rows_of(asked.size)
    usable = [block for block in blocks if block.size == form.itemsize]
    if not usable:
        return None
    rows = np.frombuffer(b"".join([block.data for block in usable]), dtype=form)
    numbers = np.concatenate(
        [block.number * BLOCK + np.arange(len(block.data) // block.size, dtype=np.int64) for block in usable]
    )
    there = rows["kind"] > 0
    if not there.all():
        rows, numbers = rows[there], numbers[there]
    if not len(rows):
        return None
    sample = rows[:: -(-len(rows) // MOST_FOR_MEAN)]
    mean = (sample["factor"] @ sample["values"].astype(np.float32)) / np.float32(len(sample) + BACKGROUND)
    both = np.stack([asked, mean], axis=1)
    pages = (rows[start : start + _PAGE] for start in range(0, len(rows), _PAGE))
    products = np.concatenate([(page["values"].astype(np.float32) @ both) * page["factor"][:, None] for page in pages])
    near, common = products[:, 0], products[:, 1]
    of_mean, of_asked = np.float32(mean @ mean), np.float32(asked @ mean)
    lengths = np.sqrt(np.maximum(1 - 2 * common + of_mean, _LEAST) * max(1 - 2 * of_asked + of_mean, _LEAST))
    centred = (near - common - of_asked + of_mean) / lengths
    return Cosines(numbers, near, centred, rows["kind"] > 1)


def _rows_of(dimensions: int) -> "np.dtype[np.void]":
    return np.dtype([("factor", "<f4"), ("kind", "u1"), ("values", "i1", (dimensions,))])


def _unit(vector: Collection[float]) -> "NDArray[np.float32]":
    values = np.asarray(vector, dtype=np.float32)
    length = np.linalg.norm(values)
    if values.ndim != 1 or not np.isfinite(length) or length == 0:
        raise ValueError("a vector must be finite numbers that are not all zero")
    return values / length
