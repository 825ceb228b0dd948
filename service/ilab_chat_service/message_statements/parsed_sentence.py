"""One sentence as one language: where it says something, its clauses, and what kind of sentence it is.

Behind the words that only lead to what it says: "Hi, by the way, please remember that".
"""

from __future__ import annotations

import re
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.message_statements.language import BOUNDARY, OPENINGS

if TYPE_CHECKING:
    from collections.abc import Collection

    from ilab_chat_service.message_statements.language import Language
    from ilab_chat_service.message_statements.sentences import Sentence

#: Maximum number of phrases that lead to a statement.
OPENERS = 12

EDGES = " ,;:-–—.!。，、；：…¡"
BETWEEN = re.compile("[ ,;:–—.!…¡、，：。（(*~-]*+")

#: Maximum number of clauses of a sentence that are looked at.
CLAUSES = 16

CLAUSE = re.compile(BOUNDARY)


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


class Clause(NamedTuple):
    """A beginning in a sentence where a fact may start."""

    cut: int
    """Where the clause before ends."""
    start: int


class ParsedSentence:
    """A sentence as one language. Each question about it is answered once."""

    def __init__(self, sentence: Sentence, language: Language) -> None:
        self.sentence = sentence
        self.lower = sentence.lower
        self.language = language
        self.opened = after_openers(sentence, language)
        self.rules, self.hints = language.hints(sentence.words)
        self._ends_of_first: dict[str, int] = {}

    def is_fiction_or_task(self) -> bool:
        """Return whether it begins a text to work on ("Translate: ...") or a role ("You are a pirate")."""
        begins = self.opened.begins
        if "tasks" in begins or "fiction" in begins:
            return True
        return self.contains("tasks_anywhere") and not self.is_conditional()

    def asks_for_something(self) -> bool:
        """Return whether it is a question, a request or a condition, or quoted."""
        start = self.opened.start
        if self.is_question or self.opened.polite or self.sentence.is_quoted(start):
            return True
        sections = ("requests", "instructions.verbs", "hypothetical_start", "hypothetical")
        return any(self.begins(each, start) for each in sections) or self.ends("requests_end")

    def is_first_person(self) -> bool:
        """Return whether it has a word that only a speaker uses of themselves."""
        if not self.language.spaced:
            return self.contains("first_person_words")
        words, endings = self.sentence.lower_tokens, self.language.first_person_endings
        known = self.language.first_person | self.language.first_person_objects
        if not known.isdisjoint(words) or self.begins("first_person_start", self.opened.start):
            return True
        return bool(endings) and any(word.endswith(endings) for word in words)

    def corrects(self) -> bool:
        """Return whether it corrects what was said just before ("No, it's 44")."""
        start = self.opened.start
        return start > 0 and self.begins("corrections", start) and not self.sentence.asks

    @cached_property
    def is_question(self) -> bool:
        """Whether it is a question, or ends with one."""
        lower, start = self.lower, self.opened.start
        if self.sentence.asks or lower.startswith("¿"):
            return True
        if start == self.opened.kept and self.begins("questions_inverted", start):
            return True
        return self.begins("questions", start) or self.ends("questions_end") or self.contains("questions_anywhere")

    def is_conditional(self) -> bool:
        """Return whether it says what to do each time the user asks for something ("When I ask about code, ...")."""
        section = "instructions.whenever"
        if self.language.phrases("instructions.endings"):
            # The verb is the last word, and the condition comes after what the user asks for.
            return self.contains(section)
        return any(self.begins(each, self.opened.start) for each in (section, f"{section}_you"))

    def is_request(self) -> bool:
        """Return whether it begins as a request."""
        start = self.opened.start
        return self.opened.polite or any(self.begins(section, start) for section in ("requests", "instructions.verbs"))

    def is_addressed(self, start: int = 0) -> bool:
        """Return whether it speaks to the assistant behind *start*: "Your answer solved it"."""
        return self.language.phrases("instructions.addressed").anywhere.search(self.lower, start) is not None

    def begins(self, section: str, start: int) -> bool:
        """Return whether a phrase of *section* is at *start*."""
        if start == self.opened.start:
            return section in self.opened.begins
        return self.language.phrases(section).at(self.lower, start) > 0

    def contains(self, section: str, stop: int | None = None) -> bool:
        """Return whether a phrase of *section* is before *stop*."""
        if section not in self.hints:
            return False
        if section not in self._ends_of_first:
            first = self.language.phrases(section).anywhere.search(self.lower)
            self._ends_of_first[section] = first.end() if first else len(self.lower) + 1
        return self._ends_of_first[section] <= (len(self.lower) if stop is None else stop)

    def ends(self, section: str) -> bool:
        """Return whether the sentence ends with a phrase of *section*."""
        phrases = self.language.phrases(section)
        return bool(phrases) and phrases.at_end.search(self.sentence.stripped) is not None

    def end_of_statement(self) -> int:
        """Return where the statement ends: before a question at the end ("I'm vegan, what can I cook?"); 0: nowhere."""
        if not self.is_question or self.opened.polite:
            return len(self.lower)
        if self.begins("questions", self.opened.start):
            return 0
        cut = 0
        for clause in self.clauses:
            if self.begins("questions", clause.start) and not self.begins("tags", clause.start):
                cut = clause.cut
        return cut

    @cached_property
    def clauses(self) -> list[Clause]:
        """The beginnings of clauses, that of the sentence first."""
        start = self.opened.start
        clauses = [Clause(start, start)]
        connectors = self.language.phrases("connectors")
        for found in islice(self.language.boundary.finditer(self.lower, start), CLAUSES - 1):
            after = connectors.at(self.lower, found.end()) or found.end()
            clauses.append(Clause(found.start(), after_openers(self.sentence, self.language, after).start))
        return clauses

    def before_afterthought(self, start: int) -> int:
        """Return where the clause that begins at *start* ends, without words such as "I suppose" at its end."""
        end = end_of_clause(self.lower, start)
        said = self.lower[:end].rstrip(EDGES)
        found = self.language.phrases("afterthoughts").at_end.search(said)
        return found.start() if found else end


def end_of_clause(lower: str, start: int) -> int:
    """Return where the clause that begins at *start* ends."""
    found = CLAUSE.search(lower, start)
    return found.start() if found else len(lower)


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
