"""The log: standard error, one line a record, as JSON or for a reader; and in it nothing that users say.

Every module logs with the standard library; fields of a record go into `extra={"fields": {...}}`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

log = logging.getLogger(__name__)

Fields: TypeAlias = dict[str, Any]
Renderer: TypeAlias = Callable[[Fields], str]

#: The packages whose records are wanted at every level. Others log requests, and so messages, below WARNING.
OURS = ("ilab_chat_service", "ilab_memory")


def set_up_logging(level: str, log_format: str) -> None:
    """Log to standard error, whatever was set up before (the openai package sets logging up when OPENAI_LOG is set).

    Args:
        level: DEBUG, INFO, WARNING or ERROR; for packages of others at least WARNING.
        log_format: json, text, or auto: text on a terminal, else JSON.
    """
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(console() if text else partial(json.dumps, default=repr)))
    # Beside the levels below, because a package may set its own.
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or is_ours(record))
    logging.basicConfig(
        level=max(logging.getLevelNamesMapping()[level], logging.WARNING), handlers=[handler], force=True
    )
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    # It would print the arguments of a record that cannot be formatted.
    logging.raiseExceptions = False
    # Python prints what nobody catches with its text; here it is a record like any other.
    sys.excepthook = lambda _type, error, _traceback: log.critical("uncaught exception", exc_info=error)
    threading.excepthook = lambda args: log.error("uncaught exception in a thread", exc_info=args.exc_value)
    sys.unraisablehook = lambda args: log.error("exception that could not be raised", exc_info=args.exc_value)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether one of our packages logged it."""
    return record.name.partition(".")[0] in OURS


class LineFormatter(logging.Formatter):
    """Formats a record as one line: the text that *render* makes of its fields."""

    def __init__(self, render: Renderer) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*."""
        return self._render(line(record))


def console() -> Renderer:
    """Return what renders a line for a reader."""
    from structlog.dev import ConsoleRenderer  # noqa: PLC0415 - a server that logs JSON starts sooner without

    renderer = ConsoleRenderer(colors=sys.stderr.isatty(), event_key="message", pad_event_to=0, sort_keys=False)
    return lambda fields: renderer(None, fields["level"], printable(fields))


def line(record: logging.LogRecord) -> Fields:
    """Return the fields of a record's line, in their order.

    An exception is logged as its chain, never as its text, which may quote a user. Of a message of several lines there
    is the first: asyncio writes the values that it failed on below it. A message of another package is left as
    its template: what stands in the place of `%s` may be anything, as the header that gRPC could not decode.
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
    """Escape what could break a line of text or speak to a terminal; JSON does so by itself."""
    return {name: escaped(value) if isinstance(value, str) else value for name, value in fields.items()}


def escaped(text: str) -> str:
    """Return *text* with its unprintable characters as in a Python string."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def exception_chain(error: BaseException) -> str:
    """Return the type of *error* and of what led to it, each with where it was raised, the nearest first.

    Never their texts: an error of the model's API quotes the prompt.
    """
    steps = []
    link: BaseException | None = error
    while link:
        steps.append(f"{type(link).__name__}{place(link)}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return ", from ".join(steps)


def place(error: BaseException) -> str:
    """Return where *error* was raised. Not by the module `traceback`, which reads source files."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return f" at {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else ""
