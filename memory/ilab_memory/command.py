"""`ilab-memory`: look after a SQLite file of the memory."""

import argparse
import sys
from collections.abc import Sequence

from ilab_memory.core.errors import StorageError
from ilab_memory.stores.sqlite import check

EXIT_SOUND, EXIT_DAMAGED, EXIT_NOT_CHECKED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 sound, 1 damaged, 2 it could not be checked."""
    grammar = argparse.ArgumentParser(prog="ilab-memory", description=__doc__)
    commands = grammar.add_subparsers(required=True, metavar="COMMAND")
    checking = commands.add_parser(
        "check",
        help="Report what is damaged in a file.",
        description="Report what is damaged in a file. Nothing is written, and the file may be in use."
        " Exit code 0: sound; 1: damaged; 2: it could not be checked.",
    )
    checking.add_argument("file", metavar="FILE", help="SQLite file of the memory")
    file = grammar.parse_args(arguments).file
    try:
        checked = check.check(file)
    except StorageError as error:
        print(f"{file}: {error}", file=sys.stderr)  # noqa: T201 - the command's answer
        return EXIT_NOT_CHECKED
    for line in (*checked.damage, *checked.remarks, *([] if checked.damage else ["sound"])):
        print(f"{file}: {line}")  # noqa: T201 - the command's answer
    return EXIT_DAMAGED if checked.damage else EXIT_SOUND
