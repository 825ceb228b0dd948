"""What the openai package and its transport raise, as the failures that the Model port promises."""

from __future__ import annotations

import math
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
import httpx2
import openai

from ilab_chat_service.ports import (
    ContextTooLong,
    ModelInterrupted,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What compatible servers call a prompt that does not fit: OpenAI and vLLM, llama.cpp.
TOO_LONG = ("context_length_exceeded", "exceed_context_size_error")

HTTP_TOO_MANY_REQUESTS = 429
HTTP_SERVER_ERROR = 500

#: Request timeout and conflict: refused for now, not for good.
HTTP_TRY_AGAIN = {408, 409}

#: Shortest wait that is passed on to a caller, in seconds, also for a Retry-After of 0 or in the past: at once would
#: be too soon for an API that has just refused.
RETRY_AFTER_LEAST = 0.1

#: Longest wait that is passed on to a caller, in seconds.
RETRY_AFTER_MOST = 3600.0

#: What a response raises while it is read; of a server that speaks no HTTP, the package passes on aiohttp's own error.
BROKEN = (httpx2.RequestError, aiohttp.ClientError)


class EndedEarly(Exception):
    """The model's API ended its stream before the answer."""


class ErrorEvent(Exception):
    """The model's API sent an error in the place of the next piece."""


#: An answer that is none: not JSON, JSON of another kind, or nested without end.
NO_ANSWER = (EndedEarly, ErrorEvent, ValueError, RecursionError)


@contextmanager
def failures_before_first_word() -> Iterator[None]:
    """Translate what is raised before the model has begun."""
    try:
        yield
    except openai.APIStatusError as error:
        raise refusal(error) from error
    except (openai.APIError, *BROKEN) as error:
        # No status: the connection failed or timed out.
        raise ModelUnavailable("the model cannot be reached") from error
    except NO_ANSWER as error:
        raise ModelUnavailable("the model did not answer") from error


@contextmanager
def failures_after_first_word() -> Iterator[None]:
    """Translate what is raised once the model has begun."""
    try:
        yield
    except (*BROKEN, *NO_ANSWER) as error:
        raise ModelInterrupted("the model broke off its answer") from error


def refusal(error: openai.APIStatusError) -> ContextTooLong | ModelRateLimited | ModelUnavailable | ModelRejected:
    """Return the failure that an HTTP status of the model's API stands for."""
    asked_seconds = retry_after(error.response.headers.get("retry-after"))
    if error.status_code == HTTP_TOO_MANY_REQUESTS:
        return ModelRateLimited("the model's API limits our rate", retry_after_seconds=asked_seconds)
    if error.status_code >= HTTP_SERVER_ERROR or error.status_code in HTTP_TRY_AGAIN:
        return ModelUnavailable("the model failed", retry_after_seconds=asked_seconds)
    # Whatever the API sent stands there, a list for instance: hence no look-up in a set.
    if any(said in TOO_LONG for said in (error.code, error.type)):
        return ContextTooLong("the message does not fit into the model's window")
    return ModelRejected(f"the model's API refused the request: HTTP {error.status_code}")


def retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which may be a date; None if it says nothing that can be used."""
    try:
        seconds = float(header or "")
    except ValueError:
        seconds = seconds_until(header or "")
    return min(max(seconds, RETRY_AFTER_LEAST), RETRY_AFTER_MOST) if math.isfinite(seconds) else None


def seconds_until(date: str) -> float:
    """Return the seconds from now to an HTTP date, NaN for what is none."""
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return math.nan
