"""Space for the index of the write-ahead log (`-shm`), where writing to it could otherwise end the process.

SQLite maps the file into memory. A page that cannot be allocated when it is first written there raises no error: the
kernel ends the process with SIGBUS. SQLite writes one byte of each page before it maps it, which allocates the page on
most file systems. It does not where blocks are smaller than pages, and where each write goes to a new block (btrfs).
There, the file gets its space before SQLite opens it, and calls fail while the disk is nearly full.
"""

import ctypes
import errno
import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from ilab_memory.forks import kept_over_forks

#: Space for the index: of a log of 1 GiB, 64 times what a log has between two checkpoints.
INDEX_BYTES: Final = 2 * 1024 * 1024
#: Free space below which calls fail on a file system that writes to new blocks.
RESERVE_BYTES: Final = 4 * 1024 * 1024

#: Size of the pages by which SQLite extends the file.
_PAGE_BYTES: Final = 4096
#: `f_type` of file systems that write to new blocks, of <linux/magic.h>: btrfs, f2fs, nilfs2, bcachefs, ZFS.
_COPY_ON_WRITE: Final = frozenset((0x9123683E, 0xF2F52010, 0x3434, 0xCA451A4E, 0x2FC12FC1))
#: The byte on which each process that has the index open has a shared lock. The first one has it alone and empties the
#: file (`UNIX_SHM_DMS` in os_unix.c of SQLite).
_LOCK_BYTE: Final = 128
#: `struct flock` of 64-bit Linux: type, whence, start, length, process.
_FLOCK: Final = "hhqqi4x"
#: Of <linux/fs.h>: get and set the attributes of a file, and the one that lets writes overwrite blocks (`chattr +C`).
_GET_FLAGS, _SET_FLAGS, _NO_COPY_ON_WRITE = 0x80086601, 0x40086602, 0x00800000

#: Errors of files that may only be read.
_READ_ONLY: Final = (errno.EROFS, errno.EACCES, errno.EPERM)

#: The open files of this process by device and inode, each with the number of its users. Closing a file frees all locks
#: that the process has on it, those of SQLite too, so each is opened once and stays open while the file exists.
_open: Final[dict[tuple[int, int], tuple[int, int]]] = {}
_lock: Final = kept_over_forks(threading.Lock())


class SharedIndex:
    """The `-shm` of the database file *path*, with its space."""

    def __init__(self, path: Path, *, needs_reserve: bool) -> None:
        # SQLite follows links.
        self._path = Path(f"{path.resolve()}-shm")
        self._database = path
        self._kept: tuple[int, int] | None = None
        self._needs_reserve = needs_reserve

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return that of the database file *path*, None where SQLite gives the file its space itself."""
        kind, block_bytes = _file_system(path.parent)
        needs_reserve = kind in _COPY_ON_WRITE
        return cls(path, needs_reserve=needs_reserve) if needs_reserve or 0 < block_bytes < _PAGE_BYTES else None

    def prepare(self) -> None:
        """Give the file its space, before SQLite opens it. Do nothing if that is done.

        Raises:
            OSError: there is not enough space.
        """
        self.check_reserve()
        with _lock:
            try:
                status = self._path.stat()
            except FileNotFoundError:
                identity = None
            else:
                identity = (status.st_dev, status.st_ino)
            if identity is not None and identity == self._kept:
                return
            self._release()
            if identity is None or identity not in _open:
                try:
                    descriptor = self._create()
                except OSError as error:
                    if error.errno in _READ_ONLY:
                        # SQLite maps it for reading, or says why it cannot.
                        return
                    raise
                status = os.fstat(descriptor)
                identity = (status.st_dev, status.st_ino)
                _open[identity] = (descriptor, 0)
            descriptor, users = _open[identity]
            _open[identity] = (descriptor, users + 1)
            self._kept = identity

    def check_reserve(self) -> None:
        """Raise OSError if the disk is so full that writing to the index may end the process."""
        if self._needs_reserve:
            status = os.statvfs(self._path.parent)
            if status.f_bavail * status.f_frsize < RESERVE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def release(self) -> None:
        """Close the file, after the last connection of this user of it."""
        with _lock:
            self._release()

    def _release(self) -> None:
        if self._kept is None:
            return
        identity, self._kept = self._kept, None
        descriptor, users = _open[identity]
        if users == 1 and _locked(descriptor, exclusively=True):
            # No connection of any process. SQLite has removed the file, unless the database has no log.
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)
            del _open[identity]
        else:
            # Also with no users left, but other connections, perhaps of this process: see `_open`.
            _open[identity] = (descriptor, users - 1)

    def _create(self) -> int:
        """Open the file, with its space. No process empties it while it is open here."""
        database = self._database.stat()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, database.st_mode & 0o777)
        try:
            if os.geteuid() == 0:
                # The same as SQLite does: root may open the file of a server that runs as another user.
                os.fchown(descriptor, database.st_uid, database.st_gid)
            if _locked(descriptor, exclusively=True):
                # Of a process that crashed: SQLite would empty it too.
                os.ftruncate(descriptor, 0)
                _overwrite_blocks(descriptor)
            os.posix_fallocate(descriptor, 0, INDEX_BYTES)
            # Of this open file, not of the process: SQLite finds it and takes a shared one.
            _locked(descriptor, exclusively=False)
        except BaseException:
            # No connection of this process has it open: else it would be in `_open`.
            os.close(descriptor)
            raise
        return descriptor


@contextmanager
def space_for_index(path: Path) -> Iterator[None]:
    """Give the index of the database file *path* its space while the block runs.

    Raises:
        OSError: there is not enough space.
    """
    index = SharedIndex.of(path)
    if index is None:
        yield
        return
    index.prepare()
    try:
        yield
    finally:
        index.release()


def _file_system(folder: Path) -> tuple[int, int]:
    """Return the type and the block size of the file system of *folder*, zeros where they are not known."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return 0, 0
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).statfs(os.fsencode(folder), buffer):
        return 0, 0
    kind, block_bytes = struct.unpack_from("qq", buffer)
    return kind & 0xFFFFFFFF, block_bytes


def _locked(descriptor: int, *, exclusively: bool) -> bool:
    """Lock the byte that stands for an open index; return whether nobody else has it locked otherwise."""
    import fcntl  # noqa: PLC0415 - not on Windows, where this is not called

    kind = fcntl.F_WRLCK if exclusively else fcntl.F_RDLCK
    # A process that has it alone opens the file now, which is soon done.
    command = fcntl.F_OFD_SETLK if exclusively else fcntl.F_OFD_SETLKW
    try:
        fcntl.fcntl(descriptor, command, struct.pack(_FLOCK, kind, os.SEEK_SET, _LOCK_BYTE, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def _overwrite_blocks(descriptor: int) -> None:
    """Let writes to the empty file overwrite its blocks, where its file system knows that."""
    import fcntl  # noqa: PLC0415 - not on Windows, where this is not called

    with suppress(OSError):
        flags = bytearray(8)
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        [now] = struct.unpack_from("i", flags)
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("q", now | _NO_COPY_ON_WRITE))
