"""One model of one API: sends its requests, and learns which of our fields its API rejects."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import aiohttp
import httpx2
import openai

from ilab_chat_service.model.api_errors import FAILED, Refused, before_it_began, failure_of
from ilab_chat_service.model.breaker import Breaker
from ilab_chat_service.model.completion_stream import CompletionStream
from ilab_chat_service.model.http_transport import SENDER, body_of, body_read_by, whole_error
from ilab_chat_service.model.pacing import Pace
from ilab_chat_service.model.request import request_body, variants_after
from ilab_chat_service.telemetry.call_record import model_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.model.http_transport import Body, Transport
    from ilab_chat_service.model.pacing import LoopShare
    from ilab_chat_service.model.profiles import Profile
    from ilab_chat_service.values import ChatMessage, Generation

log = logging.getLogger(__name__)

#: Headers with which the package describes itself and this machine, in addition to `user-agent`. No server needs them,
#: and each costs bandwidth, and memory while a stream is open.
TELEMETRY = (
    *("x-stainless-lang", "x-stainless-package-version", "x-stainless-os", "x-stainless-arch", "x-stainless-runtime"),
    *("x-stainless-runtime-version", "x-stainless-async", "x-stainless-retry-count", "x-stainless-read-timeout"),
)


#: Options of ours that an API may reject, as fields of a profile.
ADAPTED = ("token_limit", "include_usage", "streaming", "system_role", "without_defaults")

#: Neither a response format nor a reasoning effort.
PLAIN = (False, False)

#: Headers that describe one body, or one call. All others are sent again.
OF_ONE_REQUEST = frozenset({"content-length", "transfer-encoding", "traceparent"})


class ModelApi:
    """A model, its breaker, and the requests that its API accepts.

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
        #: The profile as the API accepts it, by the options of a call: some APIs reject our fields only in combination
        #: with a response format or a reasoning effort, so those calls have profiles of their own.
        self._accepted = {PLAIN: profile}
        self.cause = {"gen_ai.request.model": profile.model, "server.address": profile.host}
        self._key = ""
        #: A request with the current key, as the package has built it. None: it has built none yet.
        self._template: RequestTemplate | None = None

    async def ask(self, messages: Sequence[ChatMessage], generation: Generation) -> CompletionStream:
        """Ask the model and wait until it has begun. If the API rejects one of our own fields, ask again without it.

        Later calls omit the field too, but only once a request without it has succeeded: a caller could provoke an
        error that merely quotes the name of a field.

        Raises:
            Failure: the model did not begin.
        """
        company = (generation.response_format is not None, generation.reasoning_effort is not None)
        profile = self._accepted.get(company) or self._accepted[PLAIN]
        tried = [profile]
        while True:
            try:
                answer = await self._begin(request_body(profile, messages, generation))
            except Refused as refused:
                variants = variants_after(refused.refusal, profile, generation)
                variant = next((each for each in variants if each not in tried), None)
                if variant is None:
                    chosen_by_caller = self._named_by_caller and bool(generation.model)
                    raise failure_of(
                        refused, messages, generation, self.cause, chosen_by_caller=chosen_by_caller, secret=self._key
                    ) from refused
                tried.append(variant)
                profile = variant
            else:
                if len(tried) > 1:
                    self._learn(company, profile)
                return answer

    async def _begin(self, body: bytes) -> CompletionStream:
        """Send a request and wait until the model has begun.

        Raises:
            Refused: the API answered with an error, as an HTTP status or an event.
            ModelUnavailable: the API could not be reached, or did not answer.
        """
        with model_request(self._label, self.cause) as request:
            try:
                response = await self._post(body, request.traceparent)
                pace = Pace(self._loop_share, asyncio.get_running_loop().time())
                answer = CompletionStream(response, self.profile.model, self.cause, pace, self._key)
                try:
                    await answer.begin()
                except BaseException:
                    await answer.aclose()
                    raise
            except FAILED as error:
                raise before_it_began(error, self.cause) from error
            return answer

    async def _post(self, body: bytes, traceparent: str) -> Body:
        """Send a request: the first one with a key by the package, later ones like the first."""
        key = self.profile.key
        if not isinstance(key, str):
            key = await key.current()
        if key != self._key:
            self._key, self._template = key, None
        if self._template:
            return await self._template.send(body, traceparent)
        # The public API for raw responses, with the package's authentication, URLs and errors. It returns a response,
        # as `cast_to` says, although its type hints for streams do not.
        response: object = await self._client.post(
            self.profile.url,
            cast_to=httpx2.Response,
            # Serialized here, because the package spends milliseconds on inspecting the messages.
            content=body,
            # Otherwise the package generates an idempotency key for each request, which it does not send.
            options={"idempotency_key": "unused", "headers": headers(self.profile, key, traceparent)},
            # Even without streaming, so that the package does not read the response.
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        assert isinstance(response, httpx2.Response)  # noqa: S101 - see above
        sender: Transport | None = response.extensions.get(SENDER)
        # Not if the package's own HTTP client sent it, or if the key has changed while the API answered.
        if sender and key == self._key:
            self._template = RequestTemplate(sender, response.request)
        return body_of(response)

    def _learn(self, company: tuple[bool, bool], profile: Profile) -> None:
        """Use *profile* for later calls with the same options."""
        was = self._accepted[PLAIN]
        self._accepted = {company: profile} if company == PLAIN else {**self._accepted, company: profile}
        changed = {name: logged(value) for name in ADAPTED if (value := getattr(profile, name)) != getattr(was, name)}
        log.warning(
            "the model's API rejects a field of our requests; later requests omit it",
            extra={"fields": {**self.cause, **changed}},
        )


class RequestTemplate:
    """The URL, headers and timeouts of a request that the openai package has built, without its body.

    The package and httpx build each request from its parts, which costs more CPU than sending it. Only the body differs
    between the requests of one profile with one key, so the package builds the first one, and aiohttp sends the others.
    """

    def __init__(self, sender: Transport, request: httpx2.Request) -> None:
        self._sender = sender
        self._url = str(request.url)
        self._headers = {name: value for name, value in request.headers.items() if name not in OF_ONE_REQUEST}
        timeout = request.extensions["timeout"]
        # As the package's transport: for aiohttp, `pool` covers connecting, including name resolution.
        self._timeout = aiohttp.ClientTimeout(
            sock_connect=timeout["connect"], sock_read=timeout["read"], connect=timeout["pool"]
        )

    async def send(self, content: bytes, traceparent: str) -> Body:
        """Send the request with *content*, and return the unread body of its response.

        *traceparent*: the header that continues the call's trace. Empty: none.

        Raises:
            Refused: the API answered with an error.
            ClientError, TimeoutError: the connection failed.
        """
        headers = {**self._headers, "traceparent": traceparent} if traceparent else self._headers
        read = await self._sender.post(self._url, headers, content, self._timeout)
        if httpx2.codes.is_success(read.status):
            return body_read_by(read)
        response = await whole_error(httpx2.Response(read.status, headers=read.raw_headers), read)
        raise Refused(read.status, response.headers, error_in(response.text.strip()))


def error_in(text: str) -> object:
    """Return the body of an error as the package does: its `error`, the whole JSON, or else the text."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return body.get("error", body) if isinstance(body, dict) else body


def logged(value: object) -> str:
    """Return a field of a profile for the log: true, false, a name, or comma-separated names."""
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value).lower()


def headers(profile: Profile, key: str, traceparent: str) -> dict[str, str | openai.Omit]:
    """Return the headers of a request, other than those of HTTP itself.

    *traceparent* continues the call's trace. The caller's tracestate, which is for its own tracing system, is not sent.
    """
    found: dict[str, str | openai.Omit] = dict.fromkeys(TELEMETRY, openai.omit)
    found["authorization"] = f"Bearer {key}" if key and not profile.key_header else openai.omit
    if key and profile.key_header:
        found[profile.key_header] = key
    found |= profile.headers
    if traceparent:
        found["traceparent"] = traceparent
    return found
