"""Compose prompts and redact leaks: on threads of their own if the texts are long."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from ilab_chat_service.limits import LARGE_BYTES, LONG_TEXT_THREADS
from ilab_chat_service.memory.bulkhead import Bulkhead
from ilab_chat_service.privacy.leak_redaction import quotes_of, redact_leaks
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ilab_chat_service.ports import IsQuoted
    from ilab_chat_service.prompt import Prompt
    from ilab_chat_service.values import Context, TurnRequest

T = TypeVar("T")


class TextThreads:
    """Composes prompts and redacts replies, on threads of its own if they are long, one call per user at a time."""

    def __init__(self) -> None:
        self._threads = Bulkhead("long-texts", threads=LONG_TEXT_THREADS, per_user=1)

    async def quotes(self, request: TurnRequest) -> IsQuoted:
        """Return a function that checks whether a name quotes text of *request*."""
        is_long = request.text_bytes > LARGE_BYTES
        prepare = partial(quotes_of, request.message, request.unstored)
        is_quoted = await self._computed(request, prepare, is_long=is_long)
        return lambda name, known: self._computed(request, partial(is_quoted, name, known), is_long=is_long)

    async def redacted(self, request: TurnRequest, reply: str) -> str:
        """Return *reply* without the private text of *request*."""
        redact = partial(without_private, reply, request)
        return await self._computed(request, redact, is_long=request.text_bytes + len(reply) > LARGE_BYTES)

    async def composed(self, request: TurnRequest, context: Context, compose: Callable[[], Prompt]) -> Prompt:
        """Return what *compose* returns, called on a thread if *request* and *context* are long."""
        said = sum(len(turn.message) + len(turn.reply) for turn in context.turns)
        return await self._computed(request, compose, is_long=request.text_bytes + said > LARGE_BYTES)

    async def _computed(self, request: TurnRequest, compute: Callable[[], T], *, is_long: bool) -> T:
        return await self._threads.run(request.user_id, compute) if is_long else compute()

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Start it, and wait for its threads at the end of the block."""
        texts = cls()
        try:
            yield texts
        finally:
            await texts._threads.close()


def without_private(reply: str, request: TurnRequest) -> str:
    """Return *reply* without tags of private text, and without what it repeats of the private text of *request*."""
    return redact_leaks(strip_private(reply), request.message, request.unstored)
