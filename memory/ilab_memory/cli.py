"""The parser of `ilab-memory` with its hints for typing errors, and the option and the version that commands share."""

import argparse
import os
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn, TypeAlias

FILE_VARIABLE = "ILAB_MEMORY_DB_PATH"
_PREFIX = "ILAB_MEMORY_"
#: Least similarity of a variable with one of ours: a server has others that begin like ours.
_SIMILAR = 0.8
_OPTION = re.compile(r"unrecognized arguments: .*?(--[\w-]+)")
_SUBCOMMAND = re.compile(r"invalid choice: '([^']*)'")

#: Adds subcommands to a parser. argparse has no public name for it.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - see above


class Parser(argparse.ArgumentParser):
    """Names the option or the subcommand that may be meant, and prints descriptions as they are written."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        wrong = _OPTION.search(message)
        known = [*self._options()]
        if wrong is None:
            wrong, known = _SUBCOMMAND.search(message), [*self._subcommands()]
        self.exit(2, f"{self.prog}: {message}{self._hint(wrong[1], known) if wrong else ''}\n")

    def _hint(self, wrong: str, known: Collection[str]) -> str:
        if wrong in known:
            having = [name for name, parser in self._subcommands().items() if wrong in parser._options()]  # noqa: SLF001 - the same
            return f": it is an option of {' and '.join(having)}"
        close = get_close_matches(wrong, known, 1)
        return f": did you mean {close[0]}?" if close else ""

    def _subcommands(self) -> Mapping[str, "Parser"]:
        found = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001 - see `Commands`
        return {name: parser for action in found for name, parser in action.choices.items()}

    def _options(self) -> Iterator[str]:
        """Yield the options of this parser and of its subcommands, one of which has left the rest to this parser."""
        for parser in (self, *self._subcommands().values()):
            for action in parser._actions:  # noqa: SLF001 - those of its own class
                yield from action.option_strings


def add_file_option(parser: argparse.ArgumentParser, option: str, what: str, *, metavar: str = "FILE") -> None:
    """Add the *option* that names the SQLite file, as `file`."""
    parser.add_argument(
        option,
        dest="file",
        default=os.environ.get(FILE_VARIABLE) or "./memory.db",
        metavar=metavar,
        help=f"{what} (default: ${FILE_VARIABLE}, or ./memory.db)",
    )


def misspelt(names: Collection[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each of *names*, of environment variables, that looks like one of *known*, with that one."""
    ends = [each.removeprefix(_PREFIX) for each in known]
    for name in sorted(names):
        if name.startswith(_PREFIX) and name not in known:
            for end in get_close_matches(name.removeprefix(_PREFIX), ends, 1, _SIMILAR):
                yield name, _PREFIX + end


def installed() -> str:
    """Return the installed version of the library, "unknown" in a checkout that is not installed."""
    try:
        return version("ilab-memory")
    except PackageNotFoundError:
        return "unknown"
