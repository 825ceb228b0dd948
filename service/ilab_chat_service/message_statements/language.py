"""The tables of `tables/`, one per language.

Importing this module parses only the head of each table, which tells the language of a sentence. `load` parses the
rest, in about 30 ms of CPU a table; without it, the first sentence of a language does. A template's expression is
compiled when a clause begins like it.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from functools import cached_property
from importlib.resources import files
from itertools import chain, product
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ilab_chat_service.message_statements.change_words import Changes
from ilab_chat_service.message_statements.template import Template, Vocabulary
from ilab_chat_service.message_statements.text import Beginnings, Phrases, folded, key_of, learn_folds, lowered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


#: The first entry of a table that is not part of its head.
HEAD_END = "\nopeners ="

#: Sections of a table with words that may come before a statement.
OPENINGS = ("openers", "adverbs", "memory.remember", "polite", "instructions.from_now_on")

#: Sections with the beginnings of questions, requests and other sentences.
BEGINNINGS = (
    "first_person_start",
    "questions",
    "questions_inverted",
    "tags",
    "requests",
    "instructions.verbs",
    "instructions.also",
    "instructions.whenever",
    "instructions.whenever_you",
    "hypothetical",
    "hypothetical_start",
    "tasks",
    "fiction",
    "corrections",
    "memory.not_remember",
)

#: Sections with phrases that tell something anywhere in a sentence.
ANYWHERE = (
    "questions_anywhere",
    "tasks_anywhere",
    "hypothetical",
    "reported",
    "changed",
    "first_person_words",
    "memory.opt_out",
    "memory.forget_last",
    "memory.forget_about",
    "memory.forget_about_end",
    "memory.forget_all",
    "memory.forget_all_end",
    "memory.delete_all",
    "instructions.forever",
    "instructions.once",
    "instructions.whenever",
    "instructions.relieved",
    "instructions.restored",
    "instructions.again",
)

#: Between clauses: "a, b", "a - b", "a (b". A set comes first, which is quick to search.
BOUNDARY = "[ ,;:，、；：—(（](?:(?<=[,;:]) |(?<= )[-–—]+ |(?<=[，、；：—(（]))"

#: Maximum number of rules that are tried on a sentence. Ordinary sentences have fewer than ten.
RULES = 48


#: Words that are others with an apostrophe: "I'll".
OTHER_WORDS = frozenset("id ill well hell shell were wed shed".split())


class Rule(NamedTuple):
    """A template with the key of its facts."""

    key: str
    """With blanks, as `allergy/{x}`."""
    template: Template
    section: str
    """`facts`, `standing` or `forget`."""
    number: int
    """Position in the table."""

    @property
    def standing(self) -> bool:
        """Whether its facts tell how to answer."""
        return self.section == "standing"


#: A rule or a section, and sets of tokens of which a sentence must have one each.
Hint: TypeAlias = tuple["Rule | str", tuple[frozenset[str], ...]]

#: How often a common word counts as being in the table, so that it is not the rarest.
COMMON_COUNT = 1000


class Language:
    """One table."""

    def __init__(self, code: str, source: str) -> None:
        """Parse the head of *source*."""
        self.code = code
        self._source = source
        head = tomllib.loads(source[: source.index(HEAD_END)])
        self.spaced: bool = head.get("spaced", True)
        """Whether spaces separate words."""
        self.first_person = frozenset(lowered(head.get("first_person", "")).split())
        """Words that only a speaker uses of themselves."""
        self.first_person_objects = frozenset(lowered(head.get("first_person_objects", "")).split())
        """More of them, which do not tell the language."""
        self.first_person_endings = tuple(lowered(head.get("first_person_endings", "")).split())
        """Endings of such words."""
        self.common = self.first_person.union(lowered(head.get("common", "")).split())
        """Words that tell the language."""
        self.letters = re.compile(head.get("letters", "(?!)"))
        """Letters that tell the language."""
        learn_folds(head.get("folds", ""))
        self._phrases: dict[str, Phrases] = {}

    @cached_property
    def table(self) -> Mapping[str, Any]:
        """The whole table."""
        return tomllib.loads(self._source)

    @cached_property
    def lists(self) -> dict[str, list[str]]:
        """Words that a blank may be."""
        return {
            name: entries if isinstance(entries, list) else [*chain.from_iterable(entries.values())]
            for name, entries in self.table.get("lists", {}).items()
        }

    @cached_property
    def canonical(self) -> dict[str, dict[str, str]]:
        """Names of the words of a list, as they are in keys, by list and word."""
        return {
            name: {folded(word): key for key, words in entries.items() for word in words}
            for name, entries in self.table.get("lists", {}).items()
            if isinstance(entries, dict)
        }

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of the templates."""
        return Vocabulary(dict(self.table.get("same", {})), self.lists, self._listed("connectors"), self.spaced)

    def phrases(self, section: str) -> Phrases:
        """Return the phrases of a section such as `memory.opt_out`."""
        found = self._phrases.get(section)
        if found is None:
            found = self._phrases[section] = Phrases(self._listed(section), spaced=self.spaced)
        return found

    @cached_property
    def beginnings(self) -> Beginnings:
        """The phrases that may come before a statement, or tell what kind of sentence begins."""
        sections = {section: self._listed(section) for section in (*OPENINGS, *BEGINNINGS)}
        return Beginnings(sections, spaced=self.spaced)

    @cached_property
    def boundary(self) -> re.Pattern[str]:
        """A pattern for what is between clauses: a mark, or the space before a connector."""
        connectors = "|".join(map(re.escape, self._listed("connectors"))) if self.spaced else ""
        return re.compile(f"{BOUNDARY[:-1]}|(?<= )(?=(?:{connectors or '(?!)'})(?!\\w)))")

    def _listed(self, section: str) -> list[str]:
        entry: Any = self.table
        for part in section.split("."):
            entry = entry.get(part, {})
        return [spelled for each in entry for phrase in alternatives(each) for spelled in spellings(phrase)]

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
            Rule(key, Template(source, self.vocabulary), section, number)
            for number, (key, source, section) in enumerate(sources)
        ]

    @cached_property
    def _index(self) -> dict[str, tuple[Hint, ...]]:
        required: list[Hint] = [(rule, tuple(set(rule.template.required()))) for rule in self.rules]
        for section in ANYWHERE:
            required += [(section, each) for each in self.phrases(section).required()]
        return index(required, self.common)

    def hints(self, words: frozenset[str]) -> tuple[list[Rule], set[str]]:
        """Return what a sentence with these tokens may be: rules, at most `RULES`, and sections of `ANYWHERE`."""
        rules: dict[int, Rule] = {}
        sections: set[str] = set()
        for word in words & self._index.keys():
            for meant, others in self._index[word]:
                for each in others:
                    if each.isdisjoint(words):
                        break
                else:
                    if isinstance(meant, str):
                        sections.add(meant)
                    else:
                        rules[meant.number] = meant
        return [rules[number] for number in sorted(rules)[:RULES]], sections

    def load(self) -> None:
        """Parse the table and index its rules: make each property that is otherwise made when it is first used."""
        for name, made in vars(Language).items():
            if isinstance(made, cached_property):
                getattr(self, name)

    @cached_property
    def style(self) -> list[tuple[str, Phrases]]:
        """Keys of standing instructions, and the words that lead to them."""
        return [(key, Phrases(words, spaced=self.spaced)) for key, words in self.table.get("style", {}).items()]

    @cached_property
    def streets(self) -> frozenset[str]:
        """Words for streets."""
        return frozenset(map(folded, self.table.get("streets", ())))

    @cached_property
    def street_endings(self) -> tuple[str, ...]:
        """Endings of the names of streets."""
        return tuple(map(folded, self.table.get("street_endings", ())))

    @cached_property
    def numbered_endings(self) -> tuple[str, ...]:
        """Endings of the names of streets, and of towns, so that only those before a number are streets."""
        return tuple(map(folded, self.table.get("numbered_endings", ())))

    @cached_property
    def possessive(self) -> tuple[str, ...]:
        """Words of "my", each with the space behind it, if there is one."""
        return tuple(f"{word} " if self.spaced else word for word in self.changes.possessive)

    @cached_property
    def changes(self) -> Changes:
        """The words of change."""
        return Changes(self.table.get("changes", {}), spaced=self.spaced)

    @cached_property
    def relatives(self) -> frozenset[str]:
        """The words for relatives, as they are compared."""
        return self._keys_of_list("relation")

    @cached_property
    def beings(self) -> frozenset[str]:
        """The words for relatives and pets, as they are compared."""
        return self.relatives | self._keys_of_list("pet")

    def _keys_of_list(self, name: str) -> frozenset[str]:
        """Return the words of a list, without phrases of several words."""
        return frozenset(key_of(folded(word)) for word in self.lists.get(name, ()) if " " not in word)

    @cached_property
    def exceptions(self) -> dict[str, tuple[str, ...]]:
        """By topic, the beginnings of values that are not meant."""
        return {
            topic: tuple(map(folded, values)) for topic, values in {"all": [], **self.table.get("except", {})}.items()
        }


