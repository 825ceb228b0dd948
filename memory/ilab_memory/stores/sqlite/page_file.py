"""The database file itself and its log, past SQLite. Only what belongs to no row may be overwritten."""

import os
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ilab_memory.core.errors import StorageError, raise_closed
from ilab_memory.forks import kept_over_forks
from ilab_memory.stores.sqlite.pages import (
    HEADER_BYTES,
    MOST_PAGES,
    TRUNK_HEADER_BYTES,
    DamagedPageError,
    Layout,
    leftovers,
    trunk,
)

# Pages are read this many bytes at a time.
_CHUNK_BYTES: Final = 1024 * 1024
# Overwritten pages are synced after this many bytes: a sync of a save would wait for all of them.
_SYNC_BYTES: Final = 2 * 1024 * 1024
#: Bytes of the file that SQLite locks. A connection in WAL mode keeps a shared lock on the second range while it is
#: open. https://www.sqlite.org/fileformat2.html (lock-byte page), `PENDING_BYTE` and `SHARED_FIRST` in os.h.
PENDING_BYTE: Final = 0x40000000
SHARED_FIRST: Final = PENDING_BYTE + 2
SHARED_SIZE: Final = 510
#: `struct flock` of 64-bit Linux: type, whence, start, length, process.
_FLOCK: Final = "hhqqi4x"

# Of the write-ahead log: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_LOG_HEADER: Final = struct.Struct(">8xI4x8s8x")
_FRAME: Final = struct.Struct(">I4x8s8x")
_MAGIC: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")

#: The open files of this process by device and inode, each with the number of its users. Closing one frees all locks
#: that the process has on it, those of SQLite too, so each is opened once and stays open while a connection uses it.
_open: Final[dict[tuple[int, int], tuple[int, int]]] = {}
_lock: Final = kept_over_forks(threading.Lock())


class PageFile:
    """An open database file. One thread at a time may use it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0

    @property
    def identity(self) -> tuple[int, int]:
        """The device and the inode of the file."""
        status = os.fstat(self._descriptor)
        return status.st_dev, status.st_ino

    def overwrite(self, pages: Iterable[int] | None, check: Callable[[], None]) -> None:
        """Overwrite with zeros what belongs to nothing in *pages*, None for all. Call `sync` afterwards.

        The caller keeps everybody from writing to the file. *check* is called often; what it raises ends the work.

        Raises:
            DamagedPageError: the file is damaged.
            StorageError: the file is too large, or uses auto_vacuum.
            OSError: it could not be read or written.
        """
        layout = Layout.of(self._read(0, HEADER_BYTES))
        count = os.fstat(self._descriptor).st_size // layout.page_bytes
        if count >= MOST_PAGES:
            raise StorageError(f"could not erase: the file has {count} pages, at most {MOST_PAGES - 1} are possible")
        free = self._free_pages(layout, count, check)
        for first, number in _runs(pages, count, _CHUNK_BYTES // layout.page_bytes):
            check()
            start = (first - 1) * layout.page_bytes
            chunk = self._read(start, number * layout.page_bytes)
            for begin, end in leftovers(chunk, first, layout, free):
                self._clear(start + begin, end - begin)

    def sync(self) -> None:
        """Sync what was overwritten."""
        os.fsync(self._descriptor)
        self._unsynced = 0

    def _free_pages(self, layout: Layout, count: int, check: Callable[[], None]) -> bytearray:
        """Return by number of a page whether it is free; clear what follows the numbers in the list of free pages."""
        free = bytearray(count + 1)
        page, trunks = layout.first_trunk, 0
        while page:
            check()
            trunks += 1
            if page > count or trunks > count:
                raise DamagedPageError
            start = (page - 1) * layout.page_bytes
            content = self._read(start, layout.page_bytes)
            page, listed = trunk(content)
            for each in listed:
                if not 0 < each <= count:
                    raise DamagedPageError
                free[each] = 1
            end = TRUNK_HEADER_BYTES + 4 * len(listed)
            if content[end:].strip(b"\0"):
                self._clear(start + end, layout.page_bytes - end)
        return free

    def _read(self, start: int, size: int) -> bytes:
        if sys.platform == "win32":
            os.lseek(self._descriptor, start, os.SEEK_SET)
            content = os.read(self._descriptor, size)
        else:
            content = os.pread(self._descriptor, size, start)
        if len(content) != size:
            raise DamagedPageError
        return content

    def _clear(self, start: int, size: int) -> None:
        if sys.platform == "win32":
            os.lseek(self._descriptor, start, os.SEEK_SET)
            written = os.write(self._descriptor, bytes(size))
        else:
            written = os.pwrite(self._descriptor, bytes(size), start)
        if written < size:
            self._clear(start + written, size - written)
        self._unsynced += written
        if self._unsynced >= _SYNC_BYTES:
            self.sync()


class PageFiles:
    """Opens the database file *path*, for one user of it that also has connections to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: tuple[int, int] | None = None
        self._closed = False

    @contextmanager
    def opened(self) -> Iterator[PageFile]:
        """Lend the file that is at the path now. It stays open while the block runs.

        Raises:
            OSError: it cannot be opened.
            RuntimeError: closed.
        """
        if sys.platform == "win32":
            descriptor = os.open(self._path, os.O_RDWR | os.O_BINARY)
            try:
                yield PageFile(descriptor)
            finally:
                os.close(descriptor)
            return
        with _lock:
            if self._closed:
                raise_closed()
            status = self._path.stat()
            identity = (status.st_dev, status.st_ino)
            if identity != self._kept:
                self._release()
                if identity not in _open:
                    descriptor = os.open(self._path, os.O_RDWR)
                    status = os.fstat(descriptor)
                    identity = (status.st_dev, status.st_ino)
                    # If another file has come to the path since, this one may be open already: one too many stays open.
                    _open.setdefault(identity, (descriptor, 0))
                self._kept = identity
                _add_user(identity)
            # Of its own: another thread may call `close` while the block runs.
            descriptor = _add_user(identity)
        try:
            yield PageFile(descriptor)
        finally:
            with _lock:
                _remove_user(identity)

    def close(self) -> None:
        """Close the file, after the last connection of this user of it, and lend it to nobody from now on."""
        with _lock:
            self._closed = True
            self._release()

    def _release(self) -> None:
        if self._kept is not None:
            identity, self._kept = self._kept, None
            _remove_user(identity)


