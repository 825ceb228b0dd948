"""Options that several commands have, and how their values are read."""

import argparse
import os
from datetime import datetime
from typing import TYPE_CHECKING

from ilab_chat._memory_calls import NEVER, Never
from ilab_chat._target import DEFAULT_TARGET
from ilab_chat.cli import connection, environment

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

#: The values of the options that take a type of observations.
TYPES = "discovery (turns), summary (of sessions), or profile, preference, decision, pattern (facts)"

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1


def add_connection(parser: argparse.ArgumentParser, default_timeout: float) -> None:
    """Add where to call, how to be known there, and how long to wait."""
    parser.add_argument(
        "--address",
        default=os.environ.get(environment.ADDRESS) or DEFAULT_TARGET,
        metavar="HOST:PORT",
        help=f"server address; for several servers dns:///NAME:PORT, or comma-separated IP addresses; "
        f"unix:/PATH for a socket "
        f"(default: ${environment.ADDRESS}, or {DEFAULT_TARGET})",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=default_timeout or None,
        metavar="SECONDS",
        help=f"time limit of the call; 0: only the server's limit (default: {default_timeout:g})",
    )
    connection.add_options(parser)


def seconds(text: str) -> float | None:
    """Return a time limit; None for 0, which means none."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text}")
    return value or None


def moment(text: str) -> datetime:
    """Return a time in ISO 8601; without an offset it is that of this machine's wall clock."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"not a time, such as 2027-01-31 or 2027-01-31T18:00Z: {text}") from None


def moment_or_never(text: str) -> datetime | Never:
    """Return a time, or NEVER for "never"."""
    return NEVER if text == "never" else moment(text)


def int32(text: str) -> int:
    """Return an integer that the contract's fields can hold."""
    return _integer(text, INT32_MAX, "32-bit")


def natural(text: str) -> int:
    """Return an integer of at least 0."""
    try:
        value = int32(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid int32 value: {text!r}") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative: {text}")
    return value


def int64(text: str) -> int:
    """Return an integer that the contract's ids can hold."""
    return _integer(text, INT64_MAX, "64-bit")


def _integer(text: str, most: int, kind: str) -> int:
    value = int(text)
    if not -most - 1 <= value <= most:
        raise argparse.ArgumentTypeError(f"not a {kind} integer: {text}")
    return value
