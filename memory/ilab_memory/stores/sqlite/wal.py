"""Which pages the write-ahead log has: https://www.sqlite.org/fileformat2.html#the_write_ahead_log ."""

import os
import struct
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">8xI4x8s8x")
_FRAME: Final = struct.Struct(">I4x8s8x")
_MAGIC: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def pages_in_log(path: Path) -> set[int]:
    """Return the numbers of all pages in the write-ahead log of the database *path*, or more.

    Nobody may write to the database.
    """
    pages: set[int] = set()
    # SQLite follows links.
    file = Path(f"{path.resolve()}-wal")
    if not file.exists():
        return pages
    # Unbuffered: only the headers of the frames are read.
    with file.open("rb", buffering=0) as log:
        header = log.read(_HEADER.size)
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            return pages
        page_bytes, salt = _HEADER.unpack(header)
        while len(frame := log.read(_FRAME.size)) == _FRAME.size:
            page, its_salt = _FRAME.unpack(frame)
            # This frame and those after it are left from before the log was begun again.
            if its_salt != salt:
                break
            pages.add(page)
            log.seek(page_bytes, os.SEEK_CUR)
    return pages
