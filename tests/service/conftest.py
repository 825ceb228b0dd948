"""A user of a server that the tests of a module share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import pytest

from ilab_chat_service.file_reload import FileReload
from ilab_chat_service.message_statements import load
from ilab_chat_service.settings import Settings
from service.talking import Caller, Served, serving_upstream
from upstream import Reply, running

users = count()


@pytest.fixture(scope="session")
def tables() -> None:
    """Load the tables of statements, which would take the time of the first test."""
    load()


@pytest.fixture
def files_checked_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no call wait for the interval of hot reload, which test_file_reload.py tests."""
    monkeypatch.setattr(FileReload, "_is_due", lambda _: True)


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    with running() as upstream:
        settings = Settings(
            address="127.0.0.1:0",
            memory_db_path=str(tmp_path_factory.mktemp("served") / "memory.db"),
            durability="normal",
            openai_base_url=upstream.base_url,
            openai_model="test-model",
            propagation_seconds=0,
            drain_seconds=5,
            consolidation="off",
            embedder="none",
        )
        async with serving_upstream(settings, upstream) as served:
            yield served


@pytest.fixture
def alice(served: Served) -> Caller:
    """A user of whom nothing is known. The clock of the server stands still."""
    served.upstream.otherwise = lambda _: Reply()
    return Caller(served, f"alice-{next(users)}")
