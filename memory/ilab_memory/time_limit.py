"""How long the reads of one call may take: set by whoever waits for them, obeyed by a store that can."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Let reads inside raise StorageError once *seconds* have passed, on a store on a server. None: no limit.

    For this thread only. A write is not limited: nobody could tell whether it was done.
    """
    token = _UNTIL.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _UNTIL.reset(token)


def seconds_left(most: float) -> float:
    """Return how long a read may take now: *most* seconds, or fewer. May be negative."""
    until = _UNTIL.get()
    return most if until is None else min(most, until - time.monotonic())
