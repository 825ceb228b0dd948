"""The memories of a prompt: their lines and tokens, and the choice of them within a budget. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from ilab_chat_service.escaping import one_line
from ilab_chat_service.history import in_blocks, in_periods, shortened, without_middle
from ilab_chat_service.values import Context, PromptTokens, Recalled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import date, datetime, tzinfo

    from ilab_chat_service.values import PastTurn

#: Tokens of a message in addition to its text, for role and separators. OpenAI counts 3 to 4 per message.
MESSAGE_OVERHEAD_TOKENS = 4

#: Bytes of UTF-8 per token: about 4 in English and 3 in Chinese. The smaller number overestimates tokens.
BYTES_PER_TOKEN = 3

#: Marks a line that holds no longer.
EARLIER = " (earlier, no longer holds)"
#: Marks a line that a newer one seems to change.
DOUBTED = " (earlier, may no longer hold)"

#: Shares of the memory's tokens: facts with summaries, the summaries among them, and search hits. The conversation
#: gets the rest, and the tokens that facts and summaries do not need.
FACTS_SHARE = 0.72
SUMMARIES_SHARE = 0.12
HITS_SHARE = 0.15

#: A search hit is left out if a fact or a statement repeats at least this share of it literally.
SAID_SHARE = 0.45

#: Maximum size of a turn before the last one, as a share of the memory's tokens. A long reply is rarely needed again
#: and would take the space of everything else.
TURN_SHARE = 1 / 8
#: Share of the conversation's tokens that stays when its oldest turns are dropped, and the step to which its budget is
#: rounded: each new fact takes some tokens of the budget, which must not change where the conversation begins.
KEPT_SHARE, STEP_TOKENS = 0.2, 64
#: The last turn is left out if fewer tokens are left for it.
LEAST_TURN_TOKENS = 32

#: Bytes of the line of a summary in addition to its text.
SUMMARY_LINE_BYTES = 30


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the prompt: its memories (one, or the statements of a day), its text, and its estimated tokens."""

    memories: Sequence[Recalled]
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Selection:
    """The memory of a prompt, each part oldest first."""

    facts: Sequence[Line] = ()
    summaries: Sequence[Line] = ()
    turns: Sequence[PastTurn] = ()
    hits: Sequence[Line] = ()
    tokens: PromptTokens = field(default_factory=PromptTokens)


