"""`Embedder`: what turns a text into a vector, so that texts are found by their meaning."""

from collections.abc import Collection
from typing import Protocol, runtime_checkable


class EmbedderUnavailable(RuntimeError):
    """The embedder cannot embed anything now: it is being loaded, or it cannot be reached."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors whose cosine says how alike their meanings are. Any number of threads may use it.

    `ilab_memory.semantic` has one that runs in this process (extra `semantic`).
    """

    @property
    def id(self) -> str:
        """The name of the model and its version: vectors of two embedders of one id can be compared.

        Stored with the vectors. When it changes, they are computed again.
        """

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""

    def embed(self, text: str) -> Collection[float]:
        """Return the vector of *text*. Its length does not matter, its direction does.

        A search for a prompt waits for it, see `ilab_memory.recall.meaning.QUERY_SECONDS`.

        Raises:
            EmbedderUnavailable: not now. Messages are embedded later, and a search goes by words.
            ValueError: this text has no vector. It is found by its words alone.
        """
