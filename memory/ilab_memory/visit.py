"""Several reads on one thread, one after the other: a store may lend one connection to all of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any


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
