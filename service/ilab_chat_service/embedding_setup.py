"""Open the embedder of the settings, and embed saved observations in the background."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

from ilab_chat_service.failures import ModelNotFound
from ilab_chat_service.memory.background_embedding import Embedding
from ilab_chat_service.model.embeddings import ProfileEmbedder
from ilab_chat_service.model.profiles_file import read_profiles
from ilab_chat_service.settings import SettingsError
from ilab_chat_service.tasks import in_background
from ilab_memory import semantic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ilab_chat_service.memory.background_embedding import LoadedEmbedder
    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.settings import Settings


@asynccontextmanager
async def open_embedder(settings: Settings) -> AsyncIterator[LoadedEmbedder | None]:
    """Yield the embedder, which is not loaded yet. None: memory is searched by words only.

    Raises:
        SettingsError: the local embedder is not installed, or the profile does not exist.
    """
    if settings.embedder_profile:
        try:
            profile = (await asyncio.to_thread(read_profiles, settings)).named(settings.embedder_profile)
        except ModelNotFound:
            raise SettingsError("ILAB_MEMORY_EMBEDDER: there is no such model in ILAB_CHAT_MODELS_FILE") from None
        with closing(await asyncio.to_thread(ProfileEmbedder, profile, asyncio.get_running_loop())) as embedder:
            yield embedder
        return
    if settings.embedder == "none":
        yield None
        return
    is_installed = await asyncio.to_thread(semantic.is_installed)
    if not is_installed and settings.embedder == "local":
        raise SettingsError(
            "ILAB_MEMORY_EMBEDDER: local needs the extra semantic: in the repository, pip install './memory[semantic]'"
        )
    yield semantic.LocalEmbedder() if is_installed else None


@asynccontextmanager
async def embedding(library: MemoryExecutor, embedder: LoadedEmbedder | None) -> AsyncIterator[None]:
    """While the block runs, embed earlier observations, then those that are saved."""
    if embedder is None:
        yield
        return
    worker = Embedding(library, embedder)
    library.on_saved = worker.saved
    async with in_background(worker.run()):
        yield
