"""Words to stems, by the Snowball algorithm of the text's language (https://snowballstem.org/).

Cyrillic, Greek and Arabic letters: by the script, Cyrillic as Russian. Latin letters: by the language of the text. A
term of a text in another language than English begins with FOREIGN, so an English word has a stem of its own. A search
does not know the language of the rows, so it looks up a word under its stems in all languages: see `forms`.

Index keys are made from stems, so the stem of a word must never change: PyStemmer is pinned to a minor version. If a
later one changes stems, `schema.VERSION` of the stores must change with it.
"""

import threading
from functools import lru_cache

from Stemmer import Stemmer

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
def forms(word: str, spoken: tuple[str, ...] = tuple(ALGORITHMS)) -> tuple[str, ...]:
    """Return the stems of *word* in texts in the languages *spoken*, without those of English texts."""
    found = dict.fromkeys(foreign_stem(word, language) for language in spoken if language in ALGORITHMS)
    found.pop(stem(word), None)
    return tuple(found)
