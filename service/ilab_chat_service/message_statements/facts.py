"""Find the facts of one sentence: a rule matches a clause, and its surroundings do not forbid it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ilab_chat_service.message_statements.addresses import is_address, may_be_address
from ilab_chat_service.message_statements.fact_keys import (
    CHANGED,
    LISTED,
    TEXT_CHARACTERS,
    Fact,
    bounded,
    hashed,
    type_of,
    value_of,
    values_of,
)
from ilab_chat_service.message_statements.instructions import instruction, is_for_one_answer, may_be_instruction
from ilab_chat_service.message_statements.parsed_sentence import EDGES, Clause, end_of_clause, skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ilab_chat_service.message_statements.language import Rule
    from ilab_chat_service.message_statements.parsed_sentence import ParsedSentence

#: Not in a name: an abbreviation ("I'm NHS staff"), a letter, a digit, or a word that goes on ("I'm O negative").
NO_NAME = re.compile(
    r"\b[A-Z]{3,}\b|^[A-Z]\b(?!\.)|\d|\b[A-Z]{2}[a-z]"
    r"| (?!(?:v[ao]n|de[rnl]?|d[aiou]s?|la|le|bin|al|el|e|y|te[rn]|zu)\b)[a-z]"
)

#: The key of templates whose value must be an address: "I live at 12 Elm Road".
AT = "address/at"


class Found(NamedTuple):
    """A rule that matches a clause."""

    clause: Clause
    rule: Rule
    match: re.Match[str]


def facts_of(parsed: ParsedSentence) -> Iterator[Fact]:
    """Yield the facts that it states."""
    if not parsed.rules and not parsed.opened.remembered and not may_be_instruction(parsed):
        return
    if parsed.sentence.is_quoted(parsed.opened.start):
        return
    limit = parsed.end_of_statement()
    if limit == 0:
        # "Could you always answer in Spanish?" has no statement, but may be an instruction.
        if said := instruction(parsed):
            yield said
        return
    asked = parsed.sentence.asks and limit == len(parsed.lower) and not parsed.opened.remembered
    whole = whole_instruction(parsed, limit)
    rules = [each for each in parsed.rules if each.standing or not asked]
    found = [whole] if whole else list(matches(parsed, rules, limit))
    if not any(each.rule.standing for each in found) and (said := instruction(parsed)):
        yield said
        return
    yield from stated(parsed, found, limit)
    if not found and parsed.opened.remembered and not parsed.is_question and not parsed.contains("hypothetical"):
        yield from remembered(parsed)


def matches(parsed: ParsedSentence, rules: Sequence[Rule], limit: int) -> Iterator[Found]:
    """Yield the *rules* that match a clause before *limit*."""
    text = parsed.sentence.folded
    for clause in parsed.clauses:
        if clause.start >= limit:
            return
        begun = [rule for rule in rules if text.startswith(rule.template.beginnings, clause.start)]
        if not begun:
            continue
        if parsed.contains("reported", clause.cut):
            return
        if parsed.contains("hypothetical", parsed.before_afterthought(clause.start)):
            # An instruction may have an exception: "Keep answers short unless I ask for more."
            begun = [each for each in begun if each.standing and not parsed.contains("hypothetical", clause.start)]
        if parsed.sentence.is_quoted(clause.start):
            continue
        matched: set[str] = set()
        for rule in begun:
            if rule.section == "forget" or rule.key in matched:
                continue
            match = rule.template.pattern.match(text, clause.start, limit)
            if match is not None and is_valid(parsed, rule, match):
                matched.add(rule.key)
                yield Found(clause, rule, match)


def whole_instruction(parsed: ParsedSentence, limit: int) -> Found | None:
    """Return the instruction that an opener belongs to: "No emojis"."""
    if parsed.opened.start == 0:
        return None
    standing = [each for each in parsed.rules if each.standing]
    for start in starts(parsed) if standing else ():
        for rule in standing:
            if parsed.sentence.folded.startswith(rule.template.beginnings, start):
                match = rule.template.pattern.match(parsed.sentence.folded, start, limit)
                if match is not None and is_valid(parsed, rule, match):
                    return Found(Clause(start, start), rule, match)
    return None


def starts(parsed: ParsedSentence) -> Iterator[int]:
    """Yield where an instruction may begin: behind each opener, because "no" is one ("Oh, please no emojis")."""
    start = skip(parsed.lower, 0)
    while start < parsed.opened.start:
        yield start
        phrases = (parsed.language.phrases(each).at(parsed.lower, start) for each in ("openers", "polite"))
        if not (end := max(phrases)):
            return
        start = skip(parsed.lower, end)


def is_valid(parsed: ParsedSentence, rule: Rule, match: re.Match[str]) -> bool:
    """Return whether what a template matched says what the template means."""
    groups = match.groupdict()
    if "Name" in groups and not is_name(parsed, groups["Name"], match.start("Name")):
        return False
    if rule.standing and rule.key != "called" and is_for_one_answer(parsed, match.end()):
        return False
    value = groups.get("x") or groups.get("y") or groups.get("w")
    if rule.key == AT and not may_be_address(parsed.language, said_value(parsed, match)):
        return False
    return value is None or is_value(parsed, rule, value.strip())


def said_value(parsed: ParsedSentence, match: re.Match[str]) -> str:
    """Return the value that a template matched, as it is written."""
    name = next((each for each in "yxw" if match.groupdict().get(each)), None)
    return parsed.sentence.text[slice(*match.span(name))].strip() if name else ""


def is_name(parsed: ParsedSentence, name: str, start: int) -> bool:
    """Return whether *name*, which begins at *start*, may be a name."""
    # Scripts without case have letters that are neither upper nor lower.
    said = parsed.sentence.text[start : start + len(name)].rstrip(".")
    if said[0].islower() or (NO_NAME.search(said) and not parsed.sentence.text.isupper()):
        return False
    return name.partition(" ")[0].rstrip(".") not in parsed.language.exceptions.get("Name", ())


def is_value(parsed: ParsedSentence, rule: Rule, value: str) -> bool:
    """Return whether *value* fits the topic of *rule*: "in fear" is not a home."""
    if not any(map(str.isalnum, value)):
        return False
    excepted = parsed.language.exceptions["all"]
    # A text that cannot be the name of a relative may be their home or birthday.
    if rule.key.count("/") <= 1:
        excepted += parsed.language.exceptions.get(rule.key.partition("/")[0], ())
    if not value.startswith(excepted):
        return parsed.language.spaced or not parsed.language.phrases("except.value").anywhere.search(value)
    if not parsed.language.spaced:
        return False
    return not any(value.startswith(each) and not value[len(each) : len(each) + 1].isalnum() for each in excepted)


def stated(parsed: ParsedSentence, found: Sequence[Found], limit: int) -> Iterator[Fact]:
    """Yield the facts of the rules that match, each with the words of its clause."""
    clauses = list(dict.fromkeys(each.clause for each in found))
    seen: set[str] = set()
    for clause in clauses:
        text = span(parsed, clause, clauses, limit)
        if not text or len(text) > TEXT_CHARACTERS:
            continue
        for each in found:
            if each.clause != clause:
                continue
            for key in keys(parsed, each.rule, each.match):
                if key not in seen:
                    seen.add(key)
                    yield Fact(type_of(key), key, text, each.rule.standing)


def span(parsed: ParsedSentence, clause: Clause, clauses: Sequence[Clause], limit: int) -> str:
    """Return the words of the fact that begins at *clause*, up to the next fact."""
    number = clauses.index(clause)
    begin = clause.start
    if number == 0 and begin and not parsed.is_request():
        begin = min(begin, parsed.opened.kept)
    following = clauses[number + 1].cut if number + 1 < len(clauses) else limit
    text = without_please(parsed, parsed.sentence.text[begin:following].strip(" ,;:-–—¡、，：（("))
    if len(text) > TEXT_CHARACTERS:
        text = parsed.sentence.text[clause.start : end_of_clause(parsed.lower, clause.start)].strip(EDGES)
    return text


def without_please(parsed: ParsedSentence, text: str) -> str:
    """Return *text* without a polite word that a comma separates at its end."""
    said, comma, last = text.rstrip(EDGES).rpartition(",")
    end = parsed.language.phrases("polite").at(last.strip().lower(), 0) if comma else 0
    return said.rstrip(EDGES) if end and end == len(last.strip()) else text


def keys(parsed: ParsedSentence, rule: Rule, match: re.Match[str]) -> Iterator[str]:
    """Yield the topic keys of *rule* for what it matched."""
    topic = rule.key.partition("/")[0]
    if rule.key == AT:
        yield "address"
        return
    if rule.key == "home":
        # A town with an address ("Leeds, 12 Elm Road") is a town: when that changes, the whole text holds no longer.
        yield "address" if is_address(parsed.language, said_value(parsed, match).split(",")[0]) else "home"
        return
    if rule.key.endswith("/{x}") and topic in LISTED:
        said = match.groupdict().get("x")
        # Without a blank, the last word is the value: "I play chess".
        values = values_of(said, parsed.language) if said else [match[0].rpartition(" ")[2]]
        for value in values:
            yield bounded(f"{topic}/{value}")
        return
    key = rule.key
    for name, captured in match.groupdict().items():
        blank = f"{{{name}}}"
        if blank not in key:
            continue
        value = value_of(captured, parsed.language)
        names = parsed.language.canonical.get("things" if name == "x" else name, {})
        key = key.replace(blank, names.get(captured, names.get(value.replace("-", " "), value)) or hashed(captured))
    yield bounded(key)
    if key in CHANGED and parsed.contains("changed"):
        yield from CHANGED[key]


def remembered(parsed: ParsedSentence) -> Iterator[Fact]:
    """Yield what the user asks to remember, if no rule knows what it is about."""
    start = parsed.opened.start
    text = without_please(parsed, parsed.sentence.text[start:].strip(" ,;:-–—"))
    if len(text) > TEXT_CHARACTERS or len(text) < 4:  # noqa: PLR2004 - "it", "me"
        return
    if parsed.begins("memory.not_remember", start) or parsed.begins("requests", start):
        return
    if parsed.language.spaced and " " not in text:
        return
    subject = parsed.language.phrases("copula").anywhere.split(parsed.sentence.folded[start:], maxsplit=1)
    value = value_of(subject[0], parsed.language) or value_of(text, parsed.language) or hashed(text)
    yield Fact("profile", bounded(f"remember/{value}"), text, standing=False)
