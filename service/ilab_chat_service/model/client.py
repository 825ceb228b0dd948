"""The model: any OpenAI-compatible API, through the openai package."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import msgspec
import openai

from ilab_chat_service.model import embedded
from ilab_chat_service.model.breaker import Breakers
from ilab_chat_service.model.completion_stream import OpenAIAnswer
from ilab_chat_service.model.errors import failures_before_first_word
from ilab_chat_service.model.http_transport import ModelHttpClient, body_of
from ilab_chat_service.model.retries import repeated
from ilab_chat_service.settings import DEFAULT_MODEL, SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from openai import RequestOptions

    from ilab_chat_service.ports import ChatMessage, Generation
    from ilab_chat_service.settings import Settings

OPENAI_URL = "https://api.openai.com/v1"

#: Longest time that connecting to the model's API may take, in seconds.
CONNECT_SECONDS = 5.0

#: What the package says with each request of this machine and of itself, beside `user-agent`. No server needs it; each
#: costs as much as any header, on the way and in the memory of an open stream.
TELEMETRY = (
    *("x-stainless-lang", "x-stainless-package-version", "x-stainless-os", "x-stainless-arch", "x-stainless-runtime"),
    *("x-stainless-runtime-version", "x-stainless-async", "x-stainless-retry-count", "x-stainless-read-timeout"),
)

#: The package would make a key for each request, and sends none.
OPTIONS: RequestOptions = {"idempotency_key": "unused", "headers": dict.fromkeys(TELEMETRY, openai.omit)}


@asynccontextmanager
async def open_model(settings: Settings) -> AsyncIterator[OpenAIModel]:
    """Open the model that *settings* names: an API, or the embedded one when they name none; leaving closes it.

    Raises:
        EmbeddedModelMissing: it is to answer and is not installed.
        SettingsError: the proxies or the authorities that the environment names cannot be used, or the URL.
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
        # In a thread: building it reads certificates.
        client = await asyncio.to_thread(client_of, settings, base_url, api_key)
        await house.enter_async_context(client)
        yield OpenAIModel(client, model or DEFAULT_MODEL, retries=settings.model_retries)


class OpenAIModel:
    """The Model port over a client of the openai package."""

    def __init__(self, client: openai.AsyncOpenAI, default_model: str, *, retries: int) -> None:
        self._client = client
        self.default_model = default_model
        self._retries = retries
        self._breakers = Breakers()
        # Whole, because joining it to the base URL anew takes the package a fifth of what it spends on a call.
        self._url = f"{client.base_url}chat/completions"
        self._limits_by_old_name = limits_by_old_name(self._url)

    def answer(self, messages: Sequence[ChatMessage], generation: Generation, until: float) -> Asked:
        """See `ports.Model.answer`."""
        model = generation.model or self.default_model
        body = request_body(model, messages, generation, limits_by_old_name=self._limits_by_old_name)
        return Asked(partial(self._ask, model, body, until))

    async def _ask(self, model: str, body: bytes, until: float) -> OpenAIAnswer:
        """Ask, again if it fails, and wait for the first word."""
        breaker = self._breakers.of(model)
        answer, attempts = await repeated(
            partial(self._begin, model, body), breaker, retries=self._retries, until=until
        )
        answer.attempts = attempts
        return answer

    async def _begin(self, model: str, body: bytes) -> OpenAIAnswer:
        """Ask once, and wait for the first word."""
        with failures_before_first_word():
            # The public way past the package's own types, with its authentication, URLs and errors. What it returns
            # is what `cast_to` names, where that is a response; its types do not know this of streams.
            response: object = await self._client.post(
                self._url,
                cast_to=httpx2.Response,
                # Written here: the package takes milliseconds to look into each message.
                content=body,
                options=OPTIONS,
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
            assert isinstance(response, httpx2.Response)  # noqa: S101 - see above
            answer = OpenAIAnswer(body_of(response), model)
            try:
                await answer.begin()
            except BaseException:
                await answer.aclose()
                raise
            return answer


class Asked:
    """What `OpenAIModel.answer` returns."""

    __slots__ = ("_answer", "_ask")

    _answer: OpenAIAnswer

    def __init__(self, ask: Callable[[], Awaitable[OpenAIAnswer]]) -> None:
        self._ask = ask

    async def __aenter__(self) -> OpenAIAnswer:
        self._answer = await self._ask()
        # With the body of the request, which need not be kept in memory while the model answers.
        del self._ask
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        await self._answer.aclose()


def client_of(settings: Settings, base_url: str, api_key: str) -> openai.AsyncOpenAI:
    """Return a client of the API at *base_url*.

    Raises:
        SettingsError: the proxies or the authorities that the environment names cannot be used, or the URL.
    """
    try:
        # Over aiohttp a call costs a third of what it costs over the package's default: docs/performance.md.
        http_client = ModelHttpClient(
            # One for each call, so that none waits for the connection of another.
            limits=httpx2.Limits(max_connections=settings.max_calls),
            # What is embedded is on this machine: no proxy of the environment is to be asked for it.
            trust_env=not settings.embedded,
        )
    except OSError as error:
        raise SettingsError(f"SSL_CERT_FILE, SSL_CERT_DIR: {error.strerror or 'no certificates in PEM'}") from None
    except (ValueError, httpx2.InvalidURL):
        # Without the library's text, which may have a proxy's password.
        raise SettingsError("HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY: one of them cannot be used") from None
    try:
        return openai.AsyncOpenAI(
            base_url=base_url,
            # A server of one's own often wants no key, and the package does not start without one.
            api_key=api_key or "none",
            # `pool` is all of connecting for aiohttp, looking the name up included.
            timeout=openai.Timeout(settings.model_timeout_seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            # Repeated by retries.py, which knows the call's time and whether the model is down.
            max_retries=0,
            http_client=http_client,
        )
    except httpx2.InvalidURL:
        raise SettingsError("OPENAI_BASE_URL: is no URL that can be called") from None


def request_body(
    model: str, messages: Sequence[ChatMessage], generation: Generation, *, limits_by_old_name: bool
) -> bytes:
    """Return the JSON that asks for a streamed answer, with what is given of *generation*."""
    limit = "max_tokens" if limits_by_old_name else "max_completion_tokens"
    given = {
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        limit: generation.max_output_tokens,
        "stop": generation.stop or None,
        "seed": generation.seed,
    }
    return msgspec.json.encode(
        {
            "model": model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in given.items() if value is not None},
        }
    )


def limits_by_old_name(base_url: str) -> bool:
    """Whether output is limited by `max_tokens`: OpenAI's newer models refuse that name, others may know no other.

    https://platform.openai.com/docs/api-reference/chat/create (max_tokens: deprecated, not for o-series models)
    """
    return not (urlsplit(base_url).hostname or "").endswith(("openai.com", "azure.com"))
