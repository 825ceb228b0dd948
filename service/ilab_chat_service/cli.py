"""`ilab-chat-server`: arguments to settings to a running server, or to a check of what it needs."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from ilab_chat_service.settings import Settings, SettingsError, read
from ilab_chat_service.settings.addresses import AddressUnavailable
from ilab_chat_service.supervisor import supervise
from ilab_chat_service.telemetry.logs import set_up_logging

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

#: Subcommands, the default first.
COMMANDS = ("serve", "check")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand: `serve`, until it is told to stop, or `check`.

    Args:
        arguments: the command line without the program's name. None: that of the process.

    Returns:
        serve: 0 after a signal and a drain, 1 when it cannot start, 2 for a setting that cannot be used.
        check: 0 if everything works, else 2.
    """
    # Intermixed: argparse would not take the subcommand after an option.
    given = vars(parser().parse_intermixed_args(arguments))
    command = given.pop("command")
    try:
        settings = read(os.environ, {name: value for name, value in given.items() if value is not None})
    except SettingsError as error:
        return say_failed(error) if command == "check" else complain(str(error), EXIT_USAGE)
    if command == "check":
        return check(settings)
    if settings.workers > 1:
        return serve_with_workers(settings)
    return serve(settings)


def check(settings: Settings) -> int:
    """Check what serving needs, print one line for each part, and return the exit code."""
    try:
        from ilab_chat_service.check import check as check_all  # noqa: PLC0415 - --help does not need it

        set_up_logging(settings.log_level, settings.log_format)
    except ImportError as error:
        return complain_of_missing(error, EXIT_USAGE)

    async def say() -> int:
        code = 0
        async for result in check_all(settings):
            print(result, flush=True)  # noqa: T201 - the command's answer
            code = EXIT_USAGE if result.fault else code
        return code

    try:
        return asyncio.run(say())
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def say_failed(error: SettingsError) -> int:
    """Print the line of settings that cannot be used, and return the exit code."""
    print(f"FAILED settings: {error}")  # noqa: T201 - the command's answer
    return EXIT_USAGE


def serve(settings: Settings, *, worker: int = 0) -> int:
    """Run the server in this process and return the exit code.

    Args:
        settings: what it is to do.
        worker: its number, if it is one of several processes; 0: it is the only one.
    """
    # What cannot be listened on is said in one line below; gRPC would add one of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from ilab_chat_service.failures import StoreNotOpened  # noqa: PLC0415 - the same
        from ilab_chat_service.model.embedded import EmbeddedModelMissing  # noqa: PLC0415 - --help does not need it
        from ilab_chat_service.server import run, run_worker  # noqa: PLC0415 - the same

        set_up_logging(settings.log_level, settings.log_format)
    except ImportError as error:
        return complain_of_missing(error)
    try:
        asyncio.run(run_worker(settings, worker) if worker else run(settings))
    except SettingsError as error:
        return complain(str(error), EXIT_USAGE)
    except (AddressUnavailable, EmbeddedModelMissing, StoreNotOpened) as error:
        return complain(str(error), EXIT_FAILED)
    return 0


def serve_with_workers(settings: Settings) -> int:
    """Run the server in processes of its own and return the exit code."""
    try:
        set_up_logging(settings.log_level, settings.log_format)
    except ModuleNotFoundError as error:
        return complain_of_missing(error)
    try:
        return asyncio.run(supervise(settings))
    except AddressUnavailable as error:
        return complain(str(error), EXIT_FAILED)


def complain_of_missing(error: ImportError, code: int = EXIT_FAILED) -> int:
    """Say what is not installed, and return the exit code."""
    if not isinstance(error, ModuleNotFoundError):
        return complain(str(error), code)
    return complain(f"{error.name} is not installed: pip install ilab-chat-service", code)


def complain(text: str, code: int) -> int:
    """Say in one line why the server does not run, and return the exit code."""
    print(f"ilab-chat-server: {text}", file=sys.stderr)  # noqa: T201 - the command's answer
    return code


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar, made from the settings."""
    secrets = [field.metadata["env"] for field in dataclasses.fields(Settings) if field.metadata["secret"]]
    grammar = argparse.ArgumentParser(
        prog="ilab-chat-server",
        description="Serve ilab-chat over gRPC: hydrate the user's memory, call a model, persist the turn.",
        usage="%(prog)s [serve | check] [OPTION ...]",
        epilog="Every option can also be set by the environment variable in brackets; an option wins. "
        "From the environment only, because options can be seen in the list of processes: " + ", ".join(secrets) + ".",
    )
    grammar.add_argument(
        "command",
        nargs="?",
        choices=COMMANDS,
        default=COMMANDS[0],
        help="serve (default): serve until SIGTERM. check: validate settings and files, open the memory, ask each "
        "model for one token, print one line each and exit with 0 or 2, without serving.",
    )
    for field in dataclasses.fields(Settings):
        if not field.metadata["secret"]:
            grammar.add_argument(
                f"--{field.name.replace('_', '-')}",
                metavar=str(field.type).upper() if str(field.type) != "str" else "TEXT",
                help=f"{field.metadata['why']} [{field.metadata['env']}, default: {shown(field.default)}]",
            )
    return grammar


def shown(default: object) -> str:
    """Return a default as it would be typed."""
    return str(default).lower() if isinstance(default, bool) else str(default) or "empty"
