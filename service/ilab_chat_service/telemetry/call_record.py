"""What is known of the running call: each part notes what it learns; the outermost interceptor logs it at the end."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(slots=True, kw_only=True)
class Call:
    """A running call of one of our methods. Empty or None: not known, or not yet."""

    method: str
    """Service and method, `ilab_chat.v1.ChatService/Chat`."""
    correlation_id: str
    """Stands in the trailers and in the log."""
    trace_id: str
    """The caller's, from valid W3C trace context."""
    retry_attempt: int
    """How often gRPC has sent this call before."""
    user_id: str = ""
    """As it came in: valid or not, never to be logged in clear."""
    request_id: str = ""
    """A valid one, never to be logged in clear: callers choose it."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds by phase."""
    attempts: int = 0
    """How often the model was asked."""
    model_began: bool = False
    """A proxy must not repeat the call any more: no status from here on may be one that proxies repeat."""
    replayed: bool | None = None
    """Whether the answer is a stored one. None: the call has no answer."""
    response_model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    status_code: str = ""
    """The name of the gRPC status. Empty: the method raised what nobody mapped."""
    reason: str = ""
    status_message: str = ""
    """What the caller is told beside code and reason, where it is a text of ours."""
    exception_chain: str = ""
    cause: Mapping[str, str | int] = field(default_factory=dict)
    """What an operator should know of a failure."""


#: The call that the running task answers. Tasks that it starts inherit it.
CALL: ContextVar[Call] = ContextVar("call")


@contextmanager
def phase(name: str, *, unless_failed: bool = False) -> Iterator[None]:
    """Record the time that the block takes as phase *name* of the running call, if there is one.

    With *unless_failed*, a block that raises records nothing: the time to a first token that never came is no figure.
    """
    call = CALL.get(None)
    began = time.perf_counter()
    failed = True
    try:
        yield
        failed = False
    finally:
        if call and not (failed and unless_failed):
            call.phases[name] = time.perf_counter() - began


@contextmanager
def failing_with(cause: Mapping[str, str | int]) -> Iterator[None]:
    """Record *cause* for operators if the running call ends in the block by a failure, a deadline or a cancellation.

    A cause that is recorded already stays: the innermost block knows best.
    """
    call = CALL.get(None)
    try:
        yield
    except BaseException:
        if call and not call.cause:
            call.cause = cause
        raise
