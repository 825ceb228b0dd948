"""A parser of arguments that suggests the option that was meant."""

import argparse
import difflib
import re
from collections.abc import Iterator
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Like its base. The parsers of commands are of the same class."""

    def error(self, message: str) -> NoReturn:
        """Print *message* and what may have been meant, and exit with code 2."""
        found = re.search(r"unrecognized arguments: .*?(--[\w-]+)", message)
        close = difflib.get_close_matches(found[1], list(_options(self)), 1) if found else []
        if close:
            message = f"{message} (did you mean {close[0]}?)"
        super().error(message)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list them
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            for command in action.choices.values():
                yield from _options(command)
