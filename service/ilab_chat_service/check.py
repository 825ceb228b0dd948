"""`ilab-chat-server check`: open everything that serving needs and ask each model for one token, without serving."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilab_chat_service.auth.setup import open_authenticator
from ilab_chat_service.failures import Failure, ModelOptionUnsupported, ModelRejected, StoreNotOpened
from ilab_chat_service.memory.executor import open_memory
from ilab_chat_service.model.embedded import EmbeddedModelMissing
from ilab_chat_service.model.model_choice import open_model
from ilab_chat_service.server import open_idempotency_store, tls
from ilab_chat_service.settings import SettingsError
from ilab_chat_service.telemetry.logs import escaped
from ilab_chat_service.values import ChatMessage, Generation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from ilab_chat_service.model.model_api import ModelApi
    from ilab_chat_service.settings import Settings

#: Time for a model to begin its answer.
MODEL_SECONDS = 20.0

MESSAGES = (ChatMessage("system", "Answer with one word."), ChatMessage("user", "Hello"))

#: Token limits, tried in this order. Some APIs have a minimum of 16: https://github.com/BerriAI/litellm/pull/24365
#: Some reasoning models reject a limit that their reasoning exceeds: https://github.com/grafana/grafana-llm-app/pull/780
#: Only the beginning of the reply is read, so even an unlimited one costs little.
TOKEN_LIMITS = (1, 16, None)

#: Statuses that another token limit may avoid.
BAD_REQUEST = frozenset({400, 422})


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one part. `fault` is empty if the part works."""

    subject: str
    fault: str = ""

    def __str__(self) -> str:
        line = f"FAILED {self.subject}: {self.fault}" if self.fault else f"ok     {self.subject}"
        return escaped(line)


async def check(settings: Settings) -> AsyncIterator[Result]:
    """Yield one result for each part that serving needs. All parts are checked, even if one fails."""
    yield Result("settings")
    if settings.tls_cert_file:
        yield await result("TLS", check_tls(settings))
    yield await result("auth", check_auth(settings))
    yield await result("memory", check_memory(settings))
    async for each in check_models(settings):
        yield each


async def result(subject: str, checking: Coroutine[None, None, str]) -> Result:
    """Return the result of *checking*, which returns a description of the part."""
    try:
        return Result(f"{subject} {await checking}")
    except (SettingsError, StoreNotOpened) as error:
        return Result(subject, str(error))


async def check_tls(settings: Settings) -> str:
    """Read the certificate and the key."""
    await asyncio.to_thread(tls, settings)
    return settings.tls_cert_file


async def check_auth(settings: Settings) -> str:
    """Read the tokens, or the keys from a file or a URL."""
    async with open_authenticator(settings):
        return settings.auth or "none"


async def check_memory(settings: Settings) -> str:
    """Open the memory like the server does: create it if it is missing, and migrate its schema."""
    async with open_memory(settings) as library, open_idempotency_store(settings):
        return library.place


async def check_models(settings: Settings) -> AsyncIterator[Result]:
    """Ask all models concurrently; yield the results in the order of the file, the default first."""
    try:
        async with open_model(settings) as model:
            asking = [asyncio.create_task(check_model(upstream)) for upstream in model.upstreams]
            for each in asking:
                yield await each
    except (SettingsError, EmbeddedModelMissing) as error:
        yield Result("models", str(error))


async def check_model(upstream: ModelApi) -> Result:
    """Ask a model for one token, by the code that answers callers."""
    subject = f"model {upstream.profile}"
    try:
        async with asyncio.timeout(MODEL_SECONDS):
            await ask(upstream)
    except TimeoutError:
        return Result(subject, f"no answer within {MODEL_SECONDS:g} s")
    except Failure as failure:
        return Result(subject, describe(failure))
    return Result(subject)


async def ask(upstream: ModelApi) -> None:
    """Ask with the smallest token limit that the API accepts, and return when the model has begun.

    Raises:
        Failure: the model did not answer.
    """
    for limit in TOKEN_LIMITS:
        try:
            answer = await upstream.ask(MESSAGES, Generation(max_output_tokens=limit))
        except (ModelOptionUnsupported, ModelRejected) as failure:
            if limit is None or failure.cause.get("upstream.status_code") not in BAD_REQUEST:
                raise
        else:
            await answer.aclose()
            return


def describe(failure: Failure) -> str:
    """Return the status, codes and errno of a failure, never a text of the API."""
    cause = failure.cause
    status = cause.get("upstream.status_code")
    codes = (cause.get(f"upstream.{name}") for name in ("error_code", "error_param", "error", "errno"))
    found = [f"HTTP {status}" if status else "", *(code for code in codes if str(code) != str(status))]
    return " ".join(str(each) for each in found if each) or str(failure)
