"""From memory and a message to the model's messages, within a budget. Pure functions.

Memory is data, not instruction: `one_line` and `defused` see to it that nothing stored can pass for another line of the
prompt, another role, or a control token of a chat template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilab_chat_service.ports import ChatMessage, Context, MemorySource, PastTurn, Recalled

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A word or a whole message costs some tokens more than its text: role, separators (OpenAI counts 3 to 4 a message).
MESSAGE_OVERHEAD_TOKENS = 4

#: Bytes of UTF-8 in a token. English has about 4 and Chinese about 3; the smaller one errs towards fitting.
BYTES_PER_TOKEN = 3

#: A search hit below this SearchScore stays out. Its largest part, 0.60, is the rank relative to the best hit; 0.25 is
#: recency: a fresh row that shares only a common word with the message scores about 0.3.
RELEVANCE_FLOOR = 0.35

#: The control tokens of common chat templates: ChatML and Llama 3, Llama 2, Gemma, Mistral, DeepSeek, end of sequence.
CONTROL_TOKEN = re.compile(
    r"<(?=\|)|(?<=\|)>|<(?=\uFF5C)|<(?=/?s>)|<(?=(?:start|end)_of_turn>)|<(?=/?SYS>>|<SYS>>|</SYS>>)|\[(?=/?INST\])",
    re.IGNORECASE,
)

#: Everything that some reader takes for the end of a line, tabs and other control characters included.
BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")

WORD = re.compile(r"\w+")

#: Words that say nothing about a subject: function words, question words, greetings and thanks.
EMPTY_WORDS = frozenset(
    """
    a about after afternoon again all also am an and any are aren as at be because been before being but by bye can
    cannot cheers cool could couldn d day did didn do does doesn doing don done down each evening few fine for from
    further get going good goodbye got great greetings had hadn haha has hasn have haven having he hello help her
    here hers hey hi him his hiya hmm how howdy i if in into is isn it its just know later let like ll lol lot m
    many may me might more morning most much must my need nice night no nope nor not now of off oh ok okay on once
    only or other our out over own please re really right s same say shall she should shouldn so some sorry such
    sure t tell than thank thanks that the their them then there these they this those through thx to today too
    under until up us ve very want was wasn we welcome well were weren what when where which while who whom whose
    why will with won would wouldn wow yeah yep yes you your yours
    """.split()
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is sent, and the memories that it contains."""

    messages: tuple[ChatMessage, ...]
    memories: tuple[Recalled, ...]


def compose(context: Context, message: str, *, instruction: str, budget_tokens: int) -> Prompt:
    """Return the prompt for *message*: a system message with one line a memory, the session's last turns, the message.

    When *budget_tokens* (estimated, see `tokens`) is too small, memory is given up in this order: search hits, oldest
    first; turns, oldest first; summaries, oldest first; the other memories, lowest score first. The instruction and the
    message stay whole.
    """
    turns = list(context.turns)
    lines = memory_lines(context, message)
    fixed = tokens(system_text(instruction, [])) + tokens(message) + 2 * MESSAGE_OVERHEAD_TOKENS
    spent = fixed + sum(map(line_tokens, lines)) + sum(map(turn_tokens, turns))
    for item in sacrifices(lines, turns):
        if spent <= budget_tokens:
            break
        if isinstance(item, PastTurn):
            turns.remove(item)
            spent -= turn_tokens(item)
        else:
            lines.remove(item)
            spent -= line_tokens(item)
    return Prompt(
        messages=(
            ChatMessage("system", system_text(instruction, lines)),
            *conversation(turns),
            ChatMessage("user", message),
        ),
        memories=used(lines, turns),
    )


def memory_lines(context: Context, message: str) -> list[Recalled]:
    """Return the memories that get a line: summaries, the session's memories, and what searching found that matters.

    A search hit that is also a memory of the session takes its line, since it has the snippet; one that the model sees
    as conversation needs none.
    """
    spoken = {turn.recalled.observation_id for turn in context.turns}
    hits = [hit for hit in relevant(context.found, message) if hit.observation_id not in spoken]
    taken = {hit.observation_id for hit in hits}
    return [*context.summaries, *(item for item in context.memories if item.observation_id not in taken), *hits]


def relevant(found: Iterable[Recalled], message: str) -> list[Recalled]:
    """Return the search hits that may enter the prompt: none for a message without a subject, such as a greeting."""
    if all(word in EMPTY_WORDS for word in WORD.findall(message.casefold())):
        return []
    return [hit for hit in found if hit.score >= RELEVANCE_FLOOR]


def system_text(instruction: str, lines: Iterable[Recalled]) -> str:
    """Return the system message: the instruction, a heading, and one line a memory, or `(none yet)`."""
    body = "\n".join(map(line, lines)) or "(none yet)"
    return f"{instruction}\nUser profile / past memory:\n{body}"


def line(memory: Recalled) -> str:
    """Return the line of one memory: `- (type) title [date]`, and the snippet if there is one."""
    head = f"- ({one_line(memory.type)}) {one_line(memory.title)} [{memory.updated_at:%Y-%m-%d}]"
    return f"{head}: {one_line(memory.snippet)}" if memory.snippet else head


def one_line(text: str) -> str:
    """Return *text* defused, with every run of white space, line ends and control characters as one space."""
    return BLANKS.sub(" ", defused(text)).strip()


def defused(text: str) -> str:
    """Return *text* with a space inside each control token of a chat template, so that none of them is one any more."""
    return CONTROL_TOKEN.sub(lambda match: f" {match[0]}" if match[0] == ">" else f"{match[0]} ", text)


def conversation(turns: Iterable[PastTurn]) -> Iterable[ChatMessage]:
    """Yield each turn as the user's message and the assistant's."""
    for turn in turns:
        yield ChatMessage("user", defused(turn.message))
        yield ChatMessage("assistant", defused(turn.reply))


def sacrifices(lines: Iterable[Recalled], turns: Iterable[PastTurn]) -> list[Recalled | PastTurn]:
    """Return everything that may be given up, in the order in which it is."""
    lines = list(lines)
    by_age = sorted(lines, key=lambda item: item.updated_at)
    return [
        *(item for item in by_age if item.source is MemorySource.SEARCH),
        *turns,
        *(item for item in by_age if item.source is MemorySource.SUMMARY),
        *sorted((item for item in lines if item.source is MemorySource.SESSION), key=lambda item: item.score),
    ]


def used(lines: Iterable[Recalled], turns: Iterable[PastTurn]) -> tuple[Recalled, ...]:
    """Return each memory of the prompt once: those with a line first, then the turns that have none."""
    lines = list(lines)
    listed = {item.observation_id for item in lines if item.observation_id}
    return (*lines, *(turn.recalled for turn in turns if turn.recalled.observation_id not in listed))


def tokens(text: str) -> int:
    """Return an estimate of the tokens of *text* that errs on the high side for natural languages."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def line_tokens(memory: Recalled) -> int:
    """Return the estimated tokens of a memory's line, its line end included."""
    return tokens(line(memory) + "\n")


def turn_tokens(turn: PastTurn) -> int:
    """Return the estimated tokens of a turn as two messages."""
    return tokens(turn.message) + tokens(turn.reply) + 2 * MESSAGE_OVERHEAD_TOKENS
