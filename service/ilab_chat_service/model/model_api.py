"""One model of one API: sends its requests, and learns which of our fields its API rejects."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

import httpx2
import openai

from ilab_chat_service.model.api_errors import Refused, failure_of, failures_before_it_began
from ilab_chat_service.model.breaker import Breaker
from ilab_chat_service.model.completion_stream import CompletionStream
from ilab_chat_service.model.http_transport import body_of
from ilab_chat_service.model.pacing import Pace
from ilab_chat_service.model.request import Shape, request_body
from ilab_chat_service.model.request_adaptation import shapes_after
from ilab_chat_service.model.request_template import request_template
from ilab_chat_service.telemetry.call_record import model_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai import RequestOptions

    from ilab_chat_service.failures import Failure
    from ilab_chat_service.model.http_transport import Body
    from ilab_chat_service.model.pacing import LoopShare
    from ilab_chat_service.model.profiles import Profile
    from ilab_chat_service.model.request_template import RequestTemplate
    from ilab_chat_service.values import ChatMessage, Generation

log = logging.getLogger(__name__)

#: Headers with which the package describes itself and this machine, in addition to `user-agent`. No server needs them,
#: and each costs bandwidth, and memory while a stream is open.
TELEMETRY = (
    *("x-stainless-lang", "x-stainless-package-version", "x-stainless-os", "x-stainless-arch", "x-stainless-runtime"),
    *("x-stainless-runtime-version", "x-stainless-async", "x-stainless-retry-count", "x-stainless-read-timeout"),
)


#: Neither a response format nor a reasoning effort.
PLAIN = (False, False)


class ModelApi:
    """A model, its breaker, and the shape of requests that its API accepts.

    Args:
        client: client of the openai package.
        profile: the model.
        loop_share: the share of the event loop for streams that take more than their allowance.
        named_by_caller: whether callers may request any model by its name in the API.
        label: name of the model in metrics. Empty: that of the profile.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        profile: Profile,
        loop_share: LoopShare,
        *,
        named_by_caller: bool,
        label: str = "",
    ) -> None:
        self.profile = profile
        self.breaker = Breaker()
        self._client = client
        self._loop_share = loop_share
        self._named_by_caller = named_by_caller
        self._label = label or profile.name
        #: Accepted shapes by the options of a call: some APIs reject our fields only in combination with a response
        #: format or a reasoning effort, so those calls have shapes of their own.
        self._shapes = {PLAIN: Shape.of(profile)}
        self.cause = {"gen_ai.request.model": profile.model, "server.address": profile.host}
        self._key = ""
        self._options: RequestOptions = {}
        #: A request with the current key, as the package has built it. None: it has built none yet.
        self._again: RequestTemplate | None = None

    async def ask(self, messages: Sequence[ChatMessage], generation: Generation) -> CompletionStream:
        """Ask the model and wait until it has begun. If the API rejects one of our own fields, ask again without it.

        Later calls omit the field too, but only once a request without it has succeeded: a caller could provoke an
        error that merely quotes the name of a field.

        Raises:
            Failure: the model did not begin.
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
        """Send a request and wait until the model has begun."""
        with model_request(self._label, self.cause) as request, failures_before_it_began(self.cause):
            response = await self._post(body, request.traceparent)
            pace = Pace(self._loop_share, asyncio.get_running_loop().time())
            answer = CompletionStream(response, self.profile.model, self.cause, pace, self._key)
            try:
                await answer.begin()
            except BaseException:
                await answer.aclose()
                raise
            return answer

    async def _post(self, body: bytes, traceparent: str) -> Body:
        """Send a request: the first one with a key by the package, later ones like the first."""
        options = await self._current_options()
        if self._again:
            return await self._again.send(body, traceparent)
        # The public API for raw responses, with the package's authentication, URLs and errors. It returns a response,
        # as `cast_to` says, although its type hints for streams do not.
        response: object = await self._client.post(
            self.profile.url,
            cast_to=httpx2.Response,
            # Serialized here, because the package spends milliseconds on inspecting the messages.
            content=body,
            options=with_trace(options, traceparent),
            # Even without streaming, so that the package does not read the response.
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        assert isinstance(response, httpx2.Response)  # noqa: S101 - see above
        # The key may have changed while the API answered.
        if options is self._options:
            self._again = request_template(response)
        return body_of(response)

    async def _current_options(self) -> RequestOptions:
        """Return the options of a request: the headers with the current key."""
        key = await self.profile.key.current()
        if key != self._key or not self._options:
            self._key = key
            self._again = None
            # Otherwise the package generates an idempotency key for each request, which it does not send.
            self._options = {"idempotency_key": "unused", "headers": headers(self.profile, key)}
        return self._options

    def _learn(self, company: tuple[bool, bool], shape: Shape) -> None:
        """Use *shape* for later calls with the same options."""
        was = asdict(self._shapes[PLAIN])
        self._shapes = {company: shape} if company == PLAIN else {**self._shapes, company: shape}
        changed = {name: logged(value) for name, value in asdict(shape).items() if value != was[name]}
        log.warning(
            "the model's API rejects a field of our requests; later requests omit it",
            extra={"fields": {**self.cause, **changed}},
        )

    def _failure(self, refused: Refused, messages: Sequence[ChatMessage], generation: Generation) -> Failure:
        chosen_by_caller = self._named_by_caller and bool(generation.model)
        return failure_of(
            refused, messages, generation, self.cause, chosen_by_caller=chosen_by_caller, secret=self._key
        )


def with_trace(options: RequestOptions, traceparent: str) -> RequestOptions:
    """Return *options* with the header that continues the call's trace, if it has one.

    The caller's tracestate, which is for its own tracing system, is not sent to the API.
    """
    if not traceparent:
        return options
    return {**options, "headers": {**options["headers"], "traceparent": traceparent}}


def logged(value: object) -> str:
    """Return a part of a shape for the log: true, false, a name, or comma-separated names."""
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value).lower()


def headers(profile: Profile, key: str) -> dict[str, str | openai.Omit]:
    """Return the headers of a request, other than those of HTTP itself."""
    found: dict[str, str | openai.Omit] = dict.fromkeys(TELEMETRY, openai.omit)
    found["authorization"] = f"Bearer {key}" if key and not profile.key_header else openai.omit
    if key and profile.key_header:
        found[profile.key_header] = key
    return {**found, **profile.headers}
