"""Translate errors of the openai package, its transport and the API into the failures of the Model port."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import httpx2
import openai

from ilab_chat_service.failures import (
    ContentFiltered,
    ContextTooLong,
    Failure,
    ModelInterrupted,
    ModelNotFound,
    ModelOptionUnsupported,
    ModelQuotaExhausted,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
)
from ilab_chat_service.model.chunks import ErrorData, TooManyParts
from ilab_chat_service.model.content_encoding import UndecodableBody
from ilab_chat_service.model.error_classification import LOGGED, Refusal, refusal_of
from ilab_chat_service.model.error_words import KNOWN_CODES, Kind
from ilab_chat_service.model.http_transport import HeadersTooLarge, TooManyInterimResponses
from ilab_chat_service.model.request import OPTIONS, is_set
from ilab_chat_service.model.server_sent_events import EventTooLong, TooManyComments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ilab_chat_service.failures import Cause
    from ilab_chat_service.values import ChatMessage, Generation

#: Errors while a response is read. If a server does not speak HTTP, the package raises aiohttp's own error.
BROKEN = (httpx2.RequestError, aiohttp.ClientError)

#: Errors with the same meaning for every request, each with the text for the caller.
PLAIN: Mapping[Kind, tuple[type[Failure], str]] = {
    Kind.CONTEXT_TOO_LONG: (ContextTooLong, "message and instructions do not fit into the model's window"),
    Kind.CONTENT_FILTER: (ContentFiltered, "a content filter of the model's API stopped the prompt"),
    Kind.RATE_LIMIT: (ModelRateLimited, "the model's API limits the rate of requests"),
    Kind.QUOTA: (ModelQuotaExhausted, "the quota of the model's API is used up"),
    Kind.OUTAGE: (ModelUnavailable, "the model failed"),
}

#: Errors after which a retry can succeed.
WAITING = frozenset({Kind.RATE_LIMIT, Kind.OUTAGE})

#: Headers with the API's id of the request.
REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray")

STATUS = re.compile("[1-9][0-9]{2}")
NUMBER = re.compile("[0-9]{4,}")
NOT_ALPHANUMERIC = re.compile("[^0-9a-z]+")


class EndedEarly(Exception):
    """The response ended before the answer was complete."""


class NotACompletion(EndedEarly):
    """The response is neither an event stream nor a JSON completion, but for instance a web page."""


class ResponseTooLong(Exception):
    """The response is longer than any answer, or brings no text for too long."""


#: Log texts for connection errors without errno.
WITHOUT_ERRNO: Mapping[type[BaseException], str] = {
    NotACompletion: "neither an event stream nor a JSON completion: is the base URL right?",
    EndedEarly: "ended before the answer",
    EventTooLong: "an event with more than 2 MiB or 10,000 lines",
    TooManyComments: "more than 256 KiB of comments or blank lines between two events",
    ResponseTooLong: "more than 128 MiB, or 16 MiB without text",
    TooManyParts: "an event with more than 50,000 parts",
    UndecodableBody: "content-encoding is not gzip or deflate, or the body is not valid",
    UnicodeDecodeError: "not UTF-8",
    TooManyInterimResponses: "more than 16 interim responses (1xx)",
    HeadersTooLarge: "more than 64 KiB of response headers",
    TimeoutError: "timeout",
    httpx2.TimeoutException: "timeout",
    aiohttp.ServerDisconnectedError: "disconnected",
    aiohttp.ClientPayloadError: "incomplete body",
    aiohttp.ClientResponseError: "not HTTP",
    httpx2.RequestError: "broken connection",
}

#: Errors that mean that the response is not an answer.
NO_ANSWER = (EndedEarly, ErrorData, ResponseTooLong, UndecodableBody, ValueError, RecursionError)

#: All errors of a request and of its answer.
FAILED = (openai.APIError, *BROKEN, *NO_ANSWER, TimeoutError)

#: Statuses that metrics name.
HTTP_STATUSES = frozenset(map(int, HTTPStatus))


class Refused(Exception):
    """The API answered with an error. The arguments are those of `refusal_of`."""

    def __init__(self, status: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__()
        self.refusal = refusal_of(status, headers, body)
        self.request_id = next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), "")
        # Of all numbers that an API may send, only those that exist become time series.
        known = self.refusal.status in HTTP_STATUSES
        self.outcome = f"HTTP_{self.refusal.status}" if known else "REFUSED"


def before_it_began(error: Exception, cause: Cause) -> Refused | ModelUnavailable:
    """Translate *error*, one of FAILED, that occurred before the model began. *cause*: log fields of the request."""
    if isinstance(error, openai.APIStatusError):
        return Refused(error.status_code, error.response.headers, error.body)
    if isinstance(error, ErrorData):
        return Refused(0, {}, error.body)
    # The connection failed or timed out.
    is_unreached = isinstance(error, (openai.APIError, *BROKEN, TimeoutError))
    text = "the model cannot be reached" if is_unreached else "the model did not answer"
    return ModelUnavailable(text, cause={**cause, **connection_error_fields(error)})


def after_it_began(error: Exception, cause: Cause) -> ModelInterrupted:
    """Translate *error*, one of FAILED, that occurred after the model began. *cause*: log fields of the request."""
    if isinstance(error, ErrorData):
        fields = error_fields(refusal_of(0, {}, error.body))
    else:
        fields = connection_error_fields(error)
    return ModelInterrupted("the model broke off its answer", cause={**cause, **fields})


def failure_of(
    refused: Refused,
    messages: Sequence[ChatMessage],
    generation: Generation,
    cause: Cause,
    *,
    chosen_by_caller: bool,
    secret: str = "",
) -> Failure:
    """Return the failure for an API's error.

    Args:
        refused: the error.
        messages: the messages sent to the API.
        generation: the caller's options. A rejected option is reported as the caller's.
        cause: log fields of the request.
        chosen_by_caller: whether the caller requested the model by its name in the API.
        secret: the API key, which is never logged. Empty: there is no key.
    """
    refusal = refused.refusal
    cause = {**cause, **error_fields(refusal)}
    if is_id(refused.request_id, messages, secret):
        cause["upstream.request_id"] = refused.request_id
    if "upstream.error_code" not in cause and is_id(refusal.code, messages, secret):
        cause["upstream.error_code"] = refusal.code
    if refusal.kind is Kind.UNKNOWN_MODEL and chosen_by_caller:
        return ModelNotFound("generation.model", "is not a model of the model's API", cause=cause)
    option = OPTIONS.get(refusal.field, "")
    if refusal.kind is Kind.BAD_OPTION and option and is_set(generation, option):
        return ModelOptionUnsupported(f"generation.{option}", "is refused by this model", cause=cause)
    if plain := PLAIN.get(refusal.kind):
        failure, text = plain
        wait = refusal.wait_seconds if refusal.kind in WAITING else None
        return failure(text, retry_after_seconds=wait, cause=cause)
    status = f"HTTP {refusal.status}" if refusal.status else "an error"
    return ModelRejected(f"the model's API refused the request: {status}", cause=cause)


def error_fields(refusal: Refusal) -> dict[str, str | int]:
    """Return the log fields of an API's error. The code is included only if it is known or looks like a status."""
    is_known = refusal.code.lower() in KNOWN_CODES or STATUS.fullmatch(refusal.code)
    said: dict[str, str | int] = {
        "upstream.status_code": refusal.status,
        "upstream.error_code": refusal.code if is_known else "",
        "upstream.error_param": refusal.field,
    }
    return {name: value for name, value in said.items() if value}


