"""Options, tables and wording that the commands of `ilab-chat memory` share."""

import argparse
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from ilab_chat._calls import DEFAULT_TIMEOUT
from ilab_chat.cli import options, output, table
from ilab_chat.errors import NotFound

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands

#: How many rows a list prints unless told otherwise.
DEFAULT_ROWS = 50
#: Maximum number of rows that the service returns at once.
PAGE_ROWS = 200


def add_command(
    commands: "Commands",
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
    example: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> argparse.ArgumentParser:
    """Add a command with what all of them have."""
    parser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=f"example:\n  ilab-chat memory {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--user", required=True, metavar="ID", help="user id (required)")
    options.add_connection(parser, timeout)
    if name != "export":
        parser.add_argument("--json", action="store_true", help="print one JSON object (default in a pipe)")
    return parser


def add_observation(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add the argument that names an observation."""
    parser.add_argument("observation_id", type=options.int64, metavar="ID", help=purpose)


def add_types(parser: argparse.ArgumentParser) -> None:
    """Add the filter by type."""
    parser.add_argument(
        "--type",
        action="append",
        default=[],
        metavar="TYPE",
        help=f"only this type: {options.TYPES}; repeatable",
    )


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a list."""
    parser.add_argument("--conversation", metavar="ID", help="only of this conversation; '' is the default one")
    add_limit(parser)


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add the maximum number of rows of a list."""
    parser.add_argument(
        "--limit",
        type=options.natural,
        default=DEFAULT_ROWS,
        metavar="N",
        help=f"maximum number of rows, 0 for all (default: {DEFAULT_ROWS})",
    )


def rows_per_page(limit: int) -> int:
    """Return the size of the pages of a list of at most *limit* rows, 0 for all."""
    return min(limit or PAGE_ROWS, PAGE_ROWS)


def for_people(arguments: argparse.Namespace) -> bool:
    """Say whether the answer is a table and not JSON."""
    return sys.stdout.isatty() and not arguments.json


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table that is as wide as the terminal at most."""
    head, *lines = table.lines(heads, list(rows), shutil.get_terminal_size().columns)
    output.write_heading(head)
    output.write("".join(f"{line}\n" for line in lines))


def date(moment: Timestamp) -> str:
    """Return *moment* as a clock on this machine's wall shows it."""
    return f"{moment.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M}"


def counted(number: int, noun: str) -> str:
    """Return "1 session", "2 sessions"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def confirm(question: str, expected: str, what: str) -> None:
    """Have *expected*, which is *what*, typed before something is erased.

    Raises:
        CommandError: standard input is not a terminal, or something else was typed.
        KeyboardInterrupt: Ctrl-C was typed.
    """
    check_terminal()
    output.ask(question)
    wait_for_line()
    try:
        typed = sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        typed = ""
    if typed != expected:
        raise output.CommandError(f"nothing was erased: that is not the {what}", output.EXIT_FAILED)


def wait_for_line() -> None:
    """Wait until a line was typed.

    Reading alone would miss a Ctrl-C that comes just before it: Python only notes a signal until the read returns.

    Raises:
        KeyboardInterrupt: Ctrl-C was typed.
    """
    signals, writing = socket.socketpair()
    with signals, writing:
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno())
        try:
            ready, _, _ = select.select([sys.stdin, signals], [], [])
        finally:
            signal.set_wakeup_fd(before)
    if signals in ready:
        raise KeyboardInterrupt


def check_terminal() -> None:
    """Check that somebody can confirm.

    Raises:
        CommandError: standard input is not a terminal.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise output.CommandError(
            "nothing was erased: standard input is not a terminal; confirm with --yes", output.EXIT_USAGE
        )


@contextmanager
def missing(observation_id: int) -> Iterator[None]:
    """Turn NotFound into a line for the user."""
    try:
        yield
    except NotFound:
        raise output.CommandError(f"the user has no observation {observation_id}", output.EXIT_FAILED) from None
