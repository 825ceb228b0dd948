"""Whether a text names a street and a house: "12 Elm Road", "in der Elmstraße 12", "via Garibaldi 12"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ilab_chat_service.message_statements.text import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.message_statements.language import Language

#: A word with its marks, or a number of a house: "12b".
WORD = re.compile(r"[^\W\d_][\w'.-]*|\d+\w*")
#: A number and a name: "48 Longacre".
NUMBERED = re.compile(r"\d{1,4}[a-z]? [^\W\d_a-z]")
#: Letters before the ending of a street: "Elmstraße", but not "Straße".
BEFORE_ENDING = 2
#: Words of a value that are looked at, and those among which a street without a number is.
WORDS, FIRST = 16, 3


def is_address(language: Language, text: str) -> bool:
    """Return whether *text* names a street of a language: with a number, or with a name next to a word for a street."""
    if not language.spaced:
        return any(re.search(pattern, text) for pattern in language.table.get("streets", ()))
    words = WORD.findall(text)[:WORDS]
    lower = [folded(word).rstrip(".") for word in words]
    if any(word[0].isdigit() for word in words):
        endings = (*language.street_endings, *language.numbered_endings)
        return any(low in language.streets or is_compound(low, endings) for low in lower)
    return any(
        is_compound(low, language.street_endings)
        or (low in language.streets and has_name_near(language, words, number))
        for number, low in enumerate(lower[:FIRST])
    )


def is_compound(low: str, endings: tuple[str, ...]) -> bool:
    """Return whether *low* is a longer word with one of *endings*."""
    return any(low.endswith(each) and len(low) - len(each) >= BEFORE_ENDING for each in endings)


def has_name_near(language: Language, words: Sequence[str], number: int) -> bool:
    """Return whether a capitalized word is next to that of this number, or the second behind it ("rua das Flores")."""
    near = [*words[max(0, number - 1) : number], *words[number + 1 : number + 3]]
    return any(word[0].isupper() and folded(word).rstrip(".") not in language.streets for word in near)


def may_be_address(language: Language, text: str) -> bool:
    """Return whether *text*, where the user lives "at", is an address: also "48 Longacre", not "Leeds, Elm Road"."""
    return is_address(language, text.split(",", maxsplit=1)[0]) or NUMBERED.match(text) is not None