def alternatives(phrase: str) -> list[str]:
    """Return the phrases that *phrase* stands for: "(since|from) (today|monday)" for four."""
    parts = [part.split("|") for part in re.split(r"[()]", phrase)]
    return ["".join(chosen) for chosen in product(*parts)]


def spellings(phrase: str) -> tuple[str, ...]:
    """Return *phrase*, and as it is typed in a hurry: "dont" for "don't"."""
    words = [bare if (bare := word.replace("'", "")) not in OTHER_WORDS else word for word in phrase.split(" ")]
    return tuple(dict.fromkeys((phrase, " ".join(words))))


def index(required: Sequence[Hint], common: frozenset[str]) -> dict[str, tuple[Hint, ...]]:
    """Return the hints by a token: of the sets of tokens that a sentence must have, one of the rarest in the table."""
    counts = Counter(token for _, sets in required for each in sets for token in each)
    counts.update(dict.fromkeys(common, COMMON_COUNT))
    found: dict[str, list[Hint]] = defaultdict(list)
    for meant, sets in required:
        if not sets:
            raise ValueError(f"{meant} has no word of its own")
        # Of two equally rare sets, the smaller.
        rarest, *others = sorted(sets, key=lambda each: (sum(counts[token] for token in each), len(each)))
        for token in rarest:
            found[token].append((meant, tuple(others)))
    return {token: tuple(each) for token, each in found.items()}


