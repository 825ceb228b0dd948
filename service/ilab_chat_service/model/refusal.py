"""What an API says in the place of an answer: one reading of HTTP errors and of error events. Pure.

APIs name the same situation in different ways: by an HTTP status, a `code`, a `type`, or only in words. A code or type
decides first; words decide only where no code does, and only words that name one situation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilab_chat_service.model.error_body import ErrorBody
from ilab_chat_service.model.error_words import (
    CONTEXT_WORDS,
    FILTER_WORDS,
    KEY_WORDS,
    KIND_OF_NAME,
    LIMIT_VALUE,
    LIMIT_WORDS,
    MODEL_WORDS,
    OUTAGE_WORDS,
    QUOTA_WORDS,
    RATE_WORDS,
    SIZE_WORDS,
    SYSTEM_WORDS,
    WINDOW_VALUE,
    Kind,
)
from ilab_chat_service.model.waits import wait_of

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What may be logged of a code: a name or a number, never a sentence.
LOGGED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/\[\]-]{0,63}")

HTTP_PAYMENT_REQUIRED = 402
HTTP_TOO_LARGE = 413
HTTP_TOO_MANY_REQUESTS = 429
HTTP_SERVER_ERROR = 500

#: Request timeout, conflict, failed dependency and too early: refused for now, not for good.
HTTP_TRY_AGAIN = frozenset({408, 409, 424, 425})
HTTP_BAD_KEY = frozenset({401, 403})

ROLE_PARAM = re.compile(r"messages?\W+\d+\W+role")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An API's error."""

    kind: Kind
    status: int = 0
    """HTTP status, also one that only the body names. 0: unknown."""
    code: str = ""
    """The API's own code or type. Empty: it has none that may be logged."""
    field: str = ""
    """The field of our request that is refused. Empty: none is named."""
    is_about_value: bool = False
    """The field is known, and its value is not acceptable."""
    wait_seconds: float | None = None
    """How long the API asks to wait. None: it does not say."""


def refusal_of(status: int, headers: Mapping[str, str], body: object) -> Refusal:
    """Return what an error means.

    Args:
        status: HTTP status of the response; 0 for an error event, which has none.
        headers: of the response, by name in any case; empty for an event.
        body: parsed JSON, or text, or None.
    """
    said = ErrorBody.of(body)
    status = status or said.status
    wait = wait_of(headers, said.message, said.errors)
    kind = kind_of(status, said, has_wait=wait is not None)
    return Refusal(
        kind=kind,
        status=status,
        code=next((code for code in said.codes if LOGGED.fullmatch(code)), ""),
        field=said.field if kind is Kind.BAD_OPTION else "",
        is_about_value=said.is_about_value,
        wait_seconds=wait,
    )


def kind_of(status: int, said: ErrorBody, *, has_wait: bool) -> Kind:
    """Return what an error means; *has_wait*: it names a wait, so it passes."""
    named = next((KIND_OF_NAME[name] for name in said.names if name in KIND_OF_NAME), None)
    if status == HTTP_TOO_LARGE or (named is None and status == HTTP_PAYMENT_REQUIRED):
        # 413 also with the code of a rate limit (Groq): a request with more tokens than a minute may have. Waiting does
        # not help, a shorter prompt does.
        return Kind.CONTEXT_TOO_LONG if status == HTTP_TOO_LARGE else Kind.QUOTA
    if status == HTTP_TOO_MANY_REQUESTS and named not in {Kind.QUOTA, Kind.CONTEXT_TOO_LONG}:
        # Gemini says "exceeded your current quota" of a minute's quota too, with the wait.
        return Kind.QUOTA if QUOTA_WORDS.search(said.message) and not has_wait else Kind.RATE_LIMIT
    if named is Kind.RATE_LIMIT and SIZE_WORDS.search(said.message):
        return Kind.CONTEXT_TOO_LONG
    if named:
        return named
    if status in HTTP_TRY_AGAIN:
        return Kind.OUTAGE
    return kind_by_words(status, said, has_wait=has_wait)


def is_limit_too_large(words: str) -> bool:
    """Return whether the limit of the reply's tokens is too large by itself, however short the prompt is.

    vLLM says that `max_tokens` is too large both of a limit beyond the window and of a prompt that leaves no room.
    """
    if not LIMIT_WORDS.search(words):
        return False
    limit, window = LIMIT_VALUE.search(words), WINDOW_VALUE.search(words)
    return not (limit and window) or int(limit[1]) >= int(window[1])


def kind_by_words(status: int, said: ErrorBody, *, has_wait: bool) -> Kind:  # noqa: PLR0911 - a table, top to bottom
    """Return what an error means that no code tells."""
    words = said.message
    # Templates of servers that cannot do a system message fail with 400 or 500.
    if not said.param and (SYSTEM_WORDS.search(words) or any(map(ROLE_PARAM.search, said.params))):
        return Kind.SYSTEM_ROLE
    if CONTEXT_WORDS.search(words) and not (RATE_WORDS.search(words) or is_limit_too_large(words)):
        return Kind.CONTEXT_TOO_LONG
    if status >= HTTP_SERVER_ERROR:
        return Kind.OUTAGE
    if FILTER_WORDS.search(words):
        return Kind.CONTENT_FILTER
    if QUOTA_WORDS.search(words) and not has_wait:
        return Kind.QUOTA
    if said.field:
        return Kind.BAD_OPTION
    if status in HTTP_BAD_KEY or KEY_WORDS.search(words):
        return Kind.BAD_KEY
    if "model" in said.params or MODEL_WORDS.search(words):
        return Kind.UNKNOWN_MODEL
    if not status and RATE_WORDS.search(words):
        return Kind.RATE_LIMIT
    # An error event without a status may be about the request, which must not look like an outage to others.
    is_outage = not status and (not words or OUTAGE_WORDS.search(words))
    return Kind.OUTAGE if is_outage else Kind.REJECTED
