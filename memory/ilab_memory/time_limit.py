"""Settings of a caller for the reads in a block: a time limit, and one connection that a store may lend to all."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

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


class Visit:
    """The connections that the reads of a visit share, by the object that lends them."""

    def __init__(self) -> None:
        self.lent: dict[object, Any] = {}
        self.at_end = ExitStack()
        """Gives them back."""


_VISIT: ContextVar[Visit | None] = ContextVar("visit", default=None)


@contextmanager
def visit() -> Iterator[None]:
    """Let the reads in this block share a connection. Applies to the current thread or task."""
    here = Visit()
    token = _VISIT.set(here)
    try:
        with here.at_end:
            yield
    finally:
        _VISIT.reset(token)


def current_visit() -> Visit | None:
    """Return the visit of the current thread or task. None: each read has its own connection."""
    return _VISIT.get()
