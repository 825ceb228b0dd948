"""Instructions that the user takes back: "You can write longer answers again", "Stop calling me Captain".

A sentence alone does not tell which instruction it takes back, nor whether there is one: `takes_back` compares it with
an instruction that is known.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ilab_chat_service.message_statements.language import LANGUAGES
from ilab_chat_service.message_statements.openings import skip
from ilab_chat_service.message_statements.statement_words import key_of, saying
from ilab_chat_service.message_statements.text import folded, tokens
from ilab_chat_service.message_statements.values import TEXT_CHARACTERS, TakenBack

if TYPE_CHECKING:
    from ilab_chat_service.message_statements.parsed_sentence import ParsedSentence

#: Topics of instructions for answers.
INSTRUCTIONS = ("called", "language", "style")
#: Sections of which a sentence has a phrase that takes an instruction back.
WORDS = frozenset({"instructions.relieved", "instructions.restored", "instructions.again"})
#: The topic that has a value, so that the same topic does not tell that the same is meant: another name may hold.
NAMED = "called"


def taken_back(parsed: ParsedSentence) -> TakenBack | None:
    """Return the sentence if it takes back an instruction: it relieves of one, allows something again, or stops it."""
    text = parsed.sentence.text.strip()
    if parsed.hints.isdisjoint(WORDS):
        return None
    if (parsed.sentence.asks and not parsed.opened.polite) or len(text) > TEXT_CHARACTERS:
        return None
    if parsed.sentence.is_quoted(parsed.opened.start) or parsed.contains("instructions.once"):
        return None
    topic = next((key for key, words in parsed.language.style if words.anywhere.search(parsed.lower)), "")
    return TakenBack(text, topic) if relieves(parsed) or (topic and restores(parsed)) else None


def relieves(parsed: ParsedSentence) -> bool:
    """Return whether it has words by which an instruction is taken back."""
    phrases, lower = parsed.language.phrases, parsed.lower
    if not parsed.language.spaced:
        return parsed.contains("instructions.relieved")
    starts = {skip(lower, 0), parsed.opened.start, *(clause.start for clause in parsed.clauses())}
    starts |= {skip(lower, clause.cut) for clause in parsed.clauses()}
    if any(phrases("instructions.relieved").at(lower, start) for start in starts):
        return True
    if not parsed.contains("instructions.again"):
        return False
    allowed = ("instructions.permitted", "instructions.verbs")
    return any(phrases(each).at(lower, start) for each in allowed for start in starts)


def restores(parsed: ParsedSentence) -> bool:
    """Return whether the user says that something is welcome again: "Emojis are fine again"."""
    return parsed.contains("instructions.restored") and not parsed.contains("reported")


def takes_back(newer: TakenBack, topic: str, instruction: str) -> bool:
    """Return whether *newer* takes back *instruction*, a text of this topic."""
    if topic.partition("/")[0] not in INSTRUCTIONS:
        return False
    if newer.topic == topic != NAMED:
        return True
    return not matter(newer.text).isdisjoint(matter(instruction))


def matter(text: str) -> frozenset[str]:
    """Return the words of an instruction that tell what it is about."""
    said = saying(text)
    if said is None:
        return frozenset(map(key_of, tokens(folded(text))))
    return frozenset(word.key for word in said.words) - generic(said.code)


@cache
def generic(code: str) -> frozenset[str]:
    """Return the words that many instructions have, such as "answer"."""
    instructions = next(each for each in LANGUAGES if each.code == code).table["instructions"]
    sections = ("forever", "from_now_on", "permitted", "again", "generic")
    phrases = (phrase for each in sections for phrase in instructions.get(each, ()))
    return frozenset(key_of(word) for phrase in phrases for word in tokens(folded(phrase)))
