"""One model of one API: it is asked here, and what its API refuses is learned here."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

import httpx2
import openai

from ilab_chat_service.model.breaker import Breaker
from ilab_chat_service.model.completion_stream import CompletionStream
from ilab_chat_service.model.errors import Refused, failure_of, failures_before_it_began
from ilab_chat_service.model.http_transport import body_of
from ilab_chat_service.model.learning import shapes_after
from ilab_chat_service.model.request import Shape, request_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai import RequestOptions

    from ilab_chat_service.failures import Failure
    from ilab_chat_service.model.profiles import Profile
    from ilab_chat_service.values import ChatMessage, Generation

log = logging.getLogger(__name__)

#: What the package says with each request of this machine and of itself, beside `user-agent`. No server needs it; each
#: costs as much as any header, on the way and in the memory of an open stream.
TELEMETRY = (
    *("x-stainless-lang", "x-stainless-package-version", "x-stainless-os", "x-stainless-arch", "x-stainless-runtime"),
    *("x-stainless-runtime-version", "x-stainless-async", "x-stainless-retry-count", "x-stainless-read-timeout"),
)


#: Neither a format of the reply nor a reasoning effort.
PLAIN = (False, False)


class Upstream:
    """A model, its breaker, and the shape of requests that its API accepts.

    Args:
        client: of the openai package.
        profile: the model.
        named_by_caller: whether callers name the model as its API knows it, without an allow-list.
    """

    def __init__(self, client: openai.AsyncOpenAI, profile: Profile, *, named_by_caller: bool) -> None:
        self.profile = profile
        self.breaker = Breaker()
        self._client = client
        self._named_by_caller = named_by_caller
        #: What the API accepts, by the options of a call that an API may refuse in company of our own fields only: what
        #: a call with JSON as its format teaches says nothing about calls without it.
        self._shapes = {PLAIN: Shape.of(profile)}
        self.cause = {"gen_ai.request.model": profile.model, "server.address": profile.host}
        self._key = ""
        self._options: RequestOptions = {}

    async def ask(self, messages: Sequence[ChatMessage], generation: Generation) -> CompletionStream:
        """Ask once, and wait until the model has begun; again without what the API refuses of our own fields.

        What is left out is left out of later calls too, once a call without it went through: an error that only
        quotes the name of a field, as a caller could make an API do, changes nothing.

        Raises:
            Failure: what happened instead.
        """
        company = (generation.response_format is not None, generation.reasoning_effort is not None)
        shape = self._shapes.get(company) or self._shapes[PLAIN]
        tried = {shape}
        while True:
            try:
                answer = await self._begin(request_body(self.profile, shape, messages, generation))
            except Refused as refused:
                others = shapes_after(refused.refusal, shape, self.profile, generation)
                other = next((each for each in others if each not in tried), None)
                if other is None:
                    raise self._failure(refused, messages, generation) from refused
                tried.add(other)
                shape = other
            else:
                if len(tried) > 1:
                    self._learn(company, shape)
                return answer

    async def _begin(self, body: bytes) -> CompletionStream:
        """Send a request, and wait until the model has begun."""
        with failures_before_it_began(self.cause):
            # The public way past the package's own types, with its authentication, URLs and errors. What it returns
            # is what `cast_to` names, where that is a response; its types do not know this of streams.
            response: object = await self._client.post(
                self.profile.url,
                cast_to=httpx2.Response,
                # Written here: the package takes milliseconds to look into each message.
                content=body,
                options=await self._current_options(),
                # Without streaming too: the response is not read here.
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
            assert isinstance(response, httpx2.Response)  # noqa: S101 - see above
            answer = CompletionStream(body_of(response), self.profile.model, self.cause, self._key)
            try:
                await answer.begin()
            except BaseException:
                await answer.aclose()
                raise
            return answer

    async def _current_options(self) -> RequestOptions:
        """Return the options of a request: the headers, with the key as it is now."""
        key = await self.profile.key.current()
        if key != self._key or not self._options:
            self._key = key
            # The package would make an idempotency key for each request, and sends none.
            self._options = {"idempotency_key": "unused", "headers": headers(self.profile, key)}
        return self._options

    def _learn(self, company: tuple[bool, bool], shape: Shape) -> None:
        """Use *shape* for later calls with the same options."""
        was = asdict(self._shapes[PLAIN])
        self._shapes = {company: shape} if company == PLAIN else {**self._shapes, company: shape}
        changed = {name: logged(value) for name, value in asdict(shape).items() if value != was[name]}
        log.warning(
            "the model's API refuses a field of our requests: later requests are sent without it",
            extra={"fields": {**self.cause, **changed}},
        )

    def _failure(self, refused: Refused, messages: Sequence[ChatMessage], generation: Generation) -> Failure:
        chosen_by_caller = self._named_by_caller and bool(generation.model)
        return failure_of(
            refused, messages, generation, self.cause, chosen_by_caller=chosen_by_caller, secret=self._key
        )


def logged(value: object) -> str:
    """Return a part of a shape as the log has it: true, false, a name, or comma-separated names."""
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value).lower()


def headers(profile: Profile, key: str) -> dict[str, str | openai.Omit]:
    """Return the headers of a request beside those of HTTP."""
    found: dict[str, str | openai.Omit] = dict.fromkeys(TELEMETRY, openai.omit)
    found["authorization"] = f"Bearer {key}" if key and not profile.key_header else openai.omit
    if key and profile.key_header:
        found[profile.key_header] = key
    return {**found, **profile.headers}
