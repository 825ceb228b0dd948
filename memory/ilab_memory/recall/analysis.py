"""Text to terms, the same way for indexing and for searching.

A term is a stemmed word or, in scripts without spaces between words, each pair of neighbouring characters, so that any
substring of two or more characters is found. A hyphenated word gives a term for each part and one for the whole.

Stems are those of the Snowball algorithm of the text's language (https://snowballstem.org/). Cyrillic, Greek and Arabic
letters: by the script, Cyrillic as Russian. Latin letters: by the language of the text. A term of a text in another
language than English begins with FOREIGN, so an English word has a stem of its own. A search does not know the language
of the rows, so it looks up a word under its stems in all languages: see `word_forms`.

Index keys are made from stems, so the stem of a word must never change: PyStemmer is pinned to a minor version. If a
later one changes stems, `schema.VERSION` of the stores must change with it.
"""

import re
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from Stemmer import Stemmer

from ilab_memory.forks import kept_over_forks
from ilab_memory.recall import text_language
from ilab_memory.recall.normalization import normalize

#: Characters up to which a text is short: several are analyzed at the same time. 4,096 take 1 to 2 ms.
SHORT_CHARACTERS = 4096

#: Words of an assistant's reply in the field `reply`; the rest is its `tail`. Measured, see bench/recall.py.
REPLY_WORDS = 80
#: Longest indexed word, in characters. Longer ones, such as keys, hashes and encodings, are truncated.
LONGEST_WORD = 64

#: Characters of a text that are indexed, before and after folding (U+FDFA alone folds to 18). The rest costs nothing to
#: save and is found as a substring.
INDEXED_CHARACTERS = 65_536

#: Occurrences of a term in a field that are indexed, from the beginning. BM25 saturates long before, and a search reads
#: the place of each occurrence: a text of one word has 13,000.
MOST_OCCURRENCES = 16
#: Terms of a message that are looked up in all languages.
MOST_FORMED = 8

ENGLISH = "en"
#: Algorithms for Latin letters, by ISO 639-1. Not English.
ALGORITHMS = {
    "de": "german",
    "es": "spanish",
    "fr": "french",
    "id": "indonesian",
    "it": "italian",
    "nl": "dutch",
    "pl": "polish",
    "pt": "portuguese",
    "sv": "swedish",
    "tr": "turkish",
}
#: First character of a term of a text in one of these languages.
FOREIGN = "~"
#: Letters of the shortest word that such a term is made of, and of its shortest stem.
SHORTEST_FOREIGN = 3
_BY_SCRIPT = (
    ("\u0370", "\u03ff", "greek"),
    ("\u0400", "\u04ff", "russian"),
    ("\u0620", "\u06ff", "arabic"),
)
_AFTER_LATIN = "\u0370"

