"""`ilab-chat-server`: arguments to settings to a running server."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import sys
from typing import TYPE_CHECKING

from ilab_chat_service.settings import Settings, SettingsError, read

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2

#: Packages that log requests, and so messages, when they are asked to say more.
TALKATIVE = ("openai", "httpx2", "httpcore2", "grpc")


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
    # What cannot be listened on is said in one line below; gRPC would add one of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from ilab_chat_service.adapters.embedded import EmbeddedModelMissing  # noqa: PLC0415 - optional: extra `service`
        from ilab_chat_service.adapters.library import MemoryNotOpened  # noqa: PLC0415 - the same
        from ilab_chat_service.server import AddressUnavailable, run  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        return complain(f"{error.name} is not installed: the server needs the extra ilab-chat[service]", EXIT_FAILED)
    set_up_logging(settings.log_level)
    try:
        asyncio.run(run(settings))
    except (AddressUnavailable, EmbeddedModelMissing, MemoryNotOpened) as error:
        return complain(str(error), EXIT_FAILED)
    return 0


def complain(text: str, code: int) -> int:
    """Say in one line why the server does not run, and return the exit code."""
    print(f"ilab-chat-server: {text}", file=sys.stderr)  # noqa: T201 - the command's answer
    return code


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar, made from the settings."""
    grammar = argparse.ArgumentParser(
        prog="ilab-chat-server",
        description="Serve ilab-chat over gRPC: hydrate the user's memory, call a model, persist the turn.",
        epilog="Every option can also be set by the environment variable in brackets; an option wins. "
        "OPENAI_API_KEY comes from the environment only, because options can be seen in the list of processes.",
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


def set_up_logging(level: str) -> None:
    """Log to standard error. Packages that would log what users say stay quiet at every level.

    Forced, because the openai package sets logging up by itself when OPENAI_LOG is set.
    """
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True
    )
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
