"""Background embedding: what was saved is embedded after its save, and after a start what was left."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from ilab_chat_service.failures import MemoryUnavailable
from ilab_memory.core.embedder import Embedder, EmbedderUnavailable

if TYPE_CHECKING:
    from ilab_chat_service.memory.executor import MemoryExecutor

log = logging.getLogger(__name__)

#: Observations that are embedded in one visit to a thread: less than a tenth of a second.
BATCH = 16
#: Interval of the search for observations that other processes have not embedded.
SCAN_SECONDS = 600.0
#: Time until the embedder is asked again after it failed.
RETRY_SECONDS = 15.0
#: Observations left at the start from which on progress is logged, and how often.
MANY, PROGRESS_SECONDS = 100, 10.0


class LoadedEmbedder(Embedder, Protocol):
    """An embedder that is loaded first."""

    def load(self) -> None:
        """Load it, on the thread that calls. Raises EmbedderUnavailable."""


class Embedding:
    """Embeds observations, one batch at a time, those that were just saved first."""

    def __init__(self, library: MemoryExecutor, embedder: LoadedEmbedder) -> None:
        self._library = library
        self._embedder = embedder
        self._saved: dict[str, None] = {}
        self._wake = asyncio.Event()

    def saved(self, user_id: str) -> None:
        """Embed what the user has, soon."""
        self._saved[user_id] = None
        self._wake.set()

    async def run(self) -> None:
        """Load the embedder, then embed earlier observations and those that are saved, until cancelled."""
        if not await self._load():
            return
        rebuild = True
        while True:
            try:
                await self._embed_left(rebuild=rebuild)
                rebuild = False
                await self._embed_saved(time.monotonic() + SCAN_SECONDS)
            except (EmbedderUnavailable, MemoryUnavailable) as error:
                log.warning("embedding: %s; trying again in %g s", error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _load(self) -> bool:
        """Load the embedder; return whether it can be used."""
        began = time.monotonic()
        while True:
            try:
                await self._library.embed(lambda _: self._embedder.load())
            except EmbedderUnavailable as error:
                log.warning("embedder: %s; memory is searched by words, trying again in %g s", error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("embedder: could not be loaded; memory is searched by words")
                return False
            else:
                log.info("embedder: %s is ready after %.1f s", self._embedder.id, time.monotonic() - began)
                return True

    async def _embed_left(self, *, rebuild: bool) -> None:
        """Embed what has no vector, or, with *rebuild*, one of another embedder."""
        total = await self._library.embed(lambda memory: memory.mem_unembedded(rebuild=rebuild))
        done = 0
        told = time.monotonic()
        while batch := await self._step(None, rebuild=rebuild):
            done += batch
            while self._saved:
                await self._step(self._next(), rebuild=False)
            if total >= MANY and time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                log.info("embedded %d of about %d observations", done, total)
        if total >= MANY:
            log.info("embedded %d observations", done)

    async def _embed_saved(self, until: float) -> None:
        """Embed what is saved until the moment *until* of the monotonic clock."""
        while (seconds := until - time.monotonic()) > 0:
            while self._saved:
                user_id = self._next()
                if await self._step(user_id, rebuild=False) >= BATCH:
                    # After the other users: an import has thousands of observations.
                    self.saved(user_id)
            self._wake.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return

    def _next(self) -> str:
        user_id = next(iter(self._saved))
        del self._saved[user_id]
        return user_id

    async def _step(self, user_id: str | None, *, rebuild: bool) -> int:
        """Embed a batch and return its size. Then rest for the same time, so that others get the CPU."""
        began = time.monotonic()
        done = await self._library.embed(lambda memory: memory.mem_embed(BATCH, user_id=user_id, rebuild=rebuild))
        self._library.embedded += done
        if done >= BATCH:
            await asyncio.sleep(time.monotonic() - began)
        return done
