"""What the tests of the library share."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from ilab_memory.recall import analysis

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


def downgrade(path: Path, version: int) -> None:
    """Make a SQLite file what an earlier version of the schema would have made it."""
    undo = {
        5: (
            "DROP INDEX users_first_id",
            "ALTER TABLE users DROP COLUMN first_id",
            # One sequence for all users, as before.
            "UPDATE observations SET id = user * 100000 + number",
        ),
        4: (),
        3: ("DROP TABLE erasures", "DROP TABLE last_rewrite"),
        2: (),
    }
    with closing(sqlite3.connect(path)) as connection, connection:
        for statements in (undo[number] for number in undo if number > version):
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")


@contextmanager
def before_hyphenated_words(schema: ModuleType | None = None) -> Iterator[None]:
    """Index "e-mail" as "e" and "mail" alone, as schema version 1 did, and make new databases of that version.

    Without *schema* they are of the newest version, for `downgrade`.
    """
    with pytest.MonkeyPatch.context() as patched:
        if schema:
            patched.setattr(schema, "VERSION", 1)
        patched.setattr(analysis, "_joined", lambda compound: analysis.terms(compound.replace("-", " ")))
        yield
