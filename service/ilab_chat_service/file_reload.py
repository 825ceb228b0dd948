"""Hot reload: a value made from files, and made again when they change."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

T = TypeVar("T")

#: More than any file of tokens, keys or certificates has.
MOST_BYTES = 1024 * 1024


class FileReload(Generic[T]):
    """What *make* makes from the contents of *paths*, as they are now.

    A change is seen by inode, size and times of what a path leads to: Kubernetes swaps a symbolic link.

    Args:
        paths: files to read.
        make: takes their contents, in order; raises ValueError, with a text that quotes no content.
        interval: seconds between two looks of `current`.

    Raises:
        OSError: a file cannot be read.
        ValueError: what *make* raised.
    """

    def __init__(self, paths: Sequence[str], make: Callable[..., T], *, interval: float = 1.0) -> None:
        self._paths = [Path(path) for path in paths]
        self._make = make
        self._interval = interval
        self._looked = time.monotonic()
        self._looking = asyncio.Lock()
        # Before reading: a change in between is then seen at the next look.
        self._seen = self._marks()
        self._value = self._read()

    @property
    def value(self) -> T:
        """What was made last."""
        return self._value

    def refresh(self) -> bool:
        """Look at the files, blocking. Return whether the value is a new one; one that cannot be made is logged."""
        marks = self._marks()
        if marks == self._seen:
            return False
        self._seen = marks
        try:
            self._value = self._read()
        except (OSError, ValueError) as error:
            log.error("%s: reload failed, keeping the previous version: %s", self, reason(error))  # noqa: TRY400 - a traceback says nothing more
            return False
        log.info("%s: reloaded", self)
        return True

    async def current(self) -> T:
        """Return the value, at most the interval behind the files."""
        if self._is_due():
            async with self._looking:
                if self._is_due():  # another task may have looked meanwhile
                    await asyncio.to_thread(self.refresh)
                    self._looked = time.monotonic()
        return self._value

    def _is_due(self) -> bool:
        return time.monotonic() - self._looked >= self._interval

    def _marks(self) -> list[tuple[int, ...] | None]:
        return [mark(path) for path in self._paths]

    def _read(self) -> T:
        before = self._marks()
        contents = [content(path) for path in self._paths]
        # Half of an old file and half of a new one may be valid, and mean something that neither does.
        if self._marks() != before:
            raise ValueError("the file changed while it was read")
        return self._make(*contents)

    def __str__(self) -> str:
        return ", ".join(map(str, self._paths))


def mark(path: Path) -> tuple[int, ...] | None:
    """Return what changes when the file does. None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def content(path: Path) -> bytes:
    """Return the bytes of a file."""
    with path.open("rb") as file:
        read = file.read(MOST_BYTES + 1)
    if len(read) > MOST_BYTES:
        raise ValueError(f"{path.name} has more than {MOST_BYTES:,} bytes")
    return read


def reason(error: OSError | ValueError) -> str:
    """Return why a file cannot be used."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
