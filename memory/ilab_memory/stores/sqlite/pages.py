"""Copies of deleted rows that SQLite leaves in unused parts of a database file's pages.

`secure_delete` overwrites a deleted row, but not the copies that SQLite leaves when it moves rows between pages. They
are in the middle of a page, which belongs to no row: https://www.sqlite.org/fileformat2.html#b_tree_pages
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ilab_memory.core.errors import StorageError

#: Size of the header of a page, by its kind, which is its first byte. Other kinds have no middle.
_HEADERS = {2: 12, 5: 12, 10: 8, 13: 8}
#: After the kind of the page: its first free block, how many rows it has, and where the first of them begins.
_PLACES = struct.Struct(">HHH")
#: Of a free block: the next one, and its own size.
_BLOCK = struct.Struct(">HH")
#: Size of the header of the file, which the first page begins with.
HEADER_BYTES = 100
_TRUNK = struct.Struct(">II")
TRUNK_HEADER_BYTES = _TRUNK.size
#: Pages of a file from which on the number of a page may begin with what tells the kind of one.
MOST_PAGES = 0x02000000


class DamagedPageError(Exception):
    """A page that cannot be one of SQLite."""


class Layout(NamedTuple):
    """The part of a database file's header that is about its pages."""

    page_bytes: int
    usable_bytes: int
    first_trunk: int
    """The first page of the list of free pages, 0 if none is free."""

    @classmethod
    def of(cls, header: bytes) -> "Layout":
        """Return the layout that *header*, the first 100 bytes of the file, tells."""
        (size,) = struct.unpack_from(">H", header, 16)
        (first_trunk,) = struct.unpack_from(">I", header, 32)
        # 65,536 does not fit.
        page_bytes = 65536 if size == 1 else size
        if not header.startswith(b"SQLite format 3\0") or page_bytes < 512 or page_bytes & (page_bytes - 1):  # noqa: PLR2004
            raise DamagedPageError
        # Some pages tell where others are, and may begin as those with rows do.
        if any(header[52:56]):
            raise StorageError(
                "could not erase: the file uses auto_vacuum; set `PRAGMA auto_vacuum = NONE` and run VACUUM"
            )
        return cls(page_bytes, page_bytes - header[20], first_trunk)


def trunk(page: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the next page of the list of free pages, and the free pages that *page*, of this list, names."""
    following, count = _TRUNK.unpack_from(page)
    if count > len(page) // 4 - 2:
        raise DamagedPageError
    return following, struct.unpack_from(f">{count}I", page, TRUNK_HEADER_BYTES)


def leftovers(chunk: bytes, first: int, layout: Layout, free: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield where *chunk*, pages from number *first* on, has bytes that belong to nothing and are not zero.

    Each as its beginning and its end in *chunk*. *free*: by number of a page, whether it is free.

    Raises:
        DamagedPageError: a page cannot be one of SQLite.
    """
    zeros = bytes(layout.page_bytes)
    for number, at in enumerate(range(0, len(chunk), layout.page_bytes), first):
        if free[number]:
            if chunk[at : at + layout.page_bytes] != zeros:
                yield at, at + layout.page_bytes
            continue
        header = at + HEADER_BYTES if number == 1 else at
        size = _HEADERS.get(chunk[header])
        if size is None:
            continue
        block, rows, content = _PLACES.unpack_from(chunk, header + 1)
        begin = header + size + 2 * rows
        end = at + (content or 65536)
        if not begin <= end <= at + layout.usable_bytes:
            raise DamagedPageError
        if chunk[begin:end] != zeros[: end - begin]:
            yield begin, end
        if block:
            yield from _left_in_blocks(chunk, at, block, content, layout)


def _left_in_blocks(chunk: bytes, at: int, block: int, content: int, layout: Layout) -> Iterator[tuple[int, int]]:
    """Yield what is not zero in the free blocks of the page at *at*, of which *block* is the first."""
    least = content
    while block:
        # They are in order, and between rows.
        if not least <= block <= layout.usable_bytes - _BLOCK.size:
            raise DamagedPageError
        following, size = _BLOCK.unpack_from(chunk, at + block)
        begin, end = at + block + _BLOCK.size, at + block + size
        if size < _BLOCK.size or end > at + layout.usable_bytes:
            raise DamagedPageError
        if chunk[begin:end] != bytes(end - begin):
            yield begin, end
        least, block = block + size, following
