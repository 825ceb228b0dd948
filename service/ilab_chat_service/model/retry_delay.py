"""Extract the retry delay from every header and field where APIs send one. Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Minimum delay passed on to a caller, even for a Retry-After of 0 or in the past: the API has just rejected a request.
SHORTEST_SECONDS = 0.1

#: Maximum delay passed on to a caller.
LONGEST_SECONDS = 3600.0

#: Larger numbers are Unix times: in seconds above the first, in milliseconds above the second.
EPOCH_SECONDS = 1e9
EPOCH_MILLISECONDS = 1e12

#: Durations in words and in Go's notation: 5.289s, 1m30s, 250ms, 20 seconds. Groups: number, unit.
AMOUNT = r"(\d+(?:\.\d+)?)\s?(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
DURATION = re.compile(rf"(?:{AMOUNT}[,\s]*)+", re.IGNORECASE)
IN_WORDS = re.compile(rf"(?:try again|retry|wait)\D{{0,20}}((?:{AMOUNT}(?:,|and|\s)*)+|\d+(?![\w.]))", re.IGNORECASE)
UNIT_SECONDS = {"mi": 60.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

#: Pairs of headers: the remaining part of a limit, and the time of its reset.
RESETS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
)


def wait_of(headers: Mapping[str, str], message: str, errors: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the retry delay that an API sent, between SHORTEST_SECONDS and LONGEST_SECONDS.

    Args:
        headers: response headers, case-insensitive.
        message: the error message.
        errors: the error and nested errors.

    Returns:
        Seconds. None: the API sent no delay, or an unreadable one.
    """
    said = next((seconds for seconds in waits(headers, message, errors) if math.isfinite(seconds)), None)
    return None if said is None else min(max(said, SHORTEST_SECONDS), LONGEST_SECONDS)


def waits(headers: Mapping[str, str], message: str, errors: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    """Yield the delay from each source, the most specific first. NaN: it is missing or unreadable."""
    yield number(headers.get("retry-after-ms") or headers.get("x-ms-retry-after-ms")) / 1000
    yield retry_after(headers.get("retry-after"))
    for error in errors:
        yield from details(error)
    if found := IN_WORDS.search(message):
        yield duration(found[1])
    yield used_up(headers)


def details(error: Mapping[str, Any]) -> Iterator[float]:
    """Yield the delays in the fields of an error: google.rpc.RetryInfo, and headers that OpenRouter forwards."""
    listed = error.get("details")
    for detail in listed if isinstance(listed, list) else ():
        if isinstance(detail, dict):
            yield duration(detail.get("retryDelay"))
    for name in ("retry_after", "retry_after_seconds"):
        yield number(error.get(name))
    metadata = error.get("metadata")
    passed_on = metadata.get("headers") if isinstance(metadata, dict) else None
    if isinstance(passed_on, dict):
        lower = {str(name).lower(): str(value) for name, value in passed_on.items()}
        yield retry_after(lower.get("retry-after"))
        yield until(number(lower.get("x-ratelimit-reset")))


def used_up(headers: Mapping[str, str]) -> float:
    """Return the seconds until exhausted limits reset, from the x-ratelimit headers. NaN: the headers are missing.

    https://platform.openai.com/docs/guides/rate-limits (rate limits in headers)
    """
    resets = {left: until_reset(headers.get(reset)) for left, reset in RESETS}
    known = {left: seconds for left, seconds in resets.items() if math.isfinite(seconds)}
    used = [left for left in known if number(headers.get(left)) == 0]
    return max((known[left] for left in used or known), default=math.nan)


def until_reset(header: str | None) -> float:
    """Return the seconds until a reset given as a duration, a Unix time or a date. NaN: it is anything else."""
    seconds = until(duration(header))
    if not math.isnan(seconds) or not header:
        return seconds
    try:
        return (datetime.fromisoformat(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return math.nan


def retry_after(header: str | None) -> float:
    """Return the seconds of a Retry-After header, which may be a date. NaN: it is anything else."""
    seconds = number(header)
    if not math.isnan(seconds) or not header:
        return seconds
    try:
        return (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return duration(header)


def until(moment: float) -> float:
    """Return the seconds until *moment*, a Unix time in seconds or milliseconds. A small number is already a delay."""
    if moment < EPOCH_SECONDS or math.isnan(moment):
        return moment
    return moment / (1000 if moment >= EPOCH_MILLISECONDS else 1) - datetime.now(UTC).timestamp()


def duration(value: object) -> float:
    """Return the seconds of a number or of a duration such as 6s, 1m30s or 250ms. NaN: it is anything else."""
    seconds = number(value)
    if not math.isnan(seconds):
        return seconds
    if not (isinstance(value, str) and DURATION.match(value.strip())):
        return math.nan
    return sum(float(amount) * unit_seconds(unit.lower()) for amount, unit in re.findall(AMOUNT, value, re.IGNORECASE))


def unit_seconds(unit: str) -> float:
    """Return the seconds of a unit, abbreviated or written out."""
    if unit.startswith("milli"):
        return UNIT_SECONDS["ms"]
    return UNIT_SECONDS.get(unit[:2]) or UNIT_SECONDS[unit[0]]


def number(value: object) -> float:
    """Return *value* as a number. NaN: it is not one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
