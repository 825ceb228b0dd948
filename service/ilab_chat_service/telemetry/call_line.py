"""The log line of a call on a terminal: its main fields, aligned and coloured by outcome."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RESET, RED, GREEN, YELLOW = "\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"
COLORS = {"info": YELLOW, "warning": YELLOW, "error": RED}

#: Columns of the outcome and of the method.
OUTCOME, METHOD = 17, 18
HASH_DIGITS = 4


def call_line(fields: Mapping[str, Any], *, colors: bool) -> str:
    """Return the line of a call from the fields of its log record.

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


def details(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rest of the line."""
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
