"""When the caller of the running call stops waiting, for whoever works for it."""

from __future__ import annotations

import time
from contextvars import ContextVar

_UNTIL: ContextVar[float | None] = ContextVar("call_deadline", default=None)


def set_call_deadline(seconds: float | None) -> None:
    """Note that the caller waits for *seconds* from now. None: it sets no deadline. Tasks inherit it."""
    _UNTIL.set(None if seconds is None else time.monotonic() + seconds)


def seconds_to_deadline() -> float | None:
    """Return for how long the caller waits from now. None: it sets no deadline. Negative: it has left."""
    until = _UNTIL.get()
    return None if until is None else until - time.monotonic()