def _add_user(identity: tuple[int, int]) -> int:
    """Count a user of an open file; return its descriptor."""
    descriptor, users = _open[identity]
    _open[identity] = (descriptor, users + 1)
    return descriptor


def _remove_user(identity: tuple[int, int]) -> None:
    descriptor, users = _open[identity]
    if users == 1 and _has_no_connection(descriptor):
        os.close(descriptor)
        del _open[identity]
    else:
        # Also with no users left, but other connections, perhaps of this process: see `_open`.
        _open[identity] = (descriptor, users - 1)


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
        header = log.read(_LOG_HEADER.size)
        if len(header) < _LOG_HEADER.size or not header.startswith(_MAGIC):
            return pages
        page_bytes, salt = _LOG_HEADER.unpack(header)
        while len(frame := log.read(_FRAME.size)) == _FRAME.size:
            page, its_salt = _FRAME.unpack(frame)
            # This frame and those after it are left from before the log was begun again.
            if its_salt != salt:
                break
            pages.add(page)
            log.seek(page_bytes, os.SEEK_CUR)
    return pages


def _runs(pages: Iterable[int] | None, count: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield *pages*, or all of *count* pages, as a first page and how many follow each other, at most *most*."""
    if pages is None:
        for first in range(1, count + 1, most):
            yield first, min(most, count + 1 - first)
    else:
        # Pages beyond were cut off again.
        yield from ((page, 1) for page in sorted(pages) if page <= count)


def _has_no_connection(descriptor: int) -> bool:
    """Whether no connection of any process has the file open, as far as can be told here."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return False
    import fcntl  # noqa: PLC0415 - not on Windows

    lock = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, SHARED_FIRST, SHARED_SIZE, 0)
    try:
        # Of this open file, not of the process: it is refused for locks of this process too. Closing the file frees it.
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _close_in_child() -> None:
    """Close the files of the parent, whose locks would otherwise stay until a forked child ends."""
    for descriptor, _ in _open.values():
        os.close(descriptor)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