def is_id(text: str, messages: Sequence[ChatMessage], secret: str) -> bool:
    """Return whether *text* looks like an id or a code that contains neither *secret* nor text of a prompt.

    Text of a prompt means the whole id, or a number in it. Compares ASCII letters and digits only.
    """
    if not LOGGED.fullmatch(text) or (secret and secret in text):
        return False
    said = bare(text)
    parts = [said, *NUMBER.findall(said)]
    return not any(part in prompt for message in messages for prompt in (bare(message.content),) for part in parts)


def bare(text: str) -> str:
    """Return the ASCII letters and digits of *text* in lower case."""
    return NOT_ALPHANUMERIC.sub("", text.lower())


def connection_error_fields(error: BaseException) -> dict[str, str | int]:
    """Return the log fields of a failed connection: the innermost cause, never its text."""
    chain = list(chain_of(error))
    for link in reversed(chain):
        if isinstance(link, ssl.SSLError):
            return {"upstream.error": "TLS", "upstream.errno": link.reason or type(link).__name__}
        if isinstance(link, socket.gaierror):
            return {"upstream.error": "name not found", "upstream.errno": GAI_NAMES.get(link.errno or 0, "EAI")}
        if isinstance(link, OSError) and (name := errno.errorcode.get(link.errno or 0)):
            return {"upstream.error": "connection failed", "upstream.errno": name}
    for link in reversed(chain):
        for kind, text in WITHOUT_ERRNO.items():
            if isinstance(link, kind):
                return {"upstream.error": text}
    return {"upstream.error": type(chain[-1]).__name__}


GAI_NAMES = {value: name for name, value in vars(socket).items() if name.startswith("EAI_")}


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error* and its causes, the outermost first."""
    while error:
        yield error
        # aiohttp stores the system's error outside the exception chain.
        error = getattr(error, "os_error", None) or error.__cause__ or error.__context__
