"""Standing instructions of a sentence that no table knows, and instructions that it takes back.

The first are such as "From now on ..." and "When I ask for code, ...", the second such as "You can write longer answers
again" and "Stop calling me Captain". A sentence alone does not tell which instruction it takes back, nor whether there
is one: `takes_back` compares it with an instruction that is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ilab_chat_service.message_statements.fact_keys import KEY_WORDS, TEXT_CHARACTERS, Fact, bounded, hashed, value_of
from ilab_chat_service.message_statements.parsed_sentence import CLAUSE, EDGES, after_openers, skip
from ilab_chat_service.message_statements.statement_words import saying
from ilab_chat_service.message_statements.text import WORD, folded, key_of, tokens

if TYPE_CHECKING:
    from ilab_chat_service.message_statements.language import Language
    from ilab_chat_service.message_statements.parsed_sentence import ParsedSentence

LETTER = re.compile(r"[^\W\d_]")
#: Separates an instruction from its reason.
MARK = re.compile("[,;–—(.、，；。]| - ")

#: Sections whose phrases begin what is to be done now.
TELLING = frozenset({"questions", "requests", "instructions.verbs", "tasks", "fiction"})

#: Topics of instructions for answers.
INSTRUCTIONS = ("called", "language", "style")
#: Sections of which a sentence has a phrase that takes an instruction back.
TAKING_BACK = frozenset({"instructions.relieved", "instructions.restored", "instructions.again"})
#: The topic that has a value, so that the same topic does not tell that the same is meant: another name may hold.
NAMED = "called"


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A sentence that takes back an instruction, if there is one that it fits: "You can use emojis again"."""

    text: str
    topic: str
    """The topic key of such instructions. Empty: only its words tell."""


def instruction(parsed: ParsedSentence) -> Fact | None:
    """Return the standing instruction that it is, if it is one."""
    start = parsed.opened.start
    if not may_be_instruction(parsed):
        return None
    if parsed.contains("instructions.once") or (parsed.sentence.asks and not parsed.opened.polite):
        return None
    if conditional := conditional_instruction(parsed):
        return conditional
    if parsed.contains("hypothetical") and not parsed.opened.forever:
        return None
    marker = parsed.language.phrases("instructions.forever").at(parsed.lower, start)
    begin = after_openers(parsed.sentence, parsed.language, marker).start if marker else start
    verbs = ("instructions.verbs", "instructions.also")
    text = parsed.sentence.text[0 if parsed.opened.forever else start :].strip(" ,;:-–—")
    tells = any(parsed.begins(each, begin) for each in verbs) or parsed.ends("instructions.endings")
    tells = tells or (parsed.opened.forever and addresses_assistant(parsed, begin)) or ends_with_please_always(parsed)
    if not tells or len(text) > TEXT_CHARACTERS:
        return None
    return Fact("preference", instruction_key(parsed, begin), text, standing=True)


def may_be_instruction(parsed: ParsedSentence) -> bool:
    """Return whether it has words of a standing instruction."""
    return parsed.opened.forever or parsed.contains("instructions.forever") or parsed.is_conditional()


def ends_with_please_always(parsed: ParsedSentence) -> bool:
    """Return whether it ends with words for "please" and "always": "Spelling: Australian please, always"."""
    text, found = parsed.sentence.stripped, set()
    while ended := next(
        (
            (section, last.start())
            for section in ("polite", "instructions.forever")
            if (last := parsed.language.phrases(section).at_end.search(text))
        ),
        None,
    ):
        found.add(ended[0])
        text = text[: ended[1]].rstrip(EDGES)
    return len(found) > 1 and LETTER.search(text) is not None and not parsed.is_first_person()


def addresses_assistant(parsed: ParsedSentence, start: int) -> bool:
    """Return whether it speaks to the assistant, and not first of the user: "Any recipe you give me is for two"."""
    first = WORD.match(parsed.lower, start)
    if first is not None and first[0] in parsed.language.first_person:
        return False
    return parsed.is_addressed(start)


