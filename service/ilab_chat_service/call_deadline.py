"""The deadline of the running call, for code that works on its behalf."""

from __future__ import annotations

import time
from contextvars import ContextVar

_UNTIL: ContextVar[float | None] = ContextVar("call_deadline", default=None)


def set_call_deadline(seconds: float | None) -> None:
    """Set the deadline to *seconds* from now. None: the call has no deadline. Tasks inherit it."""
    _UNTIL.set(None if seconds is None else time.monotonic() + seconds)


def seconds_to_deadline() -> float | None:
    """Return the seconds until the deadline. None: the call has no deadline. Negative: the deadline has passed."""
    until = _UNTIL.get()
    return None if until is None else until - time.monotonic()
