"""A time limit for reads: set by the caller, enforced by the stores that can."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Make reads in this block raise StorageError after *seconds*, on PostgreSQL. None: no limit.

    Applies to the current thread or task. Writes have no limit, because the outcome of an aborted commit is unknown.
    """
    token = _UNTIL.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _UNTIL.reset(token)


def seconds_left(most: float) -> float:
    """Return the seconds that a read may take now, at most *most*. Can be negative."""
    until = _UNTIL.get()
    return most if until is None else min(most, until - time.monotonic())
