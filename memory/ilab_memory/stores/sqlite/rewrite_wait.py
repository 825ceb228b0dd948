"""Waiting for a process that rewrites the file: it holds the write lock for longer than a save does.

The timeout of locks may be shorter than that, and the disk slow.
"""

import os
import sqlite3
import sys
import time
from pathlib import Path

if sys.platform != "win32":
    import fcntl

#: Added to the name of the file for an empty one, which the process that rewrites locks.
REWRITE_SUFFIX = "-rewrite"
#: How long a write waits for another process that rewrites the file.
REWRITE_SECONDS = 30.0
_RETRY_SECONDS = 0.02


class RewriteWait:
    """How long one write waits for a rewrite of *path*. None: it never does."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._until = time.monotonic() + REWRITE_SECONDS

    def goes_on(self, error: sqlite3.OperationalError) -> bool:
        """Return whether to try again after *error*, a moment later: some process is rewriting the file."""
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not self._path or not is_being_rewritten(self._path):
            return False
        if time.monotonic() > self._until:
            return False
        # SQLite has waited already, unless its timeout is very short.
        time.sleep(_RETRY_SECONDS)
        return True


def is_being_rewritten(path: Path) -> bool:
    """Tell whether some process is rewriting the file *path* now."""
    if sys.platform == "win32":
        return False
    real = path.resolve()
    try:
        descriptor = os.open(real.with_name(real.name + REWRITE_SUFFIX), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
