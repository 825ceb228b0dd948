"""Text to terms: what is indexed and what is looked up go through the same functions. Pure.

A term is a stemmed word or, in scripts that put no spaces between words, each pair of neighbouring characters, so that
any substring of two characters or more is found. Words that hyphens join are terms, and so is what they are without the
hyphens.
"""

import re
from typing import NamedTuple

from ilab_memory.recall.normalization import normalize
from ilab_memory.recall.stemming import stem

#: Words of an assistant's reply that count as what it said; what follows is its `tail`. Measured, see bench/recall.py.
REPLY_WORDS = 80
#: Longest word that is indexed, in characters: longer ones are keys, hashes and encodings, and are cut.
LONGEST_WORD = 64

#: Characters of a text that are indexed, before and after folding (U+FDFA alone folds to 18). What follows costs
#: nothing to save, and is found as a substring.
INDEXED_CHARACTERS = 65_536

# Scripts of India, Thai, Lao, Tibetan, Burmese, Khmer, kana, Han, Hangul: words are not told apart by spaces, carry
# their particles, or are written with marks that `\w` does not count as letters.
_UNSPACED = (
    "\u0900-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_LETTER = rf"[^\W\d_{_UNSPACED}]"
#: Where words of one hyphenated word are joined: "e-mail" is found as "email" and the other way round.
_HYPHENS = "-\u2010"
# A number, words that hyphens join, characters of an unspaced script, a word.
_WORD = re.compile(
    rf"([0-9]+(?:[.,][0-9]+)*(?:st|nd|rd|th)?(?![^\W_]))"
    rf"|((?<![^\W_][{_HYPHENS}]){_LETTER}++(?:[{_HYPHENS}]{_LETTER}++){{1,2}}(?![{_HYPHENS}]?[^\W_]))(?:['\u2019](?:s|re|ve|ll|d|m|t)(?![^\W_]))?"
    rf"|([{_UNSPACED}]+)"
    rf"|([^\W_{_UNSPACED}]+)(?:['\u2019](?:s|re|ve|ll|d|m|t)(?![^\W_]))?"
)
# The same for a text of ASCII without hyphens, in half the time: a number, a word.
_ASCII_WORD = re.compile(
    r"([0-9]+(?:[.,][0-9]+)*(?:st|nd|rd|th)?(?![a-z0-9]))|([a-z0-9]+)(?:'(?:s|re|ve|ll|d|m|t)(?![a-z0-9]))?"
)
# Dropped: accents, Hebrew points, Arabic vowel signs. Not the breve of the Cyrillic short i, which is another letter.
_ACCENTS = re.compile("[\u0300-\u0305\u0307-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f]|(?<!\u0438)\u0306")
# Blanks before "Assistant:" end at the next line, or many empty lines would be read again from each of them.
_TURN = re.compile(r"\s*User:(?P<said>.*?)\n[^\S\n]*Assistant:(?P<reply>.*)", re.DOTALL)


class Fields(NamedTuple):
    """The terms of one observation by field, in the order of the text, repetitions kept."""

    title: list[str]
    said: list[str]
    """The content, or the user's part of a turn."""
    reply: list[str]
    """The first words of the assistant's part of a turn."""
    tail: list[str]
    """The rest of it."""


def terms(text: str, *, most: int = INDEXED_CHARACTERS) -> list[str]:
    """Return the terms of the first *most* characters of *text*, in order, repetitions kept."""
    folded = _folded(text[:most])[:most]
    if folded.isascii() and "-" not in folded:
        return [_stem(word) if word else _number(number) for number, word in _ASCII_WORD.findall(folded)]
    found: list[str] = []
    # Not findall, one call that keeps the GIL: a third of a second for 1 MiB.
    for match in _WORD.finditer(folded):
        number, compound, run, word = match.groups()
        if word:
            found.append(_stem(word))
        elif number:
            found.append(_number(number))
        elif run:
            found += _pairs(run)
        else:
            found += _joined(compound)
    return found


def fields(title: str, content: str, *, most: int = INDEXED_CHARACTERS) -> Fields:
    """Split the first *most* characters of an observation into the fields that are ranked, each as terms.

    A title that is cut out of the content (as the title of a turn is) says nothing new and is not counted twice.
    """
    indexed = content[:most]
    turn = _TURN.fullmatch(indexed)
    said_text = turn["said"] if turn else indexed
    said = terms(said_text, most=most)
    reply = terms(turn["reply"], most=most) if turn else []
    return Fields(
        _own_title(title.removeprefix("Turn: "), said_text, said), said, reply[:REPLY_WORDS], reply[REPLY_WORDS:]
    )


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Both calls limit the marks: dropping what stands between two runs joins them.
    plain = _ACCENTS.sub("", normalize("NFKD", text.casefold()))
    return normalize("NFC", plain).casefold()


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]


def _stem(word: str) -> str:
    return stem(word if len(word) <= LONGEST_WORD else word[:LONGEST_WORD])


def _number(number: str) -> str:
    return number.replace(",", "").rstrip("stndrh")[:LONGEST_WORD]


def _joined(compound: str) -> list[str]:
    """Return the terms of each word that the hyphens join, and of all of them as one."""
    words = compound.replace("\u2010", "-").split("-")
    return [_stem(word) for word in (*words, "".join(words))]


def _own_title(title: str, said_text: str, said: list[str]) -> list[str]:
    """Return the terms of *title*, none if it is cut out of what was said."""
    if " " in title and said_text.lstrip().startswith(title):
        return []
    found = terms(title)
    # The last word of a title that was cut may not be whole.
    length = len(found)
    is_excerpt = found == said[:length] or (length > 1 and found[:-1] == said[: length - 1])
    return [] if is_excerpt else found