def select(
    context: Context, turns: Sequence[PastTurn], zone: tzinfo | None, *, memory_tokens: int, most_tokens: int
) -> Selection:
    """Return the memory of a prompt within *memory_tokens*.

    - Summaries get SUMMARIES_SHARE, the newest first.
    - Facts get the rest of FACTS_SHARE: pinned ones first, then the newest. Statements get the tokens that facts leave,
      the newest first, one line per day. A statement is left out if the conversation contains its message uncut.
    - Search hits get what the conversation leaves, at least half of HITS_SHARE: the best first, without what other
      parts of the prompt say.
    - The conversation gets the rest, but not the tokens that hits leave unused: its beginning must not change with each
      message. Those are for what else the user said that is near to the message in meaning. The last turn is not cut
      while *most_tokens* allow it: the user may refer to any part of it.
    """
    of = partial(line_of, zone=zone)
    facts_tokens, hits_tokens = int(memory_tokens * FACTS_SHARE), int(memory_tokens * HITS_SHARE)
    summaries_tokens = int(memory_tokens * SUMMARIES_SHARE)
    summaries = fitting_lines(map(of, shorter(context.summaries, summaries_tokens)), summaries_tokens)
    facts_tokens -= cost(summaries)
    facts = fitting_lines(map(of, distinct(context.facts)), facts_tokens)
    statements = distinct(context.statements, known={each.snippet for line in facts for each in line.memories})
    stated = chosen_statements(statements, facts_tokens - cost(facts), zone)
    lines = by_day(stated, zone)
    stable_tokens = cost([*facts, *lines, *summaries])
    shown = last_turns(
        turns,
        memory_tokens=memory_tokens,
        budget_tokens=memory_tokens - stable_tokens - hits_tokens,
        most_tokens=most_tokens - stable_tokens,
    )
    conversation_tokens = sum(map(turn_tokens, shown))
    texts = {text for turn in turns for text in (turn.message, turn.reply)}
    heard = {turn.recalled.observation_id for turn in shown if turn.message in texts}
    whole = {turn.recalled.observation_id for turn in shown if {turn.message, turn.reply} <= texts}
    unspoken = [each for each in stated if each.observation_id not in heard]
    said = [*oldest_first(facts), *(lines if len(unspoken) == len(stated) else by_day(unspoken, zone))]
    known = {each.snippet for line in said for each in line.memories}
    hits = [new for each in distinct(context.found) if each.observation_id not in whole and (new := news(known, each))]
    left = max(memory_tokens - stable_tokens - conversation_tokens, hits_tokens // 2)
    left = min(left, most_tokens - stable_tokens - conversation_tokens)
    found = fitting_lines(map(of, hits), left)
    told = {*heard, *(each.observation_id for line in (*said, *found) for each in line.memories)}
    others = [
        new for each in distinct(context.related) if each.observation_id not in told and (new := news(known, each))
    ]
    found += fitting_lines(map(of, others), left - cost(found))
    return Selection(
        facts=said,
        summaries=oldest_first(summaries),
        turns=shown,
        hits=oldest_first(found),
        tokens=PromptTokens(
            facts=cost(said), summaries=cost(summaries), search=cost(found), conversation=conversation_tokens
        ),
    )


def shorter(summaries: Sequence[Recalled], budget_tokens: int) -> Iterable[Recalled]:
    """Yield *summaries*, shortened so that the first two fit into *budget_tokens*."""
    longest = budget_tokens * BYTES_PER_TOKEN // min(2, max(1, len(summaries))) - SUMMARY_LINE_BYTES
    return (replace(each, snippet=without_middle(each.snippet, longest)) for each in summaries)


def news(known: Collection[str], hit: Recalled) -> Recalled | None:
    """Return *hit*, reduced to the statements that *known* does not repeat; None if *known* repeats all of it."""
    if not hit.parts:
        return None if says(known, hit.snippet) else hit
    parts = [each for each in hit.parts if not says(known, each.text)]
    return replace(hit, snippet=" ".join(each.text + each.mark for each in parts)) if parts else None


def says(known: Iterable[str], said: str) -> bool:
    """Return whether a text of *known* repeats most of *said*: "remember that ..., please" adds nothing."""
    return bool(said) and any(len(each) >= SAID_SHARE * len(said) and each in said for each in known)


def distinct(memories: Iterable[Recalled], known: Collection[str] = ()) -> list[Recalled]:
    """Return *memories* without those whose text is in *known* or repeats an earlier one."""
    seen, once = {*known}, []
    for each in memories:
        if not each.snippet or each.snippet not in seen:
            seen.add(each.snippet)
            once.append(each)
    return once


def chosen_statements(statements: Sequence[Recalled], budget_tokens: int, zone: tzinfo | None) -> list[Recalled]:
    """Return those of *statements*, which are oldest first, that fit into *budget_tokens*.

    If not all fit, messages that say little or hold no longer are left out, then the oldest.
    """
    sizes = [line_tokens(one_line(each.snippet)) for each in statements]
    days = [line_key(each, zone) for each in statements]
    if sum(sizes) + sum(line_tokens(day_text(*day)) for day in {*days}) <= budget_tokens:
        return [*statements]
    # The statements of a message belong together.
    messages = {each.observation_id for each in statements if not (each.says_little or each.is_earlier)}
    kept = [number for number, each in enumerate(statements) if each.observation_id in messages]
    begun: set[tuple[date, str]] = set()
    for number in kept:
        if (day := days[number]) not in begun:
            begun.add(day)
            sizes[number] += line_tokens(day_text(*day))
    return in_periods(
        [statements[number] for number in kept],
        [sizes[number] for number in kept],
        budget_tokens // STEP_TOKENS * STEP_TOKENS,
        time_of=lambda each: each.updated_at,
    )


def last_turns(
    turns: Sequence[PastTurn], *, memory_tokens: int, budget_tokens: int, most_tokens: int
) -> list[PastTurn]:
    """Return the newest of *turns* that fit into *budget_tokens*, shortened to TURN_SHARE of *memory_tokens*.

    The last turn stays whole. If it does not fit into *most_tokens* with the others, they are dropped; if it does not
    fit alone, it is shortened.
    """
    if not turns:
        return []
    short = [shortened(turn, int(memory_tokens * TURN_SHARE) * BYTES_PER_TOKEN) for turn in turns]
    most = budget_tokens // STEP_TOKENS * STEP_TOKENS
    before = in_blocks(short, [turn_tokens(turn) for turn in short], most, kept=int(most * KEPT_SHARE))[:-1]
    last = turns[-1]
    if sum(map(turn_tokens, before)) + turn_tokens(last) > most_tokens:
        before = []
    if turn_tokens(last) > most_tokens:
        if most_tokens < LEAST_TURN_TOKENS:
            return []
        # Two messages, each rounded up to a token.
        last = shortened(last, (most_tokens - 2 * (MESSAGE_OVERHEAD_TOKENS + 1)) * BYTES_PER_TOKEN)
    return [*before, last]


def fitting_lines(lines: Iterable[Line], budget_tokens: int) -> list[Line]:
    """Return the *lines*, which are most important first, that fit into *budget_tokens*."""
    fits: list[Line] = []
    for each in lines:
        if each.tokens <= budget_tokens:
            budget_tokens -= each.tokens
            fits.append(each)
    return fits


def oldest_first(lines: Iterable[Line]) -> list[Line]:
    """Return pinned memories, then the others by their last change, newest last."""

    def place(line: Line) -> tuple[bool, datetime, int]:
        first = line.memories[0]
        return not first.pinned, first.updated_at, first.observation_id

    return sorted(lines, key=place)


def line_of(memory: Recalled, zone: tzinfo | None) -> Line:
    """Return the line of a memory, with its date in *zone*."""
    text = line(memory, zone)
    return Line((memory,), text, line_tokens(text))


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
