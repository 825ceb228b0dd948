"""Copies of a whole file: a consistent backup while others write, and the way back.

A copy is made by SQLite's backup API (https://www.sqlite.org/backup.html) in one step, so it is the file as of one
moment. It is written next to its destination, checked, synced and renamed: an interrupted copy leaves nothing behind
but a file that ends in `-partial`.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite.check import Checked, check
from ilab_memory.stores.sqlite.connections import reading, storage_errors
from ilab_memory.stores.sqlite.migrations import check_version
from ilab_memory.stores.sqlite.page_file import PENDING_BYTE, SHARED_FIRST, SHARED_SIZE

if sys.platform != "win32":
    import fcntl

_PARTIAL: Final = "-partial"


def backup(source: str | Path, target: str | Path, *, replace: bool = False) -> Checked:
    """Copy the file *source*, which may be in use, to *target*, with mode 0600; return what was found in the copy.

    If the copy is damaged, so is *source*: then nothing is written to *target*.

    Args:
        source: Path of a memory.
        target: Path of the backup: one file without a write-ahead log, which may be moved and copied.
        replace: Overwrite *target* if it exists.

    Raises:
        StorageError: *source* cannot be read, *target* exists or cannot be written. Nothing was changed.
    """
    file, copy = _absolute(source), _absolute(target)
    doing = "back up the file"
    if not replace and copy.exists():
        raise StorageError(f"could not {doing}: {copy} exists")
    if copy.exists() and file.exists() and copy.samefile(file):
        raise StorageError(f"could not {doing}: source and target are the same file")
    with _copied(file, copy, doing) as (partial, found):
        if not found.damage:
            _rename(partial, copy)
    return found


def restore(source: str | Path, target: str | Path, *, replace: bool = False) -> tuple[Checked, Path | None]:
    """Copy the backup *source* to *target*, with mode 0600.

    Return what was found in the copy, and where the file that was at *target* is now. If the copy is damaged, nothing
    is changed.

    Args:
        source: Path of a backup.
        target: Path of the memory. No program may have it open.
        replace: Replace a file at *target*. That file is kept under another name, with its
            write-ahead log.

    Raises:
        StorageError: *source* cannot be read, *target* exists, is in use or cannot be written. Nothing was changed.
    """
    file, place = _absolute(source), _absolute(target)
    doing = "restore the file"
    left = [suffix for suffix in ("", "-wal") if Path(f"{place}{suffix}").exists()]
    if left and not replace:
        raise StorageError(f"could not {doing}: {place}{left[0]} exists; --replace keeps it under another name")
    with _copied(file, place, doing) as (partial, found):
        if found.damage:
            return found, None
        with _unused(place, doing):
            _own_like(partial, place)
            kept = _set_aside(place)
            _rename(partial, place)
    return found, kept


@contextmanager
def _copied(source: Path, target: Path, doing: str) -> Iterator[tuple[Path, Checked]]:
    """Make a copy of *source* next to *target*, let the block use it, and remove what is left of it."""
    if not source.is_file():
        raise StorageError(f"could not {doing}: {source} does not exist")
    if not source.stat().st_size:
        raise StorageError(f"could not {doing}: {source} is empty")
    partial = target.with_name(target.name + _PARTIAL)
    with storage_errors(doing):
        # Left over from a killed run.
        _remove(partial)
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            _copy(source, partial)
            yield partial, check(partial)
        finally:
            _remove(partial)


def _copy(source: Path, partial: Path) -> None:
    with (
        reading(source) as original,
        closing(sqlite3.connect(f"file://{quote(str(partial))}?mode=rw", uri=True, isolation_level=None)) as writing,
    ):
        check_version(original)
        # All pages in one step: others go on, in the write-ahead log, and the copy never starts again.
        original.backup(writing)
        # Otherwise the copy would need a log of its own to be opened, also on a medium that cannot be written.
        writing.execute("PRAGMA journal_mode = DELETE")
    with partial.open("rb") as copied:
        os.fsync(copied.fileno())


def _remove(partial: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{partial}{suffix}").unlink(missing_ok=True)


@contextmanager
def _unused(file: Path, doing: str) -> Iterator[None]:
    """Lock *file* while the block runs, so that no other program opens it.

    Not by SQLite: the file may be damaged.

    Raises:
        StorageError: another program has it open.
    """
    if sys.platform == "win32" or not file.exists():
        yield
        return
    descriptor = os.open(file, os.O_RDWR)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, PENDING_BYTE)
        except OSError:
            raise StorageError(f"could not {doing}: another program has {file} open; stop the server") from None
        yield
    finally:
        os.close(descriptor)


def _own_like(partial: Path, place: Path) -> None:
    """Give *partial* the owner of the file that it replaces, or of the folder: root may restore for a server."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = (place if place.exists() else place.parent).stat()
    os.chown(partial, owner.st_uid, owner.st_gid)


def _set_aside(place: Path) -> Path | None:
    """Rename what is at *place*; return the new name of the database, None if there was nothing."""
    name = f"{place}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    found = None
    # The database first: without it, but with its log, no server starts.
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            Path(f"{place}{suffix}").rename(f"{name}{suffix}")
            found = Path(name)
    Path(f"{place}-shm").unlink(missing_ok=True)
    return found


def _rename(partial: Path, place: Path) -> None:
    partial.replace(place)
    descriptor = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()
