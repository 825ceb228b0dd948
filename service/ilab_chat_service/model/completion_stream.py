"""The Answer port: what the model writes, read from the body of the API's response as it comes in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ilab_chat_service.model.chunks import chunk_of, name_of, object_of, reason_of, usage_of
from ilab_chat_service.model.errors import (
    BROKEN,
    NO_ANSWER,
    EndedEarly,
    ErrorEvent,
    failures_after_first_word,
)
from ilab_chat_service.model.server_sent_events import EventDecoder
from ilab_chat_service.model.surrogates import WholeCharacters
from ilab_chat_service.ports import FinishReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ilab_chat_service.model.http_transport import Body
    from ilab_chat_service.ports import Usage

#: Most bytes of a reply in UTF-8: as many as the memory takes of a turn, and few enough that the whole answer, memories
#: included, stays below the 4 MiB that callers accept of a message unless they say otherwise.
REPLY_BYTES = 1024 * 1024

#: Data of the event after the last chunk.
DONE = b"[DONE]"

#: How long the end of a response whose answer is complete is waited for, in seconds: read to its end, its connection
#: can be used again. The openai package waits as long.
END_SECONDS = 0.1


class OpenAIAnswer:
    """The Answer port over the body of a response of the model's API."""

    def __init__(self, body: Body, requested_model: str) -> None:
        self.model = requested_model
        self.attempts = 1
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self._body = body
        self._events = EventDecoder()
        self._whole = WholeCharacters()
        self._room = REPLY_BYTES
        self._first = ""
        self._model_said: object = None
        self._done = False
        self._cut = False
        self._failure: Exception | None = None

    async def begin(self) -> None:
        """Wait for the first word, or for the end if there is none."""
        self._first = await self._next()

    async def aclose(self) -> None:
        """Stop reading, and close the connection if the model is not done."""
        await self._body.aclose()

    async def __aiter__(self) -> AsyncIterator[str]:
        with failures_after_first_word():
            text = self._first
            while text:
                yield text
                text = await self._next()
        if not self._cut:
            await self._read_to_end()

    async def _next(self) -> str:
        """Return the text of the next chunks, of all that one read of the socket brought; at the end, none."""
        while not (self._done or self._failure):
            received = await self._body.receive()
            if not received:
                break
            if text := self._whole.add(self._text(self._events.feed(received))):
                return self._fitting(text)
        if self._failure:
            raise self._failure
        if self.finish_reason is None:
            # An HTTP body may end without an error although the answer has not.
            raise EndedEarly
        return "" if self._cut else self._whole.rest()

    def _fitting(self, text: str) -> str:
        """Return *text*, cut where the reply has REPLY_BYTES, as one is cut that has all the tokens it may have."""
        encoded = text.encode()
        if len(encoded) > self._room:
            self.finish_reason = FinishReason.LENGTH
            self._done = self._cut = True
            return encoded[: self._room].decode(errors="ignore")
        self._room -= len(encoded)
        return text

    async def _read_to_end(self) -> None:
        with suppress(TimeoutError, *BROKEN):
            async with asyncio.timeout(END_SECONDS):
                while await self._body.receive():
                    pass

    def _text(self, events: list[bytes]) -> str:
        """Return the text of *events*, up to the last one or one that is no chunk, which is noted as the failure."""
        texts = []
        try:
            for data in events:
                if data.startswith(DONE):
                    self._done = True
                    break
                texts.append(self._noted(data))
        except NO_ANSWER as error:
            self._failure = error
        return "".join(texts)

    def _noted(self, data: bytes) -> str:
        """Return the text of a chunk, and note what else it says."""
        chunk = chunk_of(data)
        if chunk.error:
            raise ErrorEvent
        # Each chunk says it again.
        if chunk.model != self._model_said:
            self._model_said = chunk.model
            self.model = name_of(chunk.model) or self.model
        if counts := chunk.usage and object_of(chunk.usage):
            self.usage = usage_of(counts)
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self.finish_reason = reason_of(choice.finish_reason)
        return chunk.text
