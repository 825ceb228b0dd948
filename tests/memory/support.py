"""What the tests of the library share."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest

from ilab_memory import analysis

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **distance: float) -> None:
        self.now += timedelta(**distance)


def text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


@contextmanager
def before_hyphenated_words(schema: ModuleType) -> Iterator[None]:
    """Let a store that is opened meanwhile be of schema version 1, which indexed "e-mail" as "e" and "mail" alone."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(schema, "VERSION", 1)
        patched.setattr(analysis, "_joined", lambda compound: analysis.terms(compound.replace("-", " ")))
        yield
