"""The Answer port: the model's answer, read from the body of the API's response while it arrives."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ilab_chat_service.limits import REPLY_BYTES
from ilab_chat_service.model.answer_text import AnswerText
from ilab_chat_service.model.api_errors import (
    BROKEN,
    FAILED,
    EndedEarly,
    NotACompletion,
    ResponseTooLong,
    after_it_began,
)
from ilab_chat_service.model.chunks import (
    FAILED_REASONS,
    FINISH_REASONS,
    ErrorData,
    TooManyParts,
    chunk_of,
    counted,
    is_plain,
    name_of,
    reason_name,
    reasoning_of,
    response_id_of,
    text_of,
    usage_of,
)
from ilab_chat_service.model.pacing import READ_SECONDS
from ilab_chat_service.model.server_sent_events import BYTE_ORDER_MARK, EVENT_BYTES, EventDecoder, EventTooLong
from ilab_chat_service.values import FinishReason, Reasoning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ilab_chat_service.failures import Cause
    from ilab_chat_service.model.chunks import Choice, Chunk, Delta
    from ilab_chat_service.model.http_transport import Body
    from ilab_chat_service.model.pacing import Pace
    from ilab_chat_service.values import Usage

#: Data of the event after the last chunk.
DONE = b"[DONE]"

#: Time to wait for the usage after the finish reason. It follows in the next chunk, but some servers leave the
#: connection open instead.
USAGE_SECONDS = 1.0

#: Maximum number of consecutive bytes that add nothing to the answer: chunks without text. Some servers send one for
#: each token of hidden reasoning. A JSON document adds its text only at its end.
SILENT_BYTES = 16 * 1024 * 1024

#: Maximum size of a response: more than a chunk of 256 bytes for each of 262,144 tokens of reasoning and reply.
RESPONSE_BYTES = 128 * 1024 * 1024

#: Maximum number of bytes that are decoded at once, in about a millisecond.
SLICE_BYTES = 8 * 1024

#: Time to wait for the end of the response after a complete answer. Reading to the end allows reusing the connection.
#: The openai package waits as long.
END_SECONDS = 0.1


class CompletionStream:
    """The Answer port over the body of a response of the model's API: a stream of events, or one JSON document.

    Args:
        body: the unread body of the response.
        requested_model: the model's name, used until the API reports one.
        cause: log fields for a model that fails after it began.
        pace: the CPU time that decoding may take.
        secret: the API key, which must not appear in values from the API. Empty: there is no key.
    """

    def __init__(self, body: Body, requested_model: str, cause: Cause, pace: Pace, secret: str = "") -> None:
        self.model = requested_model
        self.requested_model = requested_model
        self.response_id = ""
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self._body = body
        self._cause = cause
        self._pace = pace
        self._secret = secret
        self._events = EventDecoder()
        self._text = AnswerText()
        self._room = REPLY_BYTES
        self._first: Sequence[str | Reasoning] = ()
        self._model_said: object = None
        self._index: object = None
        #: A JSON document instead of events, as far as it was received. None: the body is a stream of events.
        self._document: bytearray | None = bytearray()
        #: Parts that the API has sent so far: text or reasoning, a refusal, its end marker.
        self._spoke = False
        self._refused = False
        self._said_done = False
        #: Our state: stop reading; the reply is truncated; do not reuse the connection.
        self._done = False
        self._truncated = False
        self._abandoned = False
        self._failure: Exception | None = None
        self._received_bytes = 0
        self._silent_bytes = 0
        #: Received bytes that are not decoded yet.
        self._undecoded = b""
        self._had_events = False
        #: Event loop time until which to wait for the usage.
        self._end_by: float | None = None

    async def begin(self) -> None:
        """Wait for the first reasoning or text, or for the end of an empty answer.

        Raises:
            Exception: one of `api_errors.FAILED`.
        """
        self._first = await self._next()

    async def aclose(self) -> None:
        """Stop reading. Close the connection if the model is not done."""
        # A failure's traceback refers to this object, so free what it has received.
        self._document, self._undecoded, self._events = None, b"", EventDecoder()
        await self._body.aclose()

    async def __aiter__(self) -> AsyncIterator[str | Reasoning]:
        pieces = self._first
        while pieces:
            for piece in pieces:
                yield piece
            try:
                pieces = await self._next()
            except FAILED as error:
                raise after_it_began(error, self._cause) from error
        if not self._abandoned:
            await self._read_to_end()

    async def _next(self) -> Sequence[str | Reasoning]:
        """Return the pieces of one read of the socket. Empty: the answer has ended.

        All text of one read is one piece, so slow readers get fewer and larger pieces.
        """
        while not (self._done or self._failure):
            received = await self._receive()
            began = time.thread_time()
            try:
                pieces = self._decoded(received)
            except TooManyParts as error:
                # Its traceback refers to the data.
                raise error.with_traceback(None) from None
            used = READ_SECONDS + time.thread_time() - began + self._parsed_seconds()
            wait = self._pace.use(used, asyncio.get_running_loop().time())
            # A JSON document that ends with an error is not the beginning of an answer.
            has_begun = pieces and not (self._failure and self._document)
            if wait or not has_begun:
                # Receiving buffered bytes does not suspend, so let other tasks run.
                await asyncio.sleep(wait)
            if has_begun:
                self._end_by = None
                self._silent_bytes = 0
                return pieces
            self._silent_bytes += len(received)
            if self._silent_bytes > SILENT_BYTES:
                raise ResponseTooLong
        if self._failure:
            raise self._failure
        # An HTTP body may end without an error before the answer is complete.
        if not self._complete:
            raise EndedEarly if self._had_events else NotACompletion
        if self._refused:
            self.finish_reason = FinishReason.CONTENT_FILTER
        return () if self._truncated else self._as_pieces(*self._text.rest())

    @property
    def _complete(self) -> bool:
        """Whether the answer is complete: the API sent a finish reason, or its end marker after some text."""
        return self.finish_reason is not None or (self._spoke and self._said_done)

    async def _receive(self) -> bytes:
        """Return the next bytes to decode, at most SLICE_BYTES. Empty: the end.

        Raises:
            ResponseTooLong: more than RESPONSE_BYTES have arrived.
        """
        if not self._undecoded:
            received = await (self._body.receive() if self.finish_reason is None else self._receive_the_rest())
            self._received_bytes += len(received)
            if self._received_bytes > RESPONSE_BYTES:
                raise ResponseTooLong
            if len(received) <= SLICE_BYTES or self._document:
                return received
            self._undecoded = received
        # Whole events are decoded faster.
        end = self._undecoded.rfind(b"\n\n", 0, SLICE_BYTES) + 2
        end = end if end > 1 else SLICE_BYTES
        piece, self._undecoded = self._undecoded[:end], self._undecoded[end:]
        return piece

    def _parsed_seconds(self) -> float:
        """Return the CPU time of parsing HTTP since the last call."""
        seconds, self._body.parsing.seconds = self._body.parsing.seconds, 0.0
        return seconds

    def _decoded(self, received: bytes) -> Sequence[str | Reasoning]:
        """Return what *received* adds to the answer."""
        if not received:
            events = self._ended()
        elif self._document is None:
            events = self._events.feed(received)
        else:
            events = self._received_first(received)
        return self._pieces(events)

    async def _receive_the_rest(self) -> bytes:
        """Return the next bytes after the finish reason. Empty: the end, an error, or no more time."""
        now = asyncio.get_running_loop().time()
        if self._end_by is None:
            self._end_by = now + USAGE_SECONDS
        # Receiving buffered bytes does not suspend, so the timeout alone would not end it.
        if now < self._end_by:
            with suppress(TimeoutError, *BROKEN):
                async with asyncio.timeout_at(self._end_by):
                    return await self._body.receive()
        self._abandoned = True
        return b""

    def _received_first(self, received: bytes) -> list[bytes]:
        """Return the data of each event that ends in *received*. If the body is a JSON document, store the bytes."""
        assert self._document is not None  # noqa: S101 - checked by the caller
        if not self._document:
            # No line of an event stream begins like this. The content type is not reliable.
            if received.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] not in {b"", b"{", b"["}:
                self._document = None
                return self._events.feed(received)
            received = received.removeprefix(BYTE_ORDER_MARK).lstrip()
        self._document += received
        if len(self._document) > EVENT_BYTES:
            raise EventTooLong
        return []

    def _ended(self) -> list[bytes]:
        """Return the data of the last events, or the JSON document."""
        self._done = True
        if self._document is None:
            return self._events.end()
        self._said_done = True
        return [bytes(self._document)] if self._document else []

    def _pieces(self, events: list[bytes]) -> Sequence[str | Reasoning]:
        """Return what *events* add to the answer. Stop at an error, and record it as the failure."""
        texts = []
        reasonings = []
        try:
            for data in events:
                if data.startswith(DONE):
                    self._done = self._said_done = True
                    break
                self._had_events = True
                if (chunk := chunk_of(data)) is None:
                    continue
                self._note(chunk)
                for choice in chunk.choices or ():
                    delta = choice.delta
                    if delta is not None and is_plain(delta) and choice.index == self._index:
                        texts.append(delta.content)
                    elif (delta := self._delta(choice)) is not None:
                        reasonings.append(reasoning_of(delta))
                        texts.append(self._text_of(delta))
                    if choice.finish_reason or choice.error or choice.usage:
                        self._note_end(choice)
        except ErrorData as error:
            self._note_failure(error)
        if not (reasonings or texts):
            return ()
        reasoning, text = "".join(reasonings), "".join(texts)
        self._spoke = self._spoke or bool(reasoning or text)
        return self._as_pieces(*self._text.add(reasoning, text))

    def _delta(self, choice: Choice) -> Delta | None:
        """Return what *choice* adds to the answer. None: nothing, or it belongs to another answer than the first."""
        if self._index is None:
            self._index = choice.index
        if choice.index is not None and choice.index != self._index:
            return None
        # A message is a complete answer. After a stream, it repeats the text.
        return choice.delta or (None if self._spoke else choice.message)

    def _text_of(self, delta: Delta) -> str:
        """Return what *delta* adds to the reply. A refusal is part of the reply."""
        refusal = delta.refusal if isinstance(delta.refusal, str) else ""
        self._refused = self._refused or bool(refusal)
        return text_of(delta.content) + refusal

    def _as_pieces(self, reasoning: str, text: str) -> Sequence[str | Reasoning]:
        pieces: list[str | Reasoning] = [Reasoning(reasoning)] if reasoning else []
        if text and (fitting := self._fitting(text)):
            pieces.append(fitting)
        return pieces

    def _fitting(self, text: str) -> str:
        """Return *text*, truncated at REPLY_BYTES of the reply with finish reason LENGTH."""
        encoded = text.encode()
        if len(encoded) > self._room:
            self.finish_reason = FinishReason.LENGTH
            self._done = self._truncated = self._abandoned = True
            return encoded[: self._room].decode(errors="ignore")
        self._room -= len(encoded)
        return text

    async def _read_to_end(self) -> None:
        with suppress(TimeoutError, *BROKEN):
            async with asyncio.timeout(END_SECONDS):
                while await self._body.receive():
                    pass

    def _note(self, chunk: Chunk) -> None:
        """Record the fields of a chunk other than its text."""
        # Every chunk repeats the model.
        if chunk.model != self._model_said:
            self._model_said = chunk.model
            name = name_of(chunk.model)
            if name and not (self._secret and self._secret in name):
                self.model = name
        if not self.response_id and chunk.id:
            said = response_id_of(chunk.id)
            if not (self._secret and self._secret in said):
                self.response_id = said
        if chunk.usage or chunk.x_groq:
            self.usage = usage_of(chunk) or self.usage

    def _note_failure(self, error: ErrorData) -> None:
        """Record that the model failed, unless its answer was already complete."""
        self._done = self._abandoned = True
        if self.finish_reason is None:
            # Its traceback refers to the data.
            self._failure = error.with_traceback(None)

    def _note_end(self, choice: Choice) -> None:
        """Record the finish reason and the usage of a choice.

        Raises:
            ErrorData: the model failed.
        """
        if choice.usage:
            self.usage = counted(choice.usage) or self.usage
        if not (choice.finish_reason or choice.error):
            return
        name = reason_name(choice.finish_reason)
        if choice.error or name in FAILED_REASONS:
            raise ErrorData({"error": choice.error} if choice.error else None)
        self.finish_reason = FINISH_REASONS.get(name, FinishReason.OTHER)
