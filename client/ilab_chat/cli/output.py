"""What the commands write: text that a terminal shows as it is, and one line for each failure."""

import sys
from typing import Final

from ilab_chat.errors import (
    ChatError,
    ContextTooLong,
    DeadlineExceeded,
    Interrupted,
    RequestIdReused,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)

CONTROLS: Final = {code: "" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
"""Characters that move the cursor, recolour or retitle a terminal: a model's words must not."""


class CommandError(Exception):
    """A command cannot go on. Its text is one line for the user."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def missing_extra(command: str) -> CommandError:
    """Return the failure of a command whose optional packages are not installed."""
    return CommandError(f"{command} needs the extra packages: pip install 'ilab-chat[cli]'", 1)


def write(text: str) -> None:
    """Write *text* to standard output at once; to a terminal, without control characters."""
    sys.stdout.write(text.translate(CONTROLS) if sys.stdout.isatty() else text)
    sys.stdout.flush()


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
        case Unavailable(reason=""):
            hint = f"is the server running at {address}? `make run` starts one"
        case ResourceExhausted() | Unavailable():
            hint = "try again later" if error.retry_after is None else f"try again in {error.retry_after:g} s"
        case DeadlineExceeded():
            hint = "a larger --timeout waits longer"
        case Interrupted():
            hint = "ask again"
        case RequestIdReused():
            hint = "a new message needs a new --request-id"
        case ContextTooLong():
            hint = "shorten the message"
        case Unimplemented():
            hint = f"is {address} an ilab-chat server?"
    return hint
