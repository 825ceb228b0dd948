"""`VectorStore`: the part of a storage backend that keeps the vectors of observations."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Observations in one block of vectors: the one of the sequence number n is in block n // BLOCK, at place n % BLOCK.
BLOCK = 64


class Block(NamedTuple):
    """The vectors of BLOCK successive sequence numbers."""

    number: int
    """Which block it is."""
    size: int
    """Bytes of one vector."""
    stamp: int
    """A random number, another one after each change."""
    data: bytes | None
    """The vectors, up to the last one. Zeros stand for a missing one. None: not read."""


#: Returns the vectors of a user in blocks, without the data of those whose stamps are given.
ReadBlocks = Callable[[Collection[int]], Sequence[Block]]


class Unembedded(NamedTuple):
    """An observation that was not embedded yet."""

    number: int
    title: str
    content: str
    """The beginning of the content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The next observations of a user to embed, by sequence number."""

    user_id: str
    index_key: bytes
    """Of the user: another one after the user was forgotten and has come back."""
    model: str | None
    """Id of the embedder whose vectors are stored; another than the one asked for: they are to be replaced."""
    cursor: int
    """Sequence number of the last observation that was embedded."""
    end: int
    """Sequence number of the last observation that is embedded with this batch."""
    observations: Sequence[Unembedded]


class VectorStore(ABC):
    """The methods of a `Store` that keeps vectors.

    Each user has a cursor: the observations up to it are embedded. A changed observation has a new sequence number, so
    it is embedded again. The vector of a number disappears with its observation, and all of a user with the user.
    """

    @abstractmethod
    def users_to_embed(self, model: str, *, after: str, limit: int, rebuild: bool) -> Sequence[str]:
        """Return the next users behind *after*, by user_id, that have observations behind their cursors.

        With *rebuild*, also those with vectors of another embedder than *model*. Reads the rows of all users.
        """

    @abstractmethod
    def unembedded(self, model: str, *, rebuild: bool) -> int:
        """Return about how many observations `users_to_embed` is about: sequence numbers, which a change adds to."""

    @abstractmethod
    def to_embed(self, user_id: str, model: str, *, limit: int, characters: int) -> Batch | None:
        """Return the next *limit* observations to embed, with *characters* of each text; None if all are embedded.

        With vectors of another embedder than *model*: the first observations.
        """

    @abstractmethod
    def add_vectors(self, batch: Batch, model: str, vectors: Mapping[int, bytes]) -> bool:
        """Store *vectors*, by sequence number and all of one size, and move the cursor, in one transaction.

        Observations that were changed or deleted since get none. Removes vectors of another embedder. False, with
        nothing stored, if the user was forgotten, or if the cursor has been moved since *batch* was read.
        """

    @abstractmethod
    def vectors(self, user_id: str, model: str, known: Collection[int]) -> Sequence[Block]:
        """Return the user's vectors by *model*, in blocks in the order of their numbers.

        Without the data of the blocks whose stamps are *known*.
        """
