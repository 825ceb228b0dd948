"""The command `ilab-memory`: back up, restore, check, measure, copy and serve a SQLite file of the memory."""

import argparse
import dataclasses
import gc
import json
import os
import platform
import sqlite3
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ilab_memory.cli import FILE_VARIABLE, Commands, Parser, add_file_option, installed, misspelt
from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite import backup, check, schema, statistics
from ilab_memory.transports.command import TOKEN_VARIABLE, add_mcp, add_serve

if TYPE_CHECKING:
    from ilab_memory.copying import Copied

EXIT_OK, EXIT_DIFFERENT, EXIT_FAILED = 0, 1, 2
URL_VARIABLE = "ILAB_MEMORY_URL"

_DESCRIPTION = """\
Back up, restore, check, measure or serve a SQLite file of the memory, or copy it to PostgreSQL. It is the file of
ilab-chat-server (ILAB_MEMORY_DB_PATH) or of a program that uses the library. `restore` needs the server stopped, and so
does the last `copy` before you switch to PostgreSQL.
"""
_CHECK = """\
Report what is damaged in a SQLite file of the memory, and which embedders made its vectors. Nothing is written, and
the file may be in use.

Exit code: 0 sound, 1 damaged, 2 the check could not run.
"""
_COPY = """\
Copy all users from a SQLite file to a PostgreSQL database: ids, times, sessions and order stay the same. Then compare
the count and the hash of every user on both sides.

The file is only read, and a server may keep writing to it. Each user is copied in one transaction: after an
interruption, run the command again, and it copies the users that are missing. Before you switch over, stop the
server and run it once more with --replace: it copies the users that have changed since. Answers stored for
repeated calls (24 hours) are not copied.

Exit code: 0 both sides are equal, 1 they differ, 2 the copy failed.
"""
_COPY_EXAMPLE = """\
example:
  ilab-memory copy --from memory.db --to postgresql://ilab@db.internal/ilab

Put the password in ~/.pgpass or PGPASSWORD: command-line options are visible in the process list.
"""

_BACKUP = """\
Copy a SQLite file of the memory as of one moment. The file is only read, and a server may keep writing to it.

The backup is one file with mode 0600, checked as by `ilab-memory check`. No backup of a damaged file is
written. Erasing a user later does not erase that user's data from the backup.

Exit code: 0 written, 1 damaged, 2 the backup could not be written.
"""
_BACKUP_EXAMPLE = """\
example:
  ilab-memory backup --from /data/memory.db /backups/memory-$(date +%F).db
"""
_RESTORE = """\
Check a backup and restore it as the memory's SQLite file. Stop the server first: a file that is in use is not
replaced. Users who were forgotten after the backup was made are restored too: forget them again.

Exit code: 0 restored, 1 the backup is damaged, 2 it could not be restored. After 1 and 2, nothing has changed.
"""
_STATS = """\
Print counts and sizes of a SQLite file of the memory, without any text or id of a user. Nothing is written, and the
file may be in use.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 success, 1 damaged or different, 2 failed."""
    # Modules stay until the process ends: no collection need look through them, not even the one at the end.
    gc.freeze()
    parser = Parser(
        prog="ilab-memory",
        description=_DESCRIPTION,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_backup(commands)
    _add_restore(commands)
    _add_check(commands)
    _add_stats(commands)
    _add_copy(commands)
    add_serve(commands)
    add_mcp(commands)
    options = parser.parse_args(arguments)
    for name, meant in misspelt(os.environ, (FILE_VARIABLE, URL_VARIABLE, TOKEN_VARIABLE)):
        _complain(f"warning: {name} is set, but the command has no such variable: did you mean {meant}?")
    try:
        code: int = options.run(options)
    except (StorageError, ValueError, ModuleNotFoundError) as error:
        _complain(str(error))
        return EXIT_FAILED
    return code


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser("check", help="report damage in a SQLite file", description=_CHECK)
    parser.add_argument("file", metavar="FILE", help="SQLite file of the memory")
    parser.set_defaults(run=_check)


def _add_backup(commands: Commands) -> None:
    parser = commands.add_parser(
        "backup", help="copy a SQLite file that may be in use", description=_BACKUP, epilog=_BACKUP_EXAMPLE
    )
    add_file_option(parser, "--from", "SQLite file to back up")
    parser.add_argument("--replace", action="store_true", help="overwrite BACKUP if it exists")
    parser.add_argument("backup", metavar="BACKUP", help="file to write")
    parser.set_defaults(run=_backup)


def _add_restore(commands: Commands) -> None:
    parser = commands.add_parser("restore", help="restore a SQLite file from a backup", description=_RESTORE)
    add_file_option(parser, "--to", "SQLite file to restore")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace FILE if it exists; the old one is kept, with its write-ahead log, as FILE.replaced-TIME",
    )
    parser.add_argument("backup", metavar="BACKUP", help="file that `ilab-memory backup` wrote")
    parser.set_defaults(run=_restore)


