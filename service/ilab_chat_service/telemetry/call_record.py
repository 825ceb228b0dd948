"""The record of the running call. Every part of the service adds to it; the outermost interceptor logs it."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(slots=True, kw_only=True)
class ModelRequest:
    """A request to the API of a model or of a fallback."""

    label: str
    """Name of the model in metrics."""
    cause: Mapping[str, str | int] = field(default_factory=dict)
    """Log fields that name the model and the host of its API."""
    began: float = 0.0
    ended: float = 0.0
    """When the model had begun, or when the request failed."""
    outcome: str = "OK"
    """How it began: OK or the name of a failure."""
    traceparent: str = ""
    """W3C header that is sent with the request. Empty: none."""


class Trace(Protocol):
    """The trace that a call belongs to, while traces are recorded."""

    def request_began(self, request: ModelRequest) -> None:
        """Begin the span of a request to a model, and set its traceparent."""

    def phase_ended(self, name: str) -> None:
        """Record the end of a phase, which may follow the end of its call."""


@dataclass(slots=True, kw_only=True)
class Call:
    """A running call of one of our methods. Empty or None means unknown, or not known yet."""

    method: str
    """Service and method, such as `ilab_chat.v1.ChatService/Chat`, or the name of background work."""
    correlation_id: str = ""
    """Sent in the trailers and logged."""
    trace_id: str = ""
    """The id of `trace` or, without one, of the caller's W3C trace context if that is valid."""
    traceparent: str = ""
    """The caller's W3C trace context, if that is valid."""
    tracestate: str = ""
    """The caller's `tracestate`. Set only with a `traceparent`."""
    trace: Trace | None = None
    """None: no traces are recorded."""
    retry_attempt: int = 0
    """Number of earlier attempts by the caller's gRPC."""
    until: float | None = None
    """When its time is up, by `time.monotonic`. None: it has not begun its work."""
    caller: str = ""
    """Name of the caller's identity, which is never a person's. Empty: not authenticated."""
    user_id: str = ""
    """Not validated. Never log it in clear."""
    request_id: str = ""
    """Validated. Never log it in clear: callers choose it."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase."""
    phases_began: dict[str, float] = field(default_factory=dict)
    """When each phase began, by `time.perf_counter`, including running ones."""
    phases_failed: dict[str, str] = field(default_factory=dict)
    """CANCELLED or the name of the failure, for each phase that failed."""
    refused_by: str = ""
    """The limit that refused the call as SERVER_BUSY. One of few names."""
    rate_limited_by: str = ""
    """The limit that refused the call as RATE_LIMITED. One of few names."""
    model_requests: list[ModelRequest] = field(default_factory=list)
    """Requests to the API of the model and of its fallbacks."""
    memory_hits: Mapping[str, int] = field(default_factory=dict)
    """Number of memories in the prompt by source."""
    answer_began: bool = False
    """Whether the caller is told that the answer, new or stored, has begun. No status that proxies retry may follow."""
    replayed: bool | None = None
    """Whether the answer was stored by an earlier call. None: there is no answer."""
    response_model: str = ""
    stored: bool | None = None
    """Whether a turn is stored. Of an interrupted answer: whether it is being stored. None: there is no answer."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    are_tokens_estimated: bool = False
    """The answer was interrupted, so its API counted no tokens."""
    status_code: str = ""
    """Name of the gRPC status. Empty: the method raised an exception that was not mapped."""
    reason: str = ""
    status_message: str = ""
    """The error message that the caller gets, if it is our own text."""
    exception_chain: str = ""
    cause: Mapping[str, str | int] = field(default_factory=dict)
    """Log fields that explain a failure to operators."""


#: The call that the current task answers. Tasks started by it inherit the value.
CALL: ContextVar[Call] = ContextVar("call")


def seconds_to_deadline() -> float | None:
    """Return the seconds that the running call still has, negative after its end. None: it has not begun its work."""
    call = CALL.get(None)
    return None if call is None or call.until is None else call.until - time.monotonic()


def interrupted(*, input_tokens: int, output_tokens: int, stored: bool) -> None:
    """Record in the running call, if there is one, that its answer was interrupted, with estimated tokens."""
    if call := CALL.get(None):
        call.input_tokens, call.output_tokens, call.are_tokens_estimated = input_tokens, output_tokens, True
        call.stored = stored


@contextmanager
def phase(name: str, *, unless_failed: bool = False) -> Iterator[None]:
    """Record the duration of the block as phase *name* of the running call, if there is one.

    With *unless_failed*, record nothing if the block raises: a first token that never came has no latency.
    """
    call = CALL.get(None)
    if call is None:
        yield
        return
    began = call.phases_began[name] = time.perf_counter()
    failed = True
    try:
        yield
        failed = False
    except BaseException as error:
        call.phases_failed[name] = outcome_of(error)
        raise
    finally:
        if not (failed and unless_failed):
            call.phases[name] = time.perf_counter() - began
            if call.trace:
                call.trace.phase_ended(name)


@contextmanager
def model_request(label: str, cause: Mapping[str, str | int]) -> Iterator[ModelRequest]:
    """Record a request to a model in the running call, if there is one. The block ends when the model has begun.

    Args:
        label: name of the model in metrics.
        cause: log fields that name the model and the host of its API.
    """
    call = CALL.get(None)
    request = ModelRequest(label=label, cause=cause, began=time.perf_counter())
    if call:
        call.model_requests.append(request)
        request.traceparent = call.traceparent
        if call.trace:
            call.trace.request_began(request)
    try:
        yield request
    except BaseException as error:
        request.outcome = outcome_of(error)
        raise
    finally:
        request.ended = time.perf_counter()


def outcome_of(error: BaseException) -> str:
    """Return a failure's name, written like the reasons of errors: ModelUnavailable is MODEL_UNAVAILABLE.

    For an HTTP error of an API, return its attribute `outcome`, which has the status.
    """
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"
    if outcome := getattr(error, "outcome", ""):
        return str(outcome)
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).upper()


@contextmanager
def failing_with(cause: Mapping[str, str | int]) -> Iterator[None]:
    """Record *cause* if the running call fails, times out or is cancelled in the block.

    Do not replace a recorded cause: the innermost block is the most specific.
    """
    call = CALL.get(None)
    try:
        yield
    except BaseException:
        if call and not call.cause:
            call.cause = cause
        raise
