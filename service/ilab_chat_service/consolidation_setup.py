"""Assemble consolidation from its model, memory and limits."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ilab_chat_service.consolidation.consolidator import Consolidator, Limits, consolidating
from ilab_chat_service.failures import ModelNotFound
from ilab_chat_service.memory.turn_codec import decoded_turn
from ilab_chat_service.model.model_choice import open_model
from ilab_chat_service.settings import SettingsError
from ilab_chat_service.values import Generation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.model.model_choice import ModelClient
    from ilab_chat_service.ports import Clock
    from ilab_chat_service.settings import Settings
    from ilab_chat_service.telemetry.call_record import Call
    from ilab_chat_service.telemetry.spans import Traces


@asynccontextmanager
async def open_consolidator(
    settings: Settings,
    library: MemoryExecutor,
    chat: ModelClient,
    clock: Clock,
    *,
    hashed: Callable[[str], str],
    asked: Callable[[Call], None] | None,
    traces: Traces | None = None,
) -> AsyncIterator[tuple[Consolidator, ModelClient]]:
    """Consolidate turns while the block runs. Yield the consolidator and its model.

    Args:
        settings: the server's settings.
        library: the memory.
        chat: the model of the chat.
        clock: for daily budgets and pauses.
        hashed: replaces user ids in the log.
        asked: called with the record of each consolidation.
        traces: records a span for each consolidation.

    Raises:
        SettingsError: the model is not offered.
    """
    async with open_consolidation_model(settings, chat) as model:
        consolidator = Consolidator(
            library,
            model,
            limits_of(settings),
            clock,
            spoken=decoded_turn,
            hashed=hashed,
            asked=asked or (lambda _: None),
            traces=traces,
        )
        async with consolidating(consolidator, settings.drain_seconds):
            yield consolidator, model


@asynccontextmanager
async def open_consolidation_model(settings: Settings, chat: ModelClient) -> AsyncIterator[ModelClient]:
    """Open the models for consolidation while the block runs.

    Except for the embedded model, they have connections and breakers of their own, so that consolidation does not
    affect the calls of the *chat*.

    Raises:
        SettingsError: the model is not offered.
    """
    async with AsyncExitStack() as stack:
        if settings.embedded:
            model = chat
        else:
            # The consolidator makes one call at a time.
            own = replace(settings, model_retries=0, max_calls=1)
            model = await stack.enter_async_context(open_model(own))
        try:
            model.choose(Generation(model=settings.consolidation_model))
        except ModelNotFound:
            raise SettingsError("ILAB_CHAT_CONSOLIDATION_MODEL: is not a model that this server offers") from None
        yield model


def limits_of(settings: Settings) -> Limits:
    """Return the limits of consolidation."""
    return Limits(
        model=settings.consolidation_model,
        turns=settings.consolidation_turns,
        idle=settings.consolidation_idle_minutes * 60,
        daily_tokens=settings.consolidation_daily_tokens,
        total_daily_tokens=settings.consolidation_total_daily_tokens,
        lease=settings.consolidation_lease_seconds,
        call=settings.model_timeout_seconds,
    )
