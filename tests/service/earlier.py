"""Tables and rows of memory for the tests of doubted and of replaced statements."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ilab_chat_service.message_statements.outdated import replacements
from ilab_chat_service.message_statements.possibly_outdated import Said, doubts
from ilab_chat_service.values import MemorySource, Recalled

START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def pairs(name: str, section: str) -> list[tuple[str, str]]:
    """Return the older and the newer statements of a section, in all languages."""
    tables = tomllib.loads((Path(__file__).parent / "message_statements" / name).read_text("utf-8"))
    return [(older, newer) for table in tables.values() for older, newer in table[section]]


def memory(number: int, text: str, source: MemorySource = MemorySource.FACT, *, pinned: bool = False) -> Recalled:
    """Return a row that is *number* days newer than the first."""
    return Recalled(
        observation_id=number,
        type="discovery",
        title="",
        snippet=text,
        updated_at=START + timedelta(days=number),
        source=source,
        pinned=pinned,
    )


def outdated(statements: Sequence[str]) -> set[int]:
    """Return the positions of those of *statements*, which are oldest first, that a later one ends or replaces."""
    return {older for older, _ in replacements(statements)}


def doubted(statements: Sequence[Said]) -> set[int]:
    """Return the positions of those of *statements*, which are oldest first, that a later message puts in doubt."""
    return {older for older, _ in doubts(statements)}
