"""Reading of one sentence as one language."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.statements.facts import TEXT_CHARACTERS, Fact
from ilab_chat_service.statements.keys import (
    CHANGED,
    KEY_WORDS,
    LISTED,
    bounded,
    hashed,
    type_of,
    value_of,
    values_of,
)
from ilab_chat_service.statements.language import BOUNDARY
from ilab_chat_service.statements.openings import EDGES, after_openers, skip
from ilab_chat_service.statements.text import WORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ilab_chat_service.statements.language import Language, Rule
    from ilab_chat_service.statements.sentences import Sentence

#: Maximum number of clauses of a sentence that are looked at.
CLAUSES = 16

CLAUSE = re.compile(BOUNDARY)

LETTER = re.compile(r"[^\W\d_]")
#: Not in a name: an abbreviation ("I'm NHS staff"), a letter, a digit, or a word that goes on ("I'm O negative").
NO_NAME = re.compile(
    r"\b[A-Z]{3,}\b|^[A-Z]\b(?!\.)|\d|\b[A-Z]{2}[a-z]"
    r"| (?!(?:v[ao]n|de[rnl]?|d[aiou]s?|la|le|bin|al|el|e|y|te[rn]|zu)\b)[a-z]"
)
#: Separates an instruction from its reason.
MARK = re.compile("[,;–—(.、，；。]| - ")

#: Sections whose phrases begin what is to be done now.
TELLING = frozenset({"questions", "requests", "instructions.verbs", "tasks", "fiction"})


class Clause(NamedTuple):
    """A beginning in a sentence where a fact may start."""

    cut: int
    """Where the clause before ends."""
    start: int


class Found(NamedTuple):
    """A rule that matches a clause."""

    clause: Clause
    rule: Rule
    match: re.Match[str]


class SentenceReader:
    """Reads one sentence as one language."""

    def __init__(self, sentence: Sentence, language: Language) -> None:
        self._sentence = sentence
        self._lower = sentence.lower
        self._language = language
        self._opened = after_openers(sentence, language)
        self._rules, self._hints = language.hints(sentence.words)
        self._ends_of_first: dict[str, int] = {}
        self._clauses_found: list[Clause] | None = None
        self._question: bool | None = None

    def is_fiction_or_task(self) -> bool:
        """Return whether it begins a text to work on ("Translate: ...") or a role ("You are a pirate")."""
        begins = self._opened.begins
        if "tasks" in begins or "fiction" in begins:
            return True
        return self._contains("tasks_anywhere") and not self._is_conditional()

    def opts_out(self) -> bool:
        """Return whether it asks not to store the message."""
        if not self._contains("memory.opt_out"):
            return False
        if self._sentence.asks and not self._opened.polite:
            return False
        for clause in (Clause(0, 0), *self._clauses()):
            end = self._language.phrases("memory.opt_out").at(self._lower, clause.start)
            if end and not self._sentence.is_quoted(clause.start):
                rest = self._lower[end:].lstrip()
                if not rest[:1].isalnum() or not self._language.spaced or self._language.phrases("polite").at(rest, 0):
                    return True
        return False

    def forgets_about(self) -> tuple[str, str] | None:
        """Return the subject in a request to forget what was said about it, and what follows.

        "Forget what I said about Lyle, he is fine." None: it does not ask that.
        """
        if self._sentence.asks and not self._opened.polite:
            return None
        if "memory.forget_about_end" in self._hints:
            text = self._lower.rstrip(EDGES)
            text = self._language.phrases("polite").at_end.sub("", text).rstrip(EDGES)
            found = self._language.phrases("memory.forget_about_end").at_end.search(text)
            if found and (subject := text[: found.start()].strip()):
                return subject, ""
        if "memory.forget_about" in self._hints:
            for clause in (Clause(0, self._opened.start), *self._clauses()):
                end = self._language.phrases("memory.forget_about").at(self._lower, clause.start)
                if end and not self._sentence.is_quoted(clause.start):
                    mark = MARK.search(self._lower, end)
                    subject = self._lower[end : mark.start() if mark else None].rstrip(EDGES)
                    rest = self._sentence.text[mark.end() :] if mark else ""
                    subject = self._language.phrases("polite").anywhere.sub("", subject).strip()
                    # The verb comes last: "was ich über Lena gesagt habe".
                    subject = self._language.phrases("memory.forget_about_rest").at_end.sub("", subject).strip()
                    return (subject, rest.strip()) if subject else None
        return None

    def forgotten(self) -> list[str] | None:
        """Return the topics that it asks to forget; None if it does not."""
        if self._sentence.asks and not self._opened.polite:
            return None
        start = self._opened.start
        for rule in self._rules:
            if rule.section != "forget":
                continue
            found = rule.template.pattern.match(self._sentence.folded, start)
            if found is not None and not self._sentence.is_quoted(start):
                return [self._language.canonical["topic"][found["topic"]]]
        return None

    def facts(self) -> Iterator[Fact]:
        """Yield the facts that it states."""
        if not self._rules and not self._opened.remembered and not self._may_be_instruction():
            return
        if self._sentence.is_quoted(self._opened.start):
            return
        limit = self._end_of_statement()
        if limit == 0:
            # "Could you always answer in Spanish?" has no statement, but may be an instruction.
            yield from self._instructions()
            return
        asked = self._sentence.asks and limit == len(self._lower) and not self._opened.remembered
        instruction = self._whole_instruction(limit)
        rules = [each for each in self._rules if each.standing or not asked]
        found = [instruction] if instruction else list(self._matches(rules, limit))
        if not any(each.rule.standing for each in found):
            instructions = self._instructions()
            yield from instructions
            if instructions:
                return
        yield from self._facts(found, limit)
        if not found and self._opened.remembered and not self._is_question() and not self._is_hypothetical():
            yield from self._remembered()

    def asks_for_something(self) -> bool:
        """Return whether it is a question, a request or a condition, or quoted."""
        start = self._opened.start
        if self._is_question() or self._opened.polite or self._sentence.is_quoted(start):
            return True
        sections = ("requests", "instructions.verbs", "hypothetical_start", "hypothetical")
        return any(self._begins(each, start) for each in sections) or self._ends("requests_end")

    def is_first_person(self) -> bool:
        """Return whether it has a word that only a speaker uses of themselves."""
        if not self._language.spaced:
            return self._contains("first_person_words")
        words, endings = self._sentence.lower_tokens, self._language.first_person_endings
        known = self._language.first_person | self._language.first_person_objects
        if not known.isdisjoint(words) or self._begins("first_person_start", self._opened.start):
            return True
        return bool(endings) and any(word.endswith(endings) for word in words)

    def corrects(self) -> bool:
        """Return whether it corrects what was said just before ("No, it's 44")."""
        start = self._opened.start
        return start > 0 and self._begins("corrections", start) and not self._sentence.asks

    def _is_question(self) -> bool:
        if self._question is None:
            self._question = self._find_question()
        return self._question

    def _find_question(self) -> bool:
        lower, start = self._lower, self._opened.start
        if self._sentence.asks or lower.startswith("¿"):
            return True
        if start == self._opened.kept and self._begins("questions_inverted", start):
            return True
        return self._begins("questions", start) or self._ends("questions_end") or self._contains("questions_anywhere")

    def _is_hypothetical(self) -> bool:
        return self._contains("hypothetical")

    def _begins(self, section: str, start: int) -> bool:
        """Return whether a phrase of *section* is at *start*."""
        if start == self._opened.start:
            return section in self._opened.begins
        return self._language.phrases(section).at(self._lower, start) > 0

    def _contains(self, section: str, stop: int | None = None) -> bool:
        """Return whether a phrase of *section* is before *stop*."""
        if section not in self._hints:
            return False
        if section not in self._ends_of_first:
            first = self._language.phrases(section).anywhere.search(self._lower)
            self._ends_of_first[section] = first.end() if first else len(self._lower) + 1
        return self._ends_of_first[section] <= (len(self._lower) if stop is None else stop)

    def _ends(self, section: str) -> bool:
        """Return whether the sentence ends with a phrase of *section*."""
        phrases = self._language.phrases(section)
        return bool(phrases) and phrases.at_end.search(self._sentence.stripped) is not None

    def _end_of_statement(self) -> int:
        """Return where the statement ends: before a question at the end ("I'm vegan, what can I cook?"); 0: nowhere."""
        if not self._is_question():
            return len(self._lower)
        if self._opened.polite:
            return len(self._lower)
        if self._begins("questions", self._opened.start):
            return 0
        cut = 0
        for clause in self._clauses():
            if self._begins("questions", clause.start) and not self._begins("tags", clause.start):
                cut = clause.cut
        return cut

    def _clauses(self) -> list[Clause]:
        """Return the beginnings of clauses, that of the sentence first."""
        if self._clauses_found is None:
            self._clauses_found = list(self._find_clauses())
        return self._clauses_found

    def _find_clauses(self) -> Iterator[Clause]:
        start = self._opened.start
        yield Clause(start, start)
        connectors = self._language.phrases("connectors")
        for found in islice(self._language.boundary.finditer(self._lower, start), CLAUSES - 1):
            after = connectors.at(self._lower, found.end()) or found.end()
            yield Clause(found.start(), after_openers(self._sentence, self._language, after).start)

    def _matches(self, rules: Sequence[Rule], limit: int) -> Iterator[Found]:
        text = self._sentence.folded
        for clause in self._clauses():
            if clause.start >= limit:
                return
            begun = [rule for rule in rules if text.startswith(rule.template.beginnings, clause.start)]
            if not begun:
                continue
            if self._contains("reported", clause.cut):
                return
            if self._contains("hypothetical", self._before_afterthought(clause.start)):
                # An instruction may have an exception: "Keep answers short unless I ask for more."
                begun = [each for each in begun if each.standing and not self._contains("hypothetical", clause.start)]
            if self._sentence.is_quoted(clause.start):
                continue
            matched: set[str] = set()
            for rule in begun:
                if rule.section == "forget" or rule.key in matched:
                    continue
                match = rule.template.pattern.match(text, clause.start, limit)
                if match is not None and self._is_valid(rule, match):
                    matched.add(rule.key)
                    yield Found(clause, rule, match)

    def _before_afterthought(self, start: int) -> int:
        """Return where the clause that begins at *start* ends, without words such as "I suppose" at its end."""
        end = end_of_clause(self._lower, start)
        said = self._lower[:end].rstrip(EDGES)
        afterthoughts = self._language.phrases("afterthoughts")
        found = afterthoughts.at_end.search(said) if afterthoughts else None
        return found.start() if found else end

    def _whole_instruction(self, limit: int) -> Found | None:
        """Return the instruction that an opener belongs to: "No emojis"."""
        if self._opened.start == 0:
            return None
        standing = [each for each in self._rules if each.standing]
        for start in self._starts() if standing else ():
            for rule in standing:
                if self._sentence.folded.startswith(rule.template.beginnings, start):
                    match = rule.template.pattern.match(self._sentence.folded, start, limit)
                    if match is not None and self._is_valid(rule, match):
                        return Found(Clause(start, start), rule, match)
        return None

    def _starts(self) -> Iterator[int]:
        """Yield where an instruction may begin: behind each opener, because "no" is one ("Oh, please no emojis")."""
        start = skip(self._lower, 0)
        while start < self._opened.start:
            yield start
            phrases = (self._language.phrases(each).at(self._lower, start) for each in ("openers", "polite"))
            if not (end := max(phrases)):
                return
            start = skip(self._lower, end)

    def _is_valid(self, rule: Rule, match: re.Match[str]) -> bool:
        """Return whether what a template matched says what the template means."""
        groups = match.groupdict()
        if "Name" in groups and not self._is_name(groups["Name"], match.start("Name")):
            return False
        if rule.standing and rule.key != "called" and self._goes_on(match.end()):
            return False
        value = groups.get("x") or groups.get("y") or groups.get("w")
        return value is None or self._is_value(rule, value.strip())

    def _is_name(self, name: str, start: int) -> bool:
        # Scripts without case have letters that are neither upper nor lower.
        said = self._sentence.text[start : start + len(name)].rstrip(".")
        if said[0].islower() or (NO_NAME.search(said) and not self._sentence.text.isupper()):
            return False
        return name.partition(" ")[0].rstrip(".") not in self._language.exceptions.get("Name", ())

    def _goes_on(self, end: int) -> bool:
        """Return whether an instruction is for one answer only: "Answer in Spanish: what is ...".

        A reason or an exception may follow: "No bullet points please, I can't read them", "unless I ask for more".
        """
        position = self._after_polite(end)
        rest = self._lower[position:]
        if ":" in rest or self._sentence.asks:
            return True
        if LETTER.search(rest) is None:
            return False
        reason = self._language.phrases("connectors").at(self._lower, position)
        if not reason and not self._begins("hypothetical", position) and not MARK.search(self._lower[end:position]):
            return True
        start = skip(self._lower, reason or position)
        word = WORD.match(self._lower, start)
        if word and word[0] in self._language.first_person:
            return False
        return not TELLING.isdisjoint(after_openers(self._sentence, self._language, start).begins)

    def _after_polite(self, end: int) -> int:
        """Return where the words go on behind "please", "from now on" and marks."""
        sections = ("polite", "instructions.from_now_on", "instructions.forever")
        position = skip(self._lower, end)
        while not self._begins("hypothetical", position):
            found = max(self._language.phrases(each).at(self._lower, position) for each in sections)
            if not found:
                break
            position = skip(self._lower, found)
        return position

    def _is_value(self, rule: Rule, value: str) -> bool:
        if not any(map(str.isalnum, value)):
            return False
        excepted = self._language.exceptions["all"]
        # A text that cannot be the name of a relative may be their home or birthday.
        if rule.key.count("/") <= 1:
            excepted += self._language.exceptions.get(rule.key.partition("/")[0], ())
        if not value.startswith(excepted):
            return self._language.spaced or not self._language.phrases("except.value").anywhere.search(value)
        if not self._language.spaced:
            return False
        return not any(value.startswith(each) and not value[len(each) : len(each) + 1].isalnum() for each in excepted)

    def _facts(self, found: Sequence[Found], limit: int) -> Iterator[Fact]:
        starts = list(dict.fromkeys(each.clause for each in found))
        seen: set[str] = set()
        for clause in starts:
            text = self._span(clause, starts, limit)
            if not text or len(text) > TEXT_CHARACTERS:
                continue
            for each in found:
                if each.clause != clause:
                    continue
                for key in self._keys(each.rule, each.match):
                    if key not in seen:
                        seen.add(key)
                        yield Fact(type_of(key), key, text, each.rule.standing)

    def _span(self, clause: Clause, starts: Sequence[Clause], limit: int) -> str:
        """Return the words of the fact that begins at *clause*, up to the next fact."""
        number = starts.index(clause)
        begin = clause.start
        if number == 0 and begin and not self._is_request():
            begin = min(begin, self._opened.kept)
        following = starts[number + 1].cut if number + 1 < len(starts) else limit
        text = self._without_please(self._sentence.text[begin:following].strip(" ,;:-–—¡、，：（("))
        if len(text) > TEXT_CHARACTERS:
            text = self._sentence.text[clause.start : end_of_clause(self._lower, clause.start)].strip(EDGES)
        return text

    def _without_please(self, text: str) -> str:
        """Return *text* without a polite word that a comma separates at its end."""
        said, comma, last = text.rstrip(EDGES).rpartition(",")
        end = self._language.phrases("polite").at(last.strip().lower(), 0) if comma else 0
        return said.rstrip(EDGES) if end and end == len(last.strip()) else text

    def _is_request(self) -> bool:
        start = self._opened.start
        return self._opened.polite or any(
            self._begins(section, start) for section in ("requests", "instructions.verbs")
        )

    def _keys(self, rule: Rule, match: re.Match[str]) -> Iterator[str]:
        topic = rule.key.partition("/")[0]
        if rule.key.endswith("/{x}") and topic in LISTED:
            said = match.groupdict().get("x")
            # Without a blank, the last word is the value: "I play chess".
            values = values_of(said, self._language) if said else [match[0].rpartition(" ")[2]]
            for value in values:
                yield bounded(f"{topic}/{value}")
            return
        key = rule.key
        for name, captured in match.groupdict().items():
            blank = f"{{{name}}}"
            if blank not in key:
                continue
            value = value_of(captured, self._language)
            names = self._language.canonical.get("things" if name == "x" else name, {})
            key = key.replace(blank, names.get(captured, names.get(value.replace("-", " "), value)) or hashed(captured))
        yield bounded(key)
        if key in CHANGED and self._contains("changed"):
            yield from CHANGED[key]

    def _remembered(self) -> Iterator[Fact]:
        """Yield what the user asks to remember, if no rule knows what it is about."""
        start = self._opened.start
        text = self._without_please(self._sentence.text[start:].strip(" ,;:-–—"))
        if len(text) > TEXT_CHARACTERS or len(text) < 4:  # noqa: PLR2004 - "it", "me"
            return
        if self._begins("memory.not_remember", start) or self._begins("requests", start):
            return
        if self._language.spaced and " " not in text:
            return
        subject = self._language.phrases("copula").anywhere.split(self._sentence.folded[start:], maxsplit=1)
        value = value_of(subject[0], self._language) or value_of(text, self._language) or hashed(text)
        yield Fact("profile", bounded(f"remember/{value}"), text, standing=False)

    def _may_be_instruction(self) -> bool:
        return self._opened.forever or self._contains("instructions.forever") or self._is_conditional()

    def _is_conditional(self) -> bool:
        """Return whether it says what to do each time the user asks for something ("When I ask about code, ...")."""
        section = "instructions.whenever"
        if self._language.phrases("instructions.endings"):
            # The verb is the last word, and the condition comes after what the user asks for.
            return self._contains(section)
        return any(self._begins(each, self._opened.start) for each in (section, f"{section}_you"))

    def _instructions(self) -> list[Fact]:
        """Return the standing instruction that it is, if it is one."""
        start = self._opened.start
        if not self._may_be_instruction():
            return []
        if self._contains("instructions.once") or (self._sentence.asks and not self._opened.polite):
            return []
        if conditional := self._conditional_instruction():
            return [conditional]
        if self._is_hypothetical() and not self._opened.forever:
            return []
        marker = self._language.phrases("instructions.forever").at(self._lower, start)
        begin = after_openers(self._sentence, self._language, marker).start if marker else start
        verbs = ("instructions.verbs", "instructions.also")
        text = self._sentence.text[0 if self._opened.forever else start :].strip(" ,;:-–—")
        tells = any(self._begins(each, begin) for each in verbs) or self._ends("instructions.endings")
        tells = tells or (self._opened.forever and self._addresses_assistant(begin)) or self._ends_with_please_always()
        if not tells or len(text) > TEXT_CHARACTERS:
            return []
        return [Fact("preference", self._instruction_key(begin), text, standing=True)]

    def _ends_with_please_always(self) -> bool:
        """Return whether it ends with words for "please" and "always": "Spelling: Australian please, always"."""
        text, found = self._sentence.stripped, set()
        while ended := next(
            (
                (section, last.start())
                for section in ("polite", "instructions.forever")
                if (last := self._language.phrases(section).at_end.search(text))
            ),
            None,
        ):
            found.add(ended[0])
            text = text[: ended[1]].rstrip(EDGES)
        return len(found) > 1 and LETTER.search(text) is not None and not self.is_first_person()

    def _addresses_assistant(self, start: int) -> bool:
        """Return whether it speaks to the assistant, and not first of the user: "Any recipe you give me is for two"."""
        first = WORD.match(self._lower, start)
        if first is not None and first[0] in self._language.first_person:
            return False
        addressed = self._language.phrases("instructions.addressed")
        return bool(addressed) and addressed.anywhere.search(self._lower, start) is not None

    def _conditional_instruction(self) -> Fact | None:
        """Return the instruction with its condition: "When I ask for code, use Python"."""
        start = self._opened.start
        answer = self._answer_start(start) if self._is_conditional() else 0
        text = self._sentence.text[start:].strip(EDGES)
        if not answer or len(text) > TEXT_CHARACTERS:
            return None
        condition = WORD.findall(CLAUSE.split(self._sentence.folded[start:answer])[0])
        return Fact("preference", bounded(f"style/{'-'.join(condition[-KEY_WORDS:])}"), text, standing=True)

    def _answer_start(self, start: int) -> int:
        """Return where a conditional instruction that begins at *start* says how to answer; 0: nowhere."""
        if end := self._language.phrases("instructions.whenever_you").at(self._lower, start):
            # Such as "When you write to my boss: formal".
            found = CLAUSE.search(self._lower, end)
            return found.end() if found else 0
        conditions, verbs = map(self._language.phrases, ("instructions.whenever", "instructions.verbs"))
        if self._language.phrases("instructions.endings"):
            condition = conditions.anywhere.search(self._lower, start)
            return condition.start() if condition and self._ends("instructions.endings") else 0
        for verb in verbs.anywhere.finditer(self._lower, conditions.at(self._lower, start)):
            # Not the verb of the condition ("nach Code frage, ..."), or of a statement ("mache ich Tee").
            rest = self._lower[verb.end() :].lstrip()
            following = WORD.match(rest)
            if rest and rest[0] not in ",，" and not (following and following[0] in self._language.first_person):
                return verb.start()
        return 0

    def _instruction_key(self, start: int) -> str:
        for key, words in self._language.style:
            if words.anywhere.search(self._lower):
                return key
        rest = self._language.phrases("instructions.forever").anywhere.sub(" ", self._lower[start:])
        value = value_of(rest, self._language)
        return bounded(f"style/{value or hashed(rest)}")


def end_of_clause(lower: str, start: int) -> int:
    """Return where the clause that begins at *start* ends."""
    found = CLAUSE.search(lower, start)
    return found.start() if found else len(lower)
