"""Check text fields of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ilab_chat_service.rpc.errors import Violation


def text_violations(field: str, value: str, most: int) -> Iterator[Violation]:
    """Yield what is wrong with a required text."""
    if not value.strip():
        yield field, "must not be empty or blank"
    elif len(value) > most:
        yield field, f"must have at most {most:,} characters, has {len(value):,}"
    elif "\0" in value:
        yield field, "must not contain U+0000"


def optional_text_violations(field: str, value: str, most: int) -> Iterator[Violation]:
    """Yield what is wrong with a text that may be empty or blank."""
    if value.strip():
        yield from text_violations(field, value, most)
    elif len(value) > most:
        yield field, f"must have at most {most:,} characters, has {len(value):,}"


def ascii_violations(field: str, value: str, most: int) -> Iterator[Violation]:
    """Yield what is wrong with an optional identifier."""
    if len(value) > most:
        yield field, f"must have at most {most} characters, has {len(value):,}"
    elif not all("!" <= character <= "~" for character in value):
        yield field, "must have visible ASCII characters only"
