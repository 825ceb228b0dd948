"""The command `ilab-memory`: check a SQLite file of the memory, or copy it to PostgreSQL."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite import check

if TYPE_CHECKING:
    from ilab_memory.copying import Copied

EXIT_OK, EXIT_DIFFERENT, EXIT_FAILED = 0, 1, 2
FILE_VARIABLE, URL_VARIABLE = "ILAB_MEMORY_DB_PATH", "ILAB_MEMORY_URL"

_CHECK = """\
Report what is damaged in a SQLite file of the memory. Nothing is written, and the file may be in use.

Exit code: 0 sound, 1 damaged, 2 the check could not run.
"""
_COPY = """\
Copy all users from a SQLite file to a PostgreSQL database: ids, times, sessions and order stay the same. Then compare
the count and the hash of every user on both sides.

The file is only read, and a server may keep writing to it. Each user is copied in one transaction: after an
interruption, run the command again, and it copies the users that are missing. Stop the server before the last run,
with --replace, which copies the users that changed since. Answers stored for repeated calls (24 hours) are not copied.

Exit code: 0 both sides are equal, 1 they differ, 2 the copy failed.
"""
_COPY_EXAMPLE = """\
example:
  ilab-memory copy --from memory.db --to postgresql://ilab@db.internal/ilab

Put the password in ~/.pgpass or PGPASSWORD: command-line options are visible in the process list.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 success, 1 damaged or different, 2 failed."""
    parser = argparse.ArgumentParser(
        prog="ilab-memory", description="Check a SQLite file of the memory, or copy it to PostgreSQL."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_check(commands)
    _add_copy(commands)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except (StorageError, ValueError, ModuleNotFoundError) as error:
        _complain(str(error))
        return EXIT_FAILED
    return code


def _add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "check",
        help="Report damage in a SQLite file.",
        description=_CHECK,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="SQLite file of the memory")
    parser.set_defaults(run=_check)


def _add_copy(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "copy",
        help="Copy a SQLite file to PostgreSQL.",
        description=_COPY,
        epilog=_COPY_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--from",
        dest="source",
        default=os.environ.get(FILE_VARIABLE) or "./memory.db",
        metavar="FILE",
        help=f"SQLite file to copy (default: ${FILE_VARIABLE}, or ./memory.db)",
    )
    parser.add_argument(
        "--to",
        dest="target",
        default=os.environ.get(URL_VARIABLE),
        required=not os.environ.get(URL_VARIABLE),
        metavar="URL",
        help=f"PostgreSQL database to copy to, postgresql://... (default: ${URL_VARIABLE})",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="Copy users again whose data differs; their data in the database is overwritten.",
    )
    parser.add_argument("--json", action="store_true", help="Print the result as one JSON object (default in a pipe).")
    parser.set_defaults(run=_copy)


def _check(options: argparse.Namespace) -> int:
    try:
        checked = check.check(options.file)
    except StorageError as error:
        raise StorageError(f"{options.file}: {error}") from None
    for line in (*checked.damage, *checked.remarks, *([] if checked.damage else ["sound"])):
        _print(f"{options.file}: {line}")
    return EXIT_DIFFERENT if checked.damage else EXIT_OK


def _copy(options: argparse.Namespace) -> int:
    try:
        from ilab_memory.copying import copy  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise ModuleNotFoundError("copy needs the extra: pip install 'ilab_memory[postgres]'") from None
    progress = _Progress()
    try:
        copied = copy(options.source, options.target, replace=options.replace, progress=progress)
    except StorageError as error:
        if not progress.has_begun:
            raise
        raise StorageError(f"{error}; run the same command again to copy the users that are missing") from None
    if sys.stdout.isatty() and not options.json:
        _print(_described(copied))
    else:
        _print(json.dumps(dataclasses.asdict(copied)))
    if copied.only_in_target:
        _complain(f"{copied.only_in_target} users are in the database but not in the file")
    if copied.different:
        _complain(
            f"{copied.different} users differ: the file or the database changed after they were copied;"
            " --replace copies them again"
        )
    return EXIT_DIFFERENT if copied.different else EXIT_OK


def _described(copied: "Copied") -> str:
    return (
        f"Copied {copied.written} of {copied.users} users. {copied.users - copied.different} users are equal on both"
        f" sides ({copied.sessions} sessions and {copied.observations} observations in total).\n"
        f"SHA-256 of the file      {copied.source_sha256}\n"
        f"SHA-256 of the database  {copied.target_sha256}"
    )


class _Progress:
    """Shows progress on standard error: one updated line on a terminal, otherwise one line per ten percent."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    @property
    def has_begun(self) -> bool:
        """Whether both sides could be opened."""
        return bool(self._shown)

    def __call__(self, what: str, done: int, total: int) -> None:
        parts = 100 if sys.stderr.isatty() else 10
        reached = parts * done // total if total else parts
        if self._shown.get(what) == reached:
            return
        self._shown[what] = reached
        line = f"{what}: {done} of {total} observations"
        if sys.stderr.isatty():
            end = "\n" if done >= total else ""
            sys.stderr.write(f"\r{line}{end}")
            sys.stderr.flush()
        else:
            _complain(line)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> None:
    # libpq's errors have several lines.
    sys.stderr.write(f"ilab-memory: {' '.join(text.split())}\n")
