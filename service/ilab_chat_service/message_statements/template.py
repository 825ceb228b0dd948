r"""The templates of the tables: a sentence with blanks, compiled to a regular expression when a text first needs it.

| in a template    | matches                                                                          |
|------------------|----------------------------------------------------------------------------------|
| `i live in`      | these words, in any case, with or without accents                                |
| `(at|for)`       | one of these                                                                     |
| `[also|very]`    | nothing, or one of these                                                         |
| `{x}`            | the value: anything up to the end of the clause; fills `{x}` of the key          |
| `{y}`            | anything, too, but not part of the key                                           |
| `{w}`            | one or two words; best with a full stop behind it                                |
| `{n}`            | a number, in digits or as a word of the list `n`                                 |
| `{Name}`         | a name: begins with a capital letter, where the script has them                  |
| `{relation}`     | a word of the list `relation`; in a key, the list's name of it, such as `partner` |
| `.` at the end   | the clause ends here                                                             |

A word that is a key of the table's section `same` matches all its spellings (`i'm`: "i am", "im").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ilab_chat_service.message_statements.text import UNSPACED, folded, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: A piece of a template: an optional group with its space, a group, a blank, a space, or letters.
PIECE = re.compile(
    r"(?P<optional> ?\[[^\]]*\] ?)|\((?P<group>[^)]*)\)|\{(?P<blank>\w+)\}|(?P<space> )|(?P<words>[^ \[({]+)"
)

#: A value that only optional groups follow ends where the clause ends.
VALUE_BEFORE_OPTIONAL = re.compile(r"\{[xy]\}(?: \[[^\]]*\])+$")

#: Maximum number of characters of a value inside a template, and at its end.
INNER_VALUE = 60

LAST_VALUE = 300

END_OF_CLAUSE = r"(?=\s*(?:[^\w\s'](?!\w)|$|(?:{})\b))"

BLANKS = {
    "w": r"(?P<w>[^\W_][\w'-]{0,30}(?: [\w'-]{1,30})?)",
    # Up to four words. Their case is checked later: the text is folded.
    "Name": r"(?P<Name>[^\W\d_][\w'.-]{0,30}(?: [^\W\d_][\w'-]{0,30}){0,3}?)",
}


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The spellings of the words of a table's templates, and the words of their blanks."""

    same: Mapping[str, Sequence[str]]
    """Spellings of a word, by the word."""
    lists: Mapping[str, Sequence[str]]
    """Words of a blank, by its name."""
    connectors: Sequence[str]
    """Words between clauses, such as "and"."""
    spaced: bool
    """Whether words are separated by spaces. If not, a space of a template is optional in the text."""
    _telling: dict[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def space(self) -> str:
        """A pattern for the space between words. Empty after an apostrophe, as in French."""
        return "(?:(?<=')| )" if self.spaced else " ?"

    @cached_property
    def end_of_clause(self) -> str:
        """A pattern for the end of a clause."""
        return END_OF_CLAUSE.format("|".join(re.escape(folded(each)) for each in self.connectors) or "(?!)")

    @cached_property
    def _spellings(self) -> re.Pattern[str]:
        keys = sorted(self.same, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, keys)) or '(?!)'})")

    def parts(self, words: str) -> list[str]:
        """Return *words* split at the words of `same` that it contains, for a script without spaces."""
        return [words] if self.spaced else [part for part in self._spellings.split(words) if part]

    def pattern_of(self, words: str) -> str:
        """Return a pattern for *words*, one of which may have several spellings."""
        return self.space.join(self._spelled(word) for word in words.split(" "))

    def _spelled(self, word: str) -> str:
        if word in {"{x}", "{y}"}:
            return f".{{1,{INNER_VALUE}}}?"
        if word == "{n}":
            return f"(?:{self.pattern_of_list('n')})"
        return f"(?:{'|'.join(map(re.escape, self.spellings(word)))})"

    def spellings(self, word: str) -> list[str]:
        """Return what a text may have for *word*."""
        return [folded(each) for each in self.same.get(word, (word,))]

    def pattern_of_list(self, name: str) -> str:
        """Return a pattern for a word of the list *name*."""
        words = sorted({folded(word) for word in self.lists[name]}, key=len, reverse=True)
        return "|".join(([r"\d{1,6}"] if name == "n" else []) + [re.escape(word) for word in words])

    def telling(self, alternatives: Sequence[str]) -> frozenset[str]:
        """Return tokens: a text with one of *alternatives* has one of them; empty if no token tells."""
        found = [self._telling_of(each) for each in alternatives]
        return frozenset().union(*found) if all(found) else frozenset()

    def telling_of_list(self, name: str) -> frozenset[str]:
        """Return the same for the words of the list *name*."""
        if name not in self._telling:
            self._telling[name] = self.telling(self.lists[name])
        return self._telling[name]

    def _telling_of(self, phrase: str) -> frozenset[str]:
        words = [word for word in phrase.split() if not word.startswith("{")]
        plain = [token for word in words if word not in self.same for token in self._tokens(word)]
        if plain:
            return frozenset((max(plain, key=len),))
        found = {max(self._tokens(each), key=len, default="") for word in words[:1] for each in self.same.get(word, ())}
        return frozenset() if "" in found else frozenset(found)

    def _tokens(self, words: str) -> list[str]:
        low = folded(words)
        found = [low] if self.spaced and low.isalnum() else tokens(low)
        return found if self.spaced else [each for each in found if each == words[:1] or is_pair(each)]


