"""The command `ilab-chat`: talk to the service from a terminal."""

import argparse
import gc
import io
import os
import platform
import signal
import sys
from collections.abc import Sequence
from importlib import metadata

from ilab_chat._version import __version__
from ilab_chat.cli import chat, environment, health, memory, output, preview
from ilab_chat.cli.parser import Parser
from ilab_chat.errors import ChatError

EXAMPLES = """\
examples:
  ilab-chat chat --user alice "Hi, my name is Alice."   one message; the answer is streamed
  ilab-chat chat --user alice                           a conversation; Ctrl-D leaves
  git diff | ilab-chat chat --user alice                the message is read from standard input
  ilab-chat chat --user alice --json hi | jq .usage     the whole answer as one JSON object
  ilab-chat preview --user alice "What is my name?"     the prompt that the model would get
  ilab-chat memory search --user alice hiking           what is remembered about hiking
  ilab-chat health                                      print SERVING, with exit code 0, if the server is ready
"""
#: With the exit codes, which are the same for every command.
EPILOG = EXAMPLES + "".join(
    [
        "\nexit codes; a line on standard error says why:\n",
        *(f"  {code:<3}  {meaning}\n" for code, meaning in output.EXIT_CODES.items()),
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process. *argv* None: the process's own arguments."""
    # Modules stay until the process ends: no collection need look through them, not even the one at the end.
    gc.freeze()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows "?"
    with output.without_grpc_logs():
        return _run(sys.argv[1:] if argv is None else argv)


def _run(argv: Sequence[str]) -> int:
    parser = build_parser()
    parser.check(argv)
    arguments = parser.parse_args(argv)
    for name, meant in environment.misspelt(os.environ):
        output.complain(f"warning: {name} is set, but there is no such setting: did you mean {meant}?")
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except ChatError as error:
        output.report(error, arguments.address)
        return output.EXIT_FAILED
    except output.CommandError as error:
        output.complain(str(error))
        return error.exit_code
    except (KeyboardInterrupt, RuntimeError) as error:
        if not is_interrupt(error):
            raise
        # A second one ends the process at once, whatever still closes.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return output.EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader left, as in `... | head -1`. Python flushes at exit and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return output.EXIT_FAILED
    return code


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether *error* is due to a Ctrl-C.

    If one comes while grpcio waits for a condition, the lock is not held again, and leaving it raises RuntimeError.
    """
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _version() -> str:
    runs_on = ", ".join(f"{name} {metadata.version(name)}" for name in ("grpcio", "protobuf"))
    return f"ilab-chat {__version__} (Python {platform.python_version()}, {runs_on})"


def build_parser() -> Parser:
    """Return the parser of every command. Each sets `run`, which takes the arguments and returns the exit code."""
    top = Parser(
        prog="ilab-chat",
        description="Chat with an ilab-chat server, which remembers each user. `make run` starts one.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser: argparse.ArgumentParser = top
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    chat.add_parser(commands)
    preview.add_parser(commands)
    memory.add_parser(commands)
    health.add_parser(commands)
    return top