def conditional_instruction(parsed: ParsedSentence) -> Fact | None:
    """Return the instruction with its condition: "When I ask for code, use Python"."""
    start = parsed.opened.start
    answer = answer_start(parsed, start) if parsed.is_conditional() else 0
    text = parsed.sentence.text[start:].strip(EDGES)
    if not answer or len(text) > TEXT_CHARACTERS:
        return None
    condition = WORD.findall(CLAUSE.split(parsed.sentence.folded[start:answer])[0])
    return Fact("preference", bounded(f"style/{'-'.join(condition[-KEY_WORDS:])}"), text, standing=True)


def answer_start(parsed: ParsedSentence, start: int) -> int:
    """Return where a conditional instruction that begins at *start* says how to answer; 0: nowhere."""
    if end := parsed.language.phrases("instructions.whenever_you").at(parsed.lower, start):
        # Such as "When you write to my boss: formal".
        found = CLAUSE.search(parsed.lower, end)
        return found.end() if found else 0
    conditions, verbs = map(parsed.language.phrases, ("instructions.whenever", "instructions.verbs"))
    if parsed.language.phrases("instructions.endings"):
        condition = conditions.anywhere.search(parsed.lower, start)
        return condition.start() if condition and parsed.ends("instructions.endings") else 0
    for verb in verbs.anywhere.finditer(parsed.lower, conditions.at(parsed.lower, start)):
        # Not the verb of the condition ("nach Code frage, ..."), or of a statement ("mache ich Tee").
        rest = parsed.lower[verb.end() :].lstrip()
        following = WORD.match(rest)
        if rest and rest[0] not in ",，" and not (following and following[0] in parsed.language.first_person):
            return verb.start()
    return 0


def instruction_key(parsed: ParsedSentence, start: int) -> str:
    """Return the topic key of the instruction that begins at *start*."""
    for key, words in parsed.language.style:
        if words.anywhere.search(parsed.lower):
            return key
    rest = parsed.language.phrases("instructions.forever").anywhere.sub(" ", parsed.lower[start:])
    value = value_of(rest, parsed.language)
    return bounded(f"style/{value or hashed(rest)}")


def is_for_one_answer(parsed: ParsedSentence, end: int) -> bool:
    """Return whether an instruction is for one answer only: "Answer in Spanish: what is ...".

    A reason or an exception may follow: "No bullet points please, I can't read them", "unless I ask for more".
    """
    position = after_polite(parsed, end)
    rest = parsed.lower[position:]
    if ":" in rest or parsed.sentence.asks:
        return True
    if LETTER.search(rest) is None:
        return False
    reason = parsed.language.phrases("connectors").at(parsed.lower, position)
    if not reason and not parsed.begins("hypothetical", position) and not MARK.search(parsed.lower[end:position]):
        return True
    start = skip(parsed.lower, reason or position)
    word = WORD.match(parsed.lower, start)
    if word and word[0] in parsed.language.first_person:
        return False
    return not TELLING.isdisjoint(after_openers(parsed.sentence, parsed.language, start).begins)


def after_polite(parsed: ParsedSentence, end: int) -> int:
    """Return where the words go on behind "please", "from now on" and marks."""
    sections = ("polite", "instructions.from_now_on", "instructions.forever")
    position = skip(parsed.lower, end)
    while not parsed.begins("hypothetical", position):
        found = max(parsed.language.phrases(each).at(parsed.lower, position) for each in sections)
        if not found:
            break
        position = skip(parsed.lower, found)
    return position


def taken_back(parsed: ParsedSentence) -> TakenBack | None:
    """Return the sentence if it takes back an instruction: it relieves of one, allows something again, or stops it."""
    text = parsed.sentence.text.strip()
    if parsed.hints.isdisjoint(TAKING_BACK):
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
    starts = {skip(lower, 0), parsed.opened.start, *(clause.start for clause in parsed.clauses)}
    starts |= {skip(lower, clause.cut) for clause in parsed.clauses}
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
    return frozenset(word.key for word in said.words) - generic(said.language)


@cache
def generic(language: Language) -> frozenset[str]:
    """Return the words that many instructions have, such as "answer"."""
    instructions = language.table["instructions"]
    sections = ("forever", "from_now_on", "permitted", "again", "generic")
    phrases = (phrase for each in sections for phrase in instructions.get(each, ()))
    return frozenset(key_of(word) for phrase in phrases for word in tokens(folded(phrase)))
