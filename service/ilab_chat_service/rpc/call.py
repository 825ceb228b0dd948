"""What is known of the running call: each part notes what it learns; the outermost interceptor logs it at the end."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

    from ilab_chat_service.ports import Cause
    from ilab_chat_service.turn import Completed


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
    completed: Completed | None = None
    code: grpc.StatusCode | None = None
    reason: str = ""
    status_message: str = ""
    """What the caller is told beside code and reason, where it is a text of ours."""
    error_trail: str = ""
    cause: Cause = field(default_factory=dict)
    """What an operator should know of a failure."""


#: The call that the running task answers. Tasks that it starts have it too.
CALL: ContextVar[Call] = ContextVar("call")


class Phase:
    """Notes the time that its block takes, however it ends, as a phase of the running call."""

    __slots__ = ("_began", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        CALL.get().phases[self._name] = time.perf_counter() - self._began
