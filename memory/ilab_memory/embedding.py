"""The methods of ILabMemory for vectors: observations are embedded after their save, messages when they are asked."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from ilab_memory import checks
from ilab_memory.core.config import Config
from ilab_memory.core.embedder import Embedder
from ilab_memory.core.errors import raise_closed
from ilab_memory.core.models import RecallHit
from ilab_memory.core.store import Store
from ilab_memory.core.vector_store import Batch, VectorStore
from ilab_memory.recall import meaning
from ilab_memory.recall.mem_related import related
from ilab_memory.recall.message_query import content_terms, read, speaks_of_user
from ilab_memory.redaction import REDACTED, strip_private
from ilab_memory.work_queue import WorkQueue

if TYPE_CHECKING:
    from ilab_memory.core.vector_store import ReadBlocks
    from ilab_memory.recall.anchors import Anchors, Reading
    from ilab_memory.recall.meaning import Meaning
    from ilab_memory.recall.vectors import Cosines

#: Number of observations whose vectors are stored together: a crash loses these vectors.
BATCH = 16
#: Users that are looked up at once.
USERS = 100
#: Attempts to store a batch of a user whom another process embeds too.
ATTEMPTS = 5
#: Threads that embed messages that are asked. An embedder in this process uses one at a time.
THREADS = 16
#: Number of cached vectors of recent texts, so that a message that is asked and saved is embedded once.
RECENT = 256


class Embedding(WorkQueue):
    """Vectors of the observations, if `Config.embedder` is set."""

    def __init__(self, store: Store, config: Config | None = None) -> None:
        """Use *store*. `close` closes it."""
        super().__init__(store, config)
        embedder = self._config.embedder
        self._vectors = None if embedder is None else Vectors(embedder)

    def close(self) -> None:
        """Finish running operations and close the store. A second call does nothing."""
        if self._vectors is not None:
            self._vectors.close()
        super().close()

    def mem_meaning(self, message: str) -> "Meaning | None":
        """Begin to embed *message* on another thread, for `mem_recall`; None without an embedder.

        For a caller that reads something else first. `mem_recall` does it too.
        """
        checks.check_not_blank("message", message)
        return None if self._vectors is None else self._vectors.meaning(message)

    def mem_related(
        self,
        user_id: str,
        message: str,
        *,
        limit: int = 20,
        types: Collection[str] = (),
        meaning: "Meaning | None" = None,
    ) -> list[RecallHit]:
        """Return what the user said that is nearest to *message* in meaning, if that asks something about the user.

        It may not be relevant: use `mem_recall` first, and this to fill a prompt. Without an embedder, nothing.

        Args:
            user_id: The user.
            message: The user's new message.
            limit: Maximum number of results, the nearest first.
            types: Only these types. Empty: all.
            meaning: What `mem_meaning` returned for the message. None: it is embedded now.
        """
        checks.check_user_id(user_id)
        checks.check_not_blank("message", message)
        checks.check_limit(limit)
        checks.check_types("types", types)
        meant = meaning or self.mem_meaning(message)
        if meant is None:
            return []
        return related(self._store, user_id, message, meant, limit=limit, types=types, now=self._now())

    def mem_embed(self, limit: int | None = None, *, user_id: str | None = None, rebuild: bool = True) -> int:
        """Embed observations that have no vector yet, in the order of their changes; return how many were done.

        Call it in the background after saves, and at start, for what a killed process has left. Without an embedder it
        does nothing. Several processes may call it at once.

        Args:
            limit: About how many observations at most. None: all.
            user_id: Only those of this user. None: of all users.
            rebuild: Embed observations again that have a vector of another embedder.

        Raises:
            EmbedderUnavailable: the embedder cannot embed now. The vectors that were computed are stored.
        """
        if limit is not None:
            checks.check_limit(limit)
        if user_id is not None:
            checks.check_user_id(user_id)
        if self._vectors is None:
            return 0
        self._vectors.anchors()
        done = 0
        for user in [user_id] if user_id is not None else self._waiting(self._vectors.embedder.id, rebuild=rebuild):
            done += self._embed_user(self._vectors, user, None if limit is None else limit - done, rebuild=rebuild)
            if limit is not None and done >= limit:
                break
        return done

    def mem_forget(self, user_id: str) -> int:
        """See `Administration`."""
        try:
            return super().mem_forget(user_id)
        finally:
            if self._vectors is not None:
                self._vectors.cached.drop(user_id)

    def mem_unembedded(self, *, rebuild: bool = True) -> int:
        """Return about how many observations `mem_embed` has left; 0 without an embedder. Reads all users."""
        if self._vectors is None:
            return 0
        return self._vector_store.unembedded(self._vectors.embedder.id, rebuild=rebuild)

    def _waiting(self, model: str, *, rebuild: bool) -> Iterator[str]:
        users: Collection[str] = [""]
        while users:
            *_, last = users
            users = self._vector_store.users_to_embed(model, after=last, limit=USERS, rebuild=rebuild)
            yield from users

    def _embed_user(self, vectors: "Vectors", user_id: str, limit: int | None, *, rebuild: bool) -> int:
        model = vectors.embedder.id
        done = failures = 0
        while (limit is None or done < limit) and failures < ATTEMPTS:
            size = BATCH if limit is None else min(BATCH, limit - done)
            batch = self._vector_store.to_embed(user_id, model, limit=size, characters=meaning.CHARACTERS)
            if batch is None or not (rebuild or batch.model in (None, model)):
                break
            if self._vector_store.add_vectors(batch, model, vectors.of(batch)):
                done += len(batch.observations)
            else:
                # Another process was faster, or the user was forgotten.
                failures += 1
        return done

    @property
    def _vector_store(self) -> VectorStore:
        if not isinstance(self._store, VectorStore):
            raise TypeError("the store does not support vectors")
        return self._store


class Vectors:
    """The embedder, with the threads that use it and the vectors of the last texts."""

    def __init__(self, embedder: Embedder) -> None:
        from ilab_memory.recall import anchors, vectors  # noqa: PLC0415 - need numpy, an optional extra

        self.embedder = embedder
        self._packed = vectors.packed
        self.cached = vectors.Cached()
        self._recent = Recent()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ilab-memory-embedder")
        self._closed = threading.Event()
        self._make_anchors = anchors.Anchors.of
        self._anchors: Anchors | None = None
        self._anchors_lock = threading.Lock()

    def anchors(self) -> "Anchors":
        """Return how to read the vectors. The first call embeds some sentences.

        Raises:
            EmbedderUnavailable: the embedder cannot embed now.
        """
        with self._anchors_lock:
            if self._anchors is None:
                self._anchors = self._make_anchors(self._embed)
            return self._anchors

    def meaning(self, message: str) -> "Meaning":
        """Begin to embed *message*, without its private text."""
        said = strip_private(message).replace(REDACTED, " ")
        text = " ".join(said[: meaning.CHARACTERS].split())
        if not content_terms(text) and not read(text).speaks_of_user:
            embedded: Future[tuple[Collection[float], Reading]] = Future()
            embedded.set_exception(ValueError("there is nothing to embed"))
        else:
            embedded = self._begin(text)
        return meaning.Meaning(self.embedder.id, embedded, self._cosines, text, self._begin)

    def of(self, batch: Batch) -> Mapping[int, bytes]:
        """Return the vectors of a batch, by sequence number, as they are stored.

        Raises:
            EmbedderUnavailable: some could not be embedded.
            RuntimeError: closed.
        """
        found = {}
        for row in batch.observations:
            if self._closed.is_set():
                raise_closed()
            text = meaning.text_of(row.title, row.content)
            try:
                if text and not meaning.is_small_talk(self.anchors().read(vector := self._embed(text))):
                    found[row.number] = self._packed(vector, is_of_user=speaks_of_user(text))
            except ValueError:
                # It is found by its words.
                continue
        return found

    def close(self) -> None:
        """Refuse calls that have not begun."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, text: str) -> "Future[tuple[Collection[float], Reading]]":
        return self._threads.submit(self._read, text)

    def _read(self, text: str) -> "tuple[Collection[float], Reading]":
        # First the anchors: without them, another embedder's scale would bring back what is not relevant.
        anchors = self.anchors()
        vector = self._embed(text)
        reading = anchors.read(vector)
        return anchors.moved(vector, reading), reading

    def _cosines(self, vector: Collection[float], user_id: str, read: "ReadBlocks") -> "Cosines | None":
        found = self.cached.cosines(vector, user_id, read)
        return None if found is None else replace(found, cosine=self.anchors().scaled(found.cosine))

    def _embed(self, text: str) -> Collection[float]:
        return self._recent.get(text, self.embedder.embed)


class Recent:
    """The vectors of the texts that were embedded last, by keyed hashes of the texts."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._vectors: OrderedDict[bytes, Collection[float]] = OrderedDict()

    def get(self, text: str, embed: Callable[[str], Collection[float]]) -> Collection[float]:
        """Return the vector of *text*, by *embed* if it is not one of the last."""
        digest = hashlib.blake2b(text.encode(), key=self._key, digest_size=16).digest()
        with self._lock:
            vector = self._vectors.get(digest)
        if vector is None:
            vector = embed(text)
            with self._lock:
                self._vectors[digest] = vector
                if len(self._vectors) > RECENT:
                    self._vectors.popitem(last=False)
        return vector
