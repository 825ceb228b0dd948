"""The `ilab-chat-gateway` command: read the settings, then serve."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import re
import signal
import socket
import sys
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, NoReturn

import uvicorn

from ilab_chat_gateway.app import create_app
from ilab_chat_gateway.connection import Connection
from ilab_chat_gateway.settings import Settings, SettingsError, misspelt, read, split_address
from ilab_chat_gateway.versions import described

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_FAILED = 1
EXIT_USAGE = 2

BACKLOG = 1024


class Server(uvicorn.Server):
    """A server that ends with exit code 0 after SIGTERM or SIGINT, as ilab-chat-server does."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the block runs. uvicorn's own version raises the signal again at the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        arguments: the command line without the program's name. None: the arguments of the process.

    Returns:
        0 after a signal, 1 if the address cannot be bound, 2 for an invalid setting.
    """
    given = vars(parser().parse_args(arguments))
    if given.pop("version"):
        print(f"ilab-chat-gateway {described()}")  # noqa: T201 - the command's output
        return 0
    for name, meant in misspelt(os.environ):
        hint = f": did you mean {meant}?" if meant else ""
        say(f"warning: {name} is set, but the gateway has no such setting{hint}")
    try:
        settings = read(os.environ, {name: value for name, value in given.items() if value is not None})
        app = create_app(settings)
        listener = listen(settings.address)
    except SettingsError as error:
        say(str(error))
        return EXIT_USAGE
    except OSError as error:
        cause = os.strerror(error.errno or 0)
        say(f"cannot listen on {settings.address}: {cause}; ILAB_CHAT_GATEWAY_ADDRESS names another address")
        return EXIT_FAILED
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=Connection,
        log_level="warning",
        # Its lines would contain user ids.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.drain_seconds),
    )
    # gRPC's own lines would come between those of the server in one terminal.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    url = f"http://{shown(listener)}"
    say(f"serving {settings.target} on {url}")
    if settings.playground:
        say(f"open {url}/playground")
    Server(config).run(sockets=[listener])
    return 0


class Parser(argparse.ArgumentParser):
    """Suggests the option that was meant."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        known = [name for action in self._actions for name in action.option_strings]
        wrong = re.search(r"unrecognized arguments: .*?(--[\w-]+)", message)
        close = get_close_matches(wrong[1], known, 1) if wrong else []
        self.exit(EXIT_USAGE, f"{self.prog}: {message}{f': did you mean {close[0]}?' if close else ''}\n")


def listen(address: str) -> socket.socket:
    """Return a socket that listens on *address*.

    Raises:
        OSError: it cannot be bound.
    """
    host, port = split_address(address)
    [(family, *_, where), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return socket.create_server(where[:2], family=family, backlog=BACKLOG)


def shown(listener: socket.socket) -> str:
    """Return the address of *listener*."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def say(text: str) -> None:
    """Print one line to standard error, if it can be written: on a full disk the gateway serves without."""
    with suppress(OSError):
        print(f"ilab-chat-gateway: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command's output


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, made from the settings."""
    grammar = Parser(
        prog="ilab-chat-gateway",
        description="Serve ilab-chat over HTTP: JSON, server-sent events and an OpenAI-compatible API. It is a client "
        "of the gRPC port, and stores nothing.",
        usage="%(prog)s [OPTION ...]",
        epilog="Every option can also be set by the environment variable in brackets; the option takes precedence.",
    )
    grammar.add_argument("--version", action="store_true", help="print the version and exit")
    for field in dataclasses.fields(Settings):
        kind = str(field.type)
        flag: dict[str, object] = {"nargs": "?", "const": "true"} if kind == "bool" else {}
        grammar.add_argument(
            f"--{field.name.replace('_', '-')}",
            metavar={"str": "TEXT", "bool": "true|false"}.get(kind, kind.upper()),
            help=f"{field.metadata['why']} [{field.metadata['env']}, default: {default_of(field.default)}]",
            **flag,  # type: ignore[arg-type]
        )
    return grammar


def default_of(default: object) -> str:
    """Return *default* as a user would type it."""
    return str(default).lower() if isinstance(default, bool) else str(default) or "empty"
