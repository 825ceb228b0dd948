"""The words of a sentence that only lead to what it says: "Hi, by the way, please remember that"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.message_statements.language import OPENINGS

if TYPE_CHECKING:
    from collections.abc import Collection

    from ilab_chat_service.message_statements.language import Language
    from ilab_chat_service.message_statements.sentences import Sentence

#: Maximum number of phrases that lead to a statement.
OPENERS = 12

EDGES = " ,;:-–—.!。，、；：…¡"
BETWEEN = re.compile("[ ,;:–—.!…¡、，：。（(*~-]*+")


class Opened(NamedTuple):
    """The beginning of a sentence."""

    start: int
    """Where it says something: behind "By the way", "Please remember that", "Last year"."""
    kept: int
    """Where its words are worth keeping: before "Last year"."""
    remembered: bool
    """Whether it asks to remember what follows."""
    polite: bool
    """Whether it asks for something: "Can you please"."""
    forever: bool
    """Whether it says "from now on"."""
    begins: Collection[str]
    """The sections with a phrase at `start`: what kind of sentence it is."""


def after_openers(sentence: Sentence, language: Language, start: int = 0) -> Opened:
    """Return where *sentence* says something, behind the words that only lead to it."""
    lower = sentence.lower
    passed: set[str] = set()
    kept = -1
    start = skip(lower, start)
    begins: list[tuple[str, int]] = []
    for _ in range(OPENERS):
        begins = language.beginnings.at(lower, start)
        found = next((each for each in begins if each[0] in OPENINGS), None) if begins else None
        if found is None:
            break
        section, end = found
        if section in {"adverbs", "instructions.from_now_on"} and kept < 0:
            kept = start
        start = skip(lower, end)
        passed.add(section)
    return Opened(
        start,
        start if kept < 0 else kept,
        "memory.remember" in passed,
        "polite" in passed,
        "instructions.from_now_on" in passed,
        [section for section, _ in begins] if begins else (),
    )


def skip(lower: str, start: int) -> int:
    """Return where the next word begins."""
    found = BETWEEN.match(lower, start)
    return found.end() if found else start
