"""Interpret an API's errors, HTTP errors and error events alike. Pure.

APIs report the same situation in different ways: by an HTTP status, a `code`, a `type`, or only in a message. Codes and
types decide first. Words decide only if no code does, and only if they are unambiguous.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
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
from ilab_chat_service.model.retry_delay import wait_of

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Codes that may be logged: a name or a number, never a sentence.
LOGGED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/\[\]-]{0,63}")

#: Request timeout, conflict, failed dependency and too early: temporary errors.
HTTP_TRY_AGAIN = frozenset({408, 409, 424, 425})
HTTP_BAD_KEY = frozenset({401, 403})

ROLE_PARAM = re.compile(r"messages?\W+\d+\W+role")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An API's error."""

    kind: Kind
    status: int = 0
    """HTTP status of the response or in its body. 0: unknown."""
    code: str = ""
    """The API's code or type. Empty: no code may be logged."""
    field: str = ""
    """The rejected field of our request. Empty: the API does not name one."""
    is_about_value: bool = False
    """The API accepts the field, but not its value."""
    wait_seconds: float | None = None
    """The API's retry delay. None: it sent none."""


def refusal_of(status: int, headers: Mapping[str, str], body: object) -> Refusal:
    """Return the meaning of an error.

    Args:
        status: HTTP status of the response. 0: the error is an event.
        headers: response headers, case-insensitive. Empty for an event.
        body: parsed JSON, a string or None.
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


def kind_of(status: int, said: ErrorBody, *, has_wait: bool) -> Kind:  # noqa: PLR0911 - a table, top to bottom
    """Return the kind of an error. *has_wait*: the API sent a retry delay, so the error is temporary."""
    named = next((KIND_OF_NAME[name] for name in said.names if name in KIND_OF_NAME), None)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # Groq sends 413 with the code of a rate limit for a request with more tokens than the limit per minute. A
        # shorter prompt helps, waiting does not.
        return Kind.CONTEXT_TOO_LONG
    if named is None and status == HTTPStatus.PAYMENT_REQUIRED:
        return Kind.QUOTA
    if status == HTTPStatus.TOO_MANY_REQUESTS and named not in {Kind.QUOTA, Kind.CONTEXT_TOO_LONG}:
        # Gemini also says "exceeded your current quota" for a quota per minute, with a retry delay.
        return Kind.QUOTA if QUOTA_WORDS.search(said.message) and not has_wait else Kind.RATE_LIMIT
    if named is Kind.RATE_LIMIT and SIZE_WORDS.search(said.message):
        return Kind.CONTEXT_TOO_LONG
    if named:
        return named
    if status in HTTP_TRY_AGAIN:
        return Kind.OUTAGE
    return kind_by_words(status, said, has_wait=has_wait)


def is_limit_too_large(words: str) -> bool:
    """Return whether the token limit of the reply is too large for any prompt.

    vLLM reports `max_tokens` as too large both if it exceeds the window and if the prompt leaves too little room.
    """
    if not LIMIT_WORDS.search(words):
        return False
    limit, window = LIMIT_VALUE.search(words), WINDOW_VALUE.search(words)
    return not (limit and window) or int(limit[1]) >= int(window[1])


def kind_by_words(status: int, said: ErrorBody, *, has_wait: bool) -> Kind:  # noqa: PLR0911 - a table, top to bottom
    """Return the kind of an error without a known code."""
    words = said.message
    # Chat templates without support for a system message fail with 400 or 500.
    if not said.param and (SYSTEM_WORDS.search(words) or any(map(ROLE_PARAM.search, said.params))):
        return Kind.SYSTEM_ROLE
    if CONTEXT_WORDS.search(words) and not (RATE_WORDS.search(words) or is_limit_too_large(words)):
        return Kind.CONTEXT_TOO_LONG
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
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
    # An error event without a status may be caused by the request, and must not count as an outage.
    is_outage = not status and (not words or OUTAGE_WORDS.search(words))
    return Kind.OUTAGE if is_outage else Kind.REJECTED
