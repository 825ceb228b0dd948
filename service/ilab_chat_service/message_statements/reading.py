"""Reading of a message: facts, other statements, and what the user says about the memory itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from ilab_chat_service.message_statements.fact_keys import TEXT_CHARACTERS, Fact
from ilab_chat_service.message_statements.facts import facts_of
from ilab_chat_service.message_statements.instructions import TakenBack, taken_back
from ilab_chat_service.message_statements.language import LANGUAGES, languages_of
from ilab_chat_service.message_statements.memory_requests import (
    asks_to_forget_last,
    forgets_about,
    opts_out,
    topic_of,
    topics_to_forget,
)
from ilab_chat_service.message_statements.parsed_sentence import EDGES, ParsedSentence, after_openers
from ilab_chat_service.message_statements.possibly_outdated import tells_end
from ilab_chat_service.message_statements.sentences import FENCE, Sentence, sentences_of
from ilab_chat_service.message_statements.statement_words import hints, saying, tells_change
from ilab_chat_service.message_statements.text import UNSPACED, lowered

if TYPE_CHECKING:
    from ilab_chat_service.message_statements.language import Language

#: Minimum number of characters of a statement of the pool.
POOL_CHARACTERS = 8

#: Minimum number of words with content, numbers and days of a statement that does not mention the user.
TOLD_WORDS = 3

#: Maximum number of facts, of sentences that take back an instruction, and of statements of the pool.
FACTS = 32
TAKEN_BACK = 4
POOL = 64

#: Maximum number of characters of a message that is hardly a pasted text.
OWN_CHARACTERS = 240

#: Minimum number of characters of a paragraph that is hardly the user's own in a message with short ones around it.
PASTED_CHARACTERS = 400

#: Maximum number of characters of a salutation.
SALUTATION_CHARACTERS = 40

PARAGRAPH = re.compile(r"\n[ \t\r]*\n\s*")

#: Replaces private text in a message. A sentence without its private part says nothing.
REDACTED = "[REDACTED]"


@dataclass(frozen=True, slots=True)
class Reading:
    """The explicit statements of a message."""

    facts: tuple[Fact, ...] = ()
    pool: tuple[str, ...] = ()
    """Other statements in the first person, each 8 to 300 characters."""
    taken_back: tuple[TakenBack, ...] = ()
    """Sentences that take back an instruction."""
    opt_out: bool = False
    """The user does not want this message to be stored."""
    forget_last: bool = False
    """The message asks to forget the one before, and says little else."""
    forget_about: str = ""
    """The subject, if the message only asks to forget what the user said about it; else empty."""
    forget_all: bool = False
    """Whether that is everything about the subject, and not the last thing that the user said about it."""
    forget_topics: tuple[str, ...] = ()
    """Topic keys of facts that the message only asks to forget, and of what led to them."""

    @property
    def forgets(self) -> bool:
        """Whether the message only asks to forget something."""
        return bool(self.forget_last or self.forget_about or self.forget_topics)


@dataclass(slots=True)
class Draft:
    """A reading in progress."""

    facts: list[Fact] = field(default_factory=list)
    pool: list[str] = field(default_factory=list)
    forget_topics: list[str] = field(default_factory=list)
    forget_about: str = ""
    forget_all: bool = False
    taken_back: list[TakenBack] = field(default_factory=list)
    sentences: int = 0
    """Number of sentences that were read."""
    opt_out: bool = False
    languages: tuple[Language, ...] = ()
    """Those of the last sentence, for one that does not tell its own."""
    data: bool = False
    """The rest of the message is text to work on, or fiction."""
    is_short: bool = False
    """The message is too short for a pasted text."""
    is_remark: bool = False
    """It is what the user says about a pasted text."""
    end: Sentence | None = None
    """The last sentence of a short message, if it is not this one, which may explain it."""
    last: Sentence | None = None
    """The sentence before, if it was a single fact, which the next may correct."""


def read(message: str) -> Reading:
    """Return what *message* says explicitly.

    The message is what one user wrote, with private text replaced by `[REDACTED]`. The work is bounded: of a message
    longer than 4,000 characters, the first and last 2,000 are read, and at most 64 sentences.
    """
    if asks_to_forget_last(message):
        return Reading(forget_last=True)
    is_short = len(message) <= OWN_CHARACTERS
    draft = Draft(is_short=is_short)
    parts = own_parts(message)
    is_task = read_part(parts[0], draft)
    for remark in () if is_task else parts[1:]:
        draft.data, draft.is_short, draft.is_remark = False, True, True
        read_part(remark, draft)
    if draft.opt_out:
        return Reading(opt_out=True)
    # In a longer message, the request may be part of a pasted text, and an erasure is for good.
    if draft.forget_about and is_short and not (draft.facts or draft.pool):
        topic = topic_of(draft.forget_about, draft.languages) if draft.forget_all else None
        return Reading(
            forget_about=draft.forget_about, forget_all=draft.forget_all, forget_topics=(topic,) if topic else ()
        )
    if draft.forget_topics and draft.sentences == 1:
        # "Forget my job. How do I become a pilot?" may mean the job alone.
        return Reading(forget_topics=tuple(dict.fromkeys(draft.forget_topics)))
    return Reading(
        tuple(draft.facts[:FACTS]), tuple(dict.fromkeys(draft.pool))[:POOL], tuple(draft.taken_back[:TAKEN_BACK])
    )


def read_part(text: str, draft: Draft) -> bool:
    """Read the sentences of *text*; return whether its first line is a task ("Translate this")."""
    is_first_line, is_task = True, False
    sentences = sentences_of(text)
    for number, sentence in enumerate(sentences):
        draft.end = sentences[-1] if draft.is_short and number < len(sentences) - 1 else None
        read_sentence(sentence, draft)
        is_task = is_task or (is_first_line and draft.data)
        if sentence.ends_line and sentence.text.endswith((":", "：")) and not introduces_facts(sentence, draft):
            draft.data = True
        if draft.data and sentence.ends_line:
            break
        is_first_line = is_first_line and not sentence.ends_line
    return is_task


def own_parts(message: str) -> list[str]:
    """Return *message*, or what comes before the end of a pasted text in it, and what the user says about the text.

    Such a message has a short paragraph, one or more that are pasted, and a short one about them: "I can't make head
    nor tail of this", a letter, "The part for me is at the end: ...". A letter with a salutation is left out.
    """
    if len(message) < PASTED_CHARACTERS or FENCE in message:
        return [message]
    starts = [0, *(each.end() for each in PARAGRAPH.finditer(message.rstrip())), len(message)]
    paragraphs = [message[start:stop] for start, stop in pairwise(starts)]
    if len(paragraphs) < 3:  # noqa: PLR2004 - a pasted one between two
        return [message]
    first, *pasted, last = paragraphs
    if max(len(first), len(last)) > OWN_CHARACTERS or max(map(len, pasted)) < PASTED_CHARACTERS:
        return [message]
    begin = lowered(pasted[0][:SALUTATION_CHARACTERS])
    is_letter = any(language.phrases("salutations").at(begin, 0) for language in LANGUAGES)
    return [first if is_letter else message[: starts[-2]], last]


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
    draft.sentences += 1
    draft.languages = languages_of(sentence.lower_tokens, sentence.text) or draft.languages
    parts = [ParsedSentence(sentence, language) for language in draft.languages]
    last, draft.last = draft.last, None
    draft.data = draft.data or any(map(ParsedSentence.is_fiction_or_task, parts))
    draft.taken_back += taken_back_in(sentence, parts, draft)
    if any(map(opts_out, parts)):
        # Also behind a task: "Translate this. Don't store it."
        draft.opt_out = True
    elif draft.data or REDACTED in sentence.text:
        pass
    elif named := next(filter(None, map(forgets_about, parts)), None):
        is_first = not draft.forget_about
        draft.forget_about, rest, draft.forget_all = named
        # Once: a message may repeat the request hundreds of times.
        if rest and is_first:
            read_sentence(Sentence(rest), draft)
    elif forgotten := next(filter(None, map(topics_to_forget, parts)), None):
        draft.forget_topics += forgotten
    elif facts := next(filter(None, map(list, map(facts_of, parts))), None):
        # A pasted text may end with a short paragraph too, and an instruction would hold for good.
        own = [fact for fact in facts if not (fact.standing and draft.is_remark)]
        draft.facts += [fact for fact in own if fact not in draft.facts]
        if len({fact.topic_key for fact in own}) == 1 and not sentence.asks:
            draft.last = sentence
    elif last is not None and any(map(ParsedSentence.corrects, parts)):
        correct(draft, last, sentence)
    elif is_for_pool(sentence, parts, draft):
        draft.pool.append(sentence.text)


def taken_back_in(sentence: Sentence, parts: list[ParsedSentence], draft: Draft) -> list[TakenBack]:
    """Return *sentence* if it takes back an instruction."""
    if draft.data or REDACTED in sentence.text:
        return []
    return list(filter(None, map(taken_back, parts)))[:1]


def is_for_pool(sentence: Sentence, parts: list[ParsedSentence], draft: Draft) -> bool:
    """Return whether *sentence* is a statement in the first person, in any of its possible languages.

    Or one that tells a change or an end in a short message ("The leak is fixed"), or any about a pasted text.
    """
    return (
        POOL_CHARACTERS <= len(sentence.text) <= TEXT_CHARACTERS
        and has_content(sentence)
        and (
            draft.is_remark
            or any(map(ParsedSentence.is_first_person, parts))
            or (draft.is_short and (tells_change(sentence.text) or is_told(sentence, draft)))
            or (draft.is_short and tells_end(sentence.text) and not any(map(ParsedSentence.is_addressed, parts)))
        )
        and not any(map(ParsedSentence.asks_for_something, parts))
    )


def is_told(sentence: Sentence, draft: Draft) -> bool:
    """Return whether *sentence*, of a short message, tells about the user's life without a word for the user.

    It explains the question that follows ("Isla gets a rash from sesame. Is there hummus without?"), or has a day or a
    number ("The plumber comes on Thursday").
    """
    if not (has_value(sentence) or (draft.end is not None and asks(draft.end))):
        return False
    said = saying(sentence.text)
    return said is not None and len(said.words) + len(said.numbers) + len(said.values) >= TOLD_WORDS


def has_value(sentence: Sentence) -> bool:
    """Return whether *sentence* has a number, or a word of a day, a month or a time of day."""
    return any(word[0].isdigit() for word in sentence.words if word) or not sentence.words.isdisjoint(hints().values)


def asks(sentence: Sentence) -> bool:
    """Return whether *sentence* is a question or a request."""
    languages = languages_of(sentence.lower_tokens, sentence.text)
    return sentence.asks or any(ParsedSentence(sentence, each).asks_for_something() for each in languages)


def has_content(sentence: Sentence) -> bool:
    """Return whether *sentence* has a word that says something: "I know that." has none."""
    if UNSPACED.search(sentence.text):
        return True
    weightless = [each.changes.light for each in languages_of(sentence.lower_tokens, sentence.text)]
    return any(
        len(word) > 1 and "'" not in word and not any(word in light for light in weightless) for word in sentence.words
    )


def correct(draft: Draft, last: Sentence, sentence: Sentence) -> None:
    """Add a correction to the last fact: "My size is 43. No, actually it's 44."."""
    fact = draft.facts[-1]
    text = f"{fact.text} {sentence.text}"
    if last.text.endswith(fact.text) and len(text) <= TEXT_CHARACTERS:
        draft.facts[-1] = Fact(fact.type, fact.topic_key, text, fact.standing)
