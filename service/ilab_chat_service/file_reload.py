"""Hot reload: a value parsed from files, and parsed again when they change."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Larger than any file of tokens, keys or certificates.
MAX_FILE_BYTES = 1024 * 1024


class NotYet(ValueError):
    """A file may be used later. `moment` is the Unix time from which on it may."""

    def __init__(self, text: str, moment: float) -> None:
        super().__init__(text)
        self.moment = moment


class FileReload(Generic[T]):
    """The value that *make* returns for the current contents of *paths*.

    A change is detected by inode, size and times, following symbolic links: Kubernetes replaces a link.

    Args:
        paths: files to read.
        make: takes the contents, in order. Raises ValueError with a text that does not quote them.
        interval: minimum time between two checks by `current`, in seconds.
        check_new: checks a value before it replaces the previous one. Raises ValueError; after NotYet the same files
            are read again when their time has come.

    Raises:
        OSError: a file cannot be read.
        ValueError: raised by *make*, or a file is too large or changed while it was read.
    """

    def __init__(
        self,
        paths: Sequence[str],
        make: Callable[..., T],
        *,
        interval: float = 1.0,
        check_new: Callable[[T], None] = lambda _: None,
    ) -> None:
        self._paths = [Path(path) for path in paths]
        self._make = make
        self._check_new = check_new
        self._again_at = math.inf
        self._interval = interval
        self._checked_at = time.monotonic()
        self._checking = asyncio.Lock()
        # Before reading the files, so that the next check detects a change during the read.
        self._signatures = self._current_signatures()
        self._value = self._read()

    @property
    def value(self) -> T:
        """The current value, without checking the files."""
        return self._value

    def refresh(self) -> bool:
        """Check the files and return whether there is a new value. A failed reload is logged. Blocks."""
        signatures = self._current_signatures()
        if signatures == self._signatures and time.time() < self._again_at:
            return False
        self._signatures = signatures
        self._again_at = math.inf
        try:
            value = self._read()
            self._check_new(value)
        except (OSError, ValueError) as error:
            if isinstance(error, NotYet):
                self._again_at = error.moment
            log.error("%s: reload failed, keeping the previous version: %s", self, reason(error))  # noqa: TRY400 - the traceback adds nothing
            return False
        self._value = value
        log.info("%s: reloaded", self)
        return True

    async def current(self) -> T:
        """Return the value, checking the files if the last check is older than the interval."""
        if self._is_due():
            async with self._checking:
                if self._is_due():  # another task may have checked while this one waited for the lock
                    await asyncio.to_thread(self.refresh)
                    self._checked_at = time.monotonic()
        return self._value

    def _is_due(self) -> bool:
        return time.monotonic() - self._checked_at >= self._interval

    def _current_signatures(self) -> list[tuple[int, ...] | None]:
        return [signature(path) for path in self._paths]

    def _read(self) -> T:
        before = self._current_signatures()
        contents = [content(path) for path in self._paths]
        # A mix of an old file and a new one may be valid and mean something else than either.
        if self._current_signatures() != before:
            raise ValueError("the file changed while it was read")
        return self._make(*contents)

    def __str__(self) -> str:
        return ", ".join(map(str, self._paths))


def signature(path: Path) -> tuple[int, ...] | None:
    """Return inode, size and times of a file, which change when it does. None: it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def content(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than MAX_FILE_BYTES.
    """
    with path.open("rb") as file:
        read = file.read(MAX_FILE_BYTES + 1)
    if len(read) > MAX_FILE_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_FILE_BYTES:,} bytes")
    return read


def reason(error: OSError | ValueError) -> str:
    """Return why a file cannot be used."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
