"""The versions of this server and of what it runs on, for `--version` and the log."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of


def installed(distribution: str) -> str:
    """Return the installed version of a distribution, "unknown" in a checkout that is not installed."""
    try:
        return version_of(distribution)
    except PackageNotFoundError:
        return "unknown"


#: Read once, at import: reading the metadata would block the event loop.
INSTALLED = {name: installed(name) for name in ("ilab-chat-service", "ilab-memory", "grpcio")}


def version(build: str) -> str:
    """Return the versions on one line.

    Args:
        build: identifier of the build, for instance a commit. Empty: left out.
    """
    parts = (
        build and f"build {build}",
        f"Python {platform.python_version()}",
        f"grpcio {INSTALLED['grpcio']}",
        f"ilab-memory {INSTALLED['ilab-memory']}",
        f"SQLite {sqlite3.sqlite_version}",
    )
    return f"{INSTALLED['ilab-chat-service']} ({', '.join(part for part in parts if part)})"
