"""The subcommands `ilab-memory serve` and `ilab-memory mcp`."""

import argparse
import ipaddress
import os
import socket
import sys
from pathlib import Path

from ilab_memory.api import ILabMemory
from ilab_memory.cli import Commands, add_file_option
from ilab_memory.core.errors import StorageError

PORT = 7437
TOKEN_VARIABLE = "ILAB_MEMORY_TOKEN"  # noqa: S105 - the name of a variable
SHORTEST_TOKEN = 16

_SERVE = f"""\
Serve the memory over HTTP: POST /mem_save and so on, one route per documented method, with a JSON object of its
arguments as the body. The OpenAPI document is at /openapi.json. ilab-chat-server may use the file at the same time.

On a loopback address no token is needed. Any other address needs one, in the file of --token-file or in
${TOKEN_VARIABLE}; each request then has the header `Authorization: Bearer TOKEN`. Put a proxy with TLS in front.
"""
_SERVE_EXAMPLE = """\
example:
  ilab-memory serve --db-path memory.db
  curl http://127.0.0.1:7437/mem_stats -H 'Content-Type: application/json' -d '{"user_id":"alice"}'
"""
_MCP = """\
Serve the memory to a model's tools (Model Context Protocol) over standard input and output: one tool per documented
method. The program that starts this command may read and write the memory of every user.
"""
_DB_PATH = "SQLite file of the memory, created if it is missing"


def add_serve(commands: Commands) -> None:
    """Add the subcommand `serve`."""
    parser = commands.add_parser("serve", help="serve the memory over HTTP", description=_SERVE, epilog=_SERVE_EXAMPLE)
    add_file_option(parser, "--db-path", _DB_PATH, metavar="PATH")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=PORT, help=f"port to listen on (default: {PORT})")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file that contains the token (default: the token in ${TOKEN_VARIABLE})",
    )
    parser.set_defaults(run=_serve)


def add_mcp(commands: Commands) -> None:
    """Add the subcommand `mcp`."""
    parser = commands.add_parser("mcp", help="serve the memory over MCP on standard input and output", description=_MCP)
    add_file_option(parser, "--db-path", _DB_PATH, metavar="PATH")
    parser.set_defaults(run=_mcp)


def _serve(options: argparse.Namespace) -> int:
    token = _token(options.token_file)
    if not token and not _is_loopback(options.host):
        raise ValueError(
            f"--host: other machines can reach this address; set a token with --token-file or ${TOKEN_VARIABLE}"
        )
    try:
        from ilab_memory.transports import http_server  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "serve needs the extra http: in the repository, pip install './memory[http]'"
        ) from None
    with ILabMemory.from_path(options.file) as mem, _listen(options.host, options.port) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        sys.stderr.write(f"ilab-memory: serving {options.file} on http://{shown}:{port}\n")
        sys.stderr.flush()
        http_server.serve(mem, listener, token=token)
    return 0


def _mcp(options: argparse.Namespace) -> int:
    try:
        from ilab_memory.transports import mcp_server  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise ModuleNotFoundError("mcp needs the extra mcp: in the repository, pip install './memory[mcp]'") from None
    with ILabMemory.from_path(options.file) as mem:
        mcp_server.serve_stdio(mem)
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _token(file: Path | None) -> str:
    name = "--token-file" if file else f"${TOKEN_VARIABLE}"
    try:
        token = (file.read_text() if file else os.environ.get(TOKEN_VARIABLE, "")).strip()
    except (OSError, UnicodeDecodeError):
        raise ValueError("--token-file: cannot be read as text") from None
    if not token and not file:
        return ""
    if len(token) < SHORTEST_TOKEN or not all("!" <= character <= "~" for character in token):
        raise ValueError(f"{name}: the token must have at least {SHORTEST_TOKEN} characters, all of visible ASCII")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        [(family, *_, where), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(where[:2], family=family)
    except OSError as error:
        raise StorageError(f"cannot listen on {host}:{port}: {error.strerror}") from None
