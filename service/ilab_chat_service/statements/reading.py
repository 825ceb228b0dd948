"""Reading of a message: facts, other statements, and what the user says about the memory itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ilab_chat_service.statements.facts import TEXT_CHARACTERS, Fact, Reading
from ilab_chat_service.statements.language import languages_of
from ilab_chat_service.statements.saying import tells_change
from ilab_chat_service.statements.sentence_reader import EDGES, SentenceReader, after_openers
from ilab_chat_service.statements.sentences import Sentence, sentences_of

if TYPE_CHECKING:
    from ilab_chat_service.statements.language import Language

#: Minimum number of characters of a statement of the pool.
POOL_CHARACTERS = 8

#: Maximum number of facts and of statements of the pool.
FACTS = 32
POOL = 64

#: Maximum number of characters of a message that is hardly a pasted text.
OWN_CHARACTERS = 240

#: Replaces private text in a message. A sentence without its private part says nothing.
REDACTED = "[REDACTED]"

#: Maximum number of characters of a message that asks to forget the one before.
FORGET_CHARACTERS = 80


@dataclass(slots=True)
class Draft:
    """A reading in progress."""

    facts: list[Fact] = field(default_factory=list)
    pool: list[str] = field(default_factory=list)
    forget_topics: list[str] = field(default_factory=list)
    opt_out: bool = False
    languages: tuple[Language, ...] = ()
    """Those of the last sentence, for one that does not tell its own."""
    data: bool = False
    """The rest of the message is text to work on, or fiction."""
    is_short: bool = False
    """The message is too short for a pasted text."""
    last: Sentence | None = None
    """The sentence before, if it was a single fact, which the next may correct."""


def read(message: str) -> Reading:
    """Return what *message* says explicitly.

    The message is what one user wrote, with private text replaced by `[REDACTED]`. The work is bounded: of a message
    longer than 4,000 characters, the first and last 2,000 are read, and at most 64 sentences.
    """
    if len(message) <= FORGET_CHARACTERS and asks_to_forget_last(message):
        return Reading(forget_last=True)
    draft = Draft(is_short=len(message) <= OWN_CHARACTERS)
    for sentence in sentences_of(message):
        read_sentence(sentence, draft)
        if sentence.ends_line and sentence.text.endswith((":", "：")) and not introduces_facts(sentence, draft):
            draft.data = True
        if draft.data and sentence.ends_line:
            break
    if draft.opt_out:
        return Reading(opt_out=True)
    if draft.forget_topics:
        return Reading(pool=tuple(draft.pool[:POOL]), forget_topics=tuple(dict.fromkeys(draft.forget_topics)))
    return Reading(tuple(draft.facts[:FACTS]), tuple(dict.fromkeys(draft.pool))[:POOL])


def asks_to_forget_last(message: str) -> bool:
    """Return whether *message* is only a request to forget what was said before."""
    sentence = Sentence(" ".join(message.split()))
    for language in languages_of(sentence.lower_tokens, sentence.text):
        if "memory.forget_last" not in language.hints(sentence.words)[1]:
            continue
        # "今" leads to many a sentence, and is the first word of some of these phrases.
        for start in {0, after_openers(sentence, language).start}:
            if end := language.phrases("memory.forget_last").at(sentence.lower, start):
                rest = language.phrases("polite").anywhere.sub("", sentence.lower[end:])
                if not any(map(str.isalpha, rest)) and not sentence.asks:
                    return True
    return False


def introduces_facts(sentence: Sentence, draft: Draft) -> bool:
    """Return whether *sentence*, which ends with a colon, announces statements of the user."""
    for language in draft.languages:
        opened = after_openers(sentence, language)
        if opened.remembered or opened.start >= len(sentence.text.rstrip(EDGES)):
            return True
        if language.phrases("introductions").anywhere.search(sentence.lower):
            return True
    return False


def read_sentence(sentence: Sentence, draft: Draft) -> None:
    """Add what *sentence* says to *draft*."""
    draft.languages = languages_of(sentence.lower_tokens, sentence.text) or draft.languages
    parts = [SentenceReader(sentence, language) for language in draft.languages]
    last, draft.last = draft.last, None
    draft.data = draft.data or any(map(SentenceReader.is_fiction_or_task, parts))
    if any(map(SentenceReader.opts_out, parts)):
        # Also behind a task: "Translate this. Don't store it."
        draft.opt_out = True
    elif draft.data or REDACTED in sentence.text:
        pass
    elif forgotten := next(filter(None, map(SentenceReader.forgotten, parts)), None):
        draft.forget_topics += forgotten
    elif facts := next(filter(None, map(list, map(SentenceReader.facts, parts))), None):
        draft.facts += [fact for fact in facts if fact not in draft.facts]
        if len({fact.topic_key for fact in facts}) == 1 and not sentence.asks:
            draft.last = sentence
    elif last is not None and any(map(SentenceReader.corrects, parts)):
        correct(draft, last, sentence)
    elif is_for_pool(sentence, parts, may_be_change=draft.is_short):
        draft.pool.append(sentence.text)


def is_for_pool(sentence: Sentence, parts: list[SentenceReader], *, may_be_change: bool) -> bool:
    """Return whether *sentence* is a statement in the first person, in any of its possible languages.

    *may_be_change*: or one that tells a change: "The appointment moved to Thursday."
    """
    return (
        POOL_CHARACTERS <= len(sentence.text) <= TEXT_CHARACTERS
        and (any(map(SentenceReader.is_first_person, parts)) or (may_be_change and tells_change(sentence.text)))
        and not any(map(SentenceReader.asks_for_something, parts))
    )


def correct(draft: Draft, last: Sentence, sentence: Sentence) -> None:
    """Add a correction to the last fact: "My size is 43. No, actually it's 44."."""
    fact = draft.facts[-1]
    text = f"{fact.text} {sentence.text}"
    if last.text.endswith(fact.text) and len(text) <= TEXT_CHARACTERS:
        draft.facts[-1] = Fact(fact.type, fact.topic_key, text, fact.standing)