_FIRST_LETTER, _FIRST_UNSPACED = "a", "\u0900"
# Scripts of India, Thai, Lao, Tibetan, Burmese, Khmer, kana, Han, Hangul: their words are not separated by spaces, end
# in particles, or contain marks that `\w` does not match.
UNSPACED = (
    "\u0900-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_LETTER = rf"[^\W\d_{UNSPACED}]"
#: Hyphens inside a word: "email" finds "e-mail", and the other way round.
_HYPHENS = "-\u2010"
# A number, a hyphenated word, a run of characters of an unspaced script, a word.
_WORD = re.compile(
    rf"([0-9]+(?:[.,][0-9]+)*(?:st|nd|rd|th)?(?![^\W_]))"
    rf"|((?<![^\W_][{_HYPHENS}]){_LETTER}++(?:[{_HYPHENS}]{_LETTER}++){{1,2}}(?![{_HYPHENS}]?[^\W_]))(?:['\u2019](?:s|re|ve|ll|d|m|t)(?![^\W_]))?"
    rf"|([{UNSPACED}]+)"
    rf"|([^\W_{UNSPACED}]+)(?:['\u2019](?:s|re|ve|ll|d|m|t)(?![^\W_]))?"
)
# The same for ASCII text without hyphens, in half the time: a number, a word.
_ASCII_WORD = re.compile(
    r"([0-9]+(?:[.,][0-9]+)*(?:st|nd|rd|th)?(?![a-z0-9]))|([a-z0-9]+)(?:'(?:s|re|ve|ll|d|m|t)(?![a-z0-9]))?"
)
# Dropped: accents, Hebrew points, Arabic vowel signs. Not the breve of the Cyrillic short i, which is another letter.
_ACCENTS = re.compile("[\u0300-\u0305\u0307-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f]|(?<!\u0438)\u0306")
# Spaces before "Assistant:" stay on its line: with `\s*`, a run of empty lines would take quadratic time.
TURN = re.compile(r"\s*User:(?P<said>.*?)\n[^\S\n]*Assistant:(?P<reply>.*)", re.DOTALL)


_analyzing = kept_over_forks(threading.Lock())


class Fields(NamedTuple):
    """The terms of one observation by field, in text order, each up to MOST_OCCURRENCES times except in `reply`."""

    title: list[str]
    said: list[str]
    """The content, or the user's part of a turn."""
    reply: list[str]
    """The first words of the assistant's part of a turn."""
    tail: list[str]
    """The rest of the reply."""


def terms(text: str, *, most: int = INDEXED_CHARACTERS) -> list[str]:
    """Return the terms of the first *most* characters of *text* as of an English text, in order, with repetitions."""
    return _stems(_words(text, most), ENGLISH)


def forms(
    text: str, wanted: Collection[str], *, most: int, spoken: tuple[str, ...] = (), formed: int = MOST_FORMED
) -> dict[str, tuple[str, ...]]:
    """Return the terms that words of *text* have in texts in other languages than English, by their English terms.

    Of those *wanted*. Of the first *formed* of them in all languages, of the others in the languages *spoken*.
    """
    everywhere = {*islice(wanted, formed)}
    found: dict[str, tuple[str, ...]] = {}
    for word in dict.fromkeys(_words(text, most)):
        (term,) = _stems((word,), ENGLISH)
        if term in wanted and (others := word_forms(word) if term in everywhere else word_forms(word, spoken)):
            found[term] = tuple(dict.fromkeys((*found.get(term, ()), *others)))
    return found


def fields(title: str, content: str, *, most: int = INDEXED_CHARACTERS) -> Fields:
    """Split the first *most* characters of an observation into the ranked fields, each as terms.

    A title that is an excerpt of the content (like the title of a turn) gives no terms, so they do not count twice.
    """
    indexed = content[:most]
    turn = TURN.fullmatch(indexed)
    said_text = turn["said"] if turn else indexed
    said = _words(said_text, most)
    reply = _words(turn["reply"], most) if turn else []
    own_title = _own_title(title.removeprefix("Turn: "), said_text, said)
    # The reply to a request for a translation is in another language.
    of_reply = text_language.language_of(reply, turn["reply"]) if turn else ""
    language = text_language.language_of([*said, *own_title], said_text) or of_reply or ENGLISH
    replied = _stems(reply, of_reply or language)
    return Fields(
        _bounded(_stems(own_title, language)),
        _bounded(_stems(said, language)),
        replied[:REPLY_WORDS],
        _bounded(replied[REPLY_WORDS:]),
    )


def _words(text: str, most: int) -> list[str]:
    """Return the words, numbers and pairs of characters in the first *most* characters of *text*."""
    plain = folded(text[:most])[:most]
    if plain.isascii() and "-" not in plain:
        return [word[:LONGEST_WORD] or _number(number) for number, word in _ASCII_WORD.findall(plain)]
    found: list[str] = []
    # Not `findall`, which would hold the GIL for the whole text.
    for match in _WORD.finditer(plain):
        number, compound, run, word = match.groups()
        if word:
            found.append(word[:LONGEST_WORD])
        elif number:
            found.append(_number(number))
        elif run:
            found += [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]
        else:
            found += _joined(compound)
    return found


def _stems(words: Sequence[str], language: str) -> list[str]:
    # Numbers and pairs of characters have no stem: they would only fill the cache.
    if language == ENGLISH:
        return [stem(word) if _FIRST_LETTER <= word < _FIRST_UNSPACED else word for word in words]
    return [foreign_stem(word, language) if _FIRST_LETTER <= word < _FIRST_UNSPACED else word for word in words]


def _bounded(found: list[str]) -> list[str]:
    """Return *found* without the occurrences of a term beyond MOST_OCCURRENCES."""
    if len(found) <= MOST_OCCURRENCES or max(Counter(found).values()) <= MOST_OCCURRENCES:
        return found
    bounded = []
    counts: Counter[str] = Counter()
    for term in found:
        if counts[term] < MOST_OCCURRENCES:
            counts[term] += 1
            bounded.append(term)
    return bounded


def folded(text: str) -> str:
    """Return *text* without case and accents, as terms are."""
    if text.isascii():
        return text.lower()
    # Both calls limit the marks: dropping accents can join two runs of marks.
    plain = _ACCENTS.sub("", normalize("NFKD", text.casefold()))
    return normalize("NFC", plain).casefold()


def _number(number: str) -> str:
    return number.replace(",", "").rstrip("stndrh")[:LONGEST_WORD]


def _joined(compound: str) -> list[str]:
    """Return each part of a hyphenated word, and the parts joined."""
    words = compound.replace("\u2010", "-").split("-")
    return [word[:LONGEST_WORD] for word in (*words, "".join(words))]


def _own_title(title: str, said_text: str, said: list[str]) -> list[str]:
    """Return the words of *title*; none if it is an excerpt of *said_text*, whose words are *said*."""
    if " " in title and said_text.lstrip().startswith(title):
        return []
    found = _words(title, INDEXED_CHARACTERS)
    # The last word of an excerpt may be truncated.
    length = len(found)
    is_excerpt = found == said[:length] or (length > 1 and found[:-1] == said[: length - 1])
    return [] if is_excerpt else found


class _Stemmers(threading.local):
    """The stemmers of one thread: a Stemmer is not thread-safe (https://github.com/snowballstem/pystemmer)."""

    def __init__(self) -> None:
        self._by_language: dict[str, Stemmer] = {}

    def of(self, language: str) -> Stemmer:
        """Return this thread's stemmer of *language*."""
        if language not in self._by_language:
            # 0: without a cache of its own, which is slower than `lru_cache`.
            self._by_language[language] = Stemmer(language, 0)
        return self._by_language[language]


STEMMERS = _Stemmers()


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the stem of *word*, which is lower case, in an English text. In any other script it is its own stem."""
    if word.isascii():
        return str(STEMMERS.of("english").stemWord(word))
    for first, last, language in _BY_SCRIPT:
        if first <= word[0] <= last:
            return str(STEMMERS.of(language).stemWord(word))
    return word


@lru_cache(maxsize=50_000)
def foreign_stem(word: str, language: str) -> str:
    """Return the stem of *word* in a text in *language*, one of ALGORITHMS."""
    if len(word) < SHORTEST_FOREIGN or word[0] >= _AFTER_LATIN or not word.isalpha():
        return stem(word)
    found = str(STEMMERS.of(ALGORITHMS[language]).stemWord(word))
    # The Turkish algorithm leaves one letter of some words.
    return FOREIGN + (found if len(found) >= SHORTEST_FOREIGN else word)


@lru_cache(maxsize=50_000)
def word_forms(word: str, spoken: tuple[str, ...] = tuple(ALGORITHMS)) -> tuple[str, ...]:
    """Return the stems of *word* in texts in the languages *spoken*, without those of English texts."""
    found = dict.fromkeys(foreign_stem(word, language) for language in spoken if language in ALGORITHMS)
    found.pop(stem(word), None)
    return tuple(found)


@contextmanager
def one_at_a_time(characters: int) -> Iterator[None]:
    """Inside the block, no other thread analyzes a long text. Waits for that if a text of *characters* is long.

    Analysis is Python code. Threads that run it at the same time are done no sooner, since they share the GIL, and
    every other thread of the process, such as an event loop, waits for a turn of each of them whenever it wakes up.

    Only for code that does not wait for anything. Not reentrant.
    """
    if characters <= SHORT_CHARACTERS:
        yield
        return
    with _analyzing:
        yield
