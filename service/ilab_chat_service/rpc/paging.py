"""A list in pages. Pure: the token of a page is the id of the last observation of the page before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilab_chat_service.rpc.validation import InvalidFields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_memory.core.models import Observation

#: Bytes of content after which a page ends. One observation has 1 MiB at most, and callers accept messages of 4 MiB.
PAGE_BYTES = 2 * 1024 * 1024


def page_of(rows: Sequence[Observation], *, page_size: int, page_token: str) -> tuple[Sequence[Observation], str]:
    """Return the page that *page_token* asks for, the first one for an empty token, and the token of the next one.

    A page has at most *page_size* observations, fewer if they exceed PAGE_BYTES. The token is empty on the last page.

    Raises:
        InvalidFields: *page_token* names none of *rows*.
    """
    rest = rows[_start(rows, page_token) :]
    count = min(_fitting(rest), page_size)
    return rest[:count], str(rest[count - 1].id) if count < len(rest) else ""


def _fitting(rows: Sequence[Observation]) -> int:
    """Return how many of *rows*, from the first on, PAGE_BYTES have room for; the first always."""
    size = 0
    for place, row in enumerate(rows):
        size += len(row.content.encode())
        if size > PAGE_BYTES and place:
            return place
    return len(rows)


def _start(rows: Sequence[Observation], page_token: str) -> int:
    if not page_token:
        return 0
    for place, row in enumerate(rows):
        if str(row.id) == page_token:
            return place + 1
    raise InvalidFields([("page_token", "must be the next_page_token of an answer to the same request")])
