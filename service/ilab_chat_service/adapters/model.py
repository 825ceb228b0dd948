"""The model: any OpenAI-compatible API, through the openai package."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import openai

from ilab_chat_service.adapters import embedded
from ilab_chat_service.adapters.breaker import Breaker
from ilab_chat_service.adapters.model_errors import EndedEarly, failures_after_first_word, failures_before_first_word
from ilab_chat_service.adapters.retries import repeated
from ilab_chat_service.adapters.whole_characters import WholeCharacters, whole_text
from ilab_chat_service.ports import (
    ChatMessage,
    FinishReason,
    Generation,
    Usage,
)
from ilab_chat_service.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

    from ilab_chat_service.settings import Settings

T = TypeVar("T")

OPENAI_URL = "https://api.openai.com/v1"

#: Longest time that connecting to the model's API may take, in seconds.
CONNECT_SECONDS = 5.0

#: Longest name of a model that is passed on, in characters.
MODEL_CHARACTERS = 256

#: Largest count of tokens that the contract's int32 holds.
TOKENS_MOST = 2**31 - 1

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}


@asynccontextmanager
async def open_model(settings: Settings) -> AsyncIterator[OpenAIModel]:
    """Open the model that *settings* names: an API, or the embedded one when they name none; leaving closes it.

    Raises:
        EmbeddedModelMissing: it is to answer and is not installed.
    """
    async with AsyncExitStack() as house:
        base_url, api_key, model = (
            settings.openai_base_url or OPENAI_URL,
            settings.openai_api_key,
            settings.openai_model,
        )
        if settings.embedded:
            endpoint = await house.enter_async_context(embedded.open_embedded_model())
            base_url, api_key, model = endpoint.base_url, endpoint.api_key, embedded.MODEL
        # In a thread: building it imports the transport and reads certificates.
        client = await asyncio.to_thread(
            openai.AsyncOpenAI,
            base_url=base_url,
            # A server of one's own often wants no key, and the package does not start without one.
            api_key=api_key or "none",
            timeout=openai.Timeout(settings.model_timeout_seconds, connect=CONNECT_SECONDS),
            # Repeated by retries.py, which knows the call's time and whether the model is down.
            max_retries=0,
            # What is embedded is on this machine: no proxy of the environment is to be asked for it.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if settings.embedded else None,
        )
        await house.enter_async_context(client)
        yield OpenAIModel(client, model or DEFAULT_MODEL, retries=settings.model_retries)


class OpenAIModel:
    """The Model port over a client of the openai package."""

    def __init__(self, client: openai.AsyncOpenAI, default_model: str, *, retries: int) -> None:
        self._client = client
        self.default_model = default_model
        self._retries = retries
        self._breaker = Breaker()
        self._limits_by_old_name = limits_by_old_name(str(client.base_url))

    @asynccontextmanager
    async def answer(
        self, messages: Sequence[ChatMessage], generation: Generation, until: float
    ) -> AsyncIterator[OpenAIAnswer]:
        """See `ports.Model.answer`."""
        attempt = partial(self._begin, messages, generation)
        answer, attempts = await repeated(attempt, self._breaker, retries=self._retries, until=until)
        answer.attempts = attempts
        async with aclosing(answer):
            yield answer

    async def _begin(self, messages: Sequence[ChatMessage], generation: Generation) -> OpenAIAnswer:
        """Ask once, and wait for the first word."""
        with failures_before_first_word():
            chunks = await self._client.chat.completions.create(
                model=generation.model or self.default_model,
                messages=[parameter(message) for message in messages],
                stream=True,
                stream_options={"include_usage": True},
                temperature=given(generation.temperature),
                top_p=given(generation.top_p),
                max_completion_tokens=given(None if self._limits_by_old_name else generation.max_output_tokens),
                max_tokens=given(generation.max_output_tokens if self._limits_by_old_name else None),
                stop=given(list(generation.stop) or None),
                seed=given(generation.seed),
            )
            answer = OpenAIAnswer(chunks, generation.model or self.default_model)
            try:
                await answer.begin()
            except BaseException:
                await answer.aclose()
                raise
            return answer


def parameter(message: ChatMessage) -> ChatCompletionMessageParam:
    """Return *message* as the package types it."""
    match message.role:
        case "system":
            return {"role": "system", "content": message.content}
        case "user":
            return {"role": "user", "content": message.content}
        case "assistant":
            return {"role": "assistant", "content": message.content}


def given(value: T | None) -> T | openai.Omit:
    """Return *value*, or what leaves the parameter out of the request."""
    return openai.omit if value is None else value


class OpenAIAnswer:
    """The Answer port over a stream of chunks."""

    def __init__(self, chunks: openai.AsyncStream[ChatCompletionChunk], requested_model: str) -> None:
        self.model = requested_model
        self.attempts = 1
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self._chunks = chunks
        self._texts = self._read(aiter(chunks))
        self._first = ""

    async def begin(self) -> None:
        """Wait for the first word, or for the end if there is none."""
        self._first = await anext(self._texts, "")

    async def aclose(self) -> None:
        """Stop reading, and close the connection if the model is not done."""
        await self._texts.aclose()
        await self._chunks.close()

    async def __aiter__(self) -> AsyncIterator[str]:
        if self._first:
            yield self._first
        with failures_after_first_word():
            async for text in self._texts:
                yield text

    async def _read(self, chunks: AsyncIterator[ChatCompletionChunk]) -> AsyncGenerator[str, None]:
        whole = WholeCharacters()
        ended = False
        async for chunk in chunks:
            self.model = name_of(chunk.model) or self.model
            self.usage = usage_of(chunk.usage) if chunk.usage else self.usage
            for choice in chunk.choices:
                if choice.finish_reason:
                    ended = True
                    self.finish_reason = reason_of(choice.finish_reason)
                if text := whole.add(choice.delta.content or ""):
                    yield text
        if not ended:
            # An HTTP body may end without an error although the answer has not.
            raise EndedEarly
        if rest := whole.rest():
            yield rest


def name_of(model: object) -> str:
    """Return a model's name as it may be passed on. The API may send anything there."""
    return whole_text(model[:MODEL_CHARACTERS]) if isinstance(model, str) else ""


def reason_of(reason: object) -> FinishReason:
    """Return why the model stopped."""
    return FINISH_REASONS.get(reason, FinishReason.OTHER) if isinstance(reason, str) else FinishReason.OTHER


def usage_of(usage: CompletionUsage) -> Usage:
    """Return what the API counted."""
    prompt_details = usage.prompt_tokens_details
    completion_details = usage.completion_tokens_details
    return Usage(
        input_tokens=count_of(usage.prompt_tokens),
        output_tokens=count_of(usage.completion_tokens),
        cached_input_tokens=count_of(prompt_details and prompt_details.cached_tokens),
        reasoning_tokens=count_of(completion_details and completion_details.reasoning_tokens),
    )


def count_of(tokens: object) -> int:
    """Return a number of tokens as it may be passed on; 0 for what is none."""
    return tokens if isinstance(tokens, int) and 0 <= tokens <= TOKENS_MOST else 0


def limits_by_old_name(base_url: str) -> bool:
    """Whether output is limited by `max_tokens`: OpenAI's newer models refuse that name, others may know no other.

    https://platform.openai.com/docs/api-reference/chat/create (max_tokens: deprecated, not for o-series models)
    """
    return not (urlsplit(base_url).hostname or "").endswith(("openai.com", "azure.com"))
