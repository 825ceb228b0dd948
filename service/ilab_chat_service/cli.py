"""`ilab-chat-server`: arguments to settings to a running server."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from ilab_chat_service.addresses import AddressUnavailable
from ilab_chat_service.logs import set_up_logging
from ilab_chat_service.settings import Settings, SettingsError, read
from ilab_chat_service.workers import supervise

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop.

    Args:
        arguments: the command line without the program's name. None: that of the process.

    Returns:
        0 after a signal and a drain, 1 when it cannot start, 2 for a setting that cannot be used.
    """
    given = {name: value for name, value in vars(parser().parse_args(arguments)).items() if value is not None}
    try:
        settings = read(os.environ, given)
    except SettingsError as error:
        return complain(str(error), EXIT_USAGE)
    if settings.workers > 1:
        return serve_with_workers(settings)
    return serve(settings)


def serve(settings: Settings, *, worker: int = 0) -> int:
    """Run the server in this process and return the exit code.

    Args:
        settings: what it is to do.
        worker: its number, if it is one of several processes; 0: it is the only one.
    """
    # What cannot be listened on is said in one line below; gRPC would add one of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from ilab_chat_service.adapters.library import MemoryNotOpened  # noqa: PLC0415 - the same
        from ilab_chat_service.model.embedded import EmbeddedModelMissing  # noqa: PLC0415 - optional: extra `service`
        from ilab_chat_service.server import run, run_worker  # noqa: PLC0415 - the same

        set_up_logging(settings.log_level, settings.log_format)
    except ModuleNotFoundError as error:
        return complain_of_missing(error)
    except ImportError as error:
        return complain(str(error), EXIT_FAILED)
    try:
        asyncio.run(run_worker(settings, worker) if worker else run(settings))
    except SettingsError as error:
        return complain(str(error), EXIT_USAGE)
    except (AddressUnavailable, EmbeddedModelMissing, MemoryNotOpened) as error:
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


def complain_of_missing(error: ModuleNotFoundError) -> int:
    """Say what is not installed, and return the exit code."""
    return complain(f"{error.name} is not installed: the server needs the extra ilab-chat[service]", EXIT_FAILED)


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
        epilog="Every option can also be set by the environment variable in brackets; an option wins. "
        "From the environment only, because options can be seen in the list of processes: " + ", ".join(secrets) + ".",
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
