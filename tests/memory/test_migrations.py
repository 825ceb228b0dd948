"""Migrations of a SQLite file when several processes open it at the same time."""

import sqlite3
from contextlib import closing
from pathlib import Path

from ilab_memory.stores.sqlite import schema
from ilab_memory.stores.sqlite.migrations import check_version, migrate


def test_file_that_another_process_creates_at_the_same_time_is_not_foreign(tmp_path: Path) -> None:
    file = tmp_path / "memory.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as mine:
        created: list[str] = []

        def create(statement: str) -> None:
            if "sqlite_schema" in statement and not created:
                created.append(statement)
                with closing(sqlite3.connect(file, isolation_level=None)) as other:
                    migrate(other)

        mine.set_trace_callback(create)
        assert check_version(mine) == schema.VERSION
        assert created
