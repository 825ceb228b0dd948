"""Requests about the memory itself: not to store something, or to forget it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.message_statements.instructions import MARK
from ilab_chat_service.message_statements.language import languages_of
from ilab_chat_service.message_statements.parsed_sentence import EDGES, Clause, after_openers, skip
from ilab_chat_service.message_statements.sentences import Sentence
from ilab_chat_service.message_statements.text import folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ilab_chat_service.message_statements.language import Language
    from ilab_chat_service.message_statements.parsed_sentence import ParsedSentence

#: A name.
NAME = re.compile(r"[^\W\d_a-z]\w")
#: Maximum number of characters of a message that asks to forget the one before.
FORGET_CHARACTERS = 80


def asks_to_forget_last(message: str) -> bool:
    """Return whether *message* is only a request to forget what was said before, perhaps with a reason."""
    if len(message) > FORGET_CHARACTERS:
        return False
    sentence = Sentence(" ".join(message.split()))
    for language in languages_of(sentence.lower_tokens, sentence.text):
        if "memory.forget_last" not in language.hints(sentence.words)[1]:
            continue
        # "今" leads to many a sentence, and is the first word of some of these phrases.
        for start in {0, after_openers(sentence, language).start}:
            if end := language.phrases("memory.forget_last").at(sentence.lower, start):
                rest = language.phrases("polite").anywhere.sub("", sentence.lower[end:]).lstrip(EDGES)
                has_reason = language.phrases("memory.forget_reasons").at(rest, 0) > 0
                if (has_reason or not any(map(str.isalpha, rest))) and not sentence.asks:
                    return True
    return False


def opts_out(parsed: ParsedSentence) -> bool:
    """Return whether it asks not to store the message."""
    if not parsed.contains("memory.opt_out"):
        return False
    asks = parsed.sentence.asks and not parsed.opened.polite
    for start in opt_out_starts(parsed):
        end = parsed.language.phrases("memory.opt_out").at(parsed.lower, start)
        if asks and not (end and parsed.lower[end:].lstrip()[:1] in {",", ":", "，", "：", "、"}):
            # "Off the record, what shall I do?" does, "Is this off the record?" does not.
            continue
        if end and not parsed.sentence.is_quoted(start):
            rest = parsed.lower[end:].lstrip()
            # "No need to remember this but ...", and not "I don't remember this street".
            ends = any(parsed.language.phrases(each).at(rest, 0) for each in ("polite", "connectors"))
            if not rest[:1].isalnum() or not parsed.language.spaced or ends:
                return True
    return False


def opt_out_starts(parsed: ParsedSentence) -> Iterator[int]:
    """Yield where a request not to store the message may begin: also before words such as "merk dir"."""
    yield 0
    for clause in parsed.clauses:
        yield clause.start
        begin = skip(parsed.lower, clause.cut)
        yield skip(parsed.lower, parsed.language.phrases("connectors").at(parsed.lower, begin) or begin)


class Forgotten(NamedTuple):
    """A request to forget what was said about a subject, such as Lyle."""

    subject: str
    rest: str
    """The text behind the request: "he is fine"."""
    is_all: bool
    """Whether it asks to forget everything about the subject."""


def forgets_about(parsed: ParsedSentence) -> Forgotten | None:
    """Return the request to forget what was said about a subject, if it is one."""
    if parsed.sentence.asks and not parsed.opened.polite:
        return None
    for section, is_all in (("memory.forget_all_end", True), ("memory.forget_about_end", False)):
        if section in parsed.hints:
            text = parsed.lower.rstrip(EDGES)
            text = parsed.language.phrases("polite").at_end.sub("", text).rstrip(EDGES)
            found = parsed.language.phrases(section).at_end.search(text)
            begin = parsed.opened.start
            if found and (subject := parsed.sentence.text[begin : found.start()].strip(EDGES)):
                return Forgotten(subject, "", is_all)
    for section in ("memory.forget_all", "memory.delete_all", "memory.forget_about"):
        if section in parsed.hints and (found_here := subject_behind(parsed, section)):
            # "Delete everything about prices" may be meant for a text.
            return found_here if section != "memory.delete_all" or is_personal(parsed, found_here.subject) else None
    return None


def is_personal(parsed: ParsedSentence, subject: str) -> bool:
    """Return whether *subject* is a name or somebody or something of the user's: "my ex"."""
    begins = folded(subject).startswith(parsed.language.possessive)
    return begins or (NAME.match(subject) is not None and not parsed.language.changes.capital_nouns)


def subject_behind(parsed: ParsedSentence, section: str) -> Forgotten | None:
    """Return the request that begins with a phrase of *section*, before its subject."""
    for clause in (Clause(0, parsed.opened.start), *parsed.clauses):
        end = parsed.language.phrases(section).at(parsed.lower, clause.start)
        if end and not parsed.sentence.is_quoted(clause.start) and not parsed.contains("reported", clause.start):
            mark = MARK.search(parsed.lower, end)
            stop = mark.start() if mark else len(parsed.lower)
            subject = without_endings(parsed, end, stop)
            # In Chinese, "everything" follows the subject.
            is_all = section != "memory.forget_about" or any(
                word in parsed.lower[end:stop] for word in parsed.language.table["memory"].get("all_words", ())
            )
            rest = parsed.sentence.text[mark.end() :] if mark else ""
            return Forgotten(subject, rest.strip(), is_all) if subject else None
    return None


def without_endings(parsed: ParsedSentence, start: int, stop: int) -> str:
    """Return the words from *start* to *stop* without those that belong to the request: "please", "I told you"."""
    endings = [parsed.language.phrases(each).at_end for each in ("polite", "memory.forget_about_rest")]
    stop = start + len(parsed.lower[start:stop].rstrip(EDGES + "?？"))
    while found := next(filter(None, (each.search(parsed.lower[start:stop]) for each in endings)), None):
        stop = start + len(parsed.lower[start : start + found.start()].rstrip(EDGES))
    polite = parsed.language.phrases("polite").at(parsed.lower, skip(parsed.lower, start))
    return parsed.sentence.text[max(start, polite) : stop].strip(EDGES)


def topic_of(subject: str, languages: Iterable[Language]) -> str | None:
    """Return the topic key that a subject such as "my address" names."""
    words = folded(subject)
    for language in languages:
        topics = language.canonical.get("topic", {})
        own = max(filter(words.startswith, language.possessive), key=len, default="")
        if found := topics.get(words[len(own) :].strip() if own else words):
            return found
    return None


def topics_to_forget(parsed: ParsedSentence) -> list[str] | None:
    """Return the topics that it asks to forget; None if it does not."""
    if parsed.sentence.asks and not parsed.opened.polite:
        return None
    start = parsed.opened.start
    for rule in parsed.rules:
        if rule.section != "forget":
            continue
        found = rule.template.pattern.match(parsed.sentence.folded, start)
        if found is not None and not parsed.sentence.is_quoted(start):
            named = found.groupdict().get("topic")
            return [parsed.language.canonical["topic"][named] if named else rule.key]
    return None
