"""Words to stems, by the Snowball algorithm of the word's script (https://snowballstem.org/).

Latin letters: English, and only words of plain letters. Cyrillic: Russian. Greek and Arabic: their own.

Index keys are made from stems, so the stem of a word must never change: PyStemmer is pinned to a minor version. If a
later one changes stems, `schema.VERSION` of the stores must change with it.
"""

import threading
from functools import lru_cache

from Stemmer import Stemmer

_BY_SCRIPT = (
    ("\u0370", "\u03ff", "greek"),
    ("\u0400", "\u04ff", "russian"),
    ("\u0620", "\u06ff", "arabic"),
)


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
    """Return the stem of *word*, which is lower case. A word in any other script is its own stem."""
    if word.isascii():
        return str(STEMMERS.of("english").stemWord(word))
    for first, last, language in _BY_SCRIPT:
        if first <= word[0] <= last:
            return str(STEMMERS.of(language).stemWord(word))
    return word
