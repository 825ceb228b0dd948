"""What the openai package raises, as the failures that the Model port promises."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

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

#: How long a caller should wait when the model's API does not say, in seconds.
RETRY_AFTER_SECONDS = 1.0

#: What compatible servers call a prompt that does not fit: OpenAI and vLLM, llama.cpp.
TOO_LONG = {"context_length_exceeded", "exceed_context_size_error"}

HTTP_TOO_MANY_REQUESTS = 429
HTTP_SERVER_ERROR = 500


class EndedEarly(Exception):
    """The model's API ended its stream before the answer."""


@contextmanager
def failures_before_first_word() -> Iterator[None]:
    """Translate what the openai package raises before the model has begun."""
    try:
        yield
    except openai.APIStatusError as error:
        raise refusal(error) from error
    except openai.APIError as error:
        # No status: the connection failed or timed out, or the stream began with an error event.
        raise ModelUnavailable("the model cannot be reached", retry_after_seconds=RETRY_AFTER_SECONDS) from error
    except (EndedEarly, ValueError, AttributeError, TypeError) as error:
        # The last three: the package parses without validating, so what is not an answer fails where it is used.
        raise ModelUnavailable("the model did not answer", retry_after_seconds=RETRY_AFTER_SECONDS) from error


@contextmanager
def failures_after_first_word() -> Iterator[None]:
    """Translate what the openai package raises once the model has begun."""
    try:
        yield
    except (openai.APIError, EndedEarly, ValueError, AttributeError, TypeError) as error:
        raise ModelInterrupted("the model broke off its answer") from error


def refusal(error: openai.APIStatusError) -> ContextTooLong | ModelRateLimited | ModelUnavailable | ModelRejected:
    """Return the failure that an HTTP status of the model's API stands for."""
    if error.status_code == HTTP_TOO_MANY_REQUESTS:
        return ModelRateLimited(
            "the model's API limits our rate",
            retry_after_seconds=retry_after(error.response.headers.get("retry-after")),
        )
    if error.status_code >= HTTP_SERVER_ERROR:
        return ModelUnavailable("the model failed", retry_after_seconds=RETRY_AFTER_SECONDS)
    if {error.code, error.type} & TOO_LONG:
        return ContextTooLong("the message does not fit into the model's window")
    return ModelRejected(f"the model's API refused the request: HTTP {error.status_code}")


def retry_after(header: str | None) -> float:
    """Return the seconds of a Retry-After header; a date or nothing counts as the default."""
    try:
        return max(0.0, float(header or ""))
    except ValueError:
        return RETRY_AFTER_SECONDS
