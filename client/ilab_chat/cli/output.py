"""Output of the commands: text that is safe for a terminal, and one line for each failure."""

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Self, TextIO, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from ilab_chat._target import DEFAULT_PORT, Target
from ilab_chat.errors import (
    ChatError,
    ContextTooLong,
    DeadlineExceeded,
    Internal,
    Interrupted,
    RequestIdReused,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

T = TypeVar("T")

#: The exit codes of every command; `EXIT_CODES` says what each means.
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
#: As shells have it for a process that an interrupt ended.
EXIT_INTERRUPTED: Final = 130
EXIT_CODES: Final = {
    0: "success; for `health`: the server is serving",
    EXIT_FAILED: "the call failed, the requested item does not exist, or the output could not be written",
    EXIT_USAGE: "an invalid option, file or setting, or a missing package",
    EXIT_INTERRUPTED: "interrupted with Ctrl-C",
}

CONTROLS: Final = {code: "" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
"""Characters that move the cursor, recolour or retitle a terminal: a model's words must not."""


STANDARD_ERROR: Final = 2

#: Words of gRPC about a server that speaks HTTP and no gRPC.
HTTP_ANSWER: Final = re.compile(r"http1\.x server|Received http2 header with status: 4\d\d")


class CommandError(Exception):
    """A command cannot go on. Its text is one line for the user."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def missing_extra(command: str) -> CommandError:
    """Return the failure of a command whose optional packages are not installed."""
    return CommandError(f"{command} needs the extra cli: in the repository, pip install '.[cli]'", EXIT_USAGE)


def write(text: str) -> None:
    """Write *text* to standard output at once; to a terminal, without control characters."""
    sys.stdout.write(text.translate(CONTROLS) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_heading(line: str) -> None:
    """Write one line to standard output; in bold on a terminal, unless NO_COLOR is set."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        sys.stdout.write(f"\x1b[1m{line.translate(CONTROLS)}\x1b[0m\n")
    else:
        write(f"{line}\n")


def write_dimmed(line: str) -> None:
    """Write one line to standard output if that is a terminal; dimmed, unless NO_COLOR is set."""
    if not sys.stdout.isatty():
        return
    text = " ".join(line.translate(CONTROLS).split())
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        write(f"{text}\n")
    else:
        sys.stdout.write(f"\x1b[2m{text}\x1b[0m\n")
        sys.stdout.flush()


def write_json(message: Message) -> None:
    """Write *message* to standard output as one line; what its encoding does not have is escaped, not lost."""
    write(json_line(message, ascii_only=sys.stdout.encoding.lower() != "utf-8"))


def json_line(message: Message, *, ascii_only: bool = False) -> str:
    """Return *message* as one line. Names are the contract's; a field that is unset is there too."""
    text = json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
        ensure_ascii=ascii_only,
    )
    return f"{text}\n"


def ask(question: str) -> None:
    """Write a question to standard error, where the answer is typed behind it."""
    sys.stderr.write(question.translate(CONTROLS))
    sys.stderr.flush()


@contextmanager
def without_grpc_logs() -> Iterator[None]:
    """Keep the log lines of gRPC's C core out of standard error while the block runs, unless GRPC_VERBOSITY is set.

    They repeat, in the words of C, what the one line about a failure says. gRPC reads the variable when it is imported,
    which is before the command runs, so this leads the file descriptor away that it writes to.
    """
    stream = sys.stderr
    if "GRPC_VERBOSITY" in os.environ or not _is_standard_error(stream):
        yield
        return
    stream.flush()
    kept, nowhere = os.dup(stream.fileno()), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    sys.stderr = open(kept, "w", buffering=1, encoding=stream.encoding, errors="replace")  # noqa: PTH123, SIM115 - a descriptor
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, stream.fileno())
        sys.stderr.close()
        sys.stderr = stream


def _is_standard_error(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == STANDARD_ERROR
    except (OSError, ValueError):
        return False


def complain(line: str) -> None:
    """Write one line to standard error."""
    print(f"ilab-chat: {' '.join(line.translate(CONTROLS).split())}", file=sys.stderr)  # noqa: T201


def report(error: ChatError, address: str) -> None:
    """Write what failed, and what to do about it, as one line to standard error."""
    hint = hint_for(error, address)
    complain(f"{error} ({hint})" if hint else str(error))


def hint_for(error: ChatError, address: str) -> str:
    """Return what the user can do, or an empty text where `error` says it all."""
    hint = ""
    match error:
        case Unauthenticated(reason="MISSING_CREDENTIALS"):
            hint = "set ILAB_CHAT_TOKEN, or pass --token-file or a client certificate"
        case Unavailable(reason=""):
            hint = _connection_hint(error.message, address)
        case ResourceExhausted() | Unavailable():
            hint = "try again later" if error.retry_after is None else f"try again in {waiting(error.retry_after)}"
        case DeadlineExceeded() if "idle timeout" not in error.message:
            hint = "a larger --timeout waits longer"
        case Interrupted():
            hint = "ask again"
        case RequestIdReused():
            hint = "a new message needs a new --request-id"
        case ContextTooLong():
            hint = "shorten the message"
        case Unimplemented(reason="") | Internal(reason="") if HTTP_ANSWER.search(error.message):
            hint = _http_hint(address)
        case Unimplemented(reason=""):
            hint = f"is {address} an ilab-chat server?"
    return hint


def waiting(seconds: float) -> str:
    """Return a time to wait for people: whole seconds, from two minutes on minutes, from two hours on hours.

    Rounded up, because an attempt that is too early fails again.
    """
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds > 2 * size:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{max(math.ceil(seconds), 1)} s"


def _http_hint(address: str) -> str:
    own = Target.parse(address)
    at = f"{address.rpartition(':')[0]}:{DEFAULT_PORT}" if not own.is_several else "HOST:PORT"
    return f"an HTTP server answers at {address}; give the gRPC port, as in --address {at}"


def _connection_hint(message: str, address: str) -> str:
    """Return what to do about a connection that was not made, from the words of gRPC."""
    if HTTP_ANSWER.search(message):
        return _http_hint(address)
    if "WRONG_VERSION_NUMBER" in message:
        return f"the server at {address} does not speak TLS: leave out the --tls options"
    if "CERTIFICATE_VERIFY_FAILED" in message:
        return "the server's certificate is not trusted: give its authority with --tls-ca FILE"
    if "Socket closed" in message or "reset by peer" in message:
        return f"does the server at {address} speak TLS? then give --tls or --tls-ca FILE"
    return f"is the server running at {address}? `make run` starts one"


class Progress:
    """A line on standard error, if that is a terminal, about work that takes longer than a second.

    A context manager around the work: it removes the line at the end.

    Args:
        what: what is counted, such as `Exported`.
        clock: the seconds now.
    """

    #: Time before the line appears, and between two updates of it, in seconds.
    FIRST, NEXT = 1.0, 0.2

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._is_shown = sys.stderr.isatty()
        self._next = clock() + self.FIRST
        self._count = 0
        self._width = 0

    def counting(self, items: Iterable[T]) -> Iterator[T]:
        """Yield *items*, and show how many there were."""
        for item in items:
            yield item
            self._count += 1
            if self._is_shown and (now := self._clock()) >= self._next:
                self._next = now + self.NEXT
                self._show(f"{self._what} {self._count:,} items ...")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            self._show("")
            sys.stderr.write("\r")

    def _show(self, line: str) -> None:
        sys.stderr.write(f"\r{line:<{self._width}}")
        sys.stderr.flush()
        self._width = len(line)
