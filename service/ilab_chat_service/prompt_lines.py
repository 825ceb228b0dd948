"""The lines of memories in a prompt, and the tokens of texts. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from ilab_chat_service.escaping import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date, datetime, tzinfo

    from ilab_chat_service.values import PastTurn, Recalled

#: Tokens of a message in addition to its text, for role and separators. OpenAI counts 3 to 4 per message.
MESSAGE_OVERHEAD_TOKENS = 4

#: Bytes of UTF-8 per token: about 4 in English and 3 in Chinese. The smaller number overestimates tokens.
BYTES_PER_TOKEN = 3

#: Marks a line that holds no longer.
EARLIER = " (earlier, no longer holds)"
#: Marks a line that a newer one seems to change.
DOUBTED = " (earlier, may no longer hold)"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the prompt: its memories (one, or the statements of a day), its text, and its estimated tokens."""

    memories: Sequence[Recalled]
    text: str
    tokens: int


def line_of(zone: tzinfo | None) -> Callable[[Recalled], Line]:
    """Return a function that makes the line of a memory, with its date in *zone*."""

    def make(memory: Recalled) -> Line:
        text = line(memory, zone)
        return Line((memory,), text, line_tokens(text))

    return make


def line(memory: Recalled, zone: tzinfo | None = UTC) -> str:
    """Return the line of one memory: `- (type) title [date]: text`. Omit an empty title or text."""
    day = local_date(memory.updated_at, zone).isoformat()
    title = f" {title}" if (title := one_line(memory.title)) else ""
    text = f": {one_line(memory.snippet)}" if memory.snippet else ""
    return f"- ({one_line(memory.type)}){title} [{day}]{mark(memory)}{text}"


def by_day(statements: Iterable[Recalled], zone: tzinfo | None) -> list[Line]:
    """Return the lines of *statements*, which are oldest first: one for each day, and one for what holds no longer."""
    key = partial(line_key, zone=zone)
    return [statements_line(day, list(said)) for (day, _), said in groupby(sorted(statements, key=key), key=key)]


def line_key(statement: Recalled, zone: tzinfo | None) -> tuple[date, str]:
    """Return the sort key of *statement*: its day and its mark. Statements with equal keys share a line."""
    return local_date(statement.updated_at, zone), mark(statement)


def statements_line(day: date, said: Sequence[Recalled]) -> Line:
    """Return the line of the statements of a day."""
    text = f"{day_text(day, mark(said[0]))}{' '.join(one_line(each.snippet) for each in said)}"
    return Line(said, text, line_tokens(text))


def day_text(day: date, marked: str) -> str:
    """Return the beginning of the line of a day."""
    return f"- (said) [{day.isoformat()}]{marked}: "


def mark(memory: Recalled) -> str:
    """Return the mark of a memory that holds no longer, or may not; empty for any other."""
    return EARLIER if memory.is_earlier else DOUBTED if memory.is_doubted else ""


def local_date(moment: datetime, zone: tzinfo | None) -> date:
    """Return the date of *moment* in *zone*."""
    try:
        return moment.astimezone(zone).date()
    except OverflowError:
        # Within a day of year 1 or 9999.
        return moment.date()


def cost(lines: Iterable[Line]) -> int:
    """Return the estimated tokens of *lines*."""
    return sum(each.tokens for each in lines)


def tokens(text: str) -> int:
    """Return an estimate of the tokens of *text* that errs on the high side for natural languages."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def line_tokens(text: str) -> int:
    """Return the estimated tokens of a line, its line end included."""
    return tokens(text + "\n")


def turn_tokens(turn: PastTurn) -> int:
    """Return the estimated tokens of a turn as two messages."""
    return tokens(turn.message) + tokens(turn.reply) + 2 * MESSAGE_OVERHEAD_TOKENS