def read_tables() -> tuple[Language, ...]:
    """Return the languages of the folder `tables`."""
    folder = files("ilab_chat_service.message_statements") / "tables"
    entries = sorted((each for each in folder.iterdir() if each.name.endswith(".toml")), key=lambda each: each.name)
    return tuple(Language(each.name.removesuffix(".toml"), each.read_text(encoding="utf-8")) for each in entries)


LANGUAGES = read_tables()


def common_words() -> dict[str, int]:
    """Return the words that tell a language. Each has a byte per language, 1 or 0, so that sums count words."""
    found: dict[str, int] = defaultdict(int)
    for number, language in enumerate(LANGUAGES):
        for word in language.common:
            found[word] |= 1 << 8 * number
    return dict(found)


COMMON = common_words()

#: Number of words that tell the language of a sentence: a byte counts them.
COUNTED = 255

#: Maximum number of languages that a sentence is read in.
TIED = 4


def languages_of(tokens: Sequence[str], text: str) -> tuple[Language, ...]:
    """Return the languages that a sentence may be in, by its common words and its letters. There may be none."""
    counts = sum(filter(None, map(COMMON.get, tokens[:COUNTED])))
    found = best_of(counts) if counts else ()
    if not text.isascii():
        # Kana before Han.
        lettered = next((language for language in LANGUAGES if language.letters.search(text)), None)
        if lettered is not None and lettered not in found:
            found += (lettered,)
    return found


def best_of(counts: int) -> tuple[Language, ...]:
    """Return the languages whose byte of *counts* is the greatest."""
    scores = counts.to_bytes(len(LANGUAGES), "little")
    best = max(scores)
    if scores.count(best) == 1:
        return (LANGUAGES[scores.index(best)],)
    return tuple(language for language, score in zip(LANGUAGES, scores, strict=True) if score == best)[:TIED]
