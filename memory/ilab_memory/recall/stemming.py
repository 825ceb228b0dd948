"""Words to stems, by the Snowball algorithm of the word's script (https://snowballstem.org/).

Latin letters: English, and only words of plain letters. Cyrillic: Russian. Greek and Arabic: their own.

Index keys are made from stems, so the stem of a word must never change: PyStemmer is pinned to a minor version. If a
later one changes stems, `schema.VERSION` of the stores must change with it.
"""

from functools import lru_cache

from Stemmer import Stemmer

# 0: without a cache of their own, which is slower than `lru_cache`.
_ENGLISH = Stemmer("english", 0)
_BY_SCRIPT = (
    ("\u0370", "\u03ff", Stemmer("greek", 0)),
    ("\u0400", "\u04ff", Stemmer("russian", 0)),
    ("\u0620", "\u06ff", Stemmer("arabic", 0)),
)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the stem of *word*, which is lower case. A word in any other script is its own stem."""
    if word.isascii():
        return str(_ENGLISH.stemWord(word))
    for first, last, stemmer in _BY_SCRIPT:
        if first <= word[0] <= last:
            return str(stemmer.stemWord(word))
    return word