@dataclass(frozen=True, eq=False)
class Template:
    """One template of a table."""

    source: str
    vocabulary: Vocabulary

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The regular expression, for folded text. Match it from the beginning of a clause."""
        source, end = self.source, ""
        if source.endswith(".") or VALUE_BEFORE_OPTIONAL.search(source):
            source, end = source.removesuffix("."), self.vocabulary.end_of_clause
        elif source[-1].isalpha() and self.vocabulary.spaced:
            end = r"(?!\w)"
        pieces = [self._compiled(piece, last=piece.end() == len(source)) for piece in PIECE.finditer(source)]
        return re.compile("".join(pieces) + end)

    def _compiled(self, piece: re.Match[str], *, last: bool) -> str:
        if piece["optional"] is not None:
            return self._optional(piece["optional"])
        if piece["group"] is not None:
            return self._one_of(piece["group"])
        if piece["blank"] is not None:
            return self._blank(piece["blank"], last=last)
        if piece["space"] is not None:
            return self.vocabulary.space
        return "".join(map(self.vocabulary.pattern_of, self.vocabulary.parts(piece["words"])))

    def _optional(self, piece: str) -> str:
        space = self.vocabulary.space
        body = self._one_of(piece.strip()[1:-1])
        before, after = piece.startswith(" "), piece.endswith(" ")
        if before and after:
            return f"{space}(?:{body}{space})?"
        return f"(?:{space if before else ''}{body}{space if after else ''})?"

    def _one_of(self, alternatives: str) -> str:
        return f"(?:{'|'.join(map(self.vocabulary.pattern_of, alternatives.split('|')))})"

    def _blank(self, name: str, *, last: bool) -> str:
        ending = r"(?!\w)" if self.vocabulary.spaced and last else ""
        if name in {"x", "y"}:
            return f"(?P<{name}>.{{1,{LAST_VALUE}}})" if last else f"(?P<{name}>.{{1,{INNER_VALUE}}}?)"
        if name in BLANKS:
            return BLANKS[name] + ending
        return f"(?P<{name}>{self.vocabulary.pattern_of_list(name)}){ending}"

    @cached_property
    def beginnings(self) -> tuple[str, ...]:
        """The beginnings of texts that match: a quick check before the expression."""
        return tuple(dict.fromkeys(self._beginnings()))

    def _beginnings(self) -> Iterator[str]:
        for piece in PIECE.finditer(self.source):
            if piece["optional"] or piece["group"]:
                found = (piece["group"] or piece["optional"].strip()[1:-1]).split("|")
            elif piece["words"]:
                found = self.vocabulary.parts(piece["words"])[:1]
            elif piece["blank"] in self.vocabulary.lists and piece["blank"] != "n":
                found = list(self.vocabulary.lists[piece["blank"]])
            else:
                found = ["{x}"]
            for phrase in found:
                first = phrase.partition(" ")[0]
                yield from [""] if first.startswith("{") else self.vocabulary.spellings(first)
            if not piece["optional"]:
                return

    def required(self) -> Iterator[frozenset[str]]:
        """Yield sets of tokens: a text that matches has a token of each set."""
        for piece in PIECE.finditer(self.source.removesuffix(".")):
            # Next to another piece, a word of the text may be longer than that of the template.
            if not (self.vocabulary.spaced and is_glued(self.source, piece)):
                yield from filter(None, self._required(piece))

    def _required(self, piece: re.Match[str]) -> Iterator[frozenset[str]]:
        if piece["words"] is not None:
            for part in self.vocabulary.parts(piece["words"]):
                yield self.vocabulary.telling([part])
        elif piece["group"] is not None:
            yield self.vocabulary.telling(piece["group"].split("|"))
        elif piece["blank"] in self.vocabulary.lists and piece["blank"] != "n":
            yield self.vocabulary.telling_of_list(piece["blank"])


def is_pair(token: str) -> bool:
    """Return whether *token* is a pair of characters of a script without spaces."""
    return len(token) == 2 and UNSPACED.fullmatch(token) is not None  # noqa: PLR2004


def is_glued(source: str, piece: re.Match[str]) -> bool:
    """Return whether *piece* touches another piece without a space between them."""
    before, after = source[piece.start() - 1 : piece.start()], source[piece.end() : piece.end() + 1]
    return bool((before and before not in " ]") or (after and after not in " [."))
