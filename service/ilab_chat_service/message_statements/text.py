"""Text as the tables see it: without case and accents, with its tokens, and the phrases of a table found in it."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Words, with apostrophes inside.
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

#: Turns ASCII characters that are not part of words into spaces, for `str.translate`.
GAPS = {code: " " for code in range(128) if not chr(code).isalnum() and chr(code) != "'"}

#: Scripts whose words are not found by spaces: kana, Han, Hangul, Thai.
UNSPACED = re.compile("[\u0e01-\u0e5b\u3041-\u30ff\u3400-\u9fff\uac00-\ud7a3]+")

#: A pattern that matches nothing.
NOTHING = "(?!)"

#: A section and the end of one of its phrases.
Found: TypeAlias = tuple[str, int]

#: Beginning of a longer word by which its forms are compared.
KEY_CHARACTERS = 6
#: Shortest word that loses its ending.
LONG_WORD = 4
ENDINGS = "aeiousn"
LONG_ENDINGS = ("ing", "ed", "er")


def base_letters() -> dict[int, str]:
    """Return a table for `str.translate`: letters without accents, apostrophes alike; one character for each."""
    table = {}
    for code in (*range(0xC0, 0x250), *range(0x400, 0x460), *range(0x1E00, 0x1F00), *range(0xFF01, 0xFF5F)):
        lower = chr(code).lower()[0]
        base = unicodedata.normalize("NFKD", lower)[0]
        # The Cyrillic short i is a letter, not an accent.
        table[code] = lower if lower == "й" else base
    letters = {"ł": "l", "Ł": "l", "ı": "i", "İ": "i", "ø": "o", "Ø": "o", "đ": "d", "Đ": "d"}
    quotes = dict.fromkeys("\u2018\u2019\u02bc\u00b4`", "'")
    arabic = {"أ": "ا", "إ": "ا", "آ": "ا", "ى": "ي"}
    return {**table, **{ord(one): other for one, other in (letters | quotes | arabic).items()}}


BASE_LETTERS = base_letters()


def learn_folds(pairs: str) -> None:
    """Add *pairs* of characters ("對对 過过") to the table: the first is read as the second."""
    BASE_LETTERS.update({ord(pair[0]): pair[1] for pair in pairs.split()})


def lowered(text: str) -> str:
    """Return *text* in lower case and the same length, with one kind of apostrophe."""
    lower = text.lower()
    if text.isascii():
        return lower
    lower = lower.replace("\u2019", "'")
    if len(lower) != len(text):
        lower = "".join(letter.lower()[0] for letter in text)
    return lower


def folded(text: str) -> str:
    """Return *text* without case and accents, in the same length."""
    return text.lower() if text.isascii() else lowered(text.translate(BASE_LETTERS))


def tokens(text: str) -> list[str]:
    """Return the words of a folded text, and pairs of characters where words are not separated."""
    # Three times as fast as the expression. An apostrophe around a word stays: the word is also one of the parts.
    found = text.translate(GAPS).split() if text.isascii() else WORD.findall(text)
    if "'" in text:
        found += [part for word in found if "'" in word for part in word.split("'")]
    if not text.isascii():
        for run in UNSPACED.findall(text):
            found += run
            found += [run[at : at + 2] for at in range(len(run) - 1)]
    return found


@lru_cache(maxsize=4096)
def key_of(word: str) -> str:
    """Return what most forms of a word have in common: its beginning."""
    if len(word) < LONG_WORD:
        return word
    ending = next((each for each in LONG_ENDINGS if word.endswith(each) and len(word) - len(each) >= LONG_WORD - 1), "")
    short = word.removesuffix(ending)
    if ending and short[-1] == short[-2] and short[-1] not in "ls":
        # "swimming"
        short = short[:-1]
    short = short.rstrip(ENDINGS)
    return (short if len(short) > 2 else word)[:KEY_CHARACTERS]  # noqa: PLR2004 - "uso"


class Beginnings:
    """Phrases of several sections, looked up at once."""

    def __init__(self, sections: Mapping[str, Iterable[str]], *, spaced: bool) -> None:
        """Take the phrases by section. Of equally long phrases, the section that comes first counts."""
        self._spaced = spaced
        by_head: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for section, phrases in sections.items():
            for phrase in {lowered(each) for each in phrases}:
                by_head[head_of(phrase, 0, spaced=spaced)].append((phrase, section))
        self._by_head = {head: sorted(each, key=lambda entry: -len(entry[0])) for head, each in by_head.items()}

    def at(self, lower: str, start: int) -> list[Found]:
        """Return the sections of the phrases at *start* of a lower-case text with their ends, the longest first."""
        found: list[Found] = []
        phrases = self._by_head.get(head_of(lower, start, spaced=self._spaced))
        if phrases is None:
            return found
        for phrase, section in phrases:
            if lower.startswith(phrase, start):
                end = start + len(phrase)
                if not self._spaced or not lower[end : end + 1].isalnum() or not phrase[-1].isalnum():
                    found.append((section, end))
        return found


class Phrases:
    """Phrases of one section, in lower case."""

    def __init__(self, phrases: Iterable[str], *, spaced: bool) -> None:
        """Take *phrases* of a language whose words are separated by spaces, or not."""
        self._spaced = spaced
        self._phrases = sorted({lowered(each) for each in phrases}, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._phrases)

    @cached_property
    def _beginnings(self) -> Beginnings:
        return Beginnings({"": self._phrases}, spaced=self._spaced)

    def at(self, lower: str, start: int) -> int:
        """Return the end of the longest phrase at *start* of a lower-case text, or 0."""
        found = self._beginnings.at(lower, start)
        return found[0][1] if found else 0

    def required(self) -> Iterator[tuple[frozenset[str], ...]]:
        """Yield for each phrase what a sentence with it has: a token of each set."""
        for phrase in map(folded, self._phrases):
            words = tokens(phrase) if self._spaced or phrase.isascii() else [phrase[0]]
            # "Don't" may follow an apostrophe.
            yield tuple({frozenset((word,)) for word in words if "'" not in word})

    @cached_property
    def anywhere(self) -> re.Pattern[str]:
        """A pattern that finds a phrase anywhere."""
        return re.compile(rf"(?<!\w)(?:{self._alternatives})(?!\w)" if self._spaced else self._alternatives)

    @cached_property
    def at_end(self) -> re.Pattern[str]:
        """A pattern that matches a phrase at the end of a text without closing marks."""
        before = r"(?<!\w)" if self._spaced else ""
        return re.compile(f"{before}(?:{self._alternatives})$")

    @property
    def _alternatives(self) -> str:
        return "|".join(map(re.escape, self._phrases)) or NOTHING


def head_of(text: str, start: int, *, spaced: bool) -> str:
    """Return the first word at *start*, or the first character of a script without spaces."""
    if not spaced:
        return text[start : start + 1]
    word = WORD.match(text, start)
    return word[0] if word else text[start : start + 1]
