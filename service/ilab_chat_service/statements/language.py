"""The tables of `tables/`, one per language, read when the package is imported."""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

from ilab_chat_service.statements.phrases import Beginnings, Phrases
from ilab_chat_service.statements.template import Template, Vocabulary
from ilab_chat_service.statements.text import folded, learn_folds, lowered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


#: Sections of a table with words that may come before a statement.
OPENINGS = ("openers", "adverbs", "memory.remember", "polite", "instructions.from_now_on")

#: Sections with the beginnings of questions, requests and other sentences.
BEGINNINGS = (
    "questions",
    "questions_inverted",
    "tags",
    "requests",
    "instructions.verbs",
    "hypothetical",
    "hypothetical_start",
    "tasks",
    "fiction",
    "corrections",
    "memory.not_remember",
)


@dataclass(frozen=True, eq=False)
class Rule:
    """A template with the key of its facts."""

    key: str
    """With blanks, as `allergy/{x}`."""
    template: Template
    section: str
    """`facts`, `standing` or `forget`."""
    language: Language
    number: int
    """Position in the table."""

    @property
    def standing(self) -> bool:
        """Whether its facts tell how to answer."""
        return self.section == "standing"


@dataclass(frozen=True, eq=False)
class Language:
    """One table."""

    code: str
    table: Mapping[str, Any]

    @property
    def spaced(self) -> bool:
        """Whether spaces separate words."""
        return bool(self.table.get("spaced", True))

    @cached_property
    def lists(self) -> dict[str, list[str]]:
        """Words that a blank may be."""
        found = {}
        for name, entries in self.table.get("lists", {}).items():
            found[name] = (
                entries if isinstance(entries, list) else [word for words in entries.values() for word in words]
            )
        return found

    @cached_property
    def canonical(self) -> dict[str, dict[str, str]]:
        """Names of the words of a list, as they are in keys, by list and word."""
        return {
            name: {folded(word): key for key, words in entries.items() for word in words}
            for name, entries in self.table.get("lists", {}).items()
            if isinstance(entries, dict)
        }

    @cached_property
    def first_person(self) -> frozenset[str]:
        """Words that only a speaker uses of themselves."""
        return frozenset(lowered(self.table.get("first_person", "")).split())

    @cached_property
    def first_person_endings(self) -> tuple[str, ...]:
        """Endings of such words."""
        return tuple(lowered(self.table.get("first_person_endings", "")).split())

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the words of the templates may be."""
        return Vocabulary(dict(self.table.get("same", {})), self.lists, self._listed("connectors"), self.spaced)

    @cached_property
    def _phrases(self) -> dict[str, Phrases]:
        return {}

    def phrases(self, section: str) -> Phrases:
        """Return the phrases of a section such as `memory.opt_out`."""
        found = self._phrases.get(section)
        if found is None:
            found = self._phrases[section] = Phrases(self._listed(section), spaced=self.spaced)
        return found

    @cached_property
    def openings(self) -> Beginnings:
        """The phrases that may come before a statement."""
        return Beginnings({section: self._listed(section) for section in OPENINGS}, spaced=self.spaced)

    @cached_property
    def beginnings(self) -> Beginnings:
        """The phrases that tell what kind of sentence begins."""
        return Beginnings({section: self._listed(section) for section in BEGINNINGS}, spaced=self.spaced)

    def _listed(self, section: str) -> list[str]:
        entry: Any = self.table
        for part in section.split("."):
            entry = entry.get(part, {})
        return list(entry)

    @cached_property
    def rules(self) -> list[Rule]:
        """The rules of the sections `facts`, `standing` and `forget`."""
        sources = [
            (key, source, section)
            for section in ("facts", "standing", "forget")
            for key, templates in self.table.get(section, {}).items()
            for source in templates
        ]
        return [
            Rule(key, Template(source, self.vocabulary), section, self, number)
            for number, (key, source, section) in enumerate(sources)
        ]

    @cached_property
    def style(self) -> list[tuple[str, Phrases]]:
        """Keys of standing instructions, and the words that lead to them."""
        return [(key, Phrases(words, spaced=self.spaced)) for key, words in self.table.get("style", {}).items()]

    @cached_property
    def exceptions(self) -> dict[str, tuple[str, ...]]:
        """By topic, the beginnings of values that are not meant."""
        return {
            topic: tuple(map(folded, values)) for topic, values in {"all": [], **self.table.get("except", {})}.items()
        }


def read_tables() -> tuple[Language, ...]:
    """Return the languages of the folder `tables`."""
    folder = files("ilab_chat_service.statements") / "tables"
    entries = sorted((each for each in folder.iterdir() if each.name.endswith(".toml")), key=lambda each: each.name)
    languages = tuple(
        Language(each.name.removesuffix(".toml"), tomllib.loads(each.read_text(encoding="utf-8"))) for each in entries
    )
    for language in languages:
        learn_folds(language.table.get("folds", ""))
    return languages


#: A rule, and sets of tokens of which its text contains one each.
Candidate: TypeAlias = tuple[Rule, tuple[frozenset[str], ...]]

LANGUAGES = read_tables()


def common_words(languages: Iterable[Language]) -> dict[str, tuple[int, ...]]:
    """Return the words that tell a language, with the numbers of their languages."""
    found = defaultdict(set)
    for number, language in enumerate(languages):
        for word in lowered(language.table.get("common", "")).split():
            found[word].add(number)
        for word in language.first_person:
            found[word].add(number)
        for section in ("polite", "instructions.verbs"):
            for phrase in language.phrases(section).words:
                found[phrase].add(number)
    return {word: tuple(sorted(numbers)) for word, numbers in found.items()}


COMMON = common_words(LANGUAGES)


#: Letters that tell a language, in this order: kana before Han.
SCRIPTS = [
    (number, re.compile(each.table["letters"])) for number, each in enumerate(LANGUAGES) if "letters" in each.table
]


def index(rules: Sequence[Rule]) -> dict[str, tuple[Candidate, ...]]:
    """Return the rules by a token that their text must contain: of those possible, the rarest among the rules.

    With each rule are the other sets of tokens of which its text must contain one.
    """
    required = [set(rule.template.required()) for rule in rules]
    counts = Counter(token for sets in required for each in sets for token in each)
    found: dict[str, list[Candidate]] = defaultdict(list)
    for rule, sets in zip(rules, required, strict=True):
        if not sets:
            raise ValueError(f"{rule.language.code}.toml: {rule.template.source!r} has no word of its own")
        # Of two equally rare sets, the smaller.
        rarest = min(sets, key=lambda each: (sum(counts[token] for token in each), len(each)))
        others = tuple(sorted(sets - {rarest}, key=lambda each: sum(counts[token] for token in each)))
        for token in rarest:
            found[token].append((rule, others))
    return {token: tuple(each) for token, each in found.items()}


RULES = [rule for language in LANGUAGES for rule in language.rules]
INDEX = index(RULES)


def candidates(tokens: Iterable[str]) -> list[Rule]:
    """Return the rules that a text with *tokens* may match."""
    words = set(tokens)
    found: dict[Rule, None] = {}
    for word in words & INDEX.keys():
        for rule, others in INDEX[word]:
            for each in others:
                if each.isdisjoint(words):
                    break
            else:
                found[rule] = None
    return sorted(found, key=lambda rule: rule.number)
