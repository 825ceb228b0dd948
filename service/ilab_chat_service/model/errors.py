"""What the openai package, its transport and the API raise, as the failures that the Model port promises."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from contextlib import contextmanager
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
from ilab_chat_service.model.error_words import KNOWN_CODES, Kind
from ilab_chat_service.model.http_transport import TooManyInterimResponses
from ilab_chat_service.model.refusal import LOGGED, Refusal, refusal_of
from ilab_chat_service.model.request import is_set
from ilab_chat_service.model.server_sent_events import EventTooLong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ilab_chat_service.failures import Cause
    from ilab_chat_service.values import ChatMessage, Generation

#: What a response raises while it is read; of a server that speaks no HTTP, the package passes on aiohttp's own error.
BROKEN = (httpx2.RequestError, aiohttp.ClientError)

#: Options of callers, by the name that the API has for each.
OPTIONS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "stop": "stop_sequences",
    "seed": "seed",
    "reasoning_effort": "reasoning_effort",
    "response_format": "response_format",
}

#: Errors that mean the same whatever the request was, each with what the caller is told.
PLAIN: Mapping[Kind, tuple[type[Failure], str]] = {
    Kind.CONTEXT_TOO_LONG: (ContextTooLong, "message and instructions do not fit into the model's window"),
    Kind.CONTENT_FILTER: (ContentFiltered, "a content filter of the model's API stopped the prompt"),
    Kind.RATE_LIMIT: (ModelRateLimited, "the model's API limits the rate of requests"),
    Kind.QUOTA: (ModelQuotaExhausted, "the quota of the model's API is used up"),
    Kind.OUTAGE: (ModelUnavailable, "the model failed"),
}

#: Errors after which waiting helps.
WAITING = frozenset({Kind.RATE_LIMIT, Kind.OUTAGE})

#: Where APIs say the id that their operators find a request by.
REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray")

STATUS = re.compile("[1-9][0-9]{2}")
NUMBER = re.compile("[0-9]{4,}")
NOT_ALPHANUMERIC = re.compile("[^0-9a-z]+")


class EndedEarly(Exception):
    """The model's API ended its response before the answer."""


class NotACompletion(EndedEarly):
    """The response is neither a stream of events nor a JSON completion: a page of a web server, for instance."""


#: Errors of a connection that have no errno, by what an operator should read.
WITHOUT_ERRNO: Mapping[type[BaseException], str] = {
    NotACompletion: "neither an event stream nor a JSON completion: is the base URL right?",
    EndedEarly: "ended before the answer",
    EventTooLong: "no end of an event, or no answer, within 8 to 16 MiB",
    TooManyParts: "an event with more than 200,000 parts",
    UndecodableBody: "content-encoding is not gzip or deflate, or the body is not valid",
    UnicodeDecodeError: "not UTF-8",
    TooManyInterimResponses: "more than 16 interim responses (1xx)",
    TimeoutError: "timeout",
    httpx2.TimeoutException: "timeout",
    aiohttp.ServerDisconnectedError: "disconnected",
    aiohttp.ClientPayloadError: "incomplete body",
    aiohttp.ClientResponseError: "not HTTP",
    httpx2.RequestError: "broken connection",
}

#: An answer that is not one.
NO_ANSWER = (EndedEarly, ErrorData, UndecodableBody, ValueError, RecursionError)


class Refused(Exception):
    """The API has answered with an error."""

    def __init__(self, refusal: Refusal, request_id: str = "") -> None:
        super().__init__()
        self.refusal = refusal
        self.request_id = request_id


@contextmanager
def failures_before_it_began(cause: Cause) -> Iterator[None]:
    """Translate what is raised before the model has begun. *cause*: what an operator should know of the request.

    Raises:
        Refused: the API answered with an error, by an HTTP status or by an event.
        ModelUnavailable: it could not be reached, or did not answer.
    """
    try:
        yield
    except openai.APIStatusError as error:
        headers = error.response.headers
        refusal = refusal_of(error.status_code, headers, error.body)
        raise Refused(refusal, next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), "")) from error
    except ErrorData as error:
        raise Refused(refusal_of(0, {}, error.body)) from error
    except (openai.APIError, *BROKEN, TimeoutError) as error:
        # No status: the connection failed or timed out.
        raise ModelUnavailable("the model cannot be reached", cause={**cause, **broken(error)}) from error
    except NO_ANSWER as error:
        raise ModelUnavailable("the model did not answer", cause={**cause, **broken(error)}) from error


@contextmanager
def failures_after_it_began(cause: Cause) -> Iterator[None]:
    """Translate what is raised once the model has begun."""
    try:
        yield
    except ErrorData as error:
        said = said_by(refusal_of(0, {}, error.body))
        raise ModelInterrupted("the model broke off its answer", cause={**cause, **said}) from error
    except (*BROKEN, *NO_ANSWER, TimeoutError) as error:
        raise ModelInterrupted("the model broke off its answer", cause={**cause, **broken(error)}) from error


def failure_of(
    refused: Refused,
    messages: Sequence[ChatMessage],
    generation: Generation,
    cause: Cause,
    *,
    chosen_by_caller: bool,
    secret: str = "",
) -> Failure:
    """Return the failure that an API's error stands for.

    Args:
        refused: the error.
        messages: what the API was sent.
        generation: what the caller asked for: a field of it that is refused is the caller's.
        cause: what an operator should know of the request.
        chosen_by_caller: whether the caller named the model as the API knows it.
        secret: the key of the API, which is never logged. Empty: it has none.
    """
    refusal = refused.refusal
    cause = {**cause, **said_by(refusal)}
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


def said_by(refusal: Refusal) -> dict[str, str | int]:
    """Return what the log says of an API's error: of its codes, one that is known or has the form of a status."""
    is_known = refusal.code.lower() in KNOWN_CODES or STATUS.fullmatch(refusal.code)
    said: dict[str, str | int] = {
        "upstream.status_code": refusal.status,
        "upstream.error_code": refusal.code if is_known else "",
        "upstream.error_param": refusal.field,
    }
    return {name: value for name, value in said.items() if value}


def is_id(text: str, messages: Sequence[ChatMessage], secret: str) -> bool:
    """Return whether *text* looks like an id or a code, without *secret* and numbers or the whole of it in a prompt.

    Compares ASCII letters and digits only.
    """
    if not LOGGED.fullmatch(text) or (secret and secret in text):
        return False
    said = bare(text)
    parts = [said, *NUMBER.findall(said)]
    return not any(part in prompt for message in messages for prompt in (bare(message.content),) for part in parts)


def bare(text: str) -> str:
    """Return the ASCII letters and digits of *text* in lower case."""
    return NOT_ALPHANUMERIC.sub("", text.lower())


def broken(error: BaseException) -> dict[str, str | int]:
    """Return what the log says of a connection that failed: the innermost reason, never a text."""
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
    """Yield *error* and what led to it, the outermost first."""
    while error:
        yield error
        # aiohttp keeps what the system said beside the chain.
        error = getattr(error, "os_error", None) or error.__cause__ or error.__context__
