"""A SQLite file that another process rewrites."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ilab_memory.stores.sqlite import group_commit
from ilab_memory.stores.sqlite.group_commit import is_being_rewritten


@contextmanager
def locked(path: Path, *, rewritten: bool = True) -> Iterator[None]:
    """Hold the lock for writes, and the one of a process that writes the rewritten file back."""
    with (
        path.with_name(f"{path.name}-rewrite").open("w") as copy,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        if rewritten:
            fcntl.flock(copy, fcntl.LOCK_EX)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def refusals(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Return what is released whenever a write asks whether the lock that it found is that of a rewrite."""
    asked = threading.Semaphore(0)

    def ask(path: Path) -> bool:
        answer = is_being_rewritten(path)
        asked.release()
        return answer

    monkeypatch.setattr(group_commit, "is_being_rewritten", ask)
    return asked
