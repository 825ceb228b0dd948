"""The Answer port: what the model writes, read from the body of the API's response as it comes in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx2

from ilab_chat_service.adapters.chunks import chunk_of, name_of, object_of, reason_of, usage_of
from ilab_chat_service.adapters.model_errors import (
    BROKEN,
    NO_ANSWER,
    EndedEarly,
    ErrorEvent,
    failures_after_first_word,
)
from ilab_chat_service.adapters.server_sent_events import EventDecoder
from ilab_chat_service.adapters.whole_characters import WholeCharacters
from ilab_chat_service.ports import FinishReason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

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
    """The Answer port over a response of the model's API."""

    def __init__(self, response: httpx2.Response, requested_model: str) -> None:
        self.model = requested_model
        self.attempts = 1
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self._model_said: object = None
        self._response = response
        self._texts = self._read(body_of(response))
        self._first = ""
        self._done = False
        self._failure: Exception | None = None

    async def begin(self) -> None:
        """Wait for the first word, or for the end if there is none."""
        self._first = await anext(self._texts, "")

    async def aclose(self) -> None:
        """Stop reading, and close the connection if the model is not done."""
        await self._texts.aclose()
        await self._response.aclose()

    async def __aiter__(self) -> AsyncIterator[str]:
        if self._first:
            yield self._first
        with failures_after_first_word():
            async for text in self._texts:
                yield text

    async def _read(self, body: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
        """Yield the text of the chunks; those that came in together, in one read of the socket, as one.

        A reply that is longer than REPLY_BYTES is cut there, as one is that has all the tokens it may have.
        """
        room = REPLY_BYTES
        events = EventDecoder()
        whole = WholeCharacters()
        async for received in body:
            if text := whole.add(self._text(events.feed(received))):
                encoded = text.encode()
                if len(encoded) > room:
                    self.finish_reason = FinishReason.LENGTH
                    yield encoded[:room].decode(errors="ignore")
                    return
                room -= len(encoded)
                yield text
            if self._failure:
                raise self._failure
            if self._done:
                break
        if self.finish_reason is None:
            # An HTTP body may end without an error although the answer has not.
            raise EndedEarly
        if rest := whole.rest():
            yield rest
        with suppress(TimeoutError, *BROKEN):
            async with asyncio.timeout(END_SECONDS):
                async for _ in body:
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


def body_of(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Return the body of *response* as it comes in, decompressed if it is compressed."""
    if "content-encoding" in response.headers:
        return response.aiter_bytes()
    # The same without two generators in between, each of which takes part in every read.
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - the client is an asynchronous one
    return aiter(response.stream)
