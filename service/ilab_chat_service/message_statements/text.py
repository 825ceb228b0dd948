"""Text as the tables see it: without case and accents, with its tokens, at the same positions."""

from __future__ import annotations

import re
import unicodedata

#: Words, with apostrophes inside.
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

#: Turns ASCII characters that are not part of words into spaces, for `str.translate`.
GAPS = {code: " " for code in range(128) if not chr(code).isalnum() and chr(code) != "'"}

#: Scripts whose words are not found by spaces: kana, Han, Hangul, Thai.
UNSPACED = re.compile("[\u0e01-\u0e5b\u3041-\u30ff\u3400-\u9fff\uac00-\ud7a3]+")


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
