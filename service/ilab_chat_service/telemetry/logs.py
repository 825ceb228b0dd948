"""Logging to standard error: one line per record, as JSON or as text, never with content of users.

Modules use the standard library's logging and pass structured fields as `extra={"fields": {...}}`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

Fields: TypeAlias = dict[str, Any]
Renderer: TypeAlias = Callable[[Fields], str]

#: Packages whose records are logged at every level. Others log requests, and so user messages, below WARNING.
OURS = ("ilab_chat_service", "ilab_memory")

#: The logger of lines for people: on a terminal they are printed as they are.
PLAIN = "ilab_chat_service.plain"

#: The logger of audit lines, which are logged at every level.
AUDIT = "ilab_chat_service.audit"

#: Of a terminal.
RESET, RED, GREEN, YELLOW = "\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"
COLORS = {"info": YELLOW, "warning": YELLOW, "error": RED}

#: Columns of the outcome and of the method in the line of a call.
OUTCOME, METHOD = 17, 18
HASH_DIGITS = 4


def set_up_logging(level: str, log_format: str) -> None:
    """Log to standard error. Replaces other configurations, such as that of the openai package for OPENAI_LOG.

    Args:
        level: DEBUG, INFO, WARNING or ERROR. Other packages log at WARNING or above.
        log_format: json, text, or auto: text on a terminal, else JSON.
    """
    text = log_format == "text" or is_for_people(log_format)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(console() if text else partial(json.dumps, default=repr)))
    # A filter in addition to the levels below, because a package may set its own level.
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or is_ours(record))
    logging.basicConfig(
        level=max(logging.getLevelNamesMapping()[level], logging.WARNING), handlers=[handler], force=True
    )
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    logging.captureWarnings(True)
    # Otherwise logging prints the arguments of a record that it cannot format.
    logging.raiseExceptions = False
    # Otherwise Python prints uncaught exceptions with their text.
    sys.excepthook = lambda _type, error, _traceback: log.critical("uncaught exception", exc_info=error)
    threading.excepthook = lambda args: log.error("uncaught exception in a thread", exc_info=args.exc_value)
    sys.unraisablehook = lambda args: log.error("unraisable exception", exc_info=args.exc_value)


def is_for_people(log_format: str) -> bool:
    """Return whether a person reads the log: standard error is a terminal, and the log is not JSON."""
    return log_format != "json" and sys.stderr.isatty()


def is_ours(record: logging.LogRecord) -> bool:
    """Return whether one of our packages logged the record."""
    return record.name.partition(".")[0] in OURS


class LineFormatter(logging.Formatter):
    """Formats a record as one line by rendering its fields with *render*."""

    def __init__(self, render: Renderer) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*."""
        return self._render(line(record))


def console() -> Renderer:
    """Return a renderer of human-readable lines."""
    from structlog.dev import ConsoleRenderer  # noqa: PLC0415 - slow to import, and not needed for JSON

    renderer = ConsoleRenderer(colors=sys.stderr.isatty(), event_key="message", pad_event_to=0, sort_keys=False)
    on_terminal = sys.stderr.isatty()

    def render(fields: Fields) -> str:
        if on_terminal and fields["message"] == "call" and "rpc.method" in fields:
            return call_line(printable(fields), colors=not os.environ.get("NO_COLOR"))
        if on_terminal and fields["logger"] == PLAIN:
            return escaped(fields["message"])
        return str(renderer(None, fields["level"], printable(fields)))

    return render


def call_line(fields: Fields, *, colors: bool) -> str:
    """Return the line of a call on a terminal: its main fields, aligned and coloured by outcome.

    17:09:44 OK                Chat                 415 ms  10>8 tokens  3 memories  stored  #4f2a
    """
    code = fields["rpc.response.status_code"]
    outcome = f"{fields.get('error.type', code):<{OUTCOME}}"
    if colors:
        outcome = f"{GREEN if code == 'OK' else COLORS.get(fields['level'], RED)}{outcome}{RESET}"
    clock = datetime.fromisoformat(fields["timestamp"]).astimezone()
    method = fields["rpc.method"].rpartition("/")[2]
    head = f"{clock:%H:%M:%S} {outcome} {method:<{METHOD}} {fields['duration_ms']:>6.0f} ms"
    return "  ".join([head, *details(fields)])


def details(fields: Fields) -> Iterator[str]:
    """Yield the rest of the line of a call."""
    if "gen_ai.usage.input_tokens" in fields:
        about = "~" if fields.get("gen_ai.usage.estimated") else ""
        yield f"{about}{fields['gen_ai.usage.input_tokens']}>{fields['gen_ai.usage.output_tokens']} tokens"
    if count := sum(value for name, value in fields.items() if name.startswith("memories.")):
        yield f"{count} {'memory' if count == 1 else 'memories'}"
    if fields.get("replayed"):
        yield "replayed"
    elif fields.get("stored"):
        yield "stored"
    if "user.hash" in fields:
        yield f"#{fields['user.hash'][:HASH_DIGITS]}"
    if "status_message" in fields:
        yield fields["status_message"]
    if "exception_chain" in fields:
        yield fields["exception_chain"]


def line(record: logging.LogRecord) -> Fields:
    """Return the fields of a record, in order, without content of users.

    - Exceptions are logged as a chain of types: their text may quote a user.
    - Only the first line of a message is logged: asyncio appends the values that it failed on.
    - Messages of other packages are logged as templates: the arguments may be anything, for instance a header that gRPC
      could not decode.
    """
    known = is_ours(record) or record.name == "py.warnings"
    message = record.getMessage() if known else str(record.msg)
    fields: Fields = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": message.partition("\n")[0],
        **getattr(record, "fields", {}),
    }
    if record.exc_info and (error := record.exc_info[1]):
        fields["exception_chain"] = exception_chain(error)
    return fields


def printable(fields: Fields) -> Fields:
    """Escape line breaks and terminal control sequences in text fields, as JSON does anyway."""
    return {name: escaped(value) if isinstance(value, str) else value for name, value in fields.items()}


def escaped(text: str) -> str:
    """Return *text* with unprintable characters escaped as in a Python string."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def exception_chain(error: BaseException) -> str:
    """Return the types of *error* and its causes, each with the file and line that raised it, outermost first.

    Never their texts: an error of the model's API quotes the prompt.
    """
    steps = []
    link: BaseException | None = error
    while link:
        steps.append(f"{type(link).__name__}{location(link)}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return ", from ".join(steps)


def location(error: BaseException) -> str:
    """Return the file and line that raised *error*. The `traceback` module would read source files."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return f" at {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else ""
