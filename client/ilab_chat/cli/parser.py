"""A parser of arguments that suggests the option or the command that was meant."""

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

from ilab_chat.cli.output import EXIT_USAGE

#: An option, with its value behind an equals sign or without. Text with a blank is a message or a value.
OPTION = re.compile(r"(--?[A-Za-z][\w-]*)(?:=\S*)?")


class Parser(argparse.ArgumentParser):
    """Like its base, with one line for an error. The parsers of commands are of the same class."""

    def error(self, message: str) -> NoReturn:
        """Print *message* and exit with code 2."""
        self.exit(EXIT_USAGE, f"{self.prog.split()[0]}: {message} (`{self.prog} --help` lists the options)\n")

    def check(self, arguments: Sequence[str]) -> None:
        """Exit with code 2 if one of *arguments* is an option or a command that does not exist.

        argparse would rather say that a required option is missing, which hides that it is there, misspelt.
        """
        current: argparse.ArgumentParser = self
        for argument in arguments:
            commands, options = _commands(current), _options(current)
            if argument == "--":
                return
            if argument in commands:
                current = commands[argument]
            elif commands and not argument.startswith("-"):
                _refuse(current, f"there is no command {argument}", argument, commands)
            elif found := OPTION.fullmatch(argument):
                name = found[1]
                # argparse takes the beginning of a name, and -hx for -h.
                if not any(
                    each.startswith(name) or (len(each) == len("-h") and name.startswith(each)) for each in options
                ):
                    _refuse(current, f"there is no option {name}", f"--{name.lstrip('-')}", options)


def _refuse(parser: argparse.ArgumentParser, fault: str, given: str, known: Iterable[str]) -> NoReturn:
    [*close] = difflib.get_close_matches(given, known, 1)
    parser.error(f"{fault}: did you mean {close[0]}?" if close else fault)


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]  # noqa: SLF001 - there is no public way


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands of *parser* that are still to come, by name."""
    for action in parser._actions:  # noqa: SLF001 - the same
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            return dict(action.choices)
    return {}
