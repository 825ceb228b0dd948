"""Requests about the memory itself: not to store something, or to forget it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilab_chat_service.statements.instructions import MARK
from ilab_chat_service.statements.language import languages_of
from ilab_chat_service.statements.openings import EDGES, after_openers
from ilab_chat_service.statements.parsed_sentence import Clause
from ilab_chat_service.statements.sentences import Sentence

if TYPE_CHECKING:
    from ilab_chat_service.statements.parsed_sentence import ParsedSentence

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
    if parsed.sentence.asks and not parsed.opened.polite:
        return False
    for clause in (Clause(0, 0), *parsed.clauses()):
        end = parsed.language.phrases("memory.opt_out").at(parsed.lower, clause.start)
        if end and not parsed.sentence.is_quoted(clause.start):
            rest = parsed.lower[end:].lstrip()
            if not rest[:1].isalnum() or not parsed.language.spaced or parsed.language.phrases("polite").at(rest, 0):
                return True
    return False


def forgets_about(parsed: ParsedSentence) -> tuple[str, str] | None:
    """Return the subject in a request to forget what was said about it, and what follows.

    "Forget what I said about Lyle, he is fine." None: it does not ask that.
    """
    if parsed.sentence.asks and not parsed.opened.polite:
        return None
    if "memory.forget_about_end" in parsed.hints:
        text = parsed.lower.rstrip(EDGES)
        text = parsed.language.phrases("polite").at_end.sub("", text).rstrip(EDGES)
        found = parsed.language.phrases("memory.forget_about_end").at_end.search(text)
        if found and (subject := text[: found.start()].strip()):
            return subject, ""
    if "memory.forget_about" in parsed.hints:
        for clause in (Clause(0, parsed.opened.start), *parsed.clauses()):
            end = parsed.language.phrases("memory.forget_about").at(parsed.lower, clause.start)
            if end and not parsed.sentence.is_quoted(clause.start):
                mark = MARK.search(parsed.lower, end)
                subject = parsed.lower[end : mark.start() if mark else None].rstrip(EDGES)
                rest = parsed.sentence.text[mark.end() :] if mark else ""
                subject = parsed.language.phrases("polite").anywhere.sub("", subject).strip()
                # The verb comes last: "was ich über Lena gesagt habe".
                subject = parsed.language.phrases("memory.forget_about_rest").at_end.sub("", subject).strip()
                return (subject, rest.strip()) if subject else None
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
