"""Pages of lists, and the tokens that continue them. Pure functions.

A token contains the position of the last item of a page, and a checksum over it and the request. It holds no secret:
the position only matters within the user's own list. The checksum tells a caller who mixes up requests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ilab_chat_service.limits import LIST_PAGE_BYTES
from ilab_chat_service.rpc.errors import InvalidFields

if TYPE_CHECKING:
    from ilab_memory.core.models import Observation

Row = TypeVar("Row")

#: The parts of a request that all pages of a list share: method, user and filters.
Scope: TypeAlias = Sequence[object]
#: A position in a list, as the library takes it.
Cursor: TypeAlias = tuple[str, int | str]

#: Rows that are read from the library at once: long ones take at most this many MiB of memory.
ROWS_AT_ONCE = 8

CHECKSUM_BYTES = 9
#: Maximum number of characters of a token. Longer ones are invalid.
TOKEN_CHARACTERS = 1024


def page_of(
    fetch: Callable[[int, Cursor | None], Sequence[Row]],
    *,
    scope: Scope,
    page_size: int,
    start: Cursor | None,
    size_of: Callable[[Row], int],
    cursor_of: Callable[[Row], Cursor],
) -> tuple[list[Row], str]:
    """Return the rows of a page, and the token of the next page; an empty one on the last page.

    Args:
        fetch: returns that many rows after a position, fewer at the end of the list.
        scope: the list.
        page_size: maximum number of rows.
        start: the position after which the page begins. None: at the first row.
        size_of: returns the bytes of text of a row.
        cursor_of: returns the position of a row.
    """
    rows: list[Row] = []
    size = 0
    while True:
        asked = min(ROWS_AT_ONCE, page_size + 1 - len(rows))
        found = fetch(asked, cursor_of(rows[-1]) if rows else start)
        for row in found:
            size += size_of(row)
            if rows and (size > LIST_PAGE_BYTES or len(rows) == page_size):
                return rows, token(cursor_of(rows[-1]), scope)
            rows.append(row)
        if len(found) < asked:
            return rows, ""


def timeline_page(
    rows: Sequence[Observation], *, scope: Scope, page_size: int, page_token: str
) -> tuple[list[Observation], str]:
    """Return a page of *rows*, a whole timeline, and the token of the next page; an empty one on the last page.

    Raises:
        InvalidFields: *page_token* does not continue this timeline.
    """
    positions = {str(row.id): position for position, row in enumerate(rows)}

    def fetch(count: int, after: Cursor | None) -> Sequence[Observation]:
        start = 0 if after is None else positions[after[0]] + 1
        return rows[start : start + count]

    start = cursor_in(page_token, scope)
    if start is not None and start[0] not in positions:
        raise bad_token()
    return page_of(
        fetch,
        scope=scope,
        page_size=page_size,
        start=start,
        size_of=lambda row: len(row.content.encode()),
        cursor_of=lambda row: (str(row.id), ""),
    )


def token(cursor: Cursor, scope: Scope) -> str:
    """Return the token of the page after *cursor* of the list *scope*."""
    body = json.dumps(cursor, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(checksum(body, scope) + body).decode().rstrip("=")


def cursor_in(page_token: str, scope: Scope) -> Cursor | None:
    """Return the position in *page_token*, None for an empty one.

    Raises:
        InvalidFields: the token was not returned for the list *scope*.
    """
    if not page_token:
        return None
    if len(page_token) > TOKEN_CHARACTERS:
        raise bad_token()
    try:
        packed = base64.b64decode(page_token.encode() + b"=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise bad_token() from None
    told, body = packed[:CHECKSUM_BYTES], packed[CHECKSUM_BYTES:]
    if told != checksum(body, scope):
        raise bad_token()
    # The checksum has no key, so a forged token can still have any body.
    try:
        first, second = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        raise bad_token() from None
    if not isinstance(first, str) or not (isinstance(second, str) or (type(second) is int and 0 < second < 2**63)):
        raise bad_token()
    return first, second


def checksum(body: bytes, scope: Scope) -> bytes:
    """Return the checksum of a position in the list *scope*."""
    return hashlib.blake2b(body + b"\n" + json.dumps(scope).encode(), digest_size=CHECKSUM_BYTES).digest()


def bad_token() -> InvalidFields:
    """Return the failure of a token that does not continue the list."""
    return InvalidFields([("page_token", "must be the next_page_token of a response to the same request")])
