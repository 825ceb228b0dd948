"""`ilab-chat memory copy`: move the memory from a SQLite file into PostgreSQL.

It calls no server. The copying is the memory library's, which this package does not know: what is installed under the
entry point `copy` of the group `ilab_chat.memory` is run.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from ilab_chat.cli import output

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands

#: Called with what is being done, how many observations that has seen, and of how many.
Progress = Callable[[str, int, int], None]

DESCRIPTION = """\
Copy everything from a SQLite file into a PostgreSQL database, as it is: ids, moments, sessions, order. Then compare
count and hash of each user on both sides. Exit code 0 when all are the same, 1 otherwise.

The file is only read, and a server may go on writing to it. Each user is copied in one transaction: run the command
again after it was interrupted, and it goes on with the users that are missing. Stop the server before the last run,
which with --replace brings what was written meanwhile. Answers kept for repeated calls (24 hours) are not copied.
"""
EXAMPLE = """\
example:
  ilab-chat memory copy --from memory.db --to postgresql://ilab@db.internal/ilab

The password belongs into ~/.pgpass or PGPASSWORD: options can be seen in the list of processes.
"""
FILE_VARIABLE, URL_VARIABLE = "ILAB_MEMORY_DB_PATH", "ILAB_MEMORY_URL"


def add_parser(commands: "Commands") -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "copy",
        help="move everything from a SQLite file into PostgreSQL",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, address="")
    parser.add_argument(
        "--from",
        dest="source",
        default=os.environ.get(FILE_VARIABLE) or "./memory.db",
        metavar="FILE",
        help=f"the SQLite file (default: ${FILE_VARIABLE}, or ./memory.db)",
    )
    parser.add_argument(
        "--to",
        dest="target",
        default=os.environ.get(URL_VARIABLE),
        metavar="URL",
        help=f"the database, postgresql://... (default: ${URL_VARIABLE})",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="copy users again who are not what the file has; what the database has of them is lost",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, as in a pipe")


def run(arguments: argparse.Namespace) -> int:
    """Copy, compare, print what became of it; return 0 when both sides are the same.

    Raises:
        CommandError: the library is not installed, or a side cannot be read or written.
    """
    if not arguments.target:
        raise output.CommandError(f"copy needs --to or ${URL_VARIABLE}: the database to copy into", 2)
    copy = load()
    try:
        with progress_shown() as progress:
            copied = copy(arguments.source, arguments.target, replace=arguments.replace, progress=progress)
    except ValueError as error:
        raise output.CommandError(str(error), 2) from None
    except RuntimeError as error:
        raise output.CommandError(f"{error}; run the same command again to go on", 1) from None
    if sys.stdout.isatty() and not arguments.json:
        output.write(
            f"Wrote {copied.written} of {copied.users} users; {copied.users - copied.different} are the same on both"
            f" sides, of {copied.sessions} sessions and {copied.observations} observations in all.\n"
            f"SHA-256 of the file      {copied.source_sha256}\n"
            f"SHA-256 of the database  {copied.target_sha256}\n"
        )
    else:
        output.write(f"{json.dumps(dataclasses.asdict(copied))}\n")
    if copied.only_in_target:
        output.complain(f"the database has {copied.only_in_target} more users, which the file does not have")
    if copied.different:
        output.complain(
            f"{copied.different} users are not the same on both sides: one side has changed since they were copied;"
            " --replace copies them again"
        )
    return 1 if copied.different else 0


def load() -> Callable[..., Any]:
    """Return what copies.

    Raises:
        CommandError: it is not installed.
    """
    for found in entry_points(group="ilab_chat.memory", name="copy"):
        try:
            copy: Callable[..., Any] = found.load()
        except ImportError:
            break
        return copy
    raise output.CommandError("copy needs the memory library: pip install 'ilab-memory[postgres]'", 1)


@contextmanager
def progress_shown() -> Iterator[Progress]:
    """Yield what shows the progress on standard error: a bar on a terminal, else a line at each tenth."""
    if sys.stderr.isatty():
        try:
            from prompt_toolkit.output import create_output  # noqa: PLC0415 - from an optional extra
            from prompt_toolkit.shortcuts import ProgressBar, ProgressBarCounter  # noqa: PLC0415 - the same
        except ImportError:
            raise output.missing_extra("a progress bar") from None
        with ProgressBar(output=create_output(sys.stderr)) as bar:
            counters: dict[str, ProgressBarCounter[int]] = {}

            def draw(what: str, done: int, total: int) -> None:
                if what not in counters:
                    counters[what] = bar(label=what, total=total)
                counters[what].items_completed = done
                counters[what].done = done >= total
                bar.invalidate()

            yield draw
        return
    told: dict[str, int] = {}

    def tell(what: str, done: int, total: int) -> None:
        tenths = 10 * done // total if total else 10
        if told.get(what) != tenths:
            told[what] = tenths
            output.complain(f"{what}: {done} of {total} observations")

    yield tell
