"""The Model port: the models that callers may request, each called over its API with the openai package."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx2
import openai

from ilab_chat_service.failures import ModelQuotaExhausted, ModelRateLimited, ModelUnavailable
from ilab_chat_service.model import embedded
from ilab_chat_service.model.http_transport import http_client
from ilab_chat_service.model.model_api import ModelApi
from ilab_chat_service.model.pacing import LoopShare
from ilab_chat_service.model.profile_table import ModelTable
from ilab_chat_service.model.profiles import MAX_UNLISTED_MODELS, Profiles
from ilab_chat_service.model.profiles_file import profile_of, read_profiles
from ilab_chat_service.model.retries import with_retries
from ilab_chat_service.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from ilab_chat_service.model.completion_stream import CompletionStream
    from ilab_chat_service.model.profiles import Profile
    from ilab_chat_service.settings import Settings
    from ilab_chat_service.values import ChatMessage, Generation

log = logging.getLogger(__name__)

#: Timeout for connecting to the model's API.
CONNECT_SECONDS = 5.0

#: Name of all unlisted models in metrics: callers must not create time series.
UNLISTED = "other"

#: Failures after which the fallback model is asked: they are not caused by the request.
FALLS_BACK = (ModelUnavailable, ModelRateLimited, ModelQuotaExhausted)


@asynccontextmanager
async def open_model(settings: Settings) -> AsyncIterator[ModelClient]:
    """Open the configured models while the block runs: those of a models file, of one API, or the embedded one.

    Raises:
        EmbeddedModelMissing: no model is configured, and the embedded model is not installed.
        SettingsError: the models file, a key, a proxy or a certificate authority is invalid.
    """
    async with AsyncExitStack() as stack:
        if settings.embedded:
            base_url, key = await stack.enter_async_context(embedded.open_embedded_model())
            profile = profile_of(embedded.MODEL, ModelTable(base_url=base_url), key, settings)
            profiles = Profiles({profile.name: profile}, profile.name, any_model=False)
        else:
            # In a thread, because it reads files.
            profiles = await asyncio.to_thread(read_profiles, settings)
        client = await asyncio.to_thread(client_of, settings)
        await stack.enter_async_context(client)
        yield ModelClient(client, profiles, retries=settings.model_retries)


class ModelClient:
    """The Model port over a client of the openai package."""

    def __init__(self, client: openai.AsyncOpenAI, profiles: Profiles, *, retries: int) -> None:
        self.profiles = profiles
        self._client = client
        self._retries = retries
        self._loop_share = LoopShare()
        self._listed = {profile.name: self._upstream(profile) for profile in profiles}
        #: Models that callers named and that are not listed, least recently used first.
        self._others: OrderedDict[str, ModelApi] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """Descriptions of the listed models for operators, the default first."""
        return [str(profile) for profile in self.profiles]

    def breakers(self) -> Iterator[tuple[str, bool]]:
        """Yield the name of each listed model and whether its breaker is open; last, whether any of the others is."""
        for name, upstream in self._listed.items():
            yield name, upstream.breaker.is_open
        if self.profiles.any_model:
            yield UNLISTED, any(upstream.breaker.is_open for upstream in self._others.values())

    @property
    def upstreams(self) -> list[ModelApi]:
        """The listed models, the default first."""
        return list(self._listed.values())

    def choose(self, generation: Generation, user_id: str = "") -> Choice:
        """See `ports.Model.choose`."""
        upstream = self._of(generation.model)
        return Choice(upstream, partial(self._ask, upstream, generation, user_id))

    async def _ask(
        self,
        upstream: ModelApi,
        generation: Generation,
        user_id: str,
        messages: Sequence[ChatMessage],
        until: float,
    ) -> CompletionStream:
        """Ask the model until it has begun. Retry after an outage, then ask its fallbacks."""
        while True:
            attempt = partial(upstream.ask, messages, generation)
            try:
                return await with_retries(
                    attempt, upstream.breaker, retries=self._retries, until=until, user_id=user_id
                )
            except FALLS_BACK as failure:
                if not upstream.profile.fallback:
                    raise
                log.warning(
                    "%s: asking the fallback %s",
                    failure,
                    upstream.profile.fallback,
                    extra={"fields": failure.cause},
                )
                upstream = self._listed[upstream.profile.fallback]

    def _of(self, name: str) -> ModelApi:
        """Return the upstream of the model *name*. Each has its own, so that one that fails does not affect others.

        Raises:
            ModelNotFound: the model is not offered.
        """
        if listed := self._listed.get(name or self.profiles.default.name):
            return listed
        upstream = self._others.setdefault(name, self._upstream(self.profiles.named(name), UNLISTED))
        self._others.move_to_end(name)
        if len(self._others) > MAX_UNLISTED_MODELS:
            self._others.popitem(last=False)
        return upstream

    def _upstream(self, profile: Profile, label: str = "") -> ModelApi:
        any_model = self.profiles.any_model
        return ModelApi(self._client, profile, self._loop_share, named_by_caller=any_model, label=label)


class Choice:
    """The ChosenModel port."""

    __slots__ = ("_ask", "cause", "name", "prompt_tokens")

    def __init__(
        self, upstream: ModelApi, ask: Callable[[Sequence[ChatMessage], float], Awaitable[CompletionStream]]
    ) -> None:
        self.name = upstream.profile.model
        self.prompt_tokens = upstream.profile.prompt_tokens
        self.cause = upstream.cause
        self._ask = ask

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage], until: float) -> AsyncIterator[CompletionStream]:
        """See `ports.ChosenModel.answer`."""
        answer = await self._ask(messages, until)
        # Free the messages while the model answers.
        del messages
        try:
            yield answer
        finally:
            await answer.aclose()


def client_of(settings: Settings) -> openai.AsyncOpenAI:
    """Return the client for all APIs. Each request has its own URL and key.

    Raises:
        SettingsError: a proxy or certificate authority in the environment is invalid.
    """
    try:
        # With aiohttp, a call costs a third of the CPU time of the package's default client: docs/performance.md.
        connections = http_client(
            # One connection per call, so that no call waits for another.
            limits=httpx2.Limits(max_connections=settings.max_calls),
            # The embedded model is on this machine, so ignore proxies in the environment.
            trust_env=not settings.embedded,
        )
    except OSError as error:
        raise SettingsError(f"SSL_CERT_FILE, SSL_CERT_DIR: {error.strerror or 'no certificates in PEM'}") from None
    except (ValueError, httpx2.InvalidURL):
        # Omit the library's text, which may contain a proxy's password.
        raise SettingsError("HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY: one of them cannot be used") from None
    return openai.AsyncOpenAI(
        # Unused: each request has an absolute URL and its own key.
        base_url="https://unused.invalid/",
        api_key="unused",
        # For aiohttp, `pool` covers connecting, including name resolution.
        timeout=openai.Timeout(settings.model_timeout_seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        # retries.py retries, because it knows the call's deadline and the state of the breaker.
        max_retries=0,
        http_client=connections,
    )
