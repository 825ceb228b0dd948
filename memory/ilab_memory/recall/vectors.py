"""Vectors as they are stored, and their cosines. Pure. Needs numpy: only imported with an embedder.

A stored vector is its components as 8-bit integers, the factor that makes its length 1, and a byte that says what kind
of text it is of: 0 for no vector, 2 for a text in which the user speaks of themself, 1 for any other.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ilab_memory.core.vector_store import BLOCK, Block, ReadBlocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST = 127.0
#: Vectors that the mean of a user is computed from, evenly spaced.
MOST_FOR_MEAN = 512
#: The mean of few rows says little about what all rows have in common, and so does the deviation of their cosines: both
#: are estimated as if there were this many more, with a mean of zero and DEVIATION.
BACKGROUND, DEVIATION = 20, 0.1
#: Blocks whose components are converted at once, so that they stay in the processor's cache.
PAGE = 8
#: Maximum number of bytes of cached vectors: those of 20,000 observations with 512 dimensions.
MOST_CACHED = 10 * 1024 * 1024
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
    values = unit(vector)
    scaled = np.rint(values * (_MOST / np.abs(values).max())).astype(np.int8)
    row = np.zeros(1, dtype=_rows_of(values.size))
    row["values"], row["kind"] = scaled, 1 + is_of_user
    row["factor"] = 1 / np.linalg.norm(scaled.astype(np.float32))
    return row.tobytes()


class Cached:
    """A cache of the vectors of recent users, so that a search reads only vectors that have changed.

    Any thread may use it.
    """

    def __init__(self, most: int = MOST_CACHED) -> None:
        """Cache at most *most* bytes of vectors."""
        self._most = most
        self._lock = threading.Lock()
        self._users: OrderedDict[str, _Rows] = OrderedDict()
        self._size = 0

    def cosines(self, vector: Collection[float], user_id: str, read: ReadBlocks) -> Cosines | None:
        """Return how near the rows of the user, whose vectors *read* returns, are to *vector*; None without any row."""
        asked = unit(vector)
        form = _rows_of(asked.size)
        with self._lock:
            before = self._users.get(user_id)
        blocks = read(() if before is None else before.stamps)
        rows = _Rows.of([block for block in blocks if block.size == form.itemsize], form, before)
        if rows is not before:
            self._put(user_id, rows)
        return rows.cosines(asked) if len(rows.numbers) else None

    def drop(self, user_id: str) -> None:
        """Forget the vectors of the user."""
        self._put(user_id, None)

    def _put(self, user_id: str, rows: "_Rows | None") -> None:
        with self._lock:
            if (old := self._users.pop(user_id, None)) is not None:
                self._size -= old.size
            if rows is None or not rows.size:
                return
            self._users[user_id] = rows
            self._size += rows.size
            while self._size > self._most:
                _, oldest = self._users.popitem(last=False)
                self._size -= oldest.size


@dataclass(frozen=True, slots=True)
class _Page:
    """The vectors of PAGE successive blocks, as they are stored."""

    blocks: Mapping[int, tuple[int, memoryview]]
    """Stamp and part of the data of each block, by its number."""
    rows: "NDArray[np.void]"
    numbers: "NDArray[np.int64]"

    @classmethod
    def of(cls, blocks: Mapping[int, tuple[int, bytes | memoryview]], form: "np.dtype[np.void]") -> "_Page":
        joined = b"".join([data for _, data in blocks.values()])
        parts, begin = {}, 0
        for number, (stamp, data) in blocks.items():
            parts[number] = stamp, memoryview(joined)[begin : begin + len(data)]
            begin += len(data)
        numbers = [number * BLOCK + np.arange(len(data) // form.itemsize) for number, (_, data) in parts.items()]
        return cls(parts, np.frombuffer(joined, dtype=form), np.concatenate(numbers))


@dataclass(frozen=True, slots=True)
class _Rows:
    """The vectors of a user. Never changed: another thread may be reading them."""

    pages: Mapping[int, _Page]
    stamps: frozenset[int]
    of_mean: Sequence[int]
    """The pages that the mean is of."""
    mean: "NDArray[np.float32]"
    commons: "Mapping[int, NDArray[np.float32]]"
    """The products of each page with the mean."""
    is_there: "NDArray[np.bool_]"
    """Whether each row of the pages has a vector."""
    numbers: "NDArray[np.int64]"
    is_of_user: "NDArray[np.bool_]"
    size: int
    """Bytes of the vectors."""

    @classmethod
    def of(cls, blocks: Sequence[Block], form: "np.dtype[np.void]", before: "_Rows | None") -> "_Rows":
        """Return the rows of *blocks*; the data that they lack are in *before*."""
        stamps = frozenset(block.stamp for block in blocks)
        if before is not None and stamps == before.stamps:
            return before
        old = {} if before is None else before.pages
        pages: dict[int, _Page] = {}
        for place, group in groupby(blocks, key=lambda block: block.number // PAGE):
            page = old.get(place)
            known = {} if page is None else page.blocks
            found: dict[int, tuple[int, bytes | memoryview]] = {}
            for block in group:
                stamp, data = known.get(block.number, (None, None))
                if block.data is not None:
                    found[block.number] = block.stamp, block.data
                elif stamp == block.stamp and data is not None:
                    found[block.number] = block.stamp, data
            if page is not None and {n: s for n, (s, _) in found.items()} == {n: s for n, (s, _) in known.items()}:
                pages[place] = page
            elif found:
                pages[place] = _Page.of(found, form)
        return cls._of(pages, stamps, form, before)

    @classmethod
    def _of(
        cls,
        pages: Mapping[int, _Page],
        stamps: frozenset[int],
        form: "np.dtype[np.void]",
        before: "_Rows | None",
    ) -> "_Rows":
        old: Mapping[int, _Page] = {} if before is None else before.pages
        # Without the newest page, unless it is the only one, so that a new row seldom changes the mean.
        of_mean = list(pages)[:-1] or list(pages)
        if before is not None and of_mean == before.of_mean and all(pages[each] is old[each] for each in of_mean):
            mean, commons = before.mean, before.commons
        else:
            mean, commons = _mean([pages[each].rows for each in of_mean], form), {}
        kinds = [page.rows["kind"] for page in pages.values()]
        kind = np.concatenate(kinds) if kinds else np.zeros(0, dtype=np.uint8)
        numbers = [page.numbers for page in pages.values()]
        is_there = kind > 0
        return cls(
            pages=pages,
            stamps=stamps,
            of_mean=of_mean,
            mean=mean,
            commons={
                place: commons[place] if place in commons and old[place] is page else _products(page.rows, mean)
                for place, page in pages.items()
            },
            is_there=is_there,
            numbers=np.concatenate(numbers)[is_there] if numbers else np.zeros(0, dtype=np.int64),
            is_of_user=(kind > 1)[is_there],
            size=len(kind) * form.itemsize,
        )

    def cosines(self, asked: "NDArray[np.float32]") -> Cosines:
        """Return how near the rows are to *asked*, of length 1."""
        near = np.concatenate([_products(page.rows, asked) for page in self.pages.values()])
        common = np.concatenate([self.commons[place] for place in self.pages])
        if len(self.numbers) < len(near):
            near, common = near[self.is_there], common[self.is_there]
        of_mean, of_asked = np.vecdot(self.mean, self.mean), np.vecdot(asked, self.mean)
        lengths = np.sqrt(np.maximum(1 - 2 * common + of_mean, _LEAST) * max(1 - 2 * of_asked + of_mean, _LEAST))
        centred = (near - common - of_asked + of_mean) / lengths
        return Cosines(self.numbers, near, centred, self.is_of_user)


def _mean(pages: "Sequence[NDArray[np.void]]", form: "np.dtype[np.void]") -> "NDArray[np.float32]":
    """Return the mean of some rows of *pages*, evenly spaced."""
    there = [page[page["kind"] > 0] for page in pages]
    step = max(1, -(-sum(map(len, there)) // MOST_FOR_MEAN))
    total = np.zeros(form["values"].shape, dtype=np.float32)
    count = begin = 0
    for rows in there:
        sampled = rows[-begin % step :: step]
        total += (sampled["values"] * sampled["factor"][:, None]).sum(axis=0, dtype=np.float32)
        count += len(sampled)
        begin += len(rows)
    return total / np.float32(count + BACKGROUND)


def _products(rows: "NDArray[np.void]", vector: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return the product of each of *rows* with *vector*."""
    # Not one of matrices: BLAS would share it among threads, whose waiting costs more than it gains.
    found: NDArray[np.float32] = np.vecdot(rows["values"].astype(np.float32), vector) * rows["factor"]
    return found


def _rows_of(dimensions: int) -> "np.dtype[np.void]":
    return np.dtype([("factor", "<f4"), ("kind", "u1"), ("values", "i1", (dimensions,))])


def unit(vector: Collection[float]) -> "NDArray[np.float32]":
    """Return *vector* with length 1.

    Raises:
        ValueError: it has no direction.
    """
    values = np.asarray(vector, dtype=np.float32)
    length = np.linalg.norm(values)
    if values.ndim != 1 or not np.isfinite(length) or length == 0:
        raise ValueError("a vector must be finite numbers that are not all zero")
    return values / length