def _add_stats(commands: Commands) -> None:
    parser = commands.add_parser("stats", help="print counts and sizes of a SQLite file", description=_STATS)
    parser.add_argument("file", metavar="FILE", help="SQLite file of the memory")
    parser.add_argument("--json", action="store_true", help="print one JSON object (default in a pipe)")
    parser.set_defaults(run=_stats)


def _add_copy(commands: Commands) -> None:
    parser = commands.add_parser(
        "copy", help="copy a SQLite file to PostgreSQL", description=_COPY, epilog=_COPY_EXAMPLE
    )
    add_file_option(parser, "--from", "SQLite file to copy")
    parser.add_argument(
        "--to",
        dest="target",
        default=os.environ.get(URL_VARIABLE),
        metavar="URL",
        help=f"PostgreSQL database to copy to, postgresql://...; required unless ${URL_VARIABLE} is set",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="copy users again whose data differs; their data in the database is overwritten",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object (default in a pipe)")
    parser.set_defaults(run=_copy)


def _check(options: argparse.Namespace) -> int:
    try:
        checked = check.check(options.file)
    except StorageError as error:
        raise StorageError(f"{options.file}: {error}") from None
    for line in (*checked.damage, *checked.remarks, *([] if checked.damage else ["sound"])):
        _print(f"{options.file}: {line}")
    return EXIT_DIFFERENT if checked.damage else EXIT_OK


def _backup(options: argparse.Namespace) -> int:
    with _Growing("backing up", Path(options.file), Path(f"{options.backup}-partial")):
        found = backup.backup(options.file, options.backup, replace=options.replace)
    return _report_copy(found, options.file, f"backed up to {options.backup}")


def _restore(options: argparse.Namespace) -> int:
    with _Growing("restoring", Path(options.backup), Path(f"{options.file}-partial")):
        found, kept = backup.restore(options.backup, options.file, replace=options.replace)
    code = _report_copy(found, options.backup, f"restored to {options.file}")
    if kept:
        _print(f"{options.file}: the file before is {kept}; remove it when it is not needed any more")
    return code


def _report_copy(found: check.Checked, file: str, done: str) -> int:
    for line in (*found.damage, *found.remarks, "damaged: nothing was written" if found.damage else done):
        _print(f"{file}: {line}")
    return EXIT_DIFFERENT if found.damage else EXIT_OK


def _stats(options: argparse.Namespace) -> int:
    try:
        found = statistics.statistics(options.file)
    except StorageError as error:
        raise StorageError(f"{options.file}: {error}") from None
    named = dataclasses.asdict(found)
    if options.json or not sys.stdout.isatty():
        _print(json.dumps(named))
        return EXIT_OK
    del named["observations_by_type"], named["types"]
    width = max(map(len, named))
    for name, value in named.items():
        _print(f"{name.replace('_', ' '):{width}}  {_readable(name, value)}")
    if found.types:
        _print(f"\n{'type':{width}}  observations        text  first             last")
    for kind, each in found.types.items():
        _print(
            f"{kind:{width}}  {each.observations:>12,}  {_readable('bytes', each.text_bytes):>10}"
            f"  {_readable('time', each.oldest_time)}  {_readable('time', each.newest_time)}"
        )
    return EXIT_OK


def _readable(name: str, value: str | int | None) -> str:
    """Return a statistic for a person: sizes in units, times to the minute."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value[:16].replace("T", " ")
    if not name.endswith("bytes"):
        return f"{value:,}"
    size, unit = float(value), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004 - the factor between the units
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def _copy(options: argparse.Namespace) -> int:
    if not options.target:
        raise ValueError(f"--to: required unless {URL_VARIABLE} is set")
    try:
        from ilab_memory.copying import copy  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "copy needs the extra postgres: in the repository, pip install './memory[postgres]'"
        ) from None
    progress = _Progress()
    try:
        copied = copy(options.file, options.target, replace=options.replace, progress=progress)
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


def _version() -> str:
    """Return the versions of this package and of what it runs on."""
    return (
        f"ilab-memory {installed()} (Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" schema {schema.VERSION})"
    )


class _Growing:
    """Shows on a terminal how much of a file is copied, from the first second on, while the block runs.

    It looks at the size of the copy, because SQLite copies the file in one step.
    """

    FIRST_SECONDS, NEXT_SECONDS = 1.0, 0.5

    def __init__(self, what: str, source: Path, copy: Path) -> None:
        self._what, self._source, self._copy = what, source, copy
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        line, wait = "", self.FIRST_SECONDS
        while not self._done.wait(wait):
            wait = self.NEXT_SECONDS
            copied, total = _megabytes(self._copy), _megabytes(self._source)
            line = f"{self._what}: " + (f"{copied:,} of {total:,} MB" if copied < total else "checking the copy")
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        if line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _megabytes(path: Path) -> int:
    try:
        return path.stat().st_size // 1_000_000
    except OSError:  # it is not there yet, or not any more
        return 0


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
